"""Effects of discovery and checks become messages to switches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.discovery.ports import Effect, Notice, Reinject, SendFrame
from controller_app.model.flow import Output
from controller_app.runtime.conversation import THROUGH_PIPELINE, Conversation


def carry_out(effects: Iterable[Effect], conversations: Mapping[int, Conversation]) -> list[str]:
    """Send what is to be sent, to each switch in one piece; answers what a person should read. Switches that never
    connected are passed over."""
    out: dict[int, list[bytes]] = {}
    notices = []
    for effect in effects:
        match effect:
            case SendFrame(dpid=dpid, ports=ports, frame=frame):
                conversation = conversations.get(dpid)
                if conversation is not None:
                    message = conversation.packet_out(None, [Output(port) for port in ports], frame)
                    out.setdefault(dpid, []).append(message)
            case Reinject(place=place, frame=frame):
                conversation = conversations.get(place.dpid)
                if conversation is not None:
                    message = conversation.packet_out(place.port, [THROUGH_PIPELINE], frame)
                    out.setdefault(place.dpid, []).append(message)
            case Notice(what=what):
                notices.append(what)
    for dpid, messages in out.items():
        conversations[dpid].transmit(b"".join(messages))
    return notices

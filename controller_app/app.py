"""The os-ken app: what switches say goes in, what is decided goes out. It decides nothing itself."""

from __future__ import annotations

from typing import Any

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_3

from controller_app.discovery.liveness import LIVE
from controller_app.discovery.ports import Port
from controller_app.runtime import control as runtime


class ServiceChaining(app_manager.OSKenApp):  # type: ignore[misc]
    """Service chaining beside any other OpenFlow 1.3 app of this process."""

    OFP_VERSIONS = (ofproto_v1_3.OFP_VERSION,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runtime = runtime.active()
        self._datapaths: dict[int, Any] = {}  # the connection that counts, by datapath id

    @set_ev_cls(  # type: ignore[untyped-decorator]
        ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER]
    )
    def state_changed(self, event: Any) -> None:
        """A switch finished its handshake, or is gone."""
        datapath: Any = event.datapath
        if datapath.id is None:
            return
        if event.state == MAIN_DISPATCHER:
            self._datapaths[datapath.id] = datapath
            ports = [_port(port) for port in _values(datapath.ports)]
            self.runtime.connected(datapath.id, ports, datapath.send)
        elif self._counts(datapath):  # not when it has come back already
            del self._datapaths[datapath.id]
            self.runtime.lost(datapath.id)

    @set_ev_cls(  # type: ignore[untyped-decorator]
        [
            ofp_event.EventOFPPacketIn,
            ofp_event.EventOFPFlowRemoved,
            ofp_event.EventOFPPortStatus,
            ofp_event.EventOFPErrorMsg,
            ofp_event.EventOFPDescStatsReply,
            ofp_event.EventOFPFlowStatsReply,
            ofp_event.EventOFPAggregateStatsReply,
            ofp_event.EventOFPGroupStatsReply,
            ofp_event.EventOFPPortStatsReply,
            ofp_event.EventOFPGroupDescStatsReply,
            ofp_event.EventOFPMeterConfigStatsReply,
            ofp_event.EventOFPMeterFeaturesStatsReply,
            ofp_event.EventOFPGroupFeaturesStatsReply,
            ofp_event.EventOFPTableFeaturesStatsReply,
            ofp_event.EventOFPBarrierReply,
            ofp_event.EventONFBundleCtrlMsg,
        ],
        MAIN_DISPATCHER,
    )
    def said(self, event: Any) -> None:
        """Anything the conductor listens to, as the bytes it came in."""
        message: Any = event.msg
        if self._counts(message.datapath):
            self.runtime.message(message.datapath.id, bytes(message.buf))

    def _counts(self, datapath: Any) -> bool:
        """Is this the newest connection of its switch?"""
        return self._datapaths.get(datapath.id) is datapath


def _values(changing: dict[int, Any]) -> list[Any]:
    """The values of a dictionary that another thread (os-ken's, at a port status) may change meanwhile."""
    while True:
        try:
            return list(changing.values())
        except RuntimeError:  # it changed size: look again
            continue


def _port(described: Any) -> Port:
    name = described.name.partition(b"\0")[0].decode("utf-8", "replace")
    mac = int(described.hw_addr.replace(":", ""), 16)
    up = not (described.config & 1 or described.state & 1)
    return Port(described.port_no, name, mac, up, described.curr_speed * 1000.0 or None, bool(described.state & LIVE))

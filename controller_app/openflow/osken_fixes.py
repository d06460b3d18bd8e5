"""The one place that works around os-ken 4.2 (native hub). One function a defect; `apply` does them all.

os-ken is used for what it is good at: the app model, events, the OpenFlow handshake, parsing for other apps.
Its connections are replaced by ours (`connection`, `listener`), which mends five defects at once.

What is said in answer to us stays with us. Our messages carry transaction ids from 0xC5000000 to 0xC5FFFFFF,
which no other app is given; multipart, barrier, bundle and error answers with such an id, and packets that
our flows sent up and what is said when one is gone (by their cookie), go to apps of this package only, as an
os-ken message that is not parsed but has its bytes in `buf`. So os-ken never meets the actions it has no words
for (it drops such a reply), a large reply costs nothing to parse, and other apps are not told of flows they did
not ask for. Everything else is parsed by os-ken and goes to everyone, as always.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

# app_manager must be the first of os-ken's modules: with controller first the imports are circular and fail.
from os_ken.base import app_manager  # isort: skip
from os_ken import exception
from os_ken.controller import controller, ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER
from os_ken.lib import hub
from os_ken.lib.dpid import dpid_to_str
from os_ken.ofproto import ofproto_parser
from os_ken.ofproto import ofproto_v1_3_parser as parser13

from controller_app.openflow.connection import Connection, Limits
from controller_app.openflow.decode import (
    BARRIER_REPLY,
    ERROR,
    EXPERIMENTER,
    FLOW_REMOVED,
    FLOW_STATS,
    GROUP_DESC,
    MULTIPART_REPLY,
    PACKET_IN,
    PORT_DESC,
)
from controller_app.openflow.listener import Listener
from controller_app.openflow.trial import came_back
from controller_app.pipeline.cookies import COOKIE_MARK

LOG = logging.getLogger(__name__)

OWN_XIDS = range(0xC500_0000, 0xC600_0000)
_OWN_PACKAGE = "controller_app"
_OF13 = 4
_COOKIE_AT = {PACKET_IN: 16, FLOW_REMOVED: 8}  # of the cookie's first byte
DESC, GROUP_FEATURES, METER_CONFIG, METER_FEATURES, TABLE_FEATURES = 0, 8, 10, 11, 12  # kinds of multipart (OFPMP_)
_applied = False
_listeners: list[Listener] = []
_limits = Limits()
_live: set[Any] = set()  # os-ken's Datapath objects with an open connection
_live_lock = threading.Lock()


def apply(listeners: Iterable[Listener] = (), limits: Limits | None = None) -> None:
    """Mend os-ken, before any app starts. The controller will listen where `listeners` do and nowhere else."""
    global _applied, _limits
    _listeners[:] = listeners
    _limits = limits or Limits()
    if _applied:
        return
    if hub.HUB_TYPE != "native":
        raise RuntimeError(f"OSKEN_HUB_TYPE is {hub.HUB_TYPE!r}; only the native hub works: unset it")
    own_connections()
    listen_where_told()
    keep_apps_running()
    let_events_time_out()
    let_the_process_end()
    keep_our_ids_free()
    _applied = True


def connected() -> int:
    """How many connections are open."""
    with _live_lock:
        return len(_live)


def disconnect_all() -> None:
    """Close every connection to a switch; rules stay where they are."""
    with _live_lock:
        datapaths = list(_live)
    for datapath in datapaths:
        datapath.close()


# -- one function a defect ---------------------------------------------------------------------------------


def own_connections() -> None:
    """A closed connection was never noticed (the sending thread waits for a queue, and cannot be killed), nor
    a silent one (no echo requests by default); each left threads behind; a slow switch made apps wait on a
    queue of 16 messages, and sending for 5 s in all was an error; a handshake could last for ever; an error
    in TLS was tried again for ever."""
    original = controller.Datapath.__init__

    def init(self: Any, sock: Any, address: Any) -> None:
        original(self, sock, address)
        self.connection = Connection(sock, _limits)

    controller.Datapath.__init__ = init
    controller.Datapath.send = _send
    controller.Datapath.close = _close
    controller.Datapath.serve = _serve
    controller.datapath_connection_factory = _connected


def listen_where_told() -> None:
    """It listened on every address unless told otherwise, and on port 6633 as well; TLS failed with ciphers
    given, and kept all others waiting during a handshake."""

    def init(self: Any) -> None:
        self.ofp_tcp_listen_port = self.ofp_ssl_listen_port = None
        self._clients = {}

    def call(self: Any) -> None:
        threads = [threading.Thread(target=listener.serve, args=(_connected,), daemon=True,
                                    name=f"listen {listener}") for listener in _listeners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    controller.OpenFlowController.__init__ = init
    controller.OpenFlowController.__call__ = call


def keep_apps_running() -> None:
    """One exception in a handler ended that app's event loop without a word, because every exception was
    taken for the sign to leave. With a sign of its own the loop logs the exception and goes on."""

    class TaskExit(BaseException):
        """Leave the thread."""

    hub.TaskExit = TaskExit


def let_events_time_out() -> None:
    """`hub.Event.wait(timeout)` never came back without the event."""

    class Event(threading.Event):
        """threading.Event is what hub.Event is meant to be."""

    hub.Event = Event


def let_the_process_end() -> None:
    """An app's own endless loop in `hub.spawn` kept the process from ending."""
    original = hub.HubThread.__init__

    def init(self: Any, target: Any, args: Any = (), kwargs: Any = None) -> None:
        original(self, target, args, {} if kwargs is None else kwargs)
        self.daemon = True

    hub.HubThread.__init__ = init


def keep_our_ids_free() -> None:
    """Transaction ids start at random and may be counted up into the range by which we know our answers."""

    def set_xid(self: Any, msg: Any) -> Any:
        self.xid = (self.xid + 1) & self.ofproto.MAX_XID
        if self.xid in OWN_XIDS:
            self.xid = OWN_XIDS.stop
        msg.set_xid(self.xid)
        return self.xid

    controller.Datapath.set_xid = set_xid


# -- a connection as os-ken's Datapath ---------------------------------------------------------------------


def _connected(sock: Any, address: Any) -> None:
    """A connection from its beginning to its end, in its own thread."""
    try:
        datapath = controller.Datapath(sock, address)
    except OSError as error:  # gone already
        LOG.info("switch at %s: %s", _place(address), error)
        sock.close()
        return
    with _live_lock:
        _live.add(datapath)
    try:
        datapath.serve()
    except Exception:
        # Whatever a switch sends must not do more than cost it its connection.
        LOG.exception("switch at %s: the connection ends by an error", _place(address))
    finally:
        with _live_lock:
            _live.discard(datapath)


def _send(self: Any, buf: Any, close_socket: bool = False) -> bool:
    return bool(self.connection.send(bytes(buf), close_socket))


def _close(self: Any) -> None:
    # The state changes in the connection's thread: reporting it waits for room in the apps' queues, and the
    # caller may be the one who has to make it.
    self.connection.close()


def _serve(self: Any) -> None:
    self.send_msg(self.ofproto_parser.OFPHello(self))

    def ready() -> bool:
        return bool(self.state == MAIN_DISPATCHER)

    def probe() -> None:
        self.send_msg(self.ofproto_parser.OFPEchoRequest(self))

    why = "an error"
    try:
        why = self.connection.run(lambda message: _received(self, message), ready, probe)
    finally:
        name = "no switch yet" if self.id is None else f"switch {dpid_to_str(self.id)}"
        LOG.info("%s at %s: %s", name, _place(self.address), why)
        self.is_active = False
        self.set_state(DEAD_DISPATCHER)


def _received(datapath: Any, message: bytes) -> None:
    """Give a message to whom it concerns."""
    brick = datapath.ofp_brick
    unparsed = _ours(datapath, message)
    if unparsed is not None:
        event = ofp_event.ofp_msg_to_ev(unparsed)
        for name in brick.get_observers(event, datapath.state):
            if _is_ours(app_manager.lookup_service_brick(name)):
                brick.send_event(name, event, datapath.state)
        return
    version, kind, length, xid = ofproto_parser.header(message)
    try:
        parsed = ofproto_parser.msg(datapath, version, kind, length, xid, message)
    except exception.OFPTruncatedMessage:
        LOG.warning("switch at %s: os-ken cannot read a message of type %d, left out",
                    _place(datapath.address), kind)
        return
    if parsed is None or brick is None:
        return
    event = ofp_event.ofp_msg_to_ev(parsed)
    brick.send_event_to_observers(event, datapath.state)
    for handler in list(brick.get_handlers(event)):
        if datapath.state in handler.callers[event.__class__].dispatchers:
            handler(event)


def _ours(datapath: Any, message: bytes) -> Any:
    """The message as an os-ken message that only has its bytes, when it is for us; None otherwise."""
    if datapath.state != MAIN_DISPATCHER or message[0] != _OF13 or datapath.ofp_brick is None:
        return None
    kind, xid = message[1], int.from_bytes(message[4:8], "big")
    if kind in _COOKIE_AT:
        ours = len(message) > _COOKIE_AT[kind] and message[_COOKIE_AT[kind]] == COOKIE_MARK
        if not ours and not (kind == PACKET_IN and came_back(message)):
            return None
        cls = parser13.OFPPacketIn if kind == PACKET_IN else parser13.OFPFlowRemoved
    else:
        cls = _ANSWERS.get(kind) if xid in OWN_XIDS else None
        if kind == MULTIPART_REPLY and cls is not None:
            cls = _MULTIPARTS.get(int.from_bytes(message[8:10], "big"))
        if cls is None:
            return None
    unparsed = cls.__new__(cls)
    parser13.MsgBase.__init__(unparsed, datapath)
    unparsed.set_headers(_OF13, kind, len(message), xid)
    unparsed.set_buf(message)
    unparsed.body = []
    return unparsed


_ANSWERS: dict[int, Any] = {
    ERROR: parser13.OFPErrorMsg, EXPERIMENTER: parser13.ONFBundleCtrlMsg,
    MULTIPART_REPLY: parser13.OFPMultipartReply, BARRIER_REPLY: parser13.OFPBarrierReply}
_MULTIPARTS: dict[int, Any] = {
    DESC: parser13.OFPDescStatsReply, FLOW_STATS: parser13.OFPFlowStatsReply,
    GROUP_DESC: parser13.OFPGroupDescStatsReply, METER_CONFIG: parser13.OFPMeterConfigStatsReply,
    METER_FEATURES: parser13.OFPMeterFeaturesStatsReply, PORT_DESC: parser13.OFPPortDescStatsReply,
    GROUP_FEATURES: parser13.OFPGroupFeaturesStatsReply, TABLE_FEATURES: parser13.OFPTableFeaturesStatsReply}


def _is_ours(app: Any) -> bool:
    return app is not None and type(app).__module__.partition(".")[0] == _OWN_PACKAGE


def _place(address: Any) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)



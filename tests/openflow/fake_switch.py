"""A switch made of a socket: it shakes hands, and then does only what a test tells it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterable

from wire_client import HELLO, WireClient

from controller_app.model.flow import CONTROLLER, Output
from controller_app.openflow import decode
from controller_app.runtime.capabilities import needs_of

HELLO_KIND, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, MULTIPART_REQUEST = 0, 2, 3, 5, 18
BARRIER_REQUEST = 20


def message(kind: int, xid: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHI", 4, kind, 8 + len(body), xid) + body


def port(number: int, name: str) -> bytes:
    return struct.pack("!I4x6s2x16sII24x", number, bytes([2, 0, 0, 0, 0, number]), name.encode(), 0, 4)


class FakeSwitch(WireClient):
    """Connected and, unless told otherwise, through its handshake, with two ports."""

    def __init__(self, address: tuple[str, int], dpid: int = 1, handshake: bool = True,
                 context: ssl.SSLContext | None = None) -> None:
        sock = socket.create_connection(address, timeout=10)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname="controller")
        super().__init__(sock)
        if handshake:
            self.shake_hands(dpid)

    def __enter__(self) -> FakeSwitch:
        return self

    def shake_hands(self, dpid: int) -> None:
        self.send(HELLO)
        assert self.read()[1] == HELLO_KIND
        request = self.expect(FEATURES_REQUEST)
        self.send(message(6, xid(request), struct.pack("!QIBB2xII", dpid, 0, 254, 0, 0x4F, 0)))
        request = self.expect(MULTIPART_REQUEST)
        self.send(message(19, xid(request), struct.pack("!HH4x", 13, 0) + port(1, "p1") + port(2, "p2")))

    def serve(self, lacks: Iterable[str] = (), version: str = "3.1.0") -> None:
        """From now on behave, in a thread of its own, like a switch that takes every rule (and forgets it), but those
        that need an ability (`runtime.capabilities`) it lacks: they are refused, as Open vSwitch does. Of "nsh" and
        "mpls" it takes the rules, and its datapath does not do it."""
        threading.Thread(target=self._serve, args=(frozenset(lacks), version), daemon=True).start()

    def _serve(self, lacks: frozenset[str], version: str) -> None:
        self.sock.settimeout(None)
        with contextlib.suppress(OSError):  # closed by either side: it is over
            while True:
                found = self.read()
                answer = self._answer(found, lacks, version)
                if answer:
                    self.send(answer)

    def _answer(self, found: bytes, lacks: frozenset[str], version: str) -> bytes:
        kind, body = found[1], found[8:]
        if kind == ECHO_REQUEST:
            return message(ECHO_REPLY, xid(found), body)
        if kind == BARRIER_REQUEST:
            return message(decode.BARRIER_REPLY, xid(found))
        if kind == MULTIPART_REQUEST:
            return message(19, xid(found), body[:2] + bytes(6) + _told(body[1], lacks, version))
        if kind == decode.EXPERIMENTER:
            return self._bundle(found, lacks)
        if kind == 13:
            (length,) = struct.unpack_from("!H", found, 16)
            actions = decode.decode_actions(found, 24, 24 + length)
            if Output(CONTROLLER) in actions and not needs_of(actions) & lacks:
                port = struct.pack("!HHHBBI", 1, 12, 0x8000, 0, 4, CONTROLLER) + bytes(4)
                frame = found[24 + length:]
                head = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 0, (1 << 64) - 1)
                return message(decode.PACKET_IN, 0, head + port + bytes(2) + frame)
        return b""

    def _bundle(self, found: bytes, lacks: frozenset[str]) -> bytes:
        if found[12:16] == (2300).to_bytes(4, "big"):
            (control,) = struct.unpack_from("!H", found, 20)
            return found[:20] + struct.pack("!H", control + 1) + found[22:24]
        inner = found[24:]
        if inner[1] == decode.FLOW_MOD:
            _, flow = decode.flow_mod(inner)
            if needs_of(flow.actions, flow.match) & (lacks - {"nsh", "mpls"}):
                return message(decode.ERROR, xid(inner), struct.pack("!HHI", 0xFFFF, 42, 0x2320) + inner[:64])
        return b""

    def expect(self, kind: int) -> bytes:
        """The next message of this kind; others are passed over."""
        while True:
            found = self.read()
            if found[1] == kind:
                return found

    def answer_echoes(self, seconds: float) -> int:
        """Stay alive for a while; how often it was asked."""
        import time
        deadline, asked = time.monotonic() + seconds, 0
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                found = self.read()
            except TimeoutError:
                break
            if found[1] == ECHO_REQUEST:
                asked += 1
                self.send(message(ECHO_REPLY, xid(found), found[8:]))
        self.sock.settimeout(10)
        return asked


def _told(kind: int, lacks: frozenset[str], version: str) -> bytes:
    """What the switch says of itself, by the kind of multipart; of what it holds: nothing."""
    if kind == 0:
        return struct.pack("!256s256s256s32s256s", b"", b"Open vSwitch", version.encode(), b"", b"")
    if kind == 8:
        types = 0xF & ~(0b10 * ("select-groups" in lacks)) & ~(0b1000 * ("failover-groups" in lacks))
        return struct.pack("!II4I4I", types, 0, *(100_000,) * 4, *(0,) * 4)
    if kind == 11:
        return struct.pack("!IIIBB2x", 0 if "meters" in lacks else 1000, 2, 0xF, 1, 0)
    return b""


def xid(found: bytes) -> int:
    return int.from_bytes(found[4:8], "big")

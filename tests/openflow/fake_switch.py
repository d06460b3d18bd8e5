"""A switch made of a socket: it shakes hands, and then does only what a test tells it."""

from __future__ import annotations

import socket
import ssl
import struct

from wire_client import HELLO, WireClient

HELLO_KIND, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, MULTIPART_REQUEST = 0, 2, 3, 5, 18


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


def xid(found: bytes) -> int:
    return int.from_bytes(found[4:8], "big")

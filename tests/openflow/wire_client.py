"""The plainest OpenFlow 1.3 peer: a socket, a hello, and messages cut at their lengths."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence

from controller_app.model.flow import Flow, Group, MeterConfig
from controller_app.openflow import decode, encode

HELLO = struct.pack("!BBHI", 4, 0, 8, 1)


class WireClient:
    """Speaks on a connected socket. As a context manager closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(10)
        self._buffer = b""

    @classmethod
    def to_bridge(cls, path: str) -> WireClient:
        """A controller for a bridge's management socket."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        client = cls(sock)
        client.send(HELLO)
        assert client.read()[1] == 0
        return client

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *messages: bytes) -> None:
        self.sock.sendall(b"".join(messages))

    def read(self) -> bytes:
        """The next message; ConnectionError when there is none any more."""
        while True:
            if len(self._buffer) >= 8:
                length = int.from_bytes(self._buffer[2:4], "big")
                if len(self._buffer) >= length:
                    message, self._buffer = self._buffer[:length], self._buffer[length:]
                    return message
            piece = self.sock.recv(1 << 16)
            if not piece:
                raise ConnectionError("closed")
            self._buffer += piece

    def ask(self, *messages: bytes) -> list[bytes]:
        """Send, and collect what is answered up to the barrier."""
        self.send(*messages, encode.barrier_request(0xBA77))
        answers = []
        while True:
            message = self.read()
            if message[1] == decode.BARRIER_REPLY:
                return answers
            if message[1] != 2:
                answers.append(message)

    def flows(self, cookie: int = 0, cookie_mask: int = 0) -> list[decode.FlowEntry]:
        return [entry for message in self.ask(encode.flow_stats_request(cookie, cookie_mask, 5))
                for entry in decode.flow_stats(message)]

    def groups(self) -> list[Group | decode.UnknownGroup]:
        return [group for message in self.ask(encode.group_desc_request(6))
                for group in decode.group_desc(message)]

    def meters(self) -> list[MeterConfig | decode.UnknownMeter]:
        return [meter for message in self.ask(encode.meter_config_request(7))
                for meter in decode.meter_config(message)]

    def add_meters(self, meters: Sequence[MeterConfig], command: int = encode.METER_ADD) -> list[str]:
        """Meters, which go into no bundle; the errors."""
        return self._errors(encode.meter_mod(command, meter, 3000 + n) for n, meter in enumerate(meters))

    def install(self, groups: list[Group], flows: list[Flow]) -> list[str]:
        """Groups and flows in one bundle; the errors."""
        messages = [encode.group_mod(encode.GROUP_ADD, group, 1000 + n) for n, group in enumerate(groups)]
        messages += [encode.flow_mod(encode.ADD, flow, 2000 + n) for n, flow in enumerate(flows)]
        return self._errors([encode.bundle(messages, 1, 77)])

    def _errors(self, messages: Iterable[bytes]) -> list[str]:
        answers = self.ask(*messages)
        return [f"{error.xid}: {error}" for error in map(decode.error_message, (
            message for message in answers if message[1] == decode.ERROR))]

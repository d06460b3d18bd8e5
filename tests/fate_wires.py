"""The two ends of a dummy Open vSwitch that packets are put in and taken out at: its control socket, and pcap files."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from dummy_ovs import OvsError


class Control:
    """ovs-vswitchd's control socket, with many requests at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._text = ""

    def close(self) -> None:
        self._socket.close()

    def ask(self, *words: str) -> str:
        return self.ask_all([words])[0]

    def ask_all(self, calls: Sequence[tuple[str, ...]]) -> list[str]:
        """The answers to several requests, in order. Raises OvsError for one that is refused."""
        answers: list[str] = []
        for start in range(0, len(calls), 8):  # both ways fit into the socket's buffers
            some = calls[start : start + 8]
            requests = [{"method": call[0], "params": list(call[1:]), "id": n} for n, call in enumerate(some)]
            self._socket.sendall("".join(json.dumps(request) for request in requests).encode())
            answers += [self._answer(call) for call in some]
        return answers

    def _answer(self, call: tuple[str, ...]) -> str:
        while True:
            try:
                reply, end = json.JSONDecoder().raw_decode(self._text)
            except json.JSONDecodeError:
                piece = self._socket.recv(1 << 16)
                if not piece:
                    raise OvsError(f"ovs-vswitchd closed the connection during {call[0]}") from None
                self._text += piece.decode()
                continue
            self._text = self._text[end:].lstrip()
            if reply.get("error") is not None:
                raise OvsError(f"{call[0]}: {reply['error']}")
            return str(reply["result"])


class Pcap:
    """Reads the frames of a pcap file that is still being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._order = "<"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> list[bytes]:
        """Those since the last time."""
        if self._file is None:
            if not self._path.exists() or self._path.stat().st_size < 24:
                return []
            self._file = self._path.open("rb")
            magic = self._file.read(24)[:4]
            self._order = "<" if magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        data = self._rest + self._file.read()
        frames, at = [], 0
        while at + 16 <= len(data):
            (length,) = struct.unpack_from(self._order + "I", data, at + 8)
            if at + 16 + length > len(data):
                break
            frames.append(data[at + 16 : at + 16 + length])
            at += 16 + length
        self._rest = data[at:]
        return frames

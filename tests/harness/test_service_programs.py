"""The programs that ask services and answer for them, over the loopback interface; nothing here needs root."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mininet_scenarios.harness.traffic import PROGRAMS
from mininet_scenarios.programs import ask, talk


def free_ports(number: int, kind: socket.SocketKind = socket.SOCK_DGRAM) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, kind) for _ in range(number)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@contextmanager
def running(program: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-I", "-S", "-B", str(PROGRAMS / program), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def server(program: str, log: Path, *ports: int) -> Iterator[subprocess.Popen[str]]:
    with running(program, "me", str(log), *map(str, ports)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process


@pytest.mark.parametrize("to", ["127.0.0.1", "::1"])
def test_datagrams_are_answered_and_written_down(tmp_path: Path, to: str) -> None:
    port, other, *own = free_ports(4)
    with server("udp_server.py", tmp_path / "log", port, other):
        for each in (port, other):
            found = [ask.ask({"to": to, "port": each, "timeout": 5.0}, source) for source in own]
            assert [row["answered_by"] for row in found] == ["me", "me"]
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(row["peer"], row["peer_port"], row["port"]) for row in rows] == [
        (to, source, each) for each in (port, other) for source in own
    ]


@pytest.mark.parametrize("to", ["127.0.0.1", "::1"])
def test_refusals_and_silence_are_told_apart(to: str) -> None:
    closed, own = free_ports(2)
    found = ask.ask({"to": to, "port": closed, "timeout": 5.0}, own)
    assert (found["answered_by"], found["error"]) == (None, "refused")
    with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind((to, 0))
        found = ask.ask({"to": to, "port": mute.getsockname()[1], "timeout": 0.2}, own)
    assert (found["answered_by"], found["error"]) == (None, "silence")
    assert found["seconds"] >= 0.2


def lines(process: subprocess.Popen[str], number: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(number)]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_connections_go_on_until_their_server_dies(tmp_path: Path, protocol: str) -> None:
    port, *own = free_ports(3, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    plan = {"protocol": protocol, "to": "127.0.0.1", "port": port, "source_ports": own, "pause": 0.02, "patience": 5.0}
    program = "web_server.py" if protocol == "tcp" else "udp_server.py"
    with server(program, tmp_path / "log", port) as answering, running("talk.py", json.dumps(plan)) as talking:
        began = time.time()
        found = lines(talking, 20)
        assert {row["source_port"] for row in found} == set(own)
        assert {row["answered_by"] for row in found} == {"me"}
        assert all(abs(row["at"] - began) < 60 for row in found)
        answering.kill()
        errors = [row for row in lines(talking, 20 if protocol == "udp" else 2) if "error" in row]
        while len({row["source_port"] for row in errors}) < len(own):
            errors += [row for row in lines(talking, 1) if "error" in row]
        if protocol == "udp":
            assert {row["error"] for row in errors} == {"[Errno 111] Connection refused"}
        else:
            assert {row["error"] for row in errors} <= {"closed", "[Errno 104] Connection reset by peer"}


def test_answers_may_come_in_pieces() -> None:
    whole = b"HTTP/1.1 200 OK\r\nServer: me\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nme\n"
    for cut in range(len(whole)):
        found, left = talk.answers("tcp", (whole + whole)[: len(whole) + cut])
        assert (found, left) == (["me"], whole[:cut])
    assert talk.answers("tcp", whole + whole) == (["me", "me"], b"")

"""A conductor on plain sockets, without os-ken: what the tests talk to real switches with."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from controller_app.discovery.ports import Port
from controller_app.model.topology import Topology
from controller_app.openflow import decode, encode
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.intent import Intent, build
from controller_app.store.interface import Store, StoredPolicy
from controller_app.store.memory import MemoryStore

T = TypeVar("T")


class PlainController:
    """Listens on a free port of the loopback and runs one conductor in a thread of its own.

    `sent` collects every message sent to a switch, by datapath id: what is not there was not said.
    """

    def __init__(
        self,
        topology: Topology | None = None,
        policy: str | None = None,
        store: Store | None = None,
        observe_links: bool = True,
    ) -> None:
        intent = build({"test": StoredPolicy("test", policy)}) if policy is not None else Intent()
        self.conductor = Conductor(
            topology or Topology(),
            intent,
            store or MemoryStore(),
            time.monotonic,
            b"k" * 16,
            observe_links,
            discovering=topology is None,
        )
        self.sent: dict[int, list[bytes]] = {}
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [
            threading.Thread(target=self._accept, daemon=True),
            threading.Thread(target=self._run, daemon=True),
        ]
        self.failure: BaseException | None = None

    def __enter__(self) -> PlainController:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._queue.put(None)
        self._threads[1].join(5)
        if self.failure is not None and error is None:
            raise self.failure

    def do(self, action: Callable[[], T]) -> T:
        """Run something in the conductor's thread and return its result."""
        answers: queue.Queue[T | BaseException] = queue.Queue()

        def run() -> None:
            try:
                answers.put(action())
            except Exception as error:  # handed to the asking thread, whatever it is
                answers.put(error)

        self._queue.put(run)
        answer = answers.get(timeout=20)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def wait(self, condition: Callable[[Conductor], bool], seconds: float = 10) -> None:
        """Wait until something is true of the conductor; AssertionError when it does not come to be."""
        deadline = time.monotonic() + seconds
        while not self.do(lambda: condition(self.conductor)):
            assert self.failure is None, self.failure
            assert time.monotonic() < deadline, (self.do(self.conductor.unconfirmed), self.conductor.problem)
            time.sleep(0.01)

    def wait_switches(self, count: int, seconds: float = 10, blocked: int = 0) -> None:
        """Wait until so many switches are connected and hold what they should; `blocked` of them all but what
        foreign flows stand in the way of."""

        def reached(c: Conductor) -> bool:
            syncs = [v.sync for v in c.conversations.values()]
            counts = sum(s.in_sync for s in syncs), sum(s.settled for s in syncs)
            return counts == (count - blocked, count) and (blocked > 0 or c.settled())

        self.wait(reached, seconds)

    # -- inside --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        next_tick = 0.0
        while True:
            try:
                action = self._queue.get(timeout=max(0.0, next_tick - time.monotonic()))
                if action is None:
                    return
            except queue.Empty:
                action, next_tick = self.conductor.tick, time.monotonic() + 0.02
            try:
                action()
            except Exception as error:  # shown by the test that waits
                self.failure = error
                raise

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        dpid = None
        try:
            connection.sendall(encode.echo_request(1)[:1] + b"\0\0\x10\0\0\0\1\0\1\0\x08\0\0\0\x10")
            connection.sendall(b"\4\5\0\x08\0\0\0\2")  # features request
            reader = connection.makefile("rb")
            while len(head := reader.read(8)) == 8:
                message = head + reader.read(int.from_bytes(head[2:4], "big") - 8)
                if message[1] == 2:  # echo request
                    connection.sendall(b"\4\3" + message[2:])
                elif message[1] == 6:
                    dpid = int.from_bytes(message[8:16], "big")
                    connection.sendall(encode.port_desc_request(3))
                elif message[1] == decode.MULTIPART_REPLY and message[4:8] == b"\0\0\0\3" and dpid is not None:
                    described = decode.port_desc(message)
                    ports = [Port(p.number, p.name, p.mac, p.up, p.speed * 1e3 or None, p.live) for p in described]
                    self._queue.put(self._connected(dpid, ports, connection))
                elif dpid is not None:
                    self._queue.put(lambda d=dpid, m=message: self.conductor.message(d, m))  # type: ignore[misc]
        except OSError:
            pass
        if dpid is not None:
            self._queue.put(lambda: self.conductor.lost(dpid))

    def _connected(self, dpid: int, ports: list[Port], connection: socket.socket) -> Callable[[], None]:
        log = self.sent.setdefault(dpid, [])

        def send(data: bytes) -> None:
            while data:
                length = int.from_bytes(data[2:4], "big")
                log.append(data[:length])
                with contextlib.suppress(OSError):
                    connection.sendall(data[:length])
                data = data[length:]

        return lambda: self.conductor.connected(dpid, ports, send)

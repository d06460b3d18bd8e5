"""One connection to a switch: bytes in, messages out, and the clocks that say when it is over.

One thread serves a connection, reading and writing in turn (an SSL object must not be used by two threads at
once). Any other thread may `send`, which never waits, and `close`. Knows nothing of os-ken.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_READ_SIZE = 1 << 18
_WRITE_SIZE = 1 << 18
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_HEADER_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """When to give a connection up. Times in seconds, sizes in bytes."""

    echo_interval: float = 5.0  # of silence, after which the switch is asked whether it is there
    silent_intervals: int = 3  # so many of them without a byte, and it is gone
    handshake_time: float = 10.0  # from accepting it to the end of the OpenFlow handshake
    backlog: int = 64 << 20  # unsent bytes beyond which nothing more is accepted: the switch does not read


class Connection:
    """A connected socket. `run` it in a thread of its own."""

    def __init__(self, sock: socket.socket, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._socket = sock
        self._lock = threading.Lock()
        self._outgoing: deque[memoryview] = deque()
        self._unsent = 0
        self._ending: str | None = None  # why it ends, once somebody wants that
        self._last = False  # end when all is sent
        self._waker, self._wake = socket.socketpair()
        self._waker.setblocking(False)
        self._wake.setblocking(False)

    @property
    def unsent(self) -> int:
        """Bytes accepted and not yet given to the operating system."""
        return self._unsent

    def send(self, data: bytes | bytearray | memoryview, last: bool = False) -> bool:
        """Queue one or more whole messages; never waits. False when the connection is ending. Where the
        switch has not taken `limits.backlog` bytes yet the connection ends: leaving out a message would make
        what follows it wrong."""
        with self._lock:
            if self._ending is not None or self._last:
                return False
            if self._unsent > self.limits.backlog:
                self._ending = f"it does not read: {self._unsent} bytes wait to be sent"
            else:
                self._outgoing.append(memoryview(data))
                self._unsent += len(data)
                self._last = last
            accepted = self._ending is None
        self._awake()
        return accepted

    def close(self, why: str = "closed by the controller") -> None:
        """Let `run` end soon. What is queued is not sent any more."""
        with self._lock:
            self._ending = self._ending or why
        self._awake()

    def run(self, message: Callable[[bytes], None], ready: Callable[[], bool],
            probe: Callable[[], object]) -> str:
        """Serve until the connection is over, then close the socket; returns why it is over.

        `message` gets each whole message, `ready` says whether the OpenFlow handshake is done, `probe` sends
        an echo request. What they raise ends the connection and is raised from here.
        """
        try:
            self._socket.setblocking(False)
            return self._shake_hands() or self._serve(message, ready, probe)
        except (OSError, EOFError) as error:  # ssl.SSLError is an OSError
            return f"the connection broke: {error}"
        finally:
            with self._lock:
                self._ending = self._ending or "over"
                self._outgoing.clear()
                self._unsent = 0
            for sock in (self._socket, self._waker, self._wake):
                with contextlib.suppress(OSError):
                    sock.close()

    # -- inside --------------------------------------------------------------------------------------------

    def _awake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyhow; closed: it is over
            self._wake.send(b"\0")

    def _shake_hands(self) -> str | None:
        """The TLS handshake, where there is one, within the time limit."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return None
        deadline = time.monotonic() + self.limits.handshake_time
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        while self._ending is None:
            try:
                self._socket.do_handshake()
                return None
            except ssl.SSLWantReadError:
                poll.register(self._socket, select.POLLIN)
            except ssl.SSLWantWriteError:
                poll.register(self._socket, select.POLLOUT)
            left = deadline - time.monotonic()
            if left <= 0:
                return f"no TLS handshake within {self.limits.handshake_time:g} s"
            poll.poll(left * 1000)
        return self._ending

    def _serve(self, message: Callable[[bytes], None], ready: Callable[[], bool],
               probe: Callable[[], object]) -> str:
        limits = self.limits
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        poll.register(self._socket, select.POLLIN)
        started = heard = probed = time.monotonic()
        buffer = bytearray()
        while self._ending is None:
            now = time.monotonic()
            silence = limits.silent_intervals * limits.echo_interval
            if ready():
                if now - heard >= silence:
                    return f"silent for {now - heard:.1f} s"
                if now - max(heard, probed) >= limits.echo_interval:
                    probe()
                    probed = now
                wait = min(max(heard, probed) + limits.echo_interval, heard + silence) - now
            else:
                wait = started + limits.handshake_time - now
                if wait <= 0:
                    return f"no OpenFlow handshake within {limits.handshake_time:g} s"
            if self._unsent and not self._write():
                poll.modify(self._socket, select.POLLIN | select.POLLOUT)
            else:
                poll.modify(self._socket, select.POLLIN)
                if self._last and not self._unsent:
                    return "closed by the controller"
            for descriptor, events in poll.poll(max(wait, 0.001) * 1000):
                if descriptor == self._waker.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self._waker.recv(4096)
                elif events & _READABLE:
                    if not self._read(buffer):
                        return "closed by the switch"
                    if error := _deliver(buffer, message):
                        return error
                    heard = time.monotonic()
        return self._ending

    def _read(self, buffer: bytearray) -> bool:
        """Take what is there. False at the end of the stream."""
        try:
            while True:
                piece = self._socket.recv(_READ_SIZE)
                if not piece:
                    return False
                buffer += piece
                if not isinstance(self._socket, ssl.SSLSocket) or not self._socket.pending():
                    return True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True

    def _write(self) -> bool:
        """Send as much as goes; whether that was all."""
        try:
            while self._outgoing:
                piece = self._outgoing[0]
                count = self._socket.send(piece[:_WRITE_SIZE])
                with self._lock:
                    self._unsent -= count
                    if count == len(piece):
                        self._outgoing.popleft()
                    else:
                        self._outgoing[0] = piece[count:]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True


def _deliver(buffer: bytearray, message: Callable[[bytes], None]) -> str | None:
    """Hand over every whole message and leave the rest. Answers what is wrong with the stream, if it is."""
    at, end = 0, len(buffer)
    while end - at >= _HEADER_LENGTH:
        length = buffer[at + 2] << 8 | buffer[at + 3]
        if length < _HEADER_LENGTH:
            return f"a message that says it has {length} bytes"
        if end - at < length:
            break
        message(bytes(buffer[at:at + length]))
        at += length
    del buffer[:at]
    return None

"""One check of one address, as a small state machine: frames in, frames out, and in the end an outcome.

A TCP check opens a connection and resets it as soon as the other side agrees. An HTTP check is a whole, if tiny, client
(RFC 9293, RFC 9112): it asks, reads the status line, and lets the server finish. An ARP or ND check asks for the
address.

A probe knows no time. Whoever runs it calls `again` once, when an answer is overdue, and `stop` in the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote

from controller_app.discovery.frames import Tells
from controller_app.health.outcome import Heard, Outcome
from controller_app.health.segments import ACK, FIN, LARGEST, PSH, RST, SYN, WINDOW, Ends, Segment, Wire, authority
from controller_app.model.topology import IPAddress

MOST_HEAD = 8192  # bytes before which the status must be there
MOST_DATA = 1 << 16  # bytes that a server may send after it; then the connection is reset
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\Z")
_START = b"HTTP/1."
_OF_PATHS = "/?%:@!$&'()*+,;=-._~"  # what a path may have as it is (RFC 3986 3.3); all else is percent-encoded
_SEQUENCE = 1 << 32


@dataclass
class Asking:
    """Who has this address? ARP, or neighbour discovery."""

    wire: Wire
    address: IPAddress
    gateway: IPAddress
    outcome: Outcome | None = None

    @property
    def silence(self) -> str:
        kind = "ARP" if self.address.version == 4 else "neighbour discovery"
        return f"{self.address} does not answer {kind}"

    def start(self) -> list[bytes]:
        return [self.wire.question(self.address, self.gateway)]

    def again(self) -> list[bytes]:
        return self.start()

    def hear(self, said: Heard) -> list[bytes]:
        if isinstance(said, Tells) and said == Tells(self.address, self.wire.mac):
            self.outcome = Outcome(True, f"{self.address} answers")
        return []

    def stop(self) -> list[bytes]:
        return []


@dataclass
class Connecting:
    """Does it accept connections? `first` is our initial sequence number."""

    wire: Wire
    ends: Ends
    first: int
    outcome: Outcome | None = None

    @property
    def silence(self) -> str:
        return f"no answer from {self.ends.there}"

    def start(self) -> list[bytes]:
        return [self._say(SYN, self.first)]

    def again(self) -> list[bytes]:
        return self.start()

    def hear(self, said: Heard) -> list[bytes]:
        if not isinstance(said, Segment):
            return []
        if not self._answers_syn(said):
            return self._astray(said)
        if said.flags & RST:
            self.outcome = self.outcome or Outcome(False, f"connection refused by {self.ends.there}")
            return []
        # said again, too, when the reset was lost: nothing is to stay half open there
        self.outcome = self.outcome or Outcome(True, f"{self.ends.there} accepts connections")
        return [self._say(RST, self.first + 1)]

    def stop(self) -> list[bytes]:
        return [self._say(RST, self.first + 1)] if self.outcome is None else []

    def _answers_syn(self, said: Segment) -> bool:
        """A reset or an agreement that acknowledges our SYN (RFC 9293 3.10.7.3)."""
        agreed = said.flags & ACK and said.acknowledged == (self.first + 1) % _SEQUENCE
        return bool(agreed and said.flags & (SYN | RST))

    def _astray(self, said: Segment) -> list[bytes]:
        """Something of a connection that is no more: a reset ends it, then the next SYN finds nobody in the way."""
        wrong = said.flags & ACK and said.acknowledged != (self.first + 1) % _SEQUENCE
        return [self._say(RST, said.acknowledged)] if wrong and not said.flags & RST else []

    def _say(self, flags: int, number: int, acknowledged: int = 0, data: bytes = b"") -> bytes:
        return self.wire.segment(self.ends, number, acknowledged, flags, data)


@dataclass
class Fetching(Connecting):
    """Does it answer GET `path` with 2xx or 3xx?

    opening: nothing is agreed; asking: the request is out; ending: what else comes is acknowledged until the server
    closes; closing: it has, and so did we; over: nothing is open.
    """

    path: str = "/"
    state: str = "opening"
    _next: int = 0  # the number of the byte that comes next
    _head: bytearray = field(default_factory=bytearray)
    _more: int = 0  # bytes that came after the status
    _taken: int = 0  # bytes of the request that are acknowledged

    @property
    def silence(self) -> str:
        if self.state == "opening":
            return super().silence
        return f"{self.ends.there} accepts connections, but does not answer GET {self.path}"

    @property
    def request(self) -> bytes:
        """What is sent (RFC 9112 3)."""
        host = self.ends.there
        if self.ends.remote_port == 80:
            host = authority(self.ends.remote, 80).removesuffix(":80")
        path = quote(self.path, safe=_OF_PATHS)
        lines = f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: chainsteer", "Accept: */*", "Connection: close"
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")

    def again(self) -> list[bytes]:
        if self.state == "opening":
            return self.start()
        return self._ask() if self.state == "asking" and self._taken < len(self.request) else []

    def hear(self, said: Heard) -> list[bytes]:
        if not isinstance(said, Segment) or self.state == "over":
            return []
        if self.state == "opening":
            return self._opened(said)
        if said.flags & RST:
            if self._ahead(said.number) in range(WINDOW):
                self._ended(Outcome(False, f"{self.ends.there} reset the connection"))
                self.state = "over"
            return []
        if said.flags & SYN:  # our acknowledgement was lost
            return self._ask() if self.state == "asking" else [self._say(ACK, self._last, self._next)]
        if not said.flags & ACK:
            return []
        taken = (said.acknowledged - self.first - 1) % _SEQUENCE
        if taken <= len(self.request) + 1:
            self._taken = max(self._taken, taken)
        if self.state == "closing":
            if self._taken > len(self.request):
                self.state = "over"
                return []
            return [self._say(FIN | ACK, self._last, self._next)] if said.data or said.flags & FIN else []
        return self._take(said)

    def stop(self) -> list[bytes]:
        if self.state == "opening":
            return super().stop()
        if self.state == "over":
            return []
        closed = self.state == "closing"
        self.state = "over"
        return [self._say(RST | ACK, self._last + closed, self._next)]

    # -- inside --------------------------------------------------------------------------------------------

    @property
    def _last(self) -> int:
        """The number behind the request."""
        return self.first + 1 + len(self.request)

    def _ahead(self, number: int) -> int:
        """How far a number is from the one that comes next; negative for what was there before."""
        return (number - self._next + _SEQUENCE // 2) % _SEQUENCE - _SEQUENCE // 2

    def _opened(self, said: Segment) -> list[bytes]:
        if not self._answers_syn(said):
            return self._astray(said)
        if said.flags & RST:
            self.state = "over"
            self._ended(Outcome(False, f"connection refused by {self.ends.there}"))
            return []
        self.state = "asking"
        self._next = (said.number + 1) % _SEQUENCE
        return self._ask()

    def _ask(self) -> list[bytes]:
        """The request, as far as it is not acknowledged, in segments that every path takes."""
        request, step = self.request, LARGEST[self.ends.local.version]
        begin = min(self._taken, len(request))
        return [
            self._say(ACK | PSH, self.first + 1 + at, self._next, request[at : at + step])
            for at in range(begin, len(request), step)
        ]

    def _take(self, said: Segment) -> list[bytes]:
        """Data in order is taken; what is ahead is dropped and comes again."""
        ahead = self._ahead(said.number)
        if ahead > 0 or (ahead < 0 and -ahead > len(said.data)):
            return [self._say(ACK, self._last, self._next)]
        data, end = said.data[-ahead:], bool(said.flags & FIN)
        if not data and not end:
            return [self._say(ACK, self._last, self._next)] if said.data else []  # it all came before
        self._next = (self._next + len(data) + end) % _SEQUENCE
        if self.outcome is None:
            self._head += data
            self._ended(_judge(self._head, self.ends.there, self.path, end))
        else:
            self._more += len(data)
        if end:
            self.state = "closing"
            return [self._say(FIN | ACK, self._last, self._next)]
        if self._more > MOST_DATA or (self.outcome is not None and self.outcome.strange):
            return self.stop()
        return [self._say(ACK, self._last, self._next)]

    def _ended(self, outcome: Outcome | None) -> None:
        if self.outcome is None and outcome is not None:
            self.outcome = outcome
            if self.state == "asking":
                self.state = "ending"
            self._head.clear()


def _judge(head: bytes | bytearray, there: str, path: str, end: bool) -> Outcome | None:
    """What an answer, as far as it came, says; None while that cannot be told."""
    rest = bytes(head)
    while True:
        line, found, rest = rest.partition(b"\n")
        if not found:
            if line[: len(_START)] != _START[: len(line)]:
                return Outcome(False, f"what {there} answers is not HTTP", strange=True)
            break
        status = _STATUS.match(line)
        if status is None:
            return Outcome(False, f"what {there} answers is not HTTP", strange=True)
        code = int(status[1])
        if code >= 200:
            return Outcome(code < 400, f"{there} answers GET {path} with {code}")
        # an interim answer (RFC 9110 15.2) ends with an empty line; the real one follows
        interim = re.search(rb"(?:\A|\n)\r?\n", rest)
        if interim is None:
            break
        rest = rest[interim.end() :]
    if end:
        return Outcome(False, f"{there} closes the connection without an answer")
    if len(head) > MOST_HEAD:
        return Outcome(False, f"what {there} answers is no status within {MOST_HEAD} bytes", strange=True)
    return None

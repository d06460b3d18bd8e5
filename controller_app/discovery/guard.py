"""Which discovery frames are believed: those with our seal, each at one place, once, and soon.

Every round of frames has a number, which is sealed into them. A frame is dropped and counted when it is

    forged      its seal does not fit: made up, damaged, or another controller's
    replayed    its round is too long ago, or older than what was heard of the same port before
    repeated    it was heard already: a port is joined to one other, so one of two receivers got a copy
    misplaced   it came from a port that the topology file gives to a host or function, or names one as its sender
    looped      it came back to the port it was sent out of

Of two receivers the one counts that the port hears in turn, else the one that heard it before, wherever the copy
arrives first: another is believed only when that one missed a round the other heard. So a copy passed on, however
quickly, does not take a link's place. Two machines that pass on frames between two ports nobody else answers at cannot
be told from a cable this way.

No clock: `now` is a monotonic clock in seconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from controller_app.discovery import lldp
from controller_app.discovery.ports import PortId

SAY_AGAIN = 600.0  # seconds until the same is said again of the same port
BURST, RATE = 10.0, 0.1  # things said at once, and a second, of all ports together
MAX_COUNTED = 4096  # ports that are counted one by one

_WHY = {
    "forged": "bear our mark with a wrong seal: someone makes them up, or another controller runs this switch too",
    "replayed": "were sent too long ago: someone sends old ones again",
    "repeated": "were heard at another port already: someone passes on copies, or there is no plain cable between",
    "misplaced": "are such as only switches get, but the port is declared to be a host's",
    "looped": "came out of the port itself: there is a loop behind it",
}
KINDS = tuple(_WHY)


class _Heard:
    """Of one sending port: who hears it, and the number of the last frame; who else claims to."""

    __slots__ = ("at", "rival", "rival_serial", "serial")

    def __init__(self, at: PortId, serial: int) -> None:
        self.at: PortId | None = at
        self.serial = serial
        self.rival: PortId | None = None
        self.rival_serial = -1


class Guard:
    """Judges frames and counts what it drops. `window`: seconds a frame may be on its way."""

    def __init__(self, key: bytes, window: float) -> None:
        self._key = key
        self._window = window
        self._serial = 0
        self._rounds: deque[tuple[int, float]] = deque()  # of the window: number, and when it was sent
        self._senders: dict[PortId, _Heard] = {}
        self._dropped: Counter[tuple[PortId, str]] = Counter()
        self._said: dict[tuple[PortId, str], float] = {}
        self._tokens, self._filled = BURST, 0.0
        self._notices: list[str] = []

    @property
    def dropped(self) -> Mapping[tuple[PortId, str], int]:
        """Frames dropped since the start, by port and kind."""
        return self._dropped

    def notices(self) -> list[str]:
        """What a person should read, since this was last asked."""
        said, self._notices = self._notices, []
        return said

    def begin(self, now: float) -> int:
        """A round of frames is sent; answers its number."""
        self._serial += 1
        self._rounds.append((self._serial, now))
        self._prune(now)
        return self._serial

    def shift(self, seconds: float) -> None:
        """Nothing could be heard for so long: what is on its way is not late for that."""
        self._rounds = deque((serial, at + seconds) for serial, at in self._rounds)

    def release(self, sender: PortId) -> None:
        """A port may be joined to another now: it, or who heard it, went down, fell silent or hears another. What was
        heard of it stays known."""
        if sender in self._senders:
            self._senders[sender].at = None

    def judge(self, place: PortId, data: bytes, hosts: frozenset[PortId], now: float) -> PortId | None:
        """The port that a frame heard at `place` was sent out of; None when it says nothing that is believed."""
        said = lldp.read(data, self._key)
        if said is None:
            return None
        self._prune(now)
        wrong = self._wrong(place, said, hosts)
        if wrong is not None:
            self._drop(place, wrong, now)
            return None
        heard = self._senders.get(said.sender)
        if heard is None:
            self._senders[said.sender] = _Heard(place, said.serial)
            return said.sender
        if self._answered(said.sender, place, heard):
            assert heard.at is not None
            self._drop(heard.at, "repeated", now)
        elif heard.at not in (None, place):
            moved = heard.rival == place and heard.serial < heard.rival_serial < said.serial
            if not moved:
                heard.rival, heard.rival_serial = place, said.serial
                return None
        elif heard.rival is not None and heard.rival_serial == said.serial:
            self._drop(heard.rival, "repeated", now)  # who hears it now hears it every time: the other's was the copy
        heard.at, heard.serial, heard.rival = place, said.serial, None
        return said.sender

    def _wrong(self, place: PortId, said: lldp.Said, hosts: frozenset[PortId]) -> str | None:
        if not said.genuine:
            return "forged"
        if place in hosts or said.sender in hosts:
            return "misplaced"
        if not self._rounds or not self._rounds[0][0] <= said.serial <= self._serial:
            return "replayed"
        if said.sender == place:
            return "looped"
        heard = self._senders.get(said.sender)
        if heard is None or said.serial > heard.serial:
            return None
        if said.serial == heard.serial and self._answered(said.sender, place, heard):
            return None
        return "repeated" if said.serial == heard.serial else "replayed"

    def _answered(self, sender: PortId, place: PortId, heard: _Heard) -> bool:
        """Does the sender hear `place` in turn, and not the one that has been believed to hear it?"""

        def mutual(at: PortId) -> bool:
            other = self._senders.get(at)
            return other is not None and other.at == sender

        return heard.at not in (None, place) and mutual(place) and not mutual(heard.at)

    def _prune(self, now: float) -> None:
        while self._rounds and self._rounds[0][1] < now - self._window:
            self._rounds.popleft()

    def _drop(self, place: PortId, kind: str, now: float) -> None:
        if (place, kind) not in self._dropped and len(self._dropped) >= MAX_COUNTED:
            return
        self._dropped[place, kind] += 1
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        if self._tokens < 1 or now - self._said.get((place, kind), -SAY_AGAIN) < SAY_AGAIN:
            return
        self._tokens -= 1
        self._said[place, kind] = now
        self._notices.append(f"discovery frames at port {place} {_WHY[kind]}; they are dropped")

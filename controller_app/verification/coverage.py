"""Which of the ways that a group offers have to be tried for one more class of packets?

What a bucket leads to is the same for everybody whom its group decides for: a way through the functions, and from the
last of them to whoever receives. So of two classes for which the same is wanted, the second need not go every way
again. A bucket is tried for a class unless it was tried before, of this group at this switch, and also, of any group
that does the same, towards the same edge switches: then every pair of a bucket with where packets come from, and every
pair with where they go, was seen. Two of those that are left out are tried all the same, others for each class: what is
at fault with the class itself shows with any.

Nothing is left out where what is wanted depends on both edges at once (chains with requirements), where a translating
function or a provider of the service asked is who asks, and where nothing is known yet. What was left out rests
upon the evidence of who tried it (see `witness`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from controller_app.model.flow import Group
from controller_app.verification.evaluate import Expectation
from controller_app.verification.witness import Evidence

LEAST = 2  # ways tried for each class, if there are so many
Part = tuple[int, int]  # of what a group offers: an index, and the slots that lead there
_Key = tuple[Hashable, ...]


class Coverage:
    """What was tried, and by whom. before: what still holds of another verification."""

    def __init__(self, before: Coverage | None = None, still: Callable[[Evidence], bool] = lambda seen: False) -> None:
        self._numbers: dict[Hashable, int] = {} if before is None else before._numbers
        self._tried: dict[_Key, Evidence] = {} if before is None else {
            key: seen for key, seen in before._tried.items() if still(seen)}
        self._groups: dict[tuple[str, int], tuple[Group, dict[int, int]]] = {}
        self._shares = 0

    def share(self, wanted: Expectation, ends: frozenset[str], kind: str, tcp: bool, version: int) -> Share | None:
        """What is to be tried for a class of packets; None: every way. ends: the edge switches of its receivers. kind:
        of packets (see PacketClass). What a TCP connection showed counts for others too, but not the other way round,
        since conntrack follows TCP more closely; what a single packet of another kind shows counts for its kind only.
        """
        every = (wanted, *wanted.alternatives)
        if any(each.conflict or (each.chain is not None and each.chain.by_edges) for each in every):
            return None
        self._shares += 1
        along = dict.fromkeys((each.tenant, each.chain, each.reversed, each.order, each.service, each.areas, version)
                              for each in every if each.order or each.service is not None)
        numbers = [self._number((tuple(along), "", True))]
        if kind or not tcp:
            numbers.insert(0, self._number((tuple(along), kind, tcp)))
        return Share(self, numbers, ends, self._shares)

    def done(self, share: Share, seen: Evidence) -> None:
        """Nothing was wrong with it: this is what it rests upon."""
        for key in share.new:
            self._tried.setdefault(key, seen)

    def known(self, key: _Key) -> Evidence | None:
        """What it rests upon that this was tried; None: it was not."""
        return self._tried.get(key)

    def _number(self, what: Hashable) -> int:
        return self._numbers.setdefault(what, len(self._numbers))

    def alike(self, switch: str, group: Group, index: int) -> int:
        """A number for what a bucket does."""
        known = self._groups.get((switch, group.id))
        if known is None or known[0] is not group:
            known = self._groups[switch, group.id] = group, {}
        if index not in known[1]:
            known[1][index] = self._number(group.buckets[index].actions)
        return known[1][index]

    def behaving(self, behaviour: Hashable) -> int:
        """A number for what becomes of a slot."""
        return self._number(behaviour)


class Share:
    """The part that one class has in it."""

    def __init__(self, coverage: Coverage, wanted: Sequence[int], ends: frozenset[str], turn: int) -> None:
        """wanted: numbers for what it is tried for: its own, and others that do as well."""
        self.new: dict[_Key, None] = {}
        self._relied: dict[int, Evidence] = {}
        self._coverage, self._wanted, self._ends, self._turn = coverage, wanted, ends, turn

    @property
    def relied(self) -> tuple[Evidence, ...]:
        """What it rests upon that the others need not be tried."""
        return tuple(self._relied.values())

    def of_group(self, switch: str, group: Group, parts: Sequence[Part]) -> Sequence[Part]:
        """The buckets to be tried, of those that make a difference."""
        if len(parts) <= LEAST:
            return parts
        return self._narrowed((switch, group.id), parts, [
            self._coverage.alike(switch, group, index) for index, _ in parts])

    def of_slots(self, switch: str, behaviour: Sequence[Hashable], parts: Sequence[Part]) -> Sequence[Part]:
        """The slots to be tried, each for those with the same behaviour."""
        if len(parts) <= LEAST:
            return parts
        return self._narrowed((switch, -1), parts, [self._coverage.behaving(behaviour[slot]) for slot, _ in parts])

    def _narrowed(self, place: tuple[str, int], parts: Sequence[Part], numbers: Iterable[int]) -> Sequence[Part]:
        new, resting = [], []
        for part, number in zip(parts, numbers, strict=True):
            known = [self._known(where, number) for where in (place, self._ends)]
            if None in known:
                self.new |= dict.fromkeys((self._wanted[0], where, number) for where in (place, self._ends))
                new.append(part)
            else:
                resting.append((part, [seen for seen in known if seen is not None]))
        tried = {(self._turn + step) % len(resting) for step in range(max(0, LEAST - len(new)))} if resting else set()
        for position, (part, seen) in enumerate(resting):
            if position in tried:
                new.append(part)
            else:
                self._relied.update((id(each), each) for each in seen)
        return sorted(new)

    def _known(self, where: Hashable, number: int) -> Evidence | None:
        found = (self._coverage.known((wanted, where, number)) for wanted in self._wanted)
        return next((seen for seen in found if seen is not None), None)

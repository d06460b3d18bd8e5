"""The classifiers of one tenant as rules that any switch can take its part of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from controller_app.model.flow import Match
from controller_app.model.policy import Tenant
from controller_app.pipeline.boxes import Prefix, box_matches, prefix_of
from controller_app.pipeline.fragments import Veil, veils
from controller_app.pipeline.insertion import insertion
from controller_app.pipeline.led import Led, led, sent, starts
from controller_app.pipeline.products import PLAIN, Product, products, worth_it
from controller_app.pipeline.ranks import Place
from controller_app.pipeline.regions import Decision, Region, of_tenant
from controller_app.pipeline.returned import Answers, answers, check, known_by
from controller_app.pipeline.survey import Survey, survey
from controller_app.pipeline.views import World

_CONJUNCTIONS_EACH = 512  # numbers of conjunctions that one object has
_CONJUNCTIONS = 1 << 32

Choice = tuple[str, bool, str]  # list key ("" none), backward, service key ("" none)


@dataclass(eq=False, slots=True)
class Entry:
    """A region, or a veil over one. It has rules by source, or else `products`, of which a switch makes rules.

    choices: what groups have to offer for it. once: a packet that comes back to be classified again must not be
    marked, or limited, again. out_of: it is only for what comes back out of these functions. destinations: where its
    packets go. conjunction: the number of its first one.
    """

    tenant: str
    owner: str
    decision: Decision
    choices: tuple[Choice, ...]
    destinations: tuple[Prefix, ...]
    once: bool = False
    out_of: tuple[str, ...] = ()
    led: bool = False
    rules: dict[Prefix, list[tuple[Place, Match]]] = field(default_factory=dict)
    products: tuple[Product, ...] = ()
    conjunction: int = 0

    @property
    def sources(self) -> Iterable[Prefix]:
        """Where its packets come from."""
        return self.rules or dict.fromkeys(source for product in self.products for source in product.sources)

    def places(self) -> Iterator[Place]:
        """Where its rules stand in the order of all."""
        for rules in self.rules.values():
            for place, _ in rules:
                yield place
        for product in self.products:
            yield product.place
            yield product.region.place(product.asked, PLAIN)


class Catalogue:
    """Everything of one tenant. `opened`: ICMP errors need rules of their own, since not everything passes that no
    classifier names. objects: numbers by name of object. branches: the classifiers after each function. returned:
    translating function -> what that can be which comes back out of it with the sender's addresses.

    Raises PolicyError when classifiers overlap with no order.
    """

    def __init__(
        self, world: World, tenant: Tenant, objects: Mapping[str, int], branches: Mapping[str, tuple[Region, ...]]
    ) -> None:
        self.tenant = tenant
        self._world = world
        self._objects = objects
        self._services = _Services(world, tenant.name)
        self._taken: set[tuple[Place, Match]] = set()
        self._places: dict[Place, Place] = {}  # each once
        self._numbers: dict[str, int] = defaultdict(int)
        inserted = list(insertion(world, tenant))
        found = survey([*of_tenant(world, tenant), *inserted])
        passing = any(region.decision.action in ("chain", "allow") for region in found.regions)
        self.opened = passing and (bool(inserted) or not tenant.default_allow)
        needless = _needless(found) if tenant.default_allow and not inserted else frozenset()
        over = list(self._veils(found, needless))
        self.entries = [*self._regions(found, needless), *map(self._veil, over)]
        onward: list[Led] = []
        if branches:
            begun = [each for region in found.regions for each in starts(region)]
            begun += [Led(veil.box, veil.decision, veil.place, veil.owner) for veil in over]
            own = list(sent(world, tenant.name, branches))
            onward = [*(each for each in own if each.out_of), *led(world, tenant.name, [*begun, *own], branches)]
            self.entries += map(self._led, onward)
        check(world, tenant.name, found.regions, onward)
        if not any(entry.products for entry in self.entries):
            self._taken = set()  # nobody will ask
        self.by_source: dict[Prefix, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            for source in entry.sources if not entry.out_of else ():
                self.by_source[source].append(entry)
        self._lengths = sorted({(source.version, source.length) for source in self.by_source})
        after = [region for group in branches.values() for region in group]
        self.returned = {
            name: tuple(self._of(name, expected))
            for name, expected in answers(world, tenant.name, [*found.regions, *after]).items()
        }

    def _of(self, function: str, expected: Answers) -> Iterator[Entry]:
        """The entries that what comes back out of a function can fall to."""
        found: dict[Entry, None] = {}
        for source in self.meeting(expected.sources):
            for entry in self.by_source[source]:
                if entry in found or max(entry.places()) < expected.floor:
                    continue
                if any(expected.destinations.meets(prefix) for prefix in entry.destinations):
                    found[entry] = None
        yield from found
        for entry in self.entries:
            if entry.out_of[:1] == (function,) and not entry.led:
                yield entry

    def meeting(self, prefixes: Iterable[Prefix]) -> Iterator[Prefix]:
        """The sources that have addresses in common with some of these."""
        found: dict[Prefix, None] = {}
        for prefix in prefixes:
            for version, length in self._lengths:
                wider = prefix.shorten(version, length)
                if wider is not None and wider in self.by_source:
                    found[wider] = None
            if prefix.size > 1:
                found.update((source, None) for source in self.by_source if prefix.holds(source))
        return iter(found)

    def taken(self, place: Place, asked: Match) -> bool:
        """Whether a smaller region has a rule with the same match at the same place: that one counts."""
        return (place, asked) in self._taken

    def _regions(self, found: Survey, needless: frozenset[int]) -> Iterator[Entry]:
        together = _products(found)
        for number in sorted(range(len(found.regions)), key=lambda number: found.regions[number].size):
            region = found.regions[number]
            if number in needless:
                continue
            decision = region.decision
            choices = self._services.choices(decision, region.destinations)
            entry = Entry(self.tenant.name, region.name, decision, choices, region.destinations)
            remarked = decision.dscp is not None and bool(region.dscp)
            entry.once = bool(decision.limit) or remarked
            entry.out_of = known_by(self._world, region) if region.out_of else ()
            if number not in together or remarked or not self._numbered(entry, region):
                self._singles(entry, region)
            yield entry

    def _singles(self, entry: Entry, region: Region) -> None:
        places: dict[int, Place] = {}
        for source in region.sources:
            rules = []
            for box in region.boxes if len(region.sources) == 1 else region.leaving(source):
                for asked, bits in box_matches(box):
                    place = places.get(bits)
                    if place is None:
                        place = region.place(bits, PLAIN)
                        place = places[bits] = self._places.setdefault(place, place)
                    claim = place, asked
                    if claim not in self._taken:
                        self._taken.add(claim)  # (places of what is only for some packets are their own)
                        rules.append(claim)
            if rules:
                entry.rules[source] = rules

    def _numbered(self, entry: Entry, region: Region) -> bool:
        """Give a region its products; not where there are no numbers for them."""
        base = self._objects.get(region.name, 0)
        made = tuple(products(region))
        used = self._numbers[region.name]
        needed = 2 * len(made)  # a second set for packets that come back
        if not base or used + needed > _CONJUNCTIONS_EACH or (base + 1) * _CONJUNCTIONS_EACH > _CONJUNCTIONS:
            return False
        self._numbers[region.name] += needed
        entry.products = made
        entry.conjunction = base * _CONJUNCTIONS_EACH + used
        return True

    def _veils(self, found: Survey, needless: frozenset[int]) -> Iterator[Veil]:
        counted = frozenset(pair for pair in found.veiled if found.placed[pair[0]].owner not in needless)
        default = Decision("allow" if self.tenant.default_allow else "deny")
        return veils(replace(found, veiled=counted), f"policies/{self.tenant.name}/default", default)

    def _veil(self, veil: Veil) -> Entry:
        choices = self._services.choices(veil.decision, (veil.box.destination,))
        entry = Entry(self.tenant.name, veil.owner, veil.decision, choices, (veil.box.destination,))
        entry.rules[veil.box.source] = [(veil.place, asked) for asked, _ in box_matches(veil.box)]
        return entry

    def _led(self, item: Led) -> Entry:
        targets = (item.box.destination,)
        choices = self._services.choices(item.decision, targets)
        entry = Entry(self.tenant.name, item.owner, item.decision, choices, targets, True, item.out_of, led=True)
        entry.rules[item.box.source] = [(item.place, asked) for asked, _ in box_matches(item.box)]
        return entry


def _products(found: Survey) -> frozenset[int]:
    """The regions that may stand as conjunctions: those that lose wherever they contend, against regions that stand
    as single rules."""
    contend: dict[int, list[int]] = defaultdict(list)
    for one, other in found.rivals:
        contend[one].append(other)
        contend[other].append(one)
    candidates = [n for n, region in enumerate(found.regions) if not region.out_of and worth_it(region)]
    chosen: set[int] = set()
    for number in sorted(candidates, key=lambda number: (-found.regions[number].size, number)):
        region = found.regions[number]
        if all(other not in chosen and found.regions[other].inside(region) for other in contend.get(number, ())):
            chosen.add(number)
    return frozenset(chosen)


def _needless(found: Survey) -> frozenset[int]:
    """Mirrors that only say what the default says, with nothing in between: replies that go straight."""
    lowest = min((region.kind for region in found.regions), default=None)
    contending = {number for pair in found.rivals for number in pair}
    return frozenset(
        number
        for number, region in enumerate(found.regions)
        if region.mirror
        and region.decision == Decision("allow")
        and region.kind == lowest
        and number not in contending
    )


class _Services:
    """The services of a tenant by address, to find those that packets to some prefix are for."""

    def __init__(self, world: World, tenant: str) -> None:
        self._exact: dict[Prefix, dict[str, None]] = defaultdict(dict)
        for key, view in world.services.items():
            if view.tenant == tenant:
                for ip in view.ips:
                    self._exact[prefix_of(ip)][key] = None

    def choices(self, decision: Decision, destinations: Iterable[Prefix]) -> tuple[Choice, ...]:
        """What groups have to offer for packets to these destinations."""
        if decision.action not in ("chain", "allow"):
            return ()
        found: dict[str, None] = {}
        for destination in destinations:
            if destination.size == 1:
                found.update(self._exact.get(destination) or {"": None})
                continue
            for ip, keys in self._exact.items():
                if destination.holds(ip):
                    found.update(keys)
            found[""] = None
        return tuple((decision.list_key, decision.backward, service) for service in found)

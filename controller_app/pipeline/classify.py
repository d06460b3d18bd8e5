"""Rules of `classify`: which list of functions a packet of an edge's hosts takes.

What a classifier becomes is worked out once, for all switches; a switch gets what can meet the packets that enter
there. A `Classification` is a value: it stays right as long as policy, addresses and numbers stay (`fits`), whatever
becomes of links, instances and slots.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from controller_app.model.flow import Action, Ct, Flow, FlowKey, Match, MeterConfig, match
from controller_app.model.policy import Tenant
from controller_app.pipeline import cookies, labels
from controller_app.pipeline.boxes import Prefix, prefix_of
from controller_app.pipeline.branch import Branches, branch
from controller_app.pipeline.build import Fields, Rules, put
from controller_app.pipeline.catalogue import Catalogue, Choice, Entry
from controller_app.pipeline.decide import decide, meter_of
from controller_app.pipeline.products import PLAIN, Conjunctions
from controller_app.pipeline.ranks import Place, place_name, ranks
from controller_app.pipeline.regions import ERRORS, Decision, branches
from controller_app.pipeline.tables import (
    BACKWARD_REG,
    BANDS,
    BASE,
    EXEMPT,
    FROM,
    IP,
    IPV6,
    LIST,
    NUMBER,
    RESUMED,
    SERVICE,
    TENANT,
    TRANSPORT,
    ZONE,
)
from controller_app.pipeline.views import World

Choices = dict[Choice, None]  # which lists and services an edge's packets can take, in order
Here = Mapping[str, tuple[Prefix, ...]]  # by tenant, where packets that enter at a switch can come from

_TABLE = NUMBER["classify"]
# ICMP errors (RFC 792; RFC 4443 3): ether type, protocol, field, types
_ERRORS = ((4, IP, 1, "icmp_type", (3, 11, 12)), (6, IPV6, 58, "icmpv6_type", (1, 2, 3, 4)))
_ERRORS_PLACE: Place = (ERRORS,)

_Pairs = tuple[tuple[FlowKey, Flow], ...]


class Classified(NamedTuple):
    """What a switch holds of the classification: the flows of `classify` (and a few of `remember`), what its groups
    have to offer, and the meters of what is limited."""

    flows: Mapping[FlowKey, Flow]
    choices: Choices
    meters: tuple[MeterConfig, ...]


def sources(world: World, shelved: Iterable[Mapping[str, Mapping[str, tuple[Prefix, ...]]]]) -> dict[str, Here]:
    """Per switch and tenant, the addresses that packets entering there can come from: its hosts', the prefixes
    behind them, and those of services with a provider there. shelved: the last, by switch and tenant, in parts."""
    found: dict[str, dict[str, list[Prefix]]] = defaultdict(lambda: defaultdict(list))
    for host in world.hosts.values():
        found[host.switch][host.tenant] += [prefix_of(value) for value in (*host.ips, *host.prefixes)]
    for part in shelved:
        for switch, by_tenant in part.items():
            for tenant, prefixes in by_tenant.items():
                found[switch][tenant] += prefixes
    return {
        switch: {tenant: tuple(dict.fromkeys(prefixes)) for tenant, prefixes in here.items()}
        for switch, here in found.items()
    }


class Classification:
    """Every classifier, mirror and insertion of a policy, ready to be handed to switches.

    objects: numbers for cookies, as for `Rules`. previous: the numbers of places in the order of rules that are to
    be kept (`Allocation.ids["ranks"]`); `ranks` are those made.

    Raises PolicyError when classifiers overlap with no order, or there are too many places.
    """

    def __init__(self, world: World, objects: Mapping[str, int], previous: Mapping[str, int]) -> None:
        self._world = world  # as it was when this was made; of it only what `fits` compares is used
        self._made_for = _depends(world)
        self._objects = objects
        self._cookies: dict[str, int] = {}
        self._checked: set[tuple[object, ...]] = set()
        self._commons: dict[tuple[str, bool, bool, int], Match] = {}
        self._does: dict[Decision, tuple[tuple[Action, ...], str | None]] = {}
        after = branches(world)
        self._catalogues = {
            name: Catalogue(world, tenant, objects, {f: group for (of, f), group in after.items() if of == name})
            for name, tenant in world.policy.tenants.items()
        }
        self._by_list: dict[str, list[Entry]] = defaultdict(list)
        self._out_of: list[Entry] = []
        places: set[Place] = {_ERRORS_PLACE}
        for catalogue in self._catalogues.values():
            for entry in catalogue.entries:
                places.update(entry.places())
                if entry.out_of:
                    self._out_of.append(entry)
                elif entry.decision.list_key:
                    self._by_list[entry.decision.list_key].append(entry)
        self._branches = {key: Branches(key, group) for key, group in after.items()}
        for branching in self._branches.values():
            places.update(branching.places())
        self._places = ranks(places, previous)
        self.ranks = {place_name(place): number for place, number in self._places.items()}
        owners = (entry.owner for catalogue in self._catalogues.values() for entry in catalogue.entries)
        defaults = (f"policies/{tenant}/default" for tenant in (*world.policy.tenants, "default"))
        self._owners = {owner: objects.get(owner, 0) for owner in (*owners, *defaults, BASE)}
        self._spared = {host.tenant for host in world.hosts.values() if host.exempt}
        self._flows: dict[tuple[Entry, Prefix, bool, int], _Pairs] = {}
        self._returned: dict[tuple[Entry, str, int, int], _Pairs] = {}
        self._rests: dict[tuple[str, frozenset[int]], Mapping[FlowKey, Flow]] = {}
        self._done: dict[str, tuple[object, Classified]] = {}

    def fits(
        self, world: World, objects: Mapping[str, int], previous: Mapping[str, int] | None = None
    ) -> bool:
        """Whether this is still the classification of a world. It is cheap to ask. previous: as when it is made;
        None: that is the same."""
        if _depends(world) != self._made_for:
            return False
        if previous is not None and previous is not self.ranks and ranks(self._places, previous) != self._places:
            return False
        return objects is self._objects or all(
            objects.get(owner, 0) == number for owner, number in self._owners.items()
        )

    def at(self, switch: str, here: Here, resumed: frozenset[str] = frozenset()) -> Classified:
        """What a switch gets. here: from `sources`; resumed: keys of the lists whose packets come back there to be
        classified again (`World.resumes`). The same object as before where nothing changed."""
        asked = tuple(here.items()), resumed
        kept = self._done.get(switch)
        if kept is None or kept[0] != asked:
            kept = self._done[switch] = asked, self._switch(here, resumed)
        return kept[1]

    def _switch(self, here: Here, resumed: frozenset[str]) -> Classified:
        flows: dict[FlowKey, Flow] = {}
        choices: Choices = {}
        offered: dict[tuple[Choice, ...], None] = {}
        limits: dict[str, None] = {}
        gathered: dict[tuple[Entry, bool], list[Prefix]] = {}
        for tenant, prefixes in here.items():
            flows.update(self._rest(tenant, frozenset(prefix.version for prefix in prefixes)))
            choices.update(self._rest_choices(tenant))
            catalogue = self._catalogues.get(tenant)
            if catalogue is None:
                continue
            for source in catalogue.meeting(prefixes):
                for entry in catalogue.by_source[source]:
                    offered[entry.choices] = None
                    if entry.decision.limit:
                        limits[entry.decision.limit] = None
                    if entry.products:
                        gathered.setdefault((entry, False), []).append(source)
                    else:
                        flows.update(self._made(entry, source, False))
        for key in sorted(resumed):
            for entry in self._by_list.get(key, ()):
                offered[entry.choices] = None
                for source in entry.rules:
                    flows.update(self._made(entry, source, entry.once))
                if entry.products:
                    gathered[entry, entry.once] = list(entry.sources)
        conjunctions = Conjunctions(_TABLE)
        for (entry, again), found in gathered.items():
            flows.update(self._together(entry, found, again, conjunctions))
        flows.update(conjunctions.flows())
        choices.update((choice, None) for some in offered for choice in some)
        return Classified(flows, choices, tuple(meter_of(self._world, name) for name in limits))

    def _made(self, entry: Entry, source: Prefix, again: bool, out_of: int = 0) -> _Pairs:
        key = entry, source, again, out_of
        found = self._flows.get(key)
        if found is None:
            found = self._flows[key] = tuple(
                self._flow(entry, again, place, asked, out_of) for place, asked in entry.rules[source]
            )
        return found

    def _together(
        self, entry: Entry, sources: list[Prefix], again: bool, conjunctions: Conjunctions
    ) -> Iterator[tuple[FlowKey, Flow]]:
        taken = self._catalogues[entry.tenant].taken
        for index, product in enumerate(entry.products):
            mine = [source for source in sources if source in product.sources]
            if not mine:
                continue
            if product.saved(len(mine)) <= 0:
                place = product.region.place(product.asked, PLAIN)
                for source in mine:
                    for single in product.singles(source):
                        if not taken(place, single):
                            yield self._flow(entry, again, place, single)
                continue
            number = entry.conjunction + 2 * index + again
            dimensions = product.dimensions(mine, self._common(entry, again))
            conjunctions.add(number, self._priority(product.place), dimensions, self._cookie(entry.owner))
            eth_type = IP if product.version == 4 else IPV6
            yield self._flow(entry, again, product.place, match(conj_id=number, eth_type=eth_type))

    def branch(self, world: World, rules: Mapping[str, Rules]) -> Mapping[str, Choices]:
        """Add the rules for what comes out of functions, where the functions are now: of classifiers `after` them, and
        of what is known, or taken for new, by where it comes from. Returns the choices that packets can then need, by
        switch."""
        choices = branch(world, self._branches, self._places, rules)
        for entry in self._out_of:
            for function in entry.out_of if entry.led else entry.out_of[1:]:
                for instance in world.instances.get((entry.tenant, function), ()):
                    for arm in instance.arms if not instance.brings_label else ():
                        choices.setdefault(arm.switch, {}).update(dict.fromkeys(entry.choices))
                        for source in entry.rules:
                            rules[arm.switch].flows.update(self._made(entry, source, True, arm.waypoint))
        zones = {(host.switch, host.port): host.zone for host in world.hosts.values() if host.instance is not None}
        for name, catalogue in self._catalogues.items():
            for function, entries in catalogue.returned.items():
                for instance in world.instances.get((name, function), ()):
                    for arm in instance.arms:
                        offered = choices.setdefault(arm.switch, {})
                        for entry in entries:
                            offered.update(dict.fromkeys(entry.choices))
                            if entry.decision.limit:
                                rules[arm.switch].meter(meter_of(world, entry.decision.limit))
                            back = self._back(entry, function, arm.waypoint, zones[arm.switch, arm.port])
                            rules[arm.switch].flows.update(back)
        return choices

    def _back(self, entry: Entry, function: str, waypoint: int, zone: int) -> _Pairs:
        """The rules of an entry for what comes back out of a translating function by an arm. zone: of its port, for
        what begins a list that the function is not in."""
        key = entry, function, waypoint, zone
        found = self._returned.get(key)
        if found is None:
            key_of = entry.decision.list_key
            functions = self._world.lists[key_of].functions if key_of else (function,)
            anew = () if function in functions else (put(FROM, 0), put(RESUMED, 0), put(ZONE, zone))
            through = bool(key_of) and function in functions and not entry.out_of
            # a list that ends with the function has nothing left for it
            decision = entry.decision._replace(action="allow", list_key="") if through else entry.decision
            taken = self._catalogues[entry.tenant].taken
            every = [rule for rules in entry.rules.values() for rule in rules]
            for product in entry.products:
                place = product.region.place(product.asked, PLAIN)
                every += [
                    (place, single)
                    for source in product.sources
                    for single in product.singles(source)
                    if not taken(place, single)
                ]
            made = [self._flow(entry, False, place, asked, waypoint, anew, decision) for place, asked in every]
            found = self._returned[key] = tuple(made)
        return found

    def _common(self, entry: Entry, again: bool, out_of: int = 0) -> Match:
        """What all its rules ask for: the tenant and, where it matters, whether a packet was here before, and out of
        which arm (its waypoint) it came."""
        key = entry.tenant, entry.once, again, out_of
        kept = self._commons.get(key)
        if kept is None:
            fields: Fields = {"reg0": labels.bits(TENANT, self._world.tenants[entry.tenant])}
            if out_of:
                fields["reg6"] = labels.both(labels.bits(RESUMED, 1), labels.bits(FROM, out_of))
            elif entry.once:
                fields["reg6"] = labels.bits(RESUMED, int(again))
            kept = self._commons[key] = match(**fields)
        return kept

    def _priority(self, place: Place) -> int:
        return BANDS["classifier"] + self._places[place]

    def _cookie(self, owner: str) -> int:
        found = self._cookies.get(owner)
        if found is None:
            found = self._cookies[owner] = cookies.cookie(owner, self._objects.get(owner, 0))
        return found

    def _flow(
        self,
        entry: Entry,
        again: bool,
        place: Place,
        asked: Match,
        out_of: int = 0,
        anew: tuple[Action, ...] = (),
        decided: Decision | None = None,
    ) -> tuple[FlowKey, Flow]:
        decision = decided or (entry.decision.way if again else entry.decision)
        does = self._does.get(decision)
        if does is None:
            does = self._does[decision] = decide(self._world, decision)
        actions, goto = does
        actions += anew
        if again and entry.decision.dscp is not None:  # it has been given another one
            given = entry.decision.dscp
            asked = tuple(c if c.field != "ip_dscp" else c._replace(value=given) for c in asked)
        found = self._common(entry, again, out_of) + asked  # registers come first
        shape = decision, anew, tuple(condition.field for condition in found)
        if shape not in self._checked:  # one of each kind of flow is held against the declared pipeline
            self._checked.add(shape)
            fields: Fields = {condition.field: condition[1:] for condition in found}
            Rules("", {}).add("classify", "classifier", BASE, actions, goto, **fields)
        priority = self._priority(place)
        after = None if goto is None else NUMBER[goto]
        flow = Flow(_TABLE, priority, found, actions, after, self._cookie(entry.owner))
        return FlowKey(_TABLE, priority, found), flow

    def _rest(self, tenant: str, versions: frozenset[int]) -> Mapping[FlowKey, Flow]:
        """What no classifier takes, what meets no chain, and ICMP errors."""
        kept = self._rests.get((tenant, versions))
        if kept is not None:
            return kept
        rules = Rules("", self._objects)
        declared = self._world.policy.tenants.get(tenant, Tenant())
        owner = f"policies/{tenant}/default"
        register = labels.bits(TENANT, self._world.tenants[tenant])
        rules.add("classify", "rest", owner, goto="remember" if declared.default_allow else None, reg0=register)
        if tenant in self._spared:
            _spare(rules)
        if tenant in self._catalogues and self._catalogues[tenant].opened:
            for version, eth_type, protocol, kind_field, kinds in _ERRORS:
                for kind in kinds if version in versions else ():
                    fields: Fields = {"eth_type": eth_type, "ip_proto": protocol, kind_field: kind}
                    rank = self._places[_ERRORS_PLACE]
                    rules.add("classify", "classifier", owner, goto="remember", plus=rank, reg0=register, **fields)
        self._rests[tenant, versions] = rules.flows
        return rules.flows

    def _rest_choices(self, tenant: str) -> Choices:
        declared = self._world.policy.tenants.get(tenant, Tenant())
        if not declared.default_allow and tenant not in self._spared:
            return {}
        return {("", False, key): None for key, view in self._world.services.items() if view.tenant == tenant}


def _spare(rules: Rules) -> None:
    """What a function sends for itself, or is sent, is let through or not like anybody's; it meets no chain."""
    exempt = labels.bits(EXEMPT, 1)
    forget = put(LIST, 0), put(BACKWARD_REG, 0), put(TRANSPORT, 0)
    rules.add("remember", "trusted", BASE, forget, "copies", plus=1, reg5=exempt, reg3=labels.bits(SERVICE, 0))
    for eth_type in (IP, IPV6):
        look_up = Ct(zone=ZONE, table=NUMBER["pinned-provider"])
        rules.add("remember", "trusted", BASE, (*forget, look_up), reg5=exempt, eth_type=eth_type)


def _depends(world: World) -> tuple[object, ...]:
    """What a classification is made of. Neither links nor instances nor slots are in it."""
    declared = {
        name: (t.default_allow, t.networks, t.segments,
               # only their parties are told by endpoints
               world.placed.get(name, t.endpoints) if t.classifiers or t.segments else None, t.chains, t.classifiers,
               t.services, [(f.name, f.mode, f.handover, f.on_failure) for f in t.functions.values()])
        for name, t in world.policy.tenants.items()
    }  # fmt: skip
    return (
        declared,
        world.tenants,
        world.meters,
        world.left_out,
        [(h.name, h.tenant, h.network, h.instance, h.exempt, h.ips, h.prefixes) for h in world.hosts.values()],
        {key: view.ips for key, view in world.services.items()},
        {key: (view.id, view.transport) for key, view in world.lists.items()},
    )

"""What is wanted of switches that they are not able to do: found by the rules each would get, said with the places
in the policies that need it.

A change that newly asks a connected switch for what it lacks is refused. What asked for it before, of a switch that
came later, is said: in the log, with the switch, and at /readyz.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller_app.model.policy import Policy, Tenant
from controller_app.model.position import NOWHERE, Diagnostic, PolicyError, Position
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.tables import TABLE_NAMES
from controller_app.reconcile.extent import Held
from controller_app.runtime.capabilities import ABILITIES, Capabilities, too_full, users_of
from controller_app.runtime.computed import Computed
from controller_app.runtime.conversation import Conversation
from controller_app.store.interface import StoredPolicy

ASKING = 0.1  # seconds between switches that are asked how much their tables take

# What a file can demand with `must_understand`, by what switches need for it.
DEMANDS: Mapping[str, tuple[str, ...]] = {
    "nsh": ("nsh-functions", "transport-nsh"),
    "mpls": ("transport-mpls",),
    "vlan": ("transport-vlan", "flood"),
    "meters": ("limits", "reject"),
    "queues": ("queues",),
    "multipath": ("session-affinity",),
    "conntrack": ("routed-functions", "translating-functions", "session-affinity"),
    "ct-label": ("routed-functions", "translating-functions", "session-affinity"),
}


@dataclass(frozen=True, slots=True)
class Able:
    """A connected switch: what it is able to do, what it says it is, and by table how many flows of others it
    holds."""

    has: Capabilities
    version: str | None = None
    foreign: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class User:
    """An object of a policy, by its path there, and where it is written."""

    path: str
    where: Position


@dataclass(frozen=True, slots=True)
class Lack:
    """A switch lacks an ability that rules for `users` ask of it; none: rules that it gets under any policy."""

    switch: str
    ability: str
    why: str
    users: tuple[User, ...] = ()

    @property
    def keys(self) -> frozenset[tuple[str, str, str]]:
        return frozenset((self.switch, self.ability, user.path) for user in self.users)

    def __str__(self) -> str:
        """For a list of switches."""
        says = ABILITIES[self.ability].says if self.ability in ABILITIES else self.ability
        names = [user.path for user in self.users]
        if not names:
            return f"cannot do {says}, which every switch with hosts needs"
        return f"cannot do {says}, which {_listed(names)} need{'s' * (len(names) == 1)}"


def lacks(computed: Computed, able: Mapping[str, Able]) -> tuple[Lack, ...]:
    """What the rules ask of the switches that these lack."""
    found = []
    for switch, known in sorted(able.items()):
        state = computed.state.get(switch)
        lacking = known.has.lacking
        depth = known.has.mpls_depth
        if state is None or not (lacking or (depth is not None and depth < 2)):
            continue
        for ability, cookies in sorted(users_of(state, lacking, depth).items()):
            named = {object_name(value, computed.allocation) for value in cookies}
            users = dict.fromkeys(_users(computed.policy, ability, sorted(name for name in named if name)))
            why = known.has.why.get(ability) or f"it puts on {depth} labels at most"
            what = f"{why} (version {known.version})" if known.version else why
            found.append(Lack(switch, ability, what, tuple(users)))
    return tuple(found)


def overflows(computed: Computed, able: Mapping[str, Able]) -> dict[tuple[str, str], tuple[int, Diagnostic]]:
    """Where a switch would have to hold more than it takes: by switch and what of it, how much it would be."""
    found = {}
    for switch, known in sorted(able.items()):
        state = computed.state.get(switch)
        if state is None:
            continue
        for what, count, most in too_full(state, known.foreign or {}, known.has):
            kind, _, number = what.partition(" ")
            name = f"table {TABLE_NAMES.get(int(number), number)} ({number})" if number else kind
            told = Diagnostic(
                _largest(computed, switch, int(number)) if number else NOWHERE,
                f"switches.{switch}",
                f"{name} would hold {count} and takes {most} at most",
                "let the switch take more (Open vSwitch: flow_limit of its Flow_Table), or ask for less of it",
            )
            found[switch, what] = count, told
    return found


def _largest(computed: Computed, switch: str, table: int) -> Position:
    """Where the object of a policy is that has most rules in a table of a switch."""
    owners = Counter(flow.cookie for flow in computed.state[switch].flows.values() if flow.table == table)
    for value, _ in owners.most_common():
        name = object_name(value, computed.allocation)
        for user in _users(computed.policy, "", [name] if name else []):
            return user.where
    return NOWHERE


def refusals(
    computed: Computed, standing: Computed, able: Mapping[str, Able], texts: Mapping[str, StoredPolicy]
) -> list[Diagnostic]:
    """What is to be said of a change: errors for what it newly asks for in vain, warnings for what was asked for in
    vain before. texts: the policies, for what their files demand."""
    found: list[Diagnostic] = []
    missing = lacks(computed, able)
    known = {key for lack in lacks(standing, able) for key in lack.keys} if missing else set()
    for lack in missing:
        fresh = [user for user in lack.users if (lack.switch, lack.ability, user.path) not in known]
        shown = fresh or lack.users
        if not shown:
            continue  # no policy can do anything about it: it is said with the switch
        severity = "error" if fresh else "warning"
        ability = ABILITIES[lack.ability]
        more = f" (and {len(shown) - 1} more)" if len(shown) > 1 else ""
        found.append(
            Diagnostic(
                shown[0].where,
                shown[0].path,
                f"{lack.switch} cannot do {ability.says}, which its rules for this{more} need: {lack.why}",
                "; ".join(filter(None, ("use a switch that can, or lead this traffic another way", ability.instead))),
                severity,
            )
        )
        if fresh:
            found += _demanded(lack, {user.where.file for user in fresh}, texts)
    if any(known.has.tables or known.has.groups or known.has.meters for known in able.values()):
        before = overflows(standing, able)
        for place, (count, told) in overflows(computed, able).items():
            if place not in before or count > before[place][0]:
                found.append(told)
    return found


def must_suit(
    computed: Computed, standing: Computed, switches: Mapping[str, Conversation], texts: Mapping[str, StoredPolicy]
) -> tuple[Diagnostic, ...]:
    """The warnings of `refusals`, for the switches that are connected; PolicyError where there are errors."""
    found = refusals(computed, standing, able_of(switches), texts)
    errors = [item for item in found if item.severity == "error"]
    if errors:
        raise PolicyError(errors)
    return tuple(found)


def _demanded(lack: Lack, files: set[str], texts: Mapping[str, StoredPolicy]) -> Iterator[Diagnostic]:
    """The entries of `must_understand` that a switch is no match for."""
    from controller_app.policy.yaml_positions import mapping_document
    from controller_app.runtime.intent import source_name

    for policy in texts.values():
        name = source_name(policy)
        if name not in files or policy.text is None or name is None:
            continue
        document = mapping_document(policy.text, name)
        demanded = document.plain().get("must_understand")
        for index, entry in enumerate(demanded if isinstance(demanded, list) else ()):
            if entry in DEMANDS.get(lack.ability, ()):
                path, position = document.walk(("must_understand", index))
                yield Diagnostic(
                    position,
                    path,
                    f"the file requires {entry!r}, and {lack.switch} cannot do {ABILITIES[lack.ability].says}",
                    "use a switch that can, or remove the entry with what needs it",
                )


# -- whose rules these are --------------------------------------------------------------------------------


def _users(policy: Policy, ability: str, names: Iterable[str]) -> Iterator[User]:
    """The objects of the policy behind names of cookies; where none is one of a policy's (what every switch needs, or
    what carries frames to a switch), the objects that ask for the ability by what they say."""
    found = False
    for name in names:
        kind, _, rest = name.partition("/")
        owner, _, item = rest.partition("/")
        tenant = policy.tenants.get(owner)
        section = getattr(tenant, kind, None) if tenant is not None and kind in _SECTIONS else None
        if section and item in section:
            found = True
            yield User(_path(owner, kind, item), section[item].where)
    if not found:
        yield from _askers(policy, ability)


_SECTIONS = ("networks", "classifiers", "chains", "functions", "services")


def _askers(policy: Policy, ability: str) -> Iterator[User]:
    if ability in _ASKED_BY:
        for name, tenant in policy.tenants.items():
            for kind, item in _ASKED_BY[ability](tenant):
                yield User(_path(name, kind, item), getattr(tenant, kind)[item].where)


def _remembering(tenant: Tenant) -> Iterator[tuple[str, str]]:
    yield from (("chains", name) for name, chain in tenant.chains.items() if chain.stickiness == "connection")
    yield from (("services", name) for name in tenant.services)


def _serving(tenant: Tenant) -> Iterator[tuple[str, str]]:
    yield from (("services", name) for name in tenant.services)


def _carried(transport: str) -> Callable[[Tenant], Iterator[tuple[str, str]]]:
    def chosen(tenant: Tenant) -> Iterator[tuple[str, str]]:
        yield from (("chains", name) for name, chain in tenant.chains.items() if chain.transport == transport)
        yield from (("functions", name) for name, function in tenant.functions.items() if function.mode == transport)

    return chosen


_ASKED_BY: Mapping[str, Callable[[Tenant], Iterator[tuple[str, str]]]] = {
    "conntrack": _remembering,
    "ct-label": _remembering,
    "ct-nat": _serving,
    "packet-size": _serving,
    "mpls": _carried("mpls"),
    "nsh": _carried("nsh"),
    "vlan": _carried("vlan"),
}


def _path(tenant: str, kind: str, item: str) -> str:
    return f"{kind}.{item}" if tenant == "default" else f"tenants.{tenant}.{kind}.{item}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


class Watch:
    """Which connected switches lack what their rules ask for, followed as they connect and as what is wanted
    changes."""

    def __init__(self) -> None:
        self.lacks: tuple[Lack, ...] = ()
        self._compiled: object = None
        self._known: dict[str, Capabilities] = {}
        self._ask_next = 0.0

    def look(self, computed: Computed, switches: Mapping[str, Conversation], now: float) -> list[str]:
        """Answers what a person should read: each lack when it shows, once. One switch after the other is asked, now
        and then, how much its tables take: that is 1.2 MB of each."""
        talking = {name: conversation for name, conversation in switches.items() if conversation.connected}
        if now >= self._ask_next:
            self._ask_next = now + ASKING
            any(each.ask_tables() for each in talking.values() if each.sync.settled)
        known = {name: conversation.capabilities for name, conversation in talking.items()}
        same = known.keys() == self._known.keys() and all(known[name] is self._known[name] for name in known)
        if same and computed.compiled is self._compiled:
            return []
        self._compiled, self._known = computed.compiled, known
        before = {(lack.switch, lack.ability) for lack in self.lacks}
        self.lacks = lacks(computed, able_of(talking))
        fresh = [lack for lack in self.lacks if (lack.switch, lack.ability) not in before]
        return [f"{lack.switch} {lack}: {lack.why}" for lack in fresh]

    def of(self, switch: str) -> str | None:
        """What is wrong with a switch, for people."""
        return "; ".join(str(lack) for lack in self.lacks if lack.switch == switch) or None

    @property
    def problem(self) -> str | None:
        """All of it in one line."""
        return "; ".join(f"{lack.switch} {lack}" for lack in self.lacks) or None


def room_of(switches: Mapping[str, Conversation]) -> dict[str, Held]:
    """What switches hold of others, and how much they take, as far as they said."""
    return {
        name: Held(Counter(flow.table for flow in each.foreign.flows), has.tables, has.groups, has.meters)
        for name, each in switches.items()
        for has in (each.capabilities,)
    }


def able_of(talking: Mapping[str, Conversation]) -> dict[str, Able]:
    """What is known of switches that are connected, by name."""
    return {
        name: Able(each.capabilities, each.facts.version, Counter(flow.table for flow in each.foreign.flows))
        for name, each in talking.items()
        if each.connected
    }

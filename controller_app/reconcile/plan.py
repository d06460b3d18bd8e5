"""What a change would do, for people: rules per switch, and the policy objects it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState, SwitchState
from controller_app.model.policy import Policy
from controller_app.reconcile.changes import Change, Counts, DropFlow, PutFlow
from controller_app.reconcile.diff import diff
from controller_app.reconcile.extent import Held, OpenConnections, counted, moves, space


@dataclass(frozen=True)
class Plan:
    """The change from one flow state to another: counts by switch (those that change), and the chains and
    services it is about, as `name`, or `tenant/name` outside the default tenant. kinds: the counts of rules, groups,
    meters and slots apart; space: what tables hold and take; moves: slots that change hands (`reconcile.extent`)."""

    changes: Mapping[str, Counts]
    chains: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    kinds: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    moves: Sequence[Mapping[str, Any]] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def to_json(self, verification: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The `plan` document."""
        return {
            "changes": {
                switch: {**counts.to_json(), **self.kinds.get(switch, {})} for switch, counts in self.changes.items()
            },
            "affected": {"chains": list(self.chains), "services": list(self.services)},
            "moves": list(self.moves),
            "space": dict(self.space),
            "verification": dict(verification) if verification is not None else None,
        }


def plan(
    desired: FlowState,
    installed: FlowState,
    after: tuple[Policy, Allocation],
    before: tuple[Policy, Allocation],
    held: Mapping[str, Held] | None = None,
    known: OpenConnections | None = None,
) -> Plan:
    """Compare what is wanted with what there is; each comes with the policy and allocation it was made of,
    by which the cookies of flows are told. held: what switches hold of others and how much they take; known: how many
    connections are open."""
    counts: dict[str, Counts] = {}
    kinds: dict[str, dict[str, dict[str, int]]] = {}
    room: dict[str, dict[str, Any]] = {}
    touched: set[str] = set()
    names = {True: _names(after[1]), False: _names(before[1])}
    for switch in [*desired, *(name for name in installed if name not in desired)]:
        wanted, there = desired.get(switch, SwitchState()), installed.get(switch, SwitchState())
        changes = diff(wanted, there)
        if changes:
            counts[switch] = changes.counts
            kinds[switch] = counted(changes)
            room[switch] = space(there, wanted, (held or {}).get(switch, Held()))
            for change in changes:
                touched |= _objects(change, names)
    chains: dict[str, None] = {}
    services: dict[str, None] = {}
    for policy in (before[0], after[0]):
        found_chains, found_services = _affected(policy, touched)
        chains.update(dict.fromkeys(found_chains))
        services.update(dict.fromkeys(found_services))
    for found_chains, found_services in (
        _redefined(before[0], after[0]),
        _affected(after[0], _rebalanced(before[1], after[1])),
    ):
        chains.update(dict.fromkeys(found_chains))
        services.update(dict.fromkeys(found_services))
    moved = moves(after, before, known or {})
    return Plan(counts, tuple(sorted(chains)), tuple(sorted(services)), kinds, room, moved)


def _names(allocation: Allocation) -> dict[int, str]:
    return {number: name for name, number in allocation.ids.get("objects", {}).items()}


def _objects(change: Change, names: Mapping[bool, Mapping[int, str]]) -> set[str]:
    """The objects whose flows a change touches, named `kind/tenant/name`."""
    match change:
        case PutFlow(flow=flow, replaces=before):
            found = {names[True].get(_number(flow.cookie), "")}
            if before is not None:
                found.add(names[False].get(_number(before.cookie), ""))
            return found
        case DropFlow(flow=flow):
            return {names[False].get(_number(flow.cookie), "")}
    return set()


def _number(cookie: int) -> int:
    return cookie & (1 << 40) - 1


def _affected(policy: Policy, touched: Iterable[str]) -> tuple[set[str], set[str]]:
    chains: set[str] = set()
    services: set[str] = set()
    for name in touched:
        kind, _, rest = name.partition("/")
        tenant_name, _, item = rest.partition("/")
        tenant = policy.tenants.get(tenant_name)
        if tenant is None:
            continue
        if kind == "services" and item in tenant.services:
            services.add(_say(tenant_name, item))
        elif kind == "chains" and item in tenant.chains:
            chains.add(_say(tenant_name, item))
        elif kind == "classifiers" and item in tenant.classifiers:
            chain = tenant.classifiers[item].then.chain
            if chain is not None:
                chains.add(_say(tenant_name, chain))
        elif kind == "functions":
            chains |= {_say(tenant_name, c.name) for c in tenant.chains.values() if item in c.through}
    return chains, services


def _redefined(before: Policy, after: Policy) -> tuple[set[str], set[str]]:
    """Chains and services that are new, gone or written otherwise, even where no rule of theirs tells: slot
    tables live in groups, which carry no cookie."""
    chains: set[str] = set()
    services: set[str] = set()
    for name in {*before.tenants, *after.tenants}:
        old, new = before.tenants.get(name), after.tenants.get(name)
        old_chains, new_chains = old.chains if old else {}, new.chains if new else {}
        old_functions, new_functions = old.functions if old else {}, new.functions if new else {}
        for chain in {*old_chains, *new_chains}:
            a, b = old_chains.get(chain), new_chains.get(chain)
            if a != b or any(old_functions.get(f) != new_functions.get(f) for f in (b.through if b else ())):
                chains.add(_say(name, chain))
        old_services, new_services = old.services if old else {}, new.services if new else {}
        services |= {
            _say(name, service)
            for service in {*old_services, *new_services}
            if old_services.get(service) != new_services.get(service)
        }
    return chains, services


def _rebalanced(before: Allocation, after: Allocation) -> set[str]:
    """The functions and services, `kind/tenant/name`, of whose slots some are another's now."""
    return {
        name.partition("@")[0]
        for name in {*before.slots, *after.slots}
        if before.slots.get(name) != after.slots.get(name)
    }


def _say(tenant: str, name: str) -> str:
    return name if tenant == "default" else f"{tenant}/{name}"

"""A walk in words: which switch, which table and rule, and which object of the policy, on which line, wanted it so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.flow import CONTROLLER, Action, Clone, Ct, Flow, FlowState, Group, ToGroup
from controller_app.model.policy import Chain, Policy
from controller_app.model.position import NOWHERE, Position
from controller_app.model.topology import End, Topology
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.labels import PREFIX, PREFIXES, Label
from controller_app.pipeline.lists import list_key, pieces
from controller_app.pipeline.ofctl import format_actions, format_match
from controller_app.pipeline.tables import TABLE_NAMES
from controller_app.verification.packet import Packet
from controller_app.verification.walk import Hop, Network, Walk, flow_of

_LOWER = (1 << 40) - 1
_LABELLED_BY = ("eth_dst", "/eth_dst")  # the label is behind a service header where that is what goes on links
_DECIDES = "classify"  # the table from which on a packet has the chain that it leaves with
_SECTIONS = ("networks", "classifiers", "chains", "functions", "services")


class Told(NamedTuple):
    """A rule as it stands in a document, and which flow of which switch it is; likewise a group of that rule, with the
    buckets that lead to the same."""

    document: dict[str, Any]
    switch: str
    what: Flow | Group
    buckets: tuple[int, ...] = ()


def hop_document(hop: Hop, allocation: Allocation | None) -> dict[str, Any]:
    """One hop as JSON: switch, in_port, rules (table and object), out_port (None: it ended here)."""
    return {
        "switch": hop.switch,
        "in_port": hop.in_port,
        "rules": [{"table": TABLE_NAMES.get(flow.table, str(flow.table)),
                   "object": name_of(flow.cookie, allocation)} for flow in hop.rules],
        "out_port": out_port(hop),
    }


def out_port(hop: Hop) -> int | str | None:
    """Where a hop ends: a port, `controller`, or None."""
    return "controller" if hop.out_port == CONTROLLER else hop.out_port


def name_of(cookie: int, allocation: Allocation | None) -> str | None:
    """The object behind a cookie, without the tenant where that is the default one."""
    name = object_name(cookie, allocation or Allocation())
    return None if name is None else shortened(name)


def shortened(name: str) -> str:
    """`classifiers/default/web` as `classifiers/web`: the tenant is said where it is another."""
    parts = name.split("/")
    return "/".join((parts[0], *parts[2:])) if len(parts) > 2 and parts[1] == "default" else name


class Places:
    """Where the objects that flows are made for are written."""

    def __init__(self, policy: Policy, topology: Topology) -> None:
        self._policy, self._topology = policy, topology

    def of(self, name: str) -> Position | None:
        """The place of `kind/tenant/name` (as cookies name it); None for what is written nowhere: found by discovery,
        what every switch needs, a default that no file mentions."""
        kind, _, rest = name.partition("/")
        where = NOWHERE
        if kind == "hosts" and rest in self._topology.hosts:
            where = self._topology.hosts[rest].where
        elif kind == "switches" and rest in self._topology.switches:
            where = self._topology.switches[rest].where
        elif kind == "links":
            where = self._links.get(rest, NOWHERE)
        elif kind in _SECTIONS or kind == "policies":
            where = self._of_tenant(kind, *rest.split("/"))
        return None if where == NOWHERE else where

    def text(self, name: str | None) -> str | None:
        """`of`, as file:line:column."""
        where = None if name is None else self.of(name)
        return None if where is None else str(where)

    def _of_tenant(self, kind: str, owner: str, name: str = "", part: str = "") -> Position:
        tenant = self._policy.tenants.get(owner)
        if tenant is None:
            return NOWHERE
        if kind == "policies":
            return tenant.default_where
        found = getattr(tenant, kind).get(name)
        if kind == "functions" and found is not None and part in found.instances:
            found = found.instances[part]
        where = NOWHERE if found is None else found.where
        assert isinstance(where, Position)
        return where

    @cached_property
    def _links(self) -> Mapping[str, Position]:
        return {f"{link.a}-{link.b}": link.where for link in self._topology.links}


class Explainer:
    """Makes documents of walks through one network. `told` is every rule and group that came up, in order."""

    def __init__(self, policy: Policy, network: Network, allocation: Allocation | None) -> None:
        self.told: list[Told] = []
        self._policy, self._network, self._state = policy, network, network.state
        self._allocation = allocation or Allocation()
        self._places = Places(policy, network.topology)

    def hops(self, hops: Sequence[Hop], walk: Walk) -> list[dict[str, Any]]:
        """Hops as JSON.

        Of each hop: switch, in_port, rules, out_port (None: it ended here). Of each rule: table, priority, match,
        actions, as ovs-ofctl(8) writes them; object, for whom it is there, and position, file:line:column of that;
        chains that the packet is on, with their positions (of what a network inserts, the network); groups, see
        `_group`.
        """
        taken: Counter[tuple[str, int]] = Counter()
        chains: list[dict[str, Any]] = []
        found = []
        for hop, onward in zip(hops, (*hops[1:], None), strict=True):
            chains = self._chains(hop.packet, chains)
            rules = []
            for flow in hop.rules:
                if TABLE_NAMES.get(flow.table) == _DECIDES:
                    chains = self._decided(flow)
                    chains = chains if onward is None else self._chains(onward.packet, chains)
                rules.append(self._rule(flow, chains, hop, walk, taken))
            found.append({"switch": hop.switch, "in_port": hop.in_port, "rules": rules, "out_port": out_port(hop)})
        return found

    def _rule(self, flow: Flow, chains: list[dict[str, Any]], hop: Hop, walk: Walk,
              taken: Counter[tuple[str, int]]) -> dict[str, Any]:
        name = object_name(flow.cookie, self._allocation)
        document = {
            "table": TABLE_NAMES.get(flow.table, str(flow.table)),
            "object": None if name is None else shortened(name),
            "position": self._places.text(name),
            "chains": chains,
            "priority": flow.priority,
            "match": ",".join(format_match(flow.match)),
            "actions": format_actions(flow.actions, flow.goto, TABLE_NAMES),
            "groups": [self._group(number, hop, walk, taken) for number in groups_in(flow.actions)],
        }
        self.told.append(Told(document, hop.switch, flow))
        return document

    def _group(self, number: int, hop: Hop, walk: Walk, taken: Counter[tuple[str, int]]) -> dict[str, Any]:
        """A group as JSON: id, type, how many buckets it has, the `bucket` taken (from 0; None: all of them), the
        `actions` of that, and of a choice by hash how many of the 256 `slots` lead to the same."""
        group = _groups(self._state, hop.switch).get(number)
        document: dict[str, Any] = {"id": number, "type": None, "buckets": 0, "bucket": None, "slots": None,
                                    "actions": None}
        if group is None:
            return document
        place = hop.switch, number
        choices = [bucket for switch, chosen, bucket in walk.choices if (switch, chosen) == place]
        document |= {"type": group.kind, "buckets": len(group.buckets)}
        index: int | None = None
        same: list[int] = []
        if group.kind == "select" and choices:
            index = choices[min(taken[place], len(choices) - 1)]
            taken[place] += 1
            same = _same(group, index, walk.hashes.get(flow_of(hop.packet), walk.slots))
            document["slots"] = len(same) or None
        elif group.kind == "indirect":
            index = 0
        elif group.kind == "ff":
            index = next((at for at, bucket in enumerate(group.buckets) if bucket.watch_port is None
                          or self._network.is_up(End(hop.switch, bucket.watch_port))), None)
        if index is not None:
            document |= {"bucket": index, "actions": format_actions(group.buckets[index].actions, None, TABLE_NAMES)}
        self.told.append(Told(document, hop.switch, group, tuple(same) or (() if index is None else (index,))))
        return document

    def _decided(self, flow: Flow) -> list[dict[str, Any]]:
        """What a rule that classifies leads into: the chain of its classifier, or what its network inserts."""
        name = object_name(flow.cookie, self._allocation) or ""
        kind, _, rest = name.partition("/")
        if kind == "networks":
            return [{"name": shortened(name), "position": self._places.text(name)}]
        owner, _, own = rest.partition("/")
        tenant = self._policy.tenants.get(owner)
        classifier = tenant.classifiers.get(own) if kind == "classifiers" and tenant is not None else None
        chain = None if classifier is None or tenant is None else tenant.chains.get(classifier.then.chain or "")
        return [] if chain is None else [_chain_document(owner, chain)]

    def _chains(self, packet: Packet, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The chains whose label a packet has; of several those that it was on before. What its label does not tell,
        and one without a label, is on what it was on before."""
        label = label_of(packet)
        if label is None:
            return before
        if not label.path:
            return []
        key = self._lists.get(label.path)
        found = [_chain_document(*each) for each in self._by_list.get(key or "", [])]
        return [each for each in found if each in before] or found or before

    @cached_property
    def _lists(self) -> Mapping[int, str]:
        """The list of functions that each path's number belongs to."""
        return {number: key for key, paths in self._allocation.paths.items() for number in paths.values()}

    @cached_property
    def _by_list(self) -> Mapping[str, list[tuple[str, Chain]]]:
        """The chains of which a list is the whole, a piece, or the way back, by the list's key."""
        found: dict[str, list[tuple[str, Chain]]] = {}
        for tenant in self._policy.tenants.values():
            for chain in tenant.chains.values():
                for key in lists_of(self._policy, tenant.name, chain):
                    found.setdefault(key, []).append((tenant.name, chain))
        return found


def lists_of(policy: Policy, tenant: str, chain: Chain) -> dict[str, None]:
    """The keys of the lists of functions that packets of a chain are given, in order."""
    functions = policy.tenants[tenant].functions
    ways = [chain.through, *([chain.returns] if isinstance(chain.returns, tuple) else [])]
    return dict.fromkeys(list_key(tenant, piece, chain) for way in ways for piece in pieces(functions, way))


def label_of(packet: Packet) -> Label | None:
    """The label in a packet's destination MAC, whichever of its prefixes it has; also behind a service header."""
    for name in _LABELLED_BY:
        mac = packet.get(name, 0)
        if mac >> 40 in PREFIXES:
            return Label.read(PREFIX << 40 | mac & _LOWER)
    return None


def _chain_document(tenant: str, chain: Chain) -> dict[str, Any]:
    return {"name": chain.name if tenant == "default" else f"{tenant}/{chain.name}",
            "position": None if chain.where == NOWHERE else str(chain.where)}


def groups_in(actions: Iterable[Action]) -> Iterator[int]:
    """The groups that a list of actions names, in order."""
    for action in actions:
        if isinstance(action, ToGroup):
            yield action.group
        elif isinstance(action, Clone):
            yield from groups_in(action.actions)
        elif isinstance(action, Ct):
            yield from groups_in(action.exec)


def _groups(state: FlowState, switch: str) -> Mapping[int, Group]:
    held = state.get(switch)
    return {} if held is None else held.groups


def _same(group: Group, index: int, slots: int) -> list[int]:
    """The slots of a hash that choose what this bucket does; of a group that spreads it in a way of its own, none."""
    if len(group.buckets) != SLOTS:
        return []
    wanted = group.buckets[index].actions
    return [slot for slot, bucket in enumerate(group.buckets) if slots >> slot & 1 and bucket.actions == wanted]

"""What switches are able to do, and what rules ask of them: values, and nothing that talks to a switch.

An ability is a part of the vocabulary of rules (`model.flow`) that not every switch or datapath has. What a set of
rules needs is read off the rules themselves. How it is found out what a switch has: `runtime.trying`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from controller_app.model.flow import (
    Action,
    CheckPacketLarger,
    Clone,
    Conjunction,
    Ct,
    DecapNsh,
    DecNshTtl,
    EncapNsh,
    Flow,
    Group,
    Match,
    Meter,
    Move,
    Multipath,
    Nat,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Resubmit,
    SetField,
    SetQueue,
    SubField,
    SwitchState,
    ToGroup,
    full_mask,
    match,
)
from controller_app.openflow.versions import read_version

OPEN_VSWITCH = "Open vSwitch"
_IP = 0x0800
_LABEL = SetField("ct_label", 1, full_mask("ct_label"))


class Ability(NamedTuple):
    """says: for people. trial: a rule that only a switch with the ability takes; None where that is found out
    otherwise. instead: what can be done about a switch without it, besides using another."""

    says: str
    trial: Flow | None = None
    instead: str = ""


def _flow(*actions: Action, goto: int | None = None, **fields: int) -> Flow:
    return Flow(0, 1, match(**fields), actions, goto)


ABILITIES: Mapping[str, Ability] = {
    "bundles": Ability("changes of many rules as one (ONF bundles)"),
    "registers": Ability(
        "registers, copying of fields and resubmit (Nicira's extensions)",
        _flow(SetField("reg0", 1, 0xFFFF), Move(SubField("eth_src", 0, 48), SubField("eth_dst", 0, 48)), Resubmit(1)),
    ),
    "clone": Ability("clone, which copies for taps and floods need", _flow(Clone((SetField("reg0", 1, 1),)))),
    "select-groups": Ability("select groups, of 256 slots"),
    "failover-groups": Ability("fast-failover groups"),
    "conntrack": Ability(
        "connection tracking (ct)",
        _flow(Ct(1, table=1), eth_type=_IP),
        "chains with `stickiness: none` do without; services do not",
    ),
    "ct-label": Ability(
        "labels of tracked connections (ct_label)",
        _flow(Ct(1, True, exec=(_LABEL,)), eth_type=_IP, ct_label=1),
        "chains with `stickiness: none` do without; services do not",
    ),
    "ct-nat": Ability("translation by connection tracking (nat)", _flow(Ct(1, True, 1, Nat(0x0A000001)), eth_type=_IP)),
    "packet-size": Ability(
        "asking for a packet's length (check_pkt_larger)", _flow(CheckPacketLarger(100, SubField("reg0", 0, 1)))
    ),
    "vlan": Ability("putting VLAN tags on and off", _flow(PushVlan(), PopVlan()), "chains can have another transport"),
    "mpls": Ability(
        "MPLS labels, as many as the transport puts on",
        _flow(PushMpls(), PushMpls(), Resubmit(1)),
        "chains can have another transport",
    ),
    "nsh": Ability(
        "Network Service Headers (encap, decap)",
        _flow(EncapNsh(), Resubmit(1)),
        "chains can have another transport, functions another mode",
    ),
    "meters": Ability("meters", None, "leave limits out"),
    "queues": Ability("queues of ports", _flow(SetQueue(1)), "leave queues out"),
    "multipath": Ability("hashing into a register (multipath)", _flow(Multipath(SubField("reg0", 0, 8)))),
    "conjunction": Ability("conjunctive matches", _flow(Conjunction(1, 1, 2), eth_type=_IP)),
    "tcp-flags": Ability("matching TCP's flags", _flow(eth_type=_IP, ip_proto=6, tcp_flags=2)),
    "nd-writing": Ability(
        "writing the options of neighbour advertisements (IPv6)",
        _flow(SetField("nd_options_type", 2, 0xFF), eth_type=0x86DD, ip_proto=58, icmpv6_type=136),
    ),
}
TRIED_BY_FRAMES = ("mpls", "nsh")  # a datapath may lack what the switch takes a rule for
MPLS_DEPTHS = (1, 2, 3)  # Open vSwitch itself has no more labels than 3

_BY_ACTION: Mapping[type, str] = {
    Move: "registers", Resubmit: "registers", Clone: "clone", CheckPacketLarger: "packet-size", PushVlan: "vlan",
    PopVlan: "vlan", PushMpls: "mpls", PopMpls: "mpls", EncapNsh: "nsh", DecapNsh: "nsh", DecNshTtl: "nsh",
    Meter: "meters", SetQueue: "queues", Multipath: "multipath", Conjunction: "conjunction", Ct: "conntrack",
}  # fmt: skip
_BY_FIELD: Mapping[str, str] = {
    **{f"reg{number}": "registers" for number in range(16)},
    "ct_state": "conntrack", "ct_zone": "conntrack", "ct_mark": "conntrack", "ct_label": "ct-label",
    "mpls_label": "mpls", "mpls_bos": "mpls", "nsh_spi": "nsh", "nsh_si": "nsh", "nsh_c1": "nsh",
    "conj_id": "conjunction", "tcp_flags": "tcp-flags", "nd_options_type": "nd-writing", "nd_reserved": "nd-writing",
}  # fmt: skip
_BY_KIND: Mapping[str, str] = {"select": "select-groups", "ff": "failover-groups"}


@dataclass(frozen=True)
class Capabilities:
    """What one switch was found to be able to do. What is not known is no lack.

    can: by ability, whether it has it. why: by ability it lacks, how that shows. mpls_depth: how many labels it puts
    on. groups, meters: how many it takes, by its own word. tables: by table, how many flows it takes.
    """

    can: Mapping[str, bool] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    mpls_depth: int | None = None
    groups: int | None = None
    meters: int | None = None
    tables: Mapping[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """As `get switches -o json` shows it: what it can, by ability (null: not known), what shows what it lacks, and
        how much it takes."""
        return {
            "can": {name: self.can.get(name) for name in ABILITIES},
            "why": dict(self.why),
            "mpls_depth": self.mpls_depth,
            "groups": self.groups,
            "meters": self.meters,
        }

    @property
    def lacking(self) -> tuple[str, ...]:
        """The abilities it is known not to have."""
        return tuple(name for name in ABILITIES if self.can.get(name) is False)


def by_version(hardware: str | None, version: str | None) -> str | None:
    """Why an Open vSwitch of this version has too few slots for our select groups; None where it has them, or nobody
    knows."""
    found = None if version is None or hardware != OPEN_VSWITCH else read_version(version)
    if found is None or found >= (2, 17):
        return None
    return f"Open vSwitch {version} has fewer than 256 slots; 2.17 and later have them"


def needs_of(actions: Iterable[Action], matched: Match = ()) -> frozenset[str]:
    """The abilities that a rule asks for."""
    return frozenset((*_fields(matched), *_actions(tuple(actions))))


def _fields(matched: Match) -> Iterator[str]:
    for condition in matched:
        if condition.field in _BY_FIELD:
            yield _BY_FIELD[condition.field]


@lru_cache(maxsize=1 << 16)
def _actions(actions: tuple[Action, ...]) -> frozenset[str]:
    found: set[str] = set()
    for action in actions:
        named = _BY_ACTION.get(type(action))
        if named is not None:
            found.add(named)
        if isinstance(action, SetField):
            found |= {_BY_FIELD[action.field]} if action.field in _BY_FIELD else set()
        elif isinstance(action, Move | Multipath | CheckPacketLarger):
            parts = [action.target, *([action.source] if isinstance(action, Move) else [])]
            found |= {_BY_FIELD[part.field] for part in parts if part.field in _BY_FIELD}
        elif isinstance(action, Clone):
            found |= _actions(action.actions)
        elif isinstance(action, Ct):
            found |= _actions(action.exec) | ({"ct-nat"} if action.nat is not None else set())
    return frozenset(found)


def group_needs(group: Group) -> frozenset[str]:
    """The abilities that a group asks for."""
    kind = _BY_KIND.get(group.kind)
    inside = {each for bucket in {id(b): b for b in group.buckets}.values() for each in _actions(bucket.actions)}
    return frozenset(inside | ({kind} if kind else set()))


def labels_pushed(actions: Iterable[Action]) -> int:
    """How many MPLS labels a rule puts on."""
    return sum(isinstance(action, PushMpls) for action in actions)


def users_of(state: SwitchState, lacking: Iterable[str], mpls_depth: int | None = None) -> dict[str, set[int]]:
    """The abilities out of `lacking` that a switch's rules ask for -> the cookies of the rules that do. A group counts
    for the rules that use it. mpls_depth: more labels than that are asking for what is lacking."""
    wanted = set(lacking)
    found: dict[str, set[int]] = {}
    groups = {number: group_needs(group) & wanted for number, group in state.groups.items()}
    for flow in state.flows.values():
        needs = set(needs_of(flow.actions, flow.match)) & wanted
        for action in flow.actions:
            if isinstance(action, ToGroup):
                needs |= groups.get(action.group, frozenset())
        if mpls_depth is not None and labels_pushed(flow.actions) > mpls_depth:
            needs.add("mpls")
        for need in needs:
            found.setdefault(need, set()).add(flow.cookie)
    return found


def too_full(state: SwitchState, foreign: Mapping[int, int], has: Capabilities) -> Iterator[tuple[str, int, int]]:
    """What would not fit into a switch, as (what, how many there would be, how many it takes). foreign: by table, flows
    of others."""
    held: dict[int, int] = dict(foreign)
    for key in state.flows:
        held[key.table] = held.get(key.table, 0) + 1
    for table, count in sorted(held.items()):
        most = has.tables.get(table)
        if most is not None and count > most:
            yield f"table {table}", count, most
    for what, count, limit in (("groups", len(state.groups), has.groups), ("meters", len(state.meters), has.meters)):
        if limit is not None and count > limit:
            yield what, count, limit

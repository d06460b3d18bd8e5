"""How many frames a switch refused, and why: from the counters of its flows, which audits read.

What a host forges is dropped by flows without actions of table `admission` (a known host's label by one of
`addressing`). Each says by its cookie whose it is and by its match what it refuses. Counters begin anew with a flow
that is replaced, so differences are added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from controller_app.model.flow import Flow, FlowKey
from controller_app.pipeline.cookies import KINDS, is_ours
from controller_app.pipeline.labels import ANY_LABEL, ANY_WRAPPED
from controller_app.pipeline.tables import GATEWAY_MAC, NUMBER

_VLAN_TYPES, _MPLS_TYPES, _NSH_TYPE = (0x8100, 0x88A8), (0x8847, 0x8848), 0x894F
_LABELS = (ANY_LABEL, ANY_WRAPPED)
# Labels of known hosts get no further than `addressing`; what else is dropped there was not forged.
_TABLES = frozenset((NUMBER["admission"], NUMBER["addressing"]))
_SOURCES = frozenset(("ipv4_src", "ipv6_src", "arp_spa", "eth_src"))


class Place(NamedTuple):
    """Where frames were refused (`port` None: at any port of the switch), and what was wrong with them."""

    port: int | None
    reason: str


def reason(flow: Flow) -> Place | None:
    """What a flow refuses; None when it refuses nothing.

    label: a destination MAC that looks like a label of ours; gateway: the gateways' own MAC as source; source:
    an address that is not the host's; vlan, mpls, nsh: a header that a host must not send; function: what came
    out of a function and was not steered to it; stray: unlabelled frames on a link between switches.
    """
    if flow.table not in _TABLES or flow.actions or flow.goto is not None or not is_ours(flow.cookie):
        return None
    fields = {condition.field: (condition.value, condition.mask) for condition in flow.match}
    if flow.table != NUMBER["admission"] and fields.get("eth_dst") not in _LABELS:
        return None
    port = fields["in_port"][0] if "in_port" in fields else None
    kind = flow.cookie >> 40 & 0xFF
    return Place(port, _reason(fields, KINDS[kind] if kind < len(KINDS) else ""))


def _reason(fields: dict[str, tuple[int, int]], owner: str) -> str:
    eth_type = fields.get("eth_type", (0, 0))[0]
    if fields.get("eth_dst") in _LABELS:
        return "label"
    if fields.get("eth_src", (0, 0))[0] == GATEWAY_MAC:
        return "gateway"
    if eth_type == _NSH_TYPE:
        return "nsh"
    if eth_type in _MPLS_TYPES:
        return "mpls"
    if eth_type in _VLAN_TYPES or "vlan_tci" in fields:
        return "vlan"
    if owner == "functions":
        return "function"
    if owner == "hosts" or not _SOURCES.isdisjoint(fields):
        return "source"
    return "stray"


class Refused:
    """The frames one switch refused since the controller began, by place and reason."""

    def __init__(self) -> None:
        self.totals: Counter[Place] = Counter()
        self._last: dict[FlowKey, int] = {}

    def audited(self, entries: Iterable[tuple[Flow, int]]) -> None:
        """Flows of ours as an audit found them, with their counters of packets."""
        now: dict[FlowKey, int] = {}
        for flow, packets in entries:
            place = reason(flow)
            if place is None:
                continue
            before = self._last.get(flow.key, 0)
            self.totals[place] += packets - before if packets >= before else packets
            now[flow.key] = packets
        self._last = now

    def at(self, port: int) -> int:
        """Frames refused at one port."""
        return sum(count for place, count in self.totals.items() if place.port == port)

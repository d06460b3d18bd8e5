"""What the check of one packet looks at: what it would have to be checked again for.

Whoever looks something up on behalf of a check says so here: switches their look-ups and groups, the evaluator the
addresses it was asked about. What was looked up and is the same in another state gives the same answer there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controller_app.model.flow import Flow
from controller_app.model.topology import IPAddress
from controller_app.verification.lookup import PACKET_NAMES, Bits
from controller_app.verification.packet import Packet, addresses

Place = tuple[str, int]  # a switch and a table of it


class LookUp:
    """A look-up in a table: which bits of the packet it looked at, and what they were, None where every value was
    meant. No flow of a priority below `least` changes what it found. There is one object for all that are alike."""

    __slots__ = ("bits", "least", "values")

    def __init__(self, bits: Bits, values: tuple[int | None, ...], least: int) -> None:
        self.bits, self.values, self.least = bits, values, least

    def meets(self, flow: Flow) -> bool:
        """Whether a flow, had it been in the table, could have made a difference. Of what was not looked at nothing is
        known, so that any value may match."""
        if flow.priority < self.least:
            return False
        known = {name: (value, bits) for (name, bits), value in zip(self.bits, self.values, strict=True)}
        for name, value, mask in flow.match:
            held, bits = known.get(PACKET_NAMES.get(name, name), (None, 0))
            if held is not None and name != "conj_id" and (held ^ value) & bits & mask:
                return False
        return True


MOST_KNOWN = 1_000_000  # look-ups


_TOLD = frozenset({"eth_type", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ip_proto", "ip_dscp", "ip_frag",
                   "tcp_src", "tcp_dst", "udp_src", "udp_dst", "icmp_type", "icmpv6_type"})


class Question(NamedTuple):
    """The policy was asked about a packet between two addresses."""

    tenant: str
    source: IPAddress
    destination: IPAddress
    told: tuple[tuple[str, int], ...]  # what classifiers can tell packets apart by


class Evidence(NamedTuple):
    """All that one check looked at."""

    lookups: frozenset[LookUp]
    groups: frozenset[tuple[str, int]]  # switch and group
    questions: frozenset[Question]
    providers: frozenset[tuple[str, str]]  # tenant and service, where who serves was asked
    visited: frozenset[str]  # hosts that frames were handed to


class Witness:
    """Collects for one check after another. before: the one of a verification before this, whose evidence is used."""

    def __init__(self, before: Witness | None = None) -> None:
        self._known: dict[Place, dict[tuple[object, ...], LookUp]] = {} if before is None else before._known
        self._count: list[int] = [0] if before is None else before._count  # of them all, for all of one descent
        self._lookups: set[LookUp] = set()
        self._groups: set[tuple[str, int]] = set()
        self._questions: set[Question] = set()
        self._providers: set[tuple[str, str]] = set()
        self._visited: set[str] = set()

    def copy(self) -> Witness:
        """One that goes on from here on its own. What look-ups there were, all of one descent know together: what was
        found once is shared by them (see FlowIndex and Gate), and has to be known to each."""
        return Witness(self)

    def look_up(self, switch: str, table: int, bits: Bits, fields: Packet, least: int, several: str = "") -> LookUp:
        """The look-up of a packet in a table of a switch. several: the field of which every value is meant."""
        values = tuple([None if name == several else fields.get(name, 0) & mask for name, mask in bits])
        known = self._known.setdefault((switch, table), {})
        found = known.get((bits, values, least))
        if found is None:
            found = known.setdefault((bits, values, least), LookUp(bits, values, least))
            self._count[0] += 1
        return found

    def looked_up(self, found: LookUp) -> None:
        """A switch did so."""
        self._lookups.add(found)

    def saw(self, lookups: Iterable[LookUp], groups: Iterable[tuple[str, int]]) -> None:
        """A switch did again what it did before."""
        self._lookups.update(lookups)
        self._groups.update(groups)

    @property
    def is_full(self) -> bool:
        """Whether so many look-ups are known that it is time to begin anew: most are of states long gone."""
        return self._count[0] > MOST_KNOWN

    def known(self, place: Place) -> Iterable[LookUp]:
        """Every look-up in a table that any check did."""
        return tuple(self._known.get(place, {}).values())  # others may be adding to it

    def used_group(self, switch: str, group: int) -> None:
        """A switch let a group decide, or missed it."""
        self._groups.add((switch, group))

    def handed_to(self, host: str) -> None:
        """A frame came to a host."""
        self._visited.add(host)

    def asked(self, tenant: str, packet: Packet) -> None:
        """The policy was asked what becomes of a packet."""
        ends = addresses(packet)
        if ends is not None:
            told = tuple([(name, value) for name, value in packet.items() if name in _TOLD])
            self._questions.add(Question(tenant, *ends, told))

    def asked_providers(self, tenant: str, service: str) -> None:
        """The policy was asked who serves."""
        self._providers.add((tenant, service))

    def testify(self) -> Evidence:
        """All since the last time."""
        found = Evidence(frozenset(self._lookups), frozenset(self._groups), frozenset(self._questions),
                         frozenset(self._providers), frozenset(self._visited))
        self._lookups = set()
        for seen in (self._groups, self._questions, self._providers, self._visited):
            seen.clear()
        return found

"""What the check of one packet looks at: what it would have to be checked again for.

Whoever looks something up on behalf of a check says so here: switches their look-ups and groups, the evaluator the
addresses it was asked about. What was looked up and is the same in another state gives the same answer there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller_app.model.flow import Flow, SubField
from controller_app.model.topology import IPAddress
from controller_app.verification.lookup import PACKET_NAMES, FlowIndex


class LookUp(NamedTuple):
    """A look-up in a table: what the fields held that its flows look at. None for a field of which every value was
    meant."""

    switch: str
    table: int
    names: tuple[str, ...]
    values: tuple[int | None, ...]

    def meets(self, flow: Flow) -> bool:
        """Whether a flow, had it been in the table, could have matched. Of fields that no flow looked at before nothing
        is known, so that any value may match."""
        known = dict(zip(self.names, self.values, strict=True))
        for name, value, mask in flow.match:
            held = known.get(PACKET_NAMES.get(name, name))
            if held is not None and name != "conj_id" and held & mask != value:
                return False
        return True


class Question(NamedTuple):
    """The policy was asked about a packet between two addresses."""

    tenant: str
    source: IPAddress
    destination: IPAddress
    fragment: bool  # then classifiers of other destinations count as well


class Evidence(NamedTuple):
    """All that one check looked at."""

    lookups: tuple[LookUp, ...]
    groups: frozenset[tuple[str, int]]  # switch and group
    questions: frozenset[Question]
    providers: frozenset[tuple[str, str]]  # tenant and service, where who serves was asked
    visited: frozenset[str]  # hosts that frames were handed to


class Witness:
    """Collects for one check after another."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], tuple[str, ...]] = {}
        self._known: dict[LookUp, LookUp] = {}  # one object for each that is alike
        self._lookups: dict[LookUp, None] = {}
        self._groups: set[tuple[str, int]] = set()
        self._questions: set[Question] = set()
        self._providers: set[tuple[str, str]] = set()
        self._visited: set[str] = set()

    def looked_up(self, switch: str, table: int, index: FlowIndex, fields: Mapping[str, int],
                  slot: SubField | None) -> None:
        """A switch looked a packet up in a table; `slot` is where every slot was meant."""
        place = switch, table
        names = self._names.get(place)
        if names is None:
            names = self._names[place] = index.names(table)
        if slot is None:
            values: tuple[int | None, ...] = tuple([fields.get(name, 0) for name in names])
        else:
            values = tuple([None if name == slot.field else fields.get(name, 0) for name in names])
        found = LookUp(switch, table, names, values)
        self._lookups[self._known.setdefault(found, found)] = None

    def used_group(self, switch: str, group: int) -> None:
        """A switch let a group decide, or missed it."""
        self._groups.add((switch, group))

    def handed_to(self, host: str) -> None:
        """A frame came to a host."""
        self._visited.add(host)

    def asked(self, tenant: str, ends: tuple[IPAddress, IPAddress] | None, fragment: bool) -> None:
        """The policy was asked what becomes of a packet."""
        if ends is not None:
            self._questions.add(Question(tenant, *ends, fragment))

    def asked_providers(self, tenant: str, service: str) -> None:
        """The policy was asked who serves."""
        self._providers.add((tenant, service))

    def testify(self) -> Evidence:
        """All since the last time."""
        found = Evidence(tuple(self._lookups), frozenset(self._groups), frozenset(self._questions),
                         frozenset(self._providers), frozenset(self._visited))
        self._lookups = {}
        for seen in (self._groups, self._questions, self._providers, self._visited):
            seen.clear()
        return found

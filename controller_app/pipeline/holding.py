"""All that one switch is to hold, put together from parts; where few parts changed, from what it was before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from controller_app.model.flow import Flow, FlowKey, Group, MeterConfig, SwitchState
from controller_app.model.flow_table import changed, differences, flat
from controller_app.pipeline.build import PipelineError

Key = TypeVar("Key", bound=Hashable)
Parts = tuple[Mapping[Any, Any], ...]
_NOTHING: Mapping[FlowKey, Flow] = {}


class Source(NamedTuple):
    """The parts of a switch. Parts are never changed once made: the same object is the same part."""

    switch: str
    flows: tuple[Mapping[FlowKey, Flow], ...]
    groups: tuple[Mapping[int, Group], ...]
    meters: tuple[Mapping[int, MeterConfig], ...]


class Holding:
    """What a switch is to hold, and the parts it was made from."""

    def __init__(self, source: tuple[Any, ...]) -> None:
        self._source = Source(*source)
        flows, self._twice = _merged(self._source.switch, self._source.flows)
        self.state = SwitchState(flows, _union(self._source.groups), _union(self._source.meters))

    def following(self, source: tuple[Any, ...]) -> Holding:
        """The same of other parts; the same object where they are the same."""
        before, now = self._source, Source(*source)
        followed = _followed(self.state.flows, self._twice, before.flows, now.flows)
        if followed is None:
            return Holding(source)
        flows, twice = followed
        groups = _union(now.groups) if _differ(before.groups, now.groups) else self.state.groups
        meters = _union(now.meters) if before.meters != now.meters else self.state.meters
        found = Holding.__new__(Holding)
        found._source, found.state, found._twice = now, self.state, twice
        if flows is not self.state.flows or groups is not self.state.groups or meters is not self.state.meters:
            found.state = SwitchState(flows, groups, meters)
        return found


def _differ(before: Parts, now: Parts) -> bool:
    return len(before) != len(now) or any(one is not other for one, other in zip(before, now, strict=True))


def _union(parts: Iterable[Mapping[Key, Any]]) -> dict[Key, Any]:
    found: dict[Key, Any] = {}
    for part in parts:
        found.update(part)
    return found


def _merged(switch: str, parts: tuple[Mapping[FlowKey, Flow], ...]) -> tuple[dict[FlowKey, Flow], frozenset[FlowKey]]:
    """All flows, and the keys of those that several parts want."""
    flows = _union(map(flat, parts))
    if len(flows) == sum(map(len, parts)):
        return flows, frozenset()
    _check_agreement(switch, parts)
    return flows, frozenset(key for key, times in Counter(chain.from_iterable(parts)).items() if times > 1)


def _followed(
    held: Mapping[FlowKey, Flow],
    twice: frozenset[FlowKey],
    before: tuple[Mapping[FlowKey, Flow], ...],
    now: tuple[Mapping[FlowKey, Flow], ...],
) -> tuple[Mapping[FlowKey, Flow], frozenset[FlowKey]] | None:
    """The flows of `now`, from what is held of `before`; None where so much changed that all is to be put together.
    twice, and the second thing answered: what several parts want, or did at some time."""
    if not _differ(before, now):
        return held, twice
    if len(before) == len(now):  # parts keep their places where none comes or goes
        pairs = [(one, other) for one, other in zip(before, now, strict=True) if one is not other]
    else:
        known, wanted = {id(part): part for part in before}, {id(part): part for part in now}
        pairs = [(part, _NOTHING) for number, part in known.items() if number not in wanted]
        pairs += [(_NOTHING, part) for number, part in wanted.items() if number not in known]
    if len(pairs) > 1 and 4 * sum(max(len(one), len(other)) for one, other in pairs) > len(held):
        return None
    leaving: dict[FlowKey, Flow] = {}
    arriving: dict[FlowKey, Flow] = {}
    for one, other in pairs:
        for key, was, now_is in differences(one, other):
            if was is not None:
                leaving[key] = was
            if now_is is not None:
                if key in arriving:
                    return None  # two parts want it at once, and perhaps not the same of it
                arriving[key] = now_is
    if leaving == arriving:  # one part gave them to another
        return held, twice
    again = [key for key in arriving if key in held and (key not in leaving or key in twice)]
    if any(held[key] != arriving[key] for key in again):
        return None  # likewise
    put, drop = dict(arriving), []
    for key in leaving.keys() - arriving.keys():
        others = [part[key] for part in now if key in part] if key in twice else ()
        if others:
            put[key] = others[-1]
        else:
            drop.append(key)
    return changed(held, put, drop), twice.union(again)


def _check_agreement(switch: str, every: tuple[Mapping[FlowKey, Flow], ...]) -> None:
    """Two parts may want one flow; if they want different things of it, that is a fault in this program."""
    found: dict[FlowKey, Flow] = {}
    for flows in every:
        for key, flow in flows.items():
            other = found.setdefault(key, flow)
            if (other.actions, other.goto) != (flow.actions, flow.goto):
                raise PipelineError(f"two rules of {switch} clash: {other} and {flow}")

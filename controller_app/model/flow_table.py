"""Flows by their key, kept as what changed since many of them were put together: another few changes cost as much as
they are, whatever else a switch holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from controller_app.model.flow import Flow, FlowKey

_SHARE = 8  # of what was put together: when more than one in so many changed, all is put together again


class Flows(Mapping[FlowKey, Flow]):
    """`base` without `gone`, and with `over` instead of or besides. None of them is ever changed; `gone` are keys of
    `base` that are not in `over`."""

    __slots__ = ("base", "gone", "over")

    def __init__(self, base: dict[FlowKey, Flow], over: dict[FlowKey, Flow], gone: dict[FlowKey, None]) -> None:
        self.base, self.over, self.gone = base, over, gone

    def __getitem__(self, key: FlowKey) -> Flow:
        found = self.over.get(key)
        if found is None:
            if key in self.gone:
                raise KeyError(key)
            found = self.base[key]
        return found

    def __contains__(self, key: object) -> bool:
        return key in self.over or (key in self.base and key not in self.gone)

    def __iter__(self) -> Iterator[FlowKey]:
        """As a dict would have them that was changed likewise, but for flows that were gone for a time."""
        for key in self.base:
            if key not in self.gone:
                yield key
        for key in self.over:
            if key not in self.base:
                yield key

    def __len__(self) -> int:
        return len(self.base) - len(self.gone) + sum(key not in self.base for key in self.over)

    def flat(self) -> dict[FlowKey, Flow]:
        """The same as a dict of its own."""
        found = dict(self.base)
        for key in self.gone:
            del found[key]
        found.update(self.over)
        return found


def flat(flows: Mapping[FlowKey, Flow]) -> dict[FlowKey, Flow]:
    """The flows as a dict, to be looked at only."""
    return flows if isinstance(flows, dict) else flows.flat() if isinstance(flows, Flows) else dict(flows)


def changed(
    flows: Mapping[FlowKey, Flow], put: Mapping[FlowKey, Flow], drop: Iterable[FlowKey] = ()
) -> Mapping[FlowKey, Flow]:
    """The flows with others put among them, and without some."""
    if isinstance(flows, Flows):
        base, over, gone = flows.base, dict(flows.over), dict(flows.gone)
    else:
        base, over, gone = flat(flows), {}, {}
    for key in drop:
        over.pop(key, None)
        if key in base:
            gone[key] = None
    for key, flow in put.items():
        over[key] = flow
        gone.pop(key, None)
    found = Flows(base, over, gone)
    return found.flat() if _SHARE * (len(over) + len(gone)) > len(base) else found


def differences(
    old: Mapping[FlowKey, Flow], new: Mapping[FlowKey, Flow]
) -> Iterator[tuple[FlowKey, Flow | None, Flow | None]]:
    """What is not the same in both: the key, what it was, and what it is; None where it is not there. What is there now
    comes first."""
    if old is new:
        return
    before, after = _parts(old), _parts(new)
    if before is not None and after is not None and before[0] is after[0]:
        keys = {**after[1], **before[1], **before[2], **after[2]}
        pairs = [(key, old.get(key), new.get(key)) for key in keys]
        yield from (each for each in pairs if each[2] is not None and each[1] is not each[2] and each[1] != each[2])
        yield from (each for each in pairs if each[2] is None and each[1] is not None)
        return
    old, new = flat(old), flat(new)
    for key, flow in new.items():
        held = old.get(key)
        if held is not flow and held != flow:
            yield key, held, flow
    for key, flow in old.items():
        if key not in new:
            yield key, flow, None


_Parts = tuple[dict[FlowKey, Flow], Mapping[FlowKey, object], Mapping[FlowKey, object]]


def _parts(flows: Mapping[FlowKey, Flow]) -> _Parts | None:
    if isinstance(flows, Flows):
        return flows.base, flows.over, flows.gone
    return (flows, {}, {}) if isinstance(flows, dict) else None

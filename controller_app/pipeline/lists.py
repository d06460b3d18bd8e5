"""Lists of functions: which ones the policy needs, and the paths through them that the 256 slots take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from controller_app.balancing.slots import fill, function_slot
from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.policy import Chain, Function, Policy, Tenant
from controller_app.modes import MODES
from controller_app.pipeline import labels
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.views import InstanceView, ListView, left_out


class WantedList(NamedTuple):
    """A list of functions that some chain, return way or insertion asks for. chain: where edges count, the first that
    asks for it."""

    key: str
    tenant: str
    through: tuple[str, ...]
    stickiness: str
    transport: str
    chain: Chain | None = None


def list_key(tenant: str, through: tuple[str, ...], chain: Chain) -> str:
    """The name of a list, under which everyone who wants the same shares everything: same functions, stickiness,
    transport and spread, same list. What a chain requires is for itself."""
    by_edges = f"/chain:{chain.name}" if chain.require is not None else ""
    return _key(tenant, through, chain.stickiness, chain.transport) + by_edges + (
        "/cost" if chain.spread == "cost" else ""
    )


def _key(tenant: str, through: tuple[str, ...], stickiness: str, transport: str) -> str:
    return f"{tenant}/{'+'.join(through)}/{stickiness}" + ("" if transport == "mac" else f"/{transport}")


def pieces(functions: Mapping[str, Function], through: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """A chain cut after each of its translating functions: what follows one meets other addresses.

    At least one piece; the last one is empty when a translating function ends the chain.
    """
    found: list[tuple[str, ...]] = []
    start = 0
    for position, name in enumerate(through):
        if MODES[functions[name].mode].cuts:
            found.append(through[start : position + 1])
            start = position + 1
    return (*found, through[start:])


def kept(tenant: Tenant, through: tuple[str, ...], left_out: Set[tuple[str, str]]) -> tuple[str, ...]:
    """A list without the functions that are left out (`World.left_out`)."""
    return tuple(name for name in through if (tenant.name, name) not in left_out) if left_out else through


def wanted_lists(policy: Policy, left_out: Set[tuple[str, str]] = frozenset()) -> dict[str, WantedList]:
    """Every list that the policy's chains, return ways and insertions ask for, by key. left_out: `World.left_out`."""
    found: dict[str, WantedList] = {}
    for tenant in policy.tenants.values():
        for wanted in _of_tenant(tenant, left_out):
            found.setdefault(wanted.key, wanted)
    return found


def _of_tenant(tenant: Tenant, left_out: Set[tuple[str, str]]) -> Iterator[WantedList]:
    for chain in tenant.chains.values():
        for key, piece in lists_of(tenant, chain, left_out).items():
            yield WantedList(
                key, tenant.name, piece, chain.stickiness, chain.transport, chain if chain.by_edges else None
            )
    inserts = [network.insert for network in tenant.networks.values() if network.insert]
    inserts += [segment.insert for segment in tenant.segments.values() if segment.insert]
    for leaving in inserts:
        yield insertion_list(tenant.name, leaving, ())
        for entering in inserts:
            if leaving != entering:
                yield insertion_list(tenant.name, leaving, entering)


def lists_of(
    tenant: Tenant, chain: Chain, left_out: Set[tuple[str, str]] = frozenset()
) -> dict[str, tuple[str, ...]]:
    """The lists that a chain needs, for either direction, by key. left_out: `World.left_out`."""
    found = list(pieces(tenant.functions, kept(tenant, chain.through, left_out)))
    if isinstance(chain.returns, tuple):
        found += return_pieces(tenant.functions, kept(tenant, chain.returns, left_out))
    return {list_key(tenant.name, piece, chain): piece for piece in found if piece}


def return_pieces(functions: Mapping[str, Function], returns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The pieces of an explicit way back, without the translating functions: replies are addressed to them."""
    return [
        piece[:-1] if piece and MODES[functions[piece[-1]].mode].cuts else piece for piece in pieces(functions, returns)
    ]


def insertion_list(tenant: str, leaving: tuple[str, ...], entering: tuple[str, ...]) -> WantedList:
    """What is inserted where a packet leaves one place, and enters another: the latter's functions reversed,
    without those it met already."""
    through = (*leaving, *(name for name in reversed(entering) if name not in leaving))
    return WantedList(_key(tenant, through, "connection", "mac"), tenant, through, "connection", "mac")


class PathNumbers:
    """The numbers of paths: each stands for one list and one combination of instances."""

    def __init__(self, previous: Allocation, numbers: Numbers) -> None:
        self._numbers = numbers
        # every path id that anything holds, so that lists do not get each other's
        self._held: dict[str, Mapping[str, int]] = {key: dict(kept) for key, kept in previous.paths.items()}
        self._taken = {number for kept in self._held.values() for number in kept.values()}

    def of(
        self, key: str, sticky: bool, combinations: Iterable[str], hosts: Sequence[Mapping[str, str]] = ()
    ) -> Mapping[str, int]:
        """The numbers of a list's combinations ("fw1,ids1"). hosts: for each function, the hosts of instances that have
        another name than their host: the same instance at another place is another path, so that packets under way to
        the old place do not come to the new one half way."""
        if any(hosts):
            texts = {text: _placed(text, hosts) for text in dict.fromkeys(combinations)}
            numbers = self.of(key, sticky, texts.values())
            return {text: numbers[placed] for text, placed in texts.items()}
        base = labels.REMEMBERED if sticky else 0
        found = self._numbers.assign(
            _space(sticky),
            combinations,
            self._held.get(key, {}),
            first=base + 1,
            limit=base + labels.REMEMBERED,
            reserved=self._taken,
            together=True,
        )
        self._taken.update(found.values())
        self._held[key] = found
        return found

    def kept(self, keys: Iterable[str]) -> dict[str, Mapping[str, int]]:
        """All of these lists, also those that no slot takes just now. The numbers of the others are given up."""
        kept = {key: self._held.get(key, {}) for key in keys}
        for key in self._held.keys() - kept.keys():
            for number in self._held[key].values():
                self._numbers.retire(_space(number >= labels.REMEMBERED), (number,))
        return kept


def _space(sticky: bool) -> str:
    return f"paths/{'remembered' if sticky else 'free'}"


def _placed(text: str, hosts: Sequence[Mapping[str, str]]) -> str:
    """"fw1,ids1" as "fw1@box7,ids1" where the host of fw1 is box7."""
    named = zip(text.split(","), hosts, strict=True)
    return ",".join(f"{name}@{places[name]}" if name in places else name for name, places in named)


def elsewhere(usable: Iterable[Iterable[InstanceView]]) -> list[dict[str, str]]:
    """For each function, the hosts of instances that have another name than their host."""
    return [{view.name: view.host for view in views if view.host != view.name} for views in usable]


def build_lists(
    policy: Policy,
    instances: Mapping[tuple[str, str], tuple[InstanceView, ...]],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    numbers: Numbers,
    paths_of: PathNumbers,
) -> tuple[dict[str, ListView], Mapping[str, int]]:
    """The lists with their paths, but for those that depend on edges; and their ids. `slots` gets the table of every
    function."""
    wanted = wanted_lists(policy, left_out(policy, instances))
    ids = numbers.assign("lists", wanted, previous.ids.get("lists", {}), limit=1 << 16)
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            table = f"functions/{tenant.name}/{function.name}"
            usable = instances.get((tenant.name, function.name), ())
            weights = {view.name: function.instances[view.name].weight for view in usable}
            slots[table] = fill(weights, previous.slots.get(table, ())) or slots.get(table, ())
    found: dict[str, ListView] = {}
    for key, item in wanted.items():
        functions = policy.tenants[item.tenant].functions
        empty = [name for name in item.through if not instances.get((item.tenant, name))]
        # taps are never in the way: without an instance there are no copies
        failed = [name for name in empty if MODES[functions[name].mode].on_path]
        closing = [name for name in failed if functions[name].on_failure != "open"]
        names = [name for name in item.through if name not in empty]
        sticky = item.stickiness == "connection"
        paths: dict[int, tuple[InstanceView, ...]] = {}
        chosen: tuple[int, ...] = ()
        if names and not closing and item.chain is None:
            usable_by = [{view.name: view for view in instances[item.tenant, name]} for name in names]
            tables = [slots[f"functions/{item.tenant}/{name}"] for name in names]
            combinations = [  # of each slot
                ",".join(table[function_slot(slot, n)] for n, table in enumerate(tables))
                for slot in range(SLOTS)
            ]
            path_ids = paths_of.of(key, sticky, combinations, elsewhere(map(dict.values, usable_by)))
            paths = {
                number: tuple(usable_by[n][name] for n, name in enumerate(text.split(",")))
                for text, number in path_ids.items()
            }
            chosen = tuple(path_ids[text] for text in combinations)
        found[key] = ListView(
            key,
            ids[key],
            item.tenant,
            item.through,
            sticky,
            item.transport,
            paths,
            chosen,
            "reject" if closing and functions[closing[0]].on_failure == "reject" else "closed",
            not names and not closing,
            item.chain,
            () if closing else tuple(names),
        )
    return found, ids

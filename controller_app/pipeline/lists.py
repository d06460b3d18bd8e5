"""Lists of functions: which ones the policy needs, and the paths through them that the 256 slots take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from controller_app.balancing.slots import fill, function_slot
from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.policy import Function, Policy, Tenant
from controller_app.modes import MODES
from controller_app.pipeline import labels
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.views import InstanceView, ListView, left_out


class WantedList(NamedTuple):
    """A list of functions that some chain, return way or insertion asks for."""

    tenant: str
    through: tuple[str, ...]
    stickiness: str
    transport: str

    @property
    def key(self) -> str:
        """The name under which everyone who wants the same shares everything."""
        return list_key(self.tenant, self.through, self.stickiness, self.transport)


def list_key(tenant: str, through: tuple[str, ...], stickiness: str, transport: str = "mac") -> str:
    """The name of a list: same functions, stickiness and transport, same list."""
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
        for piece in pieces(tenant.functions, kept(tenant, chain.through, left_out)):
            if piece:
                yield WantedList(tenant.name, piece, chain.stickiness, chain.transport)
        if isinstance(chain.returns, tuple):
            for piece in return_pieces(tenant.functions, kept(tenant, chain.returns, left_out)):
                if piece:
                    yield WantedList(tenant.name, piece, chain.stickiness, chain.transport)
    inserts = [network.insert for network in tenant.networks.values() if network.insert]
    inserts += [segment.insert for segment in tenant.segments.values() if segment.insert]
    for leaving in inserts:
        yield insertion_list(tenant.name, leaving, ())
        for entering in inserts:
            if leaving != entering:
                yield insertion_list(tenant.name, leaving, entering)


def return_pieces(functions: Mapping[str, Function], returns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The pieces of an explicit way back, without the translating functions: replies are addressed to them."""
    return [
        piece[:-1] if piece and MODES[functions[piece[-1]].mode].cuts else piece for piece in pieces(functions, returns)
    ]


def insertion_list(tenant: str, leaving: tuple[str, ...], entering: tuple[str, ...]) -> WantedList:
    """What is inserted where a packet leaves one place, and enters another: the latter's functions reversed,
    without those it met already."""
    through = (*leaving, *(name for name in reversed(entering) if name not in leaving))
    return WantedList(tenant, through, "connection", "mac")


def build_lists(
    policy: Policy,
    instances: Mapping[tuple[str, str], tuple[InstanceView, ...]],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    numbers: Numbers,
) -> tuple[dict[str, ListView], dict[str, int], dict[str, dict[str, int]]]:
    """The lists with their paths; their ids; their path ids. `slots` gets the table of every function."""
    wanted = wanted_lists(policy, left_out(policy, instances))
    ids = numbers.assign("lists", wanted, previous.ids.get("lists", {}), limit=1 << 16)
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            table = f"functions/{tenant.name}/{function.name}"
            usable = instances.get((tenant.name, function.name), ())
            weights = {view.name: function.instances[view.name].weight for view in usable}
            slots[table] = fill(weights, previous.slots.get(table, ())) or slots.get(table, ())
    # every path id that anything holds, so that lists do not get each other's
    held = {key: dict(kept) for key, kept in previous.paths.items()}
    taken = {number for kept in held.values() for number in kept.values()}
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
        if names and not closing:
            usable_by = [{view.name: view for view in instances[item.tenant, name]} for name in names]
            tables = [slots[f"functions/{item.tenant}/{name}"] for name in names]
            combinations = [  # of each slot
                ",".join(table[function_slot(slot, n)] for n, table in enumerate(tables))
                for slot in range(SLOTS)
            ]
            base = labels.REMEMBERED if sticky else 0
            path_ids = numbers.assign(
                f"paths/{'remembered' if sticky else 'free'}",
                combinations,
                held.get(key, {}),
                first=base + 1,
                limit=base + labels.REMEMBERED,
                reserved=taken,
                together=True,
            )
            taken.update(path_ids.values())
            held[key] = path_ids
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
        )
    return found, ids, {key: held.get(key, {}) for key in wanted}

"""Which instances of functions are to be checked, and what each of them is, in one word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from controller_app.discovery.hosts import mac_number
from controller_app.discovery.ports import PortId
from controller_app.health.crossing import EVERYBODY
from controller_app.health.targets import NOBODY, Address, Spot, Target, Through, Wanted
from controller_app.model.policy import Function, Instance, Policy, Tenant
from controller_app.model.topology import Host, Topology
from controller_app.modes import MODES
from controller_app.policy.health import FROM_A_GATEWAY, asked_of, crossed_both_ways, probes_for

STATES = ("working", "unready", "down", "unusable")


class InstanceState(NamedTuple):
    """working: it gets slots, if there is a way to it · unready: its checks fail: no slots · down: its port is down, or
    its host not known · unusable: its host lacks what the mode needs. `reason` is for people, and may be empty."""

    word: str
    reason: str = ""


def instance_name(tenant: str, function: str, instance: str) -> str:
    """How an instance of a function is named in `Topology.unready`."""
    return f"functions/{tenant}/{function}/{instance}"


def wanted_instances(policy: Policy, topology: Topology) -> Wanted:
    """Every instance the policy wants checked. Those whose host, or its MAC, is not known yet are left out: nothing is
    sent to them. Those whose port is down stay, so that they come back only when they work again."""
    targets, unchecked = [], {}
    for tenant, function, instance in _instances(policy):
        host = topology.hosts.get(instance.host)
        if function.health is None or host is None:
            continue
        name = instance_name(tenant.name, function.name, instance.name)
        made = _target(tenant, function, host, topology, name)
        if isinstance(made, str):
            unchecked[name] = made
        elif made is not None:
            targets.append(made)
    return Wanted(tuple(targets), unchecked)


def instance_states(
    policy: Policy, topology: Topology, failing: Mapping[str, str], unchecked: Mapping[str, str]
) -> dict[tuple[str, str, str], InstanceState]:
    """The state of every instance, by tenant, function and its name: that which `topology` was compiled with. failing,
    unchecked: reasons, by name as in `Topology.unready`."""
    found = {}
    for tenant, function, instance in _instances(policy):
        name = instance_name(tenant.name, function.name, instance.name)
        state = _attached(function, instance, topology)
        if state is None and name in topology.unready:
            state = InstanceState("unready", failing.get(name, ""))
        state = state or InstanceState("working", unchecked.get(name, ""))
        found[tenant.name, function.name, instance.name] = state
    return found


def _instances(policy: Policy) -> Iterator[tuple[Tenant, Function, Instance]]:
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            for instance in function.instances.values():
                yield tenant, function, instance


def _target(tenant: Tenant, function: Function, host: Host, topology: Topology, name: str) -> Target | str | None:
    """What is to be checked; why it cannot be; or None while it is not known where, or at which MAC, the host is."""
    health, mode = function.health, MODES[function.mode]
    if health is None or health.probe not in probes_for(function) or frozenset(host.attach) not in mode.arms:
        return None
    spots = {arm: _spot(host, arm, topology, mode.is_host) for arm in host.attach}
    if health.probe == "frame":
        into, out = (spots.get(arm) or spots.get("") or spots.get("in") for arm in ("in", "out"))
        if into is None or out is None or None in spots.values():
            return None
        through = Through(out, mode.word == "nsh", crossed_both_ways(tenant, function.name))
        return Target(host.name, health, 0, (), *into, (name,), through)
    asked = asked_of(tenant, function, host)
    if not asked:
        return "it is not checked: no address of its host is known"
    addresses = []
    for arm, address, known in asked:
        gateway = known or (None if health.probe in FROM_A_GATEWAY else NOBODY[address.version])
        if gateway is None:
            kind = f"IPv{address.version} gateway"
            return f"it is not checked: the network of {address} has no {kind} to ask as; give it one"
        spot = spots[arm]
        if spot is None:
            return None
        addresses.append(Address(address, gateway, spot))
    first = addresses[0].spot
    assert first is not None
    return Target(host.name, health, health.port, tuple(addresses), *first, (name,))


def _spot(host: Host, arm: str, topology: Topology, asked: bool) -> Spot | None:
    """asked: frames are sent to its own MAC, so that has to be known."""
    end, mac = host.attach[arm], host.arm_mac(arm)
    switch = topology.switches.get(end.switch)
    if switch is None or not isinstance(end.port, int) or (asked and mac is None):
        return None
    place = PortId(switch.dpid, end.port)
    return Spot(switch.name, place, EVERYBODY if mac is None else mac_number(mac), host.vlan if asked else None)


def _attached(function: Function, instance: Instance, topology: Topology) -> InstanceState | None:
    """Why it cannot be gone through, whatever checks say; None when it can."""
    mode, host = MODES[function.mode], topology.hosts.get(instance.host)
    if host is None:
        return InstanceState("down", f"host {instance.host} is not known")
    if frozenset(host.attach) not in mode.arms:
        return InstanceState("unusable", f"host {host.name} has not the arms that mode {mode.word} needs")
    down = [str(end) for end in host.attach.values() if end in topology.down]
    if down:
        return InstanceState("down", f"its port {' and '.join(down)} is down")
    if mode.needs_mac and any(host.arm_mac(arm) is None for arm in host.attach):
        return InstanceState("down", f"the MAC of host {host.name} is not known yet")
    if mode.needs_address and not (host.ips or host.out_ips or host.prefixes):
        return InstanceState("unusable", f"host {host.name} has no address")
    return None

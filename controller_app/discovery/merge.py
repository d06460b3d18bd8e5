"""One topology out of what is declared and what is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller_app.discovery.hosts import FoundHost, mac_text
from controller_app.discovery.merge_links import LinkState, Observed, merge_links
from controller_app.discovery.ports import Port, PortId
from controller_app.model.topology import End, Host, IPAddress, Switch, Topology

__all__ = ["LinkState", "Merged", "Observed", "merge", "place_of", "resolve"]

LAST_STAND_IN = 0xFE00  # just below OFPP_MAX of OpenFlow 1.0, which Open vSwitch keeps to


@dataclass(frozen=True)
class Merged:
    """The topology that counts, and where declaration and observation disagree. `stand_ins` are ends whose
    number is made up, because their switch has not told it. `links`: every link, used or not, in the order of the
    topology's."""

    topology: Topology
    problems: tuple[str, ...] = ()
    stand_ins: frozenset[End] = frozenset()
    links: tuple[LinkState, ...] = ()


def resolve(declared: Topology, ports: Mapping[int, Mapping[int, Port]]) -> Merged:
    """Port names replaced by the numbers that switches gave them.

    A name of a switch that has not connected yet gets a number no port has, so that the rest of the network
    can be computed; the same for a name that a connected switch does not know, which is a problem.
    """
    problems: list[str] = []
    stand_ins: dict[End, int] = {}
    numbers: dict[tuple[str, str], int] = {}
    for switch in declared.switches.values():
        for port in ports.get(switch.dpid, {}).values():
            numbers[switch.name, port.name] = port.number

    def number(end: End, what: str) -> End:
        if isinstance(end.port, int):
            return end
        found = numbers.get((end.switch, end.port))
        if found is None:
            found = stand_ins.setdefault(end, LAST_STAND_IN - len(stand_ins))
            switch = declared.switches.get(end.switch)
            if switch is not None and switch.dpid in ports:
                problems.append(f"{what}: switch {end.switch} has no port named {end.port!r}")
        return End(end.switch, found)

    links = tuple(
        replace(link, a=number(link.a, f"link {link.a} - {link.b}"), b=number(link.b, f"link {link.a} - {link.b}"))
        for link in declared.links
    )
    hosts = {
        name: replace(host, attach={arm: number(end, f"host {name}") for arm, end in host.attach.items()})
        for name, host in declared.hosts.items()
    }
    made_up = frozenset(End(end.switch, number) for end, number in stand_ins.items())
    return Merged(Topology(declared.switches, links, hosts), tuple(problems), made_up)


def place_of(topology: Topology, end: End) -> PortId | None:
    """A resolved end as datapath id and number."""
    switch = topology.switches.get(end.switch)
    return None if switch is None or not isinstance(end.port, int) else PortId(switch.dpid, end.port)


def merge(declared: Topology, observed: Observed) -> Merged:
    """The declared topology with what was found added, and without what is known to be broken.

    Switches found are named `s<dpid>`. Found links (see `merge_links`) and hosts never replace declared ones: where
    they contradict each other the declaration counts, and it is reported.
    """
    resolved = resolve(declared, observed.ports)
    topology, problems = resolved.topology, list(resolved.problems)
    switches = dict(topology.switches)
    names = {switch.dpid: name for name, switch in switches.items()}
    for dpid in sorted(observed.ports):
        if dpid not in names:
            name = f"s{dpid}"
            while name in switches:
                problems.append(f"switch {dpid:#x} was found, but {name} is declared with another dpid")
                name += "-found"
            names[dpid] = name
            switches[name] = Switch(name, dpid)
    hosts, host_ports = _hosts(topology, observed, names, problems)
    states = merge_links(topology, resolved.stand_ins, observed, names, host_ports, problems)
    links = tuple(state.link for state in states if state.used)
    down = frozenset(
        end
        for host in hosts.values()
        for end in host.attach.values()
        if end not in resolved.stand_ins and _down(observed, place_of(Topology(switches), end))
    )
    problems = list(dict.fromkeys(problems))
    return Merged(Topology(switches, links, hosts, down), tuple(problems), resolved.stand_ins, states)


def _down(observed: Observed, place: PortId | None) -> bool:
    """Whether a switch that connected said that it has no such port, or that the port does not work."""
    if place is None or place.dpid not in observed.ports:
        return False
    port = observed.ports[place.dpid].get(place.port)
    return port is None or not port.up


def _hosts(
    topology: Topology, observed: Observed, names: Mapping[int, str], problems: list[str]
) -> tuple[dict[str, Host], frozenset[PortId]]:
    """All hosts, and the ports of the declared ones. No two have a MAC or an address in common because of what
    was found: whoever claims another's is left out, and reported."""
    hosts = dict(topology.hosts)
    ports = frozenset(
        place
        for host in hosts.values()
        for end in host.attach.values()
        if (place := place_of(topology, end)) is not None
    )
    owners: dict[str | IPAddress, str] = {}
    for host in hosts.values():
        macs = [mac.lower() for mac in (host.mac, host.out_mac) if mac]
        owners.update(dict.fromkeys((*macs, *host.ips, *host.out_ips), host.name))

    def claims(host: Host, found: FoundHost) -> bool:
        """What a host lacks becomes its own, unless some of it is another's."""
        arm = _arm(found)
        has_mac, has_ips = (host.out_mac, host.out_ips) if arm == "out" else (host.mac, host.ips)
        mine = () if has_mac else (mac_text(found.mac),), () if has_ips else found.ips
        for claim in (new := (*mine[0], *mine[1])):
            if owners.get(claim, host.name) != host.name:
                problems.append(
                    f"a host found at {found.place} ({mac_text(found.mac)}) is left out: {claim} is {owners[claim]}'s"
                )
                return False
        owners.update(dict.fromkeys(new, host.name))
        return True

    for found in _speakers(observed.hosts, topology.hosts):
        known = hosts.get(_declared(found) or "")
        if known is not None and known.name in topology.hosts:
            if claims(known, found):
                hosts[known.name] = _filled(known, found)
        elif found.ips and found.place.dpid in names and found.place not in ports and found.name not in hosts:
            attach = {"": End(names[found.place.dpid], found.place.port)}
            if claims(Host(found.name, attach), found):
                hosts[found.name] = Host(found.name, attach, found.ips, mac_text(found.mac))
    return hosts, ports


def _declared(found: FoundHost) -> str | None:
    """The name of the declared host of which this is one, or one arm."""
    return None if found.declared is None else found.declared.partition(":")[0]


def _arm(found: FoundHost) -> str:
    """Which arm of it, as in HOST:out; empty for the first, or only, one."""
    return "" if found.declared is None else found.declared.partition(":")[2]


def _filled(host: Host, found: FoundHost) -> Host:
    """A declared host with what its declaration leaves open."""
    mac = mac_text(found.mac)
    if _arm(found) == "out":
        return replace(host, out_mac=host.out_mac or mac, out_ips=host.out_ips or found.ips)
    return replace(host, mac=host.mac or mac, ips=host.ips or found.ips)


def _speakers(found: tuple[FoundHost, ...], declared: Mapping[str, Host]) -> list[FoundHost]:
    """What was found, with one machine at most for each declared host, these first: the one that has the declared
    address (a network card may have been replaced), else the one that spoke last."""
    best: dict[str, tuple[bool, float, FoundHost]] = {}
    for host in found:
        name = host.declared
        if name is not None and (known := declared.get(_declared(host) or "")) is not None:
            has_it, spoke = not set(host.ips).isdisjoint((*known.ips, *known.out_ips)), host.spoke
            if name not in best or (has_it, spoke) > best[name][:2]:
                best[name] = has_it, spoke, host
    return [*(host for _, _, host in best.values()), *(host for host in found if host.declared not in best)]

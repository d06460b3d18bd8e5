"""The network the counts are taken on: a k-ary fat-tree (Al-Fares, Loukissas, Vahdat, SIGCOMM 2008, section 3).

k pods of k/2 edge and k/2 aggregation switches, (k/2)² core switches, k/2 hosts on each edge switch: k=16 has 320
switches and 1,024 hosts. Three transparent functions stand at edge switches, every instance of one in a pod of its own
as long as there are pods.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from controller_app.model.policy import Function, Instance
from controller_app.model.topology import End, Host, Link, Switch, Topology

FIRST_HOST = IPv4Address("10.0.0.1")
SUBNET = IPv4Network("10.0.0.0/16")
FUNCTIONS = ("f0", "f1", "f2")


@dataclass(frozen=True)
class FatTree:
    """The topology, the functions on it, the names of its ordinary hosts, and its switches by layer."""

    topology: Topology
    functions: dict[str, Function]
    hosts: tuple[str, ...]
    core: tuple[str, ...]
    aggregation: tuple[str, ...]
    edge: tuple[str, ...]

    @property
    def transit(self) -> tuple[str, ...]:
        """Switches that only carry: no host and no function is on them."""
        return (*self.core, *self.aggregation)


def fat_tree(k: int, instances: int = 8) -> FatTree:
    """The fat-tree of k-port switches (k even), with `instances` of each function."""
    if k < 2 or k % 2:
        raise ValueError(f"a fat-tree needs an even number of ports per switch, not {k}")
    half = k // 2
    core = tuple(f"c{i}x{j}" for i in range(half) for j in range(half))
    aggregation = tuple(f"a{pod}x{i}" for pod in range(k) for i in range(half))
    edge = tuple(f"e{pod}x{i}" for pod in range(k) for i in range(half))
    used = Counter[str]()

    def port(switch: str) -> End:
        used[switch] += 1
        return End(switch, used[switch])

    links = []
    for pod in range(k):
        for i in range(half):
            links += [Link(port(f"a{pod}x{i}"), port(f"c{i}x{j}")) for j in range(half)]
            links += [Link(port(f"a{pod}x{i}"), port(f"e{pod}x{j}")) for j in range(half)]
    hosts = {}
    for number in range(len(edge) * half):
        mac = f"02:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        end = port(edge[number // half])
        hosts[f"h{number}"] = Host(f"h{number}", {"": end}, (FIRST_HOST + number,), mac, declared=True)
    ordinary = tuple(hosts)
    functions = {}
    for position, name in enumerate(FUNCTIONS):
        for i in range(instances):
            at = f"e{(2 * i + position) % k}x{(position + 2 * i // k) % half}"
            hosts[f"{name}i{i}"] = Host(f"{name}i{i}", {"in": port(at), "out": port(at)})
        functions[name] = Function(
            name, "firewall", {f"i{i}": Instance(f"i{i}", f"{name}i{i}") for i in range(instances)}
        )
    switches = {name: Switch(name, dpid) for dpid, name in enumerate((*core, *aggregation, *edge), 1)}
    return FatTree(Topology(switches, tuple(links), hosts), functions, ordinary, core, aggregation, edge)

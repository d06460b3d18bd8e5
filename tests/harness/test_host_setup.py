"""What is typed in a host's namespace, and which tunnel a link is; nothing here needs root."""

from __future__ import annotations

from controller_app.model.topology import End, Host, Link
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from mininet_scenarios.harness.host_setup import cable, functions_by_host, setup
from mininet_scenarios.harness.tunnels import encapsulation

TOPOLOGY = parse_topology("""
version: 1
switches: {s1: {dpid: 1}}
hosts:
  plain: {attach: s1:1, ip: 10.1.0.1, mac: 02:00:00:00:00:01}
  alone: {attach: s1:2, ip: [192.0.2.1, 192.0.2.2]}
  tagged: {attach: s1:3, ip: 10.1.0.3, vlan: 7}
  wire: {attach: {in: s1:4, out: s1:5}}
  gate: {attach: {in: {port: s1:6, ip: 10.1.0.6, mac: 02:00:00:00:00:06}, out: {port: s1:7, ip: 10.2.0.6}}}
  talk: {attach: {in: s1:8, out: s1:9}}
  pool: {attach: s1:10, ip: 10.1.0.10, prefixes: [198.51.100.8/30]}
""", "t.yaml")  # fmt: skip
POLICY = parse_policy({"p.yaml": """
version: 1
networks: {one: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}, two: {subnet: 10.2.0.0/24}}
functions:
  wire: {instances: {wire: {host: wire}}}
  gate: {mode: routed, instances: {gate: {host: gate}}}
  talk: {mode: nsh, instances: {talk: {host: talk}}}
  pool: {mode: translating, kind: nat, instances: {pool: {host: pool}}}
"""}).policy  # fmt: skip
FUNCTIONS = functions_by_host(POLICY)


def typed(name: str) -> list[str]:
    return setup(TOPOLOGY.hosts[name], FUNCTIONS.get(name), POLICY).splitlines()


def test_a_machine_has_its_networks_prefix_and_gateway() -> None:
    assert {"ip addr add 10.1.0.1/24 dev eth0", "ip route add default via 10.1.0.254 dev eth0"} <= set(typed("plain"))
    assert not any("ip_forward" in line or "bridge" in line for line in typed("plain"))


def test_without_a_network_everything_is_on_the_link_once() -> None:
    assert [line for line in typed("alone") if line.startswith(("ip addr", "ip route"))] == [
        "ip addr add 192.0.2.1/32 dev eth0", "ip route add default dev eth0", "ip addr add 192.0.2.2/32 dev eth0",
    ]  # fmt: skip


def test_a_host_in_a_vlan_has_a_tap_and_the_cable_is_another_interface() -> None:
    assert "ip tuntap add dev eth0 mode tap" in typed("tagged")
    assert cable(TOPOLOGY.hosts["tagged"], "") == "wire"
    assert cable(TOPOLOGY.hosts["plain"], "") == "eth0"


def test_a_transparent_function_is_a_bridge_and_an_nsh_function_is_not() -> None:
    assert "ip link set in master br0 && bridge link set dev in learning off" in typed("wire")
    assert not any("br0" in line for line in typed("talk"))
    assert "ip link set out mtu 1600" in typed("talk")


def test_a_two_armed_router_has_a_way_through_for_each_direction() -> None:
    lines = typed("gate")
    assert "echo 1 > /proc/sys/net/ipv4/ip_forward" in lines
    assert {"ip rule add iif in lookup 101", "ip rule add iif out lookup 102"} <= set(lines)
    assert {"ip route replace 10.2.0.0/24 dev out table 101", "ip route replace default dev out table 101",
            "ip route replace default via 10.1.0.254 dev in table 102"} <= set(lines)  # fmt: skip
    assert "ip link set in address 02:00:00:00:00:06" in lines
    assert not any(line.startswith("ip link set out address") for line in lines)  # it has a MAC of its own


def test_a_translator_with_a_pool_uses_it() -> None:
    assert any("snat to 198.51.100.8-198.51.100.11" in line for line in typed("pool"))


def test_a_tunnel_is_geneve_where_it_is_called_so() -> None:
    link = Link(End("s1", 3), End("s2", "vx1"), kind="tunnel")
    assert encapsulation(link, ()) == "vxlan"
    assert encapsulation(link, ["s1:3"]) == "geneve"
    assert encapsulation(Link(End("s1", "gnv2"), End("s2", 4), kind="tunnel"), ()) == "geneve"


def test_hosts_without_a_part_in_the_policy_are_machines() -> None:
    host = Host("x", {"": End("s1", 20)})
    assert "ip link set eth0 up" in setup(host, None, POLICY)

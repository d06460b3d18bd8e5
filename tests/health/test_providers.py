"""Who is to be checked, since when somebody drains, and what a provider is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import examples
import pytest
from checked_server import GATEWAY_MAC
from scapy.utils6 import in6_mactoifaceid

from controller_app.discovery.ports import PortId
from controller_app.health.drains import Drains
from controller_app.health.states import STATES, Findings, provider_states
from controller_app.health.targets import Address, wanted
from controller_app.model.policy import Endpoint, Health, Network, Policy, Service, Tenant
from controller_app.model.topology import End, Topology

ADDRESSES = {"default/app-svc": ("100.1.1.3",)}
TCP = Health("tcp", 80)


def changed(
    health: Health | None = TCP,
    service: Callable[[Service], Service] = lambda service: service,
    endpoints: Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint,
    tenant: Callable[[Tenant], Tenant] = lambda tenant: tenant,
) -> Policy:
    """The example policy with a health check, and something changed."""
    whole = examples.policy().tenants["default"]
    services = {name: service(replace(each, health=health)) for name, each in whole.services.items()}
    named = {name: endpoints(each) for name, each in whole.endpoints.items()}
    return Policy({"default": tenant(replace(whole, services=services, endpoints=named))})


def without(topology: Topology, host: str) -> Topology:
    return replace(topology, hosts={name: each for name, each in topology.hosts.items() if name != host})


# -- who is to be checked ----------------------------------------------------------------------------------------


def test_every_provider_is_checked_at_its_port_from_its_gateway() -> None:
    found = wanted(changed(), examples.network(), ADDRESSES)
    assert not found.unchecked
    assert [target.serves for target in found.targets] == [
        (f"services/default/app-svc/web{number}",) for number in (1, 2, 3)
    ]
    first = found.targets[0]
    assert (first.place, first.switch, first.mac) == (PortId(4, 11), "s4", 0x02_00_00_00_02_21)
    assert first.addresses == (Address(ip_address("10.2.0.21"), ip_address("10.2.0.254")),)
    assert first.port == 80


def test_a_service_of_both_versions_has_both_checked() -> None:
    both = changed(service=lambda each: replace(each, ips=(ip_address("100.1.1.3"), ip_address("fd64::3"))))
    (first, *_) = wanted(both, examples.network(), {}).targets
    assert first.addresses == (
        Address(ip_address("10.2.0.21"), ip_address("10.2.0.254")),
        Address(ip_address("fd02::21"), ip_address("fd02::fe")),
    )


def test_services_that_ask_the_same_share_a_check() -> None:
    def twice(tenant: Tenant) -> Tenant:
        service = tenant.services["app-svc"]
        again = replace(service, name="again", ips=())
        other = replace(service, name="other", ips=(), health=Health("http", 80))
        return replace(tenant, services={"app-svc": service, "again": again, "other": other})

    addresses = {"default/app-svc": ("100.1.1.3",), "default/again": ("100.1.1.4",), "default/other": ("100.1.1.5",)}
    found = wanted(changed(tenant=twice), examples.network(), addresses)
    assert [len(target.serves) for target in found.targets] == [2, 2, 2, 1, 1, 1]
    assert found.targets[0].serves == ("services/default/app-svc/web1", "services/default/again/web1")


def test_the_port_is_the_services_where_none_is_named() -> None:
    (first, *_) = wanted(changed(Health("http")), examples.network(), ADDRESSES).targets
    assert first.port == 80
    (first, *_) = wanted(changed(Health("arp")), examples.network(), ADDRESSES).targets
    assert first.port == 0

    def udp(service: Service) -> Service:
        return replace(service, ports=tuple(replace(port, protocol="udp") for port in service.ports))

    found = wanted(changed(Health("tcp"), udp), examples.network(), ADDRESSES)
    assert not found.targets and len(found.unchecked) == 3
    assert all("no TCP port" in why for why in found.unchecked.values())


def no_gateways(tenant: Tenant) -> Tenant:
    def without(network: Network) -> Network:
        return replace(network, gateways=())

    return replace(tenant, networks={name: without(network) for name, network in tenant.networks.items()})


def test_without_a_gateway_nobody_can_connect() -> None:
    policy = changed(tenant=no_gateways)
    found = wanted(policy, examples.network(), ADDRESSES)
    assert not found.targets
    assert "no IPv4 gateway" in found.unchecked["services/default/app-svc/web1"]
    states = provider_states(policy, examples.network(), ADDRESSES, Findings({}, found.unchecked))
    word, reason = states["default", "app-svc", "web1"]
    assert (word, "not checked" in reason) == ("serving", True)


def test_without_a_gateway_addresses_are_asked_for_by_nobody() -> None:
    """RFC 5227 2.1 for ARP; a neighbour solicitation needs an address, and the gateways' MAC has a link-local one."""

    def both(service: Service) -> Service:
        return replace(service, ips=(ip_address("100.1.1.3"), ip_address("fd64::3")))

    (first, *_) = wanted(changed(Health("arp"), both, tenant=no_gateways), examples.network(), {}).targets
    assert [address.gateway for address in first.addresses] == [
        ip_address("0.0.0.0"),
        ip_address("fe80::800:ff:fe00:1"),  # by scapy's in6_mactoifaceid for 0a:00:00:00:00:01
    ]
    assert in6_mactoifaceid(GATEWAY_MAC).lower() == "0800:00ff:fe00:0001"


def test_hosts_that_are_not_known_or_cannot_serve_are_not_asked() -> None:
    network = examples.network()
    hosts = dict(network.hosts)
    del hosts["w1"]
    hosts["w2"] = replace(hosts["w2"], mac=None)
    hosts["w3"] = replace(hosts["w3"], ips=(ip_address("fd02::23"),))
    assert wanted(changed(), replace(network, hosts=hosts), ADDRESSES) == ((), {})
    assert wanted(changed(None), network, ADDRESSES) == ((), {})


def test_whose_port_is_down_is_asked_on() -> None:
    network = replace(examples.network(), down=frozenset({End("s4", 11)}))
    assert len(wanted(changed(), network, ADDRESSES).targets) == 3


# -- drains ------------------------------------------------------------------------------------------------------


def draining(after: float | None = 60.0, drain: bool = True) -> Policy:
    return changed(endpoints=lambda e: replace(e, drain=drain, drain_after=after) if e.name == "web2" else e)


WEB2 = frozenset({"services/default/app-svc/web2"})


def test_a_drain_is_over_at_its_deadline() -> None:
    drains = Drains({}, 100.0, 1e9)
    drains.follow(draining(), 100.0, 1e9)
    assert (drains.over(159.9), drains.next(100.0), drains.over(160.0)) == (frozenset(), 160.0, WEB2)
    assert drains.next(160.0) == float("inf")
    assert drains.left(130.0) == {("default", "web2"): 30.0}
    drains.follow(draining(90.0), 165.0, 1e9 + 65)
    assert (drains.over(189.9), drains.over(190.0)) == (frozenset(), WEB2), "counted from its beginning"
    drains.follow(draining(drain=False), 200.0, 1e9 + 100)
    assert drains.over(1e6) == frozenset() and not drains.stored()
    drains.follow(draining(), 300.0, 1e9 + 200)
    assert drains.over(359.9) == frozenset(), "it begins anew"


def test_a_drain_without_a_deadline_is_never_over_but_its_begin_counts_when_it_gets_one() -> None:
    drains = Drains({}, 0.0, 1e9)
    drains.follow(draining(None), 0.0, 1e9)
    assert drains.over(1e9) == frozenset() and drains.left(5.0) == {}
    drains.follow(draining(60.0), 100.0, 1e9 + 100)
    assert drains.over(100.0) == WEB2


@pytest.mark.parametrize("away", [0.0, 30.0, 1000.0])
def test_a_restart_does_not_prolong_a_drain(away: float) -> None:
    first = Drains({}, 50.0, 1e9)
    first.follow(draining(), 50.0, 1e9)
    assert first.unsaved
    second = Drains(first.stored(), 7.0, 1e9 + 20 + away)  # another clock, begun with the machine
    second.follow(draining(), 7.0, 1e9 + 20 + away)
    assert not second.unsaved
    left = max(0.0, 40.0 - away)
    assert second.over(7.0 + left) == WEB2
    if left:
        assert second.over(7.0 + left - 0.1) == frozenset()


def test_a_wall_clock_set_back_ends_nothing_and_prolongs_by_no_more_than_the_whole() -> None:
    drains = Drains({"default/web2": 1e9}, 0.0, 1e9 - 5000)
    drains.follow(draining(), 0.0, 1e9 - 5000)
    assert (drains.over(59.9), drains.over(60.0)) == (frozenset(), WEB2)


# -- words -------------------------------------------------------------------------------------------------------


def test_every_state_has_its_word_and_its_reason() -> None:
    network = examples.network()
    hosts = dict(network.hosts)
    hosts["w3"] = replace(hosts["w3"], ips=(ip_address("fd02::23"),))
    policy = draining()
    failing = "services/default/app-svc/web1"
    topology = replace(network, hosts=hosts, unready=frozenset({failing}))
    findings = Findings({failing: "connection refused by 10.2.0.21:80"}, {}, {("default", "web2"): 12.3})
    states = provider_states(policy, topology, ADDRESSES, findings)
    assert {endpoint: tuple(state) for (_, _, endpoint), state in states.items()} == {
        "web1": ("unready", "connection refused by 10.2.0.21:80"),
        "web2": ("draining", "its connections are ended in 12 s"),
        "web3": ("unusable", "host w3 has no IPv4 address"),
    }
    states = provider_states(policy, replace(topology, down=frozenset({End("s4", 11)})), ADDRESSES, findings)
    assert tuple(states["default", "app-svc", "web1"]) == ("down", "its port s4:11 is down")
    states = provider_states(changed(), without(network, "w1"), ADDRESSES)
    assert {state.word for state in states.values()} == {"serving", "down"}
    assert tuple(states["default", "app-svc", "web1"]) == ("down", "host w1 is not known")
    drained = replace(network, unready=WEB2)
    assert provider_states(policy, drained, ADDRESSES)["default", "app-svc", "web2"].word == "unready"
    left = provider_states(changed(), network, ADDRESSES, leaving={"default/app-svc": ("web1",)})
    assert ("default", "app-svc", "web1") in left
    assert {"unready", "draining", "unusable", "down", "serving", "leaving"} == set(STATES)

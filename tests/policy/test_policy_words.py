"""What the words of a policy file mean."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from policies_by_example import BY_EXAMPLE, SERVING, SMALLEST, STEERING, WHOLE

from controller_app.model.policy import (
    Chain,
    Classifier,
    Endpoint,
    Function,
    Health,
    Instance,
    Network,
    Party,
    Policy,
    Segment,
    Service,
    ServicePort,
    Tenant,
    Traffic,
    Verdict,
)
from controller_app.model.position import PolicyError, Position
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.selectors_grammar import parse_selector


def test_the_smallest_policy() -> None:
    loaded = parse_policy({"p.yaml": SMALLEST})
    firewall = Function("firewall", "firewall", {"fw1": Instance("fw1", "fw1")})
    classifier = Classifier(
        "classifier-1",
        Party("host", "h1"),
        Party("host", "h2"),
        Verdict("chain", "protected"),
        (Traffic("tcp", 80, 80),),
    )
    assert loaded.policy == Policy(
        {
            "default": Tenant(
                functions={"firewall": firewall},
                chains={"protected": Chain("protected", ("firewall",))},
                classifiers={"classifier-1": classifier},
            )
        }
    )
    assert (loaded.warnings, loaded.files) == ((), ("p.yaml",))


def test_everything_this_version_knows() -> None:
    tenant = parse_policy({"p.yaml": WHOLE}).policy.tenants["blue"]
    assert tenant.default_allow is False
    assert tenant.networks["clients"] == Network(
        "clients",
        (ip_network("10.1.0.0/24"), ip_network("fd01::/64")),
        (ip_address("10.1.0.254"), ip_address("fd01::1")),
    )
    assert tenant.networks["vips"].kind == "service"
    labels = {"tier": "web", "version": "1.0", "on": "true"}
    assert tenant.endpoints["web1"] == Endpoint("web1", "h3", "servers", labels, 2)
    assert tenant.functions["ids"] == Function("ids", "other", {"ids1": Instance("ids1", "ids1")}, "tap")
    assert tenant.chains["inspect-web"] == Chain(
        "inspect-web", ("edge-firewall", "ids"), "direct", "mac", "none", "weight"
    )
    first, second, third = tenant.classifiers.values()
    assert (first.name, first.priority) == ("clients-to-web", 100)
    assert first.traffic == (
        Traffic("tcp", 80, 80),
        Traffic("tcp", 8000, 8999),
        Traffic("udp", 53, 53),
        Traffic("icmp"),
        Traffic("tcp"),
    )
    assert (second.name, second.source, second.then) == ("classifier-2", Party("any"), Verdict("allow"))
    assert second.destination == Party("selector", parse_selector("tier=web"))
    assert third.source == Party("cidr", ip_network("10.0.0.0/8"))
    assert third.traffic == (Traffic("udp", 1, 1),)
    assert tenant.services["app-svc"] == Service(
        "app-svc",
        "vips",
        parse_selector("tier=web, !old"),
        (ServicePort(8080, 80), ServicePort(9090, 90, "udp"), ServicePort(443, 443)),
        (ip_address("100.1.1.3"),),
    )


def test_the_words_of_the_steering_engine() -> None:
    loaded = parse_policy({"p.yaml": STEERING})
    tenant = loaded.policy.tenants["default"]
    assert loaded.warnings == ()
    assert tenant.flood == ("dhcp", "multicast")
    assert tenant.networks["clients"].insert == ("router", "ids")
    assert tenant.networks["servers"].insert == ()
    assert tenant.segments == {
        "kiosks": Segment("kiosks", "clients", ip_network("10.1.0.128/26"), None, ("firewall", "ids")),
        "lobby": Segment("lobby", "clients", None, parse_selector("place=lobby")),
    }
    assert tenant.segments["kiosks"].where == Position("p.yaml", 8, 3)
    assert [(each.mode, each.handover, each.on_failure) for each in tenant.functions.values()] == [
        ("transparent", "original", "open"),
        ("routed", "label", "reject"),
        ("tap", "label", "closed"),
        ("nsh", "label", "closed"),
        ("translating", "label", "closed"),
    ]
    assert list(tenant.chains.values()) == [
        Chain("there-and-back", ("firewall", "classifier"), ("ids", "router"), "nsh"),
        Chain("out", ("router", "nat"), "direct", "vlan", "none"),
        Chain("marked", ("router",), "symmetric", "mpls"),
    ]
    lobby, after, voice, plain, refused, also_refused = tenant.classifiers.values()
    assert (lobby.source, lobby.destination) == (Party("segment", "kiosks"), Party("segment", "lobby"))
    assert lobby.then == Verdict("chain", "there-and-back", 50e6, 18, 1)
    assert (after.after, after.dscp, after.priority) == ("classifier", (46, 10, 56), 5)
    assert (voice.dscp, voice.then) == ((44,), Verdict("allow", limit=1000.0))
    assert (plain.dscp, plain.then) == ((0,), Verdict("allow", queue=0))
    assert refused.then == also_refused.then == Verdict("reject")


def test_the_words_of_services() -> None:
    loaded = parse_policy({"p.yaml": SERVING})
    tenant = loaded.policy.tenants["default"]
    assert [(item.path, item.what) for item in loaded.warnings] == [
        ("functions.proxy.instances.selector", "the selector 'role=proxy' matches no endpoint")
    ]
    assert {name: (each.drain, each.drain_after) for name, each in tenant.endpoints.items()} == {
        "c1": (False, None),
        "web1": (True, 600.0),
        "web2": (True, None),
        "web3": (False, None),
        "box1": (False, None),
        "box2": (True, 0.0),
    }
    app, inner, near = tenant.services.values()
    assert (app.session_affinity, inner.session_affinity) == (10800.0, None)
    assert (app.prefer, inner.prefer, near.prefer) == ("zone", "cost", "switch")
    assert app.health == Health("http", 80, "/ready?full=1", 0.2, 2)
    assert inner.health == Health("tcp", 443, "/", 1.0, 3)
    assert near.health == Health("arp", 0, "/", 60.0, 3)
    assert app.expose == (
        Party("network", "clients"),
        Party("endpoint", "c1"),
        Party("cidr", ip_network("192.0.2.0/24")),
        Party("selector", parse_selector("role=client")),
    )
    assert not isinstance(app.expose, str)
    assert app.expose[1].where == Position("p.yaml", 29, 45)
    assert (inner.expose, near.expose) == ("internal", "everyone")
    assert app.where == Position("p.yaml", 22, 3)


def test_instances_by_selector() -> None:
    tenant = parse_policy({"p.yaml": SERVING}).policy.tenants["default"]
    firewall, proxy = tenant.functions.values()
    assert firewall.instances == {"box1": Instance("box1", "fw1", 3)}  # box2 drains
    assert firewall.instances["box1"].where == tenant.endpoints["box1"].where
    assert (firewall.selector, firewall.kind) == (parse_selector("role=firewall"), "firewall")
    assert (proxy.instances, proxy.selector) == ({}, parse_selector("role=proxy"))


def test_labels_of_all_files_count_for_instances_by_selector() -> None:
    function = "version: 1\nfunctions: {f: {instances: {selector: role=firewall}}}\n"
    first = "version: 1\nendpoints: {b: {host: x, labels: {role: firewall}}}\n"
    second = first.replace("b:", "a:").replace("host: x", "host: y")
    other = first.replace("version: 1\n", "version: 1\ntenant: blue\n").replace("host: x", "host: z")
    for order in (("first", "f", "second", "other"), ("other", "second", "f", "first")):
        texts = {"f": function, "first": first, "second": second, "other": other}
        policy = parse_policy({name: texts[name] for name in order}).policy
        found = policy.tenants["default"].functions["f"].instances
        assert {name: each.host for name, each in found.items()} == {"a": "y", "b": "x"}


def test_an_instance_may_be_called_selector() -> None:
    text = "version: 1\nfunctions: {f: {instances: {selector: {host: x}, fw: {host: y}}}}\n"
    function = parse_policy({"p": text}).policy.tenants["default"].functions["f"]
    assert (function.selector, set(function.instances)) == (None, {"selector", "fw"})


def test_flood_of_several_files_adds_up() -> None:
    one, two = "version: 1\nflood: dhcp\n", "version: 1\nflood: [multicast]\n"
    assert parse_policy({"a": one, "b": two, "c": one}).policy.tenants["default"].flood == ("dhcp", "multicast")
    assert parse_policy({"a": one}).policy.tenants["default"].flood == ("dhcp",)


@pytest.mark.parametrize(
    ("written", "number"),
    [("cs0", 0), ("CS6", 48), ("af11", 10), ("af21", 18), ("AF43", 38), ("ef", 46), ("voice-admit", 44), ("63", 63)],
)
def test_code_points_by_name(written: str, number: int) -> None:
    """Values of RFC 2474 4.2.2.2, RFC 2597 6, RFC 3246 2.7, RFC 5865 2.3."""
    text = f"version: 1\nclassifiers: [{{from: any, to: any, dscp: {written}, then: deny}}]\n"
    assert parse_policy({"p": text}).policy.tenants["default"].classifiers["classifier-1"].dscp == (number,)


def test_the_whole_language_by_example() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p": BY_EXAMPLE})
    (problem,) = caught.value.diagnostics  # nothing but that its `ids` is a tap
    assert str(problem) == (
        "p:39:12: classifiers[0].after: function 'ids' is a tap: it gets copies, and nothing comes out of it; "
        "name a function that traffic goes through, or give this one another mode"
    )
    loaded = parse_policy({"p": BY_EXAMPLE.replace("    after: ids\n", "")})
    assert loaded.warnings == ()
    tenant = loaded.policy.tenants["blue"]
    assert tenant.classifiers["clients-to-web"].then == Verdict("chain", "inspect-web", 50e6, 18)

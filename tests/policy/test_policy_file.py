"""Policy files: what is read from them, one by one and together."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

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
from controller_app.policy.policy_file import load_policy, parse_policy
from controller_app.policy.selectors_grammar import parse_selector
from controller_app.policy.yaml_positions import read_document

SMALLEST = """\
version: 1
functions:
  firewall: {kind: firewall, instances: {fw1: {host: fw1}}}
chains:
  protected: {through: [firewall]}
classifiers:
  - {from: {host: h1}, to: {host: h2}, traffic: [tcp/80], then: {chain: protected}}
"""
WHOLE = """\
version: 1
must_understand: []
tenant: blue
default: deny
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::1"]}
  servers: {subnet: 10.2.0.0/24}
  vips:    {subnet: 100.1.1.0/24, kind: service}
endpoints:
  web1: {host: h3, network: servers, labels: {tier: web, version: 1.0, on: true}, weight: 2, drain: false}
functions:
  edge-firewall:
    kind: firewall
    mode: transparent
    handover: label
    on_failure: closed
    instances:
      fw1: {host: fw1, weight: 2}
      fw2: {host: fw2}
  ids: {mode: tap, instances: {ids1: {host: ids1}}}
chains:
  inspect-web:
    through: [edge-firewall, ids]
    return: direct
    transport: mac
    stickiness: none
    spread: weight
classifiers:
  - name: clients-to-web
    from: {network: clients}
    to: {service: app-svc}
    traffic: [tcp/80, tcp/8000-8999, UDP/53, icmp, tcp]
    then: {chain: inspect-web}
    priority: 100
  - {from: any, to: {selector: "tier=web"}, then: allow}
  - {from: {cidr: 10.0.0.0/8}, to: {endpoint: web1}, traffic: udp/1, then: deny}
services:
  app-svc:
    network: vips
    ip: 100.1.1.3
    selector: {matchLabels: {tier: web}, matchExpressions: [{key: old, operator: DoesNotExist}]}
    ports: [8080:80/tcp, 9090:90:UDP, 443/tcp]
    expose: everyone
"""
STEERING = """\
version: 1
must_understand: [tunnel-links, after, segments]
flood: [multicast, dhcp, dhcp]
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], insert: [router, ids]}
  servers: {subnet: 10.2.0.0/24}
segments:
  kiosks: {network: clients, cidr: 10.1.0.128/26, insert: [firewall, ids]}
  lobby: {network: clients, selector: "place=lobby"}
endpoints:
  k1: {host: h1, network: clients, labels: {place: lobby}}
functions:
  firewall:
    {handover: original, on_failure: open, health: {probe: frame, interval: 200ms}, instances: {fw1: {host: fw1}}}
  router: {mode: routed, on_failure: reject, health: {probe: ICMP, misses: 1, hold: 1m}, instances: {r1: {host: r1}}}
  ids: {mode: tap, instances: {i1: {host: ids1}}}
  classifier: {mode: nsh, instances: {n1: {host: n1}}}
  nat: {mode: translating, kind: nat, instances: {nat1: {host: nat1}}}
chains:
  there-and-back: {through: [firewall, classifier], return: [ids, router], transport: nsh}
  out: {through: [router, nat], return: direct, transport: vlan, stickiness: none}
  marked: {through: [router], transport: mpls}
classifiers:
  - {from: {segment: kiosks}, to: {segment: lobby}, then: {chain: there-and-back, limit: 50Mbps, dscp: af21, queue: 1}}
  - {from: any, to: any, after: classifier, dscp: [ef, 10, CS7, 10], then: {chain: marked}, priority: 5}
  - {from: {host: h1}, to: any, dscp: voice-admit, then: {allow: true, limit: 1kbps}, priority: 7}
  - {from: {host: h1}, to: {cidr: 0.0.0.0/0}, dscp: 0, then: {queue: 0}, priority: 6}
  - {from: {host: h2}, to: any, then: reject, priority: 1}
  - {from: {host: h2}, to: {host: h1}, then: {reject: true}, priority: 2}
"""
SERVING = """\
version: 1
must_understand: [session-affinity, prefer, service-health, expose, drain, selector-functions]
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"]}
  servers: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
  vips: {subnet: [100.1.1.0/24, "fd64::/64"], kind: service}
endpoints:
  c1: {host: h1, network: clients, labels: {role: client}}
  web1: {host: web1, network: servers, labels: {tier: web}, drain: 10m}
  web2: {host: web2, network: servers, labels: {tier: web}, drain: true}
  web3: {host: web3, network: servers, labels: {tier: web}}
  box1: {host: fw1, labels: {role: firewall}, weight: 3}
  box2: {host: fw2, labels: {role: firewall}, drain: 0s}
functions:
  firewall: {kind: firewall, instances: {selector: "role=firewall"}}
  proxy: {mode: routed, instances: {selector: {matchExpressions: [{key: role, operator: In, values: [proxy]}]}}}
chains:
  inspect: {through: [firewall]}
classifiers:
  - {from: {network: clients}, to: {service: inner}, then: {chain: inspect}}
services:
  app:
    network: vips
    selector: tier=web
    ports: [8080:80/tcp]
    session_affinity: 3h
    prefer: zone
    health: {probe: "http://:80/ready?full=1", interval: 200ms, misses: 2}
    expose: [{network: clients}, {endpoint: c1}, {cidr: 192.0.2.0/24}, {selector: role=client}]
  inner: {network: vips, selector: tier=web, ports: 443, prefer: cost, health: {probe: TCP/443}, expose: internal}
  near: {network: vips, selector: tier=web, ports: 53/udp, prefer: switch, health: {probe: arp, interval: 1m}}
"""


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


# The whole language by example, as the design has it, without the words of later versions.
BY_EXAMPLE = """\
version: 1
must_understand: [tunnel-links]
tenant: blue
default: allow
flood: [dhcp]
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254, insert: [edge-firewall]}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
  vips:    {subnet: 100.1.1.0/24, kind: service}
segments:
  kiosks:  {network: clients, cidr: 10.1.0.128/26, insert: [edge-firewall, ids]}
endpoints:
  web1: {host: h3, network: servers, labels: {tier: web, release: stable}, weight: 1, drain: false}
functions:
  edge-firewall:
    kind: firewall
    mode: transparent
    handover: label
    on_failure: closed
    instances:
      fw1: {host: fw1, weight: 2}
      fw2: {host: fw2}
  ids:
    kind: ids
    mode: tap
    instances: {ids1: {host: ids1}}
chains:
  inspect-web:
    through: [edge-firewall, ids]
    return: symmetric
    transport: mac
    stickiness: connection
    spread: weight
classifiers:
  - name: clients-to-web
    from: {network: clients}
    to: {service: app-svc}
    traffic: [tcp/80, tcp/8000-8999]
    after: ids
    then: {chain: inspect-web, limit: 50Mbps, dscp: af21}
    priority: 100
services:
  app-svc:
    network: vips
    ip: 100.1.1.3
    selector: "tier=web, release in (stable, canary), !drained"
    ports: [8080:80/tcp]
    session_affinity: 10m
    prefer: rack
    health: {probe: http://:80/ready, interval: 1s, misses: 3}
    expose: everyone
"""


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


def test_json_is_the_same_policy() -> None:
    data = read_document(WHOLE, "p.yaml").plain()
    text = json.dumps(data, default=str, indent="\t")
    assert parse_policy({"p.json": text}).policy == parse_policy({"p.yaml": WHOLE}).policy


def test_objects_know_where_they_are_written() -> None:
    tenant = parse_policy({"p.yaml": SMALLEST}).policy.tenants["default"]
    assert tenant.functions["firewall"].where == Position("p.yaml", 3, 3)
    assert tenant.functions["firewall"].instances["fw1"].where == Position("p.yaml", 3, 42)
    assert tenant.classifiers["classifier-1"].where == Position("p.yaml", 7, 5)
    assert tenant.classifiers["classifier-1"].destination.where == Position("p.yaml", 7, 35)


def test_several_files_make_one_policy(tmp_path: Path) -> None:
    functions, rest = SMALLEST.split("chains:\n")
    (tmp_path / "b-functions.yml").write_text(functions)
    (tmp_path / "a-rest.yaml").write_text("version: 1\nchains:\n" + rest)
    (tmp_path / "c.json").write_text('{"version": 1, "tenant": "blue", "default": "deny"}')
    (tmp_path / "notes.txt").write_text("not a policy")
    (tmp_path / ".hidden.yaml").write_text("not a policy")
    loaded = load_policy([str(tmp_path), str(tmp_path / "c.json")])
    assert [Path(name).name for name in loaded.files] == ["a-rest.yaml", "b-functions.yml", "c.json"]
    assert loaded.policy.tenants["default"] == parse_policy({"p": SMALLEST}).policy.tenants["default"]
    assert loaded.policy.tenants["blue"] == Tenant("blue", default_allow=False)
    assert Policy.load(str(tmp_path)) == loaded.policy


def test_no_file_is_the_policy_that_allows_everything(tmp_path: Path) -> None:
    assert parse_policy({}).policy == Policy()
    (warning,) = load_policy([str(tmp_path)]).warnings
    assert "no policy file" in warning.what


def test_the_same_object_twice_names_both_places() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"a.yaml": SMALLEST, "b.yaml": SMALLEST.replace("version: 1\n", "version: 1\n\n")})
    found = [(str(item.position), item.path) for item in caught.value.diagnostics]
    assert found == [("b.yaml:4:3", "functions.firewall"), ("b.yaml:6:3", "chains.protected")]
    assert "a.yaml:3:3" in caught.value.diagnostics[0].what


def test_the_same_names_in_two_tenants_are_two_objects() -> None:
    other = SMALLEST.replace("version: 1\n", "version: 1\ntenant: blue\n").replace("host: fw1", "host: fw2")
    policy = parse_policy({"a.yaml": SMALLEST, "b.yaml": other}).policy
    assert set(policy.tenants) == {"default", "blue"}
    assert policy.tenants["blue"].functions["firewall"].instances["fw1"].host == "fw2"


def test_a_reference_does_not_reach_into_another_tenant() -> None:
    other = "version: 1\ntenant: blue\nclassifiers: [{from: any, to: any, then: {chain: protected}}]\n"
    with pytest.raises(PolicyError, match="no chain named 'protected'"):
        parse_policy({"a.yaml": SMALLEST, "b.yaml": other})


def test_unnamed_classifiers_of_several_files() -> None:
    one = "version: 1\nclassifiers: [{from: any, to: {host: h1}, then: deny}]\n"
    two = (
        "version: 1\nclassifiers: [{name: x, from: any, to: {host: h2}, then: deny}, "
        "{from: any, to: {host: h3}, then: deny}]\n"
    )

    def names(texts: dict[str, str]) -> list[str]:
        return list(parse_policy(texts).policy.tenants["default"].classifiers)

    assert names({"one.yaml": one, "two.yaml": two}) == ["classifier-1", "x", "classifier-2"]
    assert names({"one.yaml": one, "d/uno.yaml": one}) == ["one-classifier-1", "uno-classifier-1"]


def test_default_said_twice_must_agree() -> None:
    allow, deny = "version: 1\ndefault: allow\n", "version: 1\ndefault: deny\n"
    assert (
        parse_policy({"a": deny, "b": "version: 1\n", "c": deny}).policy.tenants["default"].default_allow
        is False
    )
    with pytest.raises(PolicyError, match=r"b:2:10: default: 'deny' contradicts a:2:10"):
        parse_policy({"a": allow, "b": deny})


def test_all_problems_of_all_files_are_found_in_one_go(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nchains: {c: {through: [nowhere]}, d: {through: 5}}\n")
    (tmp_path / "b.yaml").write_text("version: 1\nfoo: 1\nendpoints: {e: {host: h, weight: 0}}\n")
    with pytest.raises(PolicyError) as caught:
        load_policy([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), str(tmp_path / "absent.yaml")])
    places = [f"{Path(item.position.file).name}:{item.position.line}" for item in caught.value.diagnostics]
    # what is unknown in a.yaml may stand in the file that could not be read: that is not reported
    assert places == ["a.yaml:2", "absent.yaml:0", "b.yaml:2", "b.yaml:3"]


def test_a_faulty_object_is_not_unknown_on_top() -> None:
    text = SMALLEST.replace("{kind: firewall,", "{kind: fireball,")
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p": text})
    (problem,) = caught.value.diagnostics
    assert problem.path == "functions.firewall.kind"
    assert "firewall" in problem.remedy

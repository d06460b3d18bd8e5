"""Networks, segments, endpoints and addresses that cannot be: each refused at its very place (`bad_policies`)."""

from __future__ import annotations

import pytest
from bad_policies import EP, NET, STEER, Case, each, endpoint, refused_at_its_place, segment, service
from marked import unmark

from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import parse_policy

CASES: list[Case] = [
    ("weight -1", endpoint("{host: h, weight: §-1}"), "endpoints.e.weight", "-1 is too small", "least is 1"),
    ("weight 0", endpoint("{host: h, weight: §0}"), "endpoints.e.weight", "0 is too small", "least is 1"),
    (
        "weight as text",
        endpoint('{host: h, weight: §"2"}'),
        "endpoints.e.weight",
        "expected a whole number",
        "digits",
    ),
    (
        "weight a fraction",
        endpoint("{host: h, weight: §1.5}"),
        "endpoints.e.weight",
        "a whole number, found 1.5",
        "",
    ),
    (
        "unknown network of an endpoint",
        endpoint("{host: h, network: §servers}"),
        "endpoints.e.network",
        "no network named 'servers'",
        "",
    ),
    (
        "instance as endpoint",
        "functions: {f: {instances: {a: {host: x}}}}\nendpoints: {§e: {host: x}}",
        "endpoints.e",
        "host 'x' is an instance of function 'f'",
        "remove",
    ),
    (
        "host in one network twice",
        NET + "endpoints: {a: {host: x, network: n}, §b: {host: x, network: n}}",
        "endpoints.b",
        "is endpoint 'a' of the same network already",
        "",
    ),
    (
        "bad subnet",
        "networks: {n: {subnet: §10.0.0.0/33}}",
        "networks.n.subnet",
        "is not a prefix",
        "10.1.0.0/24",
    ),
    (
        "host bits in a subnet",
        "networks: {n: {subnet: [§10.0.0.1/24]}}",
        "networks.n.subnet[0]",
        "bits set",
        "write 10.0.0.0/24",
    ),
    (
        "two subnets of a family",
        "networks: {n: {subnet: [10.0.0.0/24, §10.0.1.0/24]}}",
        "networks.n.subnet[1]",
        "a second subnet of IPv4",
        "one a family",
    ),
    (
        "gateway outside",
        "networks: {n: {subnet: 10.0.0.0/24, gateway: §10.0.1.1}}",
        "networks.n.gateway",
        "10.0.1.1 is outside 10.0.0.0/24",
        "of the subnet",
    ),
    (
        "gateway is broadcast",
        "networks: {n: {subnet: 10.0.0.0/24, gateway: §10.0.0.255}}",
        "networks.n.gateway",
        "broadcast",
        "",
    ),
    (
        "bad gateway",
        "networks: {n: {subnet: 10.0.0.0/24, gateway: §10.0.0.300}}",
        "networks.n.gateway",
        "is not an IP address",
        "",
    ),
    (
        "overlapping networks",
        "networks: {a: {subnet: 10.0.0.0/8}, b: {subnet: §10.1.0.0/16}}",
        "networks.b.subnet",
        "10.1.0.0/16 overlaps 10.0.0.0/8 of network 'a' (p.yaml:2:12)",
        "its own",
    ),
    (
        "network kind",
        "networks: {n: {subnet: 10.0.0.0/8, kind: §services}}",
        "networks.n.kind",
        "'services' is not known here",
        "service?",
    ),
    (
        "endpoint in a service network",
        endpoint("{host: h, network: §v}"),
        "endpoints.e.network",
        "is a pool of service addresses",
        "kind hosts",
    ),
    ("label key", endpoint("{host: h, labels: §{-x: y}}"), "endpoints.e.labels", "label '-x'", "rename"),
    (
        "label value",
        endpoint("{host: h, labels: §{x: a b}}"),
        "endpoints.e.labels",
        "'a b' is not a label value",
        "",
    ),
    ("label without a value", endpoint("{host: h, labels: {§x: ~}}"), "endpoints.e.labels.x", "nothing", ""),
    (
        "service in an unknown network",
        service("{network: §w, selector: tier=web, ports: [80/tcp]}"),
        "services.s.network",
        "no network named 'w'",
        "",
    ),
    (
        "service in a host network",
        service("{network: §n, selector: tier=web, ports: [80/tcp]}"),
        "services.s.network",
        "'n' is not a pool of service addresses",
        "kind: service",
    ),
    (
        "service address outside",
        service("{network: v, ip: §10.0.0.3, selector: tier=web, ports: [80/tcp]}"),
        "services.s.ip",
        "10.0.0.3 is outside 100.1.1.0/24",
        "leave `ip` out",
    ),
    (
        "service selector",
        service('{network: v, selector: §"tier=", ports: [§80:80/icmp]}').replace("§", "", 1),
        "services.s.ports[0]",
        "'icmp' is not supported for services",
        "",
    ),
    (
        "service port",
        service("{network: v, selector: tier=web, ports: [§80:0/tcp]}"),
        "services.s.ports[0]",
        "port 0 does not exist",
        "",
    ),
    (
        "service port twice",
        service("{network: v, selector: tier=web, ports: [80:1/tcp, §80:2/tcp]}"),
        "services.s.ports[1]",
        "80/tcp is written twice",
        "keep one",
    ),
    (
        "service without ports",
        service("{network: v, selector: tier=web, ports: §[]}"),
        "services.s.ports",
        "it is empty",
        "",
    ),
    (
        "empty selector",
        service('{network: v, selector: §"", ports: [80/tcp]}'),
        "services.s.selector",
        "would match everything",
        "",
    ),
    (
        "service address twice",
        NET + "services:\n  a: {network: v, ip: 100.1.1.3, selector: x, ports: [80/tcp]}\n"
        "  §b: {network: v, ip: 100.1.1.3, selector: x, ports: [80/tcp]}",
        "services.b.ip",
        "100.1.1.3 belongs to service 'a' (p.yaml:4:3)",
        "another address",
    ),
    (
        "service address is a gateway",
        "networks: {v: {subnet: 100.1.1.0/24, gateway: 100.1.1.1, kind: service}}\n"
        "services:\n  §s: {network: v, ip: 100.1.1.1, selector: x, ports: [80/tcp]}",
        "services.s.ip",
        "belongs to the gateway of network 'v'",
        "another address",
    ),
    (
        "insert unknown",
        STEER.replace("m: {", "m: {insert: [fw, §ff], "),
        "networks.m.insert[1]",
        "named 'ff'",
        "known: fw",
    ),
    ("insert twice", STEER.replace("m: {", "m: {insert: [fw, §fw], "), "networks.m.insert[1]", "in the list twice", ""),
    ("insert nothing", STEER.replace("m: {", "m: {insert: §[], "), "networks.m.insert", "it is empty", ""),
    (
        "insert a translating function",
        STEER.replace("m: {", "m: {insert: [r, §nat], "),
        "networks.m.insert[1]",
        "function 'nat' changes addresses",
        "a classifier with a chain",
    ),
    (
        "insert at a pool of addresses",
        STEER.replace("v: {", "v: {insert: §[fw], "),
        "networks.v.insert",
        "has no hosts whose traffic could leave it",
        "the network of the hosts",
    ),
    (
        "insert in a segment",
        segment("{network: n, cidr: 10.0.0.0/25, insert: [§nat]}"),
        "segments.s1.insert[0]",
        "'nat' changes addresses",
        "",
    ),
    ("segment of nothing", segment("§{network: n, insert: [fw]}"), "segments.s1", "found nothing", "one of the two"),
    (
        "segment of both",
        segment("§{network: n, cidr: 10.0.0.0/25, selector: a=b}"),
        "segments.s1",
        "a cidr or a selector, found both",
        "one of the two",
    ),
    (
        "segment with an unknown key",
        segment("{network: n, §cdir: 10.0.0.0/25}"),
        "segments.s1.cdir",
        "unknown key",
        "did you mean 'cidr'?",
    ),
    (
        "segment without a network",
        segment("{cidr: 10.0.0.0/25}").replace("  s1", "  §s1"),
        "segments.s1",
        "'network' is missing",
        "add `network",
    ),
    ("segment as a word", segment("§kiosks"), "segments.s1", "expected `key: value` pairs", ""),
    (
        "segment of an unknown network",
        segment("{network: §nn, cidr: 10.0.0.0/25}"),
        "segments.s1.network",
        "no network named 'nn'",
        "did you mean 'n'?",
    ),
    (
        "segment of a pool of addresses",
        segment("{network: §v, selector: a=b}"),
        "segments.s1.network",
        "is a pool of service addresses",
        "kind hosts",
    ),
    (
        "segment outside its network",
        segment("{network: n, cidr: §10.0.0.0/23}"),
        "segments.s1.cidr",
        "10.0.0.0/23 is not inside 10.0.0.0/24",
        "a part",
    ),
    (
        "segment of the other family",
        segment("{network: n, cidr: §fd00::/64}"),
        "segments.s1.cidr",
        "fd00::/64 is not inside 10.0.0.0/24",
        "",
    ),
    (
        "two segments of one prefix",
        segment("{network: n, cidr: 10.0.0.0/25}", "{network: n, cidr: §10.0.0.0/25}"),
        "segments.s2.cidr",
        "10.0.0.0/25 is segment 's1' already (p.yaml:11:3)",
        "a part of the other",
    ),
    (
        "two selectors with a host in common",
        segment("{network: n, selector: a=b}", "{network: n, selector: c=d}").replace("  s2", "  §s2"),
        "segments.s2",
        "host 'x' is in segment 's1' too (p.yaml:11:3), and neither segment is a part",
        "no host in common",
    ),
]


@each(CASES)
def test_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    refused_at_its_place(text, path, what, remedy)


def test_a_selector_within_another_is_a_part_of_it() -> None:
    parse_policy({"p": "version: 1\n" + segment("{network: n, selector: a=b}", "{network: n, selector: 'a=b, c=d'}")})
    parse_policy({"p": "version: 1\n" + segment("{network: n, selector: a=b}", "{network: m, selector: c=d}")})


def test_what_is_written_and_will_not_happen_is_a_warning() -> None:
    text, places = unmark(
        "version: 1\nnetworks: {n: {subnet: 10.0.0.0/24, insert: §[ids]}}\n"
        "segments: {§s: {network: n, selector: tier=web}}\n"
        "functions: {ids: {mode: tap, instances: {a: {host: a}}}, fw: {instances: {b: {host: b}}}}\n"
        "classifiers: [{from: any, to: any, after: §fw, then: deny}]\n",
        "p",
    )
    loaded = parse_policy({"p": text})
    said = {str(item.position): item.what for item in loaded.warnings}
    assert set(said) == {str(place) for place in places}
    assert "only taps are inserted" in said[str(places[0])]
    assert "the selector 'tier=web' matches no endpoint" in said[str(places[1])]
    assert "no chain goes through it" in said[str(places[2])]


def test_a_selector_that_matches_nothing_is_a_warning() -> None:
    text, places = unmark(
        f"version: 1\n{NET}{EP}services:\n  §s: {{network: v, selector: tier=db, ports: [80/tcp]}}\n"
        "classifiers:\n  - {from: {selector: §tier!=web}, to: {selector: tier}, then: deny}\n",
        "p",
    )
    loaded = parse_policy({"p": text})
    assert [item.position for item in loaded.warnings] == places
    assert "the selector 'tier=db' matches no endpoint" in loaded.warnings[0].what
    assert "tier=web" in loaded.warnings[0].remedy


def test_a_host_belongs_to_one_tenant() -> None:
    texts = {name: f"version: 1\ntenant: {name}\nendpoints: {{e: {{host: h}}}}\n" for name in ("red", "blue")}
    with pytest.raises(PolicyError, match="host 'h' belongs to tenant 'red'"):
        parse_policy(texts)

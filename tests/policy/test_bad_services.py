"""Services, drains and pools that cannot be: each refused, or warned of, at its place; `§` marks it."""

from __future__ import annotations

import pytest
from marked import unmark

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.policy.policy_file import check_against, parse_policy
from controller_app.policy.topology_file import parse_topology

NETS = (
    'networks: {n: {subnet: [10.0.0.0/24, "fd00::/64"], gateway: [10.0.0.254, "fd00::fe"]}, '
    "v: {subnet: 100.1.1.0/24, kind: service}}\n"
)
EP = "endpoints: {e: {host: h1, network: n, labels: {tier: web}}}\n"


def service(text: str, name: str = "s") -> str:
    return f"{NETS}{EP}services:\n  {name}: {{network: v, selector: tier=web, ports: [80/tcp], {text}}}\n"


def drain(text: str) -> str:
    return f"endpoints: {{e: {{host: h, drain: {text}}}}}"


def pool(text: str) -> str:
    return f"endpoints: {{e: {{host: h, labels: {{a: b}}}}}}\nfunctions: {{f: {{instances: {text}}}}}"


FORMS = "write tcp/80, http://:80/ready or arp"
# text (after `version: 1`), path, what, remedy
CASES = [
    (service("health: {probe: §tcp}"), "services.s.health.probe", "'tcp' names no port", "write it: tcp/80"),
    (service("health: {probe: §tcp/0}"), "services.s.health.probe", "port 0 does not exist", "1 to 65535"),
    (service("health: {probe: §tcp/80-90}"), "services.s.health.probe", "'tcp/80-90' is not a probe", FORMS),
    (service("health: {probe: §80}"), "services.s.health.probe", "'80' is not a probe", FORMS),
    (service("health: {probe: §icmp}"), "services.s.health.probe", "'icmp' is not a probe", FORMS),
    (service("health: {probe: §http}"), "services.s.health.probe", "'http' is not a probe", FORMS),
    (service("health: {probe: §http:///x}"), "services.s.health.probe", "names no port", "write it: http://:80/x"),
    (service("health: {probe: §'http://:/x'}"), "services.s.health.probe", "names no port", "write it: http://:80/x"),
    (service("health: {probe: §'http://:70000/'}"), "services.s.health.probe", "port 70000 does not exist", "65535"),
    (
        service("health: {probe: §http://web:8080/x}"),
        "services.s.health.probe",
        "names a host, and every provider is asked at its own address",
        "write http://:8080/x",
    ),
    (service("health: {probe: §'http://:80/a b'}"), "services.s.health.probe", "the path '/a b' cannot stand", "%XX"),
    (service("health: {probe: §'http://:80/a#b'}"), "services.s.health.probe", "the path '/a#b' cannot", "%XX"),
    (
        service('health: {probe: §"http://:80/a\\r\\nHost: x"}'),
        "services.s.health.probe",
        "the path '/a\\r\\nHost: x' cannot stand in a request",
        "%XX",
    ),
    (
        service(f"health: {{probe: §'http://:80/{'a' * 1000}'}}"),
        "services.s.health.probe",
        "1001 characters long",
        "at most 1000",
    ),
    (service("health: {probe: §https://:443/}"), "services.s.health.probe", "https is not spoken", "write tcp/443"),
    (service("health: {probe: §[tcp/80]}"), "services.s.health.probe", "found a list", "write a probe such as"),
    (service("§health: {interval: 1s}"), "services.s.health", "'probe' is missing", "add `probe"),
    (service("health: §arp"), "services.s.health", "expected `key: value` pairs, found 'arp'", ""),
    (service("health: {probe: arp, §port: 80}"), "services.s.health.port", "unknown key 'port'", "known: probe"),
    (service("health: {probe: arp, interval: §99ms}"), "services.s.health.interval", "99ms between checks", "100ms"),
    (service("health: {probe: arp, interval: §2d}"), "services.s.health.interval", "is too long", "1d or less"),
    (
        service("health: {probe: arp, interval: §1}"),
        "services.s.health.interval",
        "'1' is not a time with its unit (ms, s, m, h or d)",
        "such as 1s",
    ),
    (service("health: {probe: arp, misses: §0}"), "services.s.health.misses", "0 is too small", "the least is 1"),
    (service("session_affinity: §999ms"), "services.s.session_affinity", "is too short", "1s or more"),
    (service("session_affinity: §19h"), "services.s.session_affinity", "longer than switches", "18h or less"),
    (service("session_affinity: §true"), "services.s.session_affinity", "found true", "such as 10m"),
    (service("session_affinity: §600"), "services.s.session_affinity", "'600' is not a time", "such as 10m"),
    (service("prefer: §host"), "services.s.prefer", "'host' is not known here", "'switch', 'rack', 'zone' or 'cost'"),
    (service("expose: §nobody"), "services.s.expose", "'nobody' does not say who", "everyone, internal or a list"),
    (service("expose: §{network: n}"), "services.s.expose", "a mapping does not say who", "[{network: NAME}]"),
    (service("expose: §[]"), "services.s.expose", "it is empty", "name at least one"),
    (service("expose: §any"), "services.s.expose", "that is everyone", "write everyone"),
    (service("expose: [{network: n}, §any]"), "services.s.expose[1]", "is everyone", "write `expose: everyone`"),
    (service("expose: [§{any: true}]"), "services.s.expose[0]", "is everyone", "write `expose: everyone`"),
    (service("expose: [{service: §s}]"), "services.s.expose[0].service", "cannot be the source", "that connects"),
    (service("expose: [{network: §m}]"), "services.s.expose[0].network", "no network named 'm'", "known: n, v"),
    (service("expose: [{endpoint: §e1}]"), "services.s.expose[0].endpoint", "no endpoint named 'e1'", "mean 'e'?"),
    (service("expose: [§{network: n, endpoint: e}]"), "services.s.expose[0]", "network and endpoint", "one of host"),
    (drain("§yes"), "endpoints.e.drain", "'yes' is neither true nor false nor a time", "write true, false or a time"),
    (drain("§10"), "endpoints.e.drain", "'10' is not a time with its unit", "such as 10m"),
    (drain("§-5m"), "endpoints.e.drain", "is neither true nor false nor a time", "such as 10m"),
    (drain("§400d"), "endpoints.e.drain", "400d is more than a year", "such as 10m"),
    (drain("§[10m]"), "endpoints.e.drain", "a list is neither true nor false nor a time", "such as 10m"),
    (pool("§{selector: a=b, x: {host: y}}"), "functions.f.instances", "a selector, and 'x' by name", "keep the"),
    (pool("{selector: §a in}"), "functions.f.instances.selector", "expected '('", "tier=web"),
    (pool("{selector: §{}}"), "functions.f.instances.selector", "the selector is empty", "tier=web"),
    (pool("{selector: §[a]}"), "functions.f.instances.selector", "found a list", "tier=web"),
    (pool("{selector: {§matchLabel: {}}}"), "functions.f.instances.selector.matchLabel", "unknown key", "known: "),
    (
        "networks: {v: {subnet: 100.1.1.0/24, kind: service}}\n"
        "services: {s: {network: v, selector: x, ports: §[]}}",
        "services.s.ports",
        "it is empty",
        "name at least one",
    ),
    (
        service("ip: 100.1.1.3") + "  §t: {network: v, selector: x, ports: 80, ip: 100.1.1.3}\n",
        "services.t.ip",
        "100.1.1.3 belongs to service 's' (p.yaml:5:3)",
        "choose another address",
    ),
    (
        "networks: {w: {subnet: 10.0.0.0/16, gateway: 10.0.0.1}, v: {subnet: 10.0.0.0/24, kind: service}}\n"
        "services: {§s: {network: v, selector: x, ports: 80, ip: 10.0.0.1}}",
        "services.s.ip",
        "10.0.0.1 belongs to the gateway of network 'w' (p.yaml:2:12)",
        "choose another address",
    ),
    (
        service("ip: §100.1.2.3"),
        "services.s.ip",
        "100.1.2.3 is outside 100.1.1.0/24, the addresses of network 'v'",
        "or leave `ip` out",
    ),
    (
        "networks: {n: {subnet: 10.0.0.0/24}, v: {subnet: 100.1.1.0/24, kind: service}}\n"
        f"{EP}services: {{§s: {{network: v, selector: tier=web, ports: 80, health: {{probe: tcp/80}}}}}}",
        "services.s.health",
        "network 'n' (p.yaml:2:12) of provider 'e' has no IPv4 gateway",
        "give network 'n' a `gateway`, or write `probe: arp`",
    ),
    (
        'networks: {n: {subnet: [10.0.0.0/24, "fd00::/64"], gateway: 10.0.0.254}, '
        'v: {subnet: "fd64::/64", kind: service}}\n'
        f"{EP}services: {{§s: {{network: v, selector: tier=web, ports: 80, health: {{probe: http://:80}}}}}}",
        "services.s.health",
        "network 'n' (p.yaml:2:12) of provider 'e' has no IPv6 gateway",
        "give network 'n' a `gateway`",
    ),
    (
        service("expose: everyone").replace("\n  s:", "\n  §s:")
        + "functions: {f: {mode: routed, instances: {selector: tier}}}",
        "services.s.selector",
        "it matches endpoint 'e' (p.yaml:3:13), whose host is an instance of function 'f'",
        "narrow the selector",
    ),
    (
        "endpoints: {§e: {host: h, labels: {a: b}}}\n"
        "functions: {f: {instances: {x: {host: h}}}, g: {instances: {selector: a=b}}}",
        "functions.g.instances.e",
        "host 'h' is attached as instance 'f.x' already (p.yaml:3:29), and 'a=b' matches its endpoint",
        "a host of its own",
    ),
]


@pytest.mark.parametrize(("text", "path", "what", "remedy"), CASES)
def test_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    text, (place,) = unmark(f"version: 1\n{text}\n", "p.yaml")
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p.yaml": text})
    here = [item for item in caught.value.diagnostics if item.path == path]
    assert here, caught.value
    assert (str(here[0].position), here[0].severity) == (str(place), "error")
    assert what in here[0].what
    assert remedy in here[0].remedy


def test_one_address_in_two_files_names_both_places() -> None:
    one = f"version: 1\n{NETS}services: {{s: {{network: v, selector: x, ports: 80, ip: 100.1.1.3}}}}\n"
    two = "version: 1\n\nservices: {t: {network: v, selector: x, ports: 80, ip: 100.1.1.3}}\n"
    with pytest.raises(PolicyError) as caught:
        parse_policy({"one.yaml": one, "two.yaml": two})
    (problem,) = caught.value.diagnostics
    assert str(problem).startswith(
        "two.yaml:3:12: services.t.ip: 100.1.1.3 belongs to service 's' (one.yaml:3:12); choose"
    )
    blue = two.replace("version: 1\n", f"version: 1\ntenant: blue\n{NETS}")
    assert parse_policy({"one.yaml": one, "two.yaml": blue}).policy.tenants["blue"].services["t"].ips  # tenants apart


@pytest.mark.parametrize(("count", "severity"), [(64, None), (65, "warning"), (256, "warning"), (257, "error")])
@pytest.mark.parametrize("kind", ["providers", "instances"])
def test_limits_on_selected_endpoints(kind: str, count: int, severity: str | None) -> None:
    many = "".join(f"  e{n}: {{host: x{n}, network: n, labels: {{a: b}}}}\n" for n in range(count))
    what = (
        "services: {s: {network: v, selector: a=b, ports: 80}}"
        if kind == "providers"
        else "functions: {f: {instances: {selector: a=b}}}"
    )
    text = f"version: 1\n{NETS}endpoints:\n{many}{what}\n"
    if severity == "error":
        with pytest.raises(PolicyError, match=f"257 {kind}; at most 256"):
            parse_policy({"p": text})
    else:
        assert [item.severity for item in parse_policy({"p": text}).warnings] == ([severity] if severity else [])


def warned(text: str) -> tuple[list[Diagnostic], list[str]]:
    """What is warned of, and the marked places, as `line:column`."""
    text, places = unmark(f"version: 1\n{text}\n", "p")
    return list(parse_policy({"p": text}).warnings), [str(place) for place in places]


def test_a_pool_of_nobody_is_a_warning() -> None:
    (nobody,), (place,) = warned(
        "endpoints: {e: {host: h, labels: {role: db}}}\nfunctions: {§f: {instances: {selector: role=fw}}}"
    )
    assert (str(nobody.position), nobody.path) == (place, "functions.f.instances.selector")
    assert "'role=fw' matches no endpoint" in nobody.what
    assert "role=db" in nobody.remedy
    (drained,), (place,) = warned(
        "endpoints: {e: {host: h, labels: {role: fw}, drain: true}}\nfunctions: {§f: {instances: {selector: role}}}"
    )
    assert (str(drained.position), "the function has no instance" in drained.what) == (place, True)


def test_a_source_that_matches_nobody_is_a_warning() -> None:
    (nobody,), (place,) = warned(service("expose: [{network: n}, {selector: §tier=db}]"))
    assert (str(nobody.position), nobody.path) == (place, "services.s.expose[1]")
    assert "matches no endpoint" in nobody.what


INTERNAL = service("expose: internal")
OPENED = "{from: {network: n}, to: {service: s}, then: allow}"


@pytest.mark.parametrize(
    "classifiers",
    [
        "",
        "{from: {network: n}, to: {service: s}, then: deny}",
        "{from: {network: n}, to: {service: s}, then: reject}",
        "{from: {network: n}, to: {service: t}, then: allow}",
    ],
)
def test_an_internal_service_that_nobody_reaches_is_a_warning(classifiers: str) -> None:
    other = "  t: {network: v, selector: tier=web, ports: 81}\n"
    (nobody,), (place,) = warned(f"{INTERNAL}{other}classifiers: [{classifiers}]".replace("\n  s:", "\n  §s:"))
    assert (str(nobody.position), nobody.path) == (place, "services.s.expose")
    assert "nobody can reach it" in nobody.what
    assert "to: {service: s}" in nobody.remedy


def test_who_is_named_reaches_an_internal_service() -> None:
    chained = OPENED.replace("allow", "{chain: c}") + "]\nfunctions: {f: {instances: {x: {host: x}}}}\n"
    assert warned(f"{INTERNAL}classifiers: [{OPENED}]") == ([], [])
    assert warned(f"{INTERNAL}classifiers: [{chained}chains: {{c: {{through: [f]}}}}") == ([], [])
    # what its source may do anyhow needs no word, nor does what lets nothing pass
    for more in ("{from: {network: n}, to: any, then: allow}", "{from: any, to: any, then: deny}"):
        assert warned(f"{INTERNAL}classifiers: [{OPENED}, {more}]") == ([], [])


@pytest.mark.parametrize(
    ("classifier", "side", "what"),
    [
        ("{from: §any, to: {service: s}, then: allow}", "from", "`from: any` does not open the internal service 's'"),
        ("{from: §any, to: any, then: allow}", "from", "`from: any` does not open"),
        ("{from: §any, to: {network: v}, then: allow}", "from", "`from: any` does not open"),
        ("{from: {endpoint: e}, to: §any, then: allow}", "to", "`to: any` does not open the internal service 's'"),
        ("{from: {endpoint: e}, to: {network: §v}, then: allow}", "to", "`to: {network: v}` does not open"),
        ("{from: {endpoint: e}, to: {cidr: §100.0.0.0/8}, then: allow}", "to", "`to: {cidr: 100.0.0.0/8}` does not"),
    ],
)
def test_a_wildcard_opens_no_internal_service(classifier: str, side: str, what: str) -> None:
    (wildcard,), (place,) = warned(f"{INTERNAL}classifiers:\n  - {OPENED}\n  - {classifier}")
    assert (str(wildcard.position), wildcard.path) == (place, f"classifiers.classifier-2.{side}")
    assert what in wildcard.what
    assert "expose: everyone" in wildcard.remedy


@pytest.mark.parametrize(
    "classifier",
    [
        "{from: any, to: {network: n}, then: allow}",
        "{from: any, to: {cidr: 100.1.2.0/24}, then: allow}",
        '{from: any, to: {cidr: "::/0"}, then: allow}',
        "{from: any, to: {endpoint: e}, then: allow}",
        "{from: any, to: {selector: tier=web}, then: allow}",
    ],
)
def test_what_is_not_about_it_is_not_said(classifier: str) -> None:
    assert warned(f"{INTERNAL}classifiers:\n  - {OPENED}\n  - {classifier}") == ([], [])


def test_wildcards_are_fine_where_no_service_is_internal() -> None:
    for expose in ("everyone", "[{network: n}]"):
        text = service(f"expose: {expose}") + "classifiers: [{from: any, to: any, then: allow}]"
        assert warned(text) == ([], [])


NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2, rack: r1}}
links: [[s1:1, s2:1]]
hosts:
  h1: {attach: s1:11, ip: 10.0.0.1}
  h2: {attach: s1:12}
  far: {attach: s2:12, ip: 192.0.2.1}
  fw: {attach: {in: s2:21, out: s2:22}}
  r: {attach: s2:23, ip: 10.0.0.9, mac: 02:00:00:00:00:09}
"""


def check(policy: str, topology: str = NETWORK) -> tuple[list[Diagnostic], list[str]]:
    text, places = unmark(f"version: 1\n{policy}\n", "p")
    found = check_against(parse_policy({"p": text}).policy, parse_topology(topology, "t"))
    return list(found), [str(place) for place in places]


def test_services_and_pools_that_fit() -> None:
    boxes = EP.replace("}}}\n", "}}, b: {host: fw, labels: {role: fw}}}\n")
    text = service("health: {probe: tcp/80}, prefer: rack, expose: [{endpoint: e}]").replace(EP, boxes)
    assert check(f"{text}functions: {{f: {{instances: {{selector: role=fw}}}}}}") == ([], [])


def test_a_box_of_a_pool_must_suit_the_mode() -> None:
    text = "endpoints: {§b: {host: h2, labels: {role: fw}}}\nfunctions: {f: {instances: {selector: role=fw}}}"
    (problem,), (place,) = check(text)
    assert (str(problem.position), problem.path) == (place, "functions.f.instances.b.host")
    assert "a transparent function has two arms; host 'h2' is attached by s1:12 alone" in problem.what


def test_a_box_is_no_source() -> None:
    pools = (
        "endpoints: {b: {host: fw, labels: {role: fw}}, c: {host: r, labels: {role: r}}}\n"
        "functions: {f: {instances: {selector: role=fw}}, g: {mode: routed, instances: {selector: role=r}}}\n"
    )
    (problem,), (place,) = check(f"{pools}classifiers: [{{from: {{endpoint: §b}}, to: any, then: deny}}]")
    assert (str(problem.position), problem.path) == (place, "classifiers.classifier-1.from")
    assert "host 'fw' is an instance of function 'f'" in problem.what
    assert check(f"{pools}classifiers: [{{from: {{endpoint: c}}, to: any, then: deny}}]") == ([], [])


def test_sources_are_hosts_of_the_topology() -> None:
    (problem,), (place,) = check(service("expose: [{host: §h3}]"))
    assert (str(problem.position), problem.path, problem.severity) == (place, "services.s.expose[0]", "error")
    assert "no host named 'h3'" in problem.what
    (problem,), (place,) = check(service("expose: [{host: §h2}]"))
    assert (str(problem.position), problem.severity) == (place, "warning")
    assert "it may reach the service once it is learned" in problem.what


def test_a_preference_that_no_switch_knows_is_a_warning() -> None:
    assert check(service("prefer: rack")) == ([], [])
    (problem,), (place,) = check(service("prefer: zone").replace("\n  s:", "\n  §s:"))
    assert (str(problem.position), problem.path, problem.severity) == (place, "services.s.prefer", "warning")
    assert "no switch of the topology has a zone" in problem.what


def test_an_address_of_a_host_is_not_given_to_a_service() -> None:
    text = service("ip: 100.1.1.3").replace("\n  s:", "\n  §s:")
    (problem,), (place,) = check(text, NETWORK + "  x: {attach: s2:31, ip: 100.1.1.3}\n")
    assert (str(problem.position), problem.path, problem.severity) == (place, "services.s.ip", "error")
    assert "100.1.1.3 belongs to host 'x' (t:10:3)" in problem.what


def test_checks_need_a_gateway_where_only_addresses_tell_the_network() -> None:
    placeless = EP.replace("network: n, ", "")
    text = service("health: {probe: tcp/80}").replace(EP, placeless).replace("\n  s:", "\n  §s:")
    assert check(text) == ([], ["p:5:3"])
    (problem,), (place,) = check(text.replace(', gateway: [10.0.0.254, "fd00::fe"]', ""))
    assert (str(problem.position), problem.path, problem.severity) == (place, "services.s.health", "error")
    assert "network 'n' (p:2:12) of provider 'e' has no IPv4 gateway" in problem.what
    (problem,), (place,) = check(text.replace("host: h1", "host: far"))
    assert (str(problem.position), problem.severity) == (place, "error")
    assert "provider 'e' (p:3:13) is in no network" in problem.what
    for other in (text.replace("tcp/80", "arp"), text.replace("health: {probe: tcp/80}", "prefer: cost")):
        assert check(other.replace("host: h1", "host: far"))[0] == []


def test_a_provider_without_an_address_of_the_service_is_a_warning() -> None:
    text = service("prefer: cost").replace("100.1.1.0/24", '[100.1.1.0/24, "fd64::/64"]')
    (problem,), (place,) = check(text.replace("{e:", "{§e:"))
    assert (str(problem.position), problem.path, problem.severity) == (place, "endpoints.e.host", "warning")
    assert "host 'h1' has no IPv6 address and service 's' has one: it serves nobody" in problem.what
    assert check(text.replace("prefer: cost", "ip: 100.1.1.3"))[0] == []

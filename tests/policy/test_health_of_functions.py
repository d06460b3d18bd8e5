"""How instances of functions are checked: what may be written, and where what cannot be is refused; `§` marks it."""

from __future__ import annotations

import pytest
from marked import unmark

from controller_app.model.policy import Health
from controller_app.model.position import PolicyError
from controller_app.policy.health import asked_of, crossed_both_ways
from controller_app.policy.policy_file import check_against, parse_policy
from controller_app.policy.topology_file import parse_topology

FORMS = "write frame, arp, icmp, tcp/80 or http://:80/ready"


def function(health: str, mode: str = "transparent", instances: str = "{a: {host: a}}") -> str:
    return f"functions: {{f: {{mode: {mode}, health: {health}, instances: {instances}}}}}"


CASES = [
    (function("{probe: §ping}"), "functions.f.health.probe", "'ping' is not a probe of a function", FORMS),
    (function("{probe: §http}"), "functions.f.health.probe", "'http' is not a probe of a function", FORMS),
    (function("{probe: §tcp}"), "functions.f.health.probe", "'tcp' names no port", "write it: tcp/80"),
    (function("{probe: §http://a:1/}"), "functions.f.health.probe", "every instance is asked", "write http://:1/"),
    (function("§{interval: 1s}").replace("health: §", "§health: "), "functions.f.health", "'probe' is missing", "add"),
    (function("{probe: frame, hold: §2d}"), "functions.f.health.hold", "2d until an instance is back is too", "1d or"),
    (function("{probe: frame, hold: §5}"), "functions.f.health.hold", "'5' is not a time with its unit", "such as 1s"),
    (function("{probe: frame, interval: §50ms}"), "functions.f.health.interval", "is too short", "100ms or more"),
    (function("{probe: frame, misses: §0}"), "functions.f.health.misses", "0 is too small", "the least is 1"),
    (function("{probe: frame, §holds: 1s}"), "functions.f.health.holds", "unknown key 'holds'", "hold"),
    # the mode decides
    (function("{probe: §icmp}"), "functions.f.health.probe", "mode transparent has no address", "write `probe: frame`"),
    (function("{probe: §tcp/80}", "nsh"), "functions.f.health.probe", "mode nsh has no address", "`probe: frame`"),
    (
        function("{probe: §frame}", "routed"),
        "functions.f.health.probe",
        "mode routed does not pass frames on as they are",
        "write `probe: icmp`, arp, tcp/PORT or http://:PORT/PATH",
    ),
    (function("{probe: §frame}", "translating"), "functions.f.health.probe", "mode translating does not pass", "icmp"),
    (function("{probe: §frame}", "tap"), "functions.f.health.probe", "an instance of mode tap sends nothing", "remove"),
    (function("{probe: §arp}", "tap"), "functions.f.health.probe", "an instance of mode tap sends nothing", "remove"),
    (
        f"endpoints: {{a: {{host: a, labels: {{x: y}}}}}}\n{function('{probe: §arp}', instances='{selector: x=y}')}",
        "functions.f.health.probe",
        "mode transparent has no address",
        "write `probe: frame`",
    ),
]


@pytest.mark.parametrize(("text", "path", "what", "remedy"), CASES)
def test_what_cannot_be_is_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    text, (place,) = unmark(f"version: 1\n{text}\n", "p.yaml")
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p.yaml": text})
    (problem,) = caught.value.diagnostics
    assert (problem.position, problem.path) == (place, path)
    assert what in problem.what and remedy in problem.remedy


@pytest.mark.parametrize(
    ("mode", "written", "health"),
    [
        ("transparent", "{probe: frame}", Health("frame", hold=1.0)),
        ("nsh", "{probe: Frame, interval: 200ms, misses: 5, hold: 0s}", Health("frame", 0, "/", 0.2, 5, 0.0)),
        ("routed", "{probe: ICMP, hold: 10s}", Health("icmp", hold=10.0)),
        ("translating", "{probe: arp}", Health("arp", hold=1.0)),
        ("routed", "{probe: tcp/22}", Health("tcp", 22, hold=1.0)),
        ("translating", '{probe: "http://:80/x"}', Health("http", 80, "/x", hold=1.0)),
    ],
)
def test_what_may_be_written(mode: str, written: str, health: Health) -> None:
    loaded = parse_policy({"p": f"version: 1\n{function(written, mode)}\n"})
    assert loaded.policy.tenants["default"].functions["f"].health == health


NET = """
version: 1
switches: {s1: {dpid: 1}}
hosts:
  a: {attach: {in: s1:1, out: {port: s1:2, mac: 02:00:00:00:00:0b, ip: [10.2.0.1, "fd02::1"]}}, mac: 02:00:00:00:00:0a,
      ip: [10.1.0.1, 10.1.0.2, "fd01::1"]}
"""
NETWORKS = """
networks:
  one: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  two: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
"""


@pytest.mark.parametrize("mode", ["routed", "translating"])
def test_addresses_that_are_asked_and_who_asks(mode: str) -> None:
    topology = parse_topology(NET, "t")
    both = ["10.1.0.1 10.1.0.254", "fd01::1 fd01::fe", "10.2.0.1 10.2.0.254", "fd02::1 fd02::fe"]
    for probe, expected in (("icmp", both), ("arp", both), ("tcp/80", both[:2]), ("'http://:80/'", both[:2])):
        loaded = parse_policy({"p": f"version: 1\n{NETWORKS}{function(f'{{probe: {probe}}}', mode)}\n"}).policy
        assert not check_against(loaded, topology)
        tenant = loaded.tenants["default"]
        asked = asked_of(tenant, tenant.functions["f"], topology.hosts["a"])
        assert [f"{each.address} {each.gateway}" for each in asked] == expected
        assert [each.arm for each in asked] == ["in", "in", "out", "out"][: len(expected)]


def test_who_cannot_be_asked_is_refused_on_the_topology() -> None:
    topology = parse_topology(NET, "t")
    for gateway, problems in ((", gateway: [10.1.0.254, 'fd01::fe']", []), (", gateway: 10.1.0.254", ["fd01::1"])):
        networks = f"networks: {{one: {{subnet: [10.1.0.0/24, 'fd01::/64']{gateway}}}}}\n"
        for probe in ("tcp/80", "'http://:80/'", "arp"):
            text, (place,) = unmark(f"version: 1\n{networks}{function(f'{{probe: §{probe}}}', 'routed')}\n", "p")
            found = check_against(parse_policy({"p": text}).policy, topology)
            assert [each.what.split()[0] for each in found] == (problems if probe != "arp" else [])
            for each in found:
                assert each.position == place and each.severity == "error"
                assert each.path == "functions.f.health.probe" and "write `probe: arp`" in each.remedy
    bare = NET.replace("ip: [10.1.0.1, 10.1.0.2, \"fd01::1\"]", "prefixes: [10.9.0.0/24]").replace(
        ', ip: [10.2.0.1, "fd02::1"]', ""
    )
    loaded = parse_policy({"p": f"version: 1\n{function('{probe: icmp}', 'translating')}\n"}).policy
    for discovering in (False, True):
        (found,) = check_against(loaded, parse_topology(bare, "t"), discovering=discovering)
        assert found.severity == ("warning" if discovering else "error")
        assert found.path == "functions.f.instances.a.host" and "no address at which 'icmp' could ask it" in found.what


@pytest.mark.parametrize(
    ("chains", "both"),
    [
        ("", True),
        ("chains: {c: {through: [f]}}", True),
        ("chains: {c: {through: [f], return: direct}}", False),
        ("chains: {c: {through: [f], return: direct}, d: {through: [g], return: [f]}}", True),
        ("chains: {c: {through: [f], return: direct}, d: {through: [g, f]}}", True),
        ("chains: {c: {through: [f], return: [g]}}", False),
        ("chains: {c: {through: [f], return: direct}}\nnetworks: {n: {subnet: 10.0.0.0/8, insert: [f]}}", True),
        (
            "chains: {c: {through: [f], return: direct}}\nnetworks: {n: {subnet: 10.0.0.0/8}}\n"
            "segments: {s: {network: n, cidr: 10.1.0.0/16, insert: [f]}}",
            True,
        ),
    ],
)
def test_functions_that_packets_meet_in_one_direction_only(chains: str, both: bool) -> None:
    text = "version: 1\nfunctions: {f: {instances: {a: {host: a}}}, g: {instances: {b: {host: b}}}}\n"
    tenant = parse_policy({"p": f"{text}{chains}\n"}).policy.tenants["default"]
    assert crossed_both_ways(tenant, "f") is both

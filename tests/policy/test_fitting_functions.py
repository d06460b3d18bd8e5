"""What functions of each mode, segments, insertions, ways back and transports need of a topology."""

from __future__ import annotations

from dataclasses import replace

import pytest
from marked import unmark

from controller_app.model.position import Diagnostic
from controller_app.model.topology import Switch
from controller_app.policy.policy_file import check_against, parse_policy
from controller_app.policy.topology_file import parse_topology

NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s9: {dpid: 9}}
links: [[s1:1, s2:1]]
hosts:
  h1: {attach: s1:11, ip: 10.1.0.11}
  h2: {attach: s2:11, ip: 10.2.0.12}
  k1: {attach: s1:12, ip: 10.1.0.130}
  far: {attach: s9:11, ip: 10.1.0.99}
  fw: {attach: {in: s2:21, out: s2:22}}
  far-fw: {attach: {in: s9:21, out: s9:22}}
  one: {attach: s1:31, mac: 02:00:00:00:00:31, ip: 10.1.0.31}
  two: {attach: {in: {port: s1:32, mac: 02:00:00:00:00:32}, out: {port: s2:32, mac: 02:00:00:00:00:33, ip: 10.2.0.33}}}
  bare: {attach: s1:34}
  half: {attach: {in: s1:35, out: s1:36}, mac: 02:00:00:00:00:35}
"""
NETS = "networks: {a: {subnet: 10.1.0.0/24}, b: {subnet: 10.2.0.0/24}}\n"


def check(text: str, topology: str = NETWORK, *, discovering: bool = False) -> tuple[Diagnostic, ...]:
    policy = parse_policy({"p": f"version: 1\n{text}\n"}).policy
    return check_against(policy, parse_topology(topology, "t"), discovering=discovering)


def function(mode: str, host: str) -> str:
    return f"functions: {{f: {{mode: {mode}, instances: {{§x: {{host: {host}}}}}}}}}"


@pytest.mark.parametrize("mode", ["routed", "nsh", "translating"])
@pytest.mark.parametrize("host", ["one", "two"])
def test_one_arm_or_two(mode: str, host: str) -> None:
    assert check(function(mode, host).replace("§", "")) == ()


def test_nsh_needs_no_address() -> None:
    assert check(function("nsh", "bare").replace("§", "")) == ()


CASES = [
    ("routed", "bare", "packets are sent to the MAC of a routed function, and that of host 'bare' is not", "`mac`"),
    ("translating", "half", "what a translating function sends is known by its address, and host 'half' has", "`ip`"),
    ("transparent", "one", "a transparent function has two arms; host 'one' is attached by s1:31 alone", "{in: "),
    ("tap", "two", "a tap has one arm; host 'two' is attached by in s1:32 and out s2:32", "attach: switch:port`"),
]


@pytest.mark.parametrize(("mode", "host", "what", "remedy"), CASES)
def test_what_a_host_lacks(mode: str, host: str, what: str, remedy: str) -> None:
    text, (place,) = unmark(f"version: 1\n{function(mode, host)}\n", "p")
    found = check_against(parse_policy({"p": text}).policy, parse_topology(NETWORK, "t"))
    problem = next(item for item in found if item.severity == "error")
    assert (problem.position, problem.path) == (place, "functions.f.instances.x.host")
    assert what in problem.what
    assert remedy in problem.remedy


@pytest.mark.parametrize("mode", ["routed", "translating"])
def test_what_may_be_learned_is_a_warning_while_discovering(mode: str) -> None:
    text = function(mode, "bare").replace("§", "")
    assert {item.severity for item in check(text)} == {"error"}
    learning = check(text, discovering=True)
    assert {item.severity for item in learning} == {"warning"}
    assert len(learning) == {"routed": 1, "translating": 2}[mode]


def test_the_mac_of_the_other_arm_is_asked_for() -> None:
    (warning,) = check(function("routed", "half").replace("§", ""))
    assert warning.severity == "warning"
    assert "the MAC of arm out of host 'half' is not known: 02:00:00:00:00:35" in warning.what


@pytest.mark.parametrize(("mode", "refused"), [("routed", False), ("translating", False), ("nsh", True)])
def test_what_a_router_or_proxy_sends_itself_can_be_classified(mode: str, refused: bool) -> None:
    text = function(mode, "one").replace("§", "") + "\nclassifiers: [{from: {host: one}, to: any, then: deny}]"
    found = check(text)
    assert [item.what for item in found] == (["host 'one' is an instance of function 'f'"] if refused else [])


def test_both_arms_of_a_router_have_addresses_of_their_own() -> None:
    taken = NETWORK.replace("10.2.0.12", "10.2.0.33")
    (problem,) = check("functions: {f: {mode: routed, instances: {x: {host: two}}}}", taken)
    assert "10.2.0.33 belongs to host 'h2' (t:6:3) in tenant 'default' too" in problem.what
    taken = NETWORK.replace("h2: {", "h2: {mac: 02:00:00:00:00:33, ")
    (problem,) = check("functions: {f: {mode: routed, instances: {x: {host: two}}}}", taken)
    assert "02:00:00:00:00:33 belongs to host 'h2'" in problem.what


# ---- segments --------------------------------------------------------------------------------------------


def segments(selector_labels: str, *hosts: str) -> str:
    ends = ", ".join(f"e-{host}: {{host: {host}, network: a, labels: {{p: q}}}}" for host in hosts)
    return (
        f"{NETS}endpoints: {{{ends}}}\nsegments:\n  low: {{network: a, cidr: 10.1.0.0/25}}\n"
        f"  chosen: {{network: a, selector: {selector_labels}}}"
    )


def test_a_selector_and_a_prefix_that_cross() -> None:
    (problem,) = check(segments("p=q", "h1", "k1"))
    assert (problem.severity, problem.path, problem.position.line) == ("error", "segments.chosen", 6)
    assert "host 'h1' is in segment 'low' too (p:5:3), and host 'k1' is not" in problem.what


def test_a_selector_within_a_prefix_and_one_beside_it() -> None:
    assert check(segments("p=q", "h1")) == ()
    assert check(segments("p=q", "k1")) == ()
    assert check(segments("p=q", "h1", "far")) == ()  # all that are there now


def test_a_segment_is_a_party() -> None:
    text = (
        f"{segments('p=q', 'k1')}\nfunctions: {{f: {{instances: {{x: {{host: far-fw}}}}}}}}\n"
        "chains: {c: {through: [f]}}\n"
        "classifiers: [{from: {segment: chosen}, to: {network: b}, then: {chain: c}}]"
    )
    (problem,) = check(text)
    assert (problem.severity, problem.path) == ("error", "classifiers.classifier-1.then.chain")
    assert "chain 'c' cannot be routed: no link leads from switch s1 to function 'f' on s9" in problem.what
    assert check(text.replace("far-fw", "fw")) == ()


# ---- ways ------------------------------------------------------------------------------------------------

FUNCTIONS = (
    "functions: {f: {instances: {x: {host: fw}}}, g: {instances: {x: {host: far-fw}}}, "
    "r: {mode: routed, instances: {x: {host: one}}}}\n"
)


def test_an_insertion_that_cannot_be_reached() -> None:
    text = f"networks: {{b: {{subnet: 10.2.0.0/24, insert: [f, g]}}}}\n{FUNCTIONS}"
    (problem,) = check(text)
    assert (problem.severity, problem.path) == ("error", "networks.b.insert")
    assert "what leaves 'b' cannot be routed: no link leads from switch s2 to function 'g' on s9" in problem.what
    assert check(text.replace("[f, g]", "[f, r]")) == ()


def test_an_insertion_that_some_cannot_reach() -> None:
    text = f"networks: {{a: {{subnet: 10.1.0.0/24, insert: [f]}}}}\n{FUNCTIONS}"
    (warning,) = check(text)  # `far` is on s9
    assert (warning.severity, warning.path) == ("warning", "networks.a.insert")
    assert "from switch s9 to function 'f'" in warning.what


def test_an_insertion_of_a_segment_that_cannot_be_reached() -> None:
    (problem,) = check(f"{NETS}segments: {{s: {{network: a, cidr: 10.1.0.128/25, insert: [g]}}}}\n{FUNCTIONS}")
    assert (problem.severity, problem.path) == ("error", "segments.s.insert")


def test_a_way_back_that_cannot_be_routed() -> None:
    text = f"{FUNCTIONS}chains: {{c: {{through: [f], return: [r, g]}}}}\n"
    text += "classifiers: [{from: {host: h1}, to: {host: h2}, then: {chain: c}}]"
    (problem,) = check(text)
    assert (problem.severity, problem.path) == ("error", "classifiers.classifier-1.then.chain")
    assert "the way back of chain 'c' cannot be routed: no link leads from switch s2 to function 'g'" in problem.what
    assert check(text.replace("[r, g]", "[r]")) == ()


def test_a_branch_starts_where_the_function_is() -> None:
    text = f"{FUNCTIONS}chains: {{c: {{through: [f]}}, d: {{through: [r]}}, e: {{through: [g]}}}}\n"
    text += "classifiers: [{from: any, to: {host: h2}, after: f, then: {chain: AFTER}}]"
    assert check(text.replace("AFTER", "d")) == ()
    (problem,) = check(text.replace("AFTER", "e"))
    assert "chain 'e' cannot be routed: no link leads from switch s2 to function 'g' on s9" in problem.what


# ---- transports ------------------------------------------------------------------------------------------

LINKS = NETWORK.replace(
    "links: [[s1:1, s2:1]]",
    "links:\n- {ends: [s1:1, s2:1], mtu: 1504}\n- [s1:2, s2:2]\n- {ends: [s1:3, s2:3], mtu: 9000}",
)


@pytest.mark.parametrize(("transport", "added"), [("mac", 0), ("vlan", 4), ("mpls", 8), ("nsh", 38)])
def test_links_that_are_too_small_for_a_transport(transport: str, added: int) -> None:
    text = f"{FUNCTIONS}chains: {{c: {{through: [f], transport: {transport}}}, d: {{through: [r]}}}}\n"
    found = check(text, LINKS)
    assert [(item.severity, item.path, item.position.line) for item in found] == (
        [("warning", "links.s1:1-s2:1.mtu", 4)] if added > 4 else []
    )
    if found:
        assert f"{transport} of chain 'c' adds {added}" in found[0].what
        assert f"to {1500 + added}" in found[0].remedy
    exact = LINKS.replace("1504", str(1500 + added))
    assert check(text, exact) == ()
    assert len(check(text, exact.replace(f"mtu: {1500 + added}", f"mtu: {1499 + added}"))) == (1 if added else 0)


@pytest.mark.parametrize(("transport", "refused"), [("vlan", True), ("mpls", False)])
def test_more_switches_than_vlans(transport: str, refused: bool) -> None:
    policy = parse_policy({"p": f"version: 1\n{FUNCTIONS}chains: {{c: {{through: [f], transport: {transport}}}}}\n"})
    topology = parse_topology(NETWORK, "t")
    switches = {**topology.switches, **{f"x{n}": Switch(f"x{n}", 1000 + n) for n in range(4092)}}
    found = check_against(policy.policy, replace(topology, switches=switches))
    assert [item.path for item in found] == (["chains.c.transport"] if refused else [])
    del switches["x0"]
    assert check_against(policy.policy, replace(topology, switches=switches)) == ()

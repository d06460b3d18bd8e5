"""The evaluator and the compiled flows agree about random policies with functions of every mode, branches,
insertions, marks and failures."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from controller_app.model.policy import (
    Chain,
    Classifier,
    Function,
    Instance,
    Network,
    Party,
    Policy,
    Segment,
    Tenant,
    Traffic,
    Verdict,
)
from controller_app.model.position import PolicyError
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile, compile_next
from controller_app.policy.topology_file import parse_topology
from controller_app.verification.verify import verify

TOPOLOGY = parse_topology("""\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}}
links: [[s1:1, s2:1], [s2:2, s3:1], [s1:2, s3:2]]
hosts:
  h1: {attach: s1:11, ip: [10.1.0.11, "fd01::11"], mac: 02:00:00:00:01:11}
  h2: {attach: s2:11, ip: 10.1.0.130, mac: 02:00:00:00:01:12, vlan: 7}
  w1: {attach: s3:11, ip: [10.2.0.21, "fd02::21"], mac: 02:00:00:00:02:21}
  w2: {attach: s3:12, ip: 10.2.0.22, mac: 02:00:00:00:02:22}
  fw1: {attach: {in: s2:21, out: s2:22}}
  fw2: {attach: {in: s3:21, out: s1:22}}
  st1: {attach: {in: s1:23, out: s1:24}}
  st2: {attach: {in: s2:23, out: s3:24}}
  ids1: {attach: s3:25}
  r1: {attach: s2:26, ip: [10.3.0.2, "fd03::2"], mac: 02:00:00:00:0a:01}
  r2: {attach: s1:26, ip: [10.3.0.3, "fd03::3"], mac: 02:00:00:00:0a:02}
  g1:
    attach:
      in: {port: s1:27, ip: [10.3.0.4, "fd03::4"], mac: 02:00:00:00:0a:04}
      out: {port: s2:27, ip: [10.4.0.4, "fd04::4"], mac: 02:00:00:00:0b:04}
  n1: {attach: s2:28, ip: [10.3.0.5, "fd03::5"], mac: 02:00:00:00:0a:05}
  n2: {attach: s3:28, ip: [10.3.0.6, "fd03::6"], mac: 02:00:00:00:0a:06}
  t1: {attach: s1:29, mac: 02:00:00:00:0a:07}
  t2: {attach: {in: s2:29, out: s3:29}, mac: 02:00:00:00:0a:08}
""", "topology.yaml")


def function(name: str, mode: str, *hosts: str, handover: str = "label", on_failure: str = "closed") -> Function:
    return Function(name, "other", {host: Instance(host, host) for host in hosts}, mode, handover, on_failure)


FUNCTIONS = {each.name: each for each in (
    function("fw", "transparent", "fw1", "fw2"),
    function("strict", "transparent", "st1", "st2", handover="original", on_failure="open"),
    function("tap", "tap", "ids1"),
    function("hop", "routed", "r1", "r2", on_failure="reject"),
    function("gate", "routed", "g1"),
    function("nat", "translating", "n1", "n2"),
    function("talk", "nsh", "t1", "t2"),
)}
SPARE = [name for name in FUNCTIONS if name != "nat"]  # what can be inserted, and be met by replies
PARTIES = st.one_of(
    st.just(Party("any")),
    st.builds(Party, st.just("host"), st.sampled_from(["h1", "h2", "w1", "w2"])),
    st.builds(Party, st.just("network"), st.sampled_from(["clients", "servers"])),
    st.just(Party("segment", "kiosks")),
    st.builds(Party, st.just("cidr"), st.sampled_from([ip_network(text) for text in (
        "10.1.0.0/16", "10.2.0.20/31", "fd00::/8", "0.0.0.0/0")])),
)
TRAFFIC = st.one_of(
    st.builds(lambda name, ends: Traffic(name, *sorted(ends)), st.sampled_from(["tcp", "udp"]),
              st.tuples(*[st.sampled_from((1, 22, 80, 40000, 65535))] * 2)),
    st.just(Traffic("icmp")),
)


def lists(names: list[str], most: int = 4) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True).map(tuple)


@st.composite
def chains(draw: st.DrawFn, name: str) -> Chain:
    return Chain(name, draw(lists(list(FUNCTIONS))),
                 draw(st.one_of(st.just("symmetric"), st.just("symmetric"), st.just("direct"), lists(SPARE, 2))),
                 draw(st.sampled_from(["mac", "mac", "vlan", "mpls", "nsh"])),
                 draw(st.sampled_from(["connection", "none"])))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    found = {name: draw(chains(name)) for name in ("one", "two")}
    verdicts = st.one_of(
        st.builds(Verdict, st.just("chain"), st.sampled_from(sorted(found)),
                  dscp=st.one_of(st.none(), st.sampled_from([10, 46]))),
        st.builds(Verdict, st.sampled_from(["chain"]), st.sampled_from(sorted(found))),
        st.just(Verdict("allow")), st.just(Verdict("deny")), st.just(Verdict("reject")),
    )
    classifiers = {}
    for number in range(draw(st.integers(1, 3))):
        after = None
        if draw(st.integers(0, 3)) == 0:
            after = draw(st.sampled_from(["fw", "strict", "talk"]))
        then = draw(verdicts)
        if after is not None and then.chain is not None and after in found[then.chain].through:
            then = Verdict("allow")
        wanted = Classifier(f"c{number}", draw(PARTIES), draw(PARTIES), then,
                            tuple(draw(st.lists(TRAFFIC, max_size=2))),
                            dscp=draw(st.sampled_from([(), (), (46,), (0, 10)])), after=after,
                            priority=draw(st.integers(0, 3)))
        classifiers[wanted.name] = wanted
    inside = draw(st.sampled_from([(), (), ("fw",), ("hop", "tap"), ("strict", "gate")]))
    networks = {
        "clients": Network("clients", (ip_network("10.1.0.0/24"), ip_network("fd01::/64")), insert=inside),
        "servers": Network("servers", (ip_network("10.2.0.0/24"), ip_network("fd02::/64"))),
        "near": Network("near", (ip_network("10.3.0.0/24"), ip_network("fd03::/64"))),
        "far": Network("far", (ip_network("10.4.0.0/24"), ip_network("fd04::/64"))),
    }
    kiosks = Segment("kiosks", "clients", ip_network("10.1.0.128/25"), insert=draw(st.sampled_from([(), ("talk",)])))
    return Policy({"default": Tenant(default_allow=draw(st.booleans()), networks=networks, segments={"kiosks": kiosks},
                                     functions=FUNCTIONS, chains=found, classifiers=classifiers)})


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    failing = draw(st.sampled_from([(), (), ("fw1",), ("st1", "st2"), ("r1", "r2"), ("t1", "t2")]))
    return replace(TOPOLOGY, down=frozenset(end for name in failing for end in TOPOLOGY.hosts[name].attach.values()))


CORNERS = {
    "a segment and the rest of its network": (
        {"inside": ("fw",), "kiosks": ("tap", "fw")}, []),
    "a branch says nothing of replies": (
        {}, [Classifier("all", Party("any"), Party("any"), Verdict("chain", "first")),
             Classifier("branch", Party("any"), Party("network", "servers"), Verdict("chain", "last"), after="fw")]),
    "a router and what is denied or rejected": (
        {}, [Classifier("all", Party("any"), Party("any"), Verdict("chain", "routed")),
             Classifier("no", Party("any"), Party("any"), Verdict("deny"), (Traffic("tcp", 23, 23),)),
             Classifier("away", Party("any"), Party("any"), Verdict("reject"), (Traffic("udp", 23, 23),))]),
    "a mark before a translating function": (
        {}, [Classifier("voice", Party("network", "clients"), Party("network", "servers"),
                        Verdict("chain", "cut", dscp=10), dscp=(46,))]),
    "a branch through functions that lose the label": (
        {}, [Classifier("all", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "first")),
             Classifier("branch", Party("any"), Party("network", "servers"), Verdict("chain", "routed"), after="fw")]),
    "a branch that others of its traffic do not take": (
        {}, [Classifier("all", Party("network", "clients"), Party("segment", "kiosks"), Verdict("chain", "long")),
             Classifier("branch", Party("segment", "kiosks"), Party("any"), Verdict("chain", "routed"), after="fw")]),
    "what only looks as if it came out of a translating function": (
        {"inside": ("strict", "gate")},
        [Classifier("echo", Party("network", "clients"), Party("any"), Verdict("chain", "cut-direct"),
                    (Traffic("icmp"),), dscp=(46,))]),
    "fragments to where only the replies of what is steered come from": (
        {}, [Classifier("near", Party("network", "clients"), Party("any"), Verdict("chain", "first-direct"),
                        (Traffic("tcp", 8080, 8080),))]),
    "fragments between who sends and who answers other traffic": (
        {}, [Classifier("one", Party("network", "clients"), Party("any"), Verdict("chain", "first"),
                        (Traffic("udp", 53, 53),)),
             Classifier("two", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "last"),
                        (Traffic("udp", 80, 80),), priority=2),
             Classifier("rest", Party("network", "servers"), Party("any"), Verdict("allow"), (Traffic("udp"),))]),
    "a copy where NSH is between switches": (
        {}, [Classifier("all", Party("any"), Party("any"), Verdict("chain", "wrapped"))]),
    "answers from a translating function go through a list that it is not in": (
        {}, [Classifier("there", Party("network", "clients"), Party("host", "w1"), Verdict("chain", "watched"))]),
    "answers from a translating function go through functions that lose the label": (
        {}, [Classifier("there", Party("host", "h1"), Party("host", "w1"), Verdict("chain", "behind"))]),
    "answers from a translating function are somebody's own by priority": (
        {}, [Classifier("there", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "cut")),
             Classifier("no", Party("host", "w1"), Party("network", "clients"), Verdict("reject"), priority=1)]),
    "answers from a translating function are marked, and steered, for the first time": (
        {}, [Classifier("there", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "cut")),
             Classifier("ways", Party("host", "w1"), Party("network", "clients"),
                        Verdict("chain", "routed", dscp=18, limit=5e6), priority=1)]),
    "answers from a translating function take a chain that it is in": (
        {}, [Classifier("there", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "cut")),
             Classifier("ways", Party("network", "servers"), Party("network", "clients"),
                        Verdict("chain", "behind", dscp=18), priority=1)]),
    "what a translating function sends on looks like an answer": (
        {}, [Classifier("all", Party("any"), Party("any"), Verdict("chain", "cut")),
             Classifier("some", Party("network", "servers"), Party("any"), Verdict("chain", "cut", dscp=18),
                        dscp=(8, 18), priority=1)]),
    "a branch to taps alone": (
        {}, [Classifier("all", Party("any"), Party("any"), Verdict("chain", "first")),
             Classifier("branch", Party("any"), Party("network", "servers"), Verdict("chain", "copied"), after="fw")]),
    "what a translating function sends on takes a branch": (
        {}, [Classifier("there", Party("host", "h1"), Party("network", "servers"), Verdict("chain", "cut-direct")),
             Classifier("branch", Party("any"), Party("network", "servers"), Verdict("chain", "long", dscp=18),
                        after="nat")]),
    "fragments that show another mark": (
        {}, [Classifier("voice", Party("network", "clients"), Party("network", "servers"),
                        Verdict("chain", "first", dscp=10), (Traffic("udp", 53, 53),), dscp=(46,)),
             Classifier("rest", Party("network", "clients"), Party("network", "servers"), Verdict("allow", dscp=18))]),
    "first fragments that show their protocol": (
        {}, [Classifier("web", Party("network", "clients"), Party("network", "servers"), Verdict("reject"),
                        (Traffic("tcp", 80, 80),), priority=1),
             Classifier("rest", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "first"),
                        (Traffic("tcp"),))]),
    "fragments of two classifiers of which one marks": (
        {}, [Classifier("some", Party("network", "clients"), Party("network", "servers"), Verdict("allow"),
                        (Traffic("tcp", 80, 80),), priority=1),
             Classifier("rest", Party("network", "clients"), Party("network", "servers"), Verdict("allow", dscp=18))]),
}


@pytest.mark.parametrize("default_allow", [True, False])
@pytest.mark.parametrize("corner", CORNERS)
def test_corners(corner: str, default_allow: bool) -> None:
    inserted, classifiers = CORNERS[corner]
    found = {name: Chain(name, through, stickiness="none") for name, through in (
        ("first", ("fw",)), ("last", ("talk",)), ("routed", ("hop", "gate")), ("cut", ("fw", "nat", "talk")),
        ("long", ("gate", "fw", "tap", "strict")))}
    found["cut-direct"] = Chain("cut-direct", ("gate", "talk", "fw", "nat"), returns="direct", stickiness="none")
    found["first-direct"] = replace(found["first"], name="first-direct", returns="direct")
    found["wrapped"] = Chain("wrapped", ("tap", "hop"), transport="nsh", stickiness="none")
    found["watched"] = Chain("watched", ("nat",), returns=("nat", "tap", "strict"))
    found["behind"] = Chain("behind", ("talk", "hop", "strict", "nat"), transport="vlan")
    found["copied"] = Chain("copied", ("tap",))
    networks = {
        "clients": Network("clients", (ip_network("10.1.0.0/24"), ip_network("fd01::/64")),
                           insert=inserted.get("inside", ())),
        "servers": Network("servers", (ip_network("10.2.0.0/24"), ip_network("fd02::/64"))),
    }
    kiosks = Segment("kiosks", "clients", ip_network("10.1.0.128/25"), insert=inserted.get("kiosks", ()))
    wanted = Policy({"default": Tenant(default_allow=default_allow, networks=networks, segments={"kiosks": kiosks},
                                       functions=FUNCTIONS, chains=found,
                                       classifiers={each.name: each for each in classifiers})})
    report = verify(wanted, TOPOLOGY)
    assert report.ok, report.counterexample


def test_what_is_behind_a_skipped_translating_function_is_met() -> None:
    functions = {**FUNCTIONS, "nat": replace(FUNCTIONS["nat"], on_failure="open")}
    there = Classifier("there", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "cut"))
    networks = {name: Network(name, (ip_network(text),)) for name, text in (
        ("clients", "10.1.0.0/24"), ("servers", "10.2.0.0/24"))}
    chain = Chain("cut", ("fw", "nat", "talk"), returns=("talk", "nat", "fw"))
    wanted = Policy({"default": Tenant(networks=networks, functions=functions, chains={"cut": chain},
                                       classifiers={"there": there})})
    down = frozenset(end for name in ("n1", "n2") for end in TOPOLOGY.hosts[name].attach.values())
    whole = compile_next(None, wanted, TOPOLOGY)
    for topology in (replace(TOPOLOGY, down=down), TOPOLOGY):  # it fails, and works again
        whole = compile_next(whole, wanted, topology)
        report = verify(wanted, topology, whole.state, whole.allocation)
        assert report.ok, report.counterexample


@pytest.mark.parametrize(("other", "refused"), [
    # from the servers through the router as well: behind it nothing tells these from the answers
    (Classifier("others", Party("network", "servers"), Party("network", "clients"), Verdict("chain", "routed"),
                priority=-1), True),
    # the same with the larger priority: then the answers take it, too
    (Classifier("others", Party("network", "servers"), Party("network", "clients"), Verdict("chain", "routed"),
                priority=1), False),
    # of other traffic
    (Classifier("others", Party("network", "servers"), Party("network", "clients"), Verdict("chain", "routed"),
                (Traffic("udp"),), priority=-1), False),
])
def test_answers_that_nothing_tells_from_other_traffic_are_refused(other: Classifier, refused: bool) -> None:
    there = Classifier("there", Party("network", "clients"), Party("network", "servers"), Verdict("chain", "behind"),
                       (Traffic("tcp", 80, 80),))
    networks = {name: Network(name, (ip_network(text),)) for name, text in (
        ("clients", "10.1.0.0/24"), ("servers", "10.2.0.0/24"))}
    found = {name: Chain(name, through, stickiness="none") for name, through in (
        ("behind", ("talk", "hop", "nat")), ("routed", ("hop", "gate")))}
    wanted = Policy({"default": Tenant(networks=networks, functions=FUNCTIONS, chains=found,
                                       classifiers={each.name: each for each in (there, other)})})
    if not refused:
        report = verify(wanted, TOPOLOGY)
        assert report.ok, report.counterexample
        return
    with pytest.raises(PolicyError, match="its replies go through 'hop' after they came back out of 'nat', and other "
                                          "traffic between the same hosts goes through 'hop' by others"):
        compile(wanted, TOPOLOGY)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(policies(), topologies())
def test_random_policies_verify(wanted: Policy, topology: Topology) -> None:
    try:
        state, allocation = compile(wanted, topology)
    except PolicyError:
        assume(False)
        return
    report = verify(wanted, topology, state, allocation)
    assert report.ok, report.counterexample

"""`spread: cost` and `require`: what can be written, what is refused and where, and what does not fit a network."""

from __future__ import annotations

import pytest
from marked import unmark
from pydantic_core import PydanticCustomError

from controller_app.model.policy import Chain, Require
from controller_app.model.position import Diagnostic, PolicyError, Position
from controller_app.policy.features import used_features
from controller_app.policy.policy_file import check_against, parse_policy
from controller_app.policy.selectors_grammar import parse_selector
from controller_app.policy.topology_file import parse_topology
from controller_app.policy.values import parse_bandwidth

REQUIRING = """\
version: 1
must_understand: [spread-cost, require-latency, require-bandwidth, require-within, require-avoid, require-prefer,
  require-apart, require-backup]
functions:
  fw: {instances: {fw1: {host: fw1}, fw2: {host: fw2}}}
  ids: {mode: tap, instances: {ids1: {host: ids1}}}
chains:
  near: {through: [fw], spread: cost}
  strict:
    through: [fw, ids]
    stickiness: none
    require: {latency: 5ms, bandwidth: 100Mbps, within: zone, avoid: "age=old, !new", prefer: rack=r1, apart: true,
      backup: true}
  plain: {through: [fw], require: {prefer: {matchLabels: {rack: r1}}}}
"""


def test_what_can_be_written() -> None:
    chains = parse_policy({"p": REQUIRING}).policy.tenants["default"].chains
    assert list(chains.values()) == [
        Chain("near", ("fw",), spread="cost"),
        Chain("strict", ("fw", "ids"), stickiness="none", require=Require(
            0.005, 1e8, "zone", parse_selector("age=old, !new"), parse_selector("rack=r1"), True, True)),
        Chain("plain", ("fw",), require=Require(prefer=parse_selector("rack=r1"))),
    ]
    strict = chains["strict"].require
    assert strict is not None
    assert strict.where == Position("p", 12, 5)
    assert [chain.by_edges for chain in chains.values()] == [True, True, True]
    assert not Chain("c", ("fw",)).by_edges


@pytest.mark.parametrize(
    ("chain", "used"),
    [
        ("spread: cost", ["spread-cost"]),
        ("require: {latency: 1s}", ["require-latency"]),
        ("require: {bandwidth: 1bps, apart: true}", ["require-apart", "require-bandwidth"]),
        ("require: {within: rack, apart: false}", ["require-within"]),
        ("require: {avoid: x, prefer: y, backup: true}", ["require-avoid", "require-backup", "require-prefer"]),
    ],
)
def test_each_word_is_a_feature(chain: str, used: list[str]) -> None:
    text = f"version: 1\nfunctions: {{f: {{instances: {{a: {{host: a}}}}}}}}\nchains: {{c: {{through: [f], {chain}}}}}"
    assert used_features(parse_policy({"p": text}).policy) == used


FUN = (
    "functions: {fw: {instances: {a: {host: a}}}, r: {mode: routed, instances: {b: {host: b}}}, "
    "o: {handover: original, instances: {c: {host: c}}}, nat: {mode: translating, instances: {d: {host: d}}}, "
    "ids: {mode: tap, instances: {e: {host: e}}}}\n"
)


@pytest.mark.parametrize(
    ("chain", "path", "what", "remedy"),
    [
        ("through: [fw], spread: §far", "spread", "'far' is not known here", "write one of 'weight' or 'cost'"),
        ("through: [fw], §spread: null", "spread", "nothing is written here", "'weight' or 'cost', or remove the key"),
        ("through: [fw], require: {§latncy: 5ms}", "require.latncy", "unknown key", "did you mean 'latency'?"),
        ("through: [fw], require: {latency: §5}", "require.latency", "'5' is not a time", "with its unit such as 2ms"),
        ("through: [fw], require: {latency: §0ms}", "require.latency", "less than any way takes", "above zero"),
        ("through: [fw], require: {bandwidth: §fast}", "require.bandwidth", "'fast' is not a rate", "10Gbps"),
        ("through: [fw], require: {bandwidth: §100Mbit}", "require.bandwidth", "not a rate", "did you mean 100Mbps?"),
        ("through: [fw], require: {bandwidth: §0Mbps}", "require.bandwidth", "is nothing", ""),
        ("through: [fw], require: {within: §room}", "require.within", "'room' is not known here", "'rack'"),
        ("through: [fw], require: {avoid: §'a in ('}", "require.avoid", "selector: ", "write one such as"),
        ("through: [fw], require: {avoid: §''}", "require.avoid", "", ""),
        ("through: [fw], require: {apart: §3}", "require.apart", "expected true or false, found 3", ""),
        ("through: [fw], require: §{}", "require", "nothing is required here", "remove `require`"),
        ("through: [fw], require: §{apart: false}", "require", "nothing is required here", "remove `require`"),
        ("through: [fw], require: §5ms", "require", "", ""),
        ("through: [fw, r], spread: cost, stickiness: §none", "stickiness",
         "function 'r' gives packets back without their label, nothing is remembered of them, and with `spread`",
         "write `stickiness: connection`"),
        ("through: [o], require: {apart: true}, stickiness: §none", "stickiness", "function 'o' gives", "`require`"),
        ("through: [nat], spread: cost, stickiness: §none", "stickiness", "function 'nat' gives", ""),
        ("through: [fw, nat], §require: {within: rack}", "require", "function 'nat' changes addresses", "take 'nat'"),
        ("through: [fw], return: [ids, §r], spread: cost", "return[1]", "function 'r' gives replies back", "symmetric"),
    ],
)
def test_bad_chains(chain: str, path: str, what: str, remedy: str) -> None:
    text, (place,) = unmark(f"version: 1\n{FUN}chains: {{c: {{{chain}}}}}\n", "p")
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p": text})
    (problem,) = caught.value.diagnostics
    assert (problem.position, problem.path) == (place, f"chains.c.{path}")
    assert what in problem.what
    assert remedy in f"{problem.what} {problem.remedy}"


@pytest.mark.parametrize(
    "chain",
    [
        "through: [fw, r], spread: cost",
        "through: [fw, nat], spread: cost",
        "through: [fw, ids], spread: cost, stickiness: none, return: [ids, fw]",
        "through: [r], return: direct, require: {latency: 1ms}",
        "through: [fw, r], stickiness: none, return: [r]",
    ],
)
def test_good_chains(chain: str) -> None:
    assert parse_policy({"p": f"version: 1\n{FUN}chains: {{c: {{{chain}}}}}\n"}).warnings == ()


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ("{§a b: x}", "label 'a b'"),
        ("{§rack: r1}", "the label 'rack' is the switch's rack"),
        ("{a: §[x]}", ""),
    ],
)
def test_bad_labels_of_switches(labels: str, what: str) -> None:
    text, _ = unmark(f"version: 1\nswitches: {{s1: {{dpid: 1, labels: {labels}}}}}\n", "t.yaml")
    with pytest.raises(PolicyError) as caught:
        parse_topology(text, "t.yaml")
    (problem,) = caught.value.diagnostics
    assert problem.path.startswith("switches.s1.labels")
    assert what in problem.what


def test_labels_of_switches() -> None:
    text = "version: 1\nswitches: {s1: {dpid: 1, zone: z1, labels: {old: yes, version: 1.10}}, s2: {dpid: 2}}\n"
    switches = parse_topology(text, "t.yaml").switches
    assert switches["s1"].all_labels == {"zone": "z1", "old": "yes", "version": "1.10"}
    assert switches["s2"].all_labels == {}


NETWORK = """\
version: 1
switches: {s1: {dpid: 1, rack: r1}, s2: {dpid: 2, rack: r1, labels: {age: old}}, s3: {dpid: 3, rack: r2},
  s4: {dpid: 4, rack: r1}}
links:
  - {ends: [s1:1, s2:1], latency: 1ms, bandwidth: 150Mbps}
  - {ends: [s2:2, s4:1], latency: 1ms, bandwidth: 150Mbps}
  - {ends: [s1:2, s3:1], latency: 3ms, bandwidth: 1Gbps}
  - {ends: [s3:2, s4:2], latency: 4ms, bandwidth: 1Gbps}
hosts:
  h1: {attach: s1:11, ip: 10.1.0.11, mac: 02:00:00:00:01:11}
  h2: {attach: s4:11, ip: 10.1.0.12, mac: 02:00:00:00:01:12}
  fw1: {attach: {in: s2:21, out: s2:22}}
  fw2: {attach: {in: s3:21, out: s3:22}}
"""
STEER = """\
version: 1
functions: {fw: {instances: {fw1: {host: fw1}, fw2: {host: fw2}}}}
chains:
  c: {through: [fw], require: REQUIRE}
  d: {through: [fw], require: OTHER}
classifiers:
  - {from: {host: h1}, to: {host: h2}, traffic: tcp/80, then: {chain: c}}
  - {from: {host: h1}, to: {host: h2}, traffic: tcp/81, then: {chain: d}}
"""


def fitting(require: str, other: str = "{apart: true}", network: str = NETWORK, **more: object) -> list[Diagnostic]:
    policy = parse_policy({"p": STEER.replace("REQUIRE", require).replace("OTHER", other)}).policy
    return list(check_against(policy, parse_topology(network, "t.yaml"), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "require",
    ["{latency: 2ms}", "{latency: 7ms, avoid: age=old}", "{bandwidth: 1Gbps}", "{backup: true}", "{prefer: rack=r2}",
     "{within: rack}"],
)
def test_what_fits(require: str) -> None:
    assert fitting(require) == []


@pytest.mark.parametrize(
    ("require", "said"),
    [
        ("{latency: 1ms}", "fw1 is out: 2 ms > 1 ms via s2; fw2 is out: 7 ms > 1 ms via s3"),
        ("{latency: 6ms, avoid: age}", "fw1 is out: s2 matches 'age'; fw2 is out: 7 ms > 6 ms via s3"),
        ("{bandwidth: 2Gbps}", "fw1 is out: 0.15 of 2 Gbps left on s1-s2; fw2 is out: 1 of 2 Gbps left on s1-s3"),
        ("{within: switch}", "fw1 is out: s4 is another switch than s1; fw2 is out: s4 is another switch than s1"),
        ("{within: zone}", "fw1 is out: s1 has no zone; fw2 is out: s1 has no zone"),
        ("{within: rack, avoid: age=old}", "fw1 is out: s2 matches 'age=old'; fw2 is out: s3 is in rack r2, s1 in r1"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place_with_every_reason(require: str, said: str) -> None:
    (problem,) = fitting(require)
    assert (problem.severity, problem.path) == ("error", "chains.c.require")
    assert (problem.position.line, problem.position.column) == (4, 22)
    assert problem.what == f"between s1 and s4 no instances fit: {said}"
    assert fitting(require, standing=[problem])[0].severity == "warning"


@pytest.mark.parametrize(
    ("require", "said", "remedy"),
    [
        ("{avoid: §age=odl}", "'age=odl' matches no switch and no endpoint: nothing is avoided",
         "no 'age' is odl: did you mean 'old'?"),
        ("{prefer: §'racks in (r1)'}", "'racks in (r1)' matches no switch and no endpoint: no instance is preferred",
         "no label is called 'racks': did you mean 'rack'?"),
        ("{prefer: §rack=nowhere}", "", "no 'rack' is nowhere: known: r1, r2"),
        ("{avoid: §'age=old, rack=r2'}", "", "each of its parts is true of something, and nothing meets them all"),
        ("{avoid: §'age, !rack'}", "", "everything has 'rack' as r1, r2"),
        ("{prefer: §{matchLabels: {zone: z1}}}", "'zone=z1' matches no", "no label is called 'zone': known: age, rack"),
    ],
)
def test_labels_that_nothing_has_are_warned_of_at_their_place(require: str, said: str, remedy: str) -> None:
    text, (place,) = unmark(STEER.replace("REQUIRE", require).replace("OTHER", "{apart: true}"), "p")
    policy = parse_policy({"p": text}).policy
    (problem,) = check_against(policy, parse_topology(NETWORK, "t.yaml"))
    word = require[1:].partition(":")[0]
    assert (problem.severity, problem.position) == ("warning", place)
    assert problem.path == f"chains.c.require.{word}"
    assert said in problem.what
    assert remedy in problem.remedy


def test_labels_of_endpoints_count_alone_and_for_what_is_preferred_with_those_of_their_switch() -> None:
    endpoints = "endpoints: {e: {host: h1, labels: {speed: fast}}}\n"
    for require, warned in (("avoid: speed=fast", 0), ("prefer: 'speed=fast, rack=r1'", 0),
                            ("avoid: 'speed=fast, rack=r1'", 1), ("prefer: 'speed=fast, rack=r2'", 1)):
        text = STEER.replace("REQUIRE", f"{{{require}}}").replace("OTHER", "{apart: true}") + endpoints
        found = check_against(parse_policy({"p": text}).policy, parse_topology(NETWORK, "t.yaml"))
        assert len(found) == warned, require


def test_bandwidth_is_admitted_in_the_order_of_declaration() -> None:
    assert fitting("{bandwidth: 100Mbps, avoid: rack=r2}", "{bandwidth: 50Mbps, avoid: rack=r2}") == []
    (problem,) = fitting("{bandwidth: 100Mbps, avoid: rack=r2}", "{bandwidth: 60Mbps, avoid: rack=r2}")
    assert problem.path == "chains.d.require"
    assert problem.what == (
        "between s1 and s4 no instances fit: fw1 is out: 50 of 60 Mbps left on s1-s2; fw2 is out: s3 matches 'rack=r2'"
    )
    # both instances are used, so both ways are kept
    (problem,) = fitting("{bandwidth: 100Mbps}", "{bandwidth: 950Mbps}")
    assert "fw2 is out: 900 of 950 Mbps left on s1-s3" in problem.what


@pytest.mark.parametrize(("word", "said"), [
    ("latency", "the latency of s1-s2 is not known"), ("bandwidth", "the bandwidth of s1-s2 is not known")])
def test_what_is_not_known_of_a_link_is_not_taken_for_good(word: str, said: str) -> None:
    network = NETWORK.replace("ends: [s1:1, s2:1], latency: 1ms, bandwidth: 150Mbps", "ends: [s1:1, s2:1]")
    asked = {"latency": "{latency: 6ms}", "bandwidth": "{bandwidth: 2Gbps}"}[word]
    (problem,) = fitting(asked, network=network)
    assert f"fw1 is out: {said}" in problem.what


def test_bytes_are_not_taken_for_bits() -> None:
    with pytest.raises(PydanticCustomError, match=r"write 240Mbps, or 30Mbps if bits are meant"):
        parse_bandwidth("30MBps")
    assert parse_bandwidth("30mbps") == parse_bandwidth("30MBPS") == 30e6

"""Verification sees that a packet's way does not meet what its chain requires, and that it was dropped for nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge_examples import NETWORK, network, policy

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile, compile_next
from controller_app.verification.verify import verify

TOPOLOGY = network()


def judged(has: str, wanted: str, topology: Topology = TOPOLOGY, stickiness: str = "none") -> str | None:
    """What is found wrong with the rules of one chain as those of another; None: nothing."""
    state, allocation = compile(policy(has, stickiness=stickiness, target="{host: c1}"), topology)
    report = verify(policy(wanted, stickiness=stickiness, target="{host: c1}"), topology, state, allocation)
    return None if report.ok else report.findings[0].what


@pytest.mark.parametrize("stickiness", ["none", "connection"])
@pytest.mark.parametrize(
    "more",
    ["spread: cost", "require: {latency: 2ms}", "require: {latency: 1ms}", "require: {within: zone}",
     "require: {avoid: age=old}", "require: {avoid: rack=r1}", "require: {apart: true, backup: true}",
     "require: {bandwidth: 1Gbps}", "require: {bandwidth: 2Gbps}", "require: {prefer: zone=z2}, spread: cost",
     "spread: cost, require: {latency: 9ms}"],
)
def test_what_is_compiled_is_right(more: str, stickiness: str) -> None:
    assert judged(more, more, stickiness=stickiness) is None
    wide = policy(more, stickiness=stickiness, source="any")
    state, allocation = compile(wide, TOPOLOGY)
    report = verify(wide, TOPOLOGY, state, allocation)
    assert report.ok, report.counterexample


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("spread: cost", "from s1 to s3 through fw1, dpi5 it costs 3, and through fw1, dpi2 2"),
        ("require: {latency: 2ms}", "its way s1 - s5 - s4 - s3 takes 9 ms of 2"),
        ("require: {within: zone}", "its way s1 - s5 - s4 - s3 is not within one zone"),
        ("require: {avoid: age=old}", "its way s1 - s5 - s4 - s3 meets s4"),
        ("require: {avoid: rack=r1}", "its way s1 - s2 - s3 meets s1"),
        ("require: {apart: true}", "are not all on different switches"),
        ("require: {bandwidth: 500Mbps}", "chains keep 500 Mbps of s4:2-s3:1, which has 100"),
    ],
)
def test_a_way_that_does_not_meet_what_is_required_is_found(wanted: str, said: str) -> None:
    found = judged("transport: mac", wanted)
    assert found is not None
    assert said in found


def test_a_way_without_another_beside_it_is_found() -> None:
    text = "\n".join(line for line in NETWORK.splitlines() if "s5:1" not in line and "s6:2" not in line)
    line = network(text)
    assert judged("transport: mac", "require: {backup: true}", line) is not None


@pytest.mark.parametrize(("unknown", "wanted", "said"), [
    ("latency", "require: {latency: 1s}", "crosses s1:1-s2:2, whose latency is not known"),
    ("bandwidth", "require: {bandwidth: 1Mbps}", "crosses s1:1-s2:2, whose bandwidth is not known")])
def test_what_is_not_known_of_a_link_is_found(unknown: str, wanted: str, said: str) -> None:
    first, *others = TOPOLOGY.links
    blind = replace(first, **{unknown: None})  # type: ignore[arg-type]
    found = judged("transport: mac", wanted, replace(TOPOLOGY, links=(blind, *others)))
    assert found is not None
    assert said in found


@pytest.mark.parametrize(("has", "wanted"), [
    ("require: {latency: 1ms}", "require: {latency: 3ms}"), ("require: {avoid: rack=r1}", "require: {avoid: rack=r9}")])
def test_what_is_dropped_although_something_fits_is_found(has: str, wanted: str) -> None:
    assert "nobody receives it" in str(judged(has, wanted))
    assert judged(has, has) is None


def test_links_that_chains_keep_more_of_than_there_is_are_found() -> None:
    def both(rate: int) -> Policy:
        one = policy(f"require: {{bandwidth: {rate}Mbps, within: zone, latency: 3ms}}", target="{host: c1}")
        tenant = one.tenants["default"]
        web, chain = tenant.classifiers["web"], tenant.chains["c"]
        other = replace(web, name="other", traffic=(replace(web.traffic[0], low=81, high=81),),
                        then=replace(web.then, chain="d"))
        return Policy({"default": replace(tenant, chains={"c": chain, "d": replace(chain, name="d")},
                                          classifiers={"web": web, "other": other})})

    state, allocation = compile(both(500), TOPOLOGY)
    assert verify(both(500), TOPOLOGY, state, allocation).ok
    found = verify(both(600), TOPOLOGY, state, allocation).findings
    assert {"chains keep 1200 Mbps of s1:1-s2:2, which has 1000" in each.what for each in found} >= {True}


@pytest.mark.parametrize("stickiness", ["none", "connection"])
def test_copies_for_taps_and_ways_there_and_back_are_counted(stickiness: str) -> None:
    """Of a request fw3's copy goes on to s4, and another of its answer: twice over a link with 100 Mbps."""
    def wanted(rate: int, through: str = "[fw, tap]") -> Policy:
        one = policy(f"require: {{bandwidth: {rate}Mbps}}", through, stickiness, target="{host: c1}")
        tenant = one.tenants["default"]
        only3 = replace(tenant.functions["fw"], instances={"fw3": tenant.functions["fw"].instances["fw3"]})
        return Policy({"default": replace(tenant, functions={**tenant.functions, "fw": only3})})

    made = compile_next(None, wanted(50), TOPOLOGY)
    assert made.unmet == ()
    assert verify(wanted(50), TOPOLOGY, made.state, made.allocation).ok
    found = verify(wanted(60), TOPOLOGY, made.state, made.allocation).findings
    assert any("chains keep 120 Mbps of s3:1-s4:2, which has 100" in each.what for each in found)
    (unmet,) = compile_next(None, wanted(60), TOPOLOGY).unmet
    assert "fw3 is out: 100 of 120 Mbps left on s3-s4, which is crossed twice" in unmet.what
    assert compile_next(None, wanted(60, "[fw]"), TOPOLOGY).unmet == ()

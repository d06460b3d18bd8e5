"""Every rule of a trace says for whom it is, where that is written, and which chain the packet is on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Any

import examples
import pytest

from controller_app.model.flow import Flow, Group
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.policy.policy_file import parse_policy
from controller_app.verification.classes import packet_classes
from controller_app.verification.explain import Explainer, Places, Told
from controller_app.verification.trace import PacketSpec, trace, way_document
from controller_app.verification.verify import Checker
from controller_app.verification.walk import walk_from

POLICIES = sorted(path for path in (examples.ROOT / "policies").iterdir() if path.is_dir() or path.suffix == ".yaml")
TOPOLOGY, POLICY = examples.network(), examples.policy()
STATE, ALLOCATION = compile(POLICY, TOPOLOGY)
ASKED = PacketSpec("h1", ip_address("100.1.1.3"), "tcp", 40000, 8080)


def rules(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for hop in (*document["forward"], *document["return"]) for rule in hop["rules"]]


@pytest.mark.parametrize("file", POLICIES, ids=lambda path: path.stem)
def test_every_rule_of_every_example_has_its_line(file: Path) -> None:
    """All but the rules that every switch has, and a default that no file mentions. The line is that of the object."""
    topology = Topology.load(str(examples.ROOT / "topologies" / f"{file.stem}.yaml"))
    policy = Policy.load(str(file))
    state, allocation = compile(policy, topology)
    checker = Checker(policy, topology, state, allocation)
    every = list(packet_classes(checker.evaluator, topology))
    seen = 0
    for each in islice(every, 0, None, max(1, len(every) // 60)):
        packet, wanted = checker.frame(each)
        for walk in walk_from(checker.network, packet, each.host, arm=checker.arm(each)):
            explainer = Explainer(policy, checker.network, allocation)
            document = way_document(checker, explainer, packet, wanted, each.host, walk)
            for rule in rules(document):
                kind, *_, name = rule["object"].split("/")
                if kind == "pipeline" or (kind == "policies" and rule["position"] is None):
                    continue
                source, line, _ = rule["position"].rsplit(":", 2)
                seen += 1
                if kind in ("functions", "services", "networks", "hosts", "switches"):
                    assert Path(source).read_text().splitlines()[int(line) - 1].strip().startswith(f"{name}:")
                if kind == "classifiers" and "name:" in Path(source).read_text().splitlines()[int(line) - 1]:
                    assert f"name: {name}" in Path(source).read_text().splitlines()[int(line) - 1]
            on_chain = [rule for rule in rules(document) if rule["table"] == "advance"]
            if not any(function.mode == "translating" for t in policy.tenants.values() for function in
                       t.functions.values()):
                assert all(rule["chains"] for rule in on_chain), document["functions"]
    assert seen > 10


def test_chains_that_share_a_label_are_told_apart_by_the_classifier() -> None:
    text = examples.POLICY.replace("STICKINESS", "none").replace("RETURN", "symmetric").replace(
        "chains:\n", "chains:\n  other: {through: [fw, ids], stickiness: none}\n")
    policy = parse_policy({"policy.yaml": text}).policy
    state, allocation = compile(policy, TOPOLOGY)
    document = trace(policy, TOPOLOGY, state, allocation, ASKED, slot=0)
    assert {chain["name"] for rule in rules(document) for chain in rule["chains"]} == {"inspect"}
    (checker, told) = Checker(policy, TOPOLOGY, state, allocation), document["forward"][1]
    walk = walk_from(checker.network, checker.frame(next(iter(
        each for each in packet_classes(checker.evaluator, TOPOLOGY) if each.dport == 8080)))[0], "h1")[0]
    assert walk.main is not None
    (alone,) = Explainer(policy, checker.network, allocation).hops(walk.main.hops[1:2], walk)
    assert {chain["name"] for chain in alone["rules"][0]["chains"]} == {"inspect", "other"}  # the label says no more
    assert told["rules"][0]["chains"] == [{"name": "inspect", "position": "policy.yaml:15:3"}]


def test_the_bucket_taken_and_the_slots_that_lead_there() -> None:
    told: list[Told] = []
    document = trace(POLICY, TOPOLOGY, STATE, ALLOCATION, ASKED, slot=7, told=told)
    (choice,) = [rule for rule in rules(document) if rule["table"] == "choose"]
    (group,) = choice["groups"]
    assert (group["type"], group["buckets"], group["bucket"], group["slots"]) == ("select", 256, 7, 1)
    whole = trace(POLICY, TOPOLOGY, STATE, ALLOCATION, ASKED)
    for way in whole["candidates"]:
        (group,) = [rule["groups"][0] for hop in way["forward"] for rule in hop["rules"] if rule["table"] == "choose"]
        assert group["slots"] == way["slots"]
    flows = [each for each in told if isinstance(each.what, Flow)]
    assert [each.document["priority"] for each in flows] == [each.what.priority for each in flows if
                                                             isinstance(each.what, Flow)]
    (chosen,) = [each for each in told if isinstance(each.what, Group) and each.what.kind == "select"]
    assert chosen.buckets == (7,)


def test_a_default_has_a_line_where_a_file_says_it() -> None:
    silent = Places(POLICY, TOPOLOGY)
    assert silent.text("policies/default/default") is None
    assert silent.text("pipeline/base") is None
    assert silent.text("classifiers/nobody/web") is None
    assert silent.text("functions/default/fw/fw2") == "policy.yaml:11:65"
    text = examples.POLICY.replace("STICKINESS", "none").replace("RETURN", "symmetric")
    said = Places(parse_policy({"policy.yaml": f"default: deny\n{text}"}).policy, TOPOLOGY)
    assert said.text("policies/default/default") == "policy.yaml:1:10"
    moved = replace(TOPOLOGY, hosts={})
    assert Places(POLICY, moved).text("hosts/h1") is None
    assert silent.text("hosts/h1") == str(TOPOLOGY.hosts["h1"].where)
    assert silent.text(f"links/{TOPOLOGY.links[0].a}-{TOPOLOGY.links[0].b}") == str(TOPOLOGY.links[0].where)

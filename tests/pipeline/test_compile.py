"""compile as a function: deterministic, stable, small."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import examples
import pytest

from controller_app.model.allocation import Allocation
from controller_app.model.position import PolicyError
from controller_app.model.topology import End, Host, Switch
from controller_app.pipeline.compile import compile
from controller_app.pipeline.ofctl import format_state
from controller_app.pipeline.paths import paths
from controller_app.policy.topology_file import parse_topology

HERE = Path(__file__).parents[1]


def digest() -> str:
    state, allocation = compile(examples.policy(), examples.network())
    text = repr([(name, format_state(held)) for name, held in state.items()]) + repr(allocation)
    return hashlib.sha256(text.encode()).hexdigest()


def test_two_processes_with_different_hash_seeds_make_the_same_bytes() -> None:
    code = "import test_compile; print(test_compile.digest())"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{HERE}:{HERE}/pipeline:{HERE.parent}"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "77")
    }
    assert len(found) == 1


def test_the_same_again_is_the_same() -> None:
    state, allocation = compile(examples.policy(), examples.network())
    again, kept = compile(examples.policy(), examples.network(), allocation)
    assert again == state
    assert kept == allocation
    assert Allocation.from_json(allocation.to_json()) == allocation


def test_slot_tables() -> None:
    _, allocation = compile(examples.policy(), examples.network())
    assert Counter(allocation.slots["functions/default/fw"]) == {"fw1": 171, "fw2": 85}
    assert Counter(allocation.slots["services/default/app-svc"]) == {"web1": 86, "web2": 85, "web3": 85}


def test_a_service_address_is_given_and_kept() -> None:
    text = examples.POLICY.replace("ip: 100.1.1.3, ", "")
    _, allocation = compile(examples.policy(text=text), examples.network())
    assert allocation.addresses["default/app-svc"] == ("100.1.1.1",)
    kept = Allocation(addresses={"default/app-svc": ("100.1.1.77",)})
    _, allocation = compile(examples.policy(text=text), examples.network(), kept)
    assert allocation.addresses["default/app-svc"] == ("100.1.1.77",)


def test_more_classifiers_need_no_rule_in_transit() -> None:
    """A switch without hosts knows waypoints, not chains; groups are shared by classifiers with one list."""
    few, _ = compile(examples.policy(), examples.network())
    more = "".join(
        f"  - {{from: {{network: clients}}, to: {{network: servers}}, traffic: [udp/{port}], "
        "then: {chain: inspect}}\n"
        for port in range(1000, 1050)
    )
    text = examples.POLICY.replace("services:\n", more + "services:\n")
    many, _ = compile(examples.policy(text=text), examples.network())
    assert len(many["s2"].flows) == len(few["s2"].flows)
    assert many["s1"].groups == few["s1"].groups
    assert len(many["s1"].flows) == len(few["s1"].flows) + 100  # one rule each and IP version


def test_paths_document() -> None:
    found = paths(examples.policy(), examples.network())["chains"]
    web = next(
        c for c in found if c["classifier"] == "web" and c["egress"] == "s4" and c["direction"] == "forward"
    )
    assert web["paths"] == [
        {"instances": ["fw1"], "switches": ["s1", "s2", "s4"], "cost": 2, "slots": 171},
        {"instances": ["fw2"], "switches": ["s1", "s3", "s4"], "cost": 2, "slots": 85},
    ]
    for chain in found:
        assert sum(path["slots"] for path in chain["paths"]) == 256


def test_an_instance_with_a_port_down_gives_its_slots_away_and_gets_them_back() -> None:
    topology, policy = examples.network(), examples.policy()
    _, before = compile(policy, topology)
    broken = replace(topology, down=frozenset({End("s2", 22)}))
    _, during = compile(policy, broken, before)
    assert set(during.slots["functions/default/fw"]) == {"fw2"}
    assert during.slots["services/default/app-svc"] == before.slots["services/default/app-svc"]
    (rejected,) = paths(policy, broken)["chains"][0]["rejected"]
    assert rejected == {"instances": ["fw1"], "why": "port s2:22 is down"}
    _, after = compile(policy, topology, during)
    assert Counter(after.slots["functions/default/fw"]) == {"fw1": 171, "fw2": 85}


def test_a_provider_with_its_port_down_serves_no_more_and_a_dead_tap_changes_nothing() -> None:
    topology, policy = examples.network(), examples.policy()
    state, before = compile(policy, topology)
    _, during = compile(policy, replace(topology, down=frozenset({End("s4", 11)})), before)
    moved = [a for a, b in zip(before.slots["services/default/app-svc"],
                               during.slots["services/default/app-svc"], strict=True) if a != b]
    assert set(moved) == {"web1"}
    assert compile(policy, replace(topology, down=frozenset({End("s4", 31)})), before)[0] == state


def test_a_path_number_is_not_soon_given_to_another_path() -> None:
    """A switch that missed two changes must not take a new path for the old one it still has rules for."""
    topology = examples.network()
    without = examples.POLICY.replace("{chain: inspect}", "allow").replace(
        "  inspect: {through: [fw, ids], stickiness: STICKINESS, return: RETURN}\n", "  other: {through: [ids]}\n"
    )
    longer = examples.POLICY.replace("through: [fw, ids]", "through: [ids, fw]")
    _, first = compile(examples.policy(), topology)
    _, second = compile(examples.policy(text=without), topology, first)
    _, third = compile(examples.policy(text=longer), topology, second)
    (old,), (new,) = first.paths.values(), third.paths.values()
    assert set(old.values()).isdisjoint(new.values())


def test_a_port_keeps_its_zone_whoever_else_is_behind_it() -> None:
    topology, policy = examples.network(), examples.policy()
    _, before = compile(policy, topology)
    other = Host("a-new-one", {"": End("s4", 11)}, (ip_address("10.2.0.99"),), "02:00:00:00:00:01")
    _, after = compile(policy, replace(topology, hosts={"a-new-one": other, **topology.hosts}), before)
    assert after.ids["zones"]["s4:11"] == before.ids["zones"]["s4:11"]
    assert after.waypoints["host:w1"] == before.waypoints["host:w1"]


def test_slots_come_back_as_they_were_when_all_instances_were_away() -> None:
    topology, policy = examples.network(), examples.policy()
    _, before = compile(policy, topology)
    _, during = compile(policy, replace(topology, down=frozenset({End("s2", 21), End("s3", 21)})), before)
    _, after = compile(policy, topology, during)
    assert after.slots == before.slots


def test_named_ports_are_an_error_with_its_place() -> None:
    topology = parse_topology(examples.NETWORK.replace("s1:1, s2:1", "s1:eth1, s2:1"), "named.yaml")
    with pytest.raises(PolicyError, match=r"named\.yaml:3:.*s1:eth1 names a port"):
        compile(examples.policy(), topology)


def test_an_instance_that_is_cut_off_gives_its_slots_away() -> None:
    topology, policy = examples.network(), examples.policy()
    # fw2 moves to a switch of its own that no cable leads to
    alone = {**topology.switches, "s9": Switch("s9", 9)}
    cut = Host("fw2", {"in": End("s9", 1), "out": End("s9", 2)})
    _, made = compile(policy, replace(topology, switches=alone, hosts={**topology.hosts, "fw2": cut}))
    assert set(made.slots["functions/default/fw"]) == {"fw1"}
    # a part that only functions lead to is not cut off: fw1 leads into it, and out of it again
    through = {
        **topology.hosts,
        "fw1": Host("fw1", {"in": End("s2", 21), "out": End("s9", 3)}),
        "fw2": Host("fw2", {"in": End("s9", 1), "out": End("s3", 22)}),
    }
    _, made = compile(policy, replace(topology, switches=alone, hosts=through))
    assert set(made.slots["functions/default/fw"]) == {"fw1", "fw2"}

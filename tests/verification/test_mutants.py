"""Verification finds what is wrong with a mutant of a compiled state, and nothing else: real packets through Open
vSwitch say what is wrong. `make bench` tries more of them, of every example and of networks of the Topology Zoo."""

from __future__ import annotations

from collections import Counter

import examples
import pytest
from dummy_ovs import DummyOvs
from mutant_trial import ABORTED, CONFIRMED, FALSE, FOUND, MISSED, Trial
from mutation import Maker

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile


@pytest.mark.parametrize(("name", "each"), [("two_switches", 4), ("branching", 3), ("firewall_ids", 2)])
def test_mutants(dummy_ovs: DummyOvs, name: str, each: int) -> None:
    topology = Topology.load(str(examples.ROOT / "topologies" / f"{name}.yaml"))
    policy = Policy.load(str(examples.ROOT / "policies" / f"{name}.yaml"))
    state, allocation = compile(policy, topology)
    trial = Trial(dummy_ovs, topology, policy, state, allocation)
    assert trial.oracle.run(trial.sent, turning=False) == trial.base  # nothing is left to chance
    # Of flows that no packet meets nothing can be seen: of the others some of each kind.
    made = [mutant for mutant in Maker(topology, state, name).make(3 * each) if not trial.unseen(mutant)]
    verdicts = [trial.judge(mutant) for mutant in made[::3]]
    trial.close()
    count = Counter(verdict.kind for verdict in verdicts)
    wrong = [verdict for verdict in verdicts
             if verdict.kind in (MISSED, FALSE, ABORTED) or not verdict.confirmed]
    assert not wrong, wrong[0]
    assert count[FOUND] + count[CONFIRMED] > len(verdicts) // 4  # and there was something to find

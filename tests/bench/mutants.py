"""Does verification find what is wrong? Mutants of what every example and networks of the Topology Zoo are compiled to.

Whether something is wrong with one is for real packets through Open vSwitch to say (`mutant_trial`), before and after:
every packet class there is and others between any two hosts, forward, back, and later, also when groups choose
otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import examples
import networkx as nx
from dummy_ovs import DummyOvs, missing
from mutant_trial import (
    ABORTED,
    CONFIRMED,
    EQUIVALENT,
    FALSE,
    FOUND,
    MISSED,
    NO_CLASS,
    REFUSED,
    SHARE,
    UNRULED,
    Trial,
    Verdict,
)
from mutation import Maker

from bench.report import Line
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile

EACH = 3  # mutants of each kind, of each network
NETWORKS = 20  # of the Topology Zoo
LARGEST, FARTHEST = 40, 8  # switches, and links between two hosts: a packet passes few bridges of one Open vSwitch
APART = {
    EQUIVALENT: "change nothing that any packet shows",
    SHARE: "only choose another instance or provider of those that may be chosen",
    NO_CLASS: "change only what there are no packet classes of, or of which several things may become (ARP, neighbour "
    "discovery, echo of service addresses, fragments, ICMP errors)",
    UNRULED: "are flows of somebody else's for packets that no classifier or function is about",
    REFUSED: "the switch refuses",
}
Case = tuple[str, Topology, Policy]


def example_cases() -> Iterator[Case]:
    """Every example policy on its topology."""
    for path in sorted((examples.ROOT / "policies").iterdir()):
        if path.is_dir() or path.suffix == ".yaml":
            topology = examples.ROOT / "topologies" / f"{path.stem}.yaml"
            yield path.stem, Topology.load(str(topology)), Policy.load(str(path))


def zoo_cases(count: int = NETWORKS) -> Iterator[Case]:
    """Networks of the Topology Zoo, of every size up to LARGEST, each with hosts on it and a policy that remembers
    connections or does not, and of which replies come back the same way or directly."""
    found = []
    for path in sorted(examples.ZOO.glob("*.graphml")):
        made = examples.zoo_lab(path)
        if made is not None and len(made[0].switches) <= LARGEST and nx.is_connected(made[0].graph) and _near(made[0]):
            found.append((len(made[0].switches), path.stem, *made))
    found.sort(key=lambda one: one[:2])
    for number, (_, name, topology, policy) in enumerate(found[:: max(1, len(found) // count)][:count]):
        tenant = policy.tenants["default"]
        chains = {chain.name: replace(chain, stickiness=("none", "connection")[number % 2],
                                      returns=("symmetric", "direct")[number // 2 % 2])
                  for chain in tenant.chains.values()}
        yield name, topology, Policy({**policy.tenants, "default": replace(tenant, chains=chains)})


def _near(topology: Topology) -> bool:
    at = {end.switch for host in topology.hosts.values() for end in host.attach.values()}
    return all(nx.shortest_path_length(topology.graph, one, other) <= FARTHEST for one in at for other in at)


def verdicts(case: Case, each: int) -> Iterator[Verdict]:
    """Of so many mutants of each kind. Where Open vSwitch does not survive one it starts anew."""
    name, topology, policy = case
    state, allocation = compile(policy, topology)
    left = list(Maker(topology, state, name).make(each))
    while left:
        with DummyOvs() as ovs:
            trial = Trial(ovs, topology, policy, state, allocation)
            while left:
                verdict = trial.judge(left.pop(0))
                yield verdict
                if verdict.kind == ABORTED:
                    break
            trial.close()


def lines(each: int = EACH, out: Path | None = None) -> Iterator[Line]:
    """What of the mutants is found, what is complained of wrongly, and how many are counted apart."""
    if problem := missing():
        yield Line("mutants", "", "100 % found, 0 false alarms", None, problem)
        return
    cases = [*example_cases(), *zoo_cases()]
    found: list[tuple[str, Verdict]] = []
    for case in cases:
        found += [(case[0], verdict) for verdict in verdicts(case, each)]
    count = Counter(verdict.kind for _, verdict in found)
    wrong = [verdict for _, verdict in found if verdict.kind in (FOUND, MISSED, CONFIRMED)
             or (verdict.kind == ABORTED)]
    missed = [(name, verdict) for name, verdict in found if verdict.kind == MISSED
              or (verdict.kind == ABORTED and not verdict.told)]
    by_kind = {kind: dict(Counter(verdict.kind for _, verdict in found if verdict.mutant.kind == kind))
               for kind in dict.fromkeys(verdict.mutant.kind for _, verdict in found)}
    numbers = {"policies": len(cases), "mutants": len(found), **count, "by kind": by_kind}
    zoo = "" if examples.ZOO.exists() else "; the Topology Zoo files (../shared/data) are not here"
    share = 100 * (len(wrong) - len(missed)) / len(wrong) if wrong else 0
    yield Line(
        f"mutants that real packets through Open vSwitch show to be wrong, found by verification; {len(found)} mutants "
        f"of {len(cases)} policies",
        f"{share:.1f} % ({len(wrong) - len(missed)} of {len(wrong)})",
        "100 %",
        bool(wrong) and not missed,
        "; ".join(f"missed in {name} ({verdict.mutant.kind}): {verdict.seen}" for name, verdict in missed[:3]) + zoo,
        numbers,
    )
    false = [(name, verdict) for name, verdict in found if verdict.kind == FALSE or not verdict.confirmed]
    apart = "; ".join(f"{count[kind]} {what}" for kind, what in APART.items() if count[kind])
    yield Line(
        "mutants that verification complains of, and no real packet shows why",
        str(len(false)),
        "0",
        not false,
        "; ".join([*(f"{name} ({verdict.mutant.kind}): {verdict.told}" for name, verdict in false[:3]),
                   f"counted apart: {apart}"]),
    )

"""Services as people use them: what is asked and refused, who is chosen, and what happens when providers come and go.

The cases of Contiv's own system tests (S1 to S8) and what users of other load balancers expect, with real sockets:
choice by weight, nearness and affinity, draining, checks, chains of firewalls in front, and a controller that dies.
"""

from __future__ import annotations

from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.services import basics, choice, life
from mininet_scenarios.services.bench import Bench

TOPOLOGY = "service_cases.yaml"
POLICY = "service_cases"


def run(lab: Lab) -> None:
    """The lab, check by check."""
    bench = Bench(lab)
    for part in (
        basics.documentation,
        basics.traffic,
        basics.refusals,
        basics.tenants,
        basics.reach,
        choice.affinity,
        choice.weights,
        choice.chained,
        choice.nearness,
        life.labels,
        life.halves,
        life.draining,
        life.checks,
        life.over_and_over,
        life.restart,
    ):
        part(bench)

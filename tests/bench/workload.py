"""The policy the counts are taken with: n classifiers, each for its own pair of hosts and port, over 8 kinds of chains.

Which pairs is drawn once from a fixed seed, evenly among all: a smaller policy is the beginning of a larger one.
"""

from __future__ import annotations

import random
from functools import cache

from bench.fat_tree import SUBNET, FatTree
from controller_app.model.policy import Chain, Classifier, Network, Party, Policy, Tenant, Traffic, Verdict

KINDS: tuple[tuple[str, ...], ...] = (
    ("f0",),
    ("f1",),
    ("f2",),
    ("f0", "f1"),
    ("f1", "f2"),
    ("f2", "f0"),
    ("f0", "f1", "f2"),
    ("f2", "f1", "f0"),
)
PORTS = (80, 443, 5432, 8080, 9000)
SEED = 16
LARGEST = 100_000


def policy(tree: FatTree, classifiers: int, stickiness: str) -> Policy:
    """A policy with this many classifiers (at most `LARGEST`): tcp from one host to one port of another, through the
    chains in turn. No two have both hosts in common, in either order, while there are pairs; then ports differ."""
    chains = {f"k{i}": Chain(f"k{i}", through, stickiness=stickiness) for i, through in enumerate(KINDS)}
    found = {}
    for number, (source, destination, port) in enumerate(_flows(len(tree.hosts))[:classifiers]):
        found[f"c{number}"] = Classifier(
            f"c{number}",
            Party("host", tree.hosts[source]),
            Party("host", tree.hosts[destination]),
            Verdict("chain", f"k{number % len(KINDS)}"),
            (Traffic("tcp", port, port),),
        )
    if len(found) != classifiers:
        raise ValueError(f"{len(tree.hosts)} hosts have no {classifiers} pairs; take a larger fat-tree")
    networks = {"all": Network("all", (SUBNET,))}
    tenant = Tenant(networks=networks, functions=tree.functions, chains=chains, classifiers=found)
    return Policy({"default": tenant})


@cache
def _flows(hosts: int) -> tuple[tuple[int, int, int], ...]:
    """(source, destination, port): every unordered pair of hosts once, in random order and direction, with one port;
    then all of them again with the next, up to `LARGEST` in all."""
    drawn = random.Random(SEED)
    pairs = [(a, b) for a in range(hosts) for b in range(a)]
    drawn.shuffle(pairs)
    turned = [pair if drawn.random() < 0.5 else pair[::-1] for pair in pairs]
    first = [drawn.randrange(len(PORTS)) for _ in pairs]
    return tuple(
        (*pair, PORTS[(start + again) % len(PORTS)])
        for again in range(len(PORTS))
        for pair, start in zip(turned, first, strict=True)
    )[:LARGEST]

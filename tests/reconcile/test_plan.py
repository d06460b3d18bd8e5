"""What a change is about, where no rule of it tells."""

from __future__ import annotations

from dataclasses import replace

import examples

from controller_app.model.policy import Policy, Tenant
from controller_app.pipeline.compile import compile_next
from controller_app.reconcile.plan import plan

TWO = examples.POLICY + "  other: {network: vips, selector: tier=web, ports: 80/tcp}\n"
POLICY = TWO.replace("STICKINESS", "connection").replace("RETURN", "symmetric")


def affected(before: Policy, after: Policy) -> tuple[tuple[str, ...], tuple[str, ...]]:
    topology = examples.network()
    first = compile_next(None, before, topology)
    then = compile_next(first, after, topology)
    found = plan(then.state, first.state, (after, then.allocation), (before, first.allocation))
    return found.chains, found.services


def parsed(text: str = POLICY) -> Policy:
    return examples.policy(text=text)


def test_a_drain_is_about_every_service_whose_slots_move() -> None:
    draining = POLICY.replace("web2: {host: w2, ", "web2: {host: w2, drain: true, ")
    assert affected(parsed(), parsed(draining)) == ((), ("app-svc", "other"))
    assert affected(parsed(draining), parsed()) == ((), ("app-svc", "other"))


def test_a_weight_is_about_the_chains_through_its_function() -> None:
    assert affected(parsed(), parsed(POLICY.replace("host: fw1, weight: 2", "host: fw1"))) == (("inspect",), ())


def test_labels_that_choose_nobody_are_about_nothing() -> None:
    assert affected(parsed(), parsed(POLICY.replace("labels: {tier: web}", "labels: {tier: web, a: b}"))) == ((), ())


def test_who_goes_is_said_once_and_what_is_gone_with_him_too() -> None:
    tenant = parsed().tenants["default"]
    alone = replace(tenant, services={}, classifiers={}, chains={})
    assert affected(parsed(), Policy({"default": alone, "blue": Tenant("blue")}))[1] == ("app-svc", "other")

"""What chains require and cannot have: refused where it is asked for, dropped and reported when the network changes."""

from __future__ import annotations

import logging

import pytest
from edge_examples import NETWORK, POLICY, network

from controller_app.api.views import chains
from controller_app.discovery.ports import Port
from controller_app.model.position import Diagnostic, PolicyError, Position
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.intent import build
from controller_app.runtime.unmet import unmet_now
from controller_app.store.interface import StoredPolicy
from controller_app.store.memory import MemoryStore

PORTS = {1: (1, 2, 3, 11, 12, 21, 22), 2: (1, 2, 21, 22, 31, 32), 3: (1, 2, 3, 11, 21, 22),
         4: (1, 2, 11, 31, 32, 41), 5: (1, 2, 11, 21, 22, 31, 32), 6: (1, 2)}


def text(latency: str) -> str:
    return POLICY.replace("THROUGH", "[fw, dpi]").replace("STICKINESS", "connection").replace("SOURCE", "{host: a1}") \
        .replace("TARGET", "{host: c1}").replace("MORE", f"require: {{latency: {latency}}}")


class Bench:
    """A conductor whose switches are all there, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        intent = build({"test": StoredPolicy("test", text("3ms"))})
        self.conductor = Conductor(network(), intent, MemoryStore(), lambda: self.now, b"k" * 16)
        for dpid, numbers in PORTS.items():
            self.conductor.connected(dpid, [Port(n, f"p{n}", n, True) for n in numbers], lambda data: None)
            self.conductor._discovery.ready(dpid, self.now)
        self.run(1)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            self.conductor.tick()

    def port(self, up: bool) -> None:
        self.conductor._discovery.port(1, Port(1, "p1", 1, up), self.now)
        self.run(1)


def test_a_link_that_fails_is_no_error_but_is_said(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    assert chains(bench.conductor)["chains"][0]["require"] == {"latency": "3 ms"}
    assert chains(bench.conductor)["chains"][0]["unmet"] == []
    with caplog.at_level(logging.WARNING):
        bench.port(up=False)
    assert bench.conductor.problem is None
    (unmet,) = chains(bench.conductor)["chains"][0]["unmet"]
    assert unmet.startswith("between s1 and s3 no instances fit: fw1 is out: ")
    said = [record.getMessage() for record in caplog.records if "require" in record.getMessage()]
    assert said == [f"chains.c.require: {unmet}; nothing passes there until it fits"]
    # other changes are made all the same, and that it does not fit is mentioned
    other = bench.conductor.intent.put({"more": "version: 1\ntenant: blue\n"})
    _, warnings = bench.conductor.check(other)
    assert [item.what for item in warnings if item.path == "chains.c.require"] == [unmet]
    with pytest.raises(PolicyError, match=r"between s1 and s3 no instances fit: .* > 2 ms"):
        bench.conductor.check(bench.conductor.intent.put({"test": text("2ms")}))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        bench.port(up=True)
    assert bench.conductor.computed.compiled.unmet == ()
    assert "chains.c.require: it is met again" in [record.getMessage() for record in caplog.records]


def test_what_cannot_be_had_is_refused() -> None:
    bench = Bench()
    with pytest.raises(PolicyError) as caught:
        bench.conductor.check(bench.conductor.intent.put({"test": text("1ms")}))
    (problem,) = caught.value.diagnostics
    assert problem.path == "chains.c.require"
    assert problem.position.file == "test"
    with pytest.raises(PolicyError, match="no instances fit"):
        build({"test": StoredPolicy("test", text("1ms"))}).check_required(network())
    build({"test": StoredPolicy("test", text("3ms"))}).check_required(network(NETWORK))


def test_a_change_is_said_once() -> None:
    one = Diagnostic(Position("p", 1, 1), "chains.a.require", "x", "y")
    other = Diagnostic(Position("p", 2, 1), "chains.b.require", "x", "y")
    assert unmet_now((one,), (one,)) == []
    assert unmet_now((), (one,)) == ["chains.a.require: x; nothing passes there until it fits"]
    assert unmet_now((one,), (other,)) == [
        "chains.b.require: x; nothing passes there until it fits", "chains.a.require: it is met again"]

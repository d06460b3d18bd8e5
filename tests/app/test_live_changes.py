"""Changes under traffic, on real switches: nothing is lost and no function is skipped, also when a controller dies half
way. What a change costs, in counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from bed import Bed
from bench.live_changes import MOST_BARRIERS, MOST_EXTRA, followed, held_extra
from bench.live_streams import RING, Streams, network, policy, ring
from dummy_ovs import DummyOvs
from plain_controller import PlainController

from controller_app.model.allocation import Allocation
from controller_app.pipeline.compile import compile, compile_next
from controller_app.policy.policy_file import parse_policy
from controller_app.reconcile.changes import Stage
from controller_app.runtime.conductor import Conductor
from controller_app.store.memory import MemoryStore

RATE = 60.0
FUNCTION, BOTH = ("fw",), ("dpi", "fw")


def test_no_packet_is_lost_and_no_function_skipped_while_ways_and_chains_change() -> None:
    with ring(policy(*FUNCTION)) as lab:
        streams = lab.streams(RATE)
        streams.start()
        time.sleep(1)
        for turn in range(12):
            lab.change(topology=network(turn * 5 % RING))
            if turn % 2:
                lab.change(policy(*(BOTH if turn % 4 == 1 else FUNCTION)))
            time.sleep(0.05 * (turn % 4))
        told = streams.stop(FUNCTION, BOTH)
        assert (told.lost, told.wrong) == (0, 0), told
        assert told.sent > 100
        lab.wait()


@contextmanager
def controlled(ovs: DummyOvs, bed: Bed, store: MemoryStore, text: str) -> Iterator[PlainController]:
    """A controller to which all switches are connected."""
    with PlainController(network(0), text, store, observe_links=False) as controller:
        with ovs.transaction():
            for bridge in bed.bridges.values():
                ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.conversations) == RING, 20)
        yield controller


def change(controller: PlainController, text: str) -> None:
    def adopt() -> None:
        conductor = controller.conductor
        intent = conductor.intent.put({"test": text})
        computed, _ = conductor.check(intent)
        conductor.adopt(intent, computed, "test", 0.0)

    controller.do(adopt)


def dies_at(conductor: Conductor, stage: Stage) -> threading.Event:
    """When switches were told what they may do at a stage, the controller does nothing any more."""
    died, tell = threading.Event(), conductor._tell_switches

    def dying(now: float) -> None:
        if not died.is_set():
            tell(now)
        if conductor._rollout.stage is stage:
            for talk in conductor.conversations.values():
                talk._send = lambda data: None
            died.set()

    conductor._tell_switches = dying  # type: ignore[method-assign]
    return died


def test_whenever_a_controller_dies_the_next_one_finishes_and_no_function_is_skipped(dummy_ovs: DummyOvs) -> None:
    texts, store = (policy(*FUNCTION), policy(*BOTH)), MemoryStore()
    bed = Bed(dummy_ovs, network(0), parse_policy({"test": texts[0]}).policy, cables=True)
    with controlled(dummy_ovs, bed, store, texts[0]) as controller:
        controller.wait(lambda c: c.settled() and c._rollout.over, 20)
    streams = Streams(dummy_ovs, bed, RATE)
    streams.start()
    now = 0
    for stage in (Stage.PATHS, Stage.CHOICES, Stage.ALL):
        with controlled(dummy_ovs, bed, store, texts[now]) as controller:
            controller.wait(lambda c: c.settled() and c._rollout.over, 20)
            conductor = controller.conductor
            died = dies_at(conductor, stage)
            now = 1 - now
            change(controller, texts[now])
            assert died.wait(10)
        time.sleep(0.3)  # nobody is there
        with controlled(dummy_ovs, bed, store, texts[now]) as controller:
            controller.wait(lambda c: c.settled() and c._rollout.over, 20)
            state = controller.conductor.computed.state
            for talk in controller.conductor.conversations.values():
                assert talk.sync.held == state[controller.conductor.name_of(talk.dpid)]
    told = streams.stop(FUNCTION, BOTH)
    assert (told.lost, told.wrong) == (0, 0), told


def test_a_small_change_has_three_barriers_at_most_and_the_same_policy_none() -> None:
    topology = network(0)
    before, after = (parse_policy({"test": policy(*chain)}).policy for chain in (FUNCTION, BOTH))
    first = compile_next(None, before, topology)
    wanted, _ = compile(after, topology, first.allocation)
    _, sent = followed(first.state, wanted, topology)
    assert 0 < max(sent.values()) <= MOST_BARRIERS
    again, _ = compile(before, topology, first.allocation)
    assert not any(followed(first.state, again, topology)[1].values())


def test_few_rules_are_held_extra_while_one_of_many_chains_changes() -> None:
    extra, held, ordinary = held_extra()
    assert 0 < extra <= MOST_EXTRA and held > ordinary


def used(allocation: Allocation) -> set[int]:
    """The numbers of paths."""
    return {number for numbers in allocation.paths.values() for number in numbers.values()}


@pytest.mark.parametrize("stickiness", ["connection", "none"])
def test_numbers_of_what_went_are_not_given_out_while_packets_carry_them(stickiness: str) -> None:
    topology = network(0)
    one, two = (parse_policy({"test": policy(*chain, stickiness=stickiness)}).policy for chain in (FUNCTION, BOTH))
    first = compile_next(None, one, topology)
    made, space = first, "paths/remembered" if stickiness == "connection" else "paths/free"
    # as if all others of the space had been given out just now: the next would begin where the first ones were
    allocation = replace(first.allocation, next={**first.allocation.next, space: 0})
    gone: set[int] = set()
    for turn in range(6):
        before = used(made.allocation)
        made = compile_next(made, one if turn % 2 else two, topology, allocation)
        gone |= before - used(made.allocation)
        assert gone == set(made.allocation.retired[space]) and gone.isdisjoint(used(made.allocation))
        allocation = replace(made.allocation, next={**made.allocation.next, space: 0})
    emptied = compile_next(made, two, topology, replace(allocation, retired={}))
    assert gone & used(emptied.allocation)

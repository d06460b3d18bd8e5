"""Stages of a change over several switches, as a value: what may be done when, whoever is slow or away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.flow import Flow, FlowState, Output, SwitchState, match
from controller_app.model.topology import Topology
from controller_app.reconcile.changes import Stage
from controller_app.reconcile.diff import apply
from controller_app.reconcile.reconciler import Confirmed, Connected, Found, Lost, Send, SwitchSync, Want, step
from controller_app.runtime.rollout import DRAIN, LONGEST_LOOK, LONGEST_WAIT, Rollout

NOWHERE = Topology()
EDGE = frozenset({120})
NAMES = ("s1", "s2")


def version(number: int, more: int = 0) -> SwitchState:
    """An edge that sends packets along path `number`, and the rules of that path and of `more`."""
    paths = [Flow(155, 1, match(reg6=n), (Output(n),)) for n in dict.fromkeys((number, more or number))]
    flows = (Flow(120, 1, match(reg0=1), (Output(number),)), *paths)
    return SwitchState({flow.key: flow for flow in flows})


def wanted(number: int, more: int = 0) -> FlowState:
    return dict.fromkeys(NAMES, version(number, more))


class Play:
    """Switches that do what they are told, one answer at a time, and a clock."""

    def __init__(self, rollout: Rollout, held: dict[str, SwitchState]) -> None:
        self.rollout, self.now = rollout, 0.0
        self.held = dict(held)
        self.syncs = dict.fromkeys(held, SwitchSync(edge_tables=EDGE))
        self.sent: dict[str, Send | None] = dict.fromkeys(held)
        self.stages: list[Stage] = []
        self.gone: list[tuple[float, str, int]] = []  # when a path's rule was taken away, where, which

    def tell(self, name: str, event: object) -> None:
        self.syncs[name], effects = step(self.syncs[name], event, self.now)  # type: ignore[arg-type]
        for effect in effects:
            if isinstance(effect, Send):
                self.sent[name] = effect

    def connect(self, name: str) -> None:
        self.tell(name, self.rollout.want(name))
        self.tell(name, Connected())
        self.tell(name, Found(self.syncs[name].number, self.held[name]))
        self.go_on()

    def want(self, state: FlowState) -> None:
        self.rollout = self.rollout.begin(state, self.syncs, NOWHERE, self.now)
        self.all()

    def all(self) -> None:
        for name in self.syncs:
            self.tell(name, self.rollout.want(name))
        self.go_on()

    def go_on(self) -> None:
        while (after := self.rollout.on(self.syncs, NOWHERE, self.now)) is not self.rollout:
            if after.stage is not self.rollout.stage:
                self.stages.append(after.stage)
            self.rollout = after
            for name in self.syncs:
                self.tell(name, self.rollout.want(name))

    def answer(self, name: str) -> None:
        sent, self.sent[name] = self.sent[name], None
        if sent is not None:
            before = self.held[name]
            self.held[name] = apply(sent.changes, before)
            left = {flow.actions[0].port for key, flow in before.flows.items() if key not in self.held[name].flows}  # type: ignore[union-attr]
            self.gone += [(self.now, name, port) for port in left]
            self.tell(name, Confirmed(sent.number))
            self.go_on()

    def answer_all(self) -> None:
        while any(self.sent.values()):
            for name in self.syncs:
                self.answer(name)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.go_on()

    def chosen(self, name: str) -> int:
        (edge,) = (flow for key, flow in self.held[name].flows.items() if key.table == 120)
        return edge.actions[0].port  # type: ignore[union-attr]

    def paths(self, name: str) -> set[int]:
        return {flow.actions[0].port for key, flow in self.held[name].flows.items() if key.table == 155}  # type: ignore[union-attr]


def running(number: int = 1) -> Play:
    play = Play(Rollout(wanted(number)), wanted(number))  # type: ignore[arg-type]
    for name in NAMES:
        play.connect(name)
    assert all(sync.in_sync for sync in play.syncs.values()) and play.rollout.over
    return play


def test_new_paths_are_everywhere_before_anything_is_sent_there_and_old_ones_go_when_they_are_drained() -> None:
    play = running()
    play.want(wanted(2))
    play.answer("s1")
    assert play.paths("s1") == {1, 2} and play.chosen("s1") == 1  # s2 has not confirmed its own
    play.answer("s2")
    assert play.rollout.stage is Stage.CHOICES
    play.answer_all()
    assert [play.chosen(name) for name in NAMES] == [2, 2] and play.paths("s1") == {1, 2}
    assert all(sync.phase == "draining" and sync.settled and not sync.in_sync for sync in play.syncs.values())
    play.wait(DRAIN - 0.01)
    assert not any(play.sent.values())
    play.wait(0.02)
    play.answer_all()
    assert play.paths("s1") == play.paths("s2") == {2}
    assert all(sync.in_sync for sync in play.syncs.values()) and play.rollout.over


def test_a_change_that_only_adds_waits_for_nothing() -> None:
    play = running()
    play.want(wanted(1, 2))
    play.answer_all()
    assert all(sync.in_sync for sync in play.syncs.values()) and play.now == 0


def test_the_next_change_begins_at_once_and_takes_nothing_away_before_its_time() -> None:
    play = running()
    play.want(wanted(2))
    play.answer_all()
    play.wait(0.4)
    play.want(wanted(3))
    play.answer_all()
    assert [play.chosen(name) for name in NAMES] == [3, 3] and play.paths("s1") == {1, 2, 3}
    play.wait(DRAIN - 0.4)  # of the first change
    play.answer_all()
    assert play.paths("s1") == {2, 3}
    play.wait(0.4)
    play.answer_all()
    assert play.paths("s1") == {3} and play.rollout.over


def test_a_switch_that_does_not_answer_holds_others_up_for_a_while_only() -> None:
    play = running()
    play.want(wanted(2))
    play.answer("s1")
    play.wait(LONGEST_WAIT - 0.1)
    assert play.rollout.stage is Stage.PATHS
    play.wait(0.1)
    assert play.rollout.stage is Stage.CHOICES


def test_a_switch_that_is_away_holds_nobody_up() -> None:
    play = running()
    play.tell("s2", Lost())
    play.want(wanted(2))
    play.answer_all()
    assert play.chosen("s1") == 2


def test_a_start_in_the_middle_of_a_change_goes_on_stage_by_stage() -> None:
    """The controller before died when s1 had the new paths, and s2 nothing yet."""
    play = Play(Rollout.started(wanted(2)), {"s1": version(1, 2), "s2": version(1)})
    play.connect("s1")
    play.wait(LONGEST_LOOK - 0.1)
    assert play.rollout.stage is Stage.LOOK and not any(play.sent.values())  # s2 may be back any moment
    play.connect("s2")
    assert play.sent["s1"] is None and play.sent["s2"] is not None
    play.answer("s2")
    assert play.paths("s2") == {1, 2}
    play.answer_all()
    assert [play.chosen(name) for name in NAMES] == [2, 2] and play.paths("s1") == {1, 2}
    play.wait(DRAIN)
    play.answer_all()
    assert play.held == wanted(2) and play.stages == [Stage.PATHS, Stage.CHOICES, Stage.ALL]


def test_a_start_waits_for_a_switch_that_stays_away_for_a_while_only() -> None:
    play = Play(Rollout.started(wanted(2)), {"s1": version(1), "s2": version(1)})
    play.connect("s1")
    play.wait(LONGEST_LOOK)
    play.answer_all()
    assert play.chosen("s1") == 2


def test_at_a_start_a_switch_without_rules_gets_them_at_once() -> None:
    play = Play(Rollout.started(wanted(1)), {"s1": SwitchState(), "s2": version(1)})
    play.connect("s1")
    play.answer_all()
    assert play.held["s1"] == version(1)


def test_a_start_with_nothing_to_do_sends_nothing() -> None:
    play = Play(Rollout.started(wanted(1)), wanted(1))  # type: ignore[arg-type]
    for name in NAMES:
        play.connect(name)
    assert not any(play.sent.values()) and play.rollout.over


events = st.one_of(
    st.tuples(st.just("want"), st.integers(1, 5)),
    st.tuples(st.just("answer"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, 6, 11, 25])),
)


def moments(story: list[tuple[str, int]], play: Play) -> Iterator[None]:
    for what, number in story:
        if what == "want":
            play.want(wanted(number))
        elif what == "answer":
            play.answer(NAMES[number])
        elif any(play.sent.values()) and play.now + number / 10 >= (play.rollout.until or 0):
            continue  # an edge that does not answer may lose packets
        else:
            play.wait(number / 10)
        yield


@given(st.lists(events, max_size=40))
def test_no_path_goes_while_packets_are_on_it_and_every_past_ends(story: list[tuple[str, int]]) -> None:
    """Whatever comes when: a path is everywhere while an edge that answers chooses it, and for DRAIN after the last one
    did."""
    play = running()
    last: dict[int, float] = {}
    for _ in moments(story, play):
        for name in NAMES:
            assert all(play.chosen(name) in play.paths(other) for other in NAMES)
            last[play.chosen(name)] = play.now
        for at, _, path in play.gone:
            if path in last and path not in {play.chosen(name) for name in NAMES}:
                assert at >= last[path] + DRAIN - 1e-9 or at <= last[path]
    newest = play.rollout.wanted
    for _ in range(6):
        play.answer_all()
        play.wait(DRAIN)
    assert play.held == newest and play.rollout.over


def test_ticks_change_nothing_where_nothing_follows() -> None:
    play = running()
    assert play.rollout.on(play.syncs, NOWHERE, 100.0) is play.rollout
    assert replace(play.rollout) == play.rollout
    assert isinstance(play.rollout.want("s1"), Want)

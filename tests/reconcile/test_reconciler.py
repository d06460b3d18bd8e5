"""The state machine that alone writes rules: what it asks, sends, and what it does when that goes wrong."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.flow import Flow, Output, SwitchState, match
from controller_app.reconcile import reconciler as rec
from controller_app.reconcile.changes import Stage
from controller_app.reconcile.diff import apply
from controller_app.reconcile.reconciler import (
    Audit,
    Confirmed,
    Connected,
    Found,
    InSync,
    Lost,
    Problem,
    Refused,
    Send,
    SwitchSync,
    Tick,
    Want,
    step,
)


def holding(*ports: int) -> SwitchState:
    flows = [Flow(0, 1, match(in_port=port), (Output(port),)) for port in ports]
    return SwitchState({flow.key: flow for flow in flows})


A, B = holding(1, 2), holding(2, 3)


def in_sync(state: SwitchState = A) -> SwitchSync:
    sync, _ = step(SwitchSync(), Want(state), 0)
    sync, _ = step(sync, Connected(), 0)
    sync, effects = step(sync, Found(sync.number, state), 0)
    assert effects == (InSync(),)
    return sync


def test_a_new_switch_is_asked_before_anything_is_sent() -> None:
    sync, effects = step(SwitchSync(wanted=A), Connected(), 0)
    assert effects == (Audit(1),)
    sync, effects = step(sync, Found(1, B), 1)
    (send,) = effects
    assert isinstance(send, Send)
    assert apply(send.changes, B) == A
    assert not sync.in_sync
    sync, effects = step(sync, Confirmed(send.number), 2)
    assert sync.in_sync
    assert effects == (InSync(),)


def test_a_switch_that_holds_what_is_wanted_is_told_nothing() -> None:
    sync = in_sync()
    assert step(sync, Want(holding(2, 1)), 5) == (sync, ())


def test_what_is_wanted_while_a_change_is_on_its_way_is_sent_after_it() -> None:
    sync = in_sync()
    sync, (first,) = step(sync, Want(B), 1)
    sync, effects = step(sync, Want(holding(7)), 1)
    assert effects == ()
    assert isinstance(first, Send)
    sync, (second,) = step(sync, Confirmed(first.number), 2)
    assert isinstance(second, Send)
    assert apply(second.changes, B) == holding(7)
    sync, effects = step(sync, Confirmed(second.number), 3)
    assert effects == (InSync(),)


def test_a_change_in_stages_does_what_each_stage_allows() -> None:
    def flows(*found: Flow) -> SwitchState:
        return SwitchState({flow.key: flow for flow in found})

    old_edge, old_path = Flow(0, 1, match(in_port=1), goto=5), Flow(5, 1, match(in_port=1), (Output(1),))
    edge, path = Flow(0, 2, match(in_port=2), goto=6), Flow(6, 1, match(in_port=1), (Output(2),))
    held, wanted = flows(old_edge, old_path), flows(edge, path)
    sync = replace(in_sync(held), edge_tables=frozenset({0}))
    told = []
    for stage, there in ((Stage.PATHS, flows(old_edge, old_path, path)), (Stage.CHOICES, flows(old_path, path, edge)),
                         (Stage.ALL, wanted)):
        assert not sync.in_sync or stage is Stage.PATHS
        sync, (send,) = step(sync, Want(wanted, stage), 1)
        assert isinstance(send, Send) and not sync.waits
        held = apply(send.changes, held)
        assert held == there
        sync, _ = step(sync, Confirmed(send.number), 2)
        assert sync.waits and sync.held == held
        told.append(sync.phase)
    assert told == ["held-back", "held-back", "in-sync"]


def test_a_stage_with_nothing_to_do_is_over_at_once() -> None:
    sync, effects = step(in_sync(), Want(B, Stage.PATHS), 1)
    assert isinstance(effects[0], Send)  # without tables that decide everything but what goes is a path
    sync, _ = step(sync, Confirmed(effects[0].number), 2)
    assert step(sync, Want(B, Stage.CHOICES), 3)[1] == () and sync.waits


def test_what_is_wanted_during_a_routine_look_is_sent_at_once() -> None:
    sync = in_sync()
    sync, (audit,) = step(sync, Tick(), sync.deadline)
    assert isinstance(audit, Audit)
    sync, (send,) = step(sync, Want(B), 11)
    assert isinstance(send, Send) and apply(send.changes, A) == B
    assert step(sync, Found(audit.number, A), 12) == (sync, ())


def test_an_error_is_followed_by_an_audit_ever_later() -> None:
    sync = in_sync()
    sync, (send,) = step(sync, Want(B), 10)
    pauses = []
    now = 10.0
    for _ in range(9):
        assert isinstance(send, Send)
        sync, (problem,) = step(sync, Refused(send.number, "table full"), now)
        assert isinstance(problem, Problem)
        assert "table full" in problem.what
        assert not sync.in_sync
        pauses.append(sync.deadline - now)
        now = sync.deadline
        assert step(sync, Tick(), now - 0.01)[1] == ()
        sync, (audit,) = step(sync, Tick(), now)
        assert isinstance(audit, Audit)
        sync, (send,) = step(sync, Found(audit.number, A), now)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert isinstance(send, Send)
    sync, _ = step(sync, Confirmed(send.number), now)
    assert sync.failures == 0
    assert sync.problem is None


def test_silence_is_an_error_too() -> None:
    sync = in_sync()
    sync, _ = step(sync, Want(B), 10)
    assert step(sync, Tick(), 10 + rec.ANSWER_TIME - 0.1)[1] == ()
    sync, (problem,) = step(sync, Tick(), 10 + rec.ANSWER_TIME)
    assert isinstance(problem, Problem)
    assert "no answer" in problem.what


def test_rules_that_vanish_are_found_and_sent_again() -> None:
    sync = in_sync()
    assert step(sync, Tick(), rec.AUDIT_INTERVAL - 1)[1] == ()
    sync, (audit,) = step(sync, Tick(), rec.AUDIT_INTERVAL)
    assert isinstance(audit, Audit)
    sync, (send,) = step(sync, Found(audit.number, SwitchState()), rec.AUDIT_INTERVAL)
    assert isinstance(send, Send)
    assert apply(send.changes, SwitchState()) == A


def test_a_routine_look_is_no_doubt() -> None:
    sync, _ = step(in_sync(), Tick(), rec.AUDIT_INTERVAL)
    assert sync.phase == "auditing"
    assert sync.in_sync
    assert not step(sync, Want(B), rec.AUDIT_INTERVAL)[0].in_sync
    found, _ = step(sync, Found(sync.number, B), rec.AUDIT_INTERVAL)
    assert not found.in_sync
    silent, _ = step(sync, Tick(), rec.AUDIT_INTERVAL + rec.ANSWER_TIME)
    assert not silent.in_sync
    again, _ = step(silent, Tick(), rec.AUDIT_INTERVAL + rec.ANSWER_TIME + rec.FIRST_RETRY)
    assert again.phase == "auditing"
    assert not again.in_sync


def test_a_switch_with_very_many_flows_is_looked_at_less_often() -> None:
    many = holding(*range(1, 10_000))
    assert in_sync(many).deadline == 9_999 / rec.AUDIT_PACE


def test_late_answers_change_nothing() -> None:
    sync = in_sync()
    sync, (send,) = step(sync, Want(B), 1)
    assert isinstance(send, Send)
    for stale in (Found(sync.number - 1, B), Confirmed(sync.number - 1), Refused(sync.number - 1, "x")):
        assert step(sync, stale, 2) == (sync, ())
    lost, effects = step(sync, Lost(), 2)
    assert effects == ()
    for late in (Confirmed(send.number), Refused(send.number, "x"), Tick()):
        assert step(lost, late, 100) == (lost, ())
    again, (audit,) = step(lost, Connected(), 3)
    assert isinstance(audit, Audit)
    assert again.wanted == B


def test_a_foreign_flow_is_never_overwritten_and_is_reported_once() -> None:
    theirs = next(iter(A.flows))
    sync, (audit,) = step(SwitchSync(wanted=A), Connected(), 0)
    assert isinstance(audit, Audit)
    sync, (send,) = step(sync, Found(audit.number, SwitchState(), frozenset({theirs})), 0)
    assert isinstance(send, Send)
    assert theirs not in apply(send.changes, SwitchState()).flows
    sync, effects = step(sync, Confirmed(send.number), 0)
    assert [type(effect) for effect in effects] == [Problem]
    assert sync.blocked == (theirs,)
    assert sync.problem is not None
    assert not sync.in_sync  # what is wanted is not what is held, though nothing is left to be sent
    assert sync.settled
    assert sync.deadline >= rec.LAST_RETRY  # and no reason to hurry
    sync, (audit,) = step(sync, Tick(), sync.deadline)
    assert isinstance(audit, Audit)
    held = replace(A, flows={key: flow for key, flow in A.flows.items() if key != theirs})
    sync, effects = step(sync, Found(audit.number, held, frozenset({theirs})), 1)
    assert effects == ()
    assert not sync.in_sync
    sync, (audit,) = step(sync, Tick(), sync.deadline)
    assert not sync.in_sync
    assert isinstance(audit, Audit)
    sync, (send,) = step(sync, Found(audit.number, held), 100)  # the other application took its flow away
    assert isinstance(send, Send)
    sync, effects = step(sync, Confirmed(send.number), 100)
    assert effects == (InSync(),)
    assert sync.in_sync
    assert sync.problem is None


def test_failures_are_forgotten_when_the_switch_turns_out_to_be_in_sync() -> None:
    sync, _ = step(in_sync(), Tick(), 100)
    sync, _ = step(sync, Tick(), sync.deadline)
    assert (sync.phase, sync.failures) == ("waiting", 1)
    sync, _ = step(sync, Tick(), sync.deadline)
    sync, effects = step(sync, Found(sync.number, A), 200)
    assert effects == (InSync(),)
    assert sync.failures == 0


events = st.one_of(
    st.sampled_from(["connected", "lost", "tick", "confirm", "refuse", "find"]),
    st.sampled_from([A, B, holding(), holding(5)]),
)


@given(st.lists(events, max_size=30))
def test_whatever_happens_it_ends_in_sync_with_the_last_wish(story: list[object]) -> None:
    """Play a switch that applies what it is sent or refuses it whole, loses its connection at any time."""
    sync, switch, now = SwitchSync(), holding(1, 9), 0.0
    outbox: list[rec.Effect] = []

    def tell(event: rec.Event) -> None:
        nonlocal sync
        sync, effects = step(sync, event, now)
        outbox.extend(e for e in effects if isinstance(e, Audit | Send))
        assert len([e for e in effects if isinstance(e, Audit | Send)]) <= 1

    def answer(refuse: bool = False) -> None:
        nonlocal switch
        if not outbox:
            return
        effect = outbox.pop(0)
        if refuse:
            tell(Refused(effect.number, "no"))
        elif isinstance(effect, Audit):
            tell(Found(effect.number, switch))
        elif isinstance(effect, Send):
            switch = apply(effect.changes, switch)
            tell(Confirmed(effect.number))

    for event in story:
        now += 7
        if isinstance(event, SwitchState):
            tell(Want(event))
        elif event == "connected":
            if sync.phase == "away":
                tell(Connected())
        elif event == "lost":
            outbox.clear()
            tell(Lost())
        elif event == "tick":
            tell(Tick())
        else:
            answer(refuse=event == "refuse")
    tell(Want(A))
    if sync.phase == "away":
        tell(Connected())
    for _ in range(10):
        now += 40
        tell(Tick())
        while outbox:
            answer()
    assert sync.in_sync
    assert switch == A

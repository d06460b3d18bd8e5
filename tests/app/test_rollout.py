"""Stages of a change over several switches."""

from __future__ import annotations

from controller_app.model.flow import Flow, Output, SwitchState, match
from controller_app.reconcile.changes import Stage
from controller_app.reconcile.reconciler import Confirmed, Connected, Found, SwitchSync, Want, step
from controller_app.runtime.conversation import Conversation
from controller_app.runtime.rollout import LONGEST_WAIT, Rollout


def holding(port: int) -> SwitchState:
    flow = Flow(0, 1, match(in_port=port), (Output(port),))
    return SwitchState({flow.key: flow})


def in_sync(dpid: int) -> Conversation:
    found = Conversation(dpid, frozenset())
    found.connect(lambda data: None, 0.0)
    found.sync = step(found.sync, Found(found.sync.number, holding(1)), 0)[0]
    found.want(holding(1), 0.0)
    found.sync = step(found.sync, Confirmed(found.sync.number), 0)[0]
    assert found.sync.in_sync or found.sync.wanted == found.sync.held
    return found


def test_without_a_change_there_are_no_stages() -> None:
    rollout = Rollout()
    assert rollout.stage is Stage.ALL and not rollout.advance([in_sync(1)], 5.0)


def test_no_switch_goes_on_before_all_have_come_so_far() -> None:
    rollout, switches = Rollout(), [in_sync(1), in_sync(2)]
    rollout.begin(1.0)
    for switch in switches:
        switch.want(holding(2), 1.0, rollout.stage)
    seen = []
    for switch in switches:
        assert not rollout.advance(switches, 1.1)
        switch.sync = step(switch.sync, Confirmed(switch.sync.number), 1.1)[0]
    while rollout.advance(switches, 1.2):
        seen.append(rollout.stage)
    assert seen == [Stage.CHOICES, Stage.ALL]


def test_a_switch_that_does_not_answer_holds_others_up_for_a_while_only() -> None:
    rollout, switches = Rollout(), [in_sync(1), in_sync(2)]
    rollout.begin(1.0)
    switches[0].want(holding(2), 1.0, rollout.stage)
    assert not rollout.advance(switches, 1.0 + LONGEST_WAIT - 0.1)
    assert rollout.advance(switches, 1.0 + LONGEST_WAIT)


def test_a_switch_that_is_away_holds_nobody_up() -> None:
    rollout, gone = Rollout(), Conversation(3, frozenset())
    gone.sync = step(SwitchSync(), Want(holding(2)), 0)[0]
    asked = step(gone.sync, Connected(), 0)[0]
    assert asked.phase == "auditing" and not asked.waits
    rollout.begin(1.0)
    assert rollout.advance([gone], 1.0)

"""Any policy is refused with its places named, or compiled into rules that do what it says."""

from __future__ import annotations

from typing import Any

from effort import effort
from hypothesis import event, given, note
from hypothesis import strategies as st
from policy_texts import policies, text_of, topologies

from controller_app import Topology, compile, verify
from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import check_against, parse_policy


def placed(error: PolicyError) -> None:
    """Every problem says where it is, what it is, and what to do."""
    assert error.diagnostics
    for problem in error.diagnostics:
        assert problem.position.file == "p.yaml" and problem.position.line > 0, str(problem)
        assert problem.path and problem.what and problem.remedy, str(problem)


@effort(share=14, many=700)
@given(policies(), topologies(), st.booleans())
def test_what_is_accepted_does_what_it_says(policy: dict[str, Any], topology: Topology, portable: bool) -> None:
    text = text_of(policy)
    note(text)
    try:
        loaded = parse_policy({"p.yaml": text}).policy
        for found in check_against(loaded, topology):
            assert found.path and found.what and found.remedy
        state, allocation = compile(loaded, topology, portable=portable)
    except PolicyError as error:
        event("refused")
        placed(error)
        return
    event("accepted")
    report = verify(loaded, topology, state, allocation)
    assert report.ok, report.counterexample

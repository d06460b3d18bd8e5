"""Selectors mean what they mean in Kubernetes."""

from __future__ import annotations

import pytest

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Requirement, Selector

WEB = {"tier": "web", "release": "stable"}


@pytest.mark.parametrize(("requirement", "expected"), [
    (Requirement("tier", "in", ("web",)), True),
    (Requirement("tier", "in", ("db", "web")), True),
    (Requirement("tier", "in", ("db",)), False),
    (Requirement("zone", "in", ("web",)), False),
    (Requirement("tier", "notin", ("db",)), True),
    (Requirement("tier", "notin", ("web",)), False),
    (Requirement("zone", "notin", ("web",)), True),
    (Requirement("tier", "exists"), True),
    (Requirement("zone", "exists"), False),
    (Requirement("tier", "not-exists"), False),
    (Requirement("zone", "not-exists"), True),
])
def test_one_requirement(requirement: Requirement, expected: bool) -> None:
    assert matches(Selector((requirement,)), WEB) is expected


def test_all_requirements_must_hold() -> None:
    assert matches(Selector((Requirement("tier", "exists"), Requirement("release", "in", ("stable",)))), WEB)
    assert not matches(Selector((Requirement("tier", "exists"), Requirement("zone", "exists"))), WEB)


def test_no_requirement_holds_for_everything() -> None:
    assert matches(Selector(()), {})


def test_an_unknown_operator_is_an_error() -> None:
    with pytest.raises(ValueError, match="like"):
        matches(Selector((Requirement("tier", "like", ("w",)),)), WEB)

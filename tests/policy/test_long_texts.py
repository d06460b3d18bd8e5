"""What is said of a file is for people, however long the names in it are."""

from __future__ import annotations

import pytest

from controller_app.model.position import LONGEST_TEXT, Diagnostic, PolicyError, Position
from controller_app.policy.policy_file import parse_policy


@pytest.mark.parametrize(
    "text",
    [
        f"version: 1\n{'x' * 70_000}: 1\n",
        f"version: {'9' * 5000}\n",
        f"version: 1\nnetworks: {{a: {{subnet: [{'1' * 9000}]}}}}\n",
        f"version: 1\nendpoints: {{e: {{host: h, labels: {{tier: {'a b ' * 20_000}}}}}}}\n",
    ],
)
def test_a_problem_fits_a_screen(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p": text})
    for problem in caught.value.diagnostics:
        assert len(str(problem)) <= 3 * LONGEST_TEXT
        assert max(map(len, str(problem).split())) < 400
        assert problem.position.line > 0


def test_the_ends_of_what_is_cut_are_there() -> None:
    long = Diagnostic(Position("p"), f"a.{'b' * 1000}z", "word " * 1000 + "end", "short")
    assert long.path.startswith("a.bbb") and long.path.endswith("bz") and len(long.path) == 83
    assert long.what.startswith("word word") and long.what.endswith("word end") and len(long.what) == LONGEST_TEXT
    assert long.remedy == "short"

"""Exported files demand exactly what they use beyond the base language, and are otherwise as they were applied."""

from __future__ import annotations

import pytest
from policies_by_example import SERVING, SMALLEST, STEERING, WHOLE

from controller_app.model.position import PolicyError
from controller_app.policy.exporting import exported
from controller_app.policy.features import used_features
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.yaml_positions import mapping_document

LIMITED = """\
version: 1  # of the language
# who asks
classifiers:
  - {name: a, from: {host: h1}, to: {host: h2}, then: {allow: true, limit: 1Mbps}}
"""


def export(text: str, others: dict[str, str] | None = None) -> str:
    return exported(text, "p", parse_policy({"p": text, **(others or {})}).policy)


@pytest.mark.parametrize("text", [SMALLEST, SERVING, STEERING, LIMITED, WHOLE.replace("must_understand: []\n", "")])
def test_what_is_exported_demands_what_it_uses_and_says_the_same(text: str) -> None:
    made = export(text)
    before, after = parse_policy({"p": text}), parse_policy({"p": made})
    document = mapping_document(made, "p").plain()
    topology = {"tunnel-links"} & set(mapping_document(text, "p").plain().get("must_understand", ()))
    assert set(document.get("must_understand", ())) == {*used_features(before.policy), *topology}
    assert after.policy == before.policy
    assert export(made) == made


def test_a_file_of_the_base_language_demands_nothing() -> None:
    assert export(SMALLEST) == SMALLEST
    assert "must_understand" not in export(WHOLE)
    assert export("version: 1\nmust_understand: [limits, reject]\n") == "version: 1\n"


def test_the_demand_stands_where_people_look_and_comments_stay() -> None:
    lines = LIMITED.splitlines()
    assert export(LIMITED).splitlines() == [lines[0], "must_understand: [limits]", *lines[1:]]
    right = LIMITED.replace("# who", "must_understand: [limits]\n# who")
    assert export(right) == right
    wrong = right.replace("[limits]", "[reject, limits]")
    assert mapping_document(export(wrong), "p").plain()["must_understand"] == ["limits"]


def test_each_file_demands_only_what_it_says_itself() -> None:
    plain = "version: 1\nclassifiers: [{name: b, from: {host: h2}, to: {host: h1}, then: deny}]\n"
    flooding = "version: 1\nflood: [dhcp]\n"
    others = {"q": plain, "r": flooding}
    policy = parse_policy({"p": LIMITED, **others}).policy
    assert "must_understand: [limits]" in exported(LIMITED, "p", policy)
    assert exported(plain, "q", policy) == plain
    assert "must_understand: [flood]" in exported(flooding, "r", policy)


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "flood": ["dhcp"]}',
        "---\nversion: 1\nflood: dhcp\n",
        "{version: 1, flood: dhcp}",
        "flood: dhcp\nversion: 1",
        "version: 1\nflood: &a [dhcp]\nclassifiers: []\n",
        "version: 1\nendpoints: {version: {host: h}}\nflood: |-\n  dhcp\n",
    ],
)
def test_however_a_file_is_written(text: str) -> None:
    made = mapping_document(export(text), "p").plain()
    assert made.pop("must_understand") == ["flood"]
    assert made == mapping_document(text, "p").plain()


def test_no_file_is_no_export() -> None:
    with pytest.raises(PolicyError):
        exported("[", "p", parse_policy({"p": SMALLEST}).policy)

"""Policy files that are none, and words that no section has: each refused at its very place (`bad_policies`)."""

from __future__ import annotations

import pytest
from bad_policies import Case, classifier, each, refused_at_its_place

from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import parse_policy

CASES: list[Case] = [
    (
        "unknown top key",
        "§classifers: []",
        "classifers",
        "unknown key 'classifers'",
        "did you mean 'classifiers'?",
    ),
    (
        "unknown key in an object",
        "chains: {c: {through: [], §trough: x}}",
        "chains.c.trough",
        "unknown key",
        "through",
    ),
    (
        "unknown key in a list",
        classifier("{from: any, to: any, then: deny, §prioritty: 1}"),
        "classifiers[0].prioritty",
        "unknown key",
        "did you mean 'priority'?",
    ),
    (
        "unknown key nested",
        "functions: {f: {instances: {a: {host: x, §wieght: 1}}}}",
        "functions.f.instances.a.wieght",
        "unknown key",
        "did you mean 'weight'?",
    ),
    (
        "missing key",
        "functions: {f: {instances: {§a: {weight: 1}}}}",
        "functions.f.instances.a",
        "'host' is missing",
        "add `host",
    ),
    ("nothing under a key", "§endpoints:\n", "endpoints", "nothing is written here", "remove the key"),
    (
        "must_understand",
        "must_understand: [§teleport]",
        "must_understand[0]",
        "does not understand 'teleport'",
        "use a version that does",
    ),
    ("flood unknown", "flood: [dhcp, §arp]", "flood[1]", "'arp' is not known here", "'dhcp' or 'multicast'"),
    ("flood nothing", "flood: §[]", "flood", "it is empty", "at least one"),
    ("duplicate key", "chains: {}\n§chains: {}", "chains", "duplicate key 'chains'", "line 2"),
    ("wrong kind of section", "chains: §[a]", "chains", "expected `key: value` pairs, found a list", ""),
    ("wrong kind of list", "classifiers: §{a: 1}", "classifiers", "expected a list", ""),
    ("default", "default: §drop", "default", "'drop' is not known here", "'allow' or 'deny'"),
]


@each(CASES)
def test_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    refused_at_its_place(text, path, what, remedy)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("chains: {}\n", 1, "'version' is missing; add `version: 1`"),
        ("version: 2\n", 1, "2 is not known here; write one of 1"),
        ('version: "1"\n', 1, "'1' is not known here"),
        ("", 0, "the file is empty"),
        ("hello world\n", 1, "expected `key: value` lines, found 'hello world'"),
    ],
)
def test_what_is_no_policy_file_at_all(text: str, line: int, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p.yaml": text})
    (problem,) = caught.value.diagnostics
    assert problem.position.line == line
    assert what in str(problem)


def test_a_file_that_must_be_understood_is_not_read_further() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p": "version: 1\nmust_understand: [a, [b]]\nnew-thing: 5\n"})
    assert [item.position.line for item in caught.value.diagnostics] == [2, 2]
    assert "'a'" in caught.value.diagnostics[0].what

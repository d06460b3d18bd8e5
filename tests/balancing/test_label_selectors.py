"""Label selectors mean what they mean in Kubernetes, however they are written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.balancing.labelled import Labelled
from controller_app.balancing.selectors import matches
from controller_app.model.policy import Endpoint, Requirement, Selector
from controller_app.policy.selectors_grammar import from_mappings, parse_selector

BOTH = {"foo": "bar", "baz": "blah"}


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        # what TestSelectorMatches of k8s.io/apimachinery/pkg/labels checks
        ("x=y", {"x": "y"}, True),
        ("x=y,z=w", {"x": "y", "z": "w"}, True),
        ("x!=y,z!=w", {"x": "z", "z": "a"}, True),
        ("notin=in", {"notin": "in"}, True),
        ("x", {"x": "z"}, True),
        ("!x", {"y": "z"}, True),
        ("x=z", {}, False),
        ("x=y", {"x": "z"}, False),
        ("x=y,z=w", {"x": "w", "z": "w"}, False),
        ("x!=y,z!=w", {"x": "z", "z": "w"}, False),
        ("x", {"y": "z"}, False),
        ("!x", {"x": "z"}, False),
        ("foo=bar", BOTH, True),
        ("baz=blah", BOTH, True),
        ("foo=bar,baz=blah", BOTH, True),
        ("foo=blah", BOTH, False),
        ("baz=bar", BOTH, False),
        ("foo=bar,foobar=bar,baz=blah", BOTH, False),
        # an absent key satisfies inequality and notin
        ("x!=y", {}, True),
        ("x notin (y, z)", {"a": "y"}, True),
        ("x notin (y, z)", {"x": "z"}, False),
        ("x in (y, z)", {"x": "z"}, True),
        ("x in (y, z)", {}, False),
        # the empty value is a value
        ("x=", {"x": ""}, True),
        ("x=", {}, False),
        ("x!=", {}, True),
        ("x in (,y)", {"x": ""}, True),
        ("x", {"x": ""}, True),
        # values and keys are compared as written
        ("x=Y", {"x": "y"}, False),
        ("example.org/x=y", {"x": "y"}, False),
        # clauses that contradict each other hold for nobody
        ("x=y,x=z", {"x": "y"}, False),
        ("x,!x", {"x": "y"}, False),
    ],
)
def test_what_matches(text: str, labels: Mapping[str, str], expected: bool) -> None:
    assert matches(parse_selector(text), labels) is expected


KEYS = st.sampled_from(["tier", "release", "in", "example.org/x"])
VALUES = st.sampled_from(["", "web", "db", "notin", "1.0"])
EXPRESSIONS = st.one_of(
    st.tuples(KEYS, st.sampled_from(["In", "NotIn"]), st.lists(VALUES, min_size=1, max_size=3)),
    st.tuples(KEYS, st.sampled_from(["Exists", "DoesNotExist"]), st.just([])),
)
LABELS = st.dictionaries(KEYS, VALUES)


def holds(expression: tuple[str, str, list[str]], labels: Mapping[str, str]) -> bool:
    """LabelSelectorRequirement of the Kubernetes API, as its documentation says it."""
    key, operator, values = expression
    there = key in labels
    among = there and labels[key] in values
    return {"In": among, "NotIn": not among, "Exists": there, "DoesNotExist": not there}[operator]


def written(draw: st.DrawFn, expression: tuple[str, str, list[str]]) -> str:
    """One of the ways to write an expression in a selector's text."""
    key, operator, values = expression
    blank = draw(st.sampled_from(["", " ", "\t "]))
    if operator == "Exists":
        return f"{blank}{key}{blank}"
    if operator == "DoesNotExist":
        return f"{blank}!{blank}{key}"
    if values == [""] or (len(values) == 1 and draw(st.booleans())):  # `in ()` is refused: see the grammar
        sign = draw(st.sampled_from(["=", "=="])) if operator == "In" else "!="
        return f"{key}{blank}{sign}{blank}{values[0]}"
    return f"{key} {operator.lower()}{blank}({f'{blank},{blank}'.join(values)})"


@st.composite
def selectors(draw: st.DrawFn) -> tuple[list[tuple[str, str, list[str]]], str]:
    """Expressions, and one text that says them."""
    expressions = draw(st.lists(EXPRESSIONS, min_size=1, max_size=4))
    return expressions, ",".join(written(draw, each) for each in expressions)


@given(selectors(), LABELS)
def test_text_and_expressions_mean_the_same(
    selector: tuple[list[tuple[str, str, list[str]]], str], labels: Mapping[str, str]
) -> None:
    expressions, text = selector
    expected = all(holds(each, labels) for each in expressions)
    assert matches(parse_selector(text), labels) is expected
    assert matches(from_mappings({}, [(k, o, tuple(v)) for k, o, v in expressions]), labels) is expected


@given(st.dictionaries(KEYS, VALUES, min_size=1), st.lists(EXPRESSIONS, max_size=2), LABELS)
def test_match_labels_are_equalities(
    wanted: dict[str, str], expressions: list[tuple[str, str, list[str]]], labels: Mapping[str, str]
) -> None:
    selector = from_mappings(wanted, [(k, o, tuple(v)) for k, o, v in expressions])
    equal = all(labels.get(key) == value for key, value in wanted.items())
    assert matches(selector, labels) is (equal and all(holds(each, labels) for each in expressions))


@given(selectors(), LABELS, KEYS)
def test_only_the_keys_it_names_count(
    selector: tuple[list[tuple[str, str, list[str]]], str], labels: dict[str, str], other: str
) -> None:
    expressions, text = selector
    parsed = parse_selector(text)
    if other not in {key for key, _, _ in expressions}:
        assert matches(parsed, labels) is matches(parsed, {**labels, other: "anything"})


@given(selectors(), st.lists(LABELS, max_size=8))
def test_the_index_finds_what_matches_in_order(
    selector: tuple[list[tuple[str, str, list[str]]], str], many: list[dict[str, str]]
) -> None:
    parsed = parse_selector(selector[1])
    endpoints = {f"e{n}": Endpoint(f"e{n}", f"h{n}", labels=labels) for n, labels in enumerate(many)}
    expected = [each for each in endpoints.values() if matches(parsed, each.labels)]
    assert Labelled(endpoints).matching(parsed) == expected


def test_an_unknown_operator_is_no_selector() -> None:
    with pytest.raises(ValueError, match="'gt' is no operator"):
        matches(Selector((Requirement("x", "gt", ("1",)),)), {"x": "2"})

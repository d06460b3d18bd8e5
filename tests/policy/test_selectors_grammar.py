"""Label selectors in Kubernetes' grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Requirement, Selector
from controller_app.policy.selectors_grammar import (
    SelectorError,
    from_mappings,
    parse_selector,
    str_requirement,
)

R = Requirement


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("tier=web", [R("tier", "in", ("web",))]),
        ("tier==web", [R("tier", "in", ("web",))]),
        (" tier = web ", [R("tier", "in", ("web",))]),
        ("tier!=web", [R("tier", "notin", ("web",))]),
        ("tier=", [R("tier", "in", ("",))]),
        ("tier", [R("tier", "exists")]),
        ("!tier", [R("tier", "not-exists")]),
        ("! tier", [R("tier", "not-exists")]),
        ("a in (y, x,x)", [R("a", "in", ("x", "y"))]),
        ("a notin(x)", [R("a", "notin", ("x",))]),
        ("a in (x,)", [R("a", "in", ("", "x"))]),
        ("in in (in, notin)", [R("in", "in", ("in", "notin"))]),
        ("example.org/tier=web", [R("example.org/tier", "in", ("web",))]),
        (
            "tier=web, release in (stable, canary), !drained",
            [R("tier", "in", ("web",)), R("release", "in", ("canary", "stable")), R("drained", "not-exists")],
        ),
    ],
)
def test_grammar(text: str, requirements: list[Requirement]) -> None:
    assert parse_selector(text) == Selector(tuple(requirements))


@pytest.mark.parametrize(
    ("text", "offset", "what"),
    [
        ("", 0, "empty"),
        ("  ", 0, "empty"),
        ("a in ()", 6, "list of values is empty"),
        ("a in x", 5, "expected '('"),
        ("a in (x", 7, "the end"),
        ("a=b c", 4, "expected ','"),
        ("a b", 2, "expected =, !="),
        ("a,,b", 2, "expected a label key"),
        ("a,", 2, "the end"),
        ("!", 1, "after '!'"),
        ("=x", 0, "expected a label key"),
        ("a>5", 1, "not supported by this version"),
        ("a=-x", 0, "not a label value"),
        ("-a=x", 0, "not a label key"),
        ("A_/b=x", 0, "not a DNS name"),
        ("a=b)", 3, "expected ','"),
        ("a" * 64, 0, "not a label key"),
    ],
)
def test_errors_say_where(text: str, offset: int, what: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert (caught.value.offset, what in str(caught.value)) == (offset, True), caught.value


def test_match_labels_and_expressions_are_the_same_selector() -> None:
    built = from_mappings(
        {"tier": "web"}, [("release", "In", ("stable", "canary")), ("drained", "DoesNotExist", ())]
    )
    assert built == parse_selector("tier=web, release in (stable, canary), !drained")
    assert parse_selector(built.text) == built
    for operator, values in (("In", ()), ("NotIn", ()), ("Exists", ("x",)), ("DoesNotExist", ("x",))):
        with pytest.raises(SelectorError):
            from_mappings({}, [("a", operator, values)])
    with pytest.raises(SelectorError):
        from_mappings({}, [])


names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,5}[a-z0-9])?", fullmatch=True)
requirements = st.one_of(
    st.builds(lambda k: R(k, "exists"), names),
    st.builds(lambda k: R(k, "not-exists"), names),
    st.builds(
        lambda k, o, v: R(k, o, tuple(sorted(v))),
        names,
        st.sampled_from(["in", "notin"]),
        st.sets(names, min_size=1, max_size=3),
    ),
)


@given(st.lists(requirements, min_size=1, max_size=4), st.dictionaries(names, names))
def test_what_is_printed_reads_back(items: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(items))
    again = parse_selector(", ".join(map(str_requirement, items)))
    assert again == selector
    assert matches(again, labels) == matches(selector, labels)


@given(st.text(alphabet="ab=!,()<> in\t\n\u00e9-", max_size=20))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    try:
        parse_selector(text)
    except SelectorError as error:
        assert 0 <= error.offset <= len(text)

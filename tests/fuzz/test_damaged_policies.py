"""A damaged policy file is a policy, or a PolicyError that says where: never another exception."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

from effort import effort
from hypothesis import given, note
from hypothesis import strategies as st
from policy_texts import TOPOLOGY, policies, text_of

from controller_app import Policy, compile
from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import check_against

WORDS = ["any", "fw", "symmetric", "tcp/80", "tcp/0", "tcp/99999", "10.0.0.0/8", "::/0", "0.0.0.0", "1e999", "-1Mbps",
         "9" * 400 + "Mbps", "tier in (", "svc", "c1", "é", "\u202e", " ", "~", "0x" + "f" * 40]  # fmt: skip
KEYS = st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["host", "any", "chain", "x", "", *WORDS]))
WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**30, -(10**30), 10**400, 2**63, 2**64, 0, -1]),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.dates(),
    st.just([]),
    st.just({}),
    st.lists(st.one_of(st.none(), st.integers(), st.sampled_from(WORDS)), max_size=3),
    st.dictionaries(KEYS, st.none(), max_size=2),
)


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in it."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in inner for place in ((*at, key), *places(value, (*at, key)))]


@st.composite
def with_wrong_values(draw: st.DrawFn) -> str:
    """A policy of which some values became others, were taken away, or moved."""
    policy = deepcopy(draw(policies()))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(policy)))
        node = policy
        for key in way:
            node = node[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "rename", "copy"]))
        if what == "remove":
            del node[last]
        elif what == "rename" and isinstance(node, dict):
            node[draw(st.one_of(KEYS, st.just(f"{last}s")))] = node.pop(last)
        elif what == "copy":
            value: Any = policy
            for key in draw(st.sampled_from(places(policy))):
                value = value[key]
            node[last] = deepcopy(value)
        else:
            node[last] = draw(WRONG)
        if not places(policy):
            break
    return text_of(policy)


@st.composite
def with_wrong_bytes(draw: st.DrawFn) -> bytes:
    """The bytes of a policy of which some were changed, taken away, or repeated."""
    data = text_of(draw(policies())).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 30)))
        copied = draw(st.integers(0, len(data)))
        piece = draw(st.one_of(st.binary(max_size=6), st.just(data[copied : copied + 40]), st.just(b"9" * 5000)))
        data = data[:start] + piece + data[end:]
    return data


def check(data: bytes) -> None:
    """Read it as a file, and compile it if it can be read."""
    with tempfile.TemporaryDirectory() as directory:
        name = Path(directory) / "p.yaml"
        name.write_bytes(data)
        try:
            policy = Policy.load(str(name))
            for found in check_against(policy, TOPOLOGY):
                assert found.path and found.what and found.remedy
            compile(policy, TOPOLOGY)
        except PolicyError as error:
            lines = len(data.decode(errors="replace").splitlines()) + 2
            assert error.diagnostics
            for problem in error.diagnostics:
                assert problem.position.file == str(name), str(problem)
                assert 0 <= problem.position.line <= lines, str(problem)
                assert problem.path and problem.what and problem.remedy, str(problem)


@effort(share=60, many=2500)
@given(with_wrong_values())
def test_wrong_values(text: str) -> None:
    note(text)
    check(text.encode())


@effort(share=60, many=2500)
@given(with_wrong_bytes())
def test_wrong_bytes(data: bytes) -> None:
    check(data)

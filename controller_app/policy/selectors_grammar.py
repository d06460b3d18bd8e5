"""Label selectors in Kubernetes' grammar: `tier=web, release in (stable, canary), !drained`.

Source: k8s.io/apimachinery/pkg/labels (selector.go) and the label syntax of the Kubernetes documentation.
Numeric comparison (`>`, `<`) is not part of this version. `a in ()`, which Kubernetes reads as `a=`, is refused: it is
a list that somebody forgot to fill.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from controller_app.model.policy import Requirement, Selector

_TOKEN = re.compile(r"\s*(?:(?P<word>[^\s!=<>(),]+)|(?P<sign>!=|==|=|!|,|\(|\)|<|>))")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z")
_END = ""


class SelectorError(ValueError):
    """A selector that cannot be read; `offset` counts characters from its beginning."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(what)
        self.offset = offset


class _Token(NamedTuple):
    text: str
    word: bool
    offset: int


def check_label_key(key: str) -> str | None:
    """What is wrong with a label key (`name` or `prefix/name`), or None."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _PREFIX.match(prefix)):
        return f"{prefix!r} is not a DNS name in front of '/'"
    if not _NAME.match(name):
        return (
            f"{key!r} is not a label key (up to 63 letters, digits, '-', '_', '.', "
            "a letter or digit at both ends)"
        )
    return None


def check_label_value(value: str) -> str | None:
    """What is wrong with a label value, or None. The empty value is one."""
    if value and not _NAME.match(value):
        return (
            f"{value!r} is not a label value (up to 63 letters, digits, '-', '_', '.', "
            "a letter or digit at both ends)"
        )
    return None


def parse_selector(text: str) -> Selector:
    """Read a selector. Raises SelectorError. An empty one is refused: it would match every endpoint."""
    if not text.strip():
        raise SelectorError("the selector is empty and would match everything", 0)
    reader = _Reader(list(_tokens(text)))
    requirements = [reader.requirement()]
    while reader.peek().text == ",":
        reader.next()
        requirements.append(reader.requirement())
    last = reader.peek()
    if last.text != _END or last.word:
        raise SelectorError(f"expected ',' and found {last.text!r}", last.offset)
    return Selector(tuple(requirements), text.strip())


def from_mappings(labels: Mapping[str, str], expressions: list[tuple[str, str, tuple[str, ...]]]) -> Selector:
    """The selector that matchLabels and matchExpressions (key, operator, values) stand for.

    Operators are In, NotIn, Exists and DoesNotExist. Raises SelectorError.
    """
    requirements = [_checked(key, "in", (value,), 0) for key, value in labels.items()]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "not-exists"}
    for key, operator, values in expressions:
        wants_values = operator in ("In", "NotIn")
        if wants_values != bool(values):
            raise SelectorError(
                f"{operator} of {key!r} needs " + ("values" if wants_values else "no values"), 0
            )
        requirements.append(_checked(key, operators[operator], values, 0))
    if not requirements:
        raise SelectorError("the selector is empty and would match everything", 0)
    return Selector(tuple(requirements), ", ".join(str_requirement(item) for item in requirements))


def str_requirement(requirement: Requirement) -> str:
    """The clause in the grammar above."""
    key, values = requirement.key, requirement.values
    match requirement.operator:
        case "exists":
            return key
        case "not-exists":
            return f"!{key}"
        case "in" if len(values) == 1:
            return f"{key}={values[0]}"
        case "notin" if len(values) == 1:
            return f"{key}!={values[0]}"
        case operator:
            return f"{key} {operator} ({', '.join(values)})"


def _tokens(text: str) -> Iterator[_Token]:
    offset, end = 0, len(text.rstrip())
    while offset < end:
        found = _TOKEN.match(text, offset)
        if found is None:  # cannot happen: every character is in one of the two classes
            raise SelectorError(f"{text[offset]!r} has no place here", offset)
        kind = found.lastgroup or "sign"
        yield _Token(found[kind], kind == "word", found.start(kind))
        offset = found.end()
    yield _Token(_END, False, end)


def _checked(key: str, operator: str, values: tuple[str, ...], offset: int) -> Requirement:
    problem = check_label_key(key) or next(filter(None, map(check_label_value, values)), None)
    if problem:
        raise SelectorError(problem, offset)
    return Requirement(key, operator, tuple(sorted(set(values))))


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> _Token:
        return self._tokens[self._at]

    def next(self) -> _Token:
        token = self._tokens[self._at]
        if token.text != _END:
            self._at += 1
        return token

    def requirement(self) -> Requirement:
        token = self.next()
        if token.text == "!":
            key = self._word("a label key after '!'")
            return _checked(key.text, "not-exists", (), key.offset)
        if not token.word:
            raise SelectorError(f"expected a label key, found {token.text or 'the end'!r}", token.offset)
        sign = self.peek()
        if sign.text in (",", _END):
            return _checked(token.text, "exists", (), token.offset)
        self.next()
        if sign.text in ("=", "==", "!="):
            value = self.next().text if self.peek().word else ""
            return _checked(token.text, "notin" if sign.text == "!=" else "in", (value,), token.offset)
        if sign.word and sign.text in ("in", "notin"):
            return _checked(token.text, sign.text, self._values(), token.offset)
        if sign.text in ("<", ">"):
            raise SelectorError(
                f"the comparison {sign.text!r} is not supported by this version "
                "(supported: =, ==, !=, in, notin, key, !key)",
                sign.offset,
            )
        raise SelectorError(f"expected =, !=, in, notin or ',' and found {sign.text!r}", sign.offset)

    def _values(self) -> tuple[str, ...]:
        opening = self.next()
        if opening.text != "(":
            raise SelectorError(f"expected '(' and found {opening.text or 'the end'!r}", opening.offset)
        if self.peek().text == ")":
            raise SelectorError("the list of values is empty", self.peek().offset)
        values = []
        while True:
            values.append(self.next().text if self.peek().word else "")
            token = self.next()
            if token.text == ")":
                return tuple(values)
            if token.text != ",":
                raise SelectorError(
                    f"expected ',' or ')' and found {token.text or 'the end'!r}", token.offset
                )

    def _word(self, expected: str) -> _Token:
        token = self.next()
        if not token.word:
            raise SelectorError(f"expected {expected}, found {token.text or 'the end'!r}", token.offset)
        return token

"""Scalars of YAML: from text to values by the core schema of YAML 1.2 (10.3.2), and back to words.

One deliberate difference: digits with a leading zero (`0010`) stay text, like `on`, `yes` and
`12:34:56:12:34:56`, because nobody who writes those means a number or a truth value. Numbers remember how
they were written, so that `0x1` can be read as a dpid and `1.0` as a label.
"""

from __future__ import annotations

import re
from typing import Any

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_OCTAL = re.compile(r"0o[0-7]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = {"", "~", "null", "Null", "NULL"}
_MAX_DIGITS = 400  # Python refuses to read longer integers anyway; none is meant


class WrittenInt(int):
    """An integer that remembers its text."""

    text: str


class WrittenFloat(float):
    """A fraction that remembers its text."""

    text: str


Scalar = None | bool | int | float | str


def resolve(event: Any) -> Scalar:
    """The value of a scalar by the core schema. Raises ValueError for a tag that cannot be obeyed."""
    text: str = event.value
    tag = event.tag
    if tag is None:
        return _plain_scalar(text) if event.implicit[0] else text
    if tag in ("!", "tag:yaml.org,2002:str"):
        return text
    value = _plain_scalar(text)
    wanted: dict[str, tuple[type, ...]] = {
        "tag:yaml.org,2002:int": (int,),
        "tag:yaml.org,2002:float": (float, int),
        "tag:yaml.org,2002:bool": (bool,),
        "tag:yaml.org,2002:null": (type(None),),
    }
    if tag not in wanted:
        raise ValueError(f"the tag {tag!r} is not supported")
    if not isinstance(value, wanted[tag]) or (isinstance(value, bool) and bool not in wanted[tag]):
        raise ValueError(f"{text!r} is not what its tag {tag.rsplit(':', 1)[-1]!r} says")
    return value


def _plain_scalar(text: str) -> Scalar:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _MAX_DIGITS:
        return text
    number: WrittenInt | WrittenFloat
    if _INT.match(text):
        number = WrittenInt(text)
    elif _OCTAL.match(text) or _HEX.match(text):
        number = WrittenInt(int(text, 0))
    elif _FLOAT.match(text):
        number = WrittenFloat(text)
    elif _NOT_FINITE.match(text):
        number = WrittenFloat(text.replace(".", "", 1))
    else:
        return text
    number.text = text
    return number


def text_of_scalar(value: Scalar) -> str:
    """A scalar as the text of a key."""
    if isinstance(value, WrittenInt | WrittenFloat):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def kind_name(value: object) -> str:
    """What a value is, in words for messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, WrittenInt | WrittenFloat):
        return value.text
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...") if isinstance(value, str) else text

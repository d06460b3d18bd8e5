"""The language of a chain's `require`: what must hold of the way its packets take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import PlainValidator, WithJsonSchema, WrapValidator

from controller_app.policy.schema_parties import SelectorField
from controller_app.policy.schema_parts import Language
from controller_app.policy.values import parse_bandwidth, parse_latency, text_of, wrong

_LATENCY = {"type": "string", "examples": ["5ms"]}
_BANDWIDTH = {"type": "string", "examples": ["100Mbps"]}


def _bound(value: object) -> float:
    bound = parse_latency(value)
    if bound == 0:
        raise wrong(f"{text_of(value, 'a time')} is less than any way takes", "write a time above zero such as 5ms")
    return bound


class RequireSpec(Language):
    """Every one of these holds for the instances between two edges, or nothing passes there."""

    latency: Annotated[float, PlainValidator(_bound), WithJsonSchema(_LATENCY)] | None = None
    bandwidth: Annotated[float, PlainValidator(parse_bandwidth), WithJsonSchema(_BANDWIDTH)] | None = None
    within: Literal["switch", "rack", "zone", "region"] | None = None
    avoid: SelectorField | None = None
    prefer: SelectorField | None = None
    apart: bool = False
    backup: bool = False


def _read_require(value: object, handler: Callable[[object], RequireSpec]) -> RequireSpec:
    spec = handler(value)
    for word, selector in (("avoid", spec.avoid), ("prefer", spec.prefer)):
        if selector is not None and not selector.requirements:
            raise wrong(f"the selector of `{word}` matches everything", "name the labels that are meant")
    if spec == RequireSpec():
        raise wrong("nothing is required here", "remove `require`, or write one such as {latency: 5ms}")
    return spec


if TYPE_CHECKING:
    RequireField = RequireSpec
else:
    RequireField = Annotated[RequireSpec, WrapValidator(_read_require)]

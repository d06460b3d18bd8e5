"""How a policy says who is meant: label selectors, and the parties of classifiers and services."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, WrapValidator

from controller_app.model.policy import Selector
from controller_app.policy.schema_parts import Either, Language, Prefix
from controller_app.policy.selectors_grammar import SelectorError, from_mappings, parse_selector
from controller_app.policy.values import Label, Name, Text, as_text, wrong
from controller_app.policy.yaml_scalars import kind_name


class ExpressionSpec(Language):
    """One of Kubernetes' matchExpressions."""

    key: Text
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[Label] = Field(default_factory=list)


class SelectorSpec(Language):
    """A selector written as Kubernetes objects do."""

    matchLabels: dict[str, Label] = Field(default_factory=dict)
    matchExpressions: list[ExpressionSpec] = Field(default_factory=list)


def _read_selector(value: object, handler: Callable[[object], SelectorSpec]) -> Selector:
    try:
        text = as_text(value)
        if isinstance(text, str):
            return parse_selector(text)
        if not isinstance(value, dict):
            raise wrong(
                f"expected a selector, found {kind_name(value)}", 'write one such as "tier=web, !drained"'
            )
        spec = handler(value)
        return from_mappings(
            spec.matchLabels,
            [(item.key, item.operator, tuple(item.values)) for item in spec.matchExpressions],
        )
    except SelectorError as error:
        where = f" (at character {error.offset + 1})" if error.offset else ""
        raise wrong(
            f"selector: {error}{where}", 'write one such as "tier=web, release in (a, b), !old"'
        ) from None


if TYPE_CHECKING:
    SelectorField = Selector
else:
    SelectorField = Annotated[
        SelectorSpec,
        WrapValidator(_read_selector),
        Either({"type": "string", "examples": ["tier=web, release in (stable, canary), !drained"]}),
    ]


class PartySpec(Language):
    """One side of a classifier, or somebody a service is for: exactly one of these."""

    host: Name | None = None
    network: Name | None = None
    segment: Name | None = None
    endpoint: Name | None = None
    selector: SelectorField | None = None
    cidr: Prefix | None = None
    service: Name | None = None
    any: Literal[True] | None = None

    def only(self) -> tuple[str, Any]:
        """The kind that is given, and its value."""
        return next((kind, getattr(self, kind)) for kind in PARTIES if getattr(self, kind) is not None)


PARTIES = ("host", "network", "segment", "endpoint", "selector", "cidr", "service", "any")


def _read_party(value: object, handler: Callable[[object], PartySpec]) -> PartySpec:
    if value == "any":
        return PartySpec(any=True)
    if not isinstance(value, dict):
        raise wrong(
            f"expected a party, found {kind_name(value)}", "write {host: NAME}, {network: NAME} or any"
        )
    party = handler(value)
    given = [kind for kind in PARTIES if getattr(party, kind) is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "nothing"
        raise wrong(f"a party is exactly one thing, found {found}", f"write one of {', '.join(PARTIES)}")
    return party


PartyField = Annotated[PartySpec, WrapValidator(_read_party), Either({"const": "any"})]


def _read_source(value: object, handler: Callable[[object], PartySpec]) -> PartySpec:
    if value == "any" or (isinstance(value, dict) and value.get("any") is True):
        raise wrong("`any` in a list of sources is everyone", "write `expose: everyone`, or name who may reach it")
    return _read_party(value, handler)


SourceItem = Annotated[PartySpec, WrapValidator(_read_source)]  # as in `from`, without `any`

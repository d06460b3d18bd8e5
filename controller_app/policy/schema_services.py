"""The language of services: the address, who answers, how that is checked, and who may ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, WrapValidator

from controller_app.model.policy import ServicePort
from controller_app.policy.probes import (
    Probe,
    parse_affinity,
    parse_drain,
    parse_function_probe,
    parse_hold,
    parse_interval,
    parse_probe,
)
from controller_app.policy.schema_parties import PartySpec, SelectorField, SourceItem
from controller_app.policy.schema_parts import Addresses, Either, Language, one_or_list
from controller_app.policy.values import Name, parse_service_port, wrong
from controller_app.policy.yaml_scalars import kind_name

_PORT = {"type": ["string", "integer"], "examples": ["8080:80/tcp"]}
PortItem = Annotated[ServicePort, PlainValidator(parse_service_port), WithJsonSchema(_PORT)]
_PROBE = {"type": "string", "examples": ["tcp/80", "http://:80/ready", "arp"]}
_FUNCTION_PROBE = {"type": "string", "examples": ["frame", "icmp", "arp", "tcp/80", "http://:80/ready"]}
_INTERVAL = {"type": "string", "examples": ["1s", "200ms"]}
_AFFINITY = {"type": "string", "examples": ["10m"]}
_DRAIN = {"anyOf": [{"type": "boolean"}, {"type": "string", "examples": ["10m"]}]}
DrainField = Annotated[bool | float, PlainValidator(parse_drain), WithJsonSchema(_DRAIN)]
_EXPOSE = ("everyone", "internal")


class HealthSpec(Language):
    """How providers are checked: `misses` failures in a row, one every `interval`, and one is out."""

    probe: Annotated[Probe, PlainValidator(parse_probe), WithJsonSchema(_PROBE)]
    interval: Annotated[float, PlainValidator(parse_interval), WithJsonSchema(_INTERVAL)] = Field(
        default=1.0, json_schema_extra={"default": "1s"}
    )
    misses: Annotated[int, Field(ge=1, le=1000)] = 3


class FunctionHealthSpec(HealthSpec):
    """How instances of a function are checked: `misses` failures in a row, one every `interval`, and one is out; well
    for as long as `hold`, and at least as often, and it is back."""

    probe: Annotated[Probe, PlainValidator(parse_function_probe), WithJsonSchema(_FUNCTION_PROBE)]
    hold: Annotated[float, PlainValidator(parse_hold), WithJsonSchema(_INTERVAL)] = Field(
        default=1.0, json_schema_extra={"default": "1s"}
    )


def _read_expose(value: object, handler: Callable[[object], list[PartySpec]]) -> str | list[PartySpec]:
    if isinstance(value, list):
        return handler(value)
    if value == "any":
        raise wrong("`any` is not who may reach it: that is everyone", "write everyone")
    if value not in _EXPOSE:
        raise wrong(
            f"{kind_name(value)} does not say who may reach it",
            "write everyone, internal or a list of sources such as [{network: NAME}]",
        )
    return str(value)


class ServiceSpec(Language):
    """An address and ports in front of the endpoints a selector matches."""

    network: Name
    ip: Addresses = Field(default_factory=list)
    selector: SelectorField
    ports: Annotated[list[PortItem], Field(min_length=1), *one_or_list(_PORT)]
    session_affinity: Annotated[float, PlainValidator(parse_affinity), WithJsonSchema(_AFFINITY)] | None = None
    prefer: Literal["switch", "rack", "zone", "cost"] | None = None
    health: HealthSpec | None = None
    if TYPE_CHECKING:
        expose: str | list[PartySpec]
    else:
        expose: Annotated[
            Annotated[list[SourceItem], Field(min_length=1)],
            WrapValidator(_read_expose),
            Either({"enum": list(_EXPOSE)}),
        ] = "everyone"

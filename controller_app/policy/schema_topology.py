"""The language of topology files, as pydantic models: what may be written, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, WrapValidator

from controller_app.policy.schema_parts import (
    NUMBER_OR_TEXT,
    TEXT,
    Addresses,
    Either,
    EndItem,
    Labels,
    Language,
    Mac,
    Prefixes,
)
from controller_app.policy.values import Name, Text, parse_bandwidth, parse_dpid, parse_end, parse_latency, wrong

_PLACES = ("rack", "zone", "region")


def _no_places(labels: dict[str, str]) -> dict[str, str]:
    for key in _PLACES:
        if key in labels:
            raise wrong(f"the label {key!r} is the switch's {key}", f"write `{key}` beside `labels`")
    return labels


class SwitchSpec(Language):
    """A switch by its datapath id, where it stands, and labels that selectors can name."""

    dpid: Annotated[int, PlainValidator(parse_dpid), WithJsonSchema(NUMBER_OR_TEXT)]
    rack: Text | None = None
    zone: Text | None = None
    region: Text | None = None
    longitude: Annotated[float, Field(ge=-180, le=180, strict=False)] | None = None
    latitude: Annotated[float, Field(ge=-90, le=90, strict=False)] | None = None
    labels: Annotated[Labels, AfterValidator(_no_places)] = Field(default_factory=dict)


class LinkSpec(Language):
    """A cable or tunnel between two switch ports. `mtu` is the largest IP packet it takes, in bytes: no less
    than what every host must take (RFC 791 3.1), no more than an IP packet can have."""

    ends: Annotated[list[EndItem], Field(min_length=2, max_length=2)]
    latency: Annotated[float, PlainValidator(parse_latency), WithJsonSchema(TEXT)] | None = None
    bandwidth: Annotated[float, PlainValidator(parse_bandwidth), WithJsonSchema(TEXT)] | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    kind: Literal["wire", "tunnel"] = "wire"
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = None


def _long_link(value: object) -> object:
    return {"ends": value} if isinstance(value, list) else value


LinkItem = Annotated[
    LinkSpec,
    BeforeValidator(_long_link),
    Either({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
]


class ArmSpec(Language):
    """One arm of a function: its port, and the addresses of the function there."""

    port: EndItem
    mac: Mac | None = None
    ip: Addresses = Field(default_factory=list)


def _read_arm(value: object, handler: Callable[[object], ArmSpec]) -> ArmSpec:
    return handler(value) if isinstance(value, dict) else ArmSpec.model_construct(port=parse_end(value))


ArmField = Annotated[ArmSpec, WrapValidator(_read_arm), Either(TEXT)]


class AttachSpec(Language):
    """The two arms of a function. Forward traffic enters `in`."""

    into: Annotated[ArmField, Field(alias="in")]
    out: ArmField | None = None


def _read_attach(value: object, handler: Callable[[object], AttachSpec]) -> Mapping[str, ArmSpec]:
    if not isinstance(value, dict):
        return {"": ArmSpec.model_construct(port=parse_end(value))}
    arms = handler(value)
    if arms.out is None:
        return {"in": arms.into}
    if arms.out.port == arms.into.port:
        raise wrong(f"both arms are at {arms.into.port}", "give each arm a port of its own")
    return {"in": arms.into, "out": arms.out}


class HostSpec(Language):
    """Something attached to a switch port: a machine, a function instance, an uplink."""

    if TYPE_CHECKING:  # the long form is validated by AttachSpec and read into its arms by name, "" for the only one
        attach: Mapping[str, ArmSpec]
    else:
        attach: Annotated[AttachSpec, WrapValidator(_read_attach), Either(TEXT)]
    ip: Addresses = Field(default_factory=list)
    mac: Mac | None = None
    prefixes: Prefixes = Field(default_factory=list)
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None


class TopologyFile(Language):
    """A topology file."""

    version: Literal[1]
    switches: dict[Name, SwitchSpec] = Field(default_factory=dict)
    links: list[LinkItem] = Field(default_factory=list)
    hosts: dict[Name, HostSpec] = Field(default_factory=dict)

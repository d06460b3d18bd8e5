"""The language of policy files, as pydantic models: what may be written, and nothing more.

Who is meant is in `schema_parties`, services are in `schema_services`, topology files in `schema_topology`. The JSON
Schemas are generated from all of them. What a name refers to and what fits together is checked by `policy_file`,
`references`, `consistency` and `fitting`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, WrapValidator

from controller_app.model.policy import Selector, Traffic, Verdict
from controller_app.modes import MODES
from controller_app.policy.schema_parties import PartyField, SelectorField
from controller_app.policy.schema_parts import (
    NUMBER_OR_TEXT,
    Addresses,
    Either,
    EitherModel,
    Labels,
    Language,
    Prefix,
    Prefixes,
    one_or_list,
)
from controller_app.policy.schema_require import RequireField
from controller_app.policy.schema_services import DrainField, FunctionHealthSpec, ServiceSpec
from controller_app.policy.values import Name, parse_dscp, parse_limit, parse_traffic, wrong
from controller_app.policy.yaml_scalars import kind_name
from controller_app.transports import TRANSPORTS

_TRAFFIC = {"type": "string", "examples": ["tcp/80", "udp/5000-5100", "icmp"]}
_RATE = {"type": "string", "examples": ["50Mbps"]}
TrafficItem = Annotated[Traffic, PlainValidator(parse_traffic), WithJsonSchema(_TRAFFIC)]
_DSCP = {**NUMBER_OR_TEXT, "examples": ["af21", "ef", "cs6", 46]}
DscpItem = Annotated[int, PlainValidator(parse_dscp), WithJsonSchema(_DSCP)]
Names = Annotated[list[Name], Field(min_length=1)]
_FLOOD = {"enum": ["dhcp", "multicast"]}
FloodItem = Literal["dhcp", "multicast"]
MAX_QUEUE = 61439  # the last one of linux-htb (ovs-vswitchd.conf.db(5))
if TYPE_CHECKING:
    ModeWord = str
    TransportWord = str
else:  # what there is in their packages is what there is in the language
    ModeWord = Literal[tuple(MODES)]
    TransportWord = Literal[tuple(TRANSPORTS)]
Weight = Annotated[int, Field(ge=1, le=256)]


class NetworkSpec(Language):
    """An IP network; kind `service` marks a pool of service addresses."""

    subnet: Prefixes
    gateway: Addresses = Field(default_factory=list)
    kind: Literal["hosts", "service"] = "hosts"
    insert: Names = Field(default_factory=list)


class EndpointSpec(Language):
    """A host's place in a network, with labels."""

    host: Name
    network: Name | None = None
    labels: Labels = Field(default_factory=dict)
    weight: Weight = 1
    drain: DrainField = False


class InstanceSpec(Language):
    """A running copy of a function, on a host of the topology."""

    host: Name
    weight: Weight = 1


class SelectedSpec(Language):
    """Instances by selector: the endpoints it matches."""

    selector: SelectorField


def _read_instances(
    value: object, handler: Callable[[object], dict[str, InstanceSpec]]
) -> dict[str, InstanceSpec] | Selector:
    """By name, or by selector. An instance may be called selector: then its host is written there."""
    if not isinstance(value, dict) or "selector" not in value:
        return handler(value)
    chosen = value["selector"]
    if isinstance(chosen, dict) and not {"host", "weight"}.isdisjoint(chosen):
        return handler(value)
    if len(value) > 1:
        others = ", ".join(repr(str(key)) for key in value if key != "selector")
        raise wrong(f"a selector, and {others} by name", "keep the selector or the names; a selector finds them all")
    return SelectedSpec.model_validate(value).selector


class FunctionSpec(Language):
    """A service function and its instances."""

    kind: Literal["firewall", "load-balancer", "ids", "nat", "proxy", "other"] = "other"
    mode: ModeWord = "transparent"
    handover: Literal["label", "original"] = "label"
    on_failure: Literal["closed", "open", "reject"] = "closed"
    health: FunctionHealthSpec | None = None
    if TYPE_CHECKING:
        instances: dict[str, InstanceSpec] | Selector
    else:
        instances: Annotated[
            dict[Name, InstanceSpec], Field(min_length=1), WrapValidator(_read_instances), EitherModel(SelectedSpec)
        ]


_WAYS_BACK = ("symmetric", "direct")


def _read_return(value: object, handler: Callable[[object], list[str]]) -> str | tuple[str, ...]:
    if isinstance(value, list):
        return tuple(handler(value))
    if value not in _WAYS_BACK:
        raise wrong(f"{kind_name(value)} is no way back", "write symmetric, direct or a list of functions")
    return str(value)


class ChainSpec(Language):
    """Functions in order, and how packets travel along them."""

    through: Names
    if TYPE_CHECKING:
        returns: str | tuple[str, ...]
    else:
        returns: Annotated[
            Names, WrapValidator(_read_return), Either({"enum": list(_WAYS_BACK)}), Field(alias="return")
        ] = "symmetric"
    transport: TransportWord = "mac"
    stickiness: Literal["connection", "none"] = "connection"
    spread: Literal["weight", "cost"] = "weight"
    require: RequireField | None = None


class SegmentSpec(Language):
    """A part of a network, by prefix or by selector."""

    network: Name
    cidr: Prefix | None = None
    selector: SelectorField | None = None
    insert: Names = Field(default_factory=list)


def _read_segment(value: object, handler: Callable[[object], SegmentSpec]) -> SegmentSpec:
    segment = handler(value)
    if (segment.cidr is None) == (segment.selector is None):
        found = "nothing" if segment.cidr is None else "both"
        raise wrong(f"a segment is a cidr or a selector, found {found}", "write one of the two")
    return segment


SegmentItem = Annotated[SegmentSpec, WrapValidator(_read_segment)]


class ThenSpec(Language):
    """Send along a chain, or do one of the other things; what passes can be limited and marked. With marks
    alone it is allowed."""

    chain: Name | None = None
    allow: Literal[True] | None = None
    deny: Literal[True] | None = None
    reject: Literal[True] | None = None
    limit: Annotated[float, PlainValidator(parse_limit), WithJsonSchema(_RATE)] | None = None
    dscp: DscpItem | None = None
    queue: Annotated[int, Field(ge=0, le=MAX_QUEUE)] | None = None


_ACTIONS = ("allow", "deny", "reject")
_VERDICTS = "write {chain: NAME}, allow, deny or reject"


def _read_then(value: object, handler: Callable[[object], ThenSpec]) -> Verdict:
    if isinstance(value, str):
        if value not in _ACTIONS:
            raise wrong(f"{value!r} is not a verdict", _VERDICTS)
        return Verdict(value)
    if not isinstance(value, dict):
        raise wrong(f"expected a verdict, found {kind_name(value)}", _VERDICTS)
    then = handler(value)
    given = [name for name in ("chain", *_ACTIONS) if getattr(then, name) is not None]
    marks = [name for name in ("limit", "dscp", "queue") if getattr(then, name) is not None]
    if not given and not marks:
        raise wrong("nothing is written here", _VERDICTS)
    if len(given) > 1:
        raise wrong(f"a verdict is one thing, found {' and '.join(given)}", "keep one of them")
    action = given[0] if given else "allow"
    if action in ("deny", "reject") and marks:
        raise wrong(f"what {action} meets does not pass: no {' or '.join(marks)} there", f"write {action} alone")
    return Verdict(action, then.chain, then.limit, then.dscp, then.queue)


class ClassifierSpec(Language):
    """Which traffic, and what is done with it."""

    name: Name | None = None
    source: Annotated[PartyField, Field(alias="from")]
    destination: Annotated[PartyField, Field(alias="to")]
    traffic: Annotated[list[TrafficItem], Field(min_length=1), *one_or_list(_TRAFFIC)] | None = None
    dscp: Annotated[list[DscpItem], Field(min_length=1), *one_or_list(_DSCP)] = Field(default_factory=list)
    after: Name | None = None
    if TYPE_CHECKING:
        then: Verdict
    else:
        then: Annotated[ThenSpec, WrapValidator(_read_then), Either({"enum": list(_ACTIONS)})]
    priority: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0


class PolicyFile(Language):
    """A policy file."""

    version: Literal[1]
    must_understand: list[str] = Field(default_factory=list)
    tenant: Name = "default"
    default: Literal["allow", "deny"] | None = None
    flood: Annotated[list[FloodItem], Field(min_length=1), *one_or_list(_FLOOD)] = Field(default_factory=list)
    networks: dict[Name, NetworkSpec] = Field(default_factory=dict)
    segments: dict[Name, SegmentItem] = Field(default_factory=dict)
    endpoints: dict[Name, EndpointSpec] = Field(default_factory=dict)
    functions: dict[Name, FunctionSpec] = Field(default_factory=dict)
    chains: dict[Name, ChainSpec] = Field(default_factory=dict)
    classifiers: list[ClassifierSpec] = Field(default_factory=list)
    services: dict[Name, ServiceSpec] = Field(default_factory=dict)

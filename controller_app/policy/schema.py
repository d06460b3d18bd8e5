"""The language of policy files, as pydantic models: what may be written, and nothing more.

That of topology files is in `schema_topology`. The JSON Schemas are generated from both. What a name refers to
and what fits together is checked by `policy_file`, `references`, `consistency` and `fitting`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, WrapValidator

from controller_app.model.policy import Selector, ServicePort, Traffic, Verdict
from controller_app.modes import MODES
from controller_app.policy.schema_parts import (
    NUMBER_OR_TEXT,
    Addresses,
    Either,
    Language,
    Prefix,
    Prefixes,
    one_or_list,
)
from controller_app.policy.selectors_grammar import (
    SelectorError,
    check_label_key,
    check_label_value,
    from_mappings,
    parse_selector,
)
from controller_app.policy.values import (
    Label,
    Name,
    Text,
    as_text,
    parse_dscp,
    parse_limit,
    parse_service_port,
    parse_traffic,
    wrong,
)
from controller_app.policy.yaml_scalars import kind_name
from controller_app.transports import TRANSPORTS

_TRAFFIC = {"type": "string", "examples": ["tcp/80", "udp/5000-5100", "icmp"]}
_RATE = {"type": "string", "examples": ["50Mbps"]}
_PORT = {"type": ["string", "integer"], "examples": ["8080:80/tcp"]}
TrafficItem = Annotated[Traffic, PlainValidator(parse_traffic), WithJsonSchema(_TRAFFIC)]
PortItem = Annotated[ServicePort, PlainValidator(parse_service_port), WithJsonSchema(_PORT)]
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


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        problem = check_label_key(key) or check_label_value(value)
        if problem:
            raise wrong(f"label {key!r}: {problem}", "rename it")
    return labels


class EndpointSpec(Language):
    """A host's place in a network, with labels."""

    host: Name
    network: Name | None = None
    labels: Annotated[dict[str, Label], AfterValidator(_check_labels)] = Field(default_factory=dict)
    weight: Weight = 1
    drain: Literal[False] = False


class InstanceSpec(Language):
    """A running copy of a function, on a host of the topology."""

    host: Name
    weight: Weight = 1


class FunctionSpec(Language):
    """A service function and its instances."""

    kind: Literal["firewall", "load-balancer", "ids", "nat", "proxy", "other"] = "other"
    mode: ModeWord = "transparent"
    handover: Literal["label", "original"] = "label"
    on_failure: Literal["closed", "open", "reject"] = "closed"
    instances: Annotated[dict[Name, InstanceSpec], Field(min_length=1)]


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
    spread: Literal["weight"] = "weight"


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


class PartySpec(Language):
    """One side of a classifier: exactly one of these."""

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


class ServiceSpec(Language):
    """An address and ports in front of the endpoints a selector matches."""

    network: Name
    ip: Addresses = Field(default_factory=list)
    selector: SelectorField
    ports: Annotated[list[PortItem], Field(min_length=1), *one_or_list(_PORT)]
    expose: Literal["everyone"] = "everyone"


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

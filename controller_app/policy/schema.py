"""The language of policy and topology files, as pydantic models: what may be written, and nothing more.

The JSON Schemas are generated from here. What a name refers to and what fits together is checked by
`policy_file`, `topology_file` and `consistency`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import CoreSchema

from controller_app.model.policy import Selector, ServicePort, Traffic, Verdict
from controller_app.model.topology import End, IPAddress, IPNetwork
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
    as_list,
    as_text,
    parse_address,
    parse_bandwidth,
    parse_dpid,
    parse_end,
    parse_latency,
    parse_mac,
    parse_network,
    parse_service_port,
    parse_traffic,
    wrong,
)
from controller_app.policy.yaml_scalars import kind_name

FEATURES: frozenset[str] = frozenset()  # what `must_understand` may name


class Language(BaseModel):
    """Base of every model: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class _Either:
    """Adds a short form to the JSON Schema of a long one."""

    def __init__(self, short: dict[str, Any]) -> None:
        self.short = short

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [self.short, handler(core)]}


def _one_or_list(item: dict[str, Any]) -> tuple[Any, Any]:
    many = {"type": "array", "items": item, "minItems": 1}
    return BeforeValidator(as_list), WithJsonSchema({"anyOf": [item, many]})


_TEXT = {"type": "string"}
_NUMBER_OR_TEXT = {"type": ["string", "integer"]}

Address = Annotated[IPAddress, PlainValidator(parse_address), WithJsonSchema(_TEXT)]
Prefix = Annotated[IPNetwork, PlainValidator(parse_network), WithJsonSchema(_TEXT)]
Addresses = Annotated[list[Address], Field(min_length=1), *_one_or_list(_TEXT)]
Prefixes = Annotated[list[Prefix], Field(min_length=1), *_one_or_list(_TEXT)]
_TRAFFIC = {"type": "string", "examples": ["tcp/80", "udp/5000-5100", "icmp"]}
_PORT = {"type": ["string", "integer"], "examples": ["8080:80/tcp"]}
TrafficItem = Annotated[Traffic, PlainValidator(parse_traffic), WithJsonSchema(_TRAFFIC)]
PortItem = Annotated[ServicePort, PlainValidator(parse_service_port), WithJsonSchema(_PORT)]
EndItem = Annotated[
    End, PlainValidator(parse_end), WithJsonSchema({"type": "string", "examples": ["s1:3", "s1:vx2"]})
]
Weight = Annotated[int, Field(ge=1, le=256)]


# ---- topology ------------------------------------------------------------------------------------


class SwitchSpec(Language):
    """A switch by its datapath id, and where it stands."""

    dpid: Annotated[int, PlainValidator(parse_dpid), WithJsonSchema(_NUMBER_OR_TEXT)]
    rack: Text | None = None
    zone: Text | None = None
    region: Text | None = None
    longitude: Annotated[float, Field(ge=-180, le=180, strict=False)] | None = None
    latitude: Annotated[float, Field(ge=-90, le=90, strict=False)] | None = None


class LinkSpec(Language):
    """A cable or tunnel between two switch ports."""

    ends: Annotated[list[EndItem], Field(min_length=2, max_length=2)]
    latency: Annotated[float, PlainValidator(parse_latency), WithJsonSchema(_TEXT)] | None = None
    bandwidth: Annotated[float, PlainValidator(parse_bandwidth), WithJsonSchema(_TEXT)] | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    kind: Literal["wire", "tunnel"] = "wire"


def _long_link(value: object) -> object:
    return {"ends": value} if isinstance(value, list) else value


LinkItem = Annotated[
    LinkSpec,
    BeforeValidator(_long_link),
    _Either({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
]


class AttachSpec(Language):
    """The two arms of a function. Forward traffic enters `in`."""

    into: Annotated[EndItem, Field(alias="in")]
    out: EndItem | None = None


def _read_attach(value: object, handler: Callable[[object], AttachSpec]) -> Mapping[str, End]:
    if not isinstance(value, dict):
        return {"": parse_end(value)}
    arms = handler(value)
    if arms.out is None:
        return {"in": arms.into}
    if arms.out == arms.into:
        raise wrong(f"both arms are at {arms.into}", "give each arm a port of its own")
    return {"in": arms.into, "out": arms.out}


class HostSpec(Language):
    """Something attached to a switch port: a machine, a function instance, an uplink."""

    if TYPE_CHECKING:  # the long form is validated by AttachSpec and read into what the model holds
        attach: Mapping[str, End]
    else:
        attach: Annotated[AttachSpec, WrapValidator(_read_attach), _Either(_TEXT)]
    ip: Addresses = Field(default_factory=list)
    mac: Annotated[str, PlainValidator(parse_mac), WithJsonSchema(_TEXT)] | None = None
    prefixes: Prefixes = Field(default_factory=list)


class TopologyFile(Language):
    """A topology file."""

    version: Literal[1]
    switches: dict[Name, SwitchSpec] = Field(default_factory=dict)
    links: list[LinkItem] = Field(default_factory=list)
    hosts: dict[Name, HostSpec] = Field(default_factory=dict)


# ---- policy --------------------------------------------------------------------------------------


class NetworkSpec(Language):
    """An IP network; kind `service` marks a pool of service addresses."""

    subnet: Prefixes
    gateway: Addresses = Field(default_factory=list)
    kind: Literal["hosts", "service"] = "hosts"


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
    mode: Literal["transparent", "tap"] = "transparent"
    handover: Literal["label"] = "label"
    on_failure: Literal["closed"] = "closed"
    instances: Annotated[dict[Name, InstanceSpec], Field(min_length=1)]


class ChainSpec(Language):
    """Functions in order, and how packets travel along them."""

    through: Annotated[list[Name], Field(min_length=1)]
    returns: Annotated[Literal["symmetric", "direct"], Field(alias="return")] = "symmetric"
    transport: Literal["mac"] = "mac"
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
        _Either({"type": "string", "examples": ["tier=web, release in (stable, canary), !drained"]}),
    ]


class PartySpec(Language):
    """One side of a classifier: exactly one of these."""

    host: Name | None = None
    network: Name | None = None
    endpoint: Name | None = None
    selector: SelectorField | None = None
    cidr: Prefix | None = None
    service: Name | None = None
    any: Literal[True] | None = None

    def only(self) -> tuple[str, Any]:
        """The kind that is given, and its value."""
        return next((kind, getattr(self, kind)) for kind in PARTIES if getattr(self, kind) is not None)


PARTIES = ("host", "network", "endpoint", "selector", "cidr", "service", "any")


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


PartyField = Annotated[PartySpec, WrapValidator(_read_party), _Either({"const": "any"})]


class ThenSpec(Language):
    """Send along a chain."""

    chain: Name


def _read_then(value: object, handler: Callable[[object], ThenSpec]) -> Verdict:
    if isinstance(value, str):
        if value not in ("allow", "deny"):
            raise wrong(f"{value!r} is not a verdict", "write {chain: NAME}, allow or deny")
        return Verdict(value)
    if not isinstance(value, dict):
        raise wrong(f"expected a verdict, found {kind_name(value)}", "write {chain: NAME}, allow or deny")
    return Verdict("chain", handler(value).chain)


class ClassifierSpec(Language):
    """Which traffic, and what is done with it."""

    name: Name | None = None
    source: Annotated[PartyField, Field(alias="from")]
    destination: Annotated[PartyField, Field(alias="to")]
    traffic: Annotated[list[TrafficItem], Field(min_length=1), *_one_or_list(_TRAFFIC)] | None = None
    if TYPE_CHECKING:
        then: Verdict
    else:
        then: Annotated[ThenSpec, WrapValidator(_read_then), _Either({"enum": ["allow", "deny"]})]
    priority: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0


class ServiceSpec(Language):
    """An address and ports in front of the endpoints a selector matches."""

    network: Name
    ip: Addresses = Field(default_factory=list)
    selector: SelectorField
    ports: Annotated[list[PortItem], Field(min_length=1), *_one_or_list(_PORT)]
    expose: Literal["everyone"] = "everyone"


class PolicyFile(Language):
    """A policy file."""

    version: Literal[1]
    must_understand: list[str] = Field(default_factory=list)
    tenant: Name = "default"
    default: Literal["allow", "deny"] | None = None
    networks: dict[Name, NetworkSpec] = Field(default_factory=dict)
    endpoints: dict[Name, EndpointSpec] = Field(default_factory=dict)
    functions: dict[Name, FunctionSpec] = Field(default_factory=dict)
    chains: dict[Name, ChainSpec] = Field(default_factory=dict)
    classifiers: list[ClassifierSpec] = Field(default_factory=list)
    services: dict[Name, ServiceSpec] = Field(default_factory=dict)

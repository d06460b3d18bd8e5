"""What the models of both file formats share: their base, and fields that take a short form or a notation."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

from controller_app.model.topology import End, IPAddress, IPNetwork
from controller_app.policy.selectors_grammar import check_label_key, check_label_value
from controller_app.policy.values import Label, as_list, parse_address, parse_end, parse_mac, parse_network, wrong


class Language(BaseModel):
    """Base of every model: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class Either:
    """Adds a short form to the JSON Schema of a long one."""

    def __init__(self, short: dict[str, Any]) -> None:
        self.short = short

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [self.short, handler(core)]}


class EitherModel:
    """Adds another model to the JSON Schema of a field."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(self.model.__pydantic_core_schema__), handler(core)]}


def one_or_list(item: dict[str, Any]) -> tuple[Any, Any]:
    """Annotations of a list that may be written as its only item; `item` is the JSON Schema of one."""
    many = {"type": "array", "items": item, "minItems": 1}
    return BeforeValidator(as_list), WithJsonSchema({"anyOf": [item, many]})


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    """Keys and values as selectors can name them."""
    for key, value in labels.items():
        problem = check_label_key(key) or check_label_value(value)
        if problem:
            raise wrong(f"label {key!r}: {problem}", "rename it")
    return labels


TEXT = {"type": "string"}
NUMBER_OR_TEXT = {"type": ["string", "integer"]}

Labels = Annotated[dict[str, Label], AfterValidator(check_labels)]
Address = Annotated[IPAddress, PlainValidator(parse_address), WithJsonSchema(TEXT)]
Prefix = Annotated[IPNetwork, PlainValidator(parse_network), WithJsonSchema(TEXT)]
Addresses = Annotated[list[Address], Field(min_length=1), *one_or_list(TEXT)]
Prefixes = Annotated[list[Prefix], Field(min_length=1), *one_or_list(TEXT)]
EndItem = Annotated[
    End, PlainValidator(parse_end), WithJsonSchema({"type": "string", "examples": ["s1:3", "s1:vx2"]})
]
Mac = Annotated[str, PlainValidator(parse_mac), WithJsonSchema(TEXT)]

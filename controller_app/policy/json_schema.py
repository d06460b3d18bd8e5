"""JSON Schemas of the two file formats, for editors.

`python -m controller_app.policy.json_schema` rewrites them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from controller_app.policy.schema import PolicyFile
from controller_app.policy.schema_topology import TopologyFile

FILES: Mapping[str, type[BaseModel]] = {
    "policy.schema.json": PolicyFile,
    "topology.schema.json": TopologyFile,
}
_TITLES = {PolicyFile: "Chainsteer policy", TopologyFile: "Chainsteer topology"}


class _Generator(GenerateJsonSchema):
    """What is optional is left out of a file, not written as null; so null is not part of the schema."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        if "default" in result and result["default"] is None:
            del result["default"]
        return result


def generate(model: type[BaseModel]) -> str:
    """The schema as the text of its file (JSON Schema 2020-12)."""
    schema: dict[str, Any] = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": _TITLES[model]}
    return json.dumps({**schema, **head}, indent=2, sort_keys=True) + "\n"


def main(directory: Path = Path(__file__).parent) -> None:
    """Write both files beside this module."""
    for name, model in FILES.items():
        (directory / name).write_text(generate(model), encoding="utf-8")


if __name__ == "__main__":
    main()

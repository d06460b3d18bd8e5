"""The JSON Schemas in the repository are those of the code, and say the same as the loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import controller_app.policy
from controller_app.policy.json_schema import FILES, generate, main

HERE = Path(next(iter(controller_app.policy.__path__)))


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_current(name: str, tmp_path: Path) -> None:
    assert (HERE / name).read_text() == generate(FILES[name]), (
        "run python -m controller_app.policy.json_schema"
    )
    main(tmp_path)
    assert (tmp_path / name).read_text() == (HERE / name).read_text()


def test_the_words_of_the_language_are_in_them() -> None:
    policy = json.loads((HERE / "policy.schema.json").read_text())
    assert policy["additionalProperties"] is False
    assert {"version", "tenant", "networks", "classifiers", "services"} <= set(policy["properties"])
    assert {"from", "to", "then"} <= set(policy["$defs"]["ClassifierSpec"]["properties"])
    modes = policy["$defs"]["FunctionSpec"]["properties"]["mode"]["enum"]
    assert set(modes) == {"transparent", "routed", "tap", "nsh", "translating"}
    transports = policy["$defs"]["ChainSpec"]["properties"]["transport"]["enum"]
    assert set(transports) == {"mac", "vlan", "mpls", "nsh"}
    then = policy["$defs"]["ClassifierSpec"]["properties"]["then"]["anyOf"]
    assert then[0] == {"enum": ["allow", "deny", "reject"]}
    service = policy["$defs"]["ServiceSpec"]["properties"]
    assert service["prefer"]["enum"] == ["switch", "rack", "zone", "cost"]
    assert service["expose"]["anyOf"][0] == {"enum": ["everyone", "internal"]}
    assert policy["$defs"]["HealthSpec"]["properties"]["interval"]["default"] == "1s"
    chosen, named = policy["$defs"]["FunctionSpec"]["properties"]["instances"]["anyOf"]
    assert (chosen["required"], named["minProperties"]) == (["selector"], 1)
    topology = json.loads((HERE / "topology.schema.json").read_text())
    assert {"in", "out"} == set(topology["$defs"]["AttachSpec"]["properties"])
    assert {"port", "mac", "ip"} == set(topology["$defs"]["ArmSpec"]["properties"])


def test_references_resolve() -> None:
    for name in FILES:
        schema = json.loads((HERE / name).read_text())
        text = json.dumps(schema)
        for definition in schema["$defs"]:
            assert f'"#/$defs/{definition}"' in text, f"{definition} is not used"
        for part in text.split('"$ref": "#/$defs/')[1:]:
            assert part.split('"')[0] in schema["$defs"]

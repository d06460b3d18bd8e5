"""Policy files: one by one and together, YAML and JSON; where their objects are, and what is wrong of all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from policies_by_example import SMALLEST, WHOLE

from controller_app.model.policy import Policy, Tenant
from controller_app.model.position import PolicyError, Position
from controller_app.policy.policy_file import load_policy, parse_policy
from controller_app.policy.yaml_positions import read_document


def test_json_is_the_same_policy() -> None:
    data = read_document(WHOLE, "p.yaml").plain()
    text = json.dumps(data, default=str, indent="\t")
    assert parse_policy({"p.json": text}).policy == parse_policy({"p.yaml": WHOLE}).policy


def test_objects_know_where_they_are_written() -> None:
    tenant = parse_policy({"p.yaml": SMALLEST}).policy.tenants["default"]
    assert tenant.functions["firewall"].where == Position("p.yaml", 3, 3)
    assert tenant.functions["firewall"].instances["fw1"].where == Position("p.yaml", 3, 42)
    assert tenant.classifiers["classifier-1"].where == Position("p.yaml", 7, 5)
    assert tenant.classifiers["classifier-1"].destination.where == Position("p.yaml", 7, 35)


def test_several_files_make_one_policy(tmp_path: Path) -> None:
    functions, rest = SMALLEST.split("chains:\n")
    (tmp_path / "b-functions.yml").write_text(functions)
    (tmp_path / "a-rest.yaml").write_text("version: 1\nchains:\n" + rest)
    (tmp_path / "c.json").write_text('{"version": 1, "tenant": "blue", "default": "deny"}')
    (tmp_path / "notes.txt").write_text("not a policy")
    (tmp_path / ".hidden.yaml").write_text("not a policy")
    loaded = load_policy([str(tmp_path), str(tmp_path / "c.json")])
    assert [Path(name).name for name in loaded.files] == ["a-rest.yaml", "b-functions.yml", "c.json"]
    assert loaded.policy.tenants["default"] == parse_policy({"p": SMALLEST}).policy.tenants["default"]
    assert loaded.policy.tenants["blue"] == Tenant("blue", default_allow=False)
    assert Policy.load(str(tmp_path)) == loaded.policy


def test_no_file_is_the_policy_that_allows_everything(tmp_path: Path) -> None:
    assert parse_policy({}).policy == Policy()
    (warning,) = load_policy([str(tmp_path)]).warnings
    assert "no policy file" in warning.what


def test_the_same_object_twice_names_both_places() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"a.yaml": SMALLEST, "b.yaml": SMALLEST.replace("version: 1\n", "version: 1\n\n")})
    found = [(str(item.position), item.path) for item in caught.value.diagnostics]
    assert found == [("b.yaml:4:3", "functions.firewall"), ("b.yaml:6:3", "chains.protected")]
    assert "a.yaml:3:3" in caught.value.diagnostics[0].what


def test_the_same_names_in_two_tenants_are_two_objects() -> None:
    other = SMALLEST.replace("version: 1\n", "version: 1\ntenant: blue\n").replace("host: fw1", "host: fw2")
    policy = parse_policy({"a.yaml": SMALLEST, "b.yaml": other}).policy
    assert set(policy.tenants) == {"default", "blue"}
    assert policy.tenants["blue"].functions["firewall"].instances["fw1"].host == "fw2"


def test_a_reference_does_not_reach_into_another_tenant() -> None:
    other = "version: 1\ntenant: blue\nclassifiers: [{from: any, to: any, then: {chain: protected}}]\n"
    with pytest.raises(PolicyError, match="no chain named 'protected'"):
        parse_policy({"a.yaml": SMALLEST, "b.yaml": other})


def test_unnamed_classifiers_of_several_files() -> None:
    one = "version: 1\nclassifiers: [{from: any, to: {host: h1}, then: deny}]\n"
    two = (
        "version: 1\nclassifiers: [{name: x, from: any, to: {host: h2}, then: deny}, "
        "{from: any, to: {host: h3}, then: deny}]\n"
    )

    def names(texts: dict[str, str]) -> list[str]:
        return list(parse_policy(texts).policy.tenants["default"].classifiers)

    assert names({"one.yaml": one, "two.yaml": two}) == ["classifier-1", "x", "classifier-2"]
    assert names({"one.yaml": one, "d/uno.yaml": one}) == ["one-classifier-1", "uno-classifier-1"]


def test_default_said_twice_must_agree() -> None:
    allow, deny = "version: 1\ndefault: allow\n", "version: 1\ndefault: deny\n"
    assert (
        parse_policy({"a": deny, "b": "version: 1\n", "c": deny}).policy.tenants["default"].default_allow
        is False
    )
    with pytest.raises(PolicyError, match=r"b:2:10: default: 'deny' contradicts a:2:10"):
        parse_policy({"a": allow, "b": deny})


def test_all_problems_of_all_files_are_found_in_one_go(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nchains: {c: {through: [nowhere]}, d: {through: 5}}\n")
    (tmp_path / "b.yaml").write_text("version: 1\nfoo: 1\nendpoints: {e: {host: h, weight: 0}}\n")
    with pytest.raises(PolicyError) as caught:
        load_policy([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), str(tmp_path / "absent.yaml")])
    places = [f"{Path(item.position.file).name}:{item.position.line}" for item in caught.value.diagnostics]
    # what is unknown in a.yaml may stand in the file that could not be read: that is not reported
    assert places == ["a.yaml:2", "absent.yaml:0", "b.yaml:2", "b.yaml:3"]


def test_a_faulty_object_is_not_unknown_on_top() -> None:
    text = SMALLEST.replace("{kind: firewall,", "{kind: fireball,")
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p": text})
    (problem,) = caught.value.diagnostics
    assert problem.path == "functions.firewall.kind"
    assert "firewall" in problem.remedy

"""Changes to the text of a policy: what was asked for, and not one character more."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.position import PolicyError
from controller_app.policy import editing
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.text_edit import put, remove
from controller_app.policy.yaml_positions import mapping_document

BLOCK = """\
# the shop
version: 1

endpoints:
  web1:            # the first one
    host: h3
    labels:
      tier: web    # front
      release: "1.0"
  web2: {host: h4, labels: {tier: web}}   # the second one

# where services live
networks:
  vips:  {subnet: 100.1.1.0/24,   kind: service}
"""
JSON = '{\n\t"version": 1,\n\t"endpoints": {\n\t\t"web1": {"host": "h3"}\n\t}\n}\n'


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines that are gone, and that are new."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def plain(text: str) -> Any:
    return mapping_document(text, "p").plain()


def test_an_object_is_added_behind_the_last_and_before_the_next_sections_comment() -> None:
    after = editing.put_object(BLOCK, "p", "default", "endpoints", "web3", {"host": "h5", "labels": {"v": "1.0"}})
    assert lines_changed(BLOCK, after) == ([], ["  web3: {host: h5, labels: {v: '1.0'}}"])
    assert after.index("web2") < after.index("web3") < after.index("# where services live")
    assert editing.remove_object(after, "p", "endpoints", "web3") == BLOCK


def test_a_section_is_added_and_goes_with_its_last_object() -> None:
    definition = {"network": "vips", "selector": "tier=web, release in (stable, canary), !drained, environment=prod",
                  "ports": ["8080:80/tcp"]}  # fmt: skip
    after = editing.put_object(BLOCK, "p", "default", "services", "app", definition)
    assert after.startswith(BLOCK)
    assert after[len(BLOCK) :] == (
        "services:\n  app:\n    network: vips\n"
        "    selector: tier=web, release in (stable, canary), !drained, environment=prod\n    ports: ['8080:80/tcp']\n"
    )
    assert editing.remove_object(after, "p", "services", "app") == BLOCK


def test_only_what_differs_is_changed() -> None:
    after = editing.put_object(
        BLOCK, "p", "default", "endpoints", "web1", {"host": "h9", "labels": {"tier": "web", "release": "1.0"}}
    )
    assert after == BLOCK.replace("host: h3", "host: h9")
    after = editing.put_object(BLOCK, "p", "default", "networks", "vips", {"subnet": "100.2.2.0/24", "kind": "service"})
    assert after == BLOCK.replace("100.1.1.0/24", "100.2.2.0/24")


def test_labels_are_merged_and_removed() -> None:
    after = editing.label(BLOCK, "p", "web1", {"release": None, "tier": "db", "on": "yes", "absent": None})
    assert lines_changed(BLOCK, after) == (
        ["      tier: web    # front", '      release: "1.0"'],
        ["      tier: db    # front", "      'on': 'yes'"],
    )
    assert plain(after)["endpoints"]["web1"]["labels"] == {"tier": "db", "on": "yes"}
    bare = editing.label(BLOCK, "p", "web2", {"tier": None})
    assert bare == BLOCK.replace("{host: h4, labels: {tier: web}}", "{host: h4}")
    assert plain(editing.label(bare, "p", "web2", {"a": "b"}))["endpoints"]["web2"]["labels"] == {"a": "b"}


def test_draining() -> None:
    after = editing.drain(BLOCK, "p", "web2", "10m")
    assert after == BLOCK.replace("labels: {tier: web}}   #", "labels: {tier: web}, drain: 10m}   #")
    assert editing.drain(after, "p", "web2", True) == after.replace("10m", "true")
    assert editing.drain(after, "p", "web2", False) == BLOCK
    assert editing.drain(BLOCK, "p", "web1", False) == BLOCK


def test_json_stays_json() -> None:
    after = editing.put_object(JSON, "p", "default", "endpoints", "web2", {"host": "h4", "weight": 2})
    assert json.loads(after)["endpoints"] == {"web1": {"host": "h3"}, "web2": {"host": "h4", "weight": 2}}
    assert json.loads(editing.remove_object(after, "p", "endpoints", "web1") or "")["endpoints"].keys() == {"web2"}
    assert json.loads(editing.put_object(JSON, "p", "default", "networks", "n", {"subnet": "10.0.0.0/8"}))["networks"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{version: 1, a: {x: 1, y: 2}}", "{version: 1, a: {x: 1, y: 2, n: 3}}"),
        ("{version: 1, a: {}}", "{version: 1, a: {n: 3}}"),
        ("version: 1\na: {}\n", "version: 1\na: {n: 3}\n"),
        ("version: 1\na:\n  x: 1", "version: 1\na:\n  x: 1\n  n: 3"),
        ("version: 1\r\na:\r\n    x: 1\r\nb: 2\r\n", "version: 1\r\na:\r\n    x: 1\r\n    n: 3\r\nb: 2\r\n"),
        ("a:\n  x: |\n    text\n\nversion: 1\n", "a:\n  x: |\n    text\n\n  n: 3\nversion: 1\n"),
        ("a: {x: 1,\n    y: 2, # why\n   }\nversion: 1", "a: {x: 1,\n    y: 2, n: 3, # why\n   }\nversion: 1"),
        ("version: 1 # 🐧 é\na: {x: 🐧} # é\n", "version: 1 # 🐧 é\na: {x: 🐧, n: 3} # é\n"),
        ("version: 1\na: &b {x: 1}\n", "version: 1\na: &b {x: 1, n: 3}\n"),
        ("---\nversion: 1\na:\n  x: 1\n...\n", "---\nversion: 1\na:\n  x: 1\n  n: 3\n...\n"),
    ],
)
def test_where_a_value_goes(before: str, after: str) -> None:
    assert put(before, "p", ("a", "n"), 3) == after
    assert yaml.safe_load(remove(after, "p", ("a", "n"))).get("a", {}) == (yaml.safe_load(before)["a"] or {})


@pytest.mark.parametrize(
    ("before", "gone", "after"),
    [
        ("{version: 1, a: {x: 1, y: 2, z: 3}}", "x", "{version: 1, a: {y: 2, z: 3}}"),
        ("{version: 1, a: {x: 1, y: 2, z: 3}}", "z", "{version: 1, a: {x: 1, y: 2}}"),
        ("a: {x: 1, # one\n    y: 2, # two\n    z: 3}\nversion: 1", "y",
         "a: {x: 1, # one\n     # two\n    z: 3}\nversion: 1"),
        ("a: {x: 1, # one\n    y: 2}\nversion: 1", "y", "a: {x: 1 # one\n    }\nversion: 1"),
        ("a:\n  # about x\n  x: 1\n  y: # it\n    - 2\n    # end\nversion: 1", "y",
         "a:\n  # about x\n  x: 1\n    # end\nversion: 1"),
    ],
)  # fmt: skip
def test_what_goes(before: str, gone: str, after: str) -> None:
    assert remove(before, "p", ("a", gone)) == after


def test_what_an_alias_shares_is_left_to_people() -> None:
    text = "version: 1\nendpoints:\n  web1: {host: h1, labels: &l {tier: web}}\n  web2: {host: h2, labels: *l}\n"
    with pytest.raises(PolicyError) as caught:
        editing.label(text, "p", "web2", {"a": "b"})
    assert str(caught.value).startswith("p:4:20: endpoints.web2.labels: it is written in a way that only people")
    with pytest.raises(PolicyError):
        editing.label(text, "p", "web1", {"a": "b"})
    assert plain(editing.put_object(text, "p", "default", "endpoints", "web3", {"host": "h3"}))["endpoints"]["web3"]


def test_a_policy_is_for_one_tenant() -> None:
    with pytest.raises(PolicyError, match="is for tenant default, and objects of tenant blue would be added"):
        editing.put_object(BLOCK, "cli", "blue", "endpoints", "web3", {"host": "h5"})
    text = editing.put_object(editing.new_policy("blue"), "cli-blue", "blue", "networks", "n", {"subnet": "10.0.0.0/8"})
    assert list(parse_policy({"x": text}).policy.tenants) == ["blue"]
    assert editing.remove_object(text, "cli-blue", "networks", "n") is None
    assert editing.cli_policy("blue") == "cli-blue"


def test_definitions_are_read_as_the_language_reads_them() -> None:
    found = editing.read_object("{weight: 3, labels: {v: 1.0, n: 0x10}, ports: [8080:80:TCP], drain: true}", "endpoint")
    assert found == {"weight": 3, "labels": {"v": "1.0", "n": "0x10"}, "ports": ["8080:80:TCP"], "drain": True}
    with pytest.raises(PolicyError):
        editing.read_object("[1]", "endpoint")


@pytest.mark.parametrize("words", [["a"], ["=b"], ["-"], ["a=b", "a-"]])
def test_what_is_no_change_of_a_label(words: list[str]) -> None:
    with pytest.raises(ValueError, match="write"):
        editing.read_labels(words)
    assert editing.read_labels(["a=b", "c-", "d="]) == {"a": "b", "c": None, "d": ""}


NAMES = st.text("abcxyz019_-.é🐧", min_size=1, max_size=5)
LEAVES = st.one_of(NAMES, st.sampled_from(["1.0", "yes", "null", "~", "0x1", "# no", "a: b", "*x", "12:30", "", " x"]))
TREES = st.dictionaries(NAMES, st.one_of(LEAVES, st.dictionaries(NAMES, LEAVES, max_size=3)), max_size=3)


@given(st.dictionaries(NAMES, TREES, max_size=4), NAMES, NAMES, TREES, st.sampled_from([None, False, True]))
def test_any_document_says_what_it_said_and_the_change(
    document: dict[str, Any], section: str, name: str, value: dict[str, Any], flow: bool | None
) -> None:
    """Put and taken away, in whatever style the rest is written."""
    whole = {"version": 1, **document}
    text = yaml.safe_dump(whole, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=20)
    after = put(text, "p", (section, name), value)
    read = yaml.safe_load(after)
    assert read == {**whole, section: {**whole.get(section, {}), name: value}}
    back = yaml.safe_load(remove(after, "p", (section, name)))
    rest = {key: item for key, item in whole.get(section, {}).items() if key != name}
    expected = {key: item for key, item in whole.items() if key != section} | ({section: rest} if rest else {})
    assert back == expected

"""Text to plain values with places: the core schema, and everything that is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from controller_app.model.position import PolicyError, Position
from controller_app.policy import yaml_positions
from controller_app.policy.source_text import MAX_BYTES, decode, read_file
from controller_app.policy.yaml_positions import MAX_DEPTH, mapping_document, read_document


@pytest.fixture(autouse=True, params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds with libyaml, and where PyYAML was built without it."""
    if request.param == "python":
        monkeypatch.setattr(yaml_positions, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")


def plain(text: str) -> object:
    return read_document(text, "f").plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("12:34:56:12:34:56", "12:34:56:12:34:56"),
        ("02:00:00:00:01:11", "02:00:00:00:01:11"),
        ("0010", "0010"),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ("8080:80", "8080:80"),
        ("0x1F", 31),
        ("0o17", 15),
        ("-7", -7),
        ("1.5e3", 1500.0),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = plain(f"k: {text}")
    assert found == {"k": value}
    assert type(found["k"]) in (type(value), *type(value).__subclasses__())  # type: ignore[index]


def test_numbers_remember_how_they_were_written() -> None:
    assert plain("k: 0x0F")["k"].text == "0x0F"  # type: ignore[index]
    assert plain("k: 1.0")["k"].text == "1.0"  # type: ignore[index]


def test_every_key_and_value_has_its_place() -> None:
    document = read_document("a: {b: [1, é, x]}\nc:\n  - d:  2\n", "f")
    assert document.walk(("a", "b", 2)) == ("a.b[2]", Position("f", 1, 15))
    assert document.walk(("a", "b"), key=True) == ("a.b", Position("f", 1, 5))
    assert document.walk(("c", 0, "d")) == ("c[0].d", Position("f", 3, 9))
    assert document.walk(("c", 0, "nowhere", "d")) == ("c[0].d", Position("f", 3, 9))
    assert document.walk(("zzz",)) == ("document", Position("f", 1, 1))


def test_json_with_tabs_and_escapes_is_yaml() -> None:
    value = {"a": [1, 2.5, None, True, "ü/\n"], "b": {}}
    assert plain(json.dumps(value, indent="\t")) == value


def test_aliases_are_shared_and_keep_their_place() -> None:
    document = read_document("a: &x {k: 1}\nb: *x\n", "f")
    assert document.plain() == {"a": {"k": 1}, "b": {"k": 1}}
    assert document.locate(("b", "k")) == Position("f", 1, 11)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD = [
    ("empty", "", 0, 0, "empty"),
    ("only a comment", "# nothing\n", 0, 0, "empty"),
    ("only a null", "~\n", 0, 0, "empty"),
    ("not YAML: bracket", "a: [1\n", 2, 1, "not YAML"),
    ("not YAML: colon", "a: b: c\n", 1, 5, "not YAML"),
    ("not YAML: tab", "a:\n\tb: 1\n", 2, 1, "not YAML"),
    ("control character", "é: \x01", 1, 4, "not YAML"),
    ("duplicate key", "a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key 'a'"),
    ("duplicate key, nested", "a: {x: 1, y: 2, x: 3}", 1, 17, "duplicate key 'x'"),
    ("duplicate key, other spelling", "a: 1\n'a': 2\n", 2, 1, "duplicate key 'a'"),
    ("several documents", "a: 1\n---\nb: 2\n", 2, 1, "second document"),
    ("deep flow nesting", "[" * 100_000, 1, MAX_DEPTH + 1, "nested deeper"),
    ("deep block nesting", "- " * 500 + "a", 1, 2 * MAX_DEPTH + 1, "nested deeper"),
    ("alias bomb", BOMB, 5, 29, "aliases expand"),
    ("alias of itself", "a: &a [*a]", 1, 8, "names nothing written before"),
    ("alias of nothing", "a: *b", 1, 4, "names nothing written before"),
    ("unsafe tag", "a: !!python/object/apply:os.system [ls]", 1, 4, "is not supported"),
    ("tag that lies", "a: !!int x", 1, 4, "not what its tag"),
    ("a list as a key", "? [a]\n: 1\n", 1, 3, "single word"),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "what"), [case[1:] for case in BAD], ids=[c[0] for c in BAD]
)
def test_bad_text_is_refused_at_its_place(text: str, line: int, column: int, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_document(text, "f")
    problem = caught.value.diagnostics[0]
    assert (problem.position, what in problem.what) == (Position("f", line, column), True), problem
    assert problem.remedy


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_positions, "MAX_NODES", 100)
    assert plain("a: [" + "1, " * 190 + "]")
    with pytest.raises(PolicyError, match="more than 100 values in one file"):
        plain("a: [" + "1, " * 200 + "]")


def test_all_duplicate_keys_are_named() -> None:
    with pytest.raises(PolicyError) as caught:
        read_document("a: {x: 1, x: 2}\nb: [{y: 1, y: 2}]\na: 3\n", "f")
    assert [(d.path, d.position.line) for d in caught.value.diagnostics] == [
        ("a.x", 1),
        ("b[0].y", 2),
        ("a", 3),
    ]


@pytest.mark.parametrize("text", ["just words\n", "- a\n- b\n", "42\n"])
def test_the_top_must_be_a_mapping(text: str) -> None:
    with pytest.raises(PolicyError, match="expected `key: value` lines"):
        mapping_document(text, "f")


def test_a_file_of_50_mb_fails_at_once_and_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000)  # sparse: costs nothing to make
    started = time.monotonic()
    with pytest.raises(PolicyError, match="too large: 50000000 bytes") as caught:
        read_file(str(path))
    assert time.monotonic() - started < 0.5
    assert len(caught.value.diagnostics) == 1
    assert str(path) in str(caught.value)


def test_a_device_without_a_size_is_not_read_to_its_end() -> None:
    with pytest.raises(PolicyError, match="too large"):
        read_file("/dev/zero")


def test_a_text_that_is_too_large_is_refused() -> None:
    with pytest.raises(PolicyError, match="too large"):
        read_document(" " * (MAX_BYTES + 1), "f")


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        read_file(str(tmp_path / "absent.yaml"))
    with pytest.raises(PolicyError, match="directory"):
        read_file(str(tmp_path))
    with pytest.raises(PolicyError, match="cannot be read"):
        read_file("a\0b")


def test_encodings() -> None:
    assert decode(b"\xef\xbb\xbfa: 1", "f") == "a: 1"
    with pytest.raises(PolicyError, match=r"f:2:4: document: not UTF-8"):
        decode("a: 1\nü: \udcff".encode("utf-8", "surrogateescape"), "f")
    with pytest.raises(PolicyError, match="not UTF-8"):
        decode("a: 1".encode("utf-16"), "f")
    with pytest.raises(PolicyError):
        read_document("a: \ud800", "f")

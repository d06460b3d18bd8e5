"""Change one value in the text of a YAML or JSON file and leave every other character as it is.

The parser's marks say where a value begins and ends, so comments, order, quotes and spacing of everything else stay.
(Libraries that load and dump a whole file move or lose the comments next to a change.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.policy.values import as_text
from controller_app.policy.yaml_positions import Document, mapping_document

WIDTH = 100  # characters until an object is written on several lines
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = Sequence[str]


@dataclass(slots=True)
class _Node:
    """Where a value is written, as offsets into the text. `pairs` are a mapping's, with their keys."""

    start: int
    end: int
    kind: str = "scalar"  # map | list | alias
    flow: bool = False
    pairs: list[tuple[str, _Node, _Node]] = field(default_factory=list)
    key: tuple[str, _Node] | None = None  # while it is read: the key whose value comes next

    def find(self, name: str) -> int | None:
        return next((at for at, (key, _, _) in enumerate(self.pairs) if key == name), None)


def put(text: str, name: str, path: Path, value: Any) -> str:
    """The text with `value` at a path of mappings' keys. What is there already and differs is changed part by part.

    `name` is the file's, for messages. Raises PolicyError for text that is no such file, or is written in a way that
    cannot be changed from outside (aliases).
    """
    text = text.removeprefix("\ufeff")
    document = mapping_document(text, name)
    for at, (place, wanted) in enumerate(list(_differences(_at(document.plain(), path), value, tuple(path)))):
        if at:
            document = mapping_document(text, name)
        text = _checked(text, _put(text, place, wanted), document, place, wanted)
    return text


def remove(text: str, name: str, path: Path) -> str:
    """The text without what is at a path, which has to be there; and without a mapping that would be empty then.

    Raises PolicyError as `put` does.
    """
    text = text.removeprefix("\ufeff")
    document = mapping_document(text, name)
    plain = document.plain()
    while len(path) > 1 and len(_at(plain, path[:-1])) == 1:
        path = path[:-1]
    return _checked(text, _remove(text, path), document, path, _MISSING)


_MISSING = object()


def _differences(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What has to be put or (`_MISSING`) taken away to make one value the other."""
    if not (isinstance(old, dict) and isinstance(new, Mapping) and old and new):
        if not _same(old, new):
            yield path, new
        return
    for key in new:
        yield from _differences(old.get(key, _MISSING), new[key], (*path, key))
    for key in old:
        if key not in new:
            yield (*path, key), _MISSING


def _put(text: str, path: Path, value: Any) -> str:
    if value is _MISSING:
        return _remove(text, path)
    root = _tree(text)
    as_json = _is_json(text, root)
    node = root
    for depth, part in enumerate(path):
        at = node.find(part)
        if at is None:
            for inner in reversed(path[depth + 1 :]):
                value = {inner: value}
            return _insert(text, root, node, part, value, as_json)
        node = node.pairs[at][2]
    _, key, old = _pair(root, path)
    if old.kind == "map" and not old.flow and isinstance(value, Mapping):  # an empty one in its place
        return _splice(text, key.end, old.end, ": " + _flow(value, as_json))
    start = old.start if old.start > key.end and text.count("\n", key.end, old.start) == 0 else key.end
    end = old.end - 1 if text[old.start : old.end].endswith("\n") else old.end
    return _splice(text, start, end, ("" if start == old.start else ": ") + _flow(value, as_json))


def _insert(text: str, root: _Node, node: _Node, key: str, value: Any, as_json: bool) -> str:
    """With a new pair at the end of a mapping."""
    pair = f"{_flow(key, as_json)}: {_flow(value, as_json)}"
    if not node.pairs:
        if not text[node.start : node.end].endswith("}"):
            return _splice(text, node.start, node.end, f" {{{pair}}}")
        return _splice(text, node.end - 1, node.end - 1, pair)
    first = node.pairs[0][1].start
    end = max(node.pairs[-1][2].end, node.pairs[-1][1].end)
    column = _column(text, first)
    if node.flow:
        own_line = text[node.start : first].count("\n") > 0
        return _splice(text, end, end, f",\n{' ' * column}{pair}" if own_line else f", {pair}")
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = _block(key, value, column, node is root)
    at = _line_end(text, end)
    if at and text[at - 1] != "\n":
        return _splice(text, at, at, newline + newline.join(lines))
    return _splice(text, at, at, newline.join(lines) + newline)


def _remove(text: str, path: Path) -> str:
    root = _tree(text)
    node = root
    for part in path[:-1]:
        node = node.pairs[_index(node, part)][2]
    at = _index(node, path[-1])
    _, key, value = node.pairs[at]
    end = max(value.end, key.end)
    if not node.flow:
        return _splice(text, text.rfind("\n", 0, key.start) + 1, _line_end(text, end), "")
    if at + 1 < len(node.pairs):
        after = node.pairs[at + 1][1].start
        if "#" not in text[end:after]:
            return _splice(text, key.start, after, "")
        return _splice(text, key.start, text.index(",", end) + 1, "")
    if at == 0:
        return _splice(text, key.start, end, "")
    before = max(node.pairs[at - 1][2].end, node.pairs[at - 1][1].end)
    if "#" not in text[before : key.start]:
        return _splice(text, before, end, "")
    comma = text.index(",", before)
    return text[:comma] + text[comma + 1 : key.start] + text[end:]


def _index(node: _Node, key: str) -> int:
    at = node.find(key)
    if at is None:
        raise KeyError(key)
    return at


def _pair(root: _Node, path: Path) -> tuple[str, _Node, _Node]:
    node = root
    for part in path[:-1]:
        node = node.pairs[_index(node, part)][2]
    return node.pairs[_index(node, path[-1])]


def _splice(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _column(text: str, offset: int) -> int:
    return offset - (text.rfind("\n", 0, offset) + 1)


def _line_end(text: str, offset: int) -> int:
    """Where the next line begins, or the text ends; the offset itself where a line begins there."""
    if offset and text[offset - 1] == "\n":
        return offset
    at = text.find("\n", offset)
    return len(text) if at < 0 else at + 1


# -- writing -------------------------------------------------------------------------------------------------


def _flow(value: Any, as_json: bool) -> str:
    if as_json:
        return json.dumps(value, ensure_ascii=False)
    written: str = yaml.safe_dump(value, default_flow_style=True, width=1 << 30, sort_keys=False, allow_unicode=True)
    return written.removesuffix("\n").removesuffix("\n...")


def _block(key: str, value: Any, column: int, spread: bool) -> list[str]:
    """A pair as lines of a block: on one line where it fits, and `spread` is not asked for."""
    line = f"{' ' * column}{_flow(key, False)}: {_flow(value, False)}"
    if not (isinstance(value, Mapping) and value and (spread or len(line) > WIDTH)):
        return [line]
    lines = [f"{' ' * column}{_flow(key, False)}:"]
    for inner, item in value.items():
        lines += _block(inner, item, column + 2, False)
    return lines


# -- reading -------------------------------------------------------------------------------------------------


def _is_json(text: str, root: _Node) -> bool:
    return root.flow and bool(root.pairs) and text[root.pairs[0][1].start] == '"'


def _tree(text: str) -> _Node:
    """The file as a tree of places. It was read before, so it is known to be sound."""
    stack: list[_Node] = []
    if _LOADER is yaml.SafeLoader:
        text = text.replace("\t", " ")  # libyaml takes the tabs of indented JSON, the Python scanner does not
    loader = _LOADER(text)
    try:
        while loader.check_event():
            event = loader.get_event()
            start, end = event.start_mark.index, event.end_mark.index
            match event:
                case yaml.MappingStartEvent():
                    stack.append(_Node(start, end, "map", bool(event.flow_style)))
                case yaml.SequenceStartEvent():
                    stack.append(_Node(start, end, "list", bool(event.flow_style)))
                case yaml.CollectionEndEvent():
                    node = stack.pop()
                    node.end = end if node.flow else node.end
                    if not stack:
                        return node
                    _add(stack[-1], node, "")
                case yaml.ScalarEvent():
                    _add(stack[-1], _Node(start, end), event.value)
                case yaml.AliasEvent():
                    _add(stack[-1], _Node(start, end, "alias"), "")
    finally:
        loader.dispose()
    raise ValueError("the text is no mapping")


def _add(parent: _Node, node: _Node, text: str) -> None:
    parent.end = max(parent.end, node.end)
    if parent.kind != "map":
        return
    if parent.key is None:
        parent.key = text, node
    else:
        parent.pairs.append((*parent.key, node))
        parent.key = None


# -- checking ------------------------------------------------------------------------------------------------


def _checked(before: str, after: str, document: Document, path: Path, value: Any) -> str:
    """`after`, if it says what `before` said but for the change. An alias, for one, would change elsewhere too."""
    wanted = _changed(document.plain(), path, value)
    try:
        if _same(mapping_document(after, document.name).plain(), wanted):
            return after
    except PolicyError:
        pass
    text, position = document.walk(tuple(path), key=True)
    raise PolicyError(
        [
            Diagnostic(
                position,
                text,
                "it is written in a way that only people can change (an alias, perhaps)",
                "write out what it repeats, or change the file and apply it",
            )
        ]
    )


def _changed(plain: Any, path: Path, value: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return value
    copy = dict(plain) if isinstance(plain, Mapping) else {}
    if len(path) == 1 and value is _MISSING:
        del copy[path[0]]
    else:
        copy[path[0]] = _changed(copy.get(path[0]), path[1:], value)
    return copy


def _at(plain: Any, path: Path) -> Any:
    for part in path:
        if not isinstance(plain, Mapping) or part not in plain:
            return _MISSING
        plain = plain[part]
    return plain


def _same(one: Any, other: Any) -> bool:
    """Whether the language reads both alike: numbers count as they are written."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(as_text(one) == as_text(other))

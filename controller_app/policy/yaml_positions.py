"""Read YAML (and JSON, its subset) into plain values that know where they were written.

What could hurt is refused before it does: aliases that expand beyond
measure, nesting deeper than 100, several documents in one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from controller_app.model.position import Diagnostic, PolicyError, Position
from controller_app.policy.source_text import MAX_BYTES, too_large, whole_file
from controller_app.policy.yaml_scalars import Scalar, kind_name, resolve, text_of_scalar

MAX_DEPTH = 100
MAX_NODES = 500_000  # values in one file; a policy of 10,000 classifiers has some 150,000
MAX_ALIASED = 100_000  # nodes that aliases may add to what is written

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Node:
    """A value with its place. `value` is a scalar, a list of nodes, or a mapping from key text to node."""

    value: Scalar | list[Node] | dict[str, Node]
    position: Position
    keys: dict[str, Position] = field(default_factory=dict)  # where each key of a mapping is written
    size: int = 1  # nodes in it, every alias counted as if written out


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its name, the tree, and a way back from a path in the plain values to a place."""

    name: str
    root: Node

    def plain(self) -> Any:
        """The tree as dicts, lists and scalars. What an alias names is shared, not copied."""
        return _plain(self.root, {})

    def locate(self, path: tuple[str | int, ...], *, key: bool = False) -> Position:
        """Where the value at `path` stands; with `key`, where its key stands.

        Parts of the path that the document does not have are passed over, so the answer is the place of the
        nearest thing that is written.
        """
        return self.walk(path, key=key)[1]

    def walk(self, path: tuple[str | int, ...], *, key: bool = False) -> tuple[str, Position]:
        """The path as people write it (`classifiers[0].then`), as far as the file has it, and its place."""
        node, text, position = self.root, "", self.root.position
        last_key = self.root.position
        for part in path:
            if isinstance(node.value, dict) and isinstance(part, str) and part in node.value:
                last_key = node.keys[part]
                node = node.value[part]
                text = f"{text}.{part}" if text else part
            elif isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value):
                node = node.value[part]
                last_key = node.position
                text = f"{text}[{part}]"
            else:
                continue
            position = node.position
        return text or "document", last_key if key else position


def read_document(text: str, name: str) -> Document:
    """Parse one YAML or JSON text. `name` stands in positions. Raises PolicyError with what is wrong:
    syntax, duplicate keys (all of them), no or several documents, depth, aliases, tags."""
    if len(text) > MAX_BYTES:
        raise PolicyError([too_large(name, len(text))])
    text = text.removeprefix("\ufeff")
    builder = _Builder(name)
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Position(name, mark.line + 1, mark.column + 1) if mark else Position(name)
        what = (error.problem or error.context or "syntax error").replace("\n", " ")
        builder.problems.append(
            Diagnostic(place, "document", f"not YAML: {what}", "correct the syntax here or just before")
        )
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or str(error).splitlines()[0]
        builder.problems.append(
            Diagnostic(
                _reader_place(error, text, name),
                "document",
                f"not YAML: {reason}",
                "remove what is not plain text",
            )
        )
    except UnicodeEncodeError as error:  # lone surrogates, which only a caller's str can hold
        builder.problems.append(
            whole_file(name, f"not YAML: {error.reason}", "remove what is not plain text")
        )
    if builder.problems:
        raise PolicyError(builder.problems)
    if builder.root is None or builder.root.value is None:
        raise PolicyError([whole_file(name, "the file is empty", "write at least `version: 1`")])
    return Document(name, builder.root)


def mapping_document(text: str, name: str) -> Document:
    """Like read_document, for files whose top must be a mapping."""
    document = read_document(text, name)
    if not isinstance(document.root.value, dict):
        raise PolicyError(
            [
                Diagnostic(
                    document.root.position,
                    "document",
                    f"expected `key: value` lines, found {kind_name(document.root.value)}",
                    "start with `version: 1`",
                )
            ]
        )
    return document


def _events(text: str) -> Iterator[Any]:
    if _LOADER is yaml.SafeLoader and text.lstrip()[:1] == "{":
        text = text.replace("\t", " ")  # libyaml takes the tabs of indented JSON, the Python scanner does not
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


class _Builder:
    """Builds the tree from parser events with a stack of its own: no recursion for a file to exhaust."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Node | None = None
        self.problems: list[Diagnostic] = []
        self._stack: list[tuple[Node, str | None]] = []  # open collections with the anchor to give them
        self._keys: list[str | None] = []  # per open collection: the key whose value comes next
        self._anchors: dict[str, Node] = {}
        self._aliased = 0
        self._events = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        self._events += 1
        if self._events > 2 * MAX_NODES:  # with its key, or its end, a value is two events
            raise PolicyError(
                [
                    Diagnostic(
                        self._place(event),
                        "document",
                        f"more than {MAX_NODES} values in one file",
                        "split it into several files",
                    )
                ]
            )
        handler = self._HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise PolicyError(
                [
                    Diagnostic(
                        self._place(event),
                        "document",
                        "a second document starts here",
                        "put each document into a file of its own",
                    )
                ]
            )

    def _scalar(self, event: Any) -> None:
        place = self._place(event)
        if self._wants_key():
            self._key(event.value, place)
            if event.anchor:
                self._anchors[event.anchor] = Node(event.value, place)
            return
        try:
            value = resolve(event)
        except ValueError as error:
            self.problems.append(Diagnostic(place, "document", str(error), "write a plain value"))
            value = event.value
        node = Node(value, place)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._add(node)

    def _open(self, event: Any) -> None:
        place = self._place(event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if len(self._stack) >= MAX_DEPTH:
            raise PolicyError(
                [
                    *self.problems,
                    Diagnostic(
                        place,
                        "document",
                        f"nested deeper than {MAX_DEPTH}",
                        "no part of the format is nested that deep",
                    ),
                ]
            )
        if self._wants_key():
            raise PolicyError(
                [
                    *self.problems,
                    Diagnostic(
                        place, "document", "a key must be a single word", "quote it if it is meant as text"
                    ),
                ]
            )
        expected = ("tag:yaml.org,2002:map" if mapping else "tag:yaml.org,2002:seq", "!", None)
        if event.tag not in expected:
            self.problems.append(
                Diagnostic(place, "document", f"the tag {event.tag!r} is not supported", "remove the tag")
            )
        self._stack.append((Node({} if mapping else [], place), event.anchor))
        self._keys.append(None)
        if event.anchor:
            self._anchors.pop(event.anchor, None)

    def _close(self, _event: Any) -> None:
        node, anchor = self._stack.pop()
        self._keys.pop()
        if anchor:
            self._anchors[anchor] = node
        self._add(node)

    def _alias(self, event: Any) -> None:
        place = self._place(event)
        node = self._anchors.get(event.anchor)
        if node is None:
            what = f"the alias *{event.anchor} names nothing written before it"
            raise PolicyError(
                [
                    *self.problems,
                    Diagnostic(place, "document", what, f"write &{event.anchor} at what it should repeat"),
                ]
            )
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            raise PolicyError(
                [
                    *self.problems,
                    Diagnostic(
                        place,
                        "document",
                        f"aliases expand to more than {MAX_ALIASED} values",
                        "write out what is needed instead of nesting aliases",
                    ),
                ]
            )
        if self._wants_key():
            if isinstance(node.value, list | dict):
                raise PolicyError(
                    [
                        *self.problems,
                        Diagnostic(place, "document", "a key must be a single word", "write the key out"),
                    ]
                )
            self._key(text_of_scalar(node.value), place)
        else:
            # The same content in two places: the node keeps where it is written, for that is what to mend.
            self._add(node)

    def _wants_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0].value, dict) and self._keys[-1] is None

    def _key(self, key: str, place: Position) -> None:
        parent = self._stack[-1][0]
        if key in parent.keys:
            self.problems.append(
                Diagnostic(
                    place,
                    self._path(key),
                    f"duplicate key {key!r}",
                    f"it is already written in line {parent.keys[key].line}; keep one",
                )
            )
        else:
            parent.keys[key] = place
        self._keys[-1] = key

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1][0]
        if isinstance(parent.value, dict):
            key = self._keys[-1]
            if key is not None:
                parent.value.setdefault(key, node)
            self._keys[-1] = None
        elif isinstance(parent.value, list):
            parent.value.append(node)
        parent.size += node.size

    def _path(self, key: str) -> str:
        text = ""
        for (node, _), open_key in zip(self._stack[:-1], self._keys[:-1], strict=True):
            if isinstance(node.value, list):
                text += f"[{len(node.value)}]"
            else:
                text = f"{text}.{open_key}" if text else str(open_key)
        return f"{text}.{key}" if text else key

    def _place(self, event: Any) -> Position:
        return Position(self.name, event.start_mark.line + 1, event.start_mark.column + 1)

    _HANDLERS: dict[type, Callable[[_Builder, Any], None]] = {  # noqa: RUF012 - never changed
        yaml.DocumentStartEvent: _document,
        yaml.ScalarEvent: _scalar,
        yaml.MappingStartEvent: _open,
        yaml.SequenceStartEvent: _open,
        yaml.MappingEndEvent: _close,
        yaml.SequenceEndEvent: _close,
        yaml.AliasEvent: _alias,
    }


def _plain(node: Node, done: dict[int, Any]) -> Any:
    if id(node) in done:
        return done[id(node)]
    value: Any = node.value
    if isinstance(value, dict):
        value = {key: _plain(child, done) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_plain(child, done) for child in value]
    else:
        return value
    done[id(node)] = value
    return value


def _reader_place(error: yaml.YAMLError, text: str, name: str) -> Position:
    """The reader names a place by its offset: in characters for the Python reader, in bytes for libyaml."""
    offset = getattr(error, "position", None)
    if not isinstance(offset, int) or offset < 0:
        return Position(name)
    before = text[:offset]
    if _LOADER is not yaml.SafeLoader:
        before = text.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore")
    return Position(name, before.count("\n") + 1, len(before) - before.rfind("\n"))

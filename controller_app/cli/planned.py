"""A plan for people: what changes on which switch, the space it takes, what it is about and whose connections move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller_app.cli.common import emit, emit_table

_SIGNS = (("add", "+"), ("modify", "~"), ("delete", "-"))
_KINDS = ("rules", "groups", "meters", "slots")


def emit_changes(answer: Mapping[str, Any]) -> None:
    """A plan's changes, or those of what was applied. An earlier version's say less."""
    changes = answer["changes"]
    if not changes:
        emit("no changes")
        return
    kinds = [kind for kind in _KINDS if any(any(each.get(kind, {}).values()) for each in changes.values())]
    spaces = answer.get("space") or {}
    rows = []
    for name, each in changes.items():
        apart = [_signed(each.get(kind, {})) for kind in kinds] if kinds else [_signed(each)]
        rows.append((name, *apart, *([_fullest(spaces[name])] if name in spaces else [])))
    columns = ("switch", *(kinds or ["rules"]), *(["fullest table afterwards"] if spaces else []))
    emit_table(columns, rows)
    emit("(+ added, ~ changed, - removed)")
    for kind in ("chains", "services"):
        if answer["affected"][kind]:
            emit(f"affected {kind}: {', '.join(answer['affected'][kind])}")
    for move in answer.get("moves", ()):
        emit(_moved(move))


def emit_foreign(found: Sequence[Mapping[str, Any]]) -> None:
    """Flows of others that change what becomes of packets."""
    for each in found:
        does = "takes packets away" if each["lost"] else "could lead packets past the policy"
        emit(f"foreign flow on {each['switch']} {does}: {each['flow']}")
        emit(f"  {each['packet']} (from {each['from']}, {each['way']}): {each['what']}")


def emit_failures(found: Mapping[str, Any], until: str = "") -> None:
    """What verification under every single failure says. until: up to which moment of it."""
    if found["ok"]:
        emit(f"under every single failure{until}: ok ({found['failures']} failures, {found['classes']} classes tried)")
        return
    example = found["counterexample"]
    emit(f"FAILED when {example['failure']}: {example['what']}")
    emit(f"  packet: {example['packet']} (from {example['from']}, {example['way']})")


def _signed(counts: Mapping[str, int]) -> str:
    return " ".join(f"{sign}{counts[word]}" for word, sign in _SIGNS if counts.get(word)) or "-"


def _fullest(space: Mapping[str, Any]) -> str:
    """The table that is nearest to what it takes; where switches do not say what that is, the largest."""
    tables = [(each["after"] + each["foreign"], each["most"], each["table"]) for each in space["tables"]]
    if not tables:
        return "-"
    held, most, name = max(tables, key=lambda each: (each[0] / each[1] if each[1] else 0.0, each[0]))
    return f"{name}: {held}" + ("" if most is None else f" of {most:,}")


def _moved(move: Mapping[str, Any]) -> str:
    name = move["name"] if move["tenant"] == "default" else f"{move['tenant']}/{move['name']}"
    near = f" near {move['near']}" if move["near"] else ""
    text = f"{move['kind']} {name}{near}: {move['slots']} of 256 slots change hands"
    if move["keeps"]:
        there = "" if move["open"] is None else f" ({move['open']})"
        return f"{text}; connections that are there{there} stay"
    if move["connections"] is None:
        return f"{text}; connections on them move or end (how many is not known)"
    return f"{text}; about {move['connections']} of {move['open']} connections move or end"

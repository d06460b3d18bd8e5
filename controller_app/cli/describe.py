"""`chainctl describe`: everything that is known about one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from controller_app.cli.client import Client
from controller_app.cli.common import (
    Controller,
    Failure,
    Output,
    Token,
    emit,
    emit_document,
    emit_table,
    output_format,
    say,
)
from controller_app.cli.live import KINDS

DESCRIBED = ("switches", "links", "hosts", "functions", "chains", "classifiers", "flows", "services", "policies",
             "networks", "endpoints")  # fmt: skip
_ELSEWHERE = frozenset(("name", "tenant", "position", "policy", "capabilities", "fault_notes"))  # or too long
_LISTED = ("instances", "providers", "leaving")  # of the object, shown as tables of their own
_HEAD = frozenset(("at", "kind"))


def describe(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(DESCRIBED))],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of flows: a switch, or what rules are for.")],
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whose, where several have one of that name.")] = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Everything about one object: where it is declared, what it became on the switches, with live counters, how it is,
    what it uses and who uses it, and what happened to it last."""
    chosen = output_format(output)
    plural = next((word for word in DESCRIBED if kind == word or kind in KINDS[word][0]), None)
    if plural is None:
        from controller_app.policy.diagnostics import nearest

        guess = nearest(kind, [*DESCRIBED, *(other for word in DESCRIBED for other in KINDS[word][0])])
        meant = f"did you mean {guess!r}?" if guess else f"choose one of {', '.join(DESCRIBED)}"
        raise Failure(f"there is no kind {kind!r} to describe; {meant}")
    document = Client(controller, token).get("/describe", kind=plural, name=name, tenant=tenant)
    if chosen != "table":
        return emit_document(document, chosen)
    if plural == "flows":
        _emit_flows(document["flows"])
    else:
        _emit_object(document)
    for switch, why in document["silent"].items():
        say(f"what {switch} counted is not known: it {why}")


def _emit_flows(flows: Iterable[Mapping[str, Any]]) -> None:
    columns = ("switch", "table", "priority", "match", "actions", "object")
    emit_table(
        [*columns, "packets", "bytes"],
        [[*(flow[column] for column in columns), *_counted(flow["counters"])] for flow in flows],
    )


def _counted(counters: Mapping[str, Any] | None) -> list[int | None]:
    return [None, None] if counters is None else [counters["packets"], counters["bytes"]]


def _emit_object(document: Mapping[str, Any]) -> None:
    thing = document["object"]
    whose = "" if document["tenant"] in (None, "default") else f" of tenant {document['tenant']}"
    emit(f"{KINDS[document['kind']][0][0]} {document['name']}{whose}")
    for label, value in _lines(document):
        emit(f"  {label + ':':<14} {value}")
    for key in _LISTED:
        rows = thing.get(key) or []
        if rows:
            columns = [column for column in rows[0] if any(row[column] not in (None, "", []) for row in rows)]
            _table(f"{key}:", columns, [[row[column] for column in columns] for row in rows])
    _emit_paths(document.get("paths") or [])
    _emit_rules(document["rules"])
    if document["traffic"]:
        columns = ["port", "packets_in", "bytes_in", "packets_out", "bytes_out"]
        _table("traffic at its ports:", columns, [[row[column] for column in columns] for row in document["traffic"]])
    for title, key in (("uses:", "uses"), ("used by:", "used_by"), ("declares:", "declares")):
        found = document.get(key) or []
        if found:
            rows = [[row["kind"], row["name"], row["position"]] for row in found]
            _table(title, ["kind", "name", "written at"], rows)
    if document.get("revisions"):
        columns = ["number", "at", "who", "what", "state"]
        _table("revisions:", columns, [[row[column] for column in columns] for row in document["revisions"]])
    if document["events"]:
        _table("last events:", ["at", "event", "what"], [
            [_time(event["at"]), event["kind"],
             [f"{key}: {_text(value)}" for key, value in event.items() if key not in _HEAD and value not in ("", [])]]
            for event in document["events"]
        ])  # fmt: skip


def _lines(document: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """One line each: where it is declared, whether switches hold it, and what its list says of it."""
    declared = document["declared"]
    if declared is None:
        yield "declared", "nowhere: it was found"
    else:
        policy = f" (policy {declared['policy']})" if declared["policy"] and document["kind"] != "policies" else ""
        yield "declared", f"{declared['position'] or 'by a request'}{policy}"
    if document["rules"] and "in_sync" not in document["object"]:
        waiting = ", ".join(document["waiting"])
        yield "in sync", "yes" if document["in_sync"] else f"no: not all of its rules are on {waiting}"
    for key, value in document["object"].items():
        if key == "ports" and document["kind"] == "switches":
            value = [f"{port['number']} ({port['name']}, {'up' if port['up'] else 'down'})" for port in value]
        if key not in _ELSEWHERE and key not in _LISTED and value not in (None, "", [], {}):
            yield key.replace("_", " "), _text(value)


def _emit_paths(ways: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        [item["classifier"], item["direction"], f"{item['ingress']} > {item['egress']}",
         way["instances"], " > ".join(way["switches"]), way["cost"], f"{way['slots']}/256"]
        for item in ways for way in item["paths"]
    ]  # fmt: skip
    if rows:
        _table("paths:", ["classifier", "direction", "edges", "instances", "switches", "cost", "slots"], rows)


def _emit_rules(rules: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        [each["switch"], each["table"], each["object"], each["rules"], each["groups"] or None, each["packets"],
         each["bytes"]]
        for each in rules
    ]  # fmt: skip
    if rows:
        _table("on the switches:", ["switch", "table", "for", "rules", "groups", "packets", "bytes"], rows)


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    emit(title)
    emit_table([column.replace("_", " ") for column in columns], rows)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    return str(value)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

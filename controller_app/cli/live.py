"""Commands that speak to a running controller: plan, apply, delete, get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from controller_app.cli.client import LONG, Client, place, unseen
from controller_app.cli.common import (
    Controller,
    Failing,
    Failure,
    Output,
    Token,
    emit,
    emit_document,
    emit_table,
    listed,
    output_format,
    say,
    stop,
)
from controller_app.cli.planned import emit_changes, emit_failures, emit_foreign
from controller_app.cli.progress import WAIT, Wait, begun, followed

IfMatch = Annotated[
    str | None,
    typer.Option("--if-match", metavar="ETAG", help="Only while the policy has this one (get policies -o json)."),
]
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Policy files.")]

AllowForeign = Annotated[
    bool, typer.Option("--allow-foreign", help="Also where flows of others could lead packets past a chain.")
]

# kind -> (its other names, its columns)
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "switches": (
        ("switch", "sw"),
        (
            "name", "dpid", "connected", "in_sync", "flows", "groups", "foreign_flows", "version", "hash", "lacks",
            "faults", "refused", "dropped_discovery", "restarts", "problem",
        ),
    ),
    "links": (("link",), ("name", "state", "cost", "latency", "bandwidth", "use", "kind")),
    "hosts": (("host",), ("name", "attach", "ips", "mac", "tenant", "network", "declared", "refused")),
    "functions": (("function", "fn"), ("name", "tenant", "kind", "mode", "instances")),
    "chains": (("chain",), ("name", "tenant", "through", "return", "transport", "stickiness", "classifiers")),
    "classifiers": (
        ("classifier",),
        ("name", "tenant", "from", "to", "traffic", "after", "then", "priority", "position"),
    ),
    "networks": (("network", "net"), ("name", "tenant", "kind", "subnet", "gateway", "insert", "policy")),
    "endpoints": (("endpoint", "ep"), ("name", "tenant", "host", "ips", "network", "labels", "weight", "drain")),
    "services": (("service", "svc"), ("name", "tenant", "ips", "ports", "selector", "providers")),
    "service-routers": (
        ("service-router", "router"),
        ("name", "kind", "tenant", "network", "covers", "gateways", "functions"),
    ),
    "policies": (("policy",), ("name", "file")),
    "warnings": (("warning",), ("policy", "position", "path", "what", "remedy")),
    "flows": (("flow",), ("switch", "table", "priority", "match", "actions", "object")),
}


def provider_cell(provider: Mapping[str, Any]) -> str:
    """A provider in a table of services: its slots, and its state where it does not simply serve; of one that drains,
    how many connections are left."""
    state = "" if provider["state"] == "serving" else f", {provider['state']}"
    if provider["state"] == "draining" and provider["left"] is not None:
        state += f", {provider['left']} left"
    return f"{provider['endpoint']} ({provider['slots']}/256{state}, {provider['opened']} opened)"


def _read(client: Client, files: Sequence[str], name: str | None) -> dict[str, str]:
    """Policy files' texts, by policy name. Positions in answers will name the files."""
    from controller_app.runtime.intent import read_files

    found = list(read_files(files).values())
    if not found:
        raise Failure("there is no policy file in what was given")
    if name is not None and len(found) > 1:
        raise Failure("--name names one policy: give one file")
    client.files = {name or policy.name: policy.file for policy in found}
    return {name or policy.name: policy.text or "" for policy in found}


def quoted(name: str) -> str:
    """A name as a part of a path."""
    from urllib.parse import quote

    return quote(name, safe="")


def _change(client: Client, texts: dict[str, str], if_match: str | None = None, **query: Any) -> dict[str, Any]:
    if len(texts) == 1:
        ((name, text),) = texts.items()
        answer = client.put(f"/policies/{quoted(name)}", text, if_match, **query)
    elif if_match is not None:
        raise Failure("--if-match is about one policy: give one file")
    else:
        answer = client.post("/policies", {"policies": texts}, **query)
    return dict(answer)


def plan(
    files: Files,
    name: Annotated[str | None, typer.Option("--name", help="The policy's name.")] = None,
    failures: Failing = False,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """What applying files would change: rules per switch, and whether the result is verified. Exit 2 where
    there are changes."""
    chosen = output_format(output)
    client = Client(controller, token)
    client.patience = LONG if failures else client.patience
    answer = _change(client, _read(client, files, name), dry_run="true", failures="true" if failures else None)
    emit_plan(client, answer, chosen)
    stop(2 if answer["changes"] else 0)


def emit_plan(client: Client, answer: dict[str, Any], chosen: str) -> None:
    """What a change would do. Ends with 1 where verification fails."""
    _warn(answer["warnings"], client)
    if chosen == "table":
        emit_changes(answer)
        emit_foreign(answer["foreign"])
        verification = answer["verification"]
        emit(f"verification: {'ok' if verification['ok'] else 'FAILED'} ({verification['classes']} classes)")
        if not verification["ok"]:
            emit(f"  {verification['counterexample']['what']}: {verification['counterexample']['packet']}")
        if "failures" in answer:
            emit_failures(answer["failures"])
    else:
        emit_document(answer, chosen)
    if not answer["verification"]["ok"] or not answer.get("failures", {"ok": True})["ok"]:
        stop(1)


def apply(
    files: Files,
    name: Annotated[str | None, typer.Option("--name", help="The policy's name.")] = None,
    if_match: IfMatch = None,
    allow_foreign: AllowForeign = False,
    wait: Wait = WAIT,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Apply policy files; done when every switch has acknowledged them, otherwise says which has not, and why."""
    output_format(output)
    client = Client(controller, token)
    texts = _read(client, files, name)
    done = "applied " + ", ".join(texts)
    answer = _change(client, texts, if_match, wait=0, allow_foreign="true" if allow_foreign else None)
    begun(answer, ", ".join(texts))
    answer, unfinished = followed(client, answer, done, wait)
    report(client, answer, done, output, unfinished)


def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.")],
    if_match: IfMatch = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Take a policy away."""
    client = Client(controller, token)
    report(client, dict(client.delete(f"/policies/{quoted(name)}", if_match)), f"deleted {name}", output)


def report(
    client: Client, answer: dict[str, Any], done: str, output: str | None, unfinished: str | None = None
) -> None:
    """What a change did. Of the warnings, those about the policy that was edited, where one was. Failure when switches
    have not confirmed the change yet; `unfinished` says so in more words."""
    chosen = output_format(output)
    warnings = answer["warnings"]
    if "policy" in answer:
        warnings = [item for item in warnings if item["file"] == answer["source"]]
    _warn(warnings, client)
    others = len(answer["warnings"]) - len(warnings)
    if others:
        say(f"{others} warning{'s' * (others != 1)} in other policies: chainctl get warnings")
    if chosen != "table":
        emit_document(answer, chosen)
    elif answer["changes"]:
        emit_changes(answer)
    if not answer["confirmed"]:
        raise Failure(unfinished or f"{done}, but not confirmed yet by {', '.join(answer['waiting'])}")
    if not answer["changes"]:
        say(f"{done}; nothing to change on the switches")
    elif not answer["connected"]:
        say(f"{done}; no switch is connected")
    else:
        say(f"{done}; every connected switch confirmed")


def _warn(warnings: Sequence[Mapping[str, Any]], client: Client) -> None:
    for item in warnings:
        say(f"{place(item, client.files)}: {item['path']}: warning: {item['what']}; {item['remedy']}")
    for line in unseen(warnings, client.files):
        say(line)


def get(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join([*KINDS, "topology"]))],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """What the controller knows: objects of one kind, or one of them."""
    chosen = output_format(output)
    client = Client(controller, token)
    if kind == "topology":
        if tenant is not None:
            raise Failure("the topology is all tenants' together: leave --tenant out")
        document = client.get("/topology")
        return emit_document(document, "yaml" if chosen == "table" else chosen)
    plural = next((k for k, (others, _) in KINDS.items() if kind == k or kind in others), None)
    if plural is None:
        raise Failure(f"there is no kind {kind!r}; choose one of {', '.join([*KINDS, 'topology'])}")
    if tenant is not None and "tenant" not in KINDS[plural][1]:
        raise Failure(f"{plural} are no tenant's: leave --tenant out")
    if plural == "policies" and name is not None and chosen == "table":
        return emit(client.get_text(f"/policies/{quoted(name)}"))
    items = client.get(f"/{plural}", switch=name if plural == "flows" else None, tenant=tenant)[plural]
    if name is not None and plural != "flows":
        items = [item for item in items if item["policy" if plural == "warnings" else "name"] == name]
        if plural == "warnings":
            name = None  # as many as there are
        elif not items:
            raise Failure(f"there is no {KINDS[plural][0][0]} named {name!r}" + _of(tenant))
        elif len(items) > 1 and chosen != "table":
            owners = sorted(item["tenant"] for item in items)
            raise Failure(f"tenants {listed(owners)} have a {KINDS[plural][0][0]} {name!r}: --tenant {owners[0]}")
    if chosen != "table":
        return emit_document(items[0] if name is not None and plural != "flows" else {plural: items}, chosen)
    columns = KINDS[plural][1]
    emit_table([column.replace("_", " ") for column in columns], [_row(item, columns) for item in items])


def _of(tenant: str | None) -> str:
    return "" if tenant is None else f" in tenant {tenant}"


def _row(item: dict[str, Any], columns: Sequence[str]) -> list[Any]:
    row = []
    for column in columns:
        value: Any = _load_cell(item) if column == "use" else item[column]
        if column == "instances":
            value = [_instance(each) for each in value]
        elif column == "providers":
            value = [provider_cell(provider) for provider in value]
        elif column == "functions":
            value = [_next_hops(function) for function in value]
        elif column == "state" and item["note"]:
            value = f"{value} ({item['note']})"
        elif column in ("refused", "dropped_discovery") and isinstance(value, list):
            at = ["" if place["port"] is None else f" at {place['port']}" for place in value]
            value = [f"{place['reason']}{where}: {place['frames']}" for place, where in zip(value, at, strict=True)]
        row.append(value)
    return row


def _load_cell(link: Mapping[str, Any]) -> str | None:
    """How full a link is; where nobody knows what fits, what goes over it."""
    if link["utilisation"] is not None:
        return f"{link['utilisation']:.0%}"
    known = [bits for bits in link["bits_per_second"] if bits is not None]
    return f"{max(known) / 1e6:.3g} Mbps" if known else None


def _instance(instance: dict[str, Any]) -> str:
    """An instance of a function: its share or, where it does not work, what it is and why."""
    if instance["state"] != "working":
        why = f": {instance['reason']}" if instance["reason"] else ""
        return f"{instance['name']} ({instance['state']}{why})"
    return f"{instance['name']} ({instance['slots']}/256)" if instance["slots"] else str(instance["name"])


def _next_hops(function: dict[str, Any]) -> str:
    """A function of a service router: its instances with their ports, and what the ways to them cost."""
    hops = []
    for instance in function["instances"]:
        ports = " ".join(f"{arm} {end}" for arm, end in instance["ports"].items()) or "nowhere"
        costs = ", ".join(
            f"{'no way' if cost is None else f'{cost:g}'} from {edge}" for edge, cost in instance["costs"].items()
        )
        hops.append(f"{instance['name']} ({ports}{'; ' + costs if costs else ''})")
    return f"{function['name']} > {' | '.join(hops)}"

"""One-liners for networks, endpoints, services and labels, as netctl had them. Each edits the policy that owns the
object, or one named `cli`; the change is checked and verified like any other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from controller_app.cli.live import provider_cell, quoted, report

net = typer.Typer(no_args_is_help=True, help="Networks, and pools of service addresses.")
endpoint = typer.Typer(no_args_is_help=True, help="Hosts in networks, with the labels that selectors look at.")
service = typer.Typer(no_args_is_help=True, help="An address and ports in front of every endpoint that matches.")

Name = Annotated[str, typer.Argument(metavar="NAME")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose it is.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")]

_PORT = re.compile(r"(\d+(?::\d+)?)[:/]([A-Za-z]+)\Z")
_NETWORK_COLUMNS = ("name", "tenant", "kind", "subnet", "gateway", "policy")
_ENDPOINT_COLUMNS = ("name", "tenant", "host", "ips", "network", "labels", "weight", "drain", "policy")
_SERVICE_COLUMNS = ("name", "tenant", "ips", "ports", "selector", "providers", "policy")


# -- networks ------------------------------------------------------------------------------------------------


@net.command("create")
def net_create(
    name: Name,
    subnet: Annotated[list[str], typer.Option("-s", "--subnet", help="Its prefix; one a family, repeated or a,b.")],
    gateway: Annotated[list[str] | None, typer.Option("-g", "--gateway", help="An address of it; likewise.")] = None,
    tenant: Tenant = "default",
    kind: Annotated[str | None, typer.Option("--kind", help="service: a pool of service addresses.")] = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Make a network."""
    definition = _given(subnet=_one(_listed(subnet)), gateway=_one(_listed(gateway)), kind=kind)
    client = Client(controller, token)
    _create(client, "network", tenant, name, definition, output)


@net.command("ls")
def net_ls(
    tenant: OfTenant = None, output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """The networks there are."""
    _list(Client(controller, token), "networks", tenant, _NETWORK_COLUMNS, output)


@net.command("rm")
def net_rm(
    name: Name, tenant: Tenant = "default", output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """Take a network away."""
    _remove(Client(controller, token), "network", tenant, name, output)


# -- endpoints -----------------------------------------------------------------------------------------------


@endpoint.command("add")
def endpoint_add(
    name: Name,
    host: Annotated[str, typer.Option("--host", help="The topology's host.")],
    network: Annotated[str | None, typer.Option("--network", help="The network it is in.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Repeatable, or a,b.")] = None,
    weight: Annotated[int | None, typer.Option("--weight", help="Its share of connections (1).")] = None,
    tenant: Tenant = "default",
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Put a host into a network, with labels."""
    labels = {}
    for word in _listed(label) or ():
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Failure(f"--label {word}: write KEY=VALUE")
        labels[key] = value
    definition = _given(host=host, network=network, labels=labels or None, weight=weight)
    _create(Client(controller, token), "endpoint", tenant, name, definition, output)


@endpoint.command("ls")
def endpoint_ls(
    tenant: OfTenant = None, output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """The endpoints there are."""
    _list(Client(controller, token), "endpoints", tenant, _ENDPOINT_COLUMNS, output)


@endpoint.command("rm")
def endpoint_rm(
    name: Name, tenant: Tenant = "default", output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """Take an endpoint away. Its host stays where it is."""
    _remove(Client(controller, token), "endpoint", tenant, name, output)


@endpoint.command("drain")
def endpoint_drain(
    name: Name,
    deadline: Annotated[str | None, typer.Option("--deadline", help="Over after this long, such as 10m.")] = None,
    tenant: Tenant = "default",
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Give an endpoint no new connections of services; those it has may end by themselves, until the deadline."""
    client = Client(controller, token)
    answer = client.put(f"/endpoints/{quoted(name)}/drain", "", tenant=tenant, deadline=deadline)
    provides = answer.get("provides", ())
    _drained(client, answer, f"endpoint {name} drains", "just so already", output)
    if provides:
        say(f"what is left: chainctl service inspect {provides[0]['service']}" + _tenant_flag(tenant))


@endpoint.command("undrain")
def endpoint_undrain(
    name: Name, tenant: Tenant = "default", output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """Let a drained endpoint serve again."""
    client = Client(controller, token)
    answer = client.delete(f"/endpoints/{quoted(name)}/drain", tenant=tenant)
    _drained(client, answer, f"endpoint {name} serves again", "it did not drain", output)


def label(
    name: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    words: Annotated[list[str], typer.Argument(metavar="KEY=VALUE|KEY-...", help="Set a label, or remove it.")],
    tenant: Tenant = "default",
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Set and remove labels of an endpoint; it joins and leaves services at once."""
    client = Client(controller, token)
    answer = client.post(f"/endpoints/{quoted(name)}/labels", words, tenant=tenant)
    did = answer["labels"]
    said = [f"set {', '.join(did['set'])}"] if did["set"] else []
    said += [f"removed {', '.join(did['removed'])}"] if did["removed"] else []
    said += [f"{', '.join(did['same'])} is there already"] if did["same"] else []
    said += [f"there is no label {', '.join(did['absent'])}"] if did["absent"] else []
    report(client, dict(answer), f"endpoint {name}: {'; '.join(said)}", output)


# -- services ------------------------------------------------------------------------------------------------


@service.command("create")
def service_create(
    name: Name,
    network: Annotated[str, typer.Option("--network", help="The pool its address is from.")],
    selector: Annotated[list[str], typer.Option("--selector", help="tier=web, release in (a, b), !old; repeatable.")],
    port: Annotated[list[str], typer.Option("--port", help="8080:80:TCP, clients' port first; repeatable, or a,b.")],
    tenant: Tenant = "default",
    ip: Annotated[list[str] | None, typer.Option("--ip", help="The address it is to have.")] = None,
    affinity: Annotated[str | None, typer.Option("--affinity", help="A client keeps its provider this long.")] = None,
    prefer: Annotated[str | None, typer.Option("--prefer", help="switch, rack, zone or cost: the nearest.")] = None,
    health: Annotated[str | None, typer.Option("--health", help="tcp/80, http://:80/ready or arp.")] = None,
    expose: Annotated[str | None, typer.Option("--expose", help="internal: to whom a classifier names.")] = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Make a service."""
    definition = _given(
        network=network,
        ip=_one(_listed(ip)),
        selector=", ".join(selector),
        ports=[_PORT.sub(lambda found: f"{found[1]}/{found[2].lower()}", each) for each in _listed(port) or ()],
        session_affinity=affinity,
        prefer=prefer,
        health=None if health is None else {"probe": health},
        expose=expose,
    )
    client = Client(controller, token)
    _create(client, "service", tenant, name, definition, output)
    made = client.get(f"/services/{quoted(name)}", tenant=tenant)
    say(f"{name} has the address {', '.join(made['ips'])}" + (f" and the name {made['dns']}" if made["dns"] else ""))


@service.command("ls")
def service_ls(
    tenant: OfTenant = None, output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """The services there are."""
    _list(Client(controller, token), "services", tenant, _SERVICE_COLUMNS, output)


@service.command("rm")
def service_rm(
    name: Name, tenant: Tenant = "default", output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """Take a service away."""
    _remove(Client(controller, token), "service", tenant, name, output)


@service.command("inspect")
def service_inspect(
    name: Name, tenant: Tenant = "default", output: Output = None, controller: Controller = None, token: Token = None
) -> None:
    """A service's address, ports and name, its providers with their state, and what they were used for: connections
    opened since they provide it (also before the controller was last started), TCP connections that are left (an
    estimate), whether packets passed within the last 10 seconds, and bytes."""
    chosen = output_format(output)
    found: dict[str, Any] = Client(controller, token).get(f"/services/{quoted(name)}", tenant=tenant)
    if chosen != "table":
        return emit_document(found, chosen)
    health = found["health"]
    facts = {
        "name": found["name"],
        "tenant": found["tenant"],
        "address": ", ".join(found["ips"]),
        "ports": ", ".join(found["ports"]),
        "DNS name": found["dns"],
        "selector": found["selector"],
        "affinity": found["session_affinity"],
        "prefer": found["prefer"],
        "health": health and f"{health['probe']} every {health['interval']}, {health['misses']} misses",
        "expose": ", ".join(map(_party, found["expose"])) if isinstance(found["expose"], list) else found["expose"],
        "policy": found["policy"],
    }
    for key, value in facts.items():
        if value:
            emit(f"{key + ':':11}{value}")
    emit("")
    columns = ("endpoint", "host", "address", "state", "weight", "slots", "opened", "left", "active", "packets/s",
               "bytes in", "bytes out", "reason")  # fmt: skip
    rows = [
        (p["endpoint"], p["host"], p["ips"], p["state"], p["weight"], f"{p['slots']}/256", p["opened"],
         p["left"], p["active"], p["packets_per_second"], p["bytes_in"], p["bytes_out"], p["reason"])
        for p in (*found["providers"], *found["leaving"])
    ]  # fmt: skip
    total = found["total"]
    if rows:
        rows.append(("all", "", "", "", "", "", total["opened"], total["left"], "", "", total["bytes_in"],
                     total["bytes_out"], ""))  # fmt: skip
    emit_table(columns, rows)
    if found["near"]:
        emit("")
        emit_table(
            (f"clients at (prefer: {found['prefer']})", "slots; elsewhere those above"),
            [
                (near["switches"], ", ".join(f"{name} {slots}/256" for name, slots in near["slots"].items()))
                for near in found["near"]
            ],
        )


def _party(party: str | dict[str, str]) -> str:
    return party if isinstance(party, str) else " ".join(f"{kind} {value}" for kind, value in party.items())


# -- inside --------------------------------------------------------------------------------------------------


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _listed(values: Sequence[str] | None) -> list[str] | None:
    """Repeated options, each of which may be a comma list; None where there are none."""
    found = [part.strip() for value in values or () for part in value.split(",") if part.strip()]
    return found or None


def _one(values: list[str] | None) -> str | list[str] | None:
    """A single value as people write it."""
    return values[0] if values is not None and len(values) == 1 else values


def _tenant_flag(tenant: str) -> str:
    return "" if tenant == "default" else f" --tenant {tenant}"


def _create(
    client: Client, kind: str, tenant: str, name: str, definition: Mapping[str, Any], output: str | None
) -> None:
    import json

    answer = client.put(f"/{kind}s/{quoted(name)}", json.dumps(definition), tenant=tenant, new="true")
    done = f"{kind} {name} is there already" if answer["outcome"] == "unchanged" else f"created {kind} {name}"
    report(client, dict(answer), done, output)


def _remove(client: Client, kind: str, tenant: str, name: str, output: str | None) -> None:
    answer = client.delete(f"/{kind}s/{quoted(name)}", tenant=tenant)
    report(client, dict(answer), f"removed {kind} {name}", output)


def _drained(client: Client, answer: Mapping[str, Any], done: str, already: str, output: str | None) -> None:
    """What a drain, or its end, did, and what the endpoint is now in each of its services."""
    if answer["outcome"] == "unchanged":
        done += f" ({already})"
    elif answer["provides"]:
        done += ": " + ", ".join(
            f"{each['service']} ({each['state']}, {each['slots']}/256)" for each in answer["provides"]
        )
    report(client, dict(answer), done, output)


def _list(client: Client, kind: str, tenant: str | None, columns: Sequence[str], output: str | None) -> None:
    chosen = output_format(output)
    items = client.get(f"/{kind}", tenant=tenant)[kind]
    if chosen != "table":
        return emit_document({kind: items}, chosen)
    emit_table(columns, [[_cell(item, column) for column in columns] for item in items])


def _cell(item: Mapping[str, Any], column: str) -> Any:
    if column == "labels":
        return [f"{key}={value}" for key, value in item["labels"].items()]
    if column == "providers":
        return [provider_cell(provider) for provider in item["providers"]]
    return item[column]

"""Commands that need no controller: validate, path, compile, verify, and trace on files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller_app.cli.common import (
    Controller,
    Failing,
    Failure,
    Output,
    Policies,
    SymmetricHash,
    Token,
    Topologies,
    emit,
    emit_document,
    output_format,
    say,
    stop,
)
from controller_app.cli.planned import emit_failures, emit_foreign

if TYPE_CHECKING:
    from controller_app.model.allocation import Allocation
    from controller_app.model.flow import FlowState, SwitchState
    from controller_app.model.policy import Policy
    from controller_app.model.position import Diagnostic
    from controller_app.model.topology import Topology


def load(topologies: Sequence[str] | None, policies: Sequence[str] | None) -> tuple[Policy, Topology]:
    """Both, checked against each other; warnings are said. PolicyError or Failure when they cannot be used."""
    from controller_app.model.position import PolicyError
    from controller_app.policy.policy_file import check_against, load_policy

    if not topologies:
        raise Failure("give the topology with -t FILE")
    loaded = load_policy(policies or [])
    topology = load_topology(topologies)
    found = check_against(loaded.policy, topology)
    errors = [item for item in found if item.severity == "error"]
    if errors:
        raise PolicyError(errors)
    for warning in (*loaded.warnings, *found):
        say(str(warning))
    return loaded.policy, topology


def load_topology(paths: Sequence[str]) -> Topology:
    """A topology in which every port is a number. Names of ports, which only switches can resolve, get
    numbers that no port has, and that is said."""
    from controller_app.discovery.merge import resolve
    from controller_app.policy.topology_file import load_topologies

    resolved = resolve(load_topologies(paths), {})
    if resolved.stand_ins:
        say("warning: ports that are given by name have made-up numbers here: only the switches know theirs")
    return resolved.topology


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Policy files, or directories.")],
    topology: Topologies = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Check policy files, and with -t whether they fit a topology. One line for each problem."""
    chosen = output_format(output)
    found = _problems(files, topology)
    errors = [item for item in found if item.severity == "error"]
    if chosen == "table":
        for item in found:
            emit(str(item))
        warnings = len(found) - len(errors)
        say(f"{len(errors) or 'no'} error{'s' * (len(errors) != 1)}, {warnings or 'no'} warning{'s' * (warnings != 1)}")
    else:
        emit_document({"ok": not errors, "problems": [_problem(item) for item in found]}, chosen)
    stop(1 if errors else 0)


def _problems(files: Sequence[str], topologies: Sequence[str] | None) -> list[Diagnostic]:
    from controller_app.model.position import PolicyError
    from controller_app.model.topology import Topology
    from controller_app.pipeline.compile import compile as compile_policy
    from controller_app.policy.policy_file import check_against, load_policy

    found: list[Diagnostic] = []
    topology: Topology | None = None
    if topologies:
        try:
            topology = load_topology(topologies)
        except PolicyError as error:
            found += error.diagnostics
    try:
        loaded = load_policy(files)
        found += loaded.warnings
        if topology is not None:
            found += check_against(loaded.policy, topology)
        if not topologies or (topology is not None and all(item.severity != "error" for item in found)):
            compile_policy(loaded.policy, topology or Topology())
    except PolicyError as error:
        found += error.diagnostics
    return sorted(dict.fromkeys(found), key=lambda item: item.position)


def _problem(item: Diagnostic) -> dict[str, Any]:
    place = item.position
    return {
        "file": place.file,
        "line": max(1, place.line),
        "column": max(1, place.column),
        "path": item.path,
        "what": item.what,
        "remedy": item.remedy,
        "severity": item.severity,
    }


def _list_of(names: Sequence[str]) -> str:
    return f"are {', '.join(names)}" if names else "are none"


def compile_command(
    topology: Topologies = None,
    policy: Policies = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="ovs|json", help="The format.")] = "ovs",
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Where the files go.")] = None,
    symmetric_hash: SymmetricHash = True,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """The full flow state, for `ovs-ofctl add-meter`, `add-groups` and `add-flows`, or as JSON."""
    from controller_app.pipeline.compile import compile as compile_policy
    from controller_app.pipeline.ofctl import format_meters, format_state

    if output not in ("ovs", "json"):
        raise Failure(f"-o {output}: choose ovs or json")
    loaded, network = load(topology, policy)
    state, allocation = compile_policy(loaded, network, portable=not symmetric_hash)
    files: dict[str, str] = {}
    if output == "json":
        import json

        files["state.json"] = json.dumps(state_document(state, allocation), indent=1) + "\n"
    else:
        for name, switch in state.items():
            files[f"{name}.flows"], files[f"{name}.groups"] = format_state(switch)
            if switch.meters:
                files[f"{name}.meters"] = format_meters(switch)
    if out is None:
        for name, text in files.items():
            emit(f"# {name}\n{text}" if output == "ovs" else text)
        return
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (Path(out) / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{error.filename}: cannot be written: {error.strerror}") from None
    say(f"{len(files)} files in {out}")


def state_document(state: FlowState, allocation: Allocation) -> dict[str, Any]:
    """The `compile` document."""
    return {"switches": {name: _switch_document(switch, allocation) for name, switch in state.items()}}


def _switch_document(state: SwitchState, allocation: Allocation) -> dict[str, Any]:
    from controller_app.pipeline.cookies import object_name
    from controller_app.pipeline.ofctl import format_actions, format_group, format_match, format_meter
    from controller_app.pipeline.tables import TABLE_NAMES

    flows = [
        {
            "table": flow.table,
            "table_name": TABLE_NAMES.get(flow.table),
            "priority": flow.priority,
            "cookie": f"{flow.cookie:#x}",
            "object": object_name(flow.cookie, allocation),
            "match": ",".join(format_match(flow.match)),
            "actions": format_actions(flow.actions, flow.goto),
        }
        for _, flow in sorted(state.flows.items())
    ]
    groups = [
        {"id": group.id, "type": group.kind, "buckets": len(group.buckets), "text": format_group(group)}
        for _, group in sorted(state.groups.items())
    ]
    meters = [
        {
            "id": meter.id,
            "rate": meter.rate,
            "burst": meter.burst,
            "unit": "pktps" if meter.packets else "kbps",
            "text": format_meter(meter),
        }
        for _, meter in sorted(state.meters.items())
    ]
    return {"flows": flows, "groups": groups, "meters": meters}


def verify(
    topology: Topologies = None,
    policy: Policies = None,
    dump: Annotated[
        str | None,
        typer.Option(
            "--dump",
            metavar="DIR",
            help="Check what the switches hold: <switch>.flows, .groups and .meters, as dump-flows, dump-groups and "
            "dump-meters print them.",
        ),
    ] = None,
    failures: Failing = False,
    symmetric_hash: SymmetricHash = True,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Walk every class of packets and compare with the policy. Exit 1 with a counterexample where it fails."""
    from controller_app.pipeline.compile import compile_next
    from controller_app.verification.failing import Answer, verify_failures
    from controller_app.verification.verify import verify_change

    chosen = output_format(output)
    loaded, network = load(topology, policy)
    answer: Answer | None = None
    if dump is None:
        compiled = compile_next(None, loaded, network, portable=not symmetric_hash)
        report, verified = verify_change(loaded, network, compiled.state, compiled.allocation, losses=True)
        document = report.to_json()

        def answer(without: Topology) -> tuple[FlowState, Allocation]:
            made = compile_next(compiled, loaded, without, portable=not symmetric_hash)
            return made.state, made.allocation

    else:  # what a controller would answer with is not in a dump
        held = read_dump(dump, network)
        report, verified = verify_change(loaded, network, held, None, losses=True)
        document = {**report.to_json(), "foreign": _foreign(loaded, network, held)}
        if report.ok and any(not each["lost"] for each in document["foreign"]):
            document |= {"ok": False, "counterexample": document["foreign"][0]}
    if failures and report.ok:
        survived = verify_failures(verified, answer)
        document |= {"ok": document["ok"] and survived.ok, "failures": survived.to_json()}
    if chosen != "table":
        emit_document(document, chosen)
    elif document["ok"] and not report.classes:
        emit("nothing to try: no host of the topology that a tenant of the policy has sends anything it names")
    elif document["ok"]:
        emit(f"ok: {report.classes} classes of packets are treated as the policy says")
    elif (example := document["counterexample"] or document["failures"]["counterexample"]) is not None:
        emit(f"failed: {example['what']}" + (f", when {example['failure']}" if "failure" in example else ""))
        emit(f"  packet: {example['packet']} (from {example['from']}, {example['way']})")
        if example["classifier"]:
            emit(f"  classifier: {example['classifier']} ({example['position']})")
        _emit_hops(example["walk"])
    if chosen == "table":
        emit_foreign(document.get("foreign", ()))
        if document.get("failures", {"ok": False})["ok"]:
            emit_failures(document["failures"], "" if dump is None else ", until a controller does something")
    stop(0 if document["ok"] else 1)


def _foreign(policy: Policy, topology: Topology, held: FlowState) -> list[dict[str, Any]]:
    """The flows of others in what switches hold that change what becomes of packets the policy decides about."""
    from controller_app.verification.foreign import crossings, document, others_in

    return [document(each, None) for each in crossings(policy, topology, held, None, others_in(held))]


def read_dump(directory: str, topology: Topology) -> FlowState:
    """What ovs-ofctl printed for each switch. Failure where that cannot be read."""
    from controller_app.pipeline.ofctl import parse_state
    from controller_app.pipeline.ofctl_names import OfctlError

    state: dict[str, SwitchState] = {}
    for name in topology.switches:
        files = [Path(directory) / f"{name}.{kind}" for kind in ("flows", "groups", "meters")]
        texts = []
        for file in files:
            try:
                texts.append(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                if file.suffix == ".flows":
                    raise Failure(
                        f"{file}: there is no such file; write `ovs-ofctl -O OpenFlow13 dump-flows {name}` into it"
                    ) from None
                texts.append("")
            except (OSError, UnicodeDecodeError) as error:
                raise Failure(f"{file}: cannot be read: {error}") from None
        try:
            state[name] = parse_state(texts[0], texts[1], meters=texts[2])
        except OfctlError as error:
            raise Failure(f"{directory}/{name}: {error}") from None
    return state


def _emit_hops(hops: Sequence[dict[str, Any]]) -> None:
    for hop in hops:
        rules = " > ".join(
            rule["table"] + (f" [{rule['object']}]" if _telling(rule["object"]) else "") for rule in hop["rules"]
        )
        out = "-" if hop["out_port"] is None else hop["out_port"]
        emit(f"  {hop['switch']}: {hop['in_port']} -> {out}  {rules}")


def _telling(name: str | None) -> bool:
    return name is not None and name.split("/")[0] in ("classifiers", "functions", "services", "policies")

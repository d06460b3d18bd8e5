"""`chainctl trace`, which is `explain` too: where a packet goes, by which rules, and for whom they are; on files, or
on the running network, where each rule's counters stand beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller_app.cli.client import Client
from controller_app.cli.common import (
    Controller,
    Failure,
    Output,
    Policies,
    Token,
    Topologies,
    emit,
    emit_document,
    emit_table,
    output_format,
    say,
    stop,
)
from controller_app.cli.offline import load

if TYPE_CHECKING:
    from controller_app.verification.captured import CapturedFlow

AT_ONCE = 50  # flows of a capture that are asked for in one request


def trace(
    source: Annotated[str | None, typer.Option("--from", metavar="HOST", help="The sending host.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="IP", help="The address it sends to.")] = None,
    proto: Annotated[str, typer.Option("--proto", help="tcp, udp, icmp or a number.")] = "tcp",
    sport: Annotated[int, typer.Option("--sport", min=0, max=65535, help="Its source port.")] = 40000,
    dport: Annotated[int, typer.Option("--dport", min=0, max=65535, help="The destination port.")] = 80,
    pcap: Annotated[
        str | None, typer.Option("--pcap", metavar="FILE", help="Frames of a capture (tcpdump -w) instead.")
    ] = None,
    line: Annotated[
        int | None, typer.Option("--line", metavar="N", min=1, help="The capture's Nth frame; without it all in short.")
    ] = None,
    port: Annotated[
        str | None,
        typer.Option("--port", metavar="SWITCH:PORT", help="The port by which a switch got the captured frames."),
    ] = None,
    topology: Topologies = None,
    policy: Policies = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """A packet's way there and back, rule by rule: for whom each is, and where that is written. On files with -t and
    -p; otherwise on the running network, with what each rule has counted."""
    chosen = output_format(output)
    if policy and not topology:
        raise Failure("give the topology with -t FILE; without -t and -p the running network is asked")
    client = None if topology else Client(controller, token)
    if pcap is not None:
        if to is not None:
            raise Failure("--pcap FILE has the packets: leave --to out")
        if source is not None and port is not None:
            raise Failure("frames come from a host (--from) or from a port (--port): give one of them")
        captured = _Captured(pcap, source, port, client, topology, policy)
        if line is None:
            return captured.emit_all(chosen)
        document = captured.one(line)
    elif source is None or to is None:
        raise Failure("say which packet: --from HOST --to IP, or --pcap FILE")
    elif line is not None or port is not None:
        raise Failure("--line and --port are about a capture: give it with --pcap FILE")
    elif client is not None:
        document = client.post("/trace", {"from": source, "to": to, "proto": proto, "sport": sport, "dport": dport})
    else:
        document = _on_files(topology or (), policy, source, to, proto, sport, dport)
    if chosen == "table":
        emit_trace(document)
    else:
        emit_document(document, chosen)
    stop(0)


def _on_files(
    topology: Sequence[str], policy: Sequence[str] | None, source: str, to: str, proto: str, sport: int, dport: int
) -> dict[str, Any]:
    """A packet's way by the computed rules."""
    from ipaddress import ip_address

    from controller_app.pipeline.compile import compile as compile_policy
    from controller_app.verification.trace import PacketSpec, TraceError
    from controller_app.verification.trace import trace as trace_packet

    try:
        target = ip_address(to)
    except ValueError:
        raise Failure(f"--to {to}: not an IP address") from None
    loaded, network = load(topology, policy)
    state, allocation = compile_policy(loaded, network)
    try:
        return trace_packet(loaded, network, state, allocation, PacketSpec(source, target, proto, sport, dport))
    except TraceError as error:
        raise Failure(str(error)) from None


# -- captures ----------------------------------------------------------------------------------------------


class _Captured:
    """The frames of a file, and whom to ask about them: a controller, or files."""

    def __init__(self, file: str, source: str | None, port: str | None, client: Client | None,
                 topology: Sequence[str] | None, policy: Sequence[str] | None) -> None:  # fmt: skip
        from controller_app.verification.pcap import CaptureError, frames

        self._file, self._source, self._port, self._client = file, source, port, client
        self._loaded: Any = None
        try:
            self.frames = [frame for _, frame in frames(Path(file).read_bytes())]
        except OSError as error:
            raise Failure(f"{file}: cannot be read: {error.strerror}") from None
        except CaptureError as error:
            raise Failure(f"{file}: {error}") from None
        if client is None:
            from controller_app.pipeline.compile import compile as compile_policy
            from controller_app.verification.verify import Checker

            policies, network = load(topology, policy)
            state, allocation = compile_policy(policies, network)
            self._loaded = policies, network, state, allocation
            self._checker = Checker(*self._loaded)

    def one(self, line: int) -> dict[str, Any]:
        """The trace of one frame."""
        if line > len(self.frames):
            raise Failure(f"{self._file} has {len(self.frames)} frames: there is no --line {line}")
        frame = self.frames[line - 1]
        if self._client is None:
            return self._here(frame, f"{self._file}, frame {line}: ")
        try:
            return dict(self._client.post("/trace", {"frame": frame.hex(), **self._start()}))
        except Failure as error:
            raise Failure(f"{self._file}, frame {line}: {error}") from None

    def emit_all(self, chosen: str) -> None:
        """Every connection in short."""
        from controller_app.verification.captured import flows_in

        found, others = flows_in(enumerate(self.frames, 1))
        answers = self._summaries(found)
        rows = [_flow_document(flow, answer) for flow, answer in zip(found, answers, strict=True)]
        if chosen != "table":
            return emit_document({"flows": rows, "others": others}, chosen)
        columns = ("line", "flow", "packets", "answers", "fate", "functions", "classifier")
        emit_table(columns, [_flow_row(row) for row in rows])
        if others:
            say(f"{others} of {len(self.frames)} frames are no IP packets, or cut short")

    def _summaries(self, found: Sequence[CapturedFlow]) -> list[dict[str, Any]]:
        if self._client is None:
            from controller_app.verification.trace_frame import summary

            answers = []
            for flow in found:
                try:
                    answers.append(summary(self._here(flow.frame)))
                except Failure as error:
                    answers.append({"problem": str(error)})
            return answers
        answers = []
        for at in range(0, len(found), AT_ONCE):
            frames = [flow.frame.hex() for flow in found[at : at + AT_ONCE]]
            answers += self._client.post("/trace", {"frames": frames, **self._start()})["flows"]
        return answers

    def _start(self) -> dict[str, str]:
        given = {"from": self._source, "port": self._port}
        return {key: value for key, value in given.items() if value is not None}

    def _here(self, frame: bytes, where: str = "") -> dict[str, Any]:
        from controller_app.verification.pcap import CaptureError
        from controller_app.verification.trace import TraceError
        from controller_app.verification.trace_frame import Start, port_of, trace_frame

        try:
            at = None if self._port is None else port_of(self._port, self._loaded[1])
            policies, network, state, allocation = self._loaded
            start = Start(at, self._source)
            return trace_frame(policies, network, state, allocation, frame, start, checker=self._checker)
        except (CaptureError, TraceError) as error:
            raise Failure(f"{where}{error}") from None


def _flow_document(flow: CapturedFlow, answer: Mapping[str, Any]) -> dict[str, Any]:
    from controller_app.verification.captured import text_of

    document = {"line": flow.line, "flow": text_of(flow.key), "packets": flow.packets, "answers": flow.answers}
    return {**document, **{key: value for key, value in answer.items() if key != "packet"}}


def _flow_row(row: Mapping[str, Any]) -> list[Any]:
    head = [row["line"], row["flow"], row["packets"], row["answers"]]
    if "problem" in row:
        return [*head, row["problem"], None, None]
    fate = row["verdict"] + (f" to {row['host']}" if row["host"] else "")
    fate += f": {row['reason']}" if row["reason"] else ""
    fate += f" (likeliest of {row['ways']} ways)" if row["ways"] > 1 else ""
    taps = f" (taps: {', '.join(row['taps'])})" if row["taps"] else ""
    return [*head, fate, (", ".join(row["functions"]) or "-") + taps, row["classifier"]]


# -- for people --------------------------------------------------------------------------------------------


def emit_trace(document: Mapping[str, Any]) -> None:
    """A trace for people."""
    emit(f"packet:     {document['packet']}")
    if document.get("captured"):
        emit(f"label:      {_label(document['captured'])}")
    at = f" ({document['position']})" if document["position"] else ""
    emit(f"classifier: {document['classifier'] or '-'}{at}")
    emit(
        f"functions:  {', '.join(document['functions']) or '-'}"
        + (f" (taps: {', '.join(document['taps'])})" if document.get("taps") else "")
    )
    emit(f"verdict:    {_verdict(document)}")
    _emit_rules("there:", document["forward"])
    for copy in document["copies"]:
        _emit_rules(f"copy for {copy['tap']}:", copy["hops"])
    if document["return"]:
        _emit_rules("and back:", document["return"])
    for copy in document["return_copies"]:
        _emit_rules(f"copy for {copy['tap']} on the way back:", copy["hops"])
    for way in document.get("candidates", ()):
        emit(
            f"candidate, {way['slots']}/256 of connections: through {', '.join(way['functions']) or '-'} to "
            f"{way['host'] or '-'}"
        )
    if document.get("note"):
        say(document["note"])


def _label(said: Mapping[str, Any]) -> str:
    chain = ", ".join(said["names"] or said["chain"]) or "no chain"
    position = "?" if said["position"] is None else f"{said['position']} of {len(said['path'])} functions behind it"
    nexts, leaves = said["next"], said["exit"]
    return (
        f"{chain} ({', '.join(said['path']) or '-'}), {said['direction']}, {position}; next {nexts['name']}, "
        f"leaves at {leaves['name']}, carried by {said['transport']}"
    )


def _emit_rules(title: str, hops: Sequence[Mapping[str, Any]]) -> None:
    counted = any("counters" in rule for hop in hops for rule in hop["rules"])
    rows: list[list[Any]] = []
    for hop in hops:
        out = "-" if hop["out_port"] is None else hop["out_port"]
        where: str = f"{hop['switch']}: {hop['in_port']} -> {out}"
        for rule in hop["rules"]:
            chains = ", ".join(chain["name"] for chain in rule["chains"]) or "-"
            row = [where, rule["table"], rule["priority"], rule["object"], rule["position"], chains]
            rows.append([*row, *_counts(rule, "packets", "bytes")] if counted else row)
            where = ""
            for group in rule["groups"]:
                row = ["", f"  group {group['id']:#x}", None, _bucket(group), None, None]
                rows.append([*row, *_counts(group, "bucket_packets", "bucket_bytes")] if counted else row)
        if not hop["rules"]:
            rows.append([where, *[None] * (8 if counted else 5)])
    columns = ["switch", "table", "priority", "for", "written at", "chain"]
    emit(title)
    emit_table([*columns, "packets", "bytes", "age"] if counted else columns, rows)


def _counts(document: Mapping[str, Any], packets: str, octets: str) -> list[Any]:
    """Packets, bytes, age in seconds; of what the switch does not hold, or did not tell, nothing."""
    counters = document.get("counters")
    return [None] * 3 if counters is None else [counters[packets], counters[octets], f"{counters['age']:.0f}s"]


def _bucket(group: Mapping[str, Any]) -> str:
    if group["bucket"] is None:
        return f"{group['type'] or 'not there'}, all of {group['buckets']} buckets"
    slots = f", as {group['slots']} of 256 slots do" if group["slots"] else ""
    return f"{group['type']}, bucket {group['bucket']} of {group['buckets']}{slots}"


def _verdict(document: Mapping[str, Any]) -> str:
    """What became of the packet; of one that a switch sends up, what that is for."""
    if document["verdict"] != "controller":
        reason = f": {document['reason']}" if document.get("reason") else ""
        return str(document["verdict"]) + (f" to {document['host']}" if document["host"] else "") + reason
    rules = [rule for hop in document["forward"] for rule in hop["rules"]]
    table, last = (rules[-1]["table"], rules[-1]["object"] or "") if rules else ("", "")
    if table == "respond":
        return "answered by the controller" + (": a question for a name" if last.startswith("networks/") else "")
    if table == "admission":
        return "up to the controller, which learns from it who is where"
    if table not in ("classify", "choose", "reject"):
        return "up to the controller, which tells the sender what is wrong (too big, or its TTL is used up)"
    before = rules[-2] if table == "reject" and len(rules) > 1 else rules[-1]
    kind, _, name = (before["object"] or "").partition("/")
    why = {
        ("addressing", "services"): f"service {name} has no such port",
        ("addressing", "networks"): f"no service has this address of the pool {name}",
        ("choose", "services"): f"nobody serves in {name}",
        ("choose", "functions"): "nobody can take it: no provider of the service serves, or no instance works",
        ("classify", "classifiers"): f"classifier {name} rejects it",
    }.get((before["table"], kind), f"by {before['object']} in table {before['table']}")
    return f"refused: {why}; the sender is told (RST, or ICMP unreachable)"

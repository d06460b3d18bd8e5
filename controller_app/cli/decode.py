"""`chainctl decode`: what the labels in a capture say, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller_app.cli.common import (
    Controller,
    Failure,
    Output,
    Policies,
    Token,
    Topologies,
    emit_document,
    emit_table,
    output_format,
    say,
)
from controller_app.cli.offline import load

if TYPE_CHECKING:
    from controller_app.verification.decode_label import Names

_COLUMNS = ("time", "chain", "path", "direction", "position", "next", "exit", "transport", "packet")


def decode(
    file: Annotated[str, typer.Argument(metavar="FILE.pcap", help="A capture, as tcpdump -w writes it.")],
    topology: Topologies = None,
    policy: Policies = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """For each captured frame with a label: its chain, path, direction, position, next waypoint and exit.

    Labels are numbers: with -t and -p they mean what `chainctl compile` gives them, without what the running
    controller gives them now.
    """
    from controller_app.verification.decode_label import decode_all
    from controller_app.verification.pcap import CaptureError, frames

    chosen = output_format(output)
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise Failure(f"{file}: cannot be read: {error.strerror}") from None
    names = _names(topology, policy, controller, token)
    counted = _Counted()
    try:
        found = list(decode_all(counted.all(frames(data)), names))
    except CaptureError as error:
        raise Failure(f"{file}: {error}") from None
    if chosen == "table":
        emit_table(_COLUMNS, [_row(item) for item in found])
    else:
        emit_document({"frames": found}, chosen)
    say(f"{len(found)} of {counted.number} frames carry a label")


class _Counted:
    """Frames, counted as they go by."""

    number = 0

    def all(self, frames: Iterator[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
        """The same frames."""
        for frame in frames:
            self.number += 1
            yield frame


def _names(
    topologies: list[str] | None, policies: list[str] | None, controller: str | None, token: str | None
) -> Names:
    """The names of labels: of files, or of the running controller."""
    from controller_app.verification.decode_label import Names, names_of

    if topologies:
        loaded, network = load(topologies, policies)
        return names_of(loaded, network)
    if policies:
        raise Failure("give the topology with -t FILE; without -t and -p the running network is asked")
    from controller_app.cli.client import Client

    try:
        return Names.from_json(Client(controller, token).get("/labels"))
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"the controller's answer is not understood ({error}); is it of another version?") from None


def _row(item: dict[str, Any]) -> list[Any]:
    steps = len(item["path"])
    chain = ", ".join(item["chain"]) or "-"
    named = f" ({', '.join(item['names'])})" if item["names"] else ""
    nexts = item["next"]
    return [
        f"{item['time']:.6f}",
        chain + named,
        item["path"],
        item["direction"],
        "?" if item["position"] is None else f"{item['position']}/{steps}",
        nexts["name"] + (f" ({nexts['at']})" if nexts["at"] else ""),
        item["exit"]["name"],
        item["transport"] + "".join(f" {key}={item[key]}" for key in ("segment", "spi", "si", "ttl") if key in item),
        item["packet"],
    ]

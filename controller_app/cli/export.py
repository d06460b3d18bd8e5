"""`chainctl export`: the policies as they are applied, as files that another controller, or this one, can be given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller_app.cli.client import Client
from controller_app.cli.common import (
    Controller,
    Failure,
    Output,
    Token,
    emit,
    emit_document,
    listed,
    output_format,
    say,
)


def export(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Only these policies.")] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Write NAME.yaml files there.")] = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """The policies as they are applied, as files, with what they must be understood for (`must_understand`) said in
    each that uses more than every controller has."""
    chosen = output_format(output)
    texts = dict(Client(controller, token).get("/export")["policies"])
    missing = [name for name in names or () if name not in texts]
    if missing:
        raise Failure(f"there is no policy named {listed(missing)}; there {_are(sorted(texts))}")
    texts = {name: texts[name] for name in names} if names else texts
    if not texts:
        say("no policy is applied")
    if chosen != "table":
        return emit_document({"policies": texts}, chosen)
    if out is not None:
        return _write(texts, Path(out))
    for name, text in texts.items():
        # One alone is a file as it stands; of several each begins with the name of the file that it would be.
        emit((f"# {_file(name, text)}\n" if len(texts) > 1 else "") + text.removesuffix("\n"))


def _write(texts: dict[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / _file(name, text)).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{error.filename}: cannot be written: {error.strerror}") from None
    say(f"{len(texts)} file{'s' * (len(texts) != 1)} in {folder}")


def _file(name: str, text: str) -> str:
    """The file in which a policy keeps its name."""
    return f"{name}.json" if text.lstrip().startswith("{") else f"{name}.yaml"


def _are(names: list[str]) -> str:
    return f"are {', '.join(names)}" if names else "are none"

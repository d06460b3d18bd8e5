"""Bad input with its place marked: `§` stands before what is wrong and is taken out before reading."""

from __future__ import annotations

from controller_app.model.position import Position

MARK = "§"


def unmark(text: str, name: str) -> tuple[str, list[Position]]:
    """The text without marks, and where they stood."""
    places = []
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        while MARK in line:
            places.append(Position(name, number, line.index(MARK) + 1))
            line = line.replace(MARK, "", 1)
        lines.append(line)
    return "\n".join(lines), places

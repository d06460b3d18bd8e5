"""From a path to text: sizes and encodings refused before anything is parsed."""

from __future__ import annotations

from pathlib import Path

from controller_app.model.position import Diagnostic, PolicyError, Position

MAX_BYTES = 10_000_000


def read_file(path: str) -> str:
    """The text of a file, refused unread when it is too large. Raises PolicyError."""
    try:
        size = Path(path).stat().st_size
        data = b""
        if size <= MAX_BYTES:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)  # more than its size where it grows, or is a device
    except IsADirectoryError:
        raise PolicyError([whole_file(path, "this is a directory", "name a file in it")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PolicyError(
            [whole_file(path, f"cannot be read: {reason}", "check the path and its permissions")]
        ) from None
    if max(size, len(data)) > MAX_BYTES:
        raise PolicyError([too_large(path, max(size, len(data)))])
    return decode(data, path)


def decode(data: bytes, name: str) -> str:
    """UTF-8 bytes to text, a byte order mark left out. Raises PolicyError with the place of a bad byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]  # without the mark
        start = before.rfind(b"\n") + 1
        place = Position(name, before.count(b"\n") + 1, len(before[start:].decode("utf-8", "replace")) + 1)
        raise PolicyError(
            [Diagnostic(place, "document", "not UTF-8 text", "save the file as UTF-8")]
        ) from None


def whole_file(name: str, what: str, remedy: str) -> Diagnostic:
    """A problem of the file as a whole."""
    return Diagnostic(Position(name), "document", what, remedy)


def too_large(name: str, size: int) -> Diagnostic:
    """What to say of a file of `size` bytes or more."""
    return whole_file(
        name,
        f"the file is too large: {size} bytes or more, {MAX_BYTES} are allowed",
        "split it into several files",
    )

"""What differs between two revisions' policies, as a unified diff that `patch` understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

CONTEXT = 3  # lines around a change
NO_END = "\\ No newline at end of file\n"


def difference(before: Mapping[str, str], after: Mapping[str, str], names: tuple[str, str]) -> str:
    """Policies before and after, by name; `names` tell the two apart in the headings. Empty where nothing differs."""
    return "".join(
        line
        for policy in sorted({**before, **after})
        for line in _policy(policy, before.get(policy), after.get(policy), names)
    )


def _policy(name: str, before: str | None, after: str | None, names: tuple[str, str]) -> Iterator[str]:
    if before == after:
        return
    old, new = _lines(before or ""), _lines(after or "")
    yield f"--- {'/dev/null' if before is None else f'{name}@{names[0]}'}\n"
    yield f"+++ {'/dev/null' if after is None else f'{name}@{names[1]}'}\n"
    for group in _groups(old, new):
        (_, a, _, b, _), (_, _, a_end, _, b_end) = group[0], group[-1]
        yield f"@@ -{_range(a, a_end)} +{_range(b, b_end)} @@\n"
        for kind, a, a_end, b, b_end in group:
            if kind == "equal":
                yield from _marked(" ", old[a:a_end])
                continue
            yield from _marked("-", old[a:a_end])
            yield from _marked("+", new[b:b_end])


def _groups(old: Sequence[str], new: Sequence[str]) -> Iterator[list[tuple[str, int, int, int, int]]]:
    """What changed, in groups with context, as SequenceMatcher has them. What is the same at both ends is left out
    first: comparing long texts line by line takes time with their square."""
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    end = next((i for i in range(most - start) if old[-1 - i] != new[-1 - i]), most - start)
    skip, end = max(0, start - CONTEXT), max(0, end - CONTEXT)
    middle = SequenceMatcher(None, old[skip : len(old) - end], new[skip : len(new) - end])
    for group in middle.get_grouped_opcodes(CONTEXT):
        yield [(kind, a + skip, a_end + skip, b + skip, b_end + skip) for kind, a, a_end, b, b_end in group]


def _lines(text: str) -> list[str]:
    """Lines end at newlines only, as YAML and `patch` have it for these files."""
    found = [f"{line}\n" for line in text.split("\n")]
    last = found.pop()
    return found if last == "\n" else [*found, last[:-1]]


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n{NO_END}"


def _range(start: int, end: int) -> str:
    """As POSIX has it: an empty range begins before its place."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + (length > 0)},{length}"

"""Branches (`after: FUNCTION`): what comes out of a function takes another chain, and must not come back to it.

A loop is a way from a function through chains that classifiers give to what comes out of functions, back to the
function. Whether one packet would match all of its classifiers is not asked: it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller_app.model.policy import Chain, Classifier
from controller_app.modes import MODES
from controller_app.policy.diagnostics import Findings
from controller_app.policy.entries import Entries, Entry


def check_branches(entries: Entries, findings: Findings) -> None:
    """Report every classifier that is part of a loop, and those after a function nothing goes through."""
    branches = list(_branches(entries))
    following: dict[str, dict[str, tuple[str, Chain]]] = {}  # function -> chain -> the first classifier, the chain
    for entry, chain in branches:
        following.setdefault(entry.value.after, {}).setdefault(chain.name, (entry.value.name, chain))
    loops: dict[tuple[str, str], list[str] | None] = {}
    for entry, chain in branches:
        after: str = entry.value.after
        if (after, chain.name) not in loops:
            loops[after, chain.name] = _way_back(after, chain, following)
        steps = loops[after, chain.name]
        if steps is not None:
            path, position = entry.walk("then", "chain")
            findings.error(
                position,
                path,
                f"a loop: what comes out of {after!r} comes back to it by {' and then '.join(steps)}",
                "lead it through other functions, or to `allow`",
            )
    used = _used(entries)
    for entry in entries["classifiers"].values():
        name = entry.value.after
        if name in entries["functions"] and name not in used:
            path, position = entry.walk("after")
            findings.warning(
                position,
                path,
                f"nothing comes out of function {name!r}: no chain goes through it",
                "name it in a chain, or in an `insert`",
            )


def _branches(entries: Entries) -> Iterator[tuple[Entry, Chain]]:
    """Classifiers of what comes out of a function, with the chain they send it along."""
    for entry in entries["classifiers"].values():
        classifier: Classifier = entry.value
        chain = entries["chains"].get(classifier.then.chain or "")
        function = entries["functions"].get(classifier.after or "")
        if function is not None and MODES[function.value.mode].on_path and chain is not None:
            yield entry, chain.value


def _way_back(
    function: str, chain: Chain, following: Mapping[str, Mapping[str, tuple[str, Chain]]]
) -> list[str] | None:
    """From `chain` to `function`, in words, by the fewest branches; None where there is no way."""
    ways: list[tuple[Chain, list[str]]] = [(chain, [f"chain {chain.name!r}"])]
    seen = {chain.name}
    for current, steps in ways:
        if function in current.through:
            return steps
        for after in current.through:
            for classifier, onward in following.get(after, {}).values():
                if onward.name not in seen:
                    seen.add(onward.name)
                    step = f"chain {onward.name!r} (classifier {classifier!r} after {after!r})"
                    ways.append((onward, [*steps, step]))
    return None


def _used(entries: Entries) -> set[str]:
    found: set[str] = set()
    for entry in entries["chains"].values():
        chain: Chain = entry.value
        found.update(chain.through, chain.returns if isinstance(chain.returns, tuple) else ())
    for section in ("networks", "segments"):
        for entry in entries[section].values():
            found.update(entry.value.insert)
    return found

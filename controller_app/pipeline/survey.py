"""How the regions of one tenant lie to each other: who contends with whom, and what that means for fragments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.pipeline.overlaps import Placed, meetings
from controller_app.pipeline.regions import CLASSIFIER, Region

_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Survey:
    """regions: as given. placed: their boxes. rivals: pairs of regions (by number) of one kind that overlap and
    differ. veiled: pairs of boxes (by position) that differ and meet: one that some fragments can be told to be in, and
    one above it that they cannot."""

    regions: Sequence[Region]
    placed: Sequence[Placed]
    rivals: frozenset[tuple[int, int]]
    veiled: frozenset[tuple[int, int]]


def survey(found: Sequence[Region]) -> Survey:
    """Look at the regions of one tenant.

    Raises PolicyError where two classifiers overlap, differ, and nothing says which comes first.
    """
    placed = [
        Placed(number, box, region.kind, region.decision)
        for number, region in enumerate(found)
        for box in region.boxes
    ]
    rivals: set[tuple[int, int]] = set()
    veiled: set[tuple[int, int]] = set()

    def meet(one: int, other: int) -> None:
        first, second = placed[one], placed[other]
        if first.kind == second.kind:
            a, b = first.owner, second.owner
            rivals.add((a, b) if a < b else (b, a))
        if first.hides != second.hides:
            bare, hiding = (other, one) if first.hides > second.hides else (one, other)
            if found[placed[hiding].owner].kind >= found[placed[bare].owner].kind:
                veiled.add((bare, hiding))

    meetings(placed, meet)
    _check(found, rivals)
    return Survey(found, placed, frozenset(rivals), frozenset(veiled))


def _check(found: Sequence[Region], rivals: set[tuple[int, int]]) -> None:
    problems = []
    for one, other in sorted(rivals):
        a, b = found[one], found[other]
        if a.level != CLASSIFIER or a.classifier is b.classifier or a.inside(b) or b.inside(a):
            continue
        problems.append(_unordered(a, b))
        if len(problems) == _MOST_PROBLEMS:
            break
    if problems:
        raise PolicyError(problems)


def _unordered(a: Region, b: Region) -> Diagnostic:
    way = "the replies of " if a.mirror else ""
    if a.part or b.part:
        way += "what a translating function sends for "
    return Diagnostic(
        b.classifier.where,
        f"classifiers.{b.classifier.name}",
        f"{way}{b.classifier.name} and {a.classifier.name} ({a.classifier.where}) overlap and nothing "
        "says which comes first",
        "give one of them a larger priority, or make one a strict subset of the other",
    )

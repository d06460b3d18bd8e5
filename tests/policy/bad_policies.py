"""Bad policies by the dozen: each is refused at its very place, in words that say what to do.

`§` marks where the problem is reported; it is not part of the text.
"""

from __future__ import annotations

import pytest
from marked import unmark

from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import parse_policy

Case = tuple[str, str, str, str, str]  # id, text (after `version: 1`), path, what, remedy

NET = "networks: {n: {subnet: 10.0.0.0/24, gateway: 10.0.0.254}, v: {subnet: 100.1.1.0/24, kind: service}}\n"
FUN = "functions: {fw: {instances: {a: {host: a}}}}\n"
CHA = "chains: {c: {through: [fw]}}\n"
EP = "endpoints: {e: {host: h1, network: n, labels: {tier: web}}}\n"
STEER = (
    "networks: {n: {subnet: 10.0.0.0/24}, m: {subnet: 10.1.0.0/24}, v: {subnet: 100.1.1.0/24, kind: service}}\n"
    "functions:\n  fw: {instances: {a: {host: a}}}\n  r: {mode: routed, instances: {b: {host: b}}}\n"
    "  ids: {mode: tap, instances: {c: {host: c}}}\n  nat: {mode: translating, instances: {d: {host: d}}}\n"
    "chains: {cf: {through: [fw]}, cr: {through: [r]}, cn: {through: [nat, fw]}}\n"
)


def classifier(text: str) -> str:
    """One classifier, in a policy that has what it may name."""
    return f"{NET}{EP}{FUN}{CHA}classifiers:\n  - {text}\n"


def service(text: str) -> str:
    """One service, in a policy with a pool of addresses and a provider."""
    return f"{NET}{EP}services:\n  s: {text}\n"


def endpoint(text: str) -> str:
    """One endpoint, in a policy with two networks."""
    return f"{NET}endpoints:\n  e: {text}\n"


def steer(text: str) -> str:
    """One classifier, in a policy with a function of every mode."""
    return f"{STEER}classifiers:\n  - {text}\n"


def segment(*texts: str) -> str:
    """Segments, in a policy with networks and endpoints for them."""
    lines = "".join(f"  s{number}: {text}\n" for number, text in enumerate(texts, 1))
    ends = "endpoints: {a: {host: x, labels: {a: b, c: d}}, b: {host: y, labels: {a: b}}, e: {host: z, labels: {c: d}}}"
    return f"{STEER}{ends}\nsegments:\n{lines}"


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """A test for every case, called as the case is."""
    return pytest.mark.parametrize(
        ("text", "path", "what", "remedy"), [case[1:] for case in cases], ids=[case[0] for case in cases]
    )


def refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    """It is refused where the mark is, and the report of that path has these words."""
    text, (place,) = unmark(f"version: 1\n{text}\n", "p.yaml")
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p.yaml": text})
    here = [item for item in caught.value.diagnostics if item.path == path]
    assert here, caught.value
    assert str(here[0].position) == str(place), here[0]
    assert what in here[0].what
    assert remedy in here[0].remedy

"""Encapsulation as the model has it, in one action, put together from the steps a switch has it in.

Open vSwitch puts an NSH on and a new Ethernet header around it in two steps, `encap(nsh)` and
`encap(ethernet)`, and takes them off in two (ovs-actions(7)). Others may write into the NSH between them, which
is the same as writing after both.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from controller_app.model.flow import Action, DecapNsh, EncapNsh, SetField


class Step(Enum):
    """Half of an EncapNsh or DecapNsh."""

    ENCAP_NSH = "encap(nsh)"
    ENCAP_ETHERNET = "encap(ethernet)"
    DECAP = "decap()"


def fold(steps: Iterable[Action | Step]) -> tuple[Action, ...]:
    """The same actions without steps. ValueError where a step stands without its other half."""
    found: list[Action] = []
    half: Step | None = None
    between: list[Action] = []
    for step in steps:
        if half is None and step in (Step.ENCAP_NSH, Step.DECAP):
            half, between = step, []
        elif half is Step.ENCAP_NSH and step is Step.ENCAP_ETHERNET:
            found += [EncapNsh(), *between]
            half = None
        elif half is Step.DECAP and step is Step.DECAP:
            found.append(DecapNsh())
            half = None
        elif half is Step.ENCAP_NSH and isinstance(step, SetField) and step.field.startswith("nsh_"):
            between.append(step)
        elif half is not None or isinstance(step, Step):
            break
        else:
            found.append(step)
    else:
        if half is None:
            return tuple(found)
    lone = half.value if half is not None else "encap(ethernet)"
    raise ValueError(f"{lone} without the other half of it: only an NSH between two Ethernet headers is known")

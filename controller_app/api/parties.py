"""Parties as they are written in policies."""

from __future__ import annotations

from typing import Any

from controller_app.model.policy import Party, Selector


def written(party: Party) -> str | dict[str, Any]:
    """`any`, or what it names by its kind: `{network: clients}`."""
    if party.kind == "any":
        return "any"
    value = party.value.text if isinstance(party.value, Selector) else str(party.value)
    return {party.kind: value}

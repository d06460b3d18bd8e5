"""What is to be mentioned about the applied policies, as a JSON document."""

from __future__ import annotations

from typing import Any

from controller_app.model.position import PolicyError
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.intent import source_name

Document = dict[str, Any]


def warnings(conductor: Conductor) -> Document:
    """Warnings about the applied policies on the network as it is; errors, where it changed so that they do not fit it
    any more."""
    sources = {source_name(stored): name for name, stored in conductor.intent.stored.items()}
    try:
        _, found = conductor.check(conductor.intent)
    except PolicyError as error:
        found = error.diagnostics
    return {
        "warnings": [
            {
                "policy": sources.get(item.position.file),
                "position": str(item.position),
                "path": item.path,
                "severity": item.severity,
                "what": item.what,
                "remedy": item.remedy,
            }
            for item in found
        ]
    }

"""A walk in words: which switch, which table, which object of the policy wanted it so."""

from __future__ import annotations

from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.flow import CONTROLLER
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.tables import TABLE_NAMES
from controller_app.verification.walk import Hop


def hop_document(hop: Hop, allocation: Allocation | None) -> dict[str, Any]:
    """One hop as JSON: switch, in_port, rules (table and object), out_port (None: it ended here)."""
    out: int | str | None = "controller" if hop.out_port == CONTROLLER else hop.out_port
    return {
        "switch": hop.switch,
        "in_port": hop.in_port,
        "rules": [{"table": TABLE_NAMES.get(flow.table, str(flow.table)),
                   "object": name_of(flow.cookie, allocation)} for flow in hop.rules],
        "out_port": out,
    }


def name_of(cookie: int, allocation: Allocation | None) -> str | None:
    """The object behind a cookie, without the tenant where that is the default one."""
    name = object_name(cookie, allocation or Allocation())
    if name is None:
        return None
    parts = name.split("/")
    if len(parts) == 3 and parts[1] == "default":
        return f"{parts[0]}/{parts[2]}"
    return name


"""Flows by which is counted what providers get and answer: of these a switch tells when they are gone, so that what
they counted to their end is not lost (OpenFlow 1.3.5, 7.3.4.1, OFPFF_SEND_FLOW_REM)."""

from __future__ import annotations

from controller_app.model.flow import Flow
from controller_app.pipeline.cookies import KINDS, OURS_COOKIE
from controller_app.pipeline.tables import NUMBER

TABLES = ("translate", "served", "returned")
SERVICES = OURS_COOKIE | KINDS.index("services") << 40  # the cookies of services' flows, under this mask
SERVICES_MASK = 0xFF << 56 | 0xFF << 40
_COUNTING = frozenset(NUMBER[name] for name in TABLES)


def counts(flow: Flow) -> bool:
    """Whether a flow's packets are counted for a provider."""
    return flow.table in _COUNTING and flow.cookie & SERVICES_MASK == SERVICES

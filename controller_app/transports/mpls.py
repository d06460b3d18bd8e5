"""Two MPLS label stack entries (RFC 3032): on top the segment (RFC 8402) of the switch that comes next, below it what
kind of packet is inside, which MPLS itself does not say.

8 bytes. Labels 0 to 15 are reserved, so segments start at 16.
"""

from __future__ import annotations

from controller_app.model.flow import Action, PopMpls, PushMpls, SetField
from controller_app.pipeline.build import Fields, Rules, resubmit
from controller_app.pipeline.labels import IS_LABEL, IS_WRAPPED, set_prefix
from controller_app.pipeline.tables import IP, IPV6
from controller_app.transports.transport import Onward, Target, Transport

MPLS = 0x8847
FIRST_SEGMENT = 32
INSIDE = {IP: 16 + 4, IPV6: 16 + 6}  # bottom label of each kind
_LABEL = 0xFFFFF


def _put_on(target: Target, eth_type: int) -> tuple[Action, ...]:
    return (
        set_prefix(IS_WRAPPED),
        PushMpls(),
        SetField("mpls_label", INSIDE[eth_type], _LABEL),
        PushMpls(),
        SetField("mpls_label", FIRST_SEGMENT + target.number, _LABEL),
    )


def _carry(rules: Rules, target: Target, out: Onward | None) -> None:
    owner = f"switches/{target.switch}"
    segment: Fields = {"eth_type": MPLS, "mpls_label": FIRST_SEGMENT + target.number, "mpls_bos": 0}
    if out is not None:
        for prefix, action in out.wrapped():
            rules.add("unwrap", "exact", owner, (action,), **segment, eth_dst=prefix)
        return
    rules.add("unwrap", "exact", owner, (PopMpls(MPLS), resubmit("unwrapped")), **segment)
    for eth_type, label in INSIDE.items():
        rules.add(
            "unwrapped",
            "exact",
            owner,
            (PopMpls(eth_type), set_prefix(IS_LABEL), resubmit("transit")),
            eth_type=MPLS,
            mpls_label=label,
            mpls_bos=1,
        )


TRANSPORT = Transport(
    word="mpls", says="two MPLS labels, the upper one the segment of the next switch", number=2, overhead=8,
    put_on=_put_on, carry=_carry,
)  # fmt: skip

"""An 802.1Q tag in front of the labelled frame: its VLAN id is the number of the switch that comes next.

One tag, 4 bytes. A host's own tag stays behind it.
"""

from __future__ import annotations

from controller_app.model.flow import Action, PopVlan, PushVlan, SetField
from controller_app.pipeline.build import Rules
from controller_app.pipeline.labels import IS_LABEL, IS_WRAPPED, set_prefix
from controller_app.transports.transport import Onward, Target, Transport

_PRESENT = 0x1000  # of vlan_tci: there is a tag


def _put_on(target: Target, eth_type: int) -> tuple[Action, ...]:
    del eth_type
    return (
        set_prefix(IS_WRAPPED),
        PushVlan(),
        SetField("vlan_tci", _PRESENT | target.number, 0x1FFF),
    )


def _carry(rules: Rules, target: Target, out: Onward | None) -> None:
    tagged = (_PRESENT | target.number, 0x1FFF)
    owner = f"switches/{target.switch}"
    if out is None:
        rules.add("unwrap", "exact", owner, (PopVlan(), set_prefix(IS_LABEL)), "transit", vlan_tci=tagged)
    else:
        for prefix, action in out.wrapped():
            rules.add("unwrap", "exact", owner, (action,), vlan_tci=tagged, eth_dst=prefix)


TRANSPORT = Transport(
    word="vlan", says="an 802.1Q tag with the number of the next switch", number=1, overhead=4,
    put_on=_put_on, carry=_carry,
)  # fmt: skip

"""Frames that went through a function to check it come up, and go no further; and what comes out of an instance that is
checked and does not work.

The controller sends them out of one arm's port (`controller_app.health.crossing`); here is what its switches do when
they come back by an arm. Also where the function does not work now: that is how it comes back.
"""

from __future__ import annotations

from controller_app.model.flow import CONTROLLER, Output
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put
from controller_app.pipeline.tables import CHECK_MACS, CHECK_PATH, FROM, IP, IPV6
from controller_app.pipeline.views import ArmView, InstanceView
from controller_app.transports.nsh import NSH

FIRST_INDEX = 255  # of a check's service path: a function that speaks NSH gives it back with one less (RFC 8300 2.3)
_EITHER = CHECK_MACS[0], ~1 & (1 << 48) - 1  # match: they differ in the last bit


def cross(rules: Rules, instance: InstanceView, arm: ArmView, served: bool) -> None:
    """What one arm's switch does with them. served: packets go through the instance; otherwise nothing that it sends
    for others is taken for a host's, also what it had kept."""
    owner = instance.owner
    if instance.mode.is_host:
        source: Fields = {} if arm.mac is None else {"eth_src": arm.mac}
        for eth_type in (IP, IPV6) if not served else ():
            rules.add("admission", "known", owner, in_port=arm.port, eth_type=eth_type, **source)
        return
    if not served:
        rules.add("admission", "refuse", owner, in_port=arm.port)
    if instance.mode.word == "nsh":
        came = labels.bits(FROM, arm.waypoint)
        rules.add("admission", "trusted", owner, (put(FROM, arm.waypoint),), "nsh", in_port=arm.port, eth_type=NSH)
        rules.add(
            "nsh", "exact", owner, (Output(CONTROLLER),),
            reg6=came, eth_type=NSH, nsh_spi=CHECK_PATH, nsh_si=FIRST_INDEX - 1,
        )  # fmt: skip
        return
    # Below labels, so that Open vSwitch need not look at a labelled frame's whole address. What comes back without its
    # label is any IP packet's.
    band = "refuse" if instance.brings_label else "trusted"
    rules.add("admission", band, owner, (Output(CONTROLLER),), plus=1, in_port=arm.port, eth_dst=_EITHER)

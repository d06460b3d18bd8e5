"""A Network Service Header (RFC 8300) around the labelled frame, in an Ethernet frame with the same label.

Service path identifier: path and direction. Service index: 255, less one for each function met. MD type 1; the first
context header carries the label's lower half, so that it is there also where an NSH function rewrote the outer
addresses. Every switch on the way decrements the TTL, from 63, and drops at 0. 8 bytes of base and path headers, 16 of
context, 14 of Ethernet.
"""

from __future__ import annotations

from controller_app.model.flow import Action, DecapNsh, DecNshTtl, EncapNsh, Move, SubField
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules, resubmit
from controller_app.pipeline.labels import ANY_WRAPPED, IS_LABEL, IS_WRAPPED, set_prefix
from controller_app.pipeline.tables import SAVED_HIGH, SAVED_LOW, SERVICE_INDEX
from controller_app.transports.transport import Onward, Target, Transport

NSH = 0x894F
DIRECTION_AND_PATH = SubField("eth_dst", labels.BACKWARD.offset, labels.BACKWARD.bits + labels.PATH.bits)
_IN_SAVED = SubField(SAVED_LOW.field, DIRECTION_AND_PATH.offset, DIRECTION_AND_PATH.bits)
SPI = SubField("nsh_spi", 0, DIRECTION_AND_PATH.bits)
LOW, HIGH = SubField("eth_dst", 0, 32), SubField("eth_dst", 32, 16)
CONTEXT = SubField("nsh_c1", 0, 32)

# The label is kept in registers while a header goes on or off in front of it.
SAVE: tuple[Action, ...] = (Move(LOW, SAVED_LOW), Move(HIGH, SAVED_HIGH))
PUT_BACK: tuple[Action, ...] = (Move(SAVED_LOW, LOW), Move(SAVED_HIGH, HIGH))
WRAP: tuple[Action, ...] = (
    *SAVE,
    EncapNsh(),
    Move(_IN_SAVED, SPI),
    Move(SAVED_LOW, CONTEXT),
)


def _put_on(target: Target, eth_type: int) -> tuple[Action, ...]:
    del target, eth_type
    index = Move(SERVICE_INDEX, SubField("nsh_si", 0, 8))
    return (*WRAP, index, *PUT_BACK, set_prefix(IS_WRAPPED))


def _carry(rules: Rules, target: Target, out: Onward | None) -> None:
    owner = f"switches/{target.switch}"
    for base, size in target.blocks:
        towards = labels.block(base, size)
        if out is not None:
            for prefix, action in out.wrapped():
                to = labels.both(prefix, towards)
                rules.add("unwrap", "exact", owner, (DecNshTtl(), action), eth_type=NSH, eth_dst=to)
            continue
        actions = (DecNshTtl(), *SAVE, DecapNsh(), resubmit("unwrapped"))
        to = labels.both(ANY_WRAPPED, towards)
        rules.add("unwrap", "exact", owner, actions, eth_type=NSH, eth_dst=to)
    if out is None:
        # the inner frame has the label of when it was wrapped; the outer one was kept up to date
        rules.add("unwrapped", "rest", owner, (*PUT_BACK, set_prefix(IS_LABEL)), "transit")


TRANSPORT = Transport(
    word="nsh", says="a Network Service Header around the frame", number=3, overhead=38,
    put_on=_put_on, carry=_carry,
)  # fmt: skip

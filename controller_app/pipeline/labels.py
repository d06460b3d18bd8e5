"""The label: 40 bits of a locally administered destination MAC that carry a packet's whole way.

    0e : waypoint 13 | path 12 | backward 1 | exit 13 | routed 1

waypoint  where the packet goes next: a port of a switch (a function's arm, a tap, a host), or a whole block
          of them, since the waypoints of one switch share a prefix.
path      which instance of every function of its chain it meets; 0 is the way without functions. Its top
          bit says that the edges remember connections of this path (stickiness `connection`).
backward  it travels its chain from the end to the start.
exit      the waypoint where it leaves the network. After the last function of a path that the edges remember,
          and which it takes forward, that function's waypoint instead: from there answers start.
routed    it goes from one network to another: TTL and MAC addresses change at the exit.

Between two switches the prefix may be `2e`: the packet took a detour around a dead link on its way to this waypoint,
and takes no other (see `routing.alternates`). At the waypoint's switch it is `0e` again.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller_app.model.flow import SetField, SubField

PREFIX = 0x0E
WAYPOINT = SubField("eth_dst", 27, 13)
PATH = SubField("eth_dst", 15, 12)
BACKWARD = SubField("eth_dst", 14, 1)
EXIT = SubField("eth_dst", 1, 13)
ROUTED = SubField("eth_dst", 0, 1)

WAYPOINTS = 1 << WAYPOINT.bits
REMEMBERED = 1 << (PATH.bits - 1)  # set in the ids of paths whose connections the edges remember
IS_LABEL = (PREFIX << 40, 0xFF << 40)  # match: any label
WRAPPED = 0x1E  # instead of the prefix while a transport's header is on the frame
IS_WRAPPED = (WRAPPED << 40, 0xFF << 40)
DETOURED = SubField("eth_dst", 45, 1)  # of the prefix, with either one: it took a detour
_DETOURED, _EITHER = 0x20 << 40, 0xDF << 40
ANY_LABEL, ANY_WRAPPED = (PREFIX << 40, _EITHER), (WRAPPED << 40, _EITHER)  # detour or not
LABEL_DETOURED, WRAPPED_DETOURED = ((number << 40 | _DETOURED, 0xFF << 40) for number in (PREFIX, WRAPPED))
PREFIXES = (PREFIX, WRAPPED, PREFIX | 0x20, WRAPPED | 0x20)

# What an edge remembers of a connection, in ct_label: the choice this edge made for packets that enter here, as it
# lies in the label; and of the label that packets from the other side came with the path, the way back and its start.
CHOSEN_IN_LABEL = SubField("eth_dst", EXIT.offset, EXIT.bits + BACKWARD.bits + PATH.bits + WAYPOINT.bits)
CHOSEN = SubField("ct_label", 64, CHOSEN_IN_LABEL.bits)
CHOSEN_EXIT = SubField("ct_label", 64, EXIT.bits)
CHOSEN_BACKWARD = SubField("ct_label", 64 + EXIT.bits, BACKWARD.bits)
CHOSEN_PATH = SubField("ct_label", 64 + EXIT.bits + BACKWARD.bits, PATH.bits)
CHOSEN_WAY = SubField("ct_label", 64 + EXIT.bits, BACKWARD.bits + PATH.bits + WAYPOINT.bits)
CHOSEN_VALID = SubField("ct_label", 64 + CHOSEN.bits, 1)
LEARNED_PATH = SubField("ct_label", 0, PATH.bits)
LEARNED_WAYPOINT = SubField("ct_label", PATH.bits, WAYPOINT.bits)
LEARNED_VALID = SubField("ct_label", PATH.bits + WAYPOINT.bits, 1)
WAY = SubField("eth_dst", BACKWARD.offset, CHOSEN_WAY.bits)  # what is taken again: backward, path, waypoint
TURN = SubField("eth_dst", BACKWARD.offset, BACKWARD.bits + PATH.bits)  # the same without waypoint


def bits(field: SubField, value: int) -> tuple[int, int]:
    """(value, mask) of one part within its field, for a match or a SetField."""
    if value >> field.bits:
        raise ValueError(f"{value} does not fit {field.bits} bits of {field.field}")
    return value << field.offset, ((1 << field.bits) - 1) << field.offset


def block(base: int, size: int) -> tuple[int, int]:
    """(value, mask): the waypoint lies in a block, whose size is a power of two and divides its base."""
    return base << WAYPOINT.offset, (WAYPOINTS - size) << WAYPOINT.offset


def exits(base: int, size: int) -> tuple[int, int]:
    """(value, mask): the exit lies in a block of waypoints."""
    return base << EXIT.offset, (WAYPOINTS - size) << EXIT.offset


def set_prefix(prefix: tuple[int, int]) -> SetField:
    """Write IS_LABEL or IS_WRAPPED into the destination MAC."""
    return SetField("eth_dst", *prefix)


def both(*parts: tuple[int, int]) -> tuple[int, int]:
    """Several (value, mask) pairs of one field as one."""
    value = mask = 0
    for part_value, part_mask in parts:
        value |= part_value
        mask |= part_mask
    return value, mask


@dataclass(frozen=True, slots=True)
class Label:
    """A label, taken apart."""

    waypoint: int
    path: int = 0
    backward: bool = False
    exit: int = 0
    routed: bool = False

    def mac(self) -> int:
        """The label as a 48-bit MAC address."""
        return both(
            IS_LABEL,
            bits(WAYPOINT, self.waypoint),
            bits(PATH, self.path),
            bits(BACKWARD, int(self.backward)),
            bits(EXIT, self.exit),
            bits(ROUTED, int(self.routed)),
        )[0]

    @staticmethod
    def read(mac: int) -> Label | None:
        """Take a MAC apart; None when it is no label."""
        if mac >> 40 != PREFIX:
            return None

        def part(field: SubField) -> int:
            return mac >> field.offset & ((1 << field.bits) - 1)

        return Label(part(WAYPOINT), part(PATH), bool(part(BACKWARD)), part(EXIT), bool(part(ROUTED)))

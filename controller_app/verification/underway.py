"""A packet under way in a switch, and what actions do to its fields."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller_app.model.flow import (
    FIELD_ORDER,
    Action,
    CheckPacketLarger,
    Ct,
    Flow,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    SetQueue,
    SubField,
    ToGroup,
)
from controller_app.verification.conntrack import Place
from controller_app.verification.headers import TAGGED
from controller_app.verification.lookup import Bits
from controller_app.verification.packet import Packet
from controller_app.verification.passages import Recording

_TAGGING = ("vlan_tci", "vlan_tci2", "length")


@dataclass(slots=True)
class Underway:
    """A packet under way in the switch."""

    fields: dict[str, int]
    hidden: dict[str, int] = field(default_factory=dict)  # translated, not yet seen by look-ups
    rules: list[Flow] = field(default_factory=list)
    # Where it was tracked last, what it looked like there, and whether that translated it.
    tracked: tuple[Place, Packet, bool] | None = None
    slot: SubField | None = None  # where multipath wrote, while every slot is meant
    # Of this copy: an NSH was put on; it was read anew after a header was taken off; the number of an NSH put on with
    # nothing sent since (0: none).
    wrapped: bool = False
    reread: bool = False
    pending: int = 0
    was_mpls: bool = False  # the last label is off, and it is still to be read anew
    notes: Recording | None = None  # who is told what is read of the packet as it came
    written: dict[str, int] = field(default_factory=dict)  # the bits that are not as they came

    def copy(self) -> Underway:
        return Underway(dict(self.fields), dict(self.hidden), list(self.rules), self.tracked, self.slot,
                        pending=self.pending, was_mpls=self.was_mpls, notes=self.notes, written=dict(self.written))

    def reads(self, name: str, mask: int = -1) -> None:
        """Bits of a field are looked at."""
        mask &= ~self.written.get(name, 0)
        if mask and self.notes is not None:
            self.notes.reads(name, mask)

    def looked(self, bits: Bits) -> None:
        """All of these are looked at."""
        if self.notes is not None:
            self.notes.looked(bits, self.written)

    def wrote(self, name: str, mask: int = -1) -> None:
        """Bits of a field were written."""
        self.written[name] = self.written.get(name, 0) | mask

    def changes(self) -> dict[str, int]:
        """The bits that are not as they came, for whoever receives it."""
        return {**self.written, **dict.fromkeys(self.hidden, -1)}

    def read(self, part: SubField) -> int:
        self.reads(field_of(part.field), mask_of(part))
        return self.fields.get(field_of(part.field), 0) >> part.offset & ((1 << part.bits) - 1)

    def put(self, part: SubField, value: int) -> None:
        self.write(part.field, value << part.offset, (1 << part.bits) - 1 << part.offset)

    def seen(self) -> dict[str, int]:
        """Its fields as whoever receives it would see them."""
        return {**self.fields, **self.hidden}

    def reshape(self, fields: dict[str, int]) -> None:
        """Other headers; nothing is hidden from look-ups but what they hide."""
        self.written |= dict.fromkeys(self.hidden, -1)
        self.fields = fields
        self.hidden.clear()

    def retags(self) -> None:
        """Tags are put on, written or taken off: that depends on those that are there, and is seen in the length."""
        for name in _TAGGING:
            self.reads(name)
            self.wrote(name)

    def check_length(self, action: CheckPacketLarger) -> None:
        self.reads("length")
        larger = self.fields.get("length", 0) > action.size
        self.write(action.target.field, larger << action.target.offset, 1 << action.target.offset)

    def write(self, name: str, value: int, mask: int) -> None:
        if name == "in_port":
            # Sixteen bits of OpenFlow 1.0 stand for all 32: 0xff00 and above are reserved ports.
            self.wrote(name)
            port = (self.fields.get(name, 0) & ~mask | value) & 0xFFFF
            self.fields[name] = port | 0xFFFF0000 if port >= 0xFF00 else port
            return
        if self.slot is not None and self.slot.field == name and mask & mask_of(self.slot):
            self.slot = None  # whoever writes a part of it has settled the rest
        if name == "vlan_tci":
            self.retags()
        name = field_of(name)
        old = self.fields.get(name, 0)
        self.wrote(name, mask)
        self.fields[name] = new = old & ~mask | value
        self.hidden.pop(name, None)
        if name == "vlan_tci":  # written where no tag is, it is one; where it says there is none, none is left
            more = bool(new & TAGGED) - bool(old & TAGGED)
            if not new & TAGGED and self.fields.pop("vlan_tci2", 0):
                more -= 1
            if "length" in self.fields:
                self.fields["length"] += 4 * more


def field_of(name: str) -> str:
    """What a packet calls a field."""
    return "ttl" if name == "ip_ttl" else name


def needs_reading(action: Action) -> bool:
    """Whether a packet whose last label was taken off is read anew before this action (recirc_for_mpls in Open
    vSwitch)."""
    match action:
        case SetField(field=name):
            return FIELD_ORDER[name] > FIELD_ORDER["vlan_tci"]
        case Output() | ToGroup() | PushVlan() | PopVlan() | SetQueue():
            return False
    return True


def touches(action: Action, part: SubField) -> bool:
    """Whether an action itself reads any of these bits, or writes some of them and not all."""
    match action:
        case SetField(field=name, mask=mask):
            return name == part.field and 0 < (mask & mask_of(part)) < mask_of(part)
        case Move(source=source, target=target):
            return common_bits(source, part) > 0 or 0 < common_bits(target, part) < mask_of(part)
        case CheckPacketLarger(target=target):
            return common_bits(target, part) > 0
        case Multipath(target=target):
            return 0 < common_bits(target, part) < mask_of(part)
        case Ct(zone=zone, exec=inner):
            read = isinstance(zone, SubField) and common_bits(zone, part) > 0
            return read or any(touches(one, part) for one in inner)
    return False


def common_bits(one: SubField, other: SubField) -> int:
    """The bits two parts of a field share; 0 where the fields differ."""
    return mask_of(one) & mask_of(other) if one.field == other.field else 0


def mask_of(part: SubField) -> int:
    return (1 << part.bits) - 1 << part.offset


def written_by(action: Action, packet: Underway) -> tuple[str, int, int]:
    """(field, value, mask) of what an action within exec() writes."""
    match action:
        case SetField(field=name, value=value, mask=mask):
            return name, value, mask
        case Move(source=source, target=target):
            mask = ((1 << target.bits) - 1) << target.offset
            return target.field, packet.read(source) << target.offset, mask
    return "", 0, 0


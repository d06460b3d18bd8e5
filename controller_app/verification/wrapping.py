"""What is around an IP packet when somebody gets it: a tag, NSH, or what switches put on between themselves."""

from __future__ import annotations

from controller_app.verification.headers import TAGGED, decap_nsh
from controller_app.verification.packet import IPV4, IPV6, Packet

_VID = 0xFFF


def tag_of(frame: Packet) -> int | None:
    """The VLAN a frame is tagged with."""
    tci = frame.get("vlan_tci", 0)
    return tci & _VID if tci & TAGGED else None


def wrapped(frame: Packet) -> bool:
    """Whether anything but an Ethernet header, and perhaps a VLAN tag, is around the IP packet."""
    return frame.get("eth_type") not in (IPV4, IPV6) or bool(frame.get("vlan_tci2"))


def inside(frame: Packet) -> Packet | None:
    """The Ethernet frame behind an NSH; None where there is none."""
    return decap_nsh(frame)

"""Puts an 802.1Q tag on what a host sends, and takes it off what it gets: a VLAN subinterface.

Usage: tagger.py WIRE TAP VID    TAP is a persistent tap interface (`ip tuntap add`), WIRE the cable. Not every kernel
has 802.1Q devices; every one that runs containers has taps and packet sockets (packet(7)). Frames with another tag,
or none, are not for this host and end here.
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4  # linux/if_packet.h
TCI_VALID, TPID = 1 << 4, 0x8100
AUXDATA = struct.Struct("IIIHHHH")  # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid


def open_tap(name: str) -> int:
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def tag_of(control: list[tuple[int, int, bytes]]) -> int | None:
    """The VLAN of a received frame: the kernel takes the tag out of the frame and hands it over beside it."""
    for level, kind, data in control:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, _ = AUXDATA.unpack(data[: AUXDATA.size])
            if status & TCI_VALID:
                return int(tci & 0xFFF)
    return None


def main(wire: str, tap_name: str, vid: int) -> None:
    tap = open_tap(tap_name)
    cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    cable.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    cable.bind((wire, 0x0003))
    tag = struct.pack("!HH", TPID, vid)
    print("tagging", flush=True)
    while True:
        ready, _, _ = select.select([tap, cable.fileno()], [], [])
        if tap in ready:
            frame = os.read(tap, 65535)
            cable.send(frame[:12] + tag + frame[12:])
        if cable.fileno() in ready:
            frame, control, _, address = cable.recvmsg(65535, socket.CMSG_SPACE(AUXDATA.size))
            if address[2] != PACKET_OUTGOING and tag_of(control) == vid:
                os.write(tap, frame)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

"""A host that is checked, played with scapy: a TCP server with a mind of its own, and ARP and ND."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

GATEWAY_MAC = "0a:00:00:00:00:01"
WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def parsed(frame: bytes) -> Packet:
    """A frame, whose checksums have to be right."""
    packet = Ether(frame)
    again = Ether(frame)
    for layer, fields in ((IP, ("chksum", "len")), (TCP, ("chksum",)), (IPv6, ("plen",))):
        if layer in again:
            for name in fields:
                setattr(again[layer], name, None)
    rebuilt = Ether(bytes(again))
    for layer, name in ((IP, "chksum"), (TCP, "chksum"), (IP, "len"), (IPv6, "plen")):
        if layer in packet:
            assert getattr(packet[layer], name) == getattr(rebuilt[layer], name), name
    return packet


@dataclass
class Server:
    """`mode`: listening, refusing, silent, mute (accepts, and says nothing). `answer` goes out in `pieces`, one segment
    each; what is not acknowledged goes out again with `resend`."""

    mac: str = "02:00:00:00:02:21"
    mode: str = "listening"
    answer: bytes = WELL
    pieces: tuple[int, ...] = ()
    closes: bool = True
    vlan: int | None = None
    number: int = 0xFFFF_FFF0  # ours; it wraps soon
    requests: list[bytes] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)  # of what came
    syns: list[tuple[int, int]] = field(default_factory=list)  # their source ports and sequence numbers
    reset: bool = False
    finished: bool = False  # both sides have closed
    _request: bytes = b""
    _next: int = 0
    _acked: int = 0  # bytes of the answer
    _frames: list[bytes] = field(default_factory=list)

    def take(self, frame: bytes) -> list[bytes]:
        """What it answers."""
        packet = parsed(frame)
        assert (packet.dst == self.mac or packet[Ether].dst[:2] in ("ff", "33")) and packet.src == GATEWAY_MAC
        assert (packet[Dot1Q].vlan if Dot1Q in packet else None) == self.vlan
        if self.mode == "silent":
            return []
        if ARP in packet:
            return [self._frame(ARP(op=2, hwsrc=self.mac, psrc=packet.pdst, hwdst=packet.hwsrc, pdst=packet.psrc))]
        if ICMPv6ND_NS in packet:
            target, asker = packet[ICMPv6ND_NS].tgt, packet[IPv6].src
            said = ICMPv6ND_NA(tgt=target, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=self.mac)
            return [self._frame(IPv6(src=target, dst=asker, hlim=255) / said)]
        self._last = packet
        return self._segment(packet)

    def resend(self) -> list[bytes]:
        """All of the answer again that is not acknowledged."""
        return self._frames[:]

    def _segment(self, packet: Packet) -> list[bytes]:
        tcp = packet[TCP]
        data = bytes(tcp[Raw].load) if Raw in tcp else b""
        self.flags.append(str(tcp.flags))
        if "R" in tcp.flags:
            self.reset = True
            return []
        if self.mode == "refusing":
            return [self.say("RA", 0, (tcp.seq + 1) & 0xFFFFFFFF)]
        if "S" in tcp.flags:
            assert dict(tcp.options)["MSS"] == (536 if IP in packet else 1220)
            self.syns.append((tcp.sport, tcp.seq))
            self._next = tcp.seq + 1 & 0xFFFFFFFF
            return [self.say("SA", self.number, self._next)]
        if data and tcp.seq == self._next:
            self._next = self._next + len(data) & 0xFFFFFFFF
            self._request += data
            if self._request.endswith(b"\r\n\r\n") and self.mode == "listening":
                self.requests.append(self._request)
                self._frames = self._answer()
                return self._frames
            return [self.say("A", self.number + 1, self._next)]
        total = len(self.answer) + self.closes
        acked = tcp.ack - self.number - 1 & 0xFFFFFFFF
        if acked <= total and acked > self._acked:
            while self._frames and self._ends(self._frames[0]) <= acked:
                self._frames.pop(0)
            self._acked = acked
        if "F" in tcp.flags and tcp.seq == self._next:
            self.finished = acked == total
            return [self.say("A", self.number + 1 + total, self._next + 1)]
        return []

    def _ends(self, frame: bytes) -> int:
        tcp = Ether(frame)[TCP]
        data = len(tcp[Raw].load) if Raw in tcp else 0
        return (tcp.seq - self.number - 1 & 0xFFFFFFFF) + data + ("F" in tcp.flags)

    def _answer(self) -> list[bytes]:
        cuts = [0, *sorted({min(piece, len(self.answer)) for piece in self.pieces} - {0}), len(self.answer)]
        frames = [
            self.say("PA", self.number + 1 + begin, self._next, self.answer[begin:end])
            for begin, end in pairwise(cuts)
            if end > begin
        ]
        if self.closes:
            frames.append(self.say("FA", self.number + 1 + len(self.answer), self._next))
        return frames

    def say(self, flags: str, number: int, acknowledged: int, data: bytes = b"") -> bytes:
        """A segment to who spoke last."""
        packet = self._last
        ip = packet.getlayer(IP) or packet.getlayer(IPv6)
        tcp = TCP(
            sport=packet[TCP].dport,
            dport=packet[TCP].sport,
            seq=number & 0xFFFFFFFF,
            ack=acknowledged & 0xFFFFFFFF,
            flags=flags,
        )
        return self._frame(type(ip)(src=ip.dst, dst=ip.src) / tcp / data)

    def _frame(self, layers: Packet) -> bytes:
        return bytes(Ether(src=self.mac, dst=GATEWAY_MAC) / layers).ljust(60, b"\0")  # as untagged by who listens

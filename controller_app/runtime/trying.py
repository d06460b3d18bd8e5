"""Finds out what a switch is able to do, when it connects, without changing it.

For most abilities a rule that needs it is put into a bundle that is discarded: Open vSwitch judges a rule, and what its
datapath has of connection tracking, when it is added to the bundle. What the switch takes and its datapath may still
lack (NSH, MPLS labels) is tried with frames that go nowhere: packet-outs that put the header on and come back up. The
kinds of groups and the number of groups and meters it tells (OpenFlow 1.3.5, 7.3.5.9 and 7.3.5.11), and, as that is
much to tell, only when asked to, how many flows its tables take (7.3.5.5).

Knows message bytes, but no sockets and no clock.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from controller_app.model.flow import CONTROLLER, Action, EncapNsh, Output, PushMpls
from controller_app.openflow import decode, encode
from controller_app.openflow.trial import TRIAL_MARK
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.runtime.capabilities import ABILITIES, MPLS_DEPTHS, Capabilities, by_version

PATIENCE = 2.0  # seconds a frame has to come back
ATTEMPTS = 3  # with frames, before one that did not come back says something
_METER_FEATURES, _GROUP_FEATURES, _TABLE_FEATURES = 11, 8, 12  # OFPMP_
_MULTIPART = struct.Struct("!BBHIHH4x")
_GROUPS = struct.Struct("!II4I")
_TABLE = struct.Struct("!HB")
_GROUP_BITS = {"select-groups": 1 << 1, "failover-groups": 1 << 3}  # OFPGT_
_PLAIN, _NSH = 0, 10  # numbers of frames: 1 up are as many MPLS labels
_FRAMES: dict[int, tuple[Action, ...]] = {
    _PLAIN: (),
    **{depth: (PushMpls(),) * depth for depth in MPLS_DEPTHS},
    _NSH: (EncapNsh(),),
}


@dataclass
class Trying:
    """What is tried of one switch, from its connection on. `next_xid` gives transaction ids."""

    next_xid: Callable[[], int]
    found: Capabilities = field(default_factory=Capabilities)
    _trials: dict[int, str] = field(default_factory=dict)  # xid -> ability
    _sent: set[int] = field(default_factory=set)  # xids of frames
    _bundle: int = 0
    _barrier: int = 0
    _refused: dict[str, str] = field(default_factory=dict)
    _questions: dict[int, int] = field(default_factory=dict)  # xid -> OFPMP_
    _asked_tables: bool = False
    _back: set[int] = field(default_factory=set)  # frames that came back
    _attempts: int = 0
    _until: float | None = None

    def start(self) -> bytes:
        """What is asked at once."""
        self._bundle, self._barrier = self.next_xid(), self.next_xid()
        trials = []
        for name, ability in ABILITIES.items():
            if ability.trial is not None:
                xid = self.next_xid()
                self._trials[xid] = name
                trials.append(encode.flow_mod(encode.ADD, ability.trial, xid))
        asked = b"".join(self._ask(kind) for kind in (_METER_FEATURES, _GROUP_FEATURES))
        discarded = encode.bundle_discard(self._bundle, self._bundle)
        opened = encode.bundle_open(trials, self._bundle, self._bundle)
        return asked + opened + discarded + encode.barrier_request(self._barrier)

    def tick(self, now: float) -> bytes:
        """Time went by; the frames to send now."""
        if self._until is None and self._attempts == 0:
            return self._send_frames(now)
        if self._until is None or now < self._until:
            return b""
        self._until = None
        if set(_FRAMES) <= self._back:
            return b""
        if self._attempts < ATTEMPTS:
            return self._send_frames(now)
        self._conclude()
        return b""

    def tables(self) -> bytes:
        """Ask how many flows the tables take; nothing where that was asked before."""
        if self._asked_tables:
            return b""
        self._asked_tables = True
        return self._ask(_TABLE_FEATURES)

    @property
    def settled(self) -> bool:
        """Is everything that was asked answered?"""
        return not self._questions and "bundles" in self.found.can and set(_FRAMES) <= self._back

    def described(self, hardware: str | None, version: str | None) -> None:
        """The switch told what it is."""
        why = by_version(hardware, version)
        if why is not None:
            self._know("select-groups", False, why)

    def told(self, raw: bytes, xid: int) -> bool:
        """An answer or an error came; answers whether it was for us."""
        kind = raw[1]
        if xid in self._questions:
            self._answered(raw, xid)
        elif xid in self._trials:
            if kind == decode.ERROR:
                self._refused[self._trials[xid]] = str(decode.error_message(raw))
        elif xid == self._bundle:
            if kind == decode.ERROR:  # then it judged nothing of it
                self._refused.setdefault("bundles", str(decode.error_message(raw)))
        elif xid == self._barrier:
            self._judged()
        else:
            return xid in self._sent  # a frame that is refused does not come back: that says enough
        return True

    def packet(self, packet: decode.PacketIn) -> bool:
        """A frame came up; answers whether it is one of ours that came back."""
        if packet.fields.get("in_port") != CONTROLLER or not packet.data.endswith(TRIAL_MARK):
            return False
        number = packet.data[-len(TRIAL_MARK) - 1]
        if number in _FRAMES:
            self._back.add(number)
            self._returned()
        return True

    # -- inside --------------------------------------------------------------------------------------------

    def _ask(self, kind: int) -> bytes:
        xid = self.next_xid()
        self._questions[xid] = kind
        return _MULTIPART.pack(encode.VERSION, 18, 16, xid, kind, 0)

    def _know(self, name: str, able: bool, why: str = "") -> None:
        if self.found.can.get(name) is False and able:
            return  # what one way of asking denied another does not grant
        reasons = self.found.why if able else {**self.found.why, name: why}
        self.found = replace(self.found, can={**self.found.can, name: able}, why=reasons)

    def _judged(self) -> None:
        """The switch has said all it says about the bundle."""
        if "bundles" in self._refused and len(self._refused) == 1:
            self._know("bundles", False, f"the switch refused one: {self._refused['bundles']}")
            return
        self._know("bundles", True)
        for name in self._trials.values():
            why = self._refused.get(name)
            self._know(name, why is None, "" if why is None else f"the switch refused a rule with it: {why}")

    def _answered(self, raw: bytes, xid: int) -> None:
        kind = self._questions[xid]
        if raw[1] == decode.ERROR:
            del self._questions[xid]
            if kind == _METER_FEATURES:
                self.found = replace(self.found, meters=0)
                self._know("meters", False, "the switch does not answer what meters it has")
            return
        body = raw[16:]
        if kind == _METER_FEATURES and len(body) >= 4:
            most = int.from_bytes(body[:4], "big")
            self.found = replace(self.found, meters=most)
            self._know("meters", most > 0, "the switch says that it has none")
        elif kind == _GROUP_FEATURES and len(body) >= _GROUPS.size:
            types, _, *most_of = _GROUPS.unpack_from(body)
            self.found = replace(self.found, groups=min(most_of[1], most_of[3]) or None)
            for name, bit in _GROUP_BITS.items():
                self._know(name, bool(types & bit), "the switch says that it has none")
        elif kind == _TABLE_FEATURES:
            self.found = replace(self.found, tables={**self.found.tables, **_table_sizes(body)})
        if not decode.more_follows(raw):
            del self._questions[xid]

    def _send_frames(self, now: float) -> bytes:
        self._attempts += 1
        self._until = now + PATIENCE
        missing = [number for number in _FRAMES if number == _PLAIN or number not in self._back]
        self._back.discard(_PLAIN)
        parts = []
        for number in missing:
            xid = self.next_xid()
            self._sent.add(xid)
            actions = (*_FRAMES[number], Output(CONTROLLER))
            parts.append(encode.packet_out(CONTROLLER, actions, frame(number), xid))
        return b"".join(parts)

    def _returned(self) -> None:
        depth = 0
        while depth + 1 in self._back:
            depth += 1
        self.found = replace(self.found, mpls_depth=max(depth, self.found.mpls_depth or 0) or None)

    def _conclude(self) -> None:
        """What did not come back while plain frames did, the datapath does not have."""
        if _PLAIN not in self._back:
            return
        if _NSH not in self._back:
            self._know("nsh", False, "a frame that was to get such a header did not come back")
        if 1 not in self._back:
            self.found = replace(self.found, mpls_depth=0)
            self._know("mpls", False, "a frame that was to get a label did not come back")


def _table_sizes(body: bytes) -> dict[int, int]:
    """Table -> max_entries, out of OFPMP_TABLE_FEATURES (struct ofp_table_features: length, id, 5 pad, name of 32,
    metadata_match and _write of 8 each, config, max_entries)."""
    found, at = {}, 0
    while at + 64 <= len(body):
        length, table = _TABLE.unpack_from(body, at)
        if length < 64:
            break
        found[table] = int.from_bytes(body[at + 60 : at + 64], "big")
        at += length
    return found


def frame(number: int) -> bytes:
    """A frame that is tried: IPv4, protocol 253 (RFC 3692), between addresses for documentation (RFC 5737)."""
    inside = bytes((number,)) + TRIAL_MARK
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inside), 0, 0x4000, 64, 253, 0)
    addresses = bytes((192, 0, 2, 1, 198, 51, 100, 1))
    return bytes(6) + GATEWAY_MAC.to_bytes(6, "big") + b"\x08\0" + ip + addresses + inside

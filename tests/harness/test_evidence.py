"""What labs conclude from captures and dumps."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from controller_app.model.flow import Bucket, Group, Resubmit, SetField
from controller_app.pipeline.labels import BACKWARD, EXIT, PATH, bits, both
from controller_app.pipeline.ofctl import format_group
from mininet_scenarios.harness.captures import parse_tcp, read_pcap
from mininet_scenarios.harness.counters import Count, difference
from mininet_scenarios.harness.evidence import (
    Copies,
    Passage,
    chi_square,
    compare,
    hop_limits,
    met,
    portable_choices,
    slots_on_switch,
    table_of_slots,
)
from mininet_scenarios.harness.state import LabError
from mininet_scenarios.harness.way import counted_crossings, crossings, traced_classifiers, traced_tables


def tcp_frame(source: bytes, target: bytes, ports: tuple[int, int], ttl: int = 64) -> bytes:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 7, 0, ttl, 6, 0xBEEF, source, target)
    return b"\2" * 12 + b"\x08\x00" + header + struct.pack("!HHIIBBHHH", *ports, 1, 2, 0x50, 0x12, 9, 9, 0)


def pcap(path: Path, *frames: bytes) -> Path:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for number, frame in enumerate(frames):
        data += struct.pack("<IIII", 100 + number, 250_000, len(frame), len(frame)) + frame
    path.write_bytes(data)
    return path


def test_a_capture_is_read_up_to_the_record_being_written(tmp_path: Path) -> None:
    frame = tcp_frame(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), (5000, 80))
    path = pcap(tmp_path / "a.pcap", frame, frame)
    assert list(read_pcap(path)) == [(100.25, frame), (101.25, frame)]
    path.write_bytes(path.read_bytes()[:-1])
    assert list(read_pcap(path)) == [(100.25, frame)]
    path.write_bytes(b"")
    assert list(read_pcap(path)) == []


def test_another_kind_of_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.pcap").write_bytes(b"\x0a\x0d\x0d\x0a" + bytes(40))
    with pytest.raises(LabError, match=r"b\.pcap"):
        list(read_pcap(tmp_path / "b.pcap"))


def test_tcp_is_found_and_only_that() -> None:
    packet = parse_tcp(1.5, tcp_frame(bytes([10, 0, 0, 1]), bytes([100, 1, 1, 3]), (20001, 8080)))
    assert packet is not None
    assert (packet.source, packet.source_port, packet.target, packet.target_port) == (
        "10.0.0.1",
        20001,
        "100.1.1.3",
        8080,
    )
    assert packet.flags == 0x12
    assert parse_tcp(0, b"\2" * 12 + b"\x08\x06" + bytes(40)) is None  # ARP
    assert parse_tcp(0, packet.frame[:20] + b"\x00\x05" + packet.frame[22:]) is None  # a later fragment
    assert parse_tcp(0, packet.frame[:40]) is None


def test_routers_may_change_ttl_and_nothing_else() -> None:
    ends = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), (1, 2)
    a, b = (parse_tcp(0, tcp_frame(*ends, ttl=ttl)) for ttl in (64, 63))
    c = parse_tcp(0, tcp_frame(ends[0], ends[1], (1, 3)))
    assert a is not None and b is not None and c is not None
    assert a.without_ttl == b.without_ttl != c.without_ttl


def test_copies_are_counted_as_often_as_they_came() -> None:
    assert compare([b"a", b"a", b"b"], [b"b", b"a", b"a"]) == Copies(3, 3, 0)
    assert compare([b"a", b"a", b"b"], [b"a", b"b", b"c"]) == Copies(3, 2, 1)
    assert compare([b"a"], [b"a", b"a"]) == Copies(1, 1, 1)
    assert not compare([], []).complete  # nothing seen proves nothing


@pytest.mark.parametrize(
    ("forward", "backward", "instance"),
    [
        ({"fw1"}, {"fw1"}, "fw1"),
        ({"fw1"}, {"fw2"}, None),
        ({"fw1", "fw2"}, {"fw1", "fw2"}, None),
        ({"fw1"}, set(), None),
    ],
)
def test_one_instance_means_the_same_both_ways(
    forward: set[str], backward: set[str], instance: str | None
) -> None:
    assert Passage(forward, backward).instance == instance


def test_chi_square_tells_fair_from_unfair() -> None:
    shares = {"fw1": 171, "fw2": 85}
    assert chi_square({"fw1": 200, "fw2": 100}, shares) > 0.9
    assert chi_square({"fw1": 150, "fw2": 150}, shares) < 0.001
    assert chi_square({"fw1": 300}, shares) < 0.001
    assert chi_square({"fw1": 200, "fw2": 99, "fw3": 1}, shares) == 0
    assert chi_square({}, shares) == 0


def test_slots_are_read_back_however_they_are_printed() -> None:
    choices = [(1, 5), (1, 6), (2, 5), (1, 6)]
    buckets = tuple(
        Bucket(
            (SetField("eth_dst", *both(bits(PATH, path), bits(BACKWARD, 0), bits(EXIT, exit))), Resubmit(4))
        )
        for path, exit in choices
    )
    wanted = Counter({1: 3, 2: 1}), Counter({5: 2, 6: 2})
    assert slots_on_switch(format_group(Group(1, "select", buckets))) == wanted
    printed = "group_id=1,type=select" + "".join(
        f",bucket=actions=load:{hex((path << 15 | exit << 1) >> 1)}->NXM_OF_ETH_DST[1..39],resubmit(,4)"
        for path, exit in choices
    )
    assert slots_on_switch(printed) == wanted


def test_slots_are_read_from_the_flows_of_the_portable_way() -> None:
    rule = " cookie=0x1, table=141, priority=40000,reg2={},reg3=0x1,reg7={} "
    rule += "actions=load:{}->NXM_OF_ETH_DST[1..39],goto_table:145"
    first, second = (hex((path << 15 | exit << 1) >> 1) for path, exit in ((1, 5), (2, 6)))
    flows = [
        rule.format("0x2/0x1ffff", "0/0xff", first),
        rule.format("0x2/0x1ffff", "0x1/0xff", second),
        rule.format("0x2/0x1ffff", "0x80/0x80", first),
        rule.format("0x3/0x1ffff", "0x40/0xc0", second),
        rule.format("0x3/0x1ffff", "0x40/0xc0", second).replace("table=141", "table=140"),
    ]
    found = [slots_on_switch(choice) for choice in portable_choices(flows)]
    assert found == [(Counter({1: 129, 2: 1}), Counter({5: 129, 6: 1})), (Counter({2: 64}), Counter({6: 64}))]


class Recorded:
    """A capture that holds these packets."""

    def __init__(self, *frames: bytes) -> None:
        self.packets = [parse_tcp(1.0, frame) for frame in frames]

    def tcp(self, since: float = 0.0) -> list[Any]:
        return [packet for packet in self.packets if packet is not None and packet.time >= since]


def test_who_was_met_on_one_interface() -> None:
    client, server = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    there, back = tcp_frame(client, server, (5000, 80), 63), tcp_frame(server, client, (80, 5000))
    other = tcp_frame(client, server, (5001, 80))
    captures: Any = {"r1": Recorded(there, there, back), "r2": Recorded(other)}
    found = met(captures, {"10.0.0.1"}, 0.0)
    assert found["10.0.0.1", 5000] == Passage({"r1"}, {"r1"})
    assert found["10.0.0.1", 5001] == Passage({"r2"}, set())
    assert found["10.0.0.1", 5000].instance == "r1" and found["10.0.0.1", 5001].instance is None
    assert met(captures, {"10.0.0.1"}, 2.0) == {}
    assert hop_limits(captures["r1"].tcp()) == {63, 64}


def test_slots_by_instances_for_every_exit() -> None:
    def item(ingress: str, direction: str, slots: int) -> dict[str, Any]:
        return {
            "name": "c",
            "ingress": ingress,
            "egress": "s9",
            "direction": direction,
            "paths": [{"instances": ["fw1"], "slots": slots}, {"instances": ["fw2"], "slots": 256 - slots}],
        }

    chains = [item("s1", "forward", 171), item("s1", "backward", 1), item("s2", "forward", 2)]
    assert table_of_slots(chains, "c", "s1") == [{"fw1": 171, "fw2": 85}]
    assert table_of_slots(chains, "d", "s1") == []


def hop(switch: str, in_port: int, out_port: int | None, *rules: tuple[str, str]) -> dict[str, Any]:
    return {
        "switch": switch,
        "in_port": in_port,
        "out_port": out_port,
        "rules": [{"table": table, "object": name} for table, name in rules],
    }


TRACE = {
    "forward": [
        hop("s1", 1, 2, ("classify", "classifiers/web")),
        hop("s2", 1, 3, ("deliver", "functions/fw")),
    ],
    "copies": [{"tap": "ids", "hops": [hop("s1", 1, 2), hop("s2", 1, 9, ("tap", "functions/ids"))]}],
    "return": [hop("s2", 3, 1), hop("s1", 2, 1)],
    "return_copies": [],
}


def test_a_trace_foretells_what_ports_count() -> None:
    assert crossings(TRACE, 10, 4) == {
        ("s1", 1, "in"): 10,
        ("s1", 2, "out"): 20,
        ("s2", 1, "in"): 20,
        ("s2", 3, "out"): 10,
        ("s2", 9, "out"): 10,
        ("s2", 3, "in"): 4,
        ("s2", 1, "out"): 4,
        ("s1", 2, "in"): 4,
        ("s1", 1, "out"): 4,
    }
    assert traced_tables(TRACE) == {("s1", "classify"), ("s2", "deliver"), ("s2", "tap")}
    assert traced_classifiers(TRACE) == {"web"}


def test_counters_are_compared_port_by_port() -> None:
    changed = difference({("s1", 1): Count(5, 7)}, {("s1", 1): Count(15, 9), ("s1", 2): Count(0, 30)})
    assert changed == {("s1", 1): Count(10, 2), ("s1", 2): Count(0, 30)}
    assert counted_crossings(changed, 5) == {("s1", 1, "in"): 10, ("s1", 2, "out"): 30}

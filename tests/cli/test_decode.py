"""What labels in captures say: every transport, both directions, with the controller's names or the files'."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import examples
import pytest
from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.utils import PcapWriter

from controller_app.model.allocation import Allocation
from controller_app.pipeline.labels import Label
from controller_app.pipeline.world import build_world
from controller_app.transports.mpls import FIRST_SEGMENT, INSIDE
from controller_app.verification.decode_label import Names, decode, names_of
from controller_app.verification.pcap import CaptureError, frames

POLICY = examples.POLICY.replace("STICKINESS", "connection").replace("RETURN", "symmetric")
PACKET = IP(src="10.1.0.11", dst="100.1.1.3") / TCP(sport=40000, dport=8080)


@pytest.fixture(scope="module")
def names() -> Names:
    made = names_of(examples.policy(), examples.network())
    assert Names.from_json(made.to_json()) == made
    return made


def labels(names: Names) -> tuple[int, Label, Label]:
    """A path of the example, and labels at its start and its end, forward."""
    number, path = next(iter(names.paths.items()))
    leave = next(n for n, (name, _) in names.waypoints.items() if name == "w1")
    first = next(step for step in path.steps if step.on_path)
    return number, Label(first.into, number, exit=leave, routed=True), Label(leave, number, exit=leave, routed=True)


def mac(label: Label, wrapped: bool = False) -> str:
    return (bytes((0x1E if wrapped else 0x0E,)) + label.mac().to_bytes(6, "big")[1:]).hex(":")


def test_a_label_is_named(names: Names) -> None:
    number, first, last = labels(names)
    path = names.paths[number]
    said = decode(bytes(Ether(dst=mac(first)) / PACKET), names)
    assert said is not None
    assert (said["tenant"], tuple(said["chain"]), said["names"]) == ("default", path.functions, ["inspect"])
    assert said["path"] == [step.instance for step in path.steps]
    on_path = [step.on_path for step in path.steps]
    assert (said["direction"], said["position"]) == ("forward", on_path.index(True))
    assert said["next"]["name"].startswith(next(s.instance for s in path.steps if s.on_path))
    assert said["exit"] == {"name": "w1", "at": str(examples.network().hosts["w1"].attach[""])}
    assert (said["transport"], said["packet"]) == ("mac", "10.1.0.11:40000 > 100.1.1.3:8080 tcp")
    done = decode(bytes(Ether(dst=mac(last)) / PACKET), names)
    assert done is not None
    assert done["position"] == len(path.steps)
    # of a remembered path, the label names the last function once the packet is through
    behind = next(step for step in reversed(path.steps) if step.on_path).out
    started = decode(bytes(Ether(dst=mac(replace(last, exit=behind))) / PACKET), names)
    assert started is not None
    assert {**started, "label": done["label"]} == done


def test_the_other_direction_counts_from_the_end(names: Names) -> None:
    number, first, _ = labels(names)
    path = names.paths[number]
    step = next(step for step in path.steps if step.on_path)
    backward = Label(step.out, number, True, first.exit)
    said = decode(bytes(Ether(dst=mac(backward)) / PACKET), names)
    assert said is not None
    assert said["direction"] == "backward"
    assert said["position"] == len(path.steps) - 1 - path.steps.index(step)


def test_every_transport(names: Names) -> None:
    _, label, _ = labels(names)
    outside = mac(label, wrapped=True)
    numbered = Names(names.paths, names.waypoints, {7: "s3"})
    tagged = decode(bytes(Ether(dst=outside) / Dot1Q(vlan=7) / PACKET), numbered)
    stack = MPLS(label=FIRST_SEGMENT + 7, s=0) / MPLS(label=INSIDE[0x0800], s=1) / PACKET
    switched = decode(bytes(Ether(dst=outside, type=0x8847) / stack), numbered)
    header = NSH(mdtype=1, nextproto=3, spi=label.path << 1, si=254, ttl=61, context_header=b"\0" * 16)
    inner = Ether(dst=mac(label), src="02:00:00:00:01:11") / PACKET
    served = decode(bytes(Ether(dst=outside, type=0x894F) / header / inner), numbered)
    # as a function that speaks NSH gets it: only the frame inside has the label
    handed = decode(bytes(Ether(dst="02:00:00:00:00:77", type=0x894F) / header / inner), numbered)
    plain = decode(bytes(Ether(dst=mac(label)) / PACKET), numbered)
    assert tagged is not None
    assert switched is not None
    assert served is not None
    assert handed is not None
    assert plain is not None
    assert (tagged["transport"], tagged["segment"]) == ("vlan", "s3")
    assert (switched["transport"], switched["segment"]) == ("mpls", "s3")
    for said in (served, handed):
        assert (said["transport"], said["spi"], said["si"], said["ttl"]) == ("nsh", label.path << 1, 254, 61)
    for said in (tagged, switched, served, handed):
        assert {key: said[key] for key in plain if key != "transport"} == {
            key: plain[key] for key in plain if key != "transport"
        }


def test_frames_without_a_label_are_passed_over(names: Names) -> None:
    for frame in (Ether(dst="02:00:00:00:00:01") / PACKET, Ether() / ARP(), Ether(dst="ff:ff:ff:ff:ff:ff") / PACKET):
        assert decode(bytes(frame), names) is None
    assert decode(b"\x0e", names) is None
    header = NSH(mdtype=1, nextproto=1, context_header=b"\0" * 16) / PACKET
    assert decode(bytes(Ether(dst="02:00:00:00:00:01", type=0x894F) / header), names) is None


def test_what_has_no_name_is_a_number() -> None:
    said = decode(bytes(Ether(dst=mac(Label(5, 9, exit=6))) / IPv6()), Names())
    assert said is not None
    assert (said["path"], said["chain"], said["position"]) == (["#9"], [], None)
    assert (said["next"]["name"], said["exit"]["name"]) == ("#5", "#6")


def test_any_frame_cut_anywhere_raises_nothing(names: Names) -> None:
    _, label, _ = labels(names)
    outside = mac(label, wrapped=True)
    nsh = NSH(mdtype=1, nextproto=3, context_header=b"\0" * 16) / Ether(dst=mac(label)) / PACKET
    for frame in (
        Ether(dst=mac(label)) / PACKET,
        Ether(dst=outside) / Dot1Q(vlan=7) / PACKET,
        Ether(dst=outside, type=0x8847) / MPLS(s=0) / MPLS(s=1) / PACKET,
        Ether(dst=outside, type=0x894F) / nsh,
    ):
        whole = bytes(frame)
        for length in range(len(whole)):
            decode(whole[:length], names)


def test_the_names_are_those_of_the_allocation() -> None:
    """Another controller may have given other numbers; its allocation says which."""
    policy, network = examples.policy(), examples.network()
    _, made = build_world(policy, network, Allocation())
    paths = {key: {name: number + 40 for name, number in kept.items()} for key, kept in made.paths.items()}
    shifted = Allocation.from_json({**made.to_json(), "paths": paths})
    numbers = {number for kept in paths.values() for number in kept.values()}
    assert set(names_of(policy, network, shifted).paths) == numbers


@pytest.mark.parametrize(("endianness", "nano"), [("<", False), (">", False), ("<", True)])
def test_captures_are_read(tmp_path: Path, endianness: str, nano: bool) -> None:
    path = str(tmp_path / "a.pcap")
    writer = PcapWriter(path, linktype=1, endianness=endianness, nano=nano)
    writer.write_header(None)
    sent = [bytes(Ether() / PACKET), bytes(Ether() / ARP())]
    for number, frame in enumerate(sent):
        writer.write_packet(frame, sec=1000 + number, usec=(250_000_000 if nano else 250_000))
    writer.close()
    data = Path(path).read_bytes()
    assert [frame for _, frame in frames(data)] == sent
    assert [time for time, _ in frames(data)] == pytest.approx([1000.25, 1001.25])
    assert [frame for _, frame in frames(data[:-1])] == sent[:1]  # still being written


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "editcap"),
        (b"", "no pcap"),
        (b"version: 1\nswitches: {}\nhosts: {}\n", "no pcap"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113), "-i any"),
        (struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1, 0, 0, 1 << 30, 1 << 30), "damaged"),
    ],
)
def test_what_is_no_capture_says_so(data: bytes, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        list(frames(data))


def capture(path: Path, *sent: Any) -> str:
    writer = PcapWriter(str(path), linktype=1)
    writer.write_header(None)
    for frame in sent:
        writer.write_packet(bytes(frame), sec=1, usec=0)
    writer.close()
    return str(path)


def test_chainctl_decodes_with_files(tmp_path: Path, names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from controller_app.cli.chainctl import run

    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    (tmp_path / "campus.yaml").write_text(POLICY)
    _, first, last = labels(names)
    file = capture(tmp_path / "s1.pcap", Ether() / ARP(), Ether(dst=mac(first)) / PACKET, Ether(dst=mac(last)) / PACKET)
    argv = ["decode", file, "-t", str(tmp_path / "network.yaml"), "-p", str(tmp_path / "campus.yaml")]
    assert run([*argv, "-o", "json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["frames"]
    assert [item["number"] for item in found] == [2, 3]
    assert found[0]["names"] == ["inspect"]
    assert "2 of 3 frames" in captured.err
    assert run(argv) == 0
    assert "inspect" in capsys.readouterr().out
    assert run(["decode", str(tmp_path / "campus.yaml"), *argv[2:]]) == 1
    assert "no pcap" in capsys.readouterr().err
    assert run(["decode", str(tmp_path / "nothing"), *argv[2:]]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert run(["decode", file, "-p", argv[-1]]) == 1
    assert "-t" in capsys.readouterr().err

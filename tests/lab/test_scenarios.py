"""Every lab, run for real; what it wrote is read again by others' eyes. (That of services: test_service_scenarios.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scapy.contrib.nsh import NSH
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap
from scenario_runs import LABS, PORTABLE, run

from mininet_scenarios.harness.scenarios import scenarios


def test_every_lab_has_its_test() -> None:
    assert {*LABS, "firewall_ids"} == set(scenarios())


@pytest.mark.parametrize("options", [(), PORTABLE], ids=["fast", "portable"])
def test_chain_cases(tmp_path: Path, options: tuple[str, ...]) -> None:
    run("chain_cases", tmp_path / "results", *options)


@pytest.mark.parametrize("options", [(), PORTABLE], ids=["fast", "portable"])
def test_layer7(tmp_path: Path, options: tuple[str, ...]) -> None:
    run("layer7", tmp_path / "results", *options)


def test_branching(tmp_path: Path) -> None:
    run("branching", tmp_path / "results")


def test_contiv_walkthrough(tmp_path: Path) -> None:
    run("contiv_walkthrough", tmp_path / "results")


def test_insertion(tmp_path: Path) -> None:
    run("insertion", tmp_path / "results")


def test_function_modes_and_the_nsh_on_the_wire(tmp_path: Path) -> None:
    """What the NSH functions wrote down is what scapy reads as RFC 8300."""
    results = run("function_modes", tmp_path / "results")
    # who they answer from: the first has one arm, the second leaves by the arm a frame did not come in by
    own = {"talk1": {"eth0": "02:00:00:00:03:51"}, "talk2": {"in": "02:00:00:00:03:53", "out": "02:00:00:00:03:52"}}
    for name, arms in own.items():
        lines = (results / "logs" / f"nsh-{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) > 100
        for line in lines[:50]:
            read(json.loads(line), arms)


def read(entry: dict[str, Any], arms: dict[str, str]) -> None:
    got, sent = (Ether(bytes.fromhex(entry[key] + entry["inner"])) for key in ("got", "sent"))
    before, after = got[NSH], sent[NSH]
    assert (before.ver, before.oam, before.ttl, before.length, before.mdtype, before.nextproto) == (0, 0, 63, 6, 1, 3)
    assert after.si == before.si - 1
    assert (after.spi, after.ttl, after.context_header) == (before.spi, before.ttl, before.context_header)
    assert got.type == sent.type == 0x894F
    assert (sent.dst, sent.src) == (got.src, arms[entry["arm"]])
    assert bytes(before.payload)[:12] == bytes(after.payload)[:12]


def test_narrow_tunnels(tmp_path: Path) -> None:
    run("narrow_tunnels", tmp_path / "results")


def test_transports_and_what_they_put_on_the_wire(tmp_path: Path) -> None:
    """Every transport's frames between switches, read by scapy."""
    results = run("transports", tmp_path / "results")
    found = [Ether(bytes(frame)) for frame in rdpcap(str(results / "pcaps" / "s1-port1.pcap"))]
    kinds = {frame.type for frame in found}
    assert {0x0800, 0x86DD, 0x8100, 0x8847, 0x894F} <= kinds
    wrapped = [frame[NSH] for frame in found if frame.type == 0x894F]
    assert {(header.ver, header.mdtype, header.nextproto) for header in wrapped} == {(0, 1, 3)}
    assert all(header.ttl <= 63 for header in wrapped)

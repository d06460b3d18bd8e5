"""Meters in the files of `compile` and in those `verify --dump` reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dummy_ovs import DummyOvs, missing

from controller_app.cli.common import Failure
from controller_app.cli.offline import compile_command, read_dump, state_document
from controller_app.model.allocation import Allocation
from controller_app.model.flow import Flow, Meter, MeterConfig, Output, SwitchState, match
from controller_app.model.policy import Policy
from controller_app.model.topology import Switch, Topology
from controller_app.pipeline.cookies import METER_MARK, is_our_meter
from controller_app.pipeline.ofctl import format_meters

NUMBER = METER_MARK << 24 | 7
METERED = Flow(0, 1, match(in_port=1), (Meter(NUMBER), Output(2)))
STATE = {"s1": SwitchState({METERED.key: METERED}, {}, {NUMBER: MeterConfig(NUMBER, 50_000, 5_000)}),
         "s2": SwitchState()}
TOPOLOGY = Topology({"s1": Switch("s1", 1), "s2": Switch("s2", 2)})


@pytest.fixture
def ovs() -> Iterator[DummyOvs]:
    if missing():
        pytest.skip(missing() or "")
    with DummyOvs() as started:
        started.add_bridge("s1", dpid=1)
        yield started


def test_our_meters_are_told_by_their_numbers() -> None:
    assert is_our_meter(NUMBER) and not is_our_meter(7)


def test_a_switch_with_meters_has_a_file_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller_app.pipeline.compile.compile", lambda *_, **__: (STATE, Allocation()))
    monkeypatch.setattr("controller_app.cli.offline.load", lambda *_: (Policy(), TOPOLOGY))
    compile_command(["t.yaml"], ["p.yaml"], "ovs", str(tmp_path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s1.flows", "s1.groups", "s1.meters", "s2.flows",
                                                               "s2.groups"]
    assert (tmp_path / "s1.meters").read_text() == (
        f"meter={NUMBER},kbps,burst,band=type=drop,rate=50000,burst_size=5000\n")
    assert read_dump(str(tmp_path), TOPOLOGY) == STATE


def test_what_a_switch_prints_is_read(tmp_path: Path, ovs: DummyOvs) -> None:
    for line in format_meters(STATE["s1"]).splitlines():
        ovs.ofctl("add-meter", "s1", line)
    for version in ("OpenFlow13", "OpenFlow15"):
        (tmp_path / "s1.meters").write_text(ovs.ofctl("dump-meters", "s1", version=version))
        for name in TOPOLOGY.switches:
            (tmp_path / f"{name}.flows").write_text("")
        assert read_dump(str(tmp_path), TOPOLOGY)["s1"].meters == STATE["s1"].meters
    (tmp_path / "s1.meters").write_text("meter=5 kbps bands=\ntype=dscp_remark rate=5 prec_level=1\n")
    with pytest.raises(Failure, match="s1"):
        read_dump(str(tmp_path), TOPOLOGY)


def test_the_document_lists_meters() -> None:
    document = state_document(STATE, Allocation())["switches"]
    assert document["s1"]["meters"] == [{
        "id": NUMBER, "rate": 50_000, "burst": 5_000, "unit": "kbps",
        "text": f"meter={NUMBER},kbps,burst,band=type=drop,rate=50000,burst_size=5000"}]
    assert document["s2"]["meters"] == []

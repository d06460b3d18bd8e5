"""A cable that looks well, but BFD says that nothing passes it: the switch goes another way, and so does the
controller."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dummy_ovs as dummy
import pytest
from plain_controller import PlainController

from controller_app.discovery.damping import LONGEST
from controller_app.discovery.liveness import Liveness
from controller_app.discovery.ports import Port
from controller_app.model.topology import End, Host, Link, Switch, Topology

BFD = ("bfd:enable=true", "bfd:min_rx=200", "bfd:min_tx=200")  # a busy machine misses three of fewer milliseconds


def port(number: int, up: bool, live: bool) -> Port:
    return Port(number, f"p{number}", number, up, live=live)


def test_a_switch_that_tells_of_liveness_is_believed() -> None:
    liveness = Liveness()
    never = [port(1, True, False), port(2, False, False)]
    assert liveness.described(7, never) == never
    told = liveness.described(8, [port(1, True, False), port(2, True, True), port(3, False, True)])
    assert [each.up for each in told] == [False, True, False]
    assert [each.up for each in liveness.described(8, [port(2, True, False)])] == [False]  # it told before
    assert [each.up for each in liveness.described(7, [port(1, True, False)])] == [True]  # another never did


@pytest.fixture
def two_cables(dummy_ovs: dummy.DummyOvs) -> Iterator[dummy.DummyOvs]:
    with dummy_ovs.transaction():
        for number in (1, 2):
            dummy_ovs.add_bridge(f"s{number}", number)
            dummy_ovs.add_port(f"s{number}", f"h{number}", 11, tx_pcap=True)
        dummy_ovs.cable("s1", 1, "s2", 1)
        dummy_ovs.cable("s1", 2, "s2", 2)
    yield dummy_ovs
    assert dummy_ovs.alive


def test_a_link_that_bfd_finds_dead_is_left(two_cables: dummy.DummyOvs) -> None:
    topology = Topology(
        {name: Switch(name, number) for number, name in enumerate(("s1", "s2"), 1)},
        tuple(Link(End("s1", number), End("s2", number)) for number in (1, 2)),
        {f"h{n}": Host(f"h{n}", {"": End(f"s{n}", 11)}, mac=f"02:00:00:00:00:0{n}") for n in (1, 2)},
    )
    for end in ("s1-1", "s2-1"):
        two_cables.vsctl("set", "interface", end, *BFD)
    with PlainController(topology) as controller:
        for name in ("s1", "s2"):
            two_cables.set_controller(name, "127.0.0.1", controller.port)
        controller.wait_switches(2)
        controller.wait(lambda c: len(c.topology.links) == 2)
        two_cables.vsctl("set", "interface", "s2-1", "bfd:enable=false")
        controller.wait(lambda c: [link.a.port for link in c.topology.links] == [2])
        assert "state:      0" in two_cables.ofctl("dump-ports-desc", "s1")  # its cable is well
        controller.wait_switches(2)
        two_cables.vsctl("set", "interface", "s2-1", "bfd:enable=true")
        # held down, if a busy machine lost it before
        controller.wait(lambda c: len(c.topology.links) == 2, LONGEST + 10)


def test_the_switch_goes_another_way_by_itself(two_cables: dummy.DummyOvs) -> None:
    """A fast-failover group as we send them, with BFD instead of a carrier."""
    for end in ("s1-1", "s2-1"):
        two_cables.vsctl("set", "interface", end, *BFD)
    group = "group_id=1,type=ff,bucket=watch_port:1,actions=output:1,bucket=watch_port:2,actions=output:2"
    two_cables.ofctl("add-group", "s1", group)
    two_cables.ofctl("add-flow", "s1", "in_port=11,actions=group:1")
    for number in (1, 2):
        came = f"in_port={number},actions=set_field:02:00:00:00:00:0{number}->eth_src,output:11"
        two_cables.ofctl("add-flow", "s2", came)
    frame = bytes(12) + b"\x88\xb5" + bytes(50)

    def comes_by(number: int) -> bool:
        two_cables.receive("h1", frame)
        return [got[11] for got in two_cables.sent("h2", 1, wait=0.3)] == [number]

    def wait_for(number: int) -> None:
        deadline = time.monotonic() + 10
        while not comes_by(number):
            assert time.monotonic() < deadline

    wait_for(1)
    two_cables.vsctl("set", "interface", "s2-1", "bfd:enable=false")
    wait_for(2)
    assert all(comes_by(2) for _ in range(3))
    assert "state:      0" in two_cables.ofctl("dump-ports-desc", "s1")  # its cable is well

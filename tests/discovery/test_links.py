"""Links: found, lost, and told from the edge where hosts are."""

from __future__ import annotations

from controller_app.discovery import lldp
from controller_app.discovery.links import INTERVAL, MISSES, SETTLE, Links
from controller_app.discovery.ports import Port, PortId

KEY = b"secret"
A1, A2, B1, B2, C1 = PortId(1, 1), PortId(1, 2), PortId(2, 1), PortId(2, 2), PortId(3, 1)


def port(number: int, up: bool = True) -> Port:
    return Port(number, f"p{number}", 0x02_00_00_00_00_00 + number, up)


def network(*dpids: int, now: float = 0) -> Links:
    links = Links(KEY)
    for dpid in dpids or (1, 2):
        links.connected(dpid, [port(1), port(2), Port(0xFFFFFFFE, "LOCAL", 1, True)], now)
        links.ready(dpid, now)
    return links


def hear(links: Links, at: PortId, sender: PortId, now: float, key: bytes = KEY) -> None:
    """A frame sent out of `sender` just now comes in at `at`."""
    links.frame(at, lldp.frame(sender, 0x02_00_00_00_00_01, 20, links.guard.begin(now), key), now)


def test_ports_added_while_a_connection_was_replaced_come_to_the_edge_too() -> None:
    links = network(1)
    links.connected(1, [port(1), port(2), port(3)], 10)  # without a word that the one before was lost
    assert links.at_edge(PortId(1, 3), 100) is None
    links.ready(1, 100)
    assert links.at_edge(PortId(1, 3), 100 + SETTLE)


def test_each_port_is_asked_at_once_and_then_at_intervals() -> None:
    links = network()
    first = links.tick(0)
    assert {(s.dpid, *s.ports) for s in first} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert links.tick(INTERVAL - 0.1) == []
    assert len(links.tick(INTERVAL)) == 4
    links.connected(3, [port(1)], INTERVAL)
    links.ready(3, INTERVAL)
    assert (3, 1) in {(s.dpid, *s.ports) for s in links.tick(INTERVAL + 0.1)}


def test_a_link_heard_in_one_direction_stands_until_the_other_was_heard_and_falls_silent() -> None:
    links = network()
    hear(links, A1, B1, 0)
    assert links.links == ((A1, B1),)
    hear(links, B1, A1, 0)
    silent = INTERVAL * MISSES + SETTLE + 0.1
    hear(links, A1, B1, silent - 1)
    links.tick(silent)  # only one direction is heard still: the fibre is broken
    assert links.links == ()
    assert links.lost_links == {(A1, B1)}
    hear(links, A1, B1, silent)
    assert links.links == ()
    hear(links, B1, A1, silent)
    assert links.links == ((A1, B1),)
    assert links.lost_links == frozenset()


def test_a_switch_that_nobody_can_talk_to_keeps_its_links() -> None:
    links = network()
    hear(links, A1, B1, 0)
    links.lost(2)
    links.tick(1000)
    assert links.links == ((A1, B1),)
    links.connected(2, [port(1), port(2)], 1001)
    links.tick(1001 + INTERVAL)
    assert links.links == ((A1, B1),)
    links.tick(1001 + INTERVAL * (MISSES + 1))
    assert links.links == ()


def test_a_port_that_goes_down_or_away_takes_its_link_along_at_once() -> None:
    for end in (lambda links: links.port(1, port(1, up=False), 2), lambda links: links.port_gone(1, 1)):
        links = network()
        hear(links, A1, B1, 0)
        hear(links, B1, A1, 0)
        before = links.revision
        end(links)
        assert links.links == ()
        assert links.revision > before


def test_a_cable_that_was_moved_is_the_new_link_alone() -> None:
    links = network(1, 2, 3)
    hear(links, A1, B1, 0)
    hear(links, B1, A1, 0)
    hear(links, A1, C1, 1)
    hear(links, C1, A1, 1)
    assert links.links == ((A1, C1),)


def test_a_declared_hosts_port_never_becomes_a_link_and_is_not_asked() -> None:
    links = network()
    links.declare(frozenset({A1}), frozenset())
    hear(links, A1, B1, 0)
    assert links.links == ()
    assert links.guard.dropped == {(A1, "misplaced"): 1}
    assert "0x1:1" in links.guard.notices()[0]
    assert (1, 1) not in {(s.dpid, *s.ports) for s in links.tick(0)}
    links = network()
    hear(links, A1, B1, 0)
    links.declare(frozenset({B1}), frozenset())
    hear(links, A1, B1, 1)
    assert links.links == ()
    assert links.guard.dropped == {(A1, "misplaced"): 1}


def test_the_edge_is_known_only_after_a_neighbour_had_time_to_speak() -> None:
    links = Links(KEY)
    links.connected(1, [port(1), port(2), port(3, up=False), Port(0xFFFFFFFE, "LOCAL", 1, True)], 0)
    links.declare(frozenset({A2}), frozenset())
    assert links.at_edge(A1, 100) is None  # it holds no rules yet, so it tells nothing
    assert links.at_edge(A2, 0) is True  # declared
    links.ready(1, 100)
    assert links.at_edge(A1, 100) is None
    assert links.at_edge(A1, 100 + SETTLE) is True
    assert links.at_edge(PortId(1, 3), 200) is False
    assert links.at_edge(PortId(1, 0xFFFFFFFE), 200) is False
    assert links.edge_ports(200) == {1: [1, 2]}
    hear(links, A1, B1, 200)
    assert links.at_edge(A1, 200) is False
    links.port(1, port(3), 300)
    assert links.at_edge(PortId(1, 3), 300) is None


def test_without_observation_nothing_is_asked_or_believed() -> None:
    links = Links(KEY, observe=False)
    links.connected(1, [port(1)], 0)
    links.ready(1, 0)
    assert links.tick(0) == []
    hear(links, A1, B1, 0)
    assert links.links == ()
    assert links.at_edge(A1, 0) is True

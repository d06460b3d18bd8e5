"""Hosts: learned from what they send, asked for where nobody knows them, answered when their flows are there."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest

from controller_app.discovery import frames, lldp
from controller_app.discovery.asking import PATIENCE, REPEAT
from controller_app.discovery.discovery import LONGEST_WAIT, Declared, Discovery
from controller_app.discovery.hosts import MOVE_PAUSE, SILENT, Expected, FoundHost
from controller_app.discovery.links import SETTLE
from controller_app.discovery.ports import Effect, Notice, Port, PortId, Reinject, SendFrame
from controller_app.model.topology import End, Host, IPAddress

KEY, GATEWAY = b"k", 0x0A_00_00_00_00_01
P = PortId
T = 10.0  # long after everything has settled
DST = slice(0, 6)


def ip(last: int) -> IPv4Address:
    return IPv4Address(f"10.0.0.{last}")


def mac(last: int) -> int:
    return 0x02_00_00_00_00_00 + last


def network(declared: Declared | None = None) -> Discovery:
    """s1 with hosts at 1 and 2, s2 with a host at 1; they are joined at their ports 9."""
    found = Discovery(KEY, GATEWAY)
    if declared is not None:
        found.declare(declared)
    for dpid in (1, 2):
        found.connected(dpid, [Port(n, f"p{n}", n, True) for n in (1, 2, 9)], 0)
        found.ready(dpid, 0)
    for here, there in ((P(1, 9), P(2, 9)), (P(2, 9), P(1, 9))):
        hears(found, here, there, 0)
    found.tick(0)
    found.tick(SETTLE + 0.1)
    found.tick(T)
    return found


def hears(found: Discovery, here: PortId, there: PortId, now: float, key: bytes = KEY) -> list[Effect]:
    """A frame that was sent out of `there` just now comes in at `here`."""
    return found.frame(here, lldp.frame(there, 1, 20, found._links.guard.begin(now), key), now)


def asks(sender: int, target: int) -> bytes:
    return frames.question(ip(target), ip(sender), mac(sender))


def tells(sender: int, to: int) -> bytes:
    return frames.answer(ip(sender), mac(sender), frames.Asks(ip(to), mac(to), ip(sender)))


def packet(source: IPAddress, source_mac: int, target: IPAddress, target_mac: int) -> bytes:
    header = b"\x45" + bytes(7) + b"\x40\x01" + bytes(2) + source.packed + target.packed
    return target_mac.to_bytes(6, "big") + source_mac.to_bytes(6, "big") + b"\x08\x00" + header


def sent(effects: list[Effect]) -> set[tuple[int, int]]:
    return {(e.dpid, port) for e in effects if isinstance(e, SendFrame) for port in e.ports}


def known(found: Discovery) -> dict[str, tuple[PortId, list[str]]]:
    return {h.name: (h.place, [str(i) for i in h.ips]) for h in found.observed().hosts}


def test_the_question_goes_to_every_edge_port_but_where_it_came_from() -> None:
    found = network()
    effects = found.frame(P(1, 1), asks(1, 3), T)
    assert sent(effects) == {(1, 2), (2, 1), (2, 2)}
    assert known(found) == {"host-020000000001": (P(1, 1), ["10.0.0.1"])}


def test_the_answer_waits_for_the_flows_of_who_was_found() -> None:
    found = network()
    found.frame(P(1, 1), asks(1, 3), T)
    before = found.hosts_revision
    assert found.frame(P(2, 1), tells(3, 1), T) == []
    assert found.hosts_revision > before
    assert found.confirmed(before, T) == []
    (release,) = found.confirmed(found.hosts_revision, T)
    assert isinstance(release, SendFrame)
    assert (release.dpid, release.ports) == (1, (1,))
    frame = frames.parse(release.frame)
    assert frame is not None
    assert (frame.eth_dst, frame.content) == (mac(1), frames.Tells(ip(3), mac(3)))
    assert found.confirmed(found.hosts_revision, T) == []


def test_everyone_who_asked_is_answered() -> None:
    found = network()
    found.frame(P(1, 1), asks(1, 3), T)
    found.frame(P(1, 2), asks(2, 3), T)
    found.frame(P(2, 1), tells(3, 1), T)
    assert sent(found.confirmed(found.hosts_revision, T)) == {(1, 1), (1, 2)}


def test_a_host_known_and_confirmed_is_told_at_once() -> None:
    found = network()
    found.frame(P(2, 1), tells(3, 1), T)
    found.frame(P(1, 1), asks(1, 99), T)
    found.confirmed(found.hosts_revision, T)
    effects = found.frame(P(1, 1), asks(1, 3), T + 1)
    assert sent(effects) == {(1, 1)}


def test_nobody_is_answered_late() -> None:
    found = network()
    found.frame(P(1, 1), asks(1, 3), T)
    found.tick(T + PATIENCE + 0.1)
    found.frame(P(2, 1), tells(3, 1), T + PATIENCE + 0.2)
    assert found.confirmed(found.hosts_revision, T + PATIENCE + 0.3) == []


def test_the_same_question_is_not_flooded_again_at_once() -> None:
    found = network()
    assert found.frame(P(1, 1), asks(1, 3), T)
    assert found.frame(P(1, 2), asks(2, 3), T + REPEAT / 2) == []
    assert found.frame(P(1, 1), asks(1, 3), T + REPEAT)


def test_many_questions_are_slowed_down() -> None:
    found = network()
    flooded = sum(
        bool(found.frame(P(1, 1), frames.question(IPv4Address(0x0A010000 + n), ip(1), mac(1)), T)) for n in range(1000)
    )
    assert 50 <= flooded <= 150


def test_nothing_is_learned_at_a_link_nor_before_that_can_be_told() -> None:
    found = network()
    assert found.frame(P(1, 9), asks(1, 3), T) == []
    assert known(found) == {}
    found.connected(3, [Port(1, "p1", 1, True)], T)
    found.ready(3, T)
    assert found.frame(P(3, 1), asks(7, 8), T) == []
    assert known(found) == {}
    assert sent(found.tick(T + SETTLE + 0.1)) >= {(1, 1), (2, 1)}  # it was only held back
    assert known(found) == {"host-020000000007": (P(3, 1), ["10.0.0.7"])}


def test_a_port_that_turns_out_to_be_a_link_has_no_hosts() -> None:
    found = network()
    found.frame(P(1, 2), asks(1, 3), T)
    hears(found, P(1, 2), P(2, 2), T)
    assert known(found) == {}


def test_hosts_leave_with_their_port_and_move_with_their_cable() -> None:
    found = network()
    found.frame(P(1, 1), asks(1, 3), T)
    found.frame(P(2, 2), asks(1, 3), T + 0.1)  # too soon: frames that loop must not move hosts
    assert known(found)["host-020000000001"][0] == P(1, 1)
    found.frame(P(2, 2), asks(1, 3), T + 5)
    assert known(found)["host-020000000001"][0] == P(2, 2)
    found.port(2, Port(2, "p2", 2, False), T + 6)
    assert known(found) == {}


def test_an_address_that_changes_hands_is_told_to_all() -> None:
    found = network()
    found.frame(P(1, 1), asks(1, 3), T)
    announcement = frames.question(ip(1), ip(1), mac(2))
    effects = found.frame(P(1, 2), announcement, T + 2)
    assert sent(effects) == {(1, 1), (2, 1), (2, 2)}
    assert known(found) == {"host-020000000001": (P(1, 1), []), "host-020000000002": (P(1, 2), ["10.0.0.1"])}


def test_a_frame_of_a_new_host_goes_on_when_its_flows_are_there() -> None:
    found = network()
    data = packet(ip(1), mac(1), ip(3), mac(3))
    assert found.frame(P(1, 1), data, T) == []
    assert found.confirmed(found.hosts_revision, T) == [Reinject(P(1, 1), data)]


def test_a_routed_packet_to_nobody_known_makes_the_gateway_ask() -> None:
    gateway = ip(254)
    networks = Expected(taken=frozenset({gateway}), networks=((IPv4Network("10.0.0.0/24"), gateway),))
    found = network(Declared(expected=networks))
    away = IPv4Address("10.9.0.1")
    found.frame(P(1, 1), packet(away, mac(1), ip(254), GATEWAY), T)
    found.confirmed(found.hosts_revision, T)
    data = packet(away, mac(1), ip(3), GATEWAY)
    effects = found.frame(P(1, 1), data, T)
    assert sent(effects) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert isinstance(effects[0], SendFrame)
    asked = frames.parse(effects[0].frame)
    assert asked is not None
    assert asked.content == frames.Asks(gateway, GATEWAY, ip(3))
    found.frame(P(2, 1), frames.answer(ip(3), mac(3), frames.Asks(gateway, GATEWAY, ip(3))), T)
    assert found.confirmed(found.hosts_revision, T) == [Reinject(P(1, 1), data)]


def test_hosts_of_different_networks_do_not_resolve_each_other() -> None:
    networks = Expected(networks=((IPv4Network("10.0.0.0/25"), None), (IPv4Network("10.0.0.128/25"), None)))
    found = network(Declared(expected=networks))
    assert found.frame(P(1, 1), asks(1, 200), T) == []
    assert found.frame(P(1, 1), asks(1, 3), T)


def test_functions_are_not_asked_and_teach_nothing() -> None:
    arms = frozenset({P(1, 2), P(2, 2)})
    found = network(Declared(host_ports=arms, quiet=arms, expected=Expected(deaf=arms)))
    assert sent(found.frame(P(1, 1), asks(1, 3), T)) == {(2, 1)}
    assert found.frame(P(1, 2), asks(7, 3), T + 5) == []
    assert list(known(found)) == ["host-020000000001"]


def test_neighbour_discovery_works_the_same_way() -> None:
    one, three = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::3")
    found = network()
    assert sent(found.frame(P(1, 1), frames.question(three, one, mac(1)), T)) == {(1, 2), (2, 1), (2, 2)}
    found.frame(P(2, 1), frames.answer(three, mac(3), frames.Asks(one, mac(1), three)), T)
    (release,) = found.confirmed(found.hosts_revision, T)
    assert isinstance(release, SendFrame)
    frame = frames.parse(release.frame)
    assert frame is not None
    assert frame.content == frames.Tells(three, mac(3))


def declared_host(**more: object) -> Declared:
    host = Host("h1", {"": End("s1", 1)}, **more)  # type: ignore[arg-type]
    return Declared(frozenset({P(1, 1)}), expected=Expected({P(1, 1): host}))


def test_a_declared_host_is_recognised_and_completed() -> None:
    found = network(declared_host(ips=(ip(1),)))
    found.frame(P(1, 1), asks(1, 3), T)
    (host,) = found.observed().hosts
    assert (host.declared, host.mac) == ("h1", mac(1))


def test_a_declared_hosts_address_is_learned_nowhere_else() -> None:
    found = network(declared_host(ips=(ip(1),)))
    effects = found.frame(P(1, 2), asks(1, 3), T)
    assert [type(effect) for effect in effects] == [Notice]
    assert found.frame(P(1, 2), asks(1, 3), T) == []  # said once
    assert known(found) == {}
    found = network(declared_host(mac="02:00:00:00:00:01"))
    assert [type(effect) for effect in found.frame(P(1, 1), asks(2, 3), T)] == [Notice]


def test_a_declared_hosts_mac_is_learned_nowhere_else() -> None:
    found = network(declared_host(mac="02:00:00:00:00:01"))
    effects = found.frame(P(1, 2), asks(1, 3), T)
    assert [type(effect) for effect in effects] == [Notice]
    found.restore([FoundHost(mac(1), P(1, 2), (ip(7),))])
    assert known(found) == {}
    found = network()
    found.frame(P(1, 2), asks(1, 3), T)
    found.declare(declared_host(mac="02:00:00:00:00:01"))
    assert known(found) == {}
    found.frame(P(1, 1), asks(1, 3), T)
    assert known(found) == {"h1": (P(1, 1), ["10.0.0.1"])}


def test_addresses_of_uplinks_and_functions_are_learned_nowhere() -> None:
    uplink = Host("wan", {"": End("s1", 1)}, (ip(9),), "02:00:00:00:00:09")
    place = frozenset({P(1, 1)})
    found = network(Declared(place, expected=Expected(deaf=place, elsewhere=(uplink,))))
    for forged in (asks(9, 3), frames.question(ip(3), ip(9), mac(1)), frames.question(ip(3), ip(1), mac(9))):
        for at in (P(1, 2), P(1, 1)):
            found.frame(at, forged, T)
    found.restore([FoundHost(mac(4), P(1, 2), (ip(9), ip(4))), FoundHost(mac(9), P(1, 2), (ip(5),))])
    assert known(found) == {"host-020000000004": (P(1, 2), ["10.0.0.4"])}


def test_strange_hosts_of_an_earlier_run_are_left_out() -> None:
    found = network()
    all_ones = 0xFFFF_FFFF_FFFF
    found.restore([FoundHost(m, P(1, 2), (ip(4),)) for m in (0, all_ones, GATEWAY)])
    assert known(found) == {}
    for text in ("ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:02:00:00:00:00:00:01"):
        with pytest.raises(ValueError, match="no machine's"):
            FoundHost.from_json({"mac": text, "dpid": 1, "port": 2, "ips": []})


def test_two_machines_with_one_address_do_not_change_the_network_with_every_frame() -> None:
    found = network()
    notices: list[Effect] = []
    changes, now = 0, T
    while now < T + 10:
        for last, place in ((1, P(1, 1)), (2, P(2, 2))):
            before = found.hosts_revision
            said = found.frame(place, frames.question(ip(3), ip(7), mac(last)), now)
            notices += [effect for effect in said if isinstance(effect, Notice)]
            changes += found.hosts_revision != before
            now += 0.05
    assert changes <= 2 + 10 / MOVE_PAUSE
    (notice,) = notices
    assert isinstance(notice, Notice)
    assert all(text in notice.what for text in ("10.0.0.7", "02:00:00:00:00:01", "02:00:00:00:00:02"))


def test_a_replaced_card_of_a_declared_host_is_known_when_the_old_one_is_silent() -> None:
    found = network(declared_host())

    def speaks_for_h1() -> int:
        return max(found.observed().hosts, key=lambda host: host.spoke).mac

    found.frame(P(1, 1), asks(2, 3), T)
    found.frame(P(1, 1), asks(1, 3), T + 1)
    assert speaks_for_h1() == mac(2)  # both are alive: no to and fro
    found.frame(P(1, 1), asks(1, 3), T + SILENT + 2)
    assert speaks_for_h1() == mac(1)


def test_nobody_stays_at_a_port_that_is_declared_to_be_a_links() -> None:
    found = network()
    found.frame(P(1, 1), asks(1, 3), T)
    found.declare(Declared(links=frozenset({(P(1, 1), P(2, 1))})))
    assert known(found) == {}


def test_a_frame_does_not_wait_for_ever_at_a_port_nobody_knows() -> None:
    found = network()
    found.connected(3, [Port(1, "p1", 1, True)], T)
    found.frame(P(3, 1), asks(5, 1), T)
    found.tick(T + LONGEST_WAIT - 0.1)
    found.tick(T + LONGEST_WAIT + 0.1)
    found.ready(3, T + LONGEST_WAIT + 0.2)
    for step in range(100):
        found.tick(T + LONGEST_WAIT + 0.2 + step * 0.02)
    assert known(found) == {}


def test_what_is_declared_later_counts_too() -> None:
    found = network()
    found.frame(P(1, 2), asks(1, 3), T)
    found.frame(P(1, 1), asks(2, 3), T)
    found.declare(declared_host(ips=(ip(1),)))
    assert known(found) == {"host-020000000001": (P(1, 2), [])}


def test_the_gateways_mac_is_no_host() -> None:
    found = network()
    (said,) = found.frame(P(1, 1), frames.question(ip(3), ip(1), GATEWAY), T)
    assert isinstance(said, Notice)
    for like_ours in (0x0A_00_00_00_00_02, 0x0E_00_00_00_00_01):  # drawn at random such addresses do occur
        found.frame(P(1, 1), frames.question(ip(3), ip(1), like_ours), T)
        assert like_ours in {host.mac for host in found.observed().hosts}


def test_hosts_of_an_earlier_run_are_known_again() -> None:
    found = network()
    found.frame(P(1, 1), asks(1, 3), T)
    stored = [host.to_json() for host in found.observed().hosts]
    again = network()
    again.restore(FoundHost.from_json(data) for data in stored)
    assert known(again) == known(found)


def test_a_question_also_goes_to_a_switch_that_is_ready_a_moment_later() -> None:
    found = network()
    assert sent(found.frame(P(1, 1), asks(1, 3), T)) == {(1, 2), (2, 1), (2, 2)}
    found.connected(3, [Port(n, f"p{n}", n, True) for n in (1, 2)], T)
    found.ready(3, T)
    asked: list[tuple[int, int]] = []
    now = T
    while now < T + PATIENCE:
        now += 0.02
        for effect in found.tick(now):
            if isinstance(effect, SendFrame) and effect.frame == asks(1, 3):
                asked += sent([effect])
    assert sorted(asked) == [(3, 1), (3, 2)]  # there, once, and nowhere else again

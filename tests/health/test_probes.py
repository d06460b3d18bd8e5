"""One check against a played server: what is sent, and what is made of what comes back."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from checked_server import GATEWAY_MAC, WELL, Server, parsed
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from controller_app.discovery.hosts import mac_number
from controller_app.health.outcome import Probe
from controller_app.health.probes import MOST_DATA, MOST_HEAD, Asking, Connecting, Fetching
from controller_app.health.segments import Ends, Segment, Wire, hear, untag

ENDS = {
    4: Ends(ip_address("10.2.0.254"), 40001, ip_address("10.2.0.21"), 80),
    6: Ends(ip_address("fd02::fe"), 40001, ip_address("fd02::21"), 8080),
}
FIRST = 0xFFFF_FFFD  # wraps within the request


def wire(server: Server) -> Wire:
    return Wire(mac_number(server.mac), mac_number(GATEWAY_MAC), server.vlan)


def http(server: Server, version: int = 4, path: str = "/ready") -> Fetching:
    return Fetching(wire(server), ENDS[version], FIRST, path=path)


def tcp(server: Server, version: int = 4) -> Connecting:
    return Connecting(wire(server), ENDS[version], FIRST)


def talk(probe: Probe, server: Server, frames: list[bytes]) -> None:
    """Everything either side says reaches the other, in order."""
    while frames:
        answers = [answer for frame in frames for answer in server.take(frame)]
        frames = []
        for answer in answers:
            said = hear(answer)
            assert said is not None
            frames += probe.hear(said)


def outcome(probe: Probe) -> tuple[bool, str]:
    assert probe.outcome is not None
    return probe.outcome.well, probe.outcome.reason


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("vlan", [None, 7])
def test_who_accepts_a_connection_is_well_and_nothing_stays_open(version: int, vlan: int | None) -> None:
    server = Server(vlan=vlan)
    probe = tcp(server, version)
    talk(probe, server, probe.start())
    assert outcome(probe) == (True, f"{ENDS[version].there} accepts connections")
    assert (server.flags, server.reset) == (["S", "R"], True)
    assert not probe.stop()


def test_who_refuses_is_not() -> None:
    for made in (tcp, http):
        server = Server(mode="refusing")
        probe = made(server)
        talk(probe, server, probe.start())
        assert outcome(probe) == (False, "connection refused by 10.2.0.21:80")
        assert not probe.stop()


def test_silence_is_no_outcome_and_the_question_can_be_asked_again() -> None:
    for made in (tcp, http):
        server = Server(mode="silent")
        probe = made(server)
        first = probe.start()
        talk(probe, server, first)
        assert probe.outcome is None
        assert probe.silence == "no answer from 10.2.0.21:80"
        server.mode = "listening"
        assert probe.again() == first
        talk(probe, server, probe.again())
        assert outcome(probe)[0]


@pytest.mark.parametrize("made", [tcp, http])
@given(st.integers(0, 0xFFFF_FFFF), st.sampled_from(["SA", "RA", "R", "A", "S"]))
def test_answers_to_other_numbers_say_nothing(made: type[Connecting], acknowledged: int, flags: str) -> None:
    """A reset, or an agreement, counts only for the SYN that it acknowledges (RFC 9293 3.10.7.3)."""
    server = Server()
    probe = made(server)
    server.take(probe.start()[0])
    right = acknowledged == FIRST + 1
    said = hear(server.say(flags, 77, acknowledged))
    assert said is not None
    frames = probe.hear(said)
    if flags in ("SA", "RA") and right:
        return
    assert probe.outcome is None
    wrong = [parsed(frame)[TCP] for frame in frames]
    if "A" in flags and flags != "RA" and not right:  # it makes a forgotten connection go away
        assert [(str(segment.flags), segment.seq) for segment in wrong] == [("R", acknowledged)]
    else:
        assert not wrong
    talk(probe, server, probe.again())
    assert probe.outcome is not None and probe.outcome.well


@pytest.mark.parametrize("version", [4, 6])
def test_a_page_is_fetched_and_the_connection_ends_as_it_should(version: int) -> None:
    server = Server()
    probe = http(server, version)
    talk(probe, server, probe.start())
    assert outcome(probe) == (True, f"{ENDS[version].there} answers GET /ready with 200")
    host = "10.2.0.21" if version == 4 else "[fd02::21]:8080"
    head, *lines = server.requests[0].decode().split("\r\n")
    assert head == "GET /ready HTTP/1.1"
    assert {f"Host: {host}", "Connection: close"} <= set(lines)
    assert server.finished and not server.reset
    assert (probe.state, probe.stop()) == ("over", [])


@pytest.mark.parametrize(
    ("answer", "well", "reason"),
    [
        (b"HTTP/1.0 204 No Content\r\n\r\n", True, "10.2.0.21:80 answers GET / with 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", True, "10.2.0.21:80 answers GET / with 302"),
        (b"HTTP/1.1 200\r\n\r\n", True, "10.2.0.21:80 answers GET / with 200"),
        (b"HTTP/1.1 200 OK\n\n", True, "10.2.0.21:80 answers GET / with 200"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WELL, True, "10.2.0.21:80 answers GET / with 200"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 X\r\n\r\n", False, "10.2.0.21:80 answers GET / with 500"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "10.2.0.21:80 answers GET / with 400"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False, "10.2.0.21:80 answers GET / with 404"),
        (b"HTTP/1.1 999 What\r\n\r\n", False, "what 10.2.0.21:80 answers is not HTTP"),
        (b"HTTP/1.1 2000 What\r\n\r\n", False, "what 10.2.0.21:80 answers is not HTTP"),
        (b"HTTP/2 200\r\n\r\n", False, "what 10.2.0.21:80 answers is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "what 10.2.0.21:80 answers is not HTTP"),
        (b"HTTP/1.1 20", False, "10.2.0.21:80 closes the connection without an answer"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", False, "10.2.0.21:80 closes the connection without an answer"),
        (b"", False, "10.2.0.21:80 closes the connection without an answer"),
    ],
)
def test_what_answers_mean(answer: bytes, well: bool, reason: str) -> None:
    for cut in range(max(1, len(answer))):
        server = Server(answer=answer, pieces=(cut,))
        probe = http(server, path="/")
        talk(probe, server, probe.start())
        assert outcome(probe) == (well, reason)
        assert server.finished or server.reset


def test_who_speaks_but_no_http_is_hung_up_on_at_once() -> None:
    server = Server(answer=b"220 mail ESMTP\r\n", closes=False)
    probe = http(server)
    talk(probe, server, probe.start())
    assert outcome(probe) == (False, "what 10.2.0.21:80 answers is not HTTP")
    assert server.reset


def test_who_accepts_and_says_nothing() -> None:
    server = Server(mode="mute")
    probe = http(server)
    talk(probe, server, probe.start())
    assert probe.outcome is None
    assert probe.silence == "10.2.0.21:80 accepts connections, but does not answer GET /ready"
    assert not probe.again(), "it has the request"
    talk(probe, server, probe.stop())
    assert server.reset


@given(
    st.lists(st.integers(1, len(WELL)), max_size=6),
    st.data(),
)
def test_lost_late_and_double_segments_of_the_answer(pieces: list[int], data: st.DataObject) -> None:
    """Whatever the order, and however often: what counts is the stream. The server sends again what it must."""
    server = Server(pieces=tuple(pieces))
    probe = http(server)
    frames = probe.start()
    agreed = server.take(frames[0])
    segments = [segment for frame in probe.hear(_heard(agreed[0])) for segment in server.take(frame)]
    for _ in range(20):
        arriving = data.draw(st.lists(st.sampled_from(segments), max_size=2 * len(segments))) if segments else []
        for segment in arriving:
            for reply in probe.hear(_heard(segment)):
                server.take(reply)
        segments = server.resend()
    for segment in segments:
        for reply in probe.hear(_heard(segment)):
            server.take(reply)
    assert outcome(probe) == (True, "10.2.0.21:80 answers GET /ready with 200")
    assert server.finished and not server.reset
    assert not server.resend(), "everything was acknowledged"


@given(st.data())
def test_a_server_that_overlaps_what_it_sends_again(data: st.DataObject) -> None:
    server = Server(mode="mute")
    probe = http(server)
    talk(probe, server, probe.start())
    begin = 0
    while begin < len(WELL):
        end = data.draw(st.integers(begin + 1, len(WELL)))
        back = data.draw(st.integers(0, begin))
        probe.hear(_heard(server.say("PA", server.number + 1 + back, server._next, WELL[back:end])))
        begin = end
    assert outcome(probe)[0]


def test_what_came_before_is_acknowledged_again() -> None:
    """Or the server would send it for ever."""
    server = Server(mode="mute")
    probe = http(server)
    talk(probe, server, probe.start())
    segment = server.say("PA", server.number + 1, server._next, WELL)
    for _ in range(2):
        (acknowledgement,) = probe.hear(_heard(segment))
        found = parsed(acknowledgement)[TCP]
        assert (str(found.flags), found.ack) == ("A", server.number + 1 + len(WELL) & 0xFFFFFFFF)


def test_a_request_longer_than_a_segment_and_lost_in_part() -> None:
    server = Server()
    probe = http(server, path="/" + "x" * 900)
    agreed = server.take(probe.start()[0])
    asked = probe.hear(_heard(agreed[0]))
    sizes = [len(parsed(frame)[TCP][Raw].load) for frame in asked]
    assert len(sizes) == 2 and max(sizes) == 536
    talk(probe, server, asked[:1])  # the second one is lost
    assert probe.outcome is None
    again = probe.again()
    assert len(again) == 1, "what is acknowledged is not sent again"
    talk(probe, server, again)
    assert outcome(probe)[0]
    assert len(server.requests) == 1


def test_a_path_cannot_add_lines() -> None:
    server = Server()
    probe = http(server, path="/a b\r\nX: y?q=%20ä")
    talk(probe, server, probe.start())
    assert server.requests[0].startswith(b"GET /a%20b%0D%0AX:%20y?q=%20%C3%A4 HTTP/1.1\r\nHost: ")


def test_a_reset_in_the_middle() -> None:
    server = Server(mode="mute")
    probe = http(server)
    talk(probe, server, probe.start())
    forged = server.say("R", server.number + 1 + (1 << 20), 0)
    probe.hear(_heard(forged))
    assert probe.outcome is None, "far outside the window: not the server's (RFC 5961 3.2)"
    probe.hear(_heard(server.say("R", server.number + 1, 0)))
    assert outcome(probe) == (False, "10.2.0.21:80 reset the connection")
    assert not probe.stop()


def test_endless_answers_are_cut_off() -> None:
    server = Server(answer=b"HTTP/1.1 103 Hints\r\nX: " + b"y" * MOST_HEAD * 2, pieces=tuple(range(0, 20000, 500)))
    probe = http(server)
    talk(probe, server, probe.start())
    assert outcome(probe) == (False, f"what 10.2.0.21:80 answers is no status within {MOST_HEAD} bytes")
    assert server.reset
    large = Server(answer=WELL + b"x" * MOST_DATA * 2, pieces=tuple(range(0, 2 * MOST_DATA, 1000)))
    probe = http(large)
    talk(probe, large, probe.start())
    assert outcome(probe)[0]
    assert large.reset


@pytest.mark.parametrize("version", [4, 6])
def test_who_answers_for_the_address(version: int) -> None:
    ends = ENDS[version]
    server = Server()
    probe = Asking(wire(server), ends.remote, ends.local)
    talk(probe, server, probe.start())
    assert outcome(probe) == (True, f"{ends.remote} answers")
    other = Server(mac="02:00:00:00:02:99")
    probe = Asking(wire(server), ends.remote, ends.local)
    for answer in other.take(probe.start()[0]) if version == 4 else [_advertised(other.mac)]:
        probe.hear(_heard(answer))
    assert probe.outcome is None, "another machine with that address"
    assert probe.silence.startswith(f"{ends.remote} does not answer ")
    assert probe.again() == probe.start()


def test_a_question_is_what_others_take_it_for() -> None:
    server = Server(vlan=9)
    question = parsed(Asking(wire(server), ENDS[4].remote, ENDS[4].local).start()[0])
    assert (question[ARP].op, question[ARP].psrc, question[ARP].pdst) == (1, "10.2.0.254", "10.2.0.21")
    assert question[ARP].hwsrc == question.src == GATEWAY_MAC


@given(st.binary(max_size=120))
def test_rubbish_says_nothing(data: bytes) -> None:
    server = Server()
    server.take(tcp(server).start()[0])
    frame = server.say("SA", 1, 2)
    for cut in (frame[: len(data)], frame[:14] + data, frame[:34] + data, data):
        said = hear(untag(cut)[0])
        assert said is None or isinstance(said, Segment) or said.mac


def _heard(frame: bytes) -> Segment:
    said = hear(frame)
    assert said is not None
    return said  # type: ignore[return-value]


def _advertised(mac: str) -> bytes:
    said = ICMPv6ND_NA(tgt="fd02::21", R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    return bytes(Ether(src=mac, dst=GATEWAY_MAC) / IPv6(src="fd02::21", dst="fd02::fe", hlim=255) / said)

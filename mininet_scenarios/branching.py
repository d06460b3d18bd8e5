"""What a function writes into a packet decides where it goes from there; replies take a list of their own.

A marker sets DSCP by its own rules; classifiers `after` it send what is marked through a scrubber, or end it. Also: an
explicit return list, a limit, and a mark set by the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

from mininet_scenarios.harness.captures import TcpPacket, settle
from mininet_scenarios.harness.evidence import Arms
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.processes import run as command
from mininet_scenarios.harness.traffic import PROGRAMS, PYTHON, Outcome, connect, tally

TOPOLOGY = "branching.yaml"
POLICY = "branching.yaml"

CLIENT, SERVER = "10.1.0.11", "10.2.0.21"
CLEAN, SUSPICIOUS, HOSTILE, OTHER_WAY, COLOURED = range(8001, 8006)
LIMITED, FREE = 9001, 9002
AF21, EF = 18, 46
EACH = 10
BURST, SIZE, PAUSE = 400, 1200, 0.001  # some 9.6 Mbit/s for 0.4 s
FUNCTIONS = ("marker", "scrub", "audit")
MARKING = f"""
table bridge marking {{
  chain passing {{
    type filter hook forward priority 0; policy accept;
    tcp dport {SUSPICIOUS} ip dscp set af21
    tcp dport {HOSTILE} ip dscp set cs1
  }}
}}
"""

Check = Callable[..., bool]
_ports = count(20001)


class Bench:
    """The running lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.network = lab, lab.network
        self.server, self.client = lab.capture("web"), lab.capture("c1")
        self.arms = {name: Arms(lab.capture(name, "in"), lab.capture(name, "out")) for name in FUNCTIONS}
        inner = (capture for arms in self.arms.values() for capture in (arms.inner, arms.outer))
        for capture in (self.server, self.client, *inner):
            capture.ready()
        lab.web_server("web", *range(CLEAN, COLOURED + 1)).ready()
        command(["nft", "-f", "-"], lab.network.pid("marker"), stdin=MARKING)

    def browse(self, port: int, timeout: float = 4.0) -> list[Outcome]:
        ports = [next(_ports) for _ in range(EACH)]
        outcomes = connect(self.network, "c1", SERVER, port, ports, timeout=timeout)
        settle()
        return outcomes

    def way(self, port: int, to: str) -> str:
        """The functions that came before a host on the way of the first packet to it, by what left them. All
        connections have to agree."""
        ways = set()
        for connection in {_client_port(packet) for packet in self._first(port, to).values()}:
            left = {name: min(times) for name, times in self._times(port, to, connection).items() if times}
            ways.add(" ".join(sorted(left, key=lambda name: left[name])) or "none")
        return " or ".join(sorted(ways)) or "nobody asked"

    def _first(self, port: int, to: str) -> dict[int, TcpPacket]:
        end = self.client if to == SERVER else self.server
        found: dict[int, TcpPacket] = {}
        for packet in end.tcp():
            if packet.target == to and port in (packet.source_port, packet.target_port):
                found.setdefault(_client_port(packet), packet)
        return found

    def _times(self, port: int, to: str, connection: int) -> dict[str, list[float]]:
        """When each function passed packets of a connection on: seen on both of its arms."""
        found: dict[str, list[float]] = {}
        for name, arms in self.arms.items():
            seen = [
                [packet.time for packet in capture.tcp() if packet.target == to
                 and {packet.source_port, packet.target_port} == {port, connection}]
                for capture in (arms.inner, arms.outer)
            ]  # fmt: skip
            found[name] = seen[0] if all(seen) else []
        return found

    def marks(self, port: int) -> str:
        """DSCP of what the server got at a port, and of what it sent from there."""
        packets = [packet for packet in self.server.tcp() if port in (packet.source_port, packet.target_port)]
        there = {packet.frame[15] >> 2 for packet in packets if packet.target == SERVER}
        back = {packet.frame[15] >> 2 for packet in packets if packet.source == SERVER}
        return f"{' '.join(map(str, sorted(there)))}; {' '.join(map(str, sorted(back)))}"


def _client_port(packet: TcpPacket) -> int:
    return packet.source_port if packet.source == CLIENT else packet.target_port


def run(lab: Lab) -> None:
    """The lab, check by check."""

    def about(topic: str) -> Check:
        lab.say(topic)
        return partial(lab.checks.that, topic)

    bench = Bench(lab)
    check = about("what the marker leaves alone")
    check("connections", _told(bench.browse(CLEAN)), f"{EACH} web")
    check("functions on the way there, back", _ways(bench, CLEAN), "marker; marker")
    check = about("what it marks as suspicious goes on through the scrubber")
    check("connections", _told(bench.browse(SUSPICIOUS)), f"{EACH} web")
    check("functions on the way there, back", _ways(bench, SUSPICIOUS), "marker scrub; marker")
    check("DSCP as the server got it, and sent", bench.marks(SUSPICIOUS), f"{AF21}; 0")
    check = about("what it marks as hostile ends there")
    check("connections", _told(bench.browse(HOSTILE, timeout=1.5)), f"{EACH} TimeoutError")
    check("functions on the way there, back", _ways(bench, HOSTILE), "marker; nobody asked")
    check("packets at the server", sum(HOSTILE in (p.source_port, p.target_port) for p in bench.server.tcp()), 0)
    check = about("replies with a list of their own")
    check("connections", _told(bench.browse(OTHER_WAY)), f"{EACH} web")
    check("functions on the way there, back", _ways(bench, OTHER_WAY), "scrub; audit marker")
    check = about("marked by the policy")
    check("connections", _told(bench.browse(COLOURED)), f"{EACH} web")
    check("DSCP as the server got it, and sent", bench.marks(COLOURED), f"{EF}; 0")
    limited(bench, about("limited by the policy"))


def _told(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(tally(outcomes).items()))


def _ways(bench: Bench, port: int) -> str:
    return f"{bench.way(port, SERVER)}; {bench.way(port, CLIENT)}"


def limited(bench: Bench, check: Check) -> None:
    """A burst ten times as fast as the limit, and the same burst where there is none."""
    arrived = {}
    for port in (FREE, LIMITED):
        words = [str(value) for value in (SERVER, port, BURST, SIZE, PAUSE)]
        bench.network.on("c1", *PYTHON, str(PROGRAMS / "burst.py"), *words)
        settle()
        arrived[port] = sum(_is_udp_to(frame, port) for _, frame in bench.server.frames())
    check("datagrams that arrived without a limit, of 400", arrived[FREE], "at least 390", arrived[FREE] >= 390)
    check("datagrams that arrived with one of a tenth of the rate, of 400", arrived[LIMITED], "1 to 200",
          1 <= arrived[LIMITED] <= 200)  # fmt: skip


def _is_udp_to(frame: bytes, port: int) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == port.to_bytes(2, "big")

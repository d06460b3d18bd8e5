"""Health checks against real kernels: a web server is turned off, stopped, and on again."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from controller_app.model.topology import Topology
from mininet_scenarios.harness.lab import Lab, running_lab
from mininet_scenarios.harness.processes import Process, wait_for
from mininet_scenarios.harness.traffic import connect, tally

TOPOLOGY = """
version: 1
switches: {s1: {dpid: 0x1}, s2: {dpid: 0x2}}
links: [[s1:1, s2:1]]
hosts:
  c1: {attach: s1:11, ip: [10.1.0.11, "fd01::11"], mac: 02:00:00:00:01:11}
  w1: {attach: s2:11, ip: [10.2.0.21, "fd02::21"], mac: 02:00:00:00:02:21}
  w2: {attach: s2:12, ip: [10.2.0.22, "fd02::22"], mac: 02:00:00:00:02:22, vlan: 7}
  w3: {attach: s1:13, ip: [10.2.0.23, "fd02::23"], mac: 02:00:00:00:02:23}
  a1: {attach: s2:14, ip: [10.3.0.31, "fd03::31"], mac: 02:00:00:00:03:31}
"""
POLICY = """
version: 1
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  servers: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
  bare: {subnet: [10.3.0.0/24, "fd03::/64"]}
  vips: {subnet: [100.1.1.0/24, "fd64::/64"], kind: service}
endpoints:
  web1: {host: w1, network: servers, labels: {tier: web}}
  web2: {host: w2, network: servers, labels: {tier: web}}
  web3: {host: w3, network: servers, labels: {tier: web}}
  plain: {host: a1, network: bare, labels: {tier: plain}}
services:
  pages: {network: vips, ip: [100.1.1.3, "fd64::3"], selector: tier=web, ports: [80/tcp],
          health: {probe: "http://:80/ready", interval: 300ms, misses: 3}}
  ports: {network: vips, ip: [100.1.1.4, "fd64::4"], selector: tier=web, ports: [80/tcp],
          health: {probe: tcp/80, interval: 300ms, misses: 2}}
  words: {network: vips, ip: [100.1.1.5, "fd64::5"], selector: tier=plain, ports: [53/udp],
          health: {probe: arp, interval: 300ms, misses: 2}}
"""
SERVER = """
import functools, http.server, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
class Named(http.server.SimpleHTTPRequestHandler):
    def version_string(self):
        return sys.argv[1]
server = Server(("::", 80), functools.partial(Named, directory=sys.argv[2]))
print("listening")
server.serve_forever()
"""
SERVERS = {"web1": "w1", "web2": "w2", "web3": "w3"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("health")
    (folder / "topology.yaml").write_text(TOPOLOGY, encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    topology = Topology.load(str(folder / "topology.yaml"))
    with running_lab("health", topology, [folder / "policy.yaml"], folder / "out", Console(quiet=True)) as lab:
        yield lab


def serve(lab: Lab, host: str) -> Process:
    """Python's own web server, which has a page /ready."""
    pages = lab.out / "pages" / host
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "ready").write_text("x" * 3000)
    (pages / "index.html").write_text(host)
    command = [sys.executable, "-u", "-c", SERVER, host, str(pages)]
    server = lab.processes.start(f"http-{host}", command, lab.network.pid(host))
    server.wait_for_output("listening")
    return server


def said(lab: Lab) -> list[str]:
    """What the controller said of providers."""
    assert lab.controller is not None
    return re.findall(r"provider .*", lab.controller.process.output())


def told(lab: Lab, words: str) -> int:
    return sum(words in text for text in said(lab))


def await_words(lab: Lab, since: int, *words: str) -> list[str]:
    """Wait until each of these was said; returns what was."""
    wait_for(f"{words} in {said(lab)[since:]}", lambda: all(any(w in t for t in said(lab)[since:]) for w in words))
    return said(lab)[since:]


def test_a_web_server_is_turned_off_and_on(lab: Lab) -> None:
    servers = {endpoint: serve(lab, host) for endpoint, host in SERVERS.items()}
    since = len(said(lab))
    if since:  # some were found unready before their servers ran
        wait_for("all to serve", lambda: told(lab, "serves again") == told(lab, "is unready"))
    since = len(said(lab))
    time.sleep(3)
    assert said(lab)[since:] == [], "ten checks of each, all well"

    servers["web2"].stop()
    texts = await_words(lab, since, "web2 of service pages is unready", "web2 of service ports is unready")
    assert all(re.search(r"connection refused by (10\.2\.0\.22|\[fd02::22\]):80", text) for text in texts), texts
    time.sleep(0.5)
    for to in ("100.1.1.3", "fd64::3"):
        outcomes = tally(connect(lab.network, "c1", to, 80, range(20000, 20040)))
        assert set(outcomes) == {"w1", "w3"}, outcomes

    since = len(said(lab))
    servers["web2"] = serve(lab, "w2")
    await_words(lab, since, "web2 of service pages serves again", "web2 of service ports serves again")
    time.sleep(0.5)
    outcomes = tally(connect(lab.network, "c1", "100.1.1.3", 80, range(21000, 21100)))
    assert set(outcomes) == {"w1", "w2", "w3"}, outcomes

    # its kernel goes on to take connections, but nobody is at home
    since = len(said(lab))
    servers["web1"].popen.send_signal(signal.SIGSTOP)
    try:
        (text,) = await_words(lab, since, "web1 of service pages is unready")
        assert "80 accepts connections, but does not answer GET /ready" in text
    finally:
        servers["web1"].popen.send_signal(signal.SIGCONT)
    await_words(lab, since, "web1 of service pages serves again")
    time.sleep(1)
    assert "Traceback" not in servers["web3"].output(), "its connections end as they should"
    for endpoint, host in SERVERS.items():
        assert "GET /ready" in servers[endpoint].output()
        states = [word for state in ("syn-recv", "established", "close-wait") for word in ("state", state)]
        sockets = lab.network.on(host, "ss", "-Htan", *states)
        assert len(sockets.splitlines()) <= 4, sockets


def test_a_host_in_a_network_without_a_gateway_answers_for_its_addresses(lab: Lab) -> None:
    """Nobody (0.0.0.0, and a link-local address) asks; Linux answers."""
    plain = [text for text in said(lab) if "plain" in text]
    assert not plain or "serves again" in plain[-1]  # where all was late while the lab began
    since = len(said(lab))
    lab.network.on("a1", "ip", "addr", "del", "fd03::31/64", "dev", "eth0")
    await_words(lab, since, "plain of service words is unready: fd03::31 does not answer neighbour discovery")
    since = len(said(lab))
    lab.network.on("a1", "ip", "addr", "add", "fd03::31/64", "dev", "eth0", "nodad")
    await_words(lab, since, "plain of service words serves again")

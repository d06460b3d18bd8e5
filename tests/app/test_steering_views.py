"""Service routers, the names in labels, and metrics, over REST and chainctl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from controller_app.cli.chainctl import run
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.runtime.control import Runtime
from controller_app.settings import Settings
from controller_app.verification.decode_label import Names, names_of

NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}, s4: {dpid: 4}}
links: [[s1:1, s2:1], [s2:2, s3:1], {ends: [s1:2, s3:2], cost: 5}]
hosts:
  c1: {attach: s1:11, ip: 10.1.0.1, mac: 02:00:00:00:00:11}
  k1: {attach: s2:12, ip: 10.1.0.200, mac: 02:00:00:00:00:12}
  lone: {attach: s4:14, ip: 10.1.0.7, mac: 02:00:00:00:00:14}
  web: {attach: s3:13, ip: 10.2.0.1, mac: 02:00:00:00:00:13}
  fw1: {attach: {in: s3:21, out: s3:22}}
  fw2: {attach: {in: s2:21, out: s2:22}}
  ids1: {attach: s3:31}
"""
POLICY = """\
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254, insert: [fw, ids]}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
segments:
  kiosks: {network: clients, cidr: 10.1.0.128/25, insert: [ids]}
  plain: {network: clients, cidr: 10.1.0.0/29}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}
  ids: {kind: ids, mode: tap, instances: {ids1: {host: ids1}}}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path: Path = tmp_path_factory.mktemp("routers")
    (path / "network.yaml").write_text(NETWORK)
    (path / "campus.yaml").write_text(POLICY)
    runtime = Runtime(
        Settings(
            topology=(str(path / "network.yaml"),),
            policy=(str(path / "campus.yaml"),),
            api_listen="127.0.0.1:0",
            symmetric_hash=False,
        )
    )
    runtime.start()
    yield "http://{}:{}".format(*runtime.api_address)
    runtime.close()


def test_service_routers_show_gateways_functions_and_next_hops(url: str) -> None:
    routers = {r["name"]: r for r in httpx.get(f"{url}/api/v1/service-routers").json()["service-routers"]}
    assert set(routers) == {"clients", "kiosks"}  # the others insert nothing
    clients, kiosks = routers["clients"], routers["kiosks"]
    assert (clients["kind"], clients["covers"], clients["gateways"]) == ("network", ["10.1.0.0/24"], ["10.1.0.254"])
    assert clients["edges"] == ["s1", "s2", "s4"]
    firewall, tap = clients["functions"]
    assert (firewall["name"], firewall["mode"], tap["name"], tap["mode"]) == ("fw", "transparent", "ids", "tap")
    fw1, fw2 = firewall["instances"]
    assert (fw1["ports"], fw2["ports"]) == ({"in": "s3:21", "out": "s3:22"}, {"in": "s2:21", "out": "s2:22"})
    assert fw1["costs"] == {"s1": 2, "s2": 1, "s4": None}  # over s2, not the dear link; no way from s4
    assert fw2["costs"] == {"s1": 1, "s2": 0, "s4": None}
    assert fw1["slots"] + fw2["slots"] == 256
    assert (kiosks["kind"], kiosks["network"], kiosks["edges"]) == ("segment", "clients", ["s2"])
    assert [f["name"] for f in kiosks["functions"]] == ["ids"]
    assert kiosks["functions"][0]["instances"][0]["costs"] == {"s2": 1}


def test_chainctl_shows_them(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--controller", url, "get", "service-routers"]) == 0
    table = capsys.readouterr().out
    assert "10.1.0.254" in table
    assert "fw2 (in s2:21 out s2:22; 1 from s1, 0 from s2, no way from s4)" in table
    assert run(["--controller", url, "get", "service-routers", "kiosks", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["covers"] == ["10.1.0.128/25"]


def test_switches_say_how_connections_are_hashed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    switch = httpx.get(f"{url}/api/v1/switches").json()["switches"][0]
    assert switch["hash"] == "portable: --no-symmetric-hash"
    assert (switch["version"], switch["symmetric"], switch["faults"], switch["refused"]) == (None, None, [], [])
    assert run(["--controller", url, "get", "switches"]) == 0
    assert "portable: --no-symmetric-hash" in capsys.readouterr().out
    assert run(["--controller", url, "get", "hosts"]) == 0


def test_the_names_in_labels_are_published(url: str) -> None:
    names = Names.from_json(httpx.get(f"{url}/api/v1/labels").json())
    policy = parse_policy({"campus.yaml": POLICY}).policy
    assert names == names_of(policy, parse_topology(NETWORK, "network.yaml"))
    assert {path.functions for path in names.paths.values()} >= {("ids",), ("fw", "ids")}


def test_metrics_are_what_prometheus_reads(url: str) -> None:
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in answer.text.splitlines():
        assert line.startswith(("# HELP chainsteer_", "# TYPE chainsteer_", "chainsteer_"))
    assert "# TYPE chainsteer_refused_frames_total counter" in answer.text

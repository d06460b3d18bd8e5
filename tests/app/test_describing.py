"""What is said of one object, of all that is counted, and of traces, while no switch is connected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from test_rest import Api, files, problem

from controller_app.runtime.control import Runtime

RED = """\
version: 1
tenant: red
default: deny
networks:
  far: {subnet: 10.9.0.0/24}
  clients: {subnet: 10.8.0.0/24}
"""
FRAME = bytes(Ether(src="02:00:00:00:01:11", dst="0a:00:00:00:00:01") / IP(src="10.1.0.11", dst="100.1.1.3") / TCP(
    sport=40000, dport=8080)).hex()  # fmt: skip
URL = "/api/v1"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    runtime = Runtime(files(tmp_path_factory.mktemp("describing")))
    runtime.start()
    yield Api(runtime).client
    runtime.close()


def described(client: httpx.Client, kind: str, name: str, **query: str) -> dict[str, Any]:
    answer = client.get(f"{URL}/describe", params={"kind": kind, "name": name, **query})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_without_switches_there_are_no_counters_and_that_is_said(client: httpx.Client) -> None:
    found = described(client, "classifiers", "web")
    assert {each["switch"] for each in found["rules"]} == set(found["silent"]) == set(found["waiting"])
    assert set(found["silent"].values()) == {"is not connected"}
    assert {each["packets"] for each in found["rules"]} == {None}
    assert found["in_sync"] is False
    assert [(each["kind"], each["name"]) for each in found["uses"]] == [
        ("networks", "clients"), ("services", "app-svc"), ("chains", "inspect")]  # fmt: skip
    counters = client.get(f"{URL}/counters").json()
    assert counters["chains"][0] == {"name": "inspect", "tenant": "default", "packets": None, "bytes": None}
    assert counters["links"][0]["packets"] == [None, None]
    assert {each["packets_in"] for each in counters["functions"]} == {None}
    flows = described(client, "flows", "s1")
    assert {flow["counters"] for flow in flows["flows"]} == {None}


def test_a_host_and_a_switch_say_who_names_them(client: httpx.Client) -> None:
    host = described(client, "hosts", "w1")
    assert [(each["kind"], each["name"]) for each in host["used_by"]] == [("endpoints", "web1")]
    assert host["declared"]["policy"] is None
    assert host["declared"]["position"].endswith("network.yaml:7:3")
    assert {("classifiers", "no-telnet")} <= {
        (each["kind"], each["name"]) for each in described(client, "hosts", "h1")["used_by"]
    }
    switch = described(client, "switches", "s1")
    assert switch["object"]["connected"] is False
    assert switch["in_sync"] is False


@pytest.mark.parametrize(("query", "status", "says"), [
    ({"kind": "fuctions", "name": "fw"}, 404, "did you mean 'functions'?"),
    ({"kind": "xyz", "name": "fw"}, 404, "there are switches, links"),
    ({"kind": "services", "name": "app-svk"}, 404, "did you mean 'app-svc'?"),
    ({"kind": "services", "name": "app-svc", "tenant": "green"}, 404, "no policy is for a tenant 'green'"),
    ({"kind": "flows", "name": "s11"}, 404, "did you mean 's1'?"),
    ({"kind": "services"}, 422, "name"),
])
def test_what_is_not_there(client: httpx.Client, query: dict[str, str], status: int, says: str) -> None:
    assert says in problem(client.get(f"{URL}/describe", params=query), status)["detail"]


def test_of_two_tenants_one_has_to_be_named(client: httpx.Client) -> None:
    assert client.put(f"{URL}/policies/red", content=RED).status_code == 200
    two = problem(client.get(f"{URL}/describe", params={"kind": "networks", "name": "clients"}), 409)
    assert two["detail"] == "tenants default and red have one named 'clients': ?tenant=default"
    assert described(client, "networks", "clients", tenant="red")["object"]["subnet"] == ["10.8.0.0/24"]
    mine = described(client, "networks", "clients", tenant="default")
    assert {each["name"] for each in mine["used_by"]} == {"web", "direct"}
    red = described(client, "policies", "red")
    assert {(each["kind"], each["name"], each["tenant"]) for each in red["declares"]} == {
        ("networks", "far", "red"), ("networks", "clients", "red")}  # fmt: skip
    assert red["revisions"][0]["what"] == "apply red"


def test_a_trace_without_switches_has_candidates_and_no_counters(client: httpx.Client) -> None:
    answer = client.post(f"{URL}/trace", json={"from": "h1", "to": "100.1.1.3", "dport": 8080}).json()
    assert "is not known: it is not connected" in answer["note"]
    assert len(answer["candidates"]) > 1
    assert all("counters" not in rule for hop in answer["forward"] for rule in hop["rules"])
    framed = client.post(f"{URL}/trace", json={"frame": FRAME}).json()
    assert framed["packet"] == answer["packet"]
    many = client.post(f"{URL}/trace", json={"frames": [FRAME, "00" * 20]}).json()["flows"]
    assert (many[0]["classifier"], "problem" in many[1]) == ("web", True)


@pytest.mark.parametrize(("body", "says"), [
    ({"to": "10.2.0.21"}, "who sends the packet"),
    ({"from": "h1"}, "give a packet"),
    ({"frame": "zz"}, "hexadecimal"),
    ({"frame": FRAME, "frames": [FRAME]}, "give a packet"),
    ({"frame": FRAME, "from": "h1", "port": "s1:1"}, "instead of who sends it"),
    ({"frame": FRAME, "port": "s9:1"}, "no switch named 's9'"),
    ({"frame": FRAME[:40]}, "tcpdump -s 0"),
    ({"frames": ["00"] * 201}, "200"),
])
def test_what_cannot_be_traced(client: httpx.Client, body: dict[str, Any], says: str) -> None:
    assert says in problem(client.post(f"{URL}/trace", json=body), 422)["detail"]

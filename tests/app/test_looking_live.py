"""trace, describe and top against a running controller and real switches: what they count is what went through."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import bed
import dummy_ovs as dummy
import examples
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap
from test_end_to_end import Controller, running, syn

from controller_app.cli import chainctl

FRAMES = 7


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bed.Bed, Controller]]:
    """The example network with a controller that all switches hold the rules of."""
    if problem := dummy.missing():
        pytest.skip(problem)
    with dummy.DummyOvs() as ovs:
        network = bed.Bed(ovs, examples.network(), examples.policy())
        with running(ovs, network, tmp_path_factory.mktemp("looking")) as controller:
            yield network, controller


def said(controller: Controller, *argv: str, code: int = 0) -> tuple[str, str]:
    """What chainctl prints for people, and on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, CHAINCTL_URL=controller.url), redirect_stdout(out), redirect_stderr(err):
        done = chainctl.run([*argv])
    assert done == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def rules(document: dict[str, Any], way: str = "forward") -> list[dict[str, Any]]:
    return [rule for hop in document[way] for rule in hop["rules"]]


ASKED = ("trace", "--from", "h1", "--to", "100.1.1.3", "--dport", "8080", "--sport", "41000")


def test_beside_every_rule_stands_what_the_switch_counted(lab: tuple[bed.Bed, Controller]) -> None:
    network, controller = lab
    before = controller.ctl(*ASKED)
    assert "note" not in before
    assert before["verdict"] == "delivered"
    network.send("h1", *[syn(41000)] * FRAMES)
    network.ovs.purge()  # what the datapath counted is added to the flows
    after = controller.ctl(*ASKED)
    assert [rule["match"] for rule in rules(after)] == [rule["match"] for rule in rules(before)]
    for was, now in zip(rules(before), rules(after), strict=True):
        # only the first packet of a connection is chosen for
        least = 1 if now["table"] in ("pinned-provider", "choose", "commit") else FRAMES
        assert now["counters"]["packets"] - was["counters"]["packets"] >= least, now
        assert now["counters"]["bytes"] > was["counters"]["bytes"]
        assert now["counters"]["age"] >= was["counters"]["age"] > 0
        for group in now["groups"]:
            assert group["counters"]["bucket_packets"] <= group["counters"]["packets"]
    (chosen,) = [group for rule in rules(after) if rule["table"] == "choose" for group in rule["groups"]]
    (had,) = [group for rule in rules(before) if rule["table"] == "choose" for group in rule["groups"]]
    assert chosen["counters"]["bucket_packets"] - had["counters"]["bucket_packets"] >= 1
    assert all("counters" in rule for rule in rules(after, "return"))
    # the very numbers that the switch itself prints
    hop = after["forward"][0]
    (classify,) = [rule for rule in hop["rules"] if rule["table"] == "classify"]
    dumped = network.ovs.ofctl("dump-flows", network.bridges[hop["switch"]], f"table=120,{classify['match']}")
    assert f"n_packets={classify['counters']['packets']}," in dumped
    table, _ = said(controller, *ASKED)
    assert "packets" in table
    assert "classifiers/web" in table
    explained, _ = said(controller, "explain", *ASKED[1:])
    assert explained.splitlines()[:4] == table.splitlines()[:4]


def test_captures_are_traced_live(lab: tuple[bed.Bed, Controller], tmp_path: Path) -> None:
    _, controller = lab
    file = tmp_path / "a.pcap"
    stray = Ether() / IP(src="9.9.9.9", dst="8.8.8.8") / TCP()
    wrpcap(str(file), [Ether(syn(42000)), Ether(syn(42001)), Ether(syn(42000)), stray])
    found = controller.ctl("trace", "--pcap", str(file))["flows"]
    assert [(flow["line"], flow["packets"]) for flow in found] == [(1, 2), (2, 1), (4, 1)]
    assert "--from HOST" in found[2]["problem"]
    for flow in found[:2]:
        one = controller.ctl("trace", "--pcap", str(file), "--line", str(flow["line"]))
        assert (flow["functions"], flow["host"], flow["ways"]) == (one["functions"], one["host"], 1)
        assert one["classifier"] == "web"
        assert all("counters" in rule for rule in rules(one))
    at = controller.ctl("trace", "--pcap", str(file), "--line", "1", "--port", "s1:11")
    assert (at["forward"][0]["in_port"], at["return"]) == (11, [])
    assert "did you mean 'h1'" in controller.ctl("trace", "--pcap", str(file), "--line", "1", "--from", "h11", code=1)
    assert "frame 4" in controller.ctl("trace", "--pcap", str(file), "--line", "4", code=1)
    assert "SWITCH:NUMBER" in controller.ctl("trace", "--pcap", str(file), "--line", "1", "--port", "s1", code=1)


@pytest.mark.parametrize("kind,name,tables", [
    ("function", "fw", {"choose", "deliver", "advance"}),
    ("chain", "inspect", {"classify"}),
    ("classifier", "web", {"classify"}),
    ("service", "app-svc", {"addressing"}),
    ("switch", "s1", {"admission", "classify"}),
    ("host", "h1", {"admission"}),
    ("network", "servers", set()),
    ("endpoint", "web1", {"admission"}),
    ("policy", "campus", {"classify", "choose"}),
])  # fmt: skip
def test_everything_about_one_object(
    lab: tuple[bed.Bed, Controller], kind: str, name: str, tables: set[str]
) -> None:
    _, controller = lab
    document = controller.ctl("describe", kind, name)
    assert tables <= {each["table"] for each in document["rules"]}
    assert all(isinstance(each["packets"], int) for each in document["rules"])
    assert (document["in_sync"], document["waiting"], document["silent"]) == (True, [], {})
    assert document["declared"]["position"].rsplit("/")[-1].split(":")[0] in ("campus.yaml", "network.yaml")
    text, _ = said(controller, "describe", kind, name)
    assert text.startswith(f"{kind} {name}\n")
    assert document["declared"]["position"] in text


def test_what_is_particular_to_a_kind(lab: tuple[bed.Bed, Controller]) -> None:
    network, controller = lab
    network.send("h1", *[syn(43000)] * FRAMES)
    network.ovs.purge()
    function = controller.ctl("describe", "functions", "fw")
    assert function["slots"] == {"fw1": 171, "fw2": 85}
    assert [(user["kind"], user["name"]) for user in function["used_by"]] == [("chains", "inspect")]
    assert {each["name"] for each in function["uses"]} == {"fw1", "fw2"}
    assert sum(each["packets_out"] for each in function["traffic"]) >= FRAMES
    chain = controller.ctl("describe", "chains", "inspect")
    assert {each["name"] for each in chain["uses"]} == {"fw", "ids"}
    assert {each["name"] for each in chain["used_by"]} == {"web", "direct"}
    assert {tuple(way["instances"]) for item in chain["paths"] for way in item["paths"]} >= {("fw1",), ("fw2",)}
    assert sum(each["packets"] for each in chain["rules"]) >= FRAMES
    service = controller.ctl("describe", "services", "app-svc")
    assert sum(service["slots"].values()) == 256
    assert {("networks", "vips"), ("endpoints", "web1")} <= {(e["kind"], e["name"]) for e in service["uses"]}
    switch = controller.ctl("describe", "switches", "s1")
    assert [each["kind"] for each in switch["events"]] == ["switch.connected", "switch.synced"]
    assert {each["kind"] for each in switch["used_by"]} == {"links", "hosts"}
    first = controller.ctl("get", "links")["links"][0]["name"]
    link = controller.ctl("describe", "links", first)
    assert [each["port"] for each in link["traffic"]] == link["object"]["ends"]
    policy = controller.ctl("describe", "policies", "campus")
    assert policy["revisions"][0]["number"] == 1
    assert {"kind": "chains", "name": "inspect"}.items() <= policy["declares"][[
        each["name"] for each in policy["declares"]].index("inspect")].items()
    of_one = controller.ctl("describe", "flows", "functions/fw")["flows"]
    of_all = controller.ctl("describe", "flows", "s1")["flows"]
    assert {flow["object"] for flow in of_one} == {"functions/fw"}
    assert [flow for flow in of_one if flow["switch"] == "s1"]
    assert len(of_all) == len(controller.ctl("get", "flows", "s1")["flows"])
    assert all(flow["counters"] is not None for flow in of_all)
    assert max(flow["counters"]["packets"] for flow in of_all) >= FRAMES
    assert "counters" not in said(controller, "describe", "flows", "functions/fw")[0]


@pytest.mark.parametrize(("argv", "says"), [
    (("function", "fww"), "did you mean 'fw'?"),
    (("functoin", "fw"), "did you mean 'function'?"),
    (("switches", "core"), "there is s1, s2, s3 and s4"),
    (("flows", "classifiers/wep"), "did you mean 'classifiers/web'?"),
    (("chain", "inspect", "--tenant", "red"), "no policy is for a tenant 'red'"),
    (("switch", "s1", "--tenant", "default"), "leave the tenant out"),
])  # fmt: skip
def test_what_is_not_there_is_said_with_what_there_is(
    lab: tuple[bed.Bed, Controller], argv: tuple[str, ...], says: str
) -> None:
    assert says in lab[1].ctl("describe", *argv, code=1)


def test_top_shows_what_goes_through_now(lab: tuple[bed.Bed, Controller]) -> None:
    network, controller = lab
    before = controller.ctl("top", "--once", "--interval", "0.5")
    assert (before["chains"][0]["packets_per_second"], before["silent"]) == (0, {})
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            network.send("h1", *[syn(44000)] * 10)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        found = controller.ctl("top", "--once", "--interval", "2")
        table, _ = said(controller, "top", "--interval", "1")  # not a terminal: once
    finally:
        stop.set()
        sending.join()
    (chain,) = found["chains"]
    assert chain["packets_per_second"] > 0
    assert sum(each["packets_in_per_second"] for each in found["functions"] if each["name"] == "fw") > 0
    assert sum(sum(each["packets_per_second"]) for each in found["links"]) > 0
    assert {each["provider"] for each in found["services"]} == {"web1", "web2", "web3"}
    assert all(each["state"] == "serving" for each in found["services"])
    for words in ("chains", "inspect", "functions", "fw/fw1", "services", "app-svc/web1", "links"):
        assert words in table
    assert "at least 0.5" in controller.ctl("top", "--interval", "0", code=1)


def test_a_switch_that_is_away_is_said(lab: tuple[bed.Bed, Controller]) -> None:
    network, controller = lab
    bridge = network.bridges["s4"]
    network.ovs.vsctl("del-controller", bridge)
    try:
        document = controller.ctl("describe", "switch", "s4")
        for _ in range(100):
            if document["silent"]:
                break
            document = controller.ctl("describe", "switch", "s4")
        assert document["silent"] == {"s4": "is not connected"}
        assert document["waiting"] == ["s4"]
        trace = controller.ctl(*ASKED)
        passed = {hop["switch"] for hop in (*trace["forward"], *trace["return"])}
        if "s4" in passed:
            assert "s4" in trace["note"]
            assert all("counters" not in rule for hop in trace["forward"] if hop["switch"] == "s4"
                       for rule in hop["rules"])
    finally:
        network.ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait_in_sync()

"""Paths explained, drawn, and with parts of the network down."""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from bench.fat_tree import fat_tree
from test_chainctl import Capture, Result

from controller_app.cli.drawing import draw_paths
from controller_app.cli.places import layout, near
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.pipeline.paths import paths
from controller_app.policy.policy_file import parse_policy

ROOT = Path(__file__).parents[2]
FILES = ("-t", str(ROOT / "topologies/firewall_ids.yaml"), "-p", str(ROOT / "policies/firewall_ids.yaml"))


def test_why_says_what_each_path_costs_beside_none(capsys: Capture) -> None:
    done = Result(capsys, "path", *FILES, "--why", "inspect-web")
    assert done.code == 0
    assert "slots by weight" in done.out
    assert "171/256 fw1: s1 > s3 > s5, cost 2, 1 more than without functions" in done.out


def test_pictures_show_switches_instances_and_paths(tmp_path: Path, capsys: Capture) -> None:
    svg, png = tmp_path / "a.svg", tmp_path / "a.png"
    done = Result(capsys, "path", *FILES, "--svg", str(svg), "--png", str(png), "-o", "json", "inspect-web")
    assert done.code == 0 and done.json["chains"]
    text = "".join(Xml.parse(svg).getroot().itertext())
    for word in ("s1", "s6", "fw1", "fw2", "inspect-web: s1 to s5 through fw1 (cost 2)"):
        assert word in text
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 20_000
    before = svg.read_bytes()
    Result(capsys, "path", *FILES, "--svg", str(svg), "inspect-web")
    assert svg.read_bytes() == before


def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path, capsys: Capture) -> None:
    wrong = Result(capsys, "path", *FILES, "--png", "a.jpg")
    assert wrong.code == 1 and "ends in .png" in wrong.err
    nowhere = Result(capsys, "path", *FILES, "--svg", str(tmp_path / "none" / "a.svg"))
    assert nowhere.code == 1 and "a directory that is there" in nowhere.err


def test_switches_that_say_where_they_are_are_drawn_there() -> None:
    places = {"a": (10.0, 50.0), "b": (20.0, 60.0), "c": None, "d": (30.0, 40.0)}
    switches = {
        name: Switch(name, n, longitude=place and place[0], latitude=place and place[1])
        for n, (name, place) in enumerate(places.items(), 1)
    }
    links = tuple(Link(End(a, b_port), End(b, a_port)) for a, b, b_port, a_port in
                  (("a", "b", 1, 1), ("b", "c", 2, 1), ("c", "d", 2, 1)))
    found = layout(Topology(switches, links))
    assert {name: found[name] for name in "abd"} == {name: places[name] for name in "abd"}
    assert found["c"] == (25.0, 50.0)
    nowhere = Topology({name: replace(switch, longitude=None) for name, switch in switches.items()}, links)
    assert layout(nowhere) == layout(nowhere) and len(set(layout(nowhere).values())) == 4


STEERED = """\
version: 1
functions: {fw: {instances: {fw1: {host: fw1}}}}
chains: {c: {through: [fw]}}
classifiers: [{from: {host: x}, to: {host: y}, traffic: tcp/80, then: {chain: c}}]
"""


def large(globe: bool) -> tuple[Topology, Policy]:
    """A ladder of 50 rungs, of which the way from one end to the function and back crosses the first four."""
    switches = {
        f"{side}{n}": Switch(f"{side}{n}", 2 * n + at + 1, longitude=n / 5 if globe else None,
                             latitude=50.0 + at if globe else None)
        for n in range(50) for at, side in enumerate("lr")
    }
    links = [Link(End(f"l{n}", 1), End(f"r{n}", 1)) for n in range(50)]
    links += [Link(End(f"{side}{a}", 2), End(f"{side}{b}", 3)) for side in "lr" for a, b in pairwise(range(50))]
    places = {"x": {"": End("l0", 9)}, "y": {"": End("r0", 9)}, "fw1": {"in": End("l3", 8), "out": End("l3", 9)}}
    hosts = {
        name: Host(name, attach, () if len(attach) > 1 else (ip_address(f"10.0.0.{n}"),), f"02:00:00:00:00:0{n}",
                   declared=True)
        for n, (name, attach) in enumerate(places.items(), 1)
    }
    return Topology(switches, tuple(links), hosts), parse_policy({"p": STEERED}).policy


@pytest.mark.parametrize("globe", [True, False])
def test_of_a_large_network_the_part_with_the_paths_is_shown(globe: bool, tmp_path: Path) -> None:
    topology, policy = large(globe)
    document = paths(policy, topology)["chains"]
    used = {switch for item in document for way in item["paths"] for switch in way["switches"]}
    beside = {f"{side}{n}" for side in "lr" for n in range(5)}
    assert used <= near(topology, used) <= beside
    draw_paths(policy, topology, document, tmp_path / "a.svg")
    words = {"".join(each.itertext()).strip() for each in Xml.parse(tmp_path / "a.svg").getroot().iter()}
    assert {"l0", "r0", "fw1"} <= {word for text in words for word in text.split()}
    assert not words & (set(topology.switches) - used)
    said = any("switches are not drawn" in word for word in words)
    assert said == (not globe)  # on a map the others are drawn in faint
    assert set(layout(topology, near(topology, used))) == (set(topology.switches) if globe else near(topology, used))


def test_many_neighbours_are_left_out() -> None:
    star = Topology({f"s{n}": Switch(f"s{n}", n + 1) for n in range(100)},
                    tuple(Link(End("s0", n), End(f"s{n}", 1)) for n in range(1, 100)))
    assert near(star, {"s0", "s7"}) == {"s0", "s7"}
    assert len(near(star, {"s7"})) == 2


def test_fabrics_are_drawn_in_tiers() -> None:
    tree = fat_tree(8)
    shown = {"e0x0", "e0x1", "e3x2", "a0x1", "a3x0", "c1x2"}
    found = layout(tree.topology, shown)
    assert set(found) == shown
    assert {name: found[name][1] for name in shown} == {
        "e0x0": 0, "e0x1": 0, "e3x2": 0, "a0x1": 1, "a3x0": 1, "c1x2": 2}
    assert found["e0x0"] < found["e0x1"] < found["e3x2"] and found["a0x1"] < found["a3x0"]


def test_it_is_said_that_detours_may_not_meet_what_is_required(tmp_path: Path, capsys: Capture) -> None:
    text = (ROOT / "policies/edges.yaml").read_text()
    files = ("-t", str(ROOT / "topologies/edges.yaml"), "-p", str(ROOT / "policies/edges.yaml"))
    done = Result(capsys, "path", *files, "--why")
    assert "latency:" in text and "when a link fails: until the controller has repaired it, detours may not" in done.out
    assert "detours" not in Result(capsys, "path", *FILES, "--why").out


@pytest.mark.parametrize("verb", ["path", "what-if"])
def test_verbs_that_ask_no_controller_offer_none(verb: str, capsys: Capture) -> None:
    told = Result(capsys, verb, "--help").out
    assert "--topology" in told and "--controller" not in told and "--token" not in told


@pytest.mark.parametrize(("down", "effects"), [
    (("s3-s5",), {"moves"}),
    (("s5-s3",), {"moves"}),
    (("s3:2-s5:2",), {"moves"}),
    (("fw1",), {"moves"}),
    (("fw1", "fw2"), {"fails"}),
    (("s3",), {"moves"}),
])  # fmt: skip
def test_what_if_says_what_becomes_of_chains(down: tuple[str, ...], effects: set[str], capsys: Capture) -> None:
    flags = [word for part in down for word in ("--down", part)]
    done = Result(capsys, "what-if", *FILES, *flags, "-o", "json", "inspect-web")
    chains = done.json["chains"]
    assert {item["effect"] for item in chains} == effects
    assert done.code == (2 if "fails" in effects else 0)
    for item in chains:
        assert sum(way["slots"] for way in item["before"]) == 256
        assert sum(way["slots"] for way in item["after"]) == (0 if item["effect"] == "fails" else 256)
        assert bool(item["why"]) == (item["effect"] == "fails")
        assert item["moved"] == 256 or item["effect"] != "fails"
    if down == ("fw1",):  # of 256 slots those of fw1 go to fw2, and no other moves
        assert {item["moved"] for item in chains} == {171}


@pytest.mark.parametrize("spread", ["weight", "cost"])
def test_functions_that_may_be_skipped_are(spread: str, tmp_path: Path, capsys: Capture) -> None:
    text = (ROOT / "policies/two_switches.yaml").read_text()
    text = text.replace("kind: firewall", "kind: firewall, on_failure: open")
    text = text.replace("through: [firewall]", f"through: [firewall], spread: {spread}")
    (tmp_path / "p.yaml").write_text(text)
    files = ("-t", str(ROOT / "topologies/two_switches.yaml"), "-p", str(tmp_path / "p.yaml"))
    done = Result(capsys, "what-if", *files, "--down", "fw1", "-o", "json")
    assert done.code == 0 and {item["effect"] for item in done.json["chains"]} == {"moves"}
    assert [way["instances"] for item in done.json["chains"] for way in item["after"]] == [[], []]
    ends = Result(capsys, "what-if", *files, "--down", "h2", "-o", "json")
    assert ends.code == 2 and {item["why"] for item in ends.json["chains"]} == {"nobody is left at one of its ends"}


def test_what_if_in_words(capsys: Capture) -> None:
    kept = Result(capsys, "what-if", *FILES, "--down", "ids1")
    assert kept.code == 0 and "8 of 8 ways of chains stay as they are" in kept.err and "moves" not in kept.out
    unknown = Result(capsys, "what-if", *FILES, "--down", "s99")
    assert unknown.code == 1 and "nothing is called 's99'" in unknown.err
    nothing = Result(capsys, "what-if", *FILES)
    assert nothing.code == 1 and "--down" in nothing.err

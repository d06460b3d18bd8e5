"""What `chainctl trace` says against what the switches counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from controller_app.pipeline.tables import TABLE_NAMES
from mininet_scenarios.harness.counters import Counters
from mininet_scenarios.harness.ovs import OPENFLOW
from mininet_scenarios.harness.processes import run

Crossing = tuple[str, int, str]  # switch, port, and "in" or "out"


def crossings(trace: Mapping[str, Any], forward: int, backward: int) -> Counter[Crossing]:
    """How often a trace says each port is crossed by `forward` packets of the traced connection and
    `backward` packets of its replies, copies for taps included."""
    found = Counter[Crossing]()
    for main, copies, packets in (
        (trace["forward"], trace["copies"], forward),
        (trace["return"], trace["return_copies"], backward),
    ):
        for way in (main, *(copy["hops"] for copy in copies)):
            for number, hop in enumerate(way):
                if way is main or number > 0:  # a copy is made in its first switch: it did not come in there
                    found[hop["switch"], hop["in_port"], "in"] += packets
                if hop["out_port"] is not None:
                    found[hop["switch"], hop["out_port"], "out"] += packets
    return found


def counted_crossings(counted: Counters, at_least: int) -> Counter[Crossing]:
    """The crossings the switches counted, without ports that saw fewer packets than `at_least`: those are
    the controller's own (link discovery) and address resolution."""
    found = Counter[Crossing]()
    for (switch, port), count in counted.items():
        found[switch, port, "in"] += count.received
        found[switch, port, "out"] += count.sent
    return Counter({crossing: count for crossing, count in found.items() if count >= at_least})


def table_hits(switches: Iterable[str]) -> Counter[tuple[str, str]]:
    """Packets that hit each table of each switch so far, by table name."""
    # counters in Open vSwitch's cache are added to the flows' own now and then; this does it now
    run(["ovs-appctl", "--timeout=10", "revalidator/purge"])
    found = Counter[tuple[str, str]]()
    for switch in switches:
        for line in run(["ovs-ofctl", "-O", OPENFLOW, "dump-flows", switch]).splitlines():
            parts = re.search(r"table=(\d+).*?n_packets=(\d+)", line)
            if parts:
                found[switch, TABLE_NAMES.get(int(parts[1]), parts[1])] += int(parts[2])
    return found


def traced_tables(trace: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Every table a trace names, with its switch: there, back, and copies."""
    ways = [trace["forward"], trace["return"]]
    ways += [copy["hops"] for copy in (*trace["copies"], *trace["return_copies"])]
    return {(hop["switch"], rule["table"]) for way in ways for hop in way for rule in hop["rules"]}


def traced_classifiers(trace: Mapping[str, Any]) -> set[str]:
    """Every classifier a trace names."""
    rules = (rule for way in ("forward", "return") for hop in trace[way] for rule in hop["rules"])
    return {
        rule["object"].partition("/")[2]
        for rule in rules
        if (rule["object"] or "").startswith("classifiers/")
    }

"""`mn --custom lab.py --topo mytopo --controller remote` just works, with and without a topology file."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAB = '''
from mininet.topo import Topo

class MyTopo(Topo):
    """A ring of three switches with four hosts."""

    def build(self):
        ring = [self.addSwitch(f"s{n}") for n in (1, 2, 3)]
        for one, other in zip(ring, ring[1:] + ring[:1]):
            self.addLink(one, other)
        for n, switch in enumerate((ring[0], ring[0], ring[1], ring[2]), start=1):
            self.addLink(self.addHost(f"h{n}"), switch)

topos = {"mytopo": MyTopo}
'''


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="mn-", dir="/tmp"
    ) as name:  # short: unix socket paths hold 107 bytes
        (Path(name) / "lab.py").write_text(LAB)
        yield Path(name)


def mn(directory: Path, what: str, *options: str) -> str:
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            str(HERE / "own_mininet.sh"),
            sys.executable,
            str(directory),
            what,
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def test_with_no_topology_file_at_all(directory: Path) -> None:
    """Switches, links and hosts are discovered; the ring does not storm; the first ping gets through."""
    assert "0% dropped (12/12 received)" in mn(directory, "pingall")


def test_with_the_same_topology_class(directory: Path) -> None:
    said = mn(directory, "pingall", "--topology", f"{directory}/lab.py:MyTopo")
    assert "0% dropped (12/12 received)" in said
    assert not re.search(r"WARNING|ERROR", said), said


def test_with_a_policy_for_hosts_that_are_learned(directory: Path) -> None:
    policy = directory / "policy.yaml"
    policy.write_text(
        "version: 1\nclassifiers:\n  - {from: {host: h1}, to: {host: h4}, traffic: [icmp], then: deny}\n"
    )
    said = mn(directory, "pingall", "--topology", f"{directory}/lab.py:MyTopo", "--policy", str(policy))
    # h1 asks h4 in vain, and so does h4 h1: the answers are what is denied
    assert "16% dropped (10/12 received)" in said
    assert re.search(r"^h1 -> h2 h3 X", said, re.MULTILINE)

"""Mininet scripts as topologies, with the numbers Mininet itself gives."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller_app.model.position import PolicyError, Position
from controller_app.model.topology import End, Host, Link, Switch
from controller_app.policy.topology_file import load_topology

pytest.importorskip("mininet.topo", reason="Mininet is not installed")

SCRIPT = """\
from mininet.topo import Topo

class MyTopo(Topo):
    def build(self, k=1):
        s1 = self.addSwitch('s1')
        s2 = self.addSwitch('edge-12', dpid='1f')
        h1 = self.addHost('h1', ip='10.0.0.5/24', mac='02:00:00:00:00:01')
        h2 = self.addHost('h2')
        fw = self.addHost('fw1', ip='no ip defined/8')
        self.addHost('idle')
        self.addLink(h1, s1)
        self.addLink(s1, s2, bw=10, delay='5ms')
        self.addLink(s1, s2, port1=9, port2=7)
        self.addLink(s2, h2)
        self.addLink(fw, s1)
        self.addLink(s2, fw)

print('a script may talk')
topos = {'mytopo': (lambda: MyTopo()), 'wrong': lambda: 5}
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "my lab.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("name", ["MyTopo", "mytopo"])
def test_class_or_key(script: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    topology = load_topology(f"{script}:{name}")
    assert list(topology.switches.values()) == [Switch("edge-12", 0x1F), Switch("s1", 1)]
    assert set(topology.links) == {
        Link(End("s1", 2), End("edge-12", 1), 0.005, 1e7),
        Link(End("s1", 9), End("edge-12", 7)),
    }
    assert topology.hosts == {
        "fw1": Host("fw1", {"in": End("s1", 4), "out": End("edge-12", 4)}),
        "h1": Host("h1", {"": End("s1", 1)}, (ip_address("10.0.0.5"),), "02:00:00:00:00:01", declared=True),
        "h2": Host("h2", {"": End("edge-12", 3)}),
    }
    out, err = capsys.readouterr()
    assert (out, "a script may talk" in err) == ("", True)


def test_the_numbers_are_mininets_own(script: Path) -> None:
    """Every topology that Mininet itself brings, against what Mininet says of it."""
    from mininet.topo import Topo
    from mininet.topolib import TorusTopo, TreeTopo

    body = """
from mininet.topolib import TorusTopo, TreeTopo
topos = {'tree': lambda: TreeTopo(2, 3), 'torus': lambda: TorusTopo(3, 3)}
"""
    script.write_text(body)
    wanted: dict[str, Topo] = {"tree": TreeTopo(2, 3), "torus": TorusTopo(3, 3)}
    for name, topo in wanted.items():
        topology = load_topology(f"{script}:{name}")
        assert list(topology.switches) == topo.switches()
        assert list(topology.hosts) == topo.hosts()
        for link in topology.links:
            assert topo.port(link.a.switch, link.b.switch) == (link.a.port, link.b.port)
        for host in topology.hosts.values():
            (end,) = host.attach.values()
            assert topo.port(host.name, end.switch)[1] == end.port


def test_the_neighbours_of_a_script_are_found(script: Path) -> None:
    (script.parent / "sizes.py").write_text("from mininet.topo import LinearTopo\n")
    script.write_text("from sizes import LinearTopo\nclass Mine(LinearTopo):\n    pass\n")
    before = list(sys.path)
    assert len(load_topology(f"{script}:Mine").switches) == 2
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "text", "line", "what", "remedy"),
    [
        ("mytop", SCRIPT, 0, "no topology 'mytop'", "did you mean 'mytopo'?"),
        ("wrong", SCRIPT, 0, "makes no Mininet Topo, but a int", "derive"),
        ("MyTopo", "import absent_module\n", 1, "No module named 'absent_module'", "install it"),
        ("MyTopo", "x = 1\nraise SystemExit('no')\n", 2, "the script raised SystemExit: no", "correct"),
        ("MyTopo", "def f(:\n", 1, "the script raised SyntaxError", "correct"),
        ("MyTopo", SCRIPT.replace("self.addHost('idle')", "1 / 0"), 10, "ZeroDivisionError", "correct"),
        ("MyTopo", SCRIPT.replace("'s1'", "'core'"), 0, "switch 'core' has no usable dpid", "such as s1"),
        ("MyTopo", SCRIPT.replace("'1f'", "'xyz'"), 0, "no usable dpid: 'xyz'", "hex"),
        ("MyTopo", SCRIPT.replace("'1f'", "'1'"), 0, "dpid 0x1 is that of switch", "of its own"),
        ("MyTopo", SCRIPT.replace("02:00:00:00:00:01", "01:00:00:00:00:01"), 0, "multicast", "even"),
        (
            "MyTopo",
            SCRIPT.replace("self.addLink(s2, fw)", "self.addLink(s2, fw); self.addLink(s2, fw)"),
            0,
            "host 'fw1' has 3 links",
            "two are the most",
        ),
        (
            "MyTopo",
            SCRIPT.replace("self.addLink(s2, h2)", "self.addLink(h1, h2)"),
            0,
            "without a switch",
            "between",
        ),
    ],
)
def test_scripts_that_cannot_be_used(
    script: Path, name: str, text: str, line: int, what: str, remedy: str
) -> None:
    script.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load_topology(f"{script}:{name}")
    problem = caught.value.diagnostics[0]
    assert (problem.position.file, problem.position.line) == (str(script), line), problem
    assert what in problem.what
    assert remedy in problem.remedy


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load_topology(f"{tmp_path}/absent.py:MyTopo")
    assert caught.value.diagnostics[0].position == Position(f"{tmp_path}/absent.py")

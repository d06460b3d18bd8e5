"""`chainctl get links` against a running controller, and the option that makes load cost something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import examples
import pytest

from controller_app.cli.chainctl import run
from controller_app.cli.options import read_options
from controller_app.discovery import lldp
from controller_app.discovery.ports import Port, PortId
from controller_app.discovery.utilisation import Costs
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.settings import Settings, SettingsError


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    running = Runtime(Settings(topology=(str(tmp_path / "network.yaml"),), api_listen="127.0.0.1:0"))
    running.start()
    yield running
    running.close()


def table(runtime: Runtime, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, str]:
    """What `chainctl get` prints: the rest of each line by its first word."""
    host, port = runtime.api_address
    assert run(["--controller", f"http://{host}:{port}", "get", *argv]) == 0
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}


def event(runtime: Runtime, action: Callable[[Conductor], object]) -> None:
    runtime.call(action)
    runtime.call(lambda conductor: conductor._recompute())


def test_states_and_costs_of_links_are_shown(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    shown = table(runtime, capsys, "links")
    assert "declared (not seen yet)" in shown["s1:1-s2:1"]

    def flap(conductor: Conductor) -> None:
        for up in (False, True) * 3:
            conductor.discovery.port(1, Port(1, "p1", 1, up), conductor.now())

    def connect(conductor: Conductor) -> None:
        described = [Port(number, f"p{number}", number, True) for number in (1, 2, 9, 11, 12)]
        conductor.connected(1, described, lambda data: None)

    def load(conductor: Conductor) -> None:
        (other,) = [state for state in conductor.links if str(state.link.a) == "s1:2"]
        conductor.load.weight = 4.0
        conductor.load._costs = Costs({other.ends: 2}, {other.ends: 0.0})
        conductor.load.revision += 1

    def forge(conductor: Conductor) -> None:
        frame = lldp.frame(PortId(2, 9), 1, 20, 1, b"not our key")
        conductor._do(conductor.discovery.frame(PortId(1, 9), frame, conductor.now()))

    event(runtime, connect)
    event(runtime, flap)
    event(runtime, load)
    event(runtime, forge)
    shown = table(runtime, capsys, "links")
    assert "damped (it comes and goes; back in " in shown["s1:1-s2:1"]
    (loaded,) = [line for name, line in shown.items() if name.startswith("s1:2-")]
    assert " 3.0 " in loaded  # half full of weight 4
    switches = table(runtime, capsys, "switches")
    assert "forged at 9: 1" in switches["s1"]
    damped = runtime.call(lambda conductor: [str(link.a) for link in conductor.computed.topology.links])
    assert "s1:1" not in damped


def test_the_weight_of_load_is_an_option(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("utilisation-cost: 4\n")
    assert read_options([], {})[0].utilisation_cost == 0
    assert read_options(["--config", str(file)], {})[0].utilisation_cost == 4
    assert read_options(["--config", str(file), "--utilisation-cost", "2.5"], {})[0].utilisation_cost == 2.5
    for wrong in ("-1", "nan", "1e9"):
        with pytest.raises(SettingsError, match="utilisation-cost"):
            read_options([f"--utilisation-cost={wrong}"], {})
    file.write_text("utilisation-cost: much\n")
    with pytest.raises(SettingsError, match="a number is expected"):
        read_options(["--config", str(file)], {})

"""chain-manager as a process: what it starts, what it refuses, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dummy_ovs import DummyOvs
from wire_client import HELLO, WireClient

from controller_app.cli.manager import OUR_APP, main
from controller_app.cli.options import read_options
from controller_app.settings import Settings, SettingsError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEARNING = "tests/openflow/learning_switch_13.py"
RUN_APPS_ONLY = """
import sys
from controller_app.cli import manager
from controller_app.settings import Settings
manager._log_to_stderr(True)
manager.run(Settings(ofp_tcp_listen_port=0), sys.argv[1:])
"""
# the console script without our app, which takes most of the time and is not what is refused
WITHOUT_OURS = """
import sys
from controller_app.cli import manager
manager.OUR_APP = sys.argv.pop()
sys.exit(manager.main(sys.argv[1:]))
"""


class Manager:
    """A running chain-manager, its stderr collected."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = int(self.line(r"^listening on 127\.0\.0\.1:(\d+)$").group(1))

    def line(self, pattern: str) -> re.Match[str]:
        """Read on to a line that matches."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.lines.append(text)
            if found := re.search(pattern, text.rstrip()):
                return found
        raise AssertionError(f"no {pattern!r} in:\n{''.join(self.lines)}")

    def end(self, number: int = signal.SIGTERM) -> str:
        """Send the signal; the rest of stderr, once it ended well."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=15)
        assert self.process.returncode == 0, "".join(self.lines) + rest
        return rest


@contextmanager
def running(*command: str) -> Iterator[Manager]:
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        yield Manager(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(check: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def frame(source: int, target: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, target, 2, 0, 0, 0, 0, source, 0x88, 0xB5]) + bytes(50)


@pytest.fixture
def bridge(dummy_ovs: DummyOvs) -> DummyOvs:
    with dummy_ovs.transaction():
        dummy_ovs.add_bridge("br", dpid=7)
        for number in (1, 2, 3):
            dummy_ovs.add_port("br", f"p{number}", number, tx_pcap=True)
    return dummy_ovs


def learns(ovs: DummyOvs) -> None:
    """Two hosts find each other through the learning switch, and then need no controller any more."""
    until(lambda: "CONTROLLER" in ovs.ofctl("dump-flows", "br"))
    ovs.receive("p1", frame(1, 2))
    assert ovs.sent("p2", 1, 5) == [frame(1, 2)]
    assert ovs.sent("p3", 1, 5) == [frame(1, 2)]
    ovs.receive("p2", frame(2, 1))
    assert ovs.sent("p1", 1, 5) == [frame(2, 1)]
    assert ovs.sent("p3") == []
    until(lambda: "priority=1,in_port=2" in ovs.ofctl("dump-flows", "br"))


def test_a_learning_switch_runs_alone(bridge: DummyOvs) -> None:
    with running("-c", RUN_APPS_ONLY, LEARNING) as manager:
        bridge.set_controller("br", "127.0.0.1", manager.port)
        learns(bridge)
        before = bridge.ofctl("dump-flows", "br", "--no-stats")
        rest = manager.end(signal.SIGTERM)
        assert "Traceback" not in rest
        assert bridge.ofctl("dump-flows", "br", "--no-stats").splitlines()[1:] == before.splitlines()[1:]


def test_a_learning_switch_runs_beside_ours(bridge: DummyOvs) -> None:
    with running("-m", "controller_app.cli.manager", "--ofp-tcp-listen-port", "0", "--api-listen", "127.0.0.1:0",
                 "--no-observe-links", LEARNING) as manager:
        bridge.set_controller("br", "127.0.0.1", manager.port)
        until(lambda: "cookie=0xc5" in bridge.ofctl("dump-flows", "br"))
        rest = manager.end(signal.SIGINT)
        assert "Traceback" not in "".join(manager.lines) + rest
        assert "cookie=0xc5" in bridge.ofctl("dump-flows", "br")


def test_an_app_that_never_ends_does_not_keep_the_process(tmp_path: Path) -> None:
    app = tmp_path / "endless.py"
    app.write_text("from os_ken.base import app_manager\nfrom os_ken.lib import hub\n"
                   "class Endless(app_manager.OSKenApp):\n"
                   "    def start(self):\n        super().start()\n        hub.spawn(self.loop)\n"
                   "    def loop(self):\n        while True:\n            hub.sleep(1)\n")
    with running("-c", RUN_APPS_ONLY, str(app)) as manager:
        started = time.monotonic()
        manager.end()
        assert time.monotonic() - started < 5


def test_it_listens_on_loopback_only_and_not_on_6633() -> None:
    with running("-c", RUN_APPS_ONLY, LEARNING) as manager:
        table = Path(f"/proc/{manager.process.pid}/net/tcp").read_text() \
            + Path(f"/proc/{manager.process.pid}/net/tcp6").read_text()
        inodes = {os.readlink(path) for path in Path(f"/proc/{manager.process.pid}/fd").iterdir() if path.is_symlink()}
        listening = [line.split()[1] for line in table.splitlines() if line.split()[3] == "0A"
                     and f"socket:[{line.split()[9]}]" in inodes]
        assert listening == [f"0100007F:{manager.port:04X}"]
        manager.end()


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--no-such"], "--no-such"),
    (["--ofp-tcp-listen-port", "x"], "invalid int"),
    (["--ofp-tcp-listen-port", "70000"], "0 to 65535"),
    (["--ctl-cert", "a.pem"], "--ctl-privkey"),
    (["--ca-certs", "a.pem"], "--ctl-cert"),
    (["--ctl-cert", "nowhere.pem", "--ctl-privkey", "nowhere.pem"], "nowhere.pem: there is no such file"),
    (["--ofp-listen-host", "192.0.2.1"], "cannot listen on 192.0.2.1:6653"),
    (["--config", "nowhere.yaml"], "nowhere.yaml: No such file"),
    (["no_such_app"], "app no_such_app: there is no such file"),
    (["--topology", "nowhere.yaml"], "nowhere.yaml"),
    (["--policy", "nowhere.yaml"], "nowhere.yaml"),
])
def test_what_it_refuses(arguments: list[str], expected: str) -> None:
    if "--ofp-listen-host" not in arguments and "--ofp-tcp-listen-port" not in arguments:
        arguments = ["--ofp-tcp-listen-port", "0", "--api-listen", "127.0.0.1:0", *arguments]
    done = subprocess.run([sys.executable, "-m", "controller_app.cli.manager", *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stdout == ""
    assert expected in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(("app", "expected"), [
    ("no_such_app.py", "app no_such_app.py: there is no such file"),
    ("json", "app json: there is no class"),
])
def test_what_is_no_app(app: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_OURS, "--ofp-tcp-listen-port", "0", app], cwd=ROOT,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stdout == ""
    assert expected in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(("text", "expected"), [
    ("from ryu.base import app_manager", "write os_ken instead of ryu"),
    ("import no_such_thing", "no_such_thing, which is not installed"),
    ("def x(:", "bad_app.py:1"),
    ("1 / 0", "ZeroDivisionError"),
    ("from os_ken.base.app_manager import OSKenApp\nclass A(OSKenApp):\n    OFP_VERSIONS = [1]", "OpenFlow 1.3"),
    ("from os_ken.base.app_manager import OSKenApp\nclass A(OSKenApp):\n    def __init__(self, *a, **k):\n"
     "        raise OSError('no luck')", "no luck"),
])
def test_apps_it_refuses(tmp_path: Path, text: str, expected: str) -> None:
    app = tmp_path / "bad_app.py"
    app.write_text(text + "\n")
    while_made = expected == "no luck"  # by then ours is at work
    script = ["-m", "controller_app.cli.manager"] if while_made else ["-c", WITHOUT_OURS]
    done = subprocess.run([sys.executable, *script, "--ofp-tcp-listen-port", "0", "--api-listen", "127.0.0.1:0",
                           str(app)], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert expected in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("chain-manager: ")


def test_a_port_in_use_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--ofp-tcp-listen-port", str(port)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"chain-manager: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert said.count("\n") == 1


def test_options_come_from_the_command_line_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("topology: [a.yaml, b.yaml]\npolicy: p/\nofp-listen-host: 0.0.0.0\nobserve-links: false\n"
                    "ofp_tcp_listen_port: 6700\napps: x.py\napi-token: secret\n")
    assert read_options(["--config", str(file)], {}) == (Settings(
        topology=("a.yaml", "b.yaml"), policy=("p/",), ofp_listen_host="0.0.0.0", observe_links=False,
        ofp_tcp_listen_port=6700, api_token="secret"), ["x.py"])
    settings, apps = read_options(["--config", str(file), "--topology", "c.yaml", "--observe-links", "y.py", "z.py"],
                                  {"CHAINCTL_TOKEN": "other"})
    assert (settings.topology, settings.observe_links, settings.api_token) == (("c.yaml",), True, "other")
    assert apps == ["y.py", "z.py"]
    assert read_options([], {}) == (Settings(), [])
    assert Settings().tcp_port == 6653 and Settings().tls_port is None
    secure = Settings(ctl_cert="c", ctl_privkey="k")
    assert secure.tcp_port is None and secure.tls_port == 6653


@pytest.mark.parametrize(("text", "expected"), [
    ("polcy: x", "polcy: there is no such option; did you mean policy?"),
    ("a: [", ":1:5: this is not YAML"),
    ("- a", "a mapping of options"),
    ("ofp-tcp-listen-port: '6653'", "ofp-tcp-listen-port: a number is expected, not '6653'"),
    ("verbose: 1", "true or false"),
    ("topology: [1]", "a name or a list of names"),
    ("state: 5", "text is expected"),
])
def test_a_file_of_options_that_cannot_be_used(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_options(["--config", str(file)], {})
    assert expected in str(refused.value) and str(file) in str(refused.value)


def test_a_plain_socket_sees_a_hello_of_openflow_1_3() -> None:
    with running("-c", RUN_APPS_ONLY, LEARNING) as manager:
        with WireClient(socket.create_connection(("127.0.0.1", manager.port))) as switch:
            assert switch.read()[:2] == HELLO[:2]
        manager.end()


def test_our_app_is_where_the_launcher_looks() -> None:
    __import__(OUR_APP)

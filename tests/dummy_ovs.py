"""Real Open vSwitch for tests, without root and without a network: the dummy datapath.

One ovsdb-server and one ovs-vswitchd of our own in a temporary folder. Bridges are `datapath_type=dummy`,
ports `type=dummy`: frames go in with `receive`, come out in `sent`. Hundreds of bridges start in a second.

    with DummyOvs() as ovs:
        with ovs.transaction():                  # one ovs-vsctl call for everything inside
            ovs.add_bridge("s1", dpid=1)
            ovs.add_port("s1", "h1", 1, tx_pcap=True)
            ovs.add_port("s1", "h2", 2, tx_pcap=True)
        ovs.ofctl("add-flow", "s1", "in_port=1,actions=2")
        ovs.receive("h1", frame)
        assert ovs.sent("h2") == [frame]
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

SCHEMAS = ("/usr/share/openvswitch/vswitch.ovsschema", "/usr/local/share/openvswitch/vswitch.ovsschema")
MAX_FRAMES_AT_ONCE = 40  # a dummy port's queue holds 100 and drops without a word
_PR_SET_PDEATHSIG = 1
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


class OvsError(RuntimeError):
    """A command of Open vSwitch failed; the text is what it printed."""


def missing() -> str | None:
    """What is not installed here, for a skip message; None when everything is there."""
    for program in ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl"):
        if shutil.which(program, path=_PATH) is None:
            return f"Open vSwitch is not installed: no {program}"
    if not any(Path(schema).exists() for schema in SCHEMAS):
        return "Open vSwitch is not installed: no vswitch.ovsschema"
    return None


class DummyOvs:
    """A private Open vSwitch. Use as a context manager, or call `start` and `stop`."""

    def __init__(self) -> None:
        self.dir = Path()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._queued: list[tuple[str, ...]] | None = None
        self._control: socket.socket | None = None
        self._control_lock = threading.Lock()
        self._control_ids = 0
        self._pcaps: dict[str, Path] = {}
        self._read: dict[str, int] = {}
        self._waiting: Counter[str] = Counter()  # frames that came to ports since all had left
        self._steered = False  # a controller may change flows at any time
        self._changes = ""  # how often Open vSwitch saw its flows changed, when its cache was emptied last
        self._written = False  # flows were changed by `ofctl` since then

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> DummyOvs:
        """Start both daemons; OvsError when one does not come up within 10 s."""
        if problem := missing():
            raise OvsError(problem)
        # /tmp, whatever TMPDIR says: the path of a unix socket holds 107 bytes.
        self.dir = Path(tempfile.mkdtemp(prefix="ovs-", dir="/tmp"))
        atexit.register(self.stop)
        schema = next(path for path in SCHEMAS if Path(path).exists())
        try:
            self._run("ovsdb-tool", "create", f"{self.dir}/conf.db", schema)
            self._spawn("ovsdb-server", f"{self.dir}/conf.db", f"--remote=punix:{self.dir}/db.sock",
                        f"--unixctl={self.dir}/ovsdb.ctl")
            self._await("db.sock")
            self.vsctl("--no-wait", "init")
            self._spawn("ovs-vswitchd", f"unix:{self.dir}/db.sock", "--enable-dummy=override",
                        "--disable-system", "--disable-system-route", f"--unixctl={self.dir}/vswitchd.ctl")
            self._await("vswitchd.ctl")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End both daemons and remove the folder. May be called twice."""
        atexit.unregister(self.stop)
        if self._control is not None:
            self._control.close()
            self._control = None
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if self.dir != Path():
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> DummyOvs:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Both daemons still run and the switch answers (a crashed one is a zombie, not gone)."""
        if any(process.poll() is not None for process in self._processes):
            return False
        try:
            return "ovs-vswitchd" in self.appctl("version")
        except (OvsError, OSError):
            return False

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Open vSwitch's own commands find this instance."""
        return {**os.environ, "PATH": _PATH, "OVS_RUNDIR": str(self.dir), "OVS_DBDIR": str(self.dir),
                "OVS_LOGDIR": str(self.dir), "OVS_SYSCONFDIR": str(self.dir), "LC_ALL": "C"}

    def log(self) -> str:
        """What the daemons wrote so far."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.dir.glob("*.err")))

    def _spawn(self, program: str, *args: str) -> None:
        # The daemons die with us even when we are killed. The kernel ties that to the starting thread, so
        # only the main thread may ask for it.
        main = threading.current_thread() is threading.main_thread()
        libc = ctypes.CDLL(None)

        def die_with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        preexec: Callable[[], None] | None = die_with_parent if main else None
        with open(self.dir / f"{program}.err", "wb") as errors:
            self._processes.append(subprocess.Popen(
                [program, *args, "-vconsole:warn"], env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL,
                stdout=errors, stderr=errors, preexec_fn=preexec, start_new_session=True))

    def _await(self, name: str) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self._processes[-1].poll() is not None:
                break
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.dir / name))
                return
            time.sleep(0.005)
        raise OvsError(f"{self._processes[-1].args!r} did not start: {self.log()}")

    def _run(self, *command: str, stdin: str | None = None) -> str:
        done = subprocess.run(command, env=self.env, input=stdin, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise OvsError(f"{' '.join(command)[:300]}: {done.stderr.strip()}")
        return done.stdout

    # -- commands ------------------------------------------------------------------------------------------

    def vsctl(self, *args: str) -> str:
        """`ovs-vsctl ARGS` against this instance's database."""
        return self._run("ovs-vsctl", f"--db=unix:{self.dir}/db.sock", *args)

    def ofctl(self, *args: str, stdin: str | None = None, version: str = "OpenFlow13") -> str:
        """`ovs-ofctl -O VERSION ARGS`; a bridge is named by its name."""
        self._written |= not args[0].startswith("dump")
        return self._run("ovs-ofctl", "-O", version, *args, stdin=stdin)

    def appctl(self, *args: str) -> str:
        """`ovs-appctl ARGS` to ovs-vswitchd, over one kept connection (no process a call)."""
        with self._control_lock:
            if self._control is None:
                self._control = socket.socket(socket.AF_UNIX)
                self._control.settimeout(30)
                self._control.connect(str(self.dir / "vswitchd.ctl"))
            self._control_ids += 1
            request = {"method": args[0], "params": list(args[1:]), "id": self._control_ids}
            self._control.sendall(json.dumps(request).encode())
            text = ""
            while True:
                piece = self._control.recv(1 << 16)
                if not piece:
                    self._control.close()
                    self._control = None
                    raise OvsError(f"ovs-vswitchd closed the connection during {args!r}: {self.log()}")
                text += piece.decode()
                with contextlib.suppress(json.JSONDecodeError):
                    reply = json.loads(text)
                    break
        if reply.get("error") is not None:
            raise OvsError(f"{' '.join(args)[:300]}: {reply['error']}")
        return str(reply["result"])

    # -- building ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Collect what is added inside and do it in one ovs-vsctl call at the end."""
        if self._queued is not None:
            yield
            return
        self._queued = []
        try:
            yield
            queued = self._queued
        finally:
            self._queued = None
        self._commit(queued)

    def _commit(self, commands: list[tuple[str, ...]]) -> None:
        if commands:
            self.vsctl(*(word for command in commands for word in ("--", *command)))

    def _do(self, *commands: tuple[str, ...]) -> None:
        if self._queued is not None:
            self._queued.extend(commands)
        else:
            self._commit(list(commands))

    def add_bridge(self, name: str, dpid: int | None = None) -> None:
        """A bridge that forwards nothing until told to (fail_mode secure), OpenFlow 1.3 and 1.5."""
        settings = ["datapath_type=dummy", "fail_mode=secure", "protocols=OpenFlow13,OpenFlow15"]
        if dpid is not None:
            settings.append(f"other-config:datapath-id={dpid:016x}")
        self._do(("add-br", name), ("set", "bridge", name, *settings))

    def add_port(self, bridge: str, name: str, number: int, tx_pcap: bool | str | Path | None = None) -> None:
        """A port with a fixed OpenFlow number. tx_pcap: record what leaves by it, for `sent`, into a file of
        that name (True: one in the temporary folder)."""
        command = ("add-port", bridge, name, "--", "set", "interface", name, "type=dummy",
                   f"ofport_request={number}")
        if tx_pcap:
            path = self.dir / f"{name}.pcap" if tx_pcap is True else Path(tx_pcap)
            self._pcaps[name] = path
            command += (f"options:tx_pcap={path}",)
        self._do(command)

    def patch(self, bridge_a: str, port_a: int, bridge_b: str, port_b: int) -> None:
        """A cable between two bridges. Its ends are named BRIDGE-NUMBER."""
        end_a, end_b = f"{bridge_a}-{port_a}", f"{bridge_b}-{port_b}"
        self._do(*(("add-port", bridge, name, "--", "set", "interface", name, "type=patch",
                    f"options:peer={peer}", f"ofport_request={number}")
                   for bridge, name, peer, number in ((bridge_a, end_a, end_b, port_a),
                                                      (bridge_b, end_b, end_a, port_b))))

    def cable(self, bridge_a: str, port_a: int, bridge_b: str, port_b: int) -> None:
        """A cable whose ends can be down (`ovs-ofctl mod-port`), which those of a patch cannot. Its ends are named
        BRIDGE-NUMBER; frames pass a socket."""
        end_a, end_b = f"{bridge_a}-{port_a}", f"{bridge_b}-{port_b}"
        path = self.dir / f"{end_a}.cable"
        self._do(*(("add-port", bridge, name, "--", "set", "interface", name, "type=dummy", f"ofport_request={number}",
                    f"options:{way}")
                   for bridge, name, way, number in ((bridge_a, end_a, f"pstream=punix:{path}", port_a),
                                                     (bridge_b, end_b, f"stream=unix:{path}", port_b))))

    def set_controller(self, bridge: str, host: str, port: int) -> None:
        """Let the bridge connect to a controller; it retries each second at most."""
        self._steered = True
        self._do(("set-controller", bridge, f"tcp:{host}:{port}"),
                 ("set", "controller", bridge, "connection-mode=out-of-band", "max-backoff=1000",
                  "inactivity-probe=5000"))

    def management(self, bridge: str) -> str:
        """The unix socket on which the bridge speaks OpenFlow to anyone."""
        return str(self.dir / f"{bridge}.mgmt")

    # -- packets -------------------------------------------------------------------------------------------

    def receive(self, port: str, *frames: bytes) -> None:
        """Let frames arrive on a dummy port, in order."""
        self._waiting[port] += len(frames)
        for start in range(0, len(frames), MAX_FRAMES_AT_ONCE):
            batch = frames[start:start + MAX_FRAMES_AT_ONCE]
            self.appctl("netdev-dummy/receive", port, *(frame.hex() for frame in batch))

    def settle(self) -> None:
        """Return when all that was received before has left the switches, or never will: what passes a cable
        (`cable`) or a controller may still be on its way.

        The main thread of ovs-vswitchd goes round (vswitchd/ovs-vswitchd.c, main): it takes one frame of each dummy
        port (lib/netdev-dummy.c, netdev_dummy_rxq_recv) all the way through the switches, and then accepts control
        connections and answers. So an answer on a new connection is of a later round than what was said before.
        """
        rounds = max(self._waiting.values(), default=1)
        self._waiting.clear()
        for _ in range(rounds):
            self._go_round()

    def _go_round(self) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30)
            control.connect(str(self.dir / "vswitchd.ctl"))
            control.sendall(b'{"method":"version","params":[],"id":0}')
            if not control.recv(1 << 16):
                raise OvsError(f"ovs-vswitchd closed the connection: {self.log()}")

    def follow_flows(self) -> None:
        """Return when what is received from now on meets the flows as they are.

        Open vSwitch answers an OpenFlow barrier when its tables hold the flows; what its datapath has cached of the
        flows before (megaflows) is looked through a little later by threads of its own (ofproto/ofproto-dpif-upcall.c,
        udpif_revalidator). A frame sent at once takes the old way. So the cache is emptied where flows changed since
        it was emptied last; where none did it stays, so that tests go on meeting it.
        """
        if self._steered:
            self._go_round()  # flows are taken from connections in one round, and told to the datapath in the next
            changes = self.appctl("coverage/read-counter", "rev_flow_table")
            self._written |= changes != self._changes
            self._changes = changes
        if self._written:
            self._written = False
            self.purge()

    def count(self) -> None:
        """Return when the counters of flows hold all that the datapath has passed by now, within a second. The cache
        stays as it is."""
        for _ in range(2):  # the one that goes on now may be past some of it
            self.appctl("revalidator/wait")

    def purge(self) -> None:
        """Empty the datapath's cache. What it counted is added to the flows first, and the next frame meets them."""
        for _ in range(10):
            self.appctl("revalidator/purge")  # passes over what one of its threads is looking at just then
            if "recirc_id" not in self.appctl("dpctl/dump-flows"):
                return

    def sent(self, port: str, count: int | None = None, wait: float = 1.0) -> list[bytes]:
        """Frames that left by a port since the last call. With `count`, waits until there are as many, at
        most `wait` seconds; without it, 20 ms, in which an ordinary frame settles."""
        deadline = time.monotonic() + (wait if count is not None else 0.02)
        while True:
            frames, position = _read_pcap(self._pcaps[port], self._read.get(port, 0))
            if (count is not None and len(frames) >= count) or time.monotonic() >= deadline:
                self._read[port] = position
                return frames
            time.sleep(0.002)


def _read_pcap(path: Path, start: int) -> tuple[list[bytes], int]:
    """Frames from byte `start` of a pcap file that is still being written, and where to go on."""
    frames: list[bytes] = []
    if not path.exists():
        return frames, start
    with open(path, "rb") as file:
        header = file.read(24)
        if len(header) < 24:
            return frames, start
        order = "<" if header[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        position = max(start, 24)
        file.seek(position)
        data = file.read()
    offset = 0
    while offset + 16 <= len(data):
        length = struct.unpack_from(order + "I", data, offset + 8)[0]
        if offset + 16 + length > len(data):
            break
        frames.append(data[offset + 16:offset + 16 + length])
        offset += 16 + length
    return frames, position + offset

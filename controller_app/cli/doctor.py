"""`chainctl doctor`: what this machine lacks, and the command that mends it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from controller_app.cli.common import Controller, Output, Token, emit_document, emit_table, output_format, stop
from controller_app.openflow.versions import Version, faults_of, read_version

_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"))
_COMMAND_TIME = 5  # seconds
TOOLS = {
    "nft": "nftables",
    "tcpdump": "tcpdump",
    "ethtool": "ethtool",
    "ping": "iputils-ping",
    "ngrep": "ngrep",
    "tshark": "tshark",
    "ip": "iproute2",
}
PORTS = {6653: "OpenFlow (chain-manager --ofp-tcp-listen-port)", 8080: "REST (chain-manager --api-listen)"}
FULL_MTU = 1500  # of a packet that hosts send
CARRIED_MTU = 1600  # that fits such a packet with any transport's header
# How the kernel hashes (Datapath.capabilities:max_hash_alg): 0 is dp_hash, not symmetric; 1 and more also symmetric
_SYMMETRIC_ALGORITHM = 1
_TUNNELS = frozenset(("vxlan", "geneve", "gre", "ip6gre", "erspan", "stt", "lisp", "gtpu", "bareudp", "srv6"))
_BFD = "bfd:enable=true bfd:min_rx=50 bfd:min_tx=50  # at both ends"
_NEEDED = ("ct_state", "ct_state_nat", "recirc", "check_pkt_len")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. state: ok, warning (some things will not work) or error (nothing will)."""

    check: str
    state: str
    what: str
    remedy: str = ""


def doctor(output: Output = None, controller: Controller = None, token: Token = None) -> None:
    """What this machine lacks to run Open vSwitch, Mininet and the labs, and the command that mends it."""
    chosen = output_format(output)
    found = list(examine())
    failed = any(item.state == "error" for item in found)
    if chosen == "table":
        emit_table(("check", "state", "what", "remedy"), [(i.check, i.state, i.what, i.remedy or "-") for i in found])
    else:
        emit_document({"ok": not failed, "checks": [asdict(item) for item in found]}, chosen)
    stop(1 if failed else 0)


def examine() -> Iterator[Finding]:
    """Every check, one after the other."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _rights,
        _open_vswitch,
        _datapath,
        _capabilities,
        _mininet,
        _tools,
        _ports,
        _mtu,
        _port_mtus,
        _liveness,
    )
    for check in checks:
        yield from check()


def _run(*command: str) -> str | None:
    """What a command printed; None when it is missing, fails or hangs."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIME,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": _PATH, "LC_ALL": "C"},
        )
        if done.returncode == 0:
            return done.stdout
    return None


def _rights() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("rights", "ok", "root")
    else:
        yield Finding(
            "rights",
            "warning",
            "not root: Mininet and labs need it; controller and chainctl do not",
            "sudo chainctl lab run NAME",
        )


def _open_vswitch() -> Iterator[Finding]:
    install = "apt-get install openvswitch-switch"
    text = _run("ovs-vswitchd", "--version") if shutil.which("ovs-vswitchd", path=_PATH) else None
    version = parse_version(text or "")
    if version is None:
        yield Finding("Open vSwitch", "error", "not installed", install)
        return
    name = ".".join(map(str, version))
    yield Finding("Open vSwitch", "ok", f"version {name}")
    for fault in faults_of(version):
        yield Finding(
            "Open vSwitch faults",
            "warning",
            f"{name}: {fault.what}",
            f"use Open vSwitch {'.'.join(map(str, fault.until))} or newer, from a newer release of your distribution",
        )
    if _run("ovs-vsctl", "--timeout=2", "--no-wait", "show") is None:
        yield Finding(
            "Open vSwitch runs",
            "warning",
            "the system's own does not run (labs start one of their own)",
            "/usr/share/openvswitch/scripts/ovs-ctl start --system-id=random",
        )
    elif _run("ovs-appctl", "--timeout=2", "version") is None:
        yield Finding(
            "Open vSwitch runs",
            "error",
            "ovsdb-server runs, ovs-vswitchd does not answer",
            "/usr/share/openvswitch/scripts/ovs-ctl restart --system-id=random",
        )
    else:
        yield Finding("Open vSwitch runs", "ok", "yes")


def parse_version(text: str) -> Version | None:
    """(3, 1, 0) from what `ovs-vswitchd --version` prints."""
    return read_version(text.partition("(Open vSwitch) ")[2])


def _datapath() -> Iterator[Finding]:
    if Path("/sys/module/openvswitch").exists():
        release = parse_release(os.uname().release)
        if release is not None and release < (6, 6):
            yield Finding(
                "datapath",
                "warning",
                f"the kernel's ({os.uname().release}) hashes the two directions of a connection "
                "differently: chains with stickiness none need the userspace datapath",
                "ovs-vsctl set bridge NAME datapath_type=netdev",
            )
        else:
            yield Finding("datapath", "ok", "kernel")
        return
    yield Finding(
        "datapath",
        "ok",
        "no kernel module: bridges use the userspace datapath (datapath_type=netdev; in Mininet datapath=user)",
    )
    yield Finding(
        "offloads",
        "warning",
        "with the userspace datapath TCP fails until transmit checksums are off at every host "
        "interface (labs do it themselves)",
        "ethtool -K IFACE tx off",
    )


def _capabilities() -> Iterator[Finding]:
    """What Open vSwitch's database tells of its datapaths (ovs-vswitchd.conf.db(5), table Datapath)."""
    told = _ovsdb("Datapath", "capabilities")
    for (capabilities,) in told:
        known = _map(capabilities)
        if not known:
            continue
        lacking = [name for name in _NEEDED if known.get(name) == "false"]
        algorithm = known.get("max_hash_alg", "")
        symmetric = algorithm.isdecimal() and int(algorithm) >= _SYMMETRIC_ALGORITHM
        said = f"max_hash_alg={algorithm or 'not told'}"
        if algorithm and not symmetric:
            yield Finding(
                "datapath hash",
                "warning",
                f"{said}: not the same in both directions; found by the controller, which then uses the portable way",
                "chain-manager --no-symmetric-hash  # or ovs-vsctl set bridge NAME datapath_type=netdev",
            )
        else:
            yield Finding("datapath hash", "ok", said)
        if lacking:
            yield Finding(
                "datapath capabilities",
                "warning",
                f"without {', '.join(lacking)}: stickiness and services need them",
                "ovs-vsctl set bridge NAME datapath_type=netdev",
            )
        else:
            yield Finding("datapath capabilities", "ok", ", ".join(sorted(n for n, v in known.items() if v == "true")))


def _ovsdb(table: str, *columns: str) -> list[list[Any]]:
    """The rows of a table of the Open vSwitch on this machine; none when it does not run."""
    listed = f"--columns={','.join(columns)}"
    text = _run("ovs-vsctl", "--timeout=2", "--no-wait", "--format=json", listed, "list", table)
    try:
        document = json.loads(text or "{}")
        order = [document["headings"].index(column) for column in columns]
        return [[row[place] for place in order] for row in document["data"]]
    except (ValueError, KeyError, TypeError, IndexError):
        return []


def parse_release(text: str) -> tuple[int, int] | None:
    """(6, 1) from a kernel's release."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


def _mininet() -> Iterator[Finding]:
    if shutil.which("mn", path=_PATH) is None:
        yield Finding("Mininet", "warning", "not installed: labs need it", "apt-get install mininet")
    else:
        yield Finding("Mininet", "ok", (_run("mn", "--version") or "installed").strip())


def _tools() -> Iterator[Finding]:
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool, path=_PATH) is None}
    if missing:
        yield Finding(
            "tools",
            "warning",
            f"labs need {', '.join(missing)}",
            f"apt-get install {' '.join(dict.fromkeys(missing.values()))}",
        )
    else:
        yield Finding("tools", "ok", ", ".join(TOOLS))


def _ports() -> Iterator[Finding]:
    for port, what in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield Finding(f"port {port}", "warning", f"in use: {what}", f"ss -ltnp 'sport = :{port}'")
            else:
                yield Finding(f"port {port}", "ok", f"free for {what}")
    yield Finding(
        "remote switches",
        "ok",
        "chain-manager listens on 127.0.0.1 unless told otherwise",
        "chain-manager --ofp-listen-host 0.0.0.0  # for switches on other machines",
    )


def _mtu() -> Iterator[Finding]:
    small = []
    for path in sorted(Path("/sys/class/net").glob("*/mtu")):
        with contextlib.suppress(OSError, ValueError):
            mtu = int(path.read_text())
            if mtu < 1500 and path.parent.name != "lo":
                small.append(f"{path.parent.name} ({mtu})")
    if small:
        first = small[0].split(" ")[0]
        yield Finding("MTU", "warning", f"below 1500: {', '.join(small)}", f"ip link set dev {first} mtu 1500")
    else:
        yield Finding("MTU", "ok", "1500 or more everywhere")


def _port_mtus() -> Iterator[Finding]:
    """Ports of bridges that take no full packet with the header of a transport.

    The userspace datapath sends nothing longer than a port's MTU; a plain 802.1Q tag passes all the same.
    """
    small = []
    for name, kind, mtu in _ovsdb("Interface", "name", "type", "mtu"):
        if isinstance(mtu, int) and FULL_MTU <= mtu < CARRIED_MTU and kind not in ("internal", "patch"):
            small.append(str(name))
    if small:
        yield Finding(
            "port MTU",
            "warning",
            f"{_some(small)}: below {CARRIED_MTU}, so packets of {FULL_MTU} bytes are lost on chains "
            "with transport mpls or nsh (vlan and mac pass); "
            "declare `mtu` at links so that senders are told, or make room",
            f"ovs-vsctl set interface {small[0]} mtu_request={CARRIED_MTU}  # at both ends of each link",
        )
    elif _ovsdb("Interface", "name"):
        yield Finding("port MTU", "ok", f"packets of {FULL_MTU} bytes fit with any transport")


def _liveness() -> Iterator[Finding]:
    """Whether fast failover can see that a link is dead (ovs-vswitchd.conf.db(5), table Interface: bfd, bfd_status)."""
    blind: list[str] = []
    dead: list[str] = []
    watched: list[str] = []
    for name, kind, asked, status in _ovsdb("Interface", "name", "type", "bfd", "bfd_status"):
        if _map(asked).get("enable") == "true":
            (watched if _map(status).get("forwarding") == "true" else dead).append(str(name))
        elif kind in _TUNNELS:
            blind.append(str(name))
    if blind:
        yield Finding(
            "tunnel liveness",
            "warning",
            f"{_some(blind)}: a tunnel has no cable to be pulled out; without BFD nobody sees that it is dead before "
            "discovery misses it",
            f"ovs-vsctl set interface {blind[0]} {_BFD}",
        )
    if dead:
        yield Finding(
            "BFD",
            "warning",
            f"{_some(dead)}: BFD hears nothing of the other end, so nothing is sent there",
            f"ovs-appctl bfd/show {dead[0]}  # and enable it at the other end: set interface NAME {_BFD}",
        )
    elif watched:
        yield Finding("BFD", "ok", f"{_some(watched)} up")


def _map(told: Any) -> dict[str, str]:
    """A map as OVSDB writes it (RFC 7047 5.1)."""
    return dict(told[1]) if isinstance(told, list) and told[:1] == ["map"] else {}


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

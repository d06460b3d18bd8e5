"""`chainctl doctor`: what this machine lacks, and the command that mends it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from controller_app.cli.common import Controller, Output, Token, emit_document, emit_table, output_format, stop

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
# (first version with the fault, first without), what happens, what to do
FAULTS: tuple[tuple[tuple[int, ...], tuple[int, ...], str], ...] = (
    (
        (3, 1, 0),
        (3, 1, 1),
        "userspace conntrack of this version can abort ovs-vswitchd: never commit connections "
        "with source NAT on it (Chainsteer does not)",
    ),
    ((0,), (2, 17, 0), "select groups have fewer than 256 slots in this version, and chains need 256"),
)


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
        _mininet,
        _tools,
        _ports,
        _mtu,
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
    for since, until, what in FAULTS:
        if since <= version < until:
            yield Finding(
                "Open vSwitch faults",
                "warning",
                f"{name}: {what}",
                f"use Open vSwitch {'.'.join(map(str, until))} or newer, from a newer release of your distribution",
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


def parse_version(text: str) -> tuple[int, ...] | None:
    """(3, 1, 0) from what `ovs-vswitchd --version` prints."""
    found = re.search(r"\(Open vSwitch\) (\d+)\.(\d+)\.(\d+)", text)
    return None if found is None else tuple(int(part) for part in found.groups())


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

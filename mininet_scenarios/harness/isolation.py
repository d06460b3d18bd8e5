"""A network namespace for the whole lab.

Everything a lab makes (bridges, veth pairs, taps, listening ports, sysctl values) lives in one network
namespace of its own. So names and ports never clash with anything on the machine, another lab or a
`mn -c` included, and the kernel removes all of it when the lab's last process ends.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)  # os.unshare and os.setns exist from Python 3.12 on only


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)} (labs need root)")


@contextmanager
def private_network() -> Iterator[None]:
    """Run the body, and every process it starts, in a new network namespace. Only the calling thread moves.

    Loopback is up in it and IPv6 is off for new interfaces: switch ports must not talk by themselves.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNET), "unshare")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for scope in ("all", "default"):
                path = f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"  # shows the caller's namespace
                if os.path.exists(path):  # a kernel without IPv6 has nothing to switch off
                    with open(path, "w", encoding="ascii") as file:
                        file.write("1")
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET), "setns")
    finally:
        os.close(home)

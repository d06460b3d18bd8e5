"""Ports as switches describe them, and the plain events and effects of discovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FIRST_RESERVED_PORT = 0xFFFF_FF00  # OFPP_MAX: LOCAL and the like begin behind it


class PortId(NamedTuple):
    """A port of the network: datapath id and OpenFlow port number."""

    dpid: int
    port: int

    def __str__(self) -> str:
        return f"{self.dpid:#x}:{self.port}"


@dataclass(frozen=True, slots=True)
class Port:
    """A port's description (OpenFlow 1.3.5, 7.2.1). `up`: administratively and physically. `speed`: what it runs at,
    in bits per second each way; None where the switch does not say. `live`: whether it told that fast-failover groups
    may take it (OFPPS_LIVE), see `liveness`."""

    number: int
    name: str
    mac: int
    up: bool
    speed: float | None = None
    live: bool = False

    @property
    def physical(self) -> bool:
        """A port that a cable can be in, unlike LOCAL."""
        return self.number < FIRST_RESERVED_PORT


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send a frame out of ports of one switch."""

    dpid: int
    ports: tuple[int, ...]
    frame: bytes


@dataclass(frozen=True, slots=True)
class Reinject:
    """Let a frame that was held back enter the pipeline again, as if it just came in."""

    place: PortId
    frame: bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should read."""

    what: str


Effect = SendFrame | Reinject | Notice

"""What a mode of a service function decides: how packets get into it, and how they are known again after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller_app.model.topology import Host
    from controller_app.pipeline.build import Rules
    from controller_app.pipeline.views import ArmView, InstanceView, World
    from controller_app.verification.players import Player
    from controller_app.verification.stations import Station

# (world, rules of the arm's switch, instance, arm): what that switch does for this arm
Serve = Callable[["World", "Rules", "InstanceView", "ArmView"], None]

# (host, everything with addresses of its own): what such a machine does with a frame, for verification
Plays = Callable[["Host", "tuple[Station, ...]"], "Player"]

ONE_ARM = frozenset({frozenset({""}), frozenset({"in"})})
TWO_ARMS = frozenset({frozenset({"in", "out"})})


@dataclass(frozen=True)
class Mode:
    """One way of being a function. Each lives in a file of its own in this package, as `MODE`.

    word: what policies call it. says: one line for people. arms: the sets of arms its host may have. serve: the rules
    at its arms. plays: what such a machine does, for verification.
    on_path: packets go through it; otherwise it gets copies. brings_label: what comes out still has the label
    that says where it is going; otherwise it is classified again. is_host: it sends and gets packets of its
    own. exempt: those are never steered. cuts: it changes addresses, so a chain is cut after it and what
    follows is another one. needs_mac, needs_address: what must be known of its host.
    """

    word: str
    says: str
    arms: frozenset[frozenset[str]]
    serve: Serve
    plays: Plays
    on_path: bool = True
    brings_label: bool = True
    is_host: bool = False
    exempt: bool = False
    cuts: bool = False
    needs_mac: bool = False
    needs_address: bool = False

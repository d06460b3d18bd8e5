"""Chainsteer: steers classified traffic through service functions on Open vSwitch.

The pure core can be used from Python with no controller:

    from controller_app import Policy, Topology, compile, paths, trace, verify
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from controller_app.model.policy import Policy
    from controller_app.model.topology import Topology
    from controller_app.pipeline.compile import compile
    from controller_app.pipeline.paths import paths
    from controller_app.verification.trace import trace
    from controller_app.verification.verify import verify

__all__ = ["Policy", "Topology", "compile", "paths", "trace", "verify"]

_HOMES = {
    "Policy": "controller_app.model.policy",
    "Topology": "controller_app.model.topology",
    "compile": "controller_app.pipeline.compile",
    "paths": "controller_app.pipeline.paths",
    "trace": "controller_app.verification.trace",
    "verify": "controller_app.verification.verify",
}


def __getattr__(name: str) -> Any:
    # loaded when first used, so that the command line does not wait for what it does not need
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The transports between switches, by the word that policies use. A new file with a `TRANSPORT` in it is a new
transport."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from controller_app.transports.transport import Transport


def _found() -> dict[str, Transport]:
    modules = (import_module(f"{__name__}.{item.name}") for item in iter_modules(__path__))
    return {module.TRANSPORT.word: module.TRANSPORT for module in modules if hasattr(module, "TRANSPORT")}


TRANSPORTS: Mapping[str, Transport] = _found()

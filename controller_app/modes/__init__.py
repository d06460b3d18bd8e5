"""The modes of service functions, by the word that policies use. A new file with a `MODE` in it is a new mode."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from controller_app.modes.mode import Mode


def _found() -> dict[str, Mode]:
    modules = (import_module(f"{__name__}.{item.name}") for item in iter_modules(__path__))
    return {module.MODE.word: module.MODE for module in modules if hasattr(module, "MODE")}


MODES: Mapping[str, Mode] = _found()

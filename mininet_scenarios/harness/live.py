"""A lab's policy, changed while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.state import LabError


class LivePolicy:
    """The lab's own policy and changed copies of it, each applied as a user would; copies are kept in the results."""

    def __init__(self, lab: Lab, name: str | None = None) -> None:
        """`name` says which one, where the lab's policies are a directory."""
        if lab.policy_file is None or lab.controller is None:
            raise LabError("this lab needs a policy and a controller")
        self._lab, self._controller = lab, lab.controller
        self._file = lab.policy_file if name is None else lab.policy_file / f"{name}.yaml"
        self._folder = lab.out / "policies"
        self._folder.mkdir(exist_ok=True)

    def apply(self, name: str, change: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Replace the running policy by a copy of the lab's that `change` worked on (None: by the lab's own)."""
        policy = yaml.safe_load(self._file.read_text(encoding="utf-8"))
        if change is not None:
            change(policy)
        (self._folder / f"{name}.yaml").write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
        self._lab.say(f"applying {name}.yaml")
        self._controller.apply(self._file.stem, policy)

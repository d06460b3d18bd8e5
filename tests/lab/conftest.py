"""Labs need root; without it they are skipped, and say so. Two run at a time: each has a network of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LONGEST = ("test_service_scenarios.py", "test_scenarios.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that nobody waits for it at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    if os.geteuid() == 0:
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(
                pytest.mark.skip(reason="labs make network namespaces: run `make test` as root or with sudo")
            )

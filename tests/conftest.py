"""Fixtures for every test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import dummy_ovs as dummy
from hypothesis import settings

# The same examples each time, so that a failure is somebody's and not chance: others are for `make fuzz`. How long one
# takes says more of the machine than of what is tested.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def dummy_ovs() -> Iterator[dummy.DummyOvs]:
    """A real Open vSwitch of the test's own, on the dummy datapath."""
    if problem := dummy.missing():
        pytest.skip(problem)
    with dummy.DummyOvs() as ovs:
        yield ovs

"""Fixtures for every test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import dummy_ovs as dummy
from effort import STEADY, register_profiles
from hypothesis import settings

pytest.register_assert_rewrite("bad_policies", "scenario_runs")  # they assert for tests
register_profiles()
settings.load_profile(STEADY)


@pytest.fixture
def dummy_ovs() -> Iterator[dummy.DummyOvs]:
    """A real Open vSwitch of the test's own, on the dummy datapath."""
    if problem := dummy.missing():
        pytest.skip(problem)
    with dummy.DummyOvs() as ovs:
        yield ovs

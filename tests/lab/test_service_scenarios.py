"""The lab of services. It takes as long as all other scenarios, and runs beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario_runs import PORTABLE, run


@pytest.mark.parametrize("options", [(), PORTABLE], ids=["fast", "portable"])
def test_service_cases(tmp_path: Path, options: tuple[str, ...]) -> None:
    run("service_cases", tmp_path / "results", *options)

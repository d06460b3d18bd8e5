"""What docs/services.md shows is a policy."""

from __future__ import annotations

import re
from pathlib import Path

from controller_app.policy.features import used_features
from controller_app.policy.policy_file import parse_policy

TEXT = (Path(__file__).parents[2] / "docs" / "services.md").read_text()


def test_the_example_is_a_policy_without_a_warning() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    loaded = parse_policy({"services.md": example})
    assert loaded.warnings == ()
    assert set(loaded.policy.tenants["default"].functions["firewall"].instances) == {"fw1", "fw2"}
    assert used_features(loaded.policy) == [
        "drain", "expose", "prefer", "selector-functions", "service-health", "session-affinity",
    ]  # fmt: skip

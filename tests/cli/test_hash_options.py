"""--no-symmetric-hash: for the controller, in its file of options, and for the commands on files."""

from __future__ import annotations

import json
from pathlib import Path

import examples
import pytest

from controller_app.cli.chainctl import run
from controller_app.cli.options import read_options
from controller_app.settings import SettingsError

POLICY = examples.POLICY.replace("STICKINESS", "none").replace("RETURN", "symmetric")


def test_the_controllers_option(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("symmetric-hash: false\n")
    assert read_options([], {})[0].symmetric_hash
    assert not read_options(["--no-symmetric-hash"], {})[0].symmetric_hash
    assert not read_options(["--config", str(file)], {})[0].symmetric_hash
    assert read_options(["--config", str(file), "--symmetric-hash"], {})[0].symmetric_hash
    file.write_text("symmetric-hash: maybe\n")
    with pytest.raises(SettingsError, match="true or false"):
        read_options(["--config", str(file)], {})


def test_commands_on_files_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    (tmp_path / "campus.yaml").write_text(POLICY)
    files = ["-t", str(tmp_path / "network.yaml"), "-p", str(tmp_path / "campus.yaml")]
    said = {}
    for verb in ("compile", "path", "verify"):
        for option in ([], ["--no-symmetric-hash"]):
            assert run([verb, *files, *option, "-o", "json"]) == 0
            said[verb, bool(option)] = json.loads(capsys.readouterr().out)
    groups = {
        portable: sum(
            group["type"] == "select"
            for switch in said["compile", portable]["switches"].values()
            for group in switch["groups"]
        )
        for portable in (False, True)
    }
    assert groups[False] > 0
    assert groups[True] == 0
    assert "multipath(symmetric_l3l4" in json.dumps(said["compile", True])
    assert said["path", False] == said["path", True]
    assert said["verify", True]["ok"]
    assert said["verify", True]["classes"] == said["verify", False]["classes"]

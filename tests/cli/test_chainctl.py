"""chainctl on files, and what it says when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import examples
import pytest
import yaml

from controller_app.cli.chainctl import run

POLICY = examples.POLICY.replace("STICKINESS", "connection").replace("RETURN", "symmetric")


class Result:
    """One call: its exit code and what it wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *argv: str) -> None:
        self.code = run(argv)
        captured = capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        assert "Traceback" not in self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A topology file and a policy file that fits it."""
    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    (tmp_path / "campus.yaml").write_text(POLICY)
    return str(tmp_path / "network.yaml"), str(tmp_path / "campus.yaml")


Files = tuple[str, str]
Capture = pytest.CaptureFixture[str]


def test_validate_is_silent_about_what_is_right(files: Files, capsys: Capture) -> None:
    done = Result(capsys, "validate", files[1], "-t", files[0])
    assert (done.code, done.out, done.err) == (0, "", "no errors, no warnings\n")
    assert Result(capsys, "validate", files[1]).code == 0
    assert Result(capsys, "validate", files[1], "-o", "json").json == {"ok": True, "problems": []}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("endpoint: web1", "endpoint: web9", "web9"),
        ("host: fw1,", "host: nobody,", "nobody"),
        ("tcp/23]", "tcp/25-35]", "overlap"),
        ("weight: 2", "weight: -1", "weight"),
        ("through:", "trough:", "through"),
    ],
)
def test_each_problem_is_one_line_with_its_place(
    files: Files, capsys: Capture, before: str, after: str, says: str
) -> None:
    broken = POLICY.replace(before, after)
    Path(files[1]).write_text(broken)
    done = Result(capsys, "validate", files[1], "-t", files[0])
    assert done.code == 1
    lines = [line for line in done.out.splitlines() if "warning" not in line]
    assert lines
    for line in lines:
        file, row, column, path, rest = line.split(":", 4)
        assert file == files[1]
        assert len(broken.splitlines()[int(row) - 1]) >= int(column) - 1
        assert path.strip()
        assert "; " in rest
    assert says in done.out
    document = Result(capsys, "validate", files[1], "-t", files[0], "-o", "json").json
    assert document["ok"] is False
    assert {"file", "line", "column", "path", "what", "remedy", "severity"} == set(document["problems"][0])


@pytest.mark.parametrize("content", [b"", b"\0\1", b"a: &a [*a]", b"x" * 20_000_000, b"\xff\xfe\xff", b"[1,"])
def test_no_file_is_too_strange(files: Files, capsys: Capture, content: bytes) -> None:
    Path(files[1]).write_bytes(content)
    for arguments in (
        ("validate", files[1]),
        ("verify", "-t", files[0], "-p", files[1]),
        ("verify", "-t", files[1]),
        ("apply", files[1]),
    ):
        done = Result(capsys, "--controller", "http://127.0.0.1:1", *arguments)
        assert done.code == 1
        assert done.out or done.err


def test_path_lists_every_way(files: Files, capsys: Capture) -> None:
    document = Result(capsys, "path", "-t", files[0], "-p", files[1], "-o", "json").json
    for chain in document["chains"]:
        assert sum(way["slots"] for way in chain["paths"]) == 256
    assert {c["direction"] for c in document["chains"]} == {"forward", "backward"}
    table = Result(capsys, "path", "-t", files[0], "-p", files[1], "inspect")
    assert "171/256" in table.out
    assert max(map(len, table.out.splitlines())) < 200
    unknown = Result(capsys, "path", "-t", files[0], "-p", files[1], "nothing")
    assert (unknown.code, unknown.err) == (1, "there is no chain 'nothing'; there are inspect\n")


def test_compile_writes_what_ovs_reads(files: Files, capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "new" / "dir"
    arguments = ("compile", "-t", files[0], "-p", files[1])
    assert Result(capsys, *arguments, "-o", "ovs", "--out", str(out)).code == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(
        f"s{n}.{k}" for n in range(1, 5) for k in ("flows", "groups", "meters")
    )
    assert Result(capsys, *arguments, "-o", "json", "--out", str(out)).code == 0
    document = Result(capsys, *arguments, "-o", "json").json
    assert document == json.loads((out / "state.json").read_text())
    assert set(document["switches"]["s1"]) == {"flows", "groups", "meters"}
    assert len(document["switches"]["s1"]["flows"]) == len((out / "s1.flows").read_text().splitlines())
    assert "# s1.flows\n" in Result(capsys, *arguments).out
    assert Result(capsys, *arguments, "-o", "xml").code == 1
    assert "cannot be written" in Result(capsys, *arguments, "--out", files[0]).err


def test_verify_passes_and_finds_what_is_wrong_in_a_dump(files: Files, capsys: Capture, tmp_path: Path) -> None:
    arguments = ("-t", files[0], "-p", files[1])
    document = Result(capsys, "verify", *arguments, "-o", "json").json
    assert document["ok"]
    assert document["classes"] > 10
    assert document["counterexample"] is None
    dump = tmp_path / "dump"
    Result(capsys, "compile", *arguments, "--out", str(dump))
    assert Result(capsys, "verify", *arguments, "--dump", str(dump)).code == 0
    flows = dump / "s4.flows"
    under = Result(capsys, "verify", *arguments, "--failures", "-o", "json").json["failures"]
    assert (under["ok"], under["failures"]) == (True, 9) and under["classes"] > 10
    said = Result(capsys, "verify", *arguments, "--dump", str(dump), "--failures")
    assert said.code == 0 and "under every single failure, until a controller does something: ok" in said.out
    flows.write_text("".join(line + "\n" for line in flows.read_text().splitlines() if "table=185" not in line))
    done = Result(capsys, "verify", *arguments, "--dump", str(dump))
    assert done.code == 1
    assert "failed" in done.out
    assert "packet:" in done.out
    flows.write_text("this is no flow\n")
    assert "s4" in Result(capsys, "verify", *arguments, "--dump", str(dump)).err
    flows.unlink()
    assert "dump-flows s4" in Result(capsys, "verify", *arguments, "--dump", str(dump)).err


def test_trace_on_files_lists_candidates(files: Files, capsys: Capture) -> None:
    arguments = ("trace", "-t", files[0], "-p", files[1], "--from", "h1", "--to", "100.1.1.3", "--dport", "8080")
    document = Result(capsys, *arguments, "-o", "json").json
    assert document["verdict"] == "delivered"
    assert {"switch", "in_port", "rules", "out_port"} == set(document["forward"][0])
    assert sum(way["slots"] for way in document["candidates"]) == 256
    table = Result(capsys, *arguments)
    assert "classifiers/web" in table.out
    assert "candidate" in table.out
    for wrong, says in (("nowhere", "IP address"), ("", "IP address")):
        done = Result(capsys, "trace", "-t", files[0], "--from", "h1", "--to", wrong)
        assert done.code == 1
        assert says in done.err
    assert Result(capsys, "trace", "-t", files[0], "--from", "fw1", "--to", "10.2.0.21").code == 1
    assert "-t FILE" in Result(capsys, "trace", "-p", files[1], "--from", "h1", "--to", "10.2.0.21").err


def test_common_flags_stand_before_or_after_the_verb(files: Files, capsys: Capture) -> None:
    arguments = ("verify", "-t", files[0], "-p", files[1])
    for argv in (
        ("-o", "json", *arguments),
        (*arguments, "-o", "json"),
        ("-ojson", *arguments),
        ("--output=json", *arguments),
        ("--controller", "http://x", "-o", "json", *arguments),
    ):
        assert Result(capsys, *argv).json["ok"]
    assert yaml.safe_load(Result(capsys, "-o", "yaml", *arguments).out)["ok"]
    assert Result(capsys, "-o", "xml", *arguments).code == 1
    assert Result(capsys, "-o").code == 1


@pytest.mark.parametrize(
    "argv",
    [
        ("get", "hosts"),
        ("get", "topology"),
        ("plan", "FILE"),
        ("apply", "FILE"),
        ("delete", "x"),
        ("trace", "--from", "h1", "--to", "10.0.0.1"),
    ],
)
def test_an_unreachable_controller_is_one_line(files: Files, capsys: Capture, argv: tuple[str, ...]) -> None:
    given = [files[1] if word == "FILE" else word for word in argv]
    for url in ("http://127.0.0.1:1", "nonsense", "http://[", "ftp://127.0.0.1"):
        done = Result(capsys, "--controller", url, *given)
        assert done.code == 1
        assert len(done.err.splitlines()) == 1
        assert url in done.err


@pytest.mark.parametrize(
    "argv",
    [
        ("nonsense",),
        ("get",),
        ("get", "nonsense"),
        ("validate",),
        ("verify",),
        ("plan",),
        ("--nonsense",),
        ("trace", "--from", "h1"),
        ("trace", "--from", "h1", "--to", "10.0.0.1", "--dport", "70000"),
        ("validate", "/nonexistent.yaml"),
        ("verify", "-t", "/nonexistent.yaml"),
    ],
)
def test_wrong_use_is_exit_1_and_short(capsys: Capture, argv: tuple[str, ...]) -> None:
    done = Result(capsys, *argv)
    assert done.code == 1
    assert 1 <= len((done.out + done.err).splitlines()) <= 3


def test_help_is_quick_and_complete() -> None:
    """What is typed most must not make people wait: nothing heavy is loaded for it."""
    started = time.monotonic()
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "import sys; from controller_app.cli.chainctl import main; main(['get', '--help'])",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 5  # on a busy machine; 0.2 s on an idle one
    for heavy in ("networkx", "fastapi", "uvicorn", "os_ken", "numpy", "httpx"):
        assert f"| {heavy}\n" not in done.stderr.replace("  ", "")
    done = subprocess.run(
        [sys.executable, "-m", "controller_app.cli.chainctl", "--help"], capture_output=True, text=True, check=True
    )
    for verb in ("validate", "path", "compile", "verify", "trace", "plan", "apply", "delete", "get", "lab", "doctor"):
        assert verb in done.stdout


def test_a_reader_who_has_seen_enough_is_no_error(files: Files) -> None:
    command = (
        f'"{sys.executable}" -m controller_app.cli.chainctl compile -t "{files[0]}" -p "{files[1]}"'
        " | head -n 1; exit ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["validte", "x.yaml"], "No such command 'validte'"),
        (["validate"], "Missing argument"),
        (["trace", "--from", "h1", "--to", "10.0.0.1", "--dport", "99999"], "Invalid value for '--dport'"),
        (["describe", "chain"], "Missing argument 'NAME'"),
        (["lab", "nonsense"], "No such command"),
    ],
)
def test_a_command_line_that_cannot_be_is_said_in_one_line(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(argv) == 1
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert "report" not in printed.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("chainctl 0.")

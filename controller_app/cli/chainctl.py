"""`chainctl`: what there is, what would change, change it, and see where packets go."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import typer

from controller_app.cli.common import BEFORE, Failure, NobodyReads

app = typer.Typer(
    name="chainctl",
    help="Steer traffic through service chains: check, plan, apply, look.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = ("validate", "path", "what-if", "compile", "verify", "trace", "explain", "plan", "apply", "delete", "get",
         "decode", "lab", "doctor", "net", "endpoint", "service", "label", "history", "diff", "rollback", "events",
         "export", "describe", "top")  # fmt: skip
_COMMON = {"--controller": "controller", "--token": "token", "-o": "output", "--output": "output"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and end the process: 0 fine, 1 error; plan ends with 2 where there are changes."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code. No error ever shows a traceback, unless CHAINCTL_DEBUG is set."""
    try:
        arguments = take_common(list(argv))
        if arguments[:1] == ["--version"]:
            from importlib.metadata import version

            print(f"chainctl {version('chainsteer')}")
            return 0
        _register(next((word for word in arguments if word in VERBS), None))
        code = app(arguments, prog_name="chainctl", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (BrokenPipeError, NobodyReads):
        # Whoever read has seen enough. What is still buffered must not raise it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("CHAINCTL_DEBUG"):
            raise
        print(_line(error), file=sys.stderr)
        return 1


def _line(error: Exception) -> str:
    """What went wrong, for people."""
    from typer.exceptions import TyperException

    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context is not None else ""
        says = getattr(error, "format_message", error.__str__)
        return f"{says().rstrip('.')}{hint}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EPIPE):
        return f"the output cannot be written: {error.strerror}"
    from controller_app.model.position import PolicyError

    if isinstance(error, Failure | PolicyError):
        return str(error)
    return (
        f"an error that should not be: {type(error).__name__}: {error}; please report it, with what "
        "CHAINCTL_DEBUG=1 shows"
    )


def take_common(arguments: list[str]) -> list[str]:
    """Remember the common flags that stand before the verb, and return the rest."""
    BEFORE.controller = BEFORE.token = BEFORE.output = None
    while arguments:
        flag, equals, value = arguments[0].partition("=")
        if flag not in _COMMON:
            if not (flag.startswith("-o") and not flag.startswith("--") and len(flag) > 2):
                break
            flag, equals, value = "-o", "=", arguments[0][2:]
        if not equals:
            if len(arguments) < 2:
                raise Failure(f"{flag} needs a value")
            value = arguments.pop(1)
        arguments.pop(0)
        setattr(BEFORE, _COMMON[flag], value)
    return arguments


def _register(verb: str | None) -> None:
    """Add the commands; `lab`, which is slow to load, only where it is asked for or listed."""
    if verb in (None, "lab") and not any(group.name == "lab" for group in app.registered_groups):
        from controller_app.cli.lab import app as lab

        app.add_typer(lab, name="lab")
    if app.registered_commands:
        return
    from controller_app.cli import history, live, objects, offline, paths
    from controller_app.cli.decode import decode
    from controller_app.cli.describe import describe
    from controller_app.cli.doctor import doctor
    from controller_app.cli.events import events
    from controller_app.cli.export import export
    from controller_app.cli.top import top
    from controller_app.cli.trace import trace

    for name, command in (
        ("validate", offline.validate),
        ("path", paths.path),
        ("what-if", paths.what_if),
        ("compile", offline.compile_command),
        ("verify", offline.verify),
        ("trace", trace),
        ("explain", trace),
        ("plan", live.plan),
        ("apply", live.apply),
        ("delete", live.delete),
        ("get", live.get),
        ("describe", describe),
        ("top", top),
        ("export", export),
        ("history", history.history),
        ("diff", history.diff),
        ("rollback", history.rollback),
        ("events", events),
        ("label", objects.label),
        ("decode", decode),
        ("doctor", doctor),
    ):
        app.command(name)(command)
    for name, group in (("net", objects.net), ("endpoint", objects.endpoint), ("service", objects.service)):
        app.add_typer(group, name=name)


if __name__ == "__main__":
    main()

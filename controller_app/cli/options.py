"""The options of `chain-manager`: command line and file of options to one Settings value."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

import yaml

from controller_app.settings import Settings, SettingsError

_LISTS = ("topology", "policy", "apps")
_NUMBERS = ("ofp_tcp_listen_port", "ofp_ssl_listen_port")
_FRACTIONS = ("utilisation_cost",)
_SWITCHES = ("observe_links", "symmetric_hash", "verbose")
_NAMES = [*(field.name for field in fields(Settings)), "apps"]

_DESCRIPTION = """\
Run the controller, and any further os-ken apps beside it, in this process. Switches connect to it with
OpenFlow 1.3."""
_EPILOG = """\
FILE of --config is YAML with the same options without their dashes, lists where they repeat, and `apps`:
  topology: [campus.yaml]
  policy: policies/
  ofp-listen-host: 0.0.0.0
  apps: [learning_switch_13.py]
What is given on the command line counts instead. The API's token comes from CHAINCTL_TOKEN, or `api-token`
in the file; --api-tokens names further ones. SIGHUP reads topology, policy and token files again; SIGTERM ends,
and leaves all rules in the switches."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("chain-manager", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False,
                     formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS)
    option = parser.add_argument
    option("apps", nargs="*", metavar="APP", help="further os-ken app, as module.path or FILE.py")
    option("--topology", action="append", metavar="FILE", help="network file; without one all is discovered")
    option("--policy", action="append", metavar="FILE", help="policy file, or a directory of them")
    option("--state", metavar="DIR", help="where to remember what was learned; made if absent")
    option("--api-listen", metavar="HOST:PORT", help="REST API (default 127.0.0.1:8080)")
    option("--api-tokens", metavar="FILE", help="YAML file of tokens for the REST API, to read or to write")
    option("--observe-links", action=argparse.BooleanOptionalAction, help="discover links by LLDP (default on)")
    option("--symmetric-hash", action=argparse.BooleanOptionalAction,
           help="use the switches' own hash where it is the same in both directions and on all of them (default on); "
                "without it connections are hashed the portable way")
    option("--utilisation-cost", metavar="WEIGHT", type=float,
           help="let busy links cost more: a full one 1 + WEIGHT times as much, in steps of a quarter (default 0: not)")
    option("--config", metavar="FILE", help="read options from a file")
    option("--verbose", action="store_true", help="log everything")
    openflow = parser.add_argument_group("switches").add_argument
    openflow("--ofp-listen-host", metavar="HOST", help="address switches connect to (default 127.0.0.1)")
    openflow("--ofp-tcp-listen-port", metavar="PORT", type=int, help="plain OpenFlow (default 6653 without TLS)")
    openflow("--ofp-ssl-listen-port", metavar="PORT", type=int, help="OpenFlow by TLS (default 6653 with TLS)")
    openflow("--ctl-privkey", metavar="FILE", help="our private key, PEM")
    openflow("--ctl-cert", metavar="FILE", help="our certificate, PEM")
    openflow("--ca-certs", metavar="FILE", help="accept only switches with a certificate of these CAs, PEM")
    return parser


def read_options(arguments: Sequence[str],
                 environment: Mapping[str, str] = os.environ) -> tuple[Settings, list[str]]:
    """The settings and the further apps. Raises SettingsError; exits for --help, as argparse does."""
    given = vars(_parser().parse_args(arguments))
    from_file = read_file(given.pop("config")) if "config" in given else {}
    if not given.get("apps"):
        given.pop("apps", None)
    values = {**from_file, **given}
    apps = list(values.pop("apps", ()))
    if token := environment.get("CHAINCTL_TOKEN"):
        values["api_token"] = token
    for name in ("topology", "policy"):
        values[name] = tuple(values.get(name, ()))
    settings = Settings(**values)
    settings.check()
    return settings, apps


def read_file(path: str) -> dict[str, Any]:
    """Options from a YAML file, under the names of Settings. Raises SettingsError with the place."""
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; give the file of options after --config") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SettingsError(f"{path}{place}: this is not YAML: {getattr(error, 'problem', error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: a mapping of options is expected, such as `policy: policies/`")
    return {_name(path, key): _value(path, _name(path, key), value) for key, value in content.items()}


def _name(path: str, key: object) -> str:
    name = str(key).replace("-", "_")
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, 1)
        hint = f"did you mean {near[0].replace('_', '-')}?" if near else "see chain-manager --help"
        raise SettingsError(f"{path}: {key}: there is no such option; {hint}")
    return name


def _value(path: str, name: str, value: object) -> Any:
    if name in _LISTS:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        expected = "a name or a list of names"
    elif name in _NUMBERS:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        expected = "a number"
    elif name in _FRACTIONS:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        expected = "a number"
    elif name in _SWITCHES:
        if isinstance(value, bool):
            return value
        expected = "true or false"
    else:
        if isinstance(value, str):
            return value
        expected = "text"
    raise SettingsError(f"{path}: {name.replace('_', '-')}: {expected} is expected, not {value!r}")

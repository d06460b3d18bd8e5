"""A Mininet Topo class in the user's own script (`lab.py:MyTopo`) as a topology.

Numbers are those Mininet will give: ports as `Topo.addPort` counted them, dpids as `Switch.defaultDpid`
derives them (mininet/node.py, 2.3: the `dpid` option as hex digits, else the first number in the name).
A host's `ip` and `mac` come from its options; where it has none Mininet decides them at run time, so they
are left to be learned. A host with two links is a function with the arms `in` and `out`, in the order of its
own ports.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from controller_app.model.position import Diagnostic, PolicyError, Position
from controller_app.model.topology import End, Host, Link, Switch
from controller_app.policy.diagnostics import meant
from controller_app.policy.topology_merge import Draft, PlacedHost, PlacedLink
from controller_app.policy.values import parse_latency, parse_mac

_MODULE = "chainsteer_lab"


def read_mininet(path: str, name: str) -> Draft:
    """Run the script, build the topology named by a key of its `topos` or by a class, and read it.

    Raises PolicyError, also for whatever the script raises.
    """
    make = _find(_run(path), path, name)
    where = Position(path)
    topo = _call(make, path)
    if not all(hasattr(topo, part) for part in ("switches", "hosts", "links", "nodeInfo")):
        raise PolicyError(
            [
                Diagnostic(
                    where,
                    name,
                    f"{name} makes no Mininet Topo, but a {type(topo).__name__}",
                    "derive the class from mininet.topo.Topo",
                )
            ]
        )
    problems: list[Diagnostic] = []
    draft = _read(topo, where, problems)
    if problems:
        raise PolicyError(problems)
    return draft


def _run(path: str) -> Mapping[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise PolicyError([Diagnostic(Position(path), "document", "there is no such file", "check the path")])
    spec = importlib.util.spec_from_file_location(_MODULE, file)
    if spec is None or spec.loader is None:
        raise PolicyError(
            [Diagnostic(Position(path), "document", "not a Python file", "name a file ending in .py")]
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # dataclasses and pickle look their module up there
    directory = str(file.resolve().parent)
    sys.path.insert(0, directory)  # as `python lab.py` does, so that it finds its neighbours
    try:
        _call(lambda: spec.loader.exec_module(module), path)  # type: ignore[union-attr]
    finally:
        if directory in sys.path:
            sys.path.remove(directory)
    return vars(module)


def _find(module: Mapping[str, Any], path: str, name: str) -> Callable[[], Any]:
    topos = module.get("topos")
    named: Mapping[str, Any] = topos if isinstance(topos, dict) else {}
    found = named.get(name, module.get(name))
    if callable(found):
        return found  # type: ignore[no-any-return]
    classes = [
        key
        for key, value in module.items()
        if isinstance(value, type) and hasattr(value, "addSwitch") and value.__module__ == _MODULE
    ]
    raise PolicyError(
        [
            Diagnostic(
                Position(path),
                name,
                f"no topology {name!r} in the script",
                meant(name, [*map(str, named), *classes], "add it to the script's `topos`"),
            )
        ]
    )


def _call(function: Callable[[], Any], path: str) -> Any:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for data alone
            return function()
    except ModuleNotFoundError as error:
        remedy = (
            "install Mininet (apt install mininet) and see `chainctl doctor`"
            if (error.name or "").partition(".")[0] == "mininet"
            else "install it, or correct the script"
        )
        raise PolicyError([Diagnostic(_line(error, path), "document", str(error), remedy)]) from None
    except (Exception, SystemExit) as error:
        # the script is the user's: whatever it raises is a problem of that file, not of ours
        what = f"the script raised {type(error).__name__}: {error}".splitlines()[0]
        raise PolicyError([Diagnostic(_line(error, path), "document", what, "correct the script")]) from None


def _line(error: BaseException, path: str) -> Position:
    """The last line of the script itself that was being run."""
    if isinstance(error, SyntaxError) and error.lineno and error.filename == str(Path(path)):
        return Position(path, error.lineno, error.offset or 1)
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == Path(path).resolve() and frame.lineno
    ]
    return Position(path, lines[-1], 1) if lines else Position(path)


def _read(topo: Any, where: Position, problems: list[Diagnostic]) -> Draft:
    draft = Draft()
    switches = {str(name) for name in topo.switches()}
    for name in topo.switches():
        dpid = _dpid(str(name), topo.nodeInfo(name).get("dpid"), where, problems)
        if dpid is not None:
            draft.switches.append(Switch(str(name), dpid, where=where))
    attached: dict[str, list[tuple[int, End]]] = {}
    for _, _, info in topo.links(sort=False, withInfo=True):
        ends = [(str(info[f"node{side}"]), int(info[f"port{side}"])) for side in (1, 2)]
        on_switches = [end for end in ends if end[0] in switches]
        if len(on_switches) == 2:
            (a, a_port), (b, b_port) = ends
            link = Link(End(a, a_port), End(b, b_port), _latency(info), _bandwidth(info), where=where)
            draft.links.append(PlacedLink(link, f"links.{a}-{b}"))
        elif len(on_switches) == 1:
            host, port = next(end for end in ends if end[0] not in switches)
            attached.setdefault(host, []).append((port, End(*on_switches[0])))
        else:
            what = f"hosts {ends[0][0]!r} and {ends[1][0]!r} are linked without a switch"
            problems.append(Diagnostic(where, f"hosts.{ends[0][0]}", what, "put a switch between them"))
    for name in topo.hosts():
        found = _host(str(name), topo.nodeInfo(name), attached.get(str(name), []), where, problems)
        if found is not None:
            draft.hosts.append(PlacedHost(found))
    return draft


def _host(
    name: str,
    options: Mapping[str, Any],
    attached: list[tuple[int, End]],
    where: Position,
    problems: list[Diagnostic],
) -> Host | None:
    if not attached:
        return None  # on no switch: nothing for a controller to know
    if len(attached) > 2:
        problems.append(
            Diagnostic(
                where,
                f"hosts.{name}",
                f"host {name!r} has {len(attached)} links to switches",
                "two are the most: one, or the arms in and out of a function",
            )
        )
        return None
    ends = [end for _, end in sorted(attached)]
    attach = {"": ends[0]} if len(ends) == 1 else {"in": ends[0], "out": ends[1]}
    ip, mac = options.get("ip"), options.get("mac")
    try:
        ips = (ip_address(str(ip).partition("/")[0]),) if ip else ()
    except ValueError:
        ips = ()  # "no ip defined/8" is how Mininet scripts ask for none
    try:
        checked = parse_mac(mac) if mac else None
    except PydanticCustomError as error:
        context = error.context or {}
        problems.append(Diagnostic(where, f"hosts.{name}", str(context["what"]), str(context["remedy"])))
        checked = None
    return Host(name, attach, ips, checked, declared=bool(ips), where=where)


def _dpid(name: str, option: object, where: Position, problems: list[Diagnostic]) -> int | None:
    digits = re.findall(r"\d+", name)
    try:
        if isinstance(option, str) and option:
            dpid = int(option.replace(":", ""), 16)
        elif isinstance(option, int) and option:
            dpid = option
        else:
            dpid = int(digits[0]) if digits else 0
    except ValueError:
        dpid = 0
    if not 0 < dpid < 1 << 64:
        what = f"switch {name!r} has no usable dpid" + (f": {option!r}" if option else "")
        problems.append(
            Diagnostic(
                where,
                f"switches.{name}",
                what,
                "give it the option dpid (hex digits, not 0), or a name with a number such as s1",
            )
        )
        return None
    return dpid


def _latency(info: Mapping[str, Any]) -> float | None:
    try:
        return parse_latency(info.get("delay"))
    except PydanticCustomError:
        return None


def _bandwidth(info: Mapping[str, Any]) -> float | None:
    """TCLink's `bw`, in Mbit/s."""
    rate = info.get("bw")
    usable = isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0
    return float(rate) * 1e6 if usable and rate is not None else None

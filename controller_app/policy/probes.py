"""The notations of the life of a provider or an instance: how it is checked, how long it drains, how long clients stay
with it, how long it must be well to come back."""

from __future__ import annotations

import re
from typing import NamedTuple

from controller_app.policy.values import as_text, parse_duration, text_of, wrong
from controller_app.policy.yaml_scalars import kind_name

LEAST_INTERVAL = 0.1  # seconds: below that the checks of many providers would be a load of their own
LONGEST_INTERVAL = 24 * 3600.0
LONGEST_AFFINITY = 18 * 3600.0  # a flow's time-outs are 16 bits of seconds (OpenFlow 1.3.5, A.3.4.1)
MAX_PATH = 1000  # bytes, so that the request is one segment on any link

LONGEST_HOLD = 24 * 3600.0

_FORMS = "write tcp/80, http://:80/ready or arp"
_FUNCTION_FORMS = "write frame, arp, icmp, tcp/80 or http://:80/ready"
_ASKED = {"service": "provider", "function": "instance"}
_TCP = re.compile(r"tcp/(\d{1,6})\Z")
_HTTP = re.compile(r"http://(?P<host>[^/:]*|\[[^]]*\])(?::(?P<port>\d{0,6}))?(?P<path>/.*)?\Z", re.DOTALL)
_PATH = re.compile(r"/[!-~]*\Z")  # what may stand in a request line (RFC 9112, 3.2): visible ASCII, no blanks


class Probe(NamedTuple):
    """What `probe` says: kind tcp, http or arp, of functions also icmp or frame; `port` of the first two; `path` of
    http."""

    kind: str
    port: int = 0
    path: str = "/"


def parse_probe(value: object) -> Probe:
    """How a service's providers are checked: `tcp/80`, `http://:80/ready` or `arp`."""
    return _probe(text_of(value, "a probe such as tcp/80").strip(), ("arp",), "service", _FORMS)


def parse_function_probe(value: object) -> Probe:
    """How a function's instances are checked: `frame`, `arp`, `icmp`, `tcp/80` or `http://:80/ready`."""
    text = text_of(value, "a probe such as frame").strip()
    return _probe(text, ("arp", "icmp", "frame"), "function", _FUNCTION_FORMS)


def _probe(text: str, words: tuple[str, ...], of: str, forms: str) -> Probe:
    """words: the kinds that are written alone. of: what is checked, for messages."""
    word = text.lower()
    if word in words:
        return Probe(word)
    if word in ("tcp", "tcp/"):
        raise wrong(f"the probe {text!r} names no port", "write it: tcp/80")
    found = _TCP.match(word)
    if found:
        return Probe("tcp", _port(found[1]))
    if word.startswith("http:") or word == "http":
        return _http(text, of, forms)
    if word.startswith("https"):
        raise wrong("https is not spoken by the checks", "write tcp/443 to see whether the port answers")
    raise wrong(f"{text!r} is not a probe of a {of}", forms)


def _http(text: str, of: str, forms: str) -> Probe:
    found = _HTTP.match("http" + text[4:])
    if not found:
        raise wrong(f"{text!r} is not a probe of a {of}", forms)
    if found["host"]:
        raise wrong(
            f"{text!r} names a host, and every {_ASKED[of]} is asked at its own address",
            f"write http://:{found['port'] or 80}{found['path'] or '/'}",
        )
    path = found["path"] or "/"
    if not found["port"]:
        raise wrong(f"the probe {text!r} names no port", f"write it: http://:80{path}")
    if not _PATH.match(path) or "#" in path:
        raise wrong(
            f"the path {path!r} cannot stand in a request",
            "write letters, digits and signs of ASCII without blanks or '#', other characters as %XX",
        )
    if len(path) > MAX_PATH:
        raise wrong(f"the path is {len(path)} characters long", f"write at most {MAX_PATH}")
    return Probe("http", _port(found["port"]), path)


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise wrong(f"port {number} does not exist", "ports are 1 to 65535")
    return number


def parse_interval(value: object) -> float:
    """Seconds between two checks of a provider or an instance."""
    time = parse_duration(value, "1s")
    if time < LEAST_INTERVAL:
        raise wrong(f"{_said(value)} between checks is too short", "write 100ms or more")
    if time > LONGEST_INTERVAL:
        raise wrong(f"{_said(value)} between checks is too long", "write 1d or less")
    return time


def parse_hold(value: object) -> float:
    """Seconds that an instance must be well until it is back."""
    time = parse_duration(value, "1s")
    if time > LONGEST_HOLD:
        raise wrong(f"{_said(value)} until an instance is back is too long", "write 1d or less")
    return time


def parse_affinity(value: object) -> float:
    """Seconds that a client stays with its provider."""
    time = parse_duration(value, "10m")
    if time < 1:
        raise wrong(f"{_said(value)} is too short for switches to remember a client", "write 1s or more, or nothing")
    if time > LONGEST_AFFINITY:
        raise wrong(f"{_said(value)} is longer than switches can remember a client", "write 18h or less")
    return time


def parse_drain(value: object) -> bool | float:
    """False, True, or the seconds until what is left is ended."""
    if isinstance(value, bool):
        return value
    text = as_text(value)
    if not isinstance(text, str) or not text.strip()[:1].isdigit():
        what = f"{kind_name(value)} is neither true nor false nor a time"
        raise wrong(what, "write true, false or a time such as 10m")
    return parse_duration(value, "10m")


def _said(value: object) -> str:
    return text_of(value, "a time").strip()

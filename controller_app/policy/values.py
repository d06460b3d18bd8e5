"""The small notations inside the language: names, addresses, ports, units. Text in, values out.

Each reader raises `PydanticCustomError("written", ...)` carrying what is wrong and what to do, which
`diagnostics` puts beside the place. JSON Schemas of the notations stand with them.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Annotated

from pydantic import BeforeValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from controller_app.model.policy import ServicePort, Traffic
from controller_app.model.topology import End, IPAddress, IPNetwork
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.policy.yaml_scalars import WrittenFloat, WrittenInt, kind_name

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"  # read with fullmatch: `$` alone lets a newline pass
MAX_PORT = 65279  # Open vSwitch numbers ports below OFPP_MAX of OpenFlow 1.0 (0xff00) and nothing above

_MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}\Z")
_TRAFFIC = re.compile(r"(?P<protocol>[a-z0-9]+)(?:/(?P<low>\d{1,6})(?:-(?P<high>\d{1,6}))?)?\Z")
_SERVICE_PORT = re.compile(r"(?P<port>\d{1,6})(?::(?P<target>\d{1,6}))?(?:[/:](?P<protocol>[A-Za-z]+))?\Z")
_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-zµ/]+)\Z")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_TIMES = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BITS = {"bps": 1.0, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9, "tbps": 1e12}
# as other programs write them (tc(8) among them): the units above
_ALIKE = {
    f"{scale.lower()}{end}": f"{scale}bps"
    for scale in ("", "k", "M", "G", "T")
    for end in ("bit", "bits", "bit/s", "bits/s")
}
_DSCP = {
    **{f"cs{n}": 8 * n for n in range(8)},
    **{f"af{n}{drop}": 8 * n + 2 * drop for n in range(1, 5) for drop in range(1, 4)},
    "ef": 46,
    "voice-admit": 44,
}


def wrong(what: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("written", "{what}; {remedy}", {"what": what, "remedy": remedy})


def as_text(value: object) -> object:
    """Numbers back to the text they were written as; everything else as it is."""
    if isinstance(value, WrittenInt | WrittenFloat):
        return value.text
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def as_label(value: object) -> object:
    """Label values are text: `1.0` and `true` mean what is written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return as_text(value)


def text_of(value: object, expected: str) -> str:
    text = as_text(value)
    if not isinstance(text, str):
        raise wrong(f"expected {expected}, found {kind_name(value)}", f"write {expected}")
    return text


def as_list(value: object) -> object:
    """One value or a list of them."""
    return list(value) if isinstance(value, list | tuple) else [value]


def parse_address(value: object) -> IPAddress:
    text = text_of(value, "an IP address such as 10.1.0.11")
    if "/" in text:
        raise wrong(
            f"{text!r} is a prefix, not an address", "write the address alone, without the part from '/'"
        )
    try:
        address = ip_address(text)
    except ValueError:
        raise wrong(f"{text!r} is not an IP address", "write one such as 10.1.0.11 or fd00::11") from None
    if address.is_multicast or address.is_unspecified or getattr(address, "scope_id", None):
        raise wrong(f"{text} cannot be the address of one machine", "write a unicast address without a scope")
    return address


def parse_network(value: object) -> IPNetwork:
    text = text_of(value, "a prefix such as 10.1.0.0/24")
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        suggestion = ip_network(text, strict=False)
    except ValueError:
        raise wrong(f"{text!r} is not a prefix", "write one such as 10.1.0.0/24 or fd00::/64") from None
    raise wrong(f"{text!r} has bits set beyond its length", f"write {suggestion}")


def parse_mac(value: object) -> str:
    """Lower case with colons. Refuses what no host may use: multicast, zero, and the gateways' own."""
    text = text_of(value, "a MAC such as 02:00:00:00:01:11").lower()
    if not _MAC.match(text):
        raise wrong(
            f"{text!r} is not a MAC address", "write six pairs of hex digits such as 02:00:00:00:01:11"
        )
    mac = text.replace("-", ":")
    first = int(mac[:2], 16)
    if first & 1:
        raise wrong(f"{mac} is a multicast address", "write the host's own address; its first byte is even")
    if mac == "00:00:00:00:00:00":
        raise wrong("the MAC is all zero", "write the host's own address, or leave it out to have it learned")
    if int(mac.replace(":", ""), 16) == GATEWAY_MAC:
        raise wrong(f"{mac} is the gateways' own address here", "give the host another one, e.g. starting 02:")
    return mac


def parse_dpid(value: object) -> int:
    """`0x1`, `1`, or 16 hex digits as Open vSwitch prints them. 1 to 2**64 - 1."""
    text = text_of(value, "a datapath id such as 0x1").replace(":", "").lower()
    try:
        if text.startswith("0x"):
            dpid = int(text[2:], 16)
        elif len(text) == 16:
            dpid = int(text, 16)
        else:
            dpid = int(text) if text.isascii() and text.isdigit() else int("not a number")
    except ValueError:
        raise wrong(
            f"{text!r} is not a datapath id", "write 0x and hex digits, a number, or 16 hex digits"
        ) from None
    if dpid == 0:
        raise wrong("dpid 0 is not allowed", "give the switch a number of its own, from 1")
    if not 0 < dpid < 1 << 64:
        raise wrong(f"{text} is longer than 64 bits", "a datapath id has at most 16 hex digits")
    return dpid


def parse_end(value: object) -> End:
    """`switch:number` or `switch:port-name`."""
    text = text_of(value, "switch:port")
    switch, colon, port = text.partition(":")
    if not colon or not port or not re.fullmatch(NAME_PATTERN, switch):
        raise wrong(
            f"{text!r} names no port of a switch", "write switch:number or switch:port-name, e.g. s1:3"
        )
    if not (port.isascii() and port.isdigit()):
        if not re.fullmatch(NAME_PATTERN, port):
            raise wrong(
                f"{port!r} is not the name of a port", "write switch:number or switch:port-name, e.g. s1:3"
            )
        return End(switch, port)
    if len(port) > 10 or not 1 <= int(port) <= MAX_PORT:
        raise wrong(f"port {port} does not exist on any switch", f"ports are numbered 1 to {MAX_PORT}")
    return End(switch, int(port))


def parse_traffic(value: object) -> Traffic:
    """`tcp/80`, `udp/5000-5100`, `tcp`, `icmp`."""
    text = text_of(value, "traffic such as tcp/80")
    found = _TRAFFIC.match(text.strip().lower())
    hint = "write tcp/80, udp/5000-5100 or icmp"
    if not found:
        raise wrong(f"{text!r} is not traffic", hint)
    protocol = found["protocol"]
    if protocol not in ("tcp", "udp", "icmp"):
        raise wrong(f"the protocol {protocol!r} is not supported", hint)
    if found["low"] is None:
        return Traffic(protocol)
    if protocol == "icmp":
        raise wrong("icmp has no ports", "write icmp alone")
    low = _port(found["low"])
    high = _port(found["high"]) if found["high"] else low
    if low > high:
        raise wrong(f"the range {low}-{high} is empty", f"write {high}-{low}")
    return Traffic(protocol, low, high)


def parse_service_port(value: object) -> ServicePort:
    """`8080:80/tcp` or `8080:80:TCP`; `80/tcp` where both are the same."""
    hint = "write port:target/protocol, e.g. 8080:80/tcp"
    text = text_of(value, "a port such as 8080:80/tcp")
    found = _SERVICE_PORT.match(text.strip())
    if not found:
        raise wrong(f"{text!r} is not a service port", hint)
    protocol = (found["protocol"] or "tcp").lower()
    if protocol not in ("tcp", "udp"):
        raise wrong(f"the protocol {protocol!r} is not supported for services (supported: tcp, udp)", hint)
    port = _port(found["port"])
    return ServicePort(port, _port(found["target"]) if found["target"] else port, protocol)


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise wrong(f"port {number} does not exist", "ports are 1 to 65535")
    return number


def parse_latency(value: object) -> float:
    """Seconds."""
    return _quantity(value, _SECONDS, "a time with its unit such as 2ms or 50us", zero=True)


def parse_duration(value: object, example: str) -> float:
    """Seconds, a year at most. `example` is one that suits the place, for messages."""
    time = _quantity(value, _TIMES, f"a time with its unit (ms, s, m, h or d) such as {example}", zero=True)
    if time > 365 * _TIMES["d"]:
        raise wrong(f"{text_of(value, 'a time')} is more than a year", f"write a shorter time such as {example}")
    return time


def parse_bandwidth(value: object) -> float:
    """Bits per second."""
    return _rate(value, "a rate with its unit such as 10Gbps or 100Mbps", zero=False)


def parse_limit(value: object) -> float:
    """Bits per second that a meter can hold: OpenFlow 1.3 counts them in kbit/s, in 32 bits."""
    rate = _rate(value, "a rate with its unit such as 50Mbps", zero=True)
    if rate == 0:
        raise wrong(
            f"{text_of(value, 'a rate')} lets nothing through, and a limit is above zero",
            "write 1kbps or more, or `then: deny` where nothing is to pass",
        )
    if rate < 1e3:
        raise wrong(f"{text_of(value, 'a rate')} is less than a meter can hold", "write 1kbps or more")
    if rate >= 2**32 * 1e3:
        raise wrong(f"{text_of(value, 'a rate')} is more than a meter can hold", "write 4Tbps or less, or no limit")
    return rate


def parse_dscp(value: object) -> int:
    """A differentiated services code point by name (RFC 2474, 2597, 3246, 5865) or number, 0 to 63."""
    hint = "write cs0 to cs7, af11 to af43, ef, voice-admit, or a number from 0 to 63"
    text = text_of(value, "a DSCP such as af21").strip().lower()
    if text in _DSCP:
        return _DSCP[text]
    if not (text.isascii() and text.isdigit()):
        raise wrong(f"{text!r} is not a DSCP", hint)
    if len(text) > 2 or int(text) > 63:
        raise wrong(f"{text} is too large for a DSCP", hint)
    return int(text)


def _rate(value: object, expected: str, *, zero: bool) -> float:
    """Bits per second. Bytes are another thing, and nobody can tell whether they were meant."""
    text = text_of(value, expected).strip()
    found = _QUANTITY.match(text)
    if found and re.fullmatch("[kKmMgGtT]?Bps", found["unit"]):
        scale = found["unit"][:-3]
        bits = f"{float(found['number']) * 8:.12g}{scale}bps"
        raise wrong(f"{text!r} is in bytes", f"write {bits}, or {found['number']}{scale}bps if bits are meant")
    return _quantity(value, _BITS, expected, zero=zero)


def _quantity(value: object, units: dict[str, float], expected: str, *, zero: bool) -> float:
    text = text_of(value, expected).strip()
    found = _QUANTITY.match(text)
    factor = units.get(found["unit"].lower()) if found else None
    if not found or factor is None:
        unit = _ALIKE.get(found["unit"].lower()) if found and units is _BITS else None
        remedy = f"did you mean {found['number']}{unit}?" if found and unit else f"write {expected}"
        raise wrong(f"{text!r} is not {expected.split(' such')[0]}", remedy)
    # Divided rather than multiplied below one, so that 2ms is the float 0.002 and not its neighbour.
    number = float(found["number"])
    result = number * factor if factor >= 1 else number / round(1 / factor)
    if result == 0 and not zero:
        raise wrong(f"{text!r} is nothing", "leave it out where it is not known")
    if result == float("inf"):
        raise wrong(f"{text!r} is beyond measure", f"write {expected}")
    return result


Text = Annotated[str, BeforeValidator(as_text)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN), BeforeValidator(as_text)]
Label = Annotated[str, BeforeValidator(as_label), WithJsonSchema({"type": ["string", "number", "boolean"]})]

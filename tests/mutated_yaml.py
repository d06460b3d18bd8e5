"""YAML files that were damaged, each by its number: the same number makes the same file on any machine.

They start as the example policies and topologies. What happens to them happens to files: bytes flip and get lost, lines
are dropped, doubled and moved, keys are misspelt, values are of another kind, a piece of another file gets in; and what
somebody does who means harm: nesting, aliases that grow, numbers without end, tags, control characters.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TOKEN = re.compile(r"[\w./@-]+|\s+|.", re.ASCII)
WORDS = (
    "any", "fw", "symmetric", "tcp/80", "tcp/0", "tcp/99999", "udp/9-1", "10.0.0.0/8", "::/0", "0.0.0.0", "1e999", "-1",
    "-1Mbps", "9" * 400 + "Mbps", "9" * 5000, "0x" + "f" * 40, "0o777", "1_000", ".nan", "-.inf", "12:30:45",
    "2001-01-01", "tier in (", "tier notin (a,,b)", "!", "!!str", "!!binary", "!!python/object:os.system", "!!set",
    "!<x>", "&a", "*a", "<<", "---", "...", "%YAML 1.2", "%TAG ! x", "|", ">-", "|9", "? ", ": ", "- ", "#", "\t", "@",
    "`", "{", "}", "[", "]", '"', "'", '"\\x00"', '"\\ud800"', "é", "\u202e", "\u0085", "\u2028", "\ufeff", "\x00",
    "\x1b[2J", "\U0001f600", "null", "~", "yes", "true", "version: 2", "version: 1", "s1:1", "s1:99999999999",
    "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(10**30), 10**400, 1.5, -0.0, 1e308, float("inf"),
    float("nan"), "", " ", [], {}, [None], [[]], [{}], {"": ""}, {"a": {"b": {}}}, {"host": "h1"}, {"selector": "a=b"},
    {"cidr": "10.0.0.0/8"}, ["tcp/80", "tcp/80"], "x" * 300, "x" * 70000, "\u202e", "a\nb", "a\x00b", *WORDS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Damaged:
    """A damaged file. `kind`: policy or topology; `source`: the example it was; `how`: what was done to it."""

    number: int
    kind: str
    source: str
    how: tuple[str, ...]
    data: bytes


@cache
def examples() -> dict[str, tuple[str, ...]]:
    """Names of the example files, by kind, below the root of the project."""
    return {
        kind: tuple(sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.yaml")))
        for kind, folder in (("policy", "policies"), ("topology", "topologies"))
    }


@cache
def text_of(source: str) -> str:
    """An example as it is written."""
    return (ROOT / source).read_text(encoding="utf-8")


@cache
def _read(source: str) -> Any:
    return yaml.safe_load(text_of(source))


def damaged(number: int) -> Damaged:
    """The file of this number. Three of four are policies."""
    drawn = random.Random(number)
    kind = "topology" if drawn.random() < 0.25 else "policy"
    source = drawn.choice(examples()[kind])
    what = drawn.choices(("text", "lines", "harm", "bytes", "structure"), (25, 15, 15, 10, 35))[0]
    how: list[str] = []
    text = _rebuilt(source, drawn, how) if what == "structure" else text_of(source)
    for _ in range(drawn.choice((1, 1, 2, 3, 5)) if what in _OF_TEXT else 0):
        change = drawn.choice(_OF_TEXT[what])
        how.append(change.__name__.strip("_"))
        text = change(text, drawn)
    data = text.encode("utf-8", "surrogatepass")
    for _ in range(drawn.choice((1, 2, 4)) if what == "bytes" else 0):
        flip = drawn.choice(_OF_BYTES)
        how.append(flip.__name__.strip("_"))
        data = flip(data, drawn)
    return Damaged(number, kind, source, tuple(how), data)


# -- text --------------------------------------------------------------------------------------------------------------


def _other(drawn: random.Random) -> str:
    return text_of(drawn.choice(examples()[drawn.choice(("policy", "policy", "topology"))]))


def _span(length: int, drawn: random.Random, longest: int) -> tuple[int, int]:
    start = drawn.randint(0, length)
    return start, min(length, start + drawn.randint(0, longest))


def _token_replaced(text: str, drawn: random.Random) -> str:
    tokens = TOKEN.findall(text) or [""]
    tokens[drawn.randrange(len(tokens))] = drawn.choice((*WORDS, drawn.choice(TOKEN.findall(_other(drawn)))))
    return "".join(tokens)


def _tokens_dropped(text: str, drawn: random.Random) -> str:
    tokens = TOKEN.findall(text)
    start, end = _span(len(tokens), drawn, 4)
    return "".join(tokens[:start] + tokens[end:])


def _tokens_swapped(text: str, drawn: random.Random) -> str:
    tokens = TOKEN.findall(text) or [""]
    one, two = drawn.randrange(len(tokens)), drawn.randrange(len(tokens))
    tokens[one], tokens[two] = tokens[two], tokens[one]
    return "".join(tokens)


def _word_put_in(text: str, drawn: random.Random) -> str:
    place = drawn.randint(0, len(text))
    return text[:place] + drawn.choice(WORDS) + text[place:]


def _characters_replaced(text: str, drawn: random.Random) -> str:
    start, end = _span(len(text), drawn, 12)
    copied, until = _span(len(text), drawn, 30)
    return text[:start] + text[copied:until] + text[end:]


def _truncated(text: str, drawn: random.Random) -> str:
    return text[: drawn.randint(0, len(text))]


def _line_dropped(text: str, drawn: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    del lines[drawn.randrange(len(lines))]
    return "".join(lines)


def _lines_doubled(text: str, drawn: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    start, end = _span(len(lines), drawn, 5)
    return "".join(lines[:end] + lines[start:])


def _line_moved(text: str, drawn: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    lines.insert(drawn.randint(0, len(lines)), lines.pop(drawn.randrange(len(lines))))
    return "".join(lines)


def _line_indented(text: str, drawn: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    number = drawn.randrange(len(lines))
    lines[number] = drawn.choice((" ", "    ", "\t", "\u00a0", "- ", "")) + (
        lines[number].lstrip(" ") if drawn.random() < 0.5 else lines[number])  # fmt: skip
    return "".join(lines)


def _lines_of_another(text: str, drawn: random.Random) -> str:
    lines, others = text.splitlines(keepends=True), _other(drawn).splitlines(keepends=True)
    start, end = _span(len(others), drawn, 12)
    place = drawn.randint(0, len(lines))
    return "".join(lines[:place] + others[start:end] + lines[place:])


def _section_of_another(text: str, drawn: random.Random) -> str:
    sections = re.split(r"(?m)^(?=\w)", _other(drawn))
    return text + "\n" + drawn.choice(sections)


def _tabs(text: str, drawn: random.Random) -> str:
    return text.replace("  ", "\t") if drawn.random() < 0.5 else text.replace(": ", ":\t", drawn.randint(1, 9))


def _line_ends(text: str, drawn: random.Random) -> str:
    return text.replace("\n", drawn.choice(("\r\n", "\r", "\u0085", "\u2028", "\n\n", "\n\x00")))


def _one_line(text: str, drawn: random.Random) -> str:
    return drawn.choice(("", " ")).join(text.splitlines())


def _nested(text: str, drawn: random.Random) -> str:
    deep = drawn.choice((5, 90, 99, 100, 101, 1000, 20000))
    shape = drawn.choice(("[", "{a: ", "- ", '{"a":', "[{b: ", "&x [", "? "))
    close = {"[": "]", "{a: ": "}", '{"a":': "}", "[{b: ": "}]", "&x [": "]"}.get(shape, "")
    piece = shape * deep + drawn.choice(("", "1", "x")) + (close * deep if drawn.random() < 0.7 else "")
    place = drawn.choice([found.end() for found in re.finditer(r": |^\w+:", text)] or [0])
    return text[:place] + piece + (text[place:] if drawn.random() < 0.5 else "\n")


def _bomb(text: str, drawn: random.Random) -> str:
    """Each line names the one before some times."""
    wide, high = drawn.choice(((2, 10), (9, 9), (2, 30), (10, 5), (100, 4), (1, 90)))
    flow = drawn.random() < 0.5
    lines = [f"x0: &a0 {drawn.choice(('[lol]', '{a: b}', 'lol'))}"]
    for level in range(1, high):
        names = [f"*a{level - 1}"] * wide
        inside = "{" + ", ".join(f"k{n}: {name}" for n, name in enumerate(names)) + "}"
        lines.append(f"x{level}: &a{level} " + ("[" + ", ".join(names) + "]" if flow else inside))
    section = drawn.choice(("networks", "classifiers", "chains", "hosts", "links", "labels"))
    return drawn.choice(("", text)) + "\n" + "\n".join(lines) + f"\n{section}: *a{high - 1}\n"


def _anchors(text: str, drawn: random.Random) -> str:
    """A value gets a name, and others are it."""
    places = [found.end() for found in re.finditer(r": (?=\S)", text)]
    if len(places) < 2:
        return "&a [*a]"
    first, *rest = sorted(drawn.sample(places, min(len(places), drawn.randint(2, 4))))
    for place in reversed(rest):
        end = re.compile(r"[,}\]\n]|$").search(text, place)
        assert end is not None
        text = text[:place] + drawn.choice(("*x", "*x", "*x ", "*y", "{<<: *x}")) + text[end.start() :]
    return text[:first] + "&x " + text[first:]


def _long(text: str, drawn: random.Random) -> str:
    """Much of one thing."""
    lines = text.splitlines(keepends=True) or [""]
    many = drawn.choice((10, 50, 200))
    number = drawn.randrange(len(lines))
    return drawn.choice((
        lambda: text + "".join(lines[number] for _ in range(many)),
        lambda: text + "labels: {" + ", ".join(f"k{n}: v" for n in range(many * 5)) + "}\n",
        lambda: text + "x: " + "a" * (many * 50),
        lambda: text + "classifiers: [" + "{}, " * many + "]\n",
        lambda: text.replace(": ", ":" + " " * many, 20),
        lambda: text + "#" * (many * 100),
        lambda: "".join(line.replace("\n", str(n) + "\n") for n in range(5) for line in lines),
    ))()  # fmt: skip


# -- structure ---------------------------------------------------------------------------------------------------------


def _places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in inner for place in ((*at, key), *_places(value, (*at, key)))]


def _at(node: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        node = node[key]
    return node


def _key_dropped(top: Any, way: tuple[Any, ...], _: random.Random) -> None:
    del _at(top, way[:-1])[way[-1]]


def _key_renamed(top: Any, way: tuple[Any, ...], drawn: random.Random) -> None:
    holder = _at(top, way[:-1])
    if isinstance(holder, dict):
        word = str(way[-1])
        place = drawn.randint(0, len(word))
        near = (word + "s", word.upper(), word[:place] + word[place + 1 :], drawn.choice(WORDS))
        holder[drawn.choice((*near, 7, None, True, 1.5, ""))] = holder.pop(way[-1])


def _value_replaced(top: Any, way: tuple[Any, ...], drawn: random.Random) -> None:
    _at(top, way[:-1])[way[-1]] = deepcopy(drawn.choice(VALUES))


def _value_wrapped(top: Any, way: tuple[Any, ...], drawn: random.Random) -> None:
    holder, value = _at(top, way[:-1]), _at(top, way)
    holder[way[-1]] = drawn.choice(([value], [value, value], {"x": value}, {str(value)[:40]: value}, str(value)))


def _value_of_another(top: Any, way: tuple[Any, ...], drawn: random.Random) -> None:
    other = _read(drawn.choice(examples()[drawn.choice(("policy", "policy", "topology"))]))
    same = [place for place in _places(other) if place[-1] == way[-1]]
    _at(top, way[:-1])[way[-1]] = deepcopy(_at(other, drawn.choice(same or _places(other))))


def _value_copied(top: Any, way: tuple[Any, ...], drawn: random.Random) -> None:
    value = deepcopy(_at(top, drawn.choice(_places(top))))
    _at(top, way[:-1])[way[-1]] = value


def _key_of_another(top: Any, way: tuple[Any, ...], drawn: random.Random) -> None:
    """What may stand elsewhere stands here too."""
    holder = _at(top, way[:-1])
    other = _read(drawn.choice(examples()["policy"]))
    place = drawn.choice(_places(other))
    if isinstance(holder, dict):
        holder[place[-1]] = deepcopy(_at(other, place))
    else:
        holder.append(deepcopy(_at(other, place)))


def _items_multiplied(top: Any, way: tuple[Any, ...], drawn: random.Random) -> None:
    holder, value, many = _at(top, way[:-1]), _at(top, way), drawn.choice((2, 10, 40))
    if isinstance(holder, list):
        holder.extend(deepcopy(value) for _ in range(many))
    else:
        holder.update({f"{way[-1]}-{number}": deepcopy(value) for number in range(many)})


_OF_STRUCTURE = (
    _key_dropped, _key_renamed, _value_replaced, _value_replaced, _value_wrapped, _value_of_another, _value_copied,
    _key_of_another, _items_multiplied,
)  # fmt: skip


def _rebuilt(source: str, drawn: random.Random, how: list[str]) -> str:
    """The same file with some values changed, written anew in one of the ways that YAML has."""
    top = deepcopy(_read(source))
    for _ in range(drawn.choice((1, 1, 1, 2, 3))):
        places = _places(top)
        if not places:
            break
        change = drawn.choice(_OF_STRUCTURE)
        how.append(change.__name__.strip("_"))
        change(top, drawn.choice(places), drawn)
    if drawn.random() < 0.2:
        return json.dumps(top, indent=drawn.choice((None, 1)), default=str)
    text: str = yaml.dump(
        top, Dumper=yaml.CSafeDumper, sort_keys=drawn.random() < 0.2, allow_unicode=drawn.random() < 0.5,
        default_flow_style=drawn.choice((None, True, False)), width=drawn.choice((20, 120, 1 << 20)),
    )  # fmt: skip
    if drawn.random() < 0.1:  # a key written twice
        lines = text.splitlines(keepends=True)
        lines.insert(drawn.randint(0, len(lines)), drawn.choice(lines))
        return "".join(lines)
    return text


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bits_flipped(data: bytes, drawn: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(drawn.randint(1, 8)):
        if changed:
            changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def _bytes_put_in(data: bytes, drawn: random.Random) -> bytes:
    start, end = _span(len(data), drawn, 20)
    return data[:start] + drawn.randbytes(drawn.randint(0, 8)) + data[end:]


def _other_encoding(data: bytes, drawn: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(drawn.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037")), "replace")


def _bytes_lost(data: bytes, drawn: random.Random) -> bytes:
    start, end = _span(len(data), drawn, 400)
    return data[:start] + bytes(end - start if drawn.random() < 0.3 else 0) + data[end:]


_OF_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _bits_flipped, _bits_flipped, _bytes_put_in, _bytes_put_in, _bytes_lost, _other_encoding,
)  # fmt: skip
_OF_TEXT: dict[str, tuple[Callable[[str, random.Random], str], ...]] = {
    "text": (
        _token_replaced, _token_replaced, _tokens_dropped, _tokens_swapped, _word_put_in, _characters_replaced,
        _truncated,
    ),
    "lines": (
        _line_dropped, _lines_doubled, _line_moved, _line_indented, _lines_of_another, _section_of_another, _tabs,
        _line_ends, _one_line,
    ),
    "harm": (_nested, _bomb, _anchors, _anchors, _long, _word_put_in),
}  # fmt: skip

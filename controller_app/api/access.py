"""Who may: tokens with a scope, and what is asked of those who need none because they are on this machine.

Tokens are in a YAML file that nobody else may read:

    ci:     {token_sha256: 9f86d081…, scope: write}   # what `printf %s TOKEN | sha256sum` prints
    viewer: {token: at-least-sixteen-characters, scope: read}

`read` is for looking: GET, dry runs, and traces. `write` is for everything.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from controller_app.api.refused import Refused
from controller_app.settings import SettingsError

SCOPES = ("read", "write")
SHORTEST = 16  # characters of a token: with fewer it could be guessed
ONLY = "CHAINCTL_TOKEN"  # the name of the one token that comes without a file
LOOPBACK = "loopback"  # who needs no token is called
YES = frozenset(("1", "on", "t", "true", "y", "yes"))  # what a query parameter is true with
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_LOOKING = ("GET", "HEAD", "OPTIONS")
_MAKE_ONE = "`openssl rand -hex 32` prints a good one"


class TokensError(SettingsError):
    """A file of tokens that cannot be used. The text says where and what to do."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token's name, what it is recognised by (SHA-256, hexadecimal), and what it is for."""

    name: str
    sha256: str
    scope: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request shows of itself before it is looked at closer. The headers' values, empty where absent."""

    method: str
    path: str
    query: str
    authorization: str = ""
    host: str = ""
    origin: str = ""
    site: str = ""  # Sec-Fetch-Site

    @property
    def dry_run(self) -> bool:
        """Does it only ask what would change? A parameter given twice is refused later, so it does not count here."""
        given = [value for name, value in parse_qsl(self.query, keep_blank_values=True) if name == "dry_run"]
        return len(given) == 1 and given[0].lower() in YES

    @property
    def looks(self) -> bool:
        """Does it leave everything as it is?"""
        return self.method in _LOOKING or self.dry_run or (self.method, self.path) == ("POST", "/api/v1/trace")


class Access:
    """The tokens that count. They may be replaced at any time; what is under way goes on."""

    def __init__(self, only: str | None = None, file: str | None = None) -> None:
        """only: one token that may do everything. Raises TokensError for a file that cannot be used."""
        self._only = () if not only else (Token(ONLY, _sha256(only), "write"),)
        self._file = file
        self._tokens: tuple[Token, ...] = ()
        self.reload()

    @property
    def open(self) -> bool:
        """Does nobody need a token?"""
        return self._file is None and not self._only

    def reload(self) -> None:
        """Read the file again. TokensError where it cannot be used; then those read before count on."""
        found = () if self._file is None else read_tokens(self._file)
        self._tokens = (*self._only, *found)

    def knows(self, who: str) -> bool:
        """Is this somebody still, since the file was read last?"""
        return who == LOOPBACK if self.open else any(token.name == who for token in self._tokens)

    def who(self, asked: Asked) -> Token:
        """Whose request it is. Refused: 401 without a token that counts; where there are none, 403 for whoever is no
        program of this machine."""
        if self.open:
            _check_here(asked)
            return Token(LOOPBACK, "", "write")
        kind, _, given = asked.authorization.partition(" ")
        digest = _sha256(given.strip() if kind.lower() == "bearer" else "")
        found = None
        for token in self._tokens:  # all of them, so that the time it takes does not tell which one it is
            if hmac.compare_digest(token.sha256, digest):
                found = token
        if found is None:
            raise Refused(
                401,
                "No token, or the wrong one",
                "send the controller's token: chainctl --token, or CHAINCTL_TOKEN",
            )
        return found


def check_scope(token: Token, asked: Asked) -> None:
    """Refused (403) where something may not be done with a token."""
    if token.scope != "write" and not asked.looks:
        what = f"token {token.name!r} has the scope 'read', and this needs 'write'"
        raise Refused(403, "Not with this token", f"{what}: GET, ?dry_run=true and POST /api/v1/trace are allowed")


def read_tokens(file: str) -> tuple[Token, ...]:
    """The tokens of a file. Raises TokensError."""
    try:
        with open(file, "rb") as opened:  # the mode is that of the file which is read, whatever the name means later
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise TokensError(f"--api-tokens {file}: {why}; give a YAML file of tokens") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise TokensError(
            f"--api-tokens {file}: everybody on this machine can read or change it (mode {stat.S_IMODE(mode):04o}): "
            f"chmod 600 {file}"
        )
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise TokensError(f"--api-tokens {file}{place}: this is not YAML: {getattr(error, 'problem', None)}") from None
    if not isinstance(content, dict) or not content:
        raise TokensError(f"--api-tokens {file}: a mapping of tokens by name is expected, such as "
                          "`ci: {token_sha256: ..., scope: write}`")  # fmt: skip
    tokens = tuple(_token(file, name, entry) for name, entry in content.items())
    _check_apart(file, tokens)
    return tokens


def is_loopback(host: str) -> bool:
    """Is this a name or address of the machine itself that nobody else reaches?"""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(file: str, name: Any, entry: Any) -> Token:
    where = f"--api-tokens {Path(file)}: {name}"
    if not isinstance(name, str) or not _NAME.match(name) or name in (ONLY, LOOPBACK):
        raise TokensError(f"{where}: a token's name has letters, digits, '.', '_' and '-', at most 63, and is neither "
                          f"{ONLY} nor {LOOPBACK}")  # fmt: skip
    expected = f"{where}: write {{token_sha256: ..., scope: read}}, with `token` or `token_sha256`, scope read or write"
    if not isinstance(entry, dict) or entry.keys() not in ({"token", "scope"}, {"token_sha256", "scope"}):
        raise TokensError(expected)
    if entry["scope"] not in SCOPES:
        raise TokensError(f"{where}: scope {entry['scope']!r}: choose read or write")
    if "token" in entry:
        text = entry["token"]
        if not isinstance(text, str) or len(text) < SHORTEST or not (text.isascii() and text.isprintable()):
            # What was written is not repeated: it may be most of a secret.
            raise TokensError(f"{where}: a token is text of at least {SHORTEST} ASCII characters in quotation marks; "
                              f"{_MAKE_ONE}")  # fmt: skip
        return Token(name, _sha256(text), entry["scope"])
    digest = str(entry["token_sha256"]).lower()
    if not _SHA256.match(digest):
        raise TokensError(f"{where}: token_sha256 is 64 hexadecimal digits in quotation marks, "
                          "as `printf %s TOKEN | sha256sum` prints them")  # fmt: skip
    return Token(name, digest, entry["scope"])


def _check_apart(file: str, tokens: Iterable[Token]) -> None:
    """Two names for one token would make it a matter of chance who did something, and with what scope."""
    names: dict[str, str] = {}
    for token in tokens:
        other = names.setdefault(token.sha256, token.name)
        if other != token.name:
            raise TokensError(f"--api-tokens {file}: {other} and {token.name} are the same token; give each its own")


def _check_here(asked: Asked) -> None:
    """Without tokens only this machine's own programs are to be heard: no web page, whose name was pointed at this
    machine, or which sends something here from a browser on it."""
    if not is_loopback(_name_of(asked.host)):
        raise Refused(
            403,
            "Not a name of this machine",
            "without a token, address the controller as 127.0.0.1, [::1] or localhost",
        )
    own = urlsplit(asked.origin).netloc == asked.host if asked.origin else asked.site in ("", "same-origin", "none")
    if not own:
        raise Refused(
            403,
            "Not for other sites",
            "a web page of another site may not speak for who looks at it: use chainctl, or a controller with tokens",
        )


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

"""Who may: tokens, their scopes, and this machine's own programs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from controller_app.api.access import Access, Asked, TokensError, check_scope, read_tokens
from controller_app.api.refused import Refused

SECRET = "a-token-of-some-length"
OTHER = "another-token-of-some-length"


def written(path: Path, text: str, mode: int = 0o600) -> str:
    file = path / "tokens.yaml"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def asked(method: str = "GET", path: str = "/api/v1/hosts", query: str = "", token: str = "", **headers: str) -> Asked:
    authorization = f"Bearer {token}" if token else ""
    return Asked(method, path, query, authorization, **{"host": "127.0.0.1:8080", **headers})


def status(access: Access, request: Asked) -> int:
    try:
        check_scope(access.who(request), request)
    except Refused as error:
        return error.status
    return 200


@pytest.fixture
def access(tmp_path: Path) -> Access:
    digest = hashlib.sha256(OTHER.encode()).hexdigest()
    text = f'viewer: {{token: "{SECRET}", scope: read}}\nci: {{token_sha256: "{digest}", scope: write}}\n'
    return Access("only-one", written(tmp_path, text))


def test_a_token_has_a_name(access: Access) -> None:
    assert access.who(asked(token=SECRET)).name == "viewer"
    assert access.who(asked("PUT", token=OTHER)).name == "ci"
    assert access.who(asked("PUT", token="only-one")).name == "CHAINCTL_TOKEN"
    assert access.who(Asked("GET", "/", "", f"bearer   {SECRET} ")).name == "viewer"
    for wrong in ("", "Bearer", f"Basic {SECRET}", SECRET, f"Bearer {SECRET}x", "Bearer ü", f"Bearer {SECRET} {OTHER}"):
        assert status(access, Asked("GET", "/", "", wrong)) == 401, wrong
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert status(access, asked(token=digest)) == 401  # who reads the file does not have the token


@pytest.mark.parametrize(
    ("method", "path", "query", "may"),
    [
        ("GET", "/api/v1/policies/web", "", True),
        ("HEAD", "/api/v1/policies/web", "", True),
        ("POST", "/api/v1/trace", "", True),
        ("PUT", "/api/v1/policies/web", "dry_run=true", True),
        ("PUT", "/api/v1/policies/web", "tenant=a&dry_run=YES", True),
        ("POST", "/api/v1/revisions/1/rollback", "dry_run=1", True),
        ("PUT", "/api/v1/policies/web", "", False),
        ("PUT", "/api/v1/policies/web", "dry_run=false", False),
        ("PUT", "/api/v1/policies/web", "dry_run=true&dry_run=false", False),
        ("PUT", "/api/v1/policies/web", "dry_run=true&dry_run=", False),
        ("PUT", "/api/v1/policies/web", "dry_run", False),
        ("DELETE", "/api/v1/policies/web", "DRY_RUN=true", False),
        ("POST", "/api/v1/policies", "", False),
        ("POST", "/api/v1/trace/", "", False),
        ("PUT", "/api/v1/trace", "", False),
        ("PATCH", "/api/v1/hosts", "", False),
    ],
)
def test_to_read_is_not_to_write(access: Access, method: str, path: str, query: str, may: bool) -> None:
    assert status(access, asked(method, path, query, SECRET)) == (200 if may else 403)
    assert status(access, asked(method, path, query, OTHER)) == 200


def test_a_refusal_names_the_scope_and_not_the_token(access: Access) -> None:
    request = asked("PUT", token=SECRET)
    with pytest.raises(Refused) as error:
        check_scope(access.who(request), request)
    assert "'viewer'" in error.value.detail
    assert "'write'" in error.value.detail
    assert SECRET not in error.value.detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mapping of tokens"),
        ("- a", "mapping of tokens"),
        ("a: [", ":1:5: this is not YAML"),
        ("a: {scope: read}", "with `token` or `token_sha256`"),
        (f"a: {{token: {SECRET}, token_sha256: x, scope: read}}", "with `token` or `token_sha256`"),
        (f"a: {{token: {SECRET}, scope: all}}", "choose read or write"),
        (f"a: {{token: {SECRET}, scope: read, expires: never}}", "with `token`"),
        ("a: {token: short, scope: read}", "openssl rand"),
        ("a: {token: 12345678901234567890, scope: read}", "in quotation marks"),
        ("a: {token_sha256: 12, scope: read}", "64 hexadecimal digits"),
        (f"loopback: {{token: {SECRET}, scope: read}}", "a token's name"),
        (f"'a b': {{token: {SECRET}, scope: read}}", "a token's name"),
        (f"1: {{token: {SECRET}, scope: read}}", "a token's name"),
        (f"a: {{token: {SECRET}, scope: read}}\nb: {{token: {SECRET}, scope: write}}", "a and b are the same token"),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TokensError) as error:
        read_tokens(written(tmp_path, text))
    assert says in str(error.value)
    assert "tokens.yaml" in str(error.value)
    assert SECRET not in str(error.value)


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    text = f"a: {{token: {SECRET}, scope: read}}"
    for mode in (0o644, 0o604, 0o602):
        with pytest.raises(TokensError, match="chmod 600"):
            read_tokens(written(tmp_path, text, mode))
    assert read_tokens(written(tmp_path, text, 0o640))[0].name == "a"  # a group that is meant to
    with pytest.raises(TokensError, match="No such file"):
        read_tokens(str(tmp_path / "nothing"))


def test_read_again(tmp_path: Path) -> None:
    file = written(tmp_path, f"a: {{token: {SECRET}, scope: read}}")
    access = Access(None, file)
    assert access.knows("a")
    written(tmp_path, f"b: {{token: {OTHER}, scope: read}}")
    access.reload()
    assert (access.knows("a"), access.knows("b")) == (False, True)
    assert status(access, asked(token=SECRET)) == 401
    written(tmp_path, "broken: [")
    with pytest.raises(TokensError):
        access.reload()
    assert status(access, asked(token=OTHER)) == 200
    os.unlink(file)
    with pytest.raises(TokensError):
        access.reload()
    assert not access.open
    assert status(access, asked()) == 401


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "[::1]:8080"}, True),
        ({"host": "evil.example:8080"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": ""}, False),
        ({"origin": "http://127.0.0.1:8080"}, True),
        ({"origin": "http://127.0.0.1:9999"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"site": "cross-site"}, False),
        ({"site": "same-origin"}, True),
        ({"site": "none"}, True),
    ],
)
def test_without_tokens_this_machines_programs_may_and_no_web_page(headers: dict[str, str], may: bool) -> None:
    access = Access()
    assert access.open
    assert access.knows("loopback")
    assert status(access, asked("POST", **headers)) == (200 if may else 403)


def test_with_a_token_names_do_not_matter(access: Access) -> None:
    assert status(access, asked(token=SECRET, host="controller.example", origin="https://x")) == 200

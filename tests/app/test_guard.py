"""What requests pass before a path sees them, over real HTTP: tokens, limits, keys, and what is written of them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_rest import POLICY, files, problem

from controller_app.api import limits
from controller_app.api.audit import FILE
from controller_app.api.server import ApiError
from controller_app.runtime import changing
from controller_app.runtime.control import Runtime
from controller_app.settings import Settings, SettingsError

READER, WRITER = "a-token-to-read-with", "a-token-to-write-with"
TOKENS = f"viewer: {{token: {READER}, scope: read}}\nci: {{token: {WRITER}, scope: write}}\n"
URL = "/api/v1/policies/extra"
EXTRA = "version: 1\nnetworks: {extra: {subnet: 10.99.0.0/24}}\n"


@dataclass
class Guarded:
    """A controller that wants tokens."""

    runtime: Runtime
    path: Path
    tokens: Path

    def client(self, token: str | None = None, **headers: str) -> httpx.Client:
        host, port = self.runtime.api_address
        more = headers if token is None else {"Authorization": f"Bearer {token}", **headers}
        return httpx.Client(base_url=f"http://{host}:{port}", headers=more, trust_env=False, timeout=20)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "state" / FILE).read_text().splitlines()]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    path = tmp_path_factory.mktemp("guarded")
    tokens = path / "tokens.yaml"
    tokens.write_text(TOKENS)
    tokens.chmod(0o600)
    runtime = Runtime(replace(files(path), state=str(path / "state"), api_tokens=str(tokens)))
    runtime.start()
    yield Guarded(runtime, path, tokens)
    runtime.close()


def test_scopes(guarded: Guarded) -> None:
    reader, writer = guarded.client(READER), guarded.client(WRITER)
    assert reader.get("/api/v1/hosts").status_code == 200
    assert reader.put(f"{URL}?dry_run=true", content=EXTRA).status_code == 200
    assert reader.post("/api/v1/trace", json={"from": "h1", "to": "100.1.1.3", "dport": 8080}).status_code == 200
    for method, path in (("PUT", URL), ("DELETE", URL), ("POST", "/api/v1/policies")):
        assert "'viewer'" in problem(reader.request(method, path, content=EXTRA), 403)["detail"]
    assert reader.get(URL).status_code == 404
    assert writer.put(URL, content=EXTRA).status_code == 200
    assert writer.delete(URL).status_code == 200
    answer = guarded.client("not-a-token-at-all").get("/api/v1/hosts")
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_what_changes_or_is_refused_is_written_down(guarded: Guarded) -> None:
    reader, writer = guarded.client(READER), guarded.client(WRITER)
    before = len(guarded.audited())
    writer.get("/api/v1/hosts")
    writer.put(f"{URL}?dry_run=true", content=EXTRA)
    done = writer.put(URL, content=EXTRA)
    reader.delete(URL)
    writer.put(URL, content="version: [")
    guarded.client().get("/api/v1/hosts")
    writer.delete(URL, headers={"If-Match": '"old"'})
    writer.delete(URL)
    found = guarded.audited()[before:]
    assert [(line.get("who"), line["method"], line["status"]) for line in found] == [
        ("ci", "PUT", 200),
        ("viewer", "DELETE", 403),
        ("ci", "PUT", 422),
        (None, "GET", 401),
        ("ci", "DELETE", 412),
        ("ci", "DELETE", 200),
    ]
    assert found[0]["revision"] == done.json()["revision"]
    assert found[0]["change"] == done.headers["chainsteer-change"]
    assert found[0]["from"].startswith("127.0.0.1:")
    text = (guarded.path / "state" / FILE).read_text()
    assert READER not in text
    assert WRITER not in text
    assert "subnet" not in text


def test_who_changed_it_is_in_the_history(guarded: Guarded) -> None:
    guarded.client(WRITER).put(URL, content=EXTRA + "# by ci\n")
    assert guarded.client(READER).get("/api/v1/revisions").json()["revisions"][0]["who"] == "ci"


def test_nobody_says_for_himself_where_he_is(guarded: Guarded) -> None:
    guarded.client(None, **{"X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4"}).get("/api/v1/hosts")
    assert guarded.audited()[-1]["from"].startswith("127.0.0.1:")


def test_tokens_are_read_again_at_sighup(guarded: Guarded) -> None:
    late = guarded.client("a-token-that-came-later")
    assert late.get("/api/v1/hosts").status_code == 401
    try:
        guarded.tokens.write_text(TOKENS + "late: {token: a-token-that-came-later, scope: read}\n")
        guarded.runtime.reload()
        assert late.get("/api/v1/hosts").status_code == 200
        guarded.tokens.write_text("broken: [")
        guarded.runtime.reload()
        assert late.get("/api/v1/hosts").status_code == 200
    finally:
        guarded.tokens.write_text(TOKENS)
        guarded.runtime.reload()
    assert late.get("/api/v1/hosts").status_code == 401


def test_elsewhere_needs_tokens(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="--api-tokens"):
        Runtime(Settings(api_listen="0.0.0.0:0"))
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(TOKENS)
    tokens.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        Runtime(Settings(api_listen="0.0.0.0:0", api_tokens=str(tokens)))
    tokens.chmod(0o600)
    Runtime(Settings(api_listen="0.0.0.0:0", api_tokens=str(tokens))).close()


def test_too_often(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGES", 0.1)
    monkeypatch.setattr(limits, "CHANGES_BURST", 2.0)
    with guarded.client(WRITER) as client:
        answers = [client.delete("/api/v1/policies/nobody") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [404, 404, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
        assert "several policies as one change" in problem(answers[-1], 429)["detail"]
        assert client.get("/api/v1/policies").status_code == 200  # looking is counted apart
    monkeypatch.setattr(limits, "STRANGERS_BURST", 1.0)
    monkeypatch.setattr(limits, "STRANGERS", 0.1)
    strangers = [guarded.client("no").get("/api/v1/hosts").status_code for _ in range(3)]
    assert strangers[-1] == 429
    assert guarded.client(READER).get("/api/v1/hosts").status_code == 200


@pytest.mark.parametrize("path", [URL, "/api/v1/networks/extra", "/api/v1/policies", "/api/v1/trace"])
def test_too_large_on_every_path(guarded: Guarded, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    with guarded.client(WRITER) as client:
        method = "POST" if path.endswith(("policies", "trace")) else "PUT"
        problem(client.request(method, path, content=b" " * 1001), 413)
        pieces = (b" " * 100 for _ in range(11))  # without a length
        problem(client.request(method, path, content=pieces), 413)


def test_too_slow(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_TIME", 0.2)
    with socket.create_connection(guarded.runtime.api_address, timeout=10) as connection:
        head = f"PUT {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nContent-Length: 100\r\n\r\nversion"
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


# -- keys --------------------------------------------------------------------------------------------------


def test_a_key_makes_a_change_once(guarded: Guarded) -> None:
    client = guarded.client(WRITER)
    client.put(URL, content=EXTRA)
    key = {"Idempotency-Key": '"one"'}
    first = client.delete(URL, headers=key)
    again = client.delete(URL, headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["chainsteer-change"] == first.headers["chainsteer-change"]
    assert guarded.audited()[-1]["replayed"] is True
    assert client.delete(URL).status_code == 404
    assert "another request" in problem(client.put(URL, content=EXTRA, headers=key), 422)["detail"]
    assert guarded.client(READER).put(f"{URL}?dry_run=1", content=EXTRA, headers=key).status_code == 200  # not his
    problem(client.put(URL, content=EXTRA, headers={"Idempotency-Key": '"'}), 400)
    assert client.get(URL, headers=key).status_code == 404  # for what is only read it means nothing


def test_a_key_of_a_change_that_is_being_made(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    going, go_on = threading.Event(), threading.Event()
    make = changing.make

    def slow(*arguments: Any) -> Any:
        going.set()
        assert go_on.wait(10)
        return make(*arguments)

    monkeypatch.setattr(changing, "make", slow)
    key = {"Idempotency-Key": "two"}
    answers: list[httpx.Response] = []
    thread = in_thread(lambda: answers.append(guarded.client(WRITER).put(URL, content=EXTRA, headers=key)))
    assert going.wait(10)
    answer = guarded.client(WRITER).put(URL, content=EXTRA, headers=key)
    problem(answer, 409)
    assert answer.headers["retry-after"] == "1"
    go_on.set()
    thread.join(20)
    assert answers[0].status_code == 200
    assert guarded.client(WRITER).put(URL, content=EXTRA, headers=key).headers["idempotency-replayed"] == "true"


def test_who_goes_away_is_answered_when_he_comes_back(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    going, go_on = threading.Event(), threading.Event()
    make = changing.make

    def slow(*arguments: Any) -> Any:
        going.set()
        assert go_on.wait(10)
        return make(*arguments)

    monkeypatch.setattr(changing, "make", slow)
    body = (EXTRA + "# three\n").encode()
    with socket.create_connection(guarded.runtime.api_address, timeout=10) as connection:
        head = (
            f"PUT {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nIdempotency-Key: three\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        assert going.wait(10)
    go_on.set()
    client, key = guarded.client(WRITER), {"Idempotency-Key": "three"}
    deadline = time.monotonic() + 10
    while (answer := client.put(URL, content=body, headers=key)).status_code == 409 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.status_code == 200
    assert answer.headers["idempotency-replayed"] == "true"
    assert client.get("/api/v1/revisions?limit=1").json()["revisions"][0]["number"] == answer.json()["revision"]


def test_a_fault_of_ours_is_a_problem_too_and_frees_the_key(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret details")

    key = {"Idempotency-Key": "four"}
    with monkeypatch.context() as patched:
        patched.setattr(changing, "make", broken)
        found = problem(guarded.client(WRITER).put(URL, content=EXTRA, headers=key), 500)
    assert "secret details" not in found["detail"]
    assert guarded.audited()[-1]["status"] == 500
    answer = guarded.client(WRITER).put(URL, content=EXTRA, headers=key)
    assert answer.status_code == 200
    assert "idempotency-replayed" not in answer.headers


def in_thread(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


# -- two people --------------------------------------------------------------------------------------------


def test_two_people_do_not_overwrite_each_other(guarded: Guarded) -> None:
    client = guarded.client(WRITER)
    made = client.put(URL, content=EXTRA)
    tag = made.headers["etag"]
    assert made.json()["etag"] == tag
    assert client.get(URL).headers["etag"] == tag
    assert client.get(URL, headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
    listed = {item["name"]: item["etag"] for item in client.get("/api/v1/policies").json()["policies"]}
    assert listed["extra"] == tag
    theirs = client.put(URL, content=EXTRA + "# theirs\n", headers={"If-Match": tag})
    assert theirs.status_code == 200
    answer = client.put(URL, content=EXTRA + "# mine\n", headers={"If-Match": tag})
    found = problem(answer, 412)
    assert found["etag"] == answer.headers["etag"] == theirs.headers["etag"]
    assert "changed last by ci at 20" in found["detail"]
    assert "--if-match" in found["command"]
    problem(client.put(f"{URL}?dry_run=true", content=EXTRA, headers={"If-Match": tag}), 412)
    problem(client.delete(URL, headers={"If-Match": tag}), 412)
    problem(client.put(URL, content=EXTRA, headers={"If-None-Match": "*"}), 412)
    problem(client.put(URL, content=EXTRA, headers={"If-Match": f"W/{theirs.headers['etag']}"}), 412)
    assert client.get(URL).text == EXTRA + "# theirs\n"
    assert client.put(URL, content=EXTRA, headers={"If-Match": f'"x", {found["etag"]}'}).status_code == 200
    assert client.delete(URL, headers={"If-Match": "*"}).status_code == 200
    gone = problem(client.put(URL, content=EXTRA, headers={"If-Match": "*"}), 412)
    assert "there is no policy 'extra'" in gone["detail"]
    problem(client.delete(URL, headers={"If-Match": "*"}), 404)
    assert client.put(URL, content=EXTRA, headers={"If-None-Match": "*"}).status_code == 200


@pytest.mark.parametrize("value", ["", "x", '"x', '"a" "b"', ",", 'w/"a"', '"a", x', "*, *"])
def test_what_is_no_condition(guarded: Guarded, value: str) -> None:
    problem(guarded.client(WRITER).put(URL, content=EXTRA, headers={"If-Match": value}), 400)


def test_a_condition_that_nobody_looks_at_is_refused(guarded: Guarded) -> None:
    answer = guarded.client(WRITER).post("/api/v1/policies", json={"policies": {}}, headers={"If-Match": "*"})
    assert "POST /api/v1/policies" in problem(answer, 400)["detail"]


def test_an_object_is_edited_in_a_policy_that_nobody_else_changed(guarded: Guarded) -> None:
    client = guarded.client(WRITER)
    before = client.get("/api/v1/endpoints/web1").json()["etag"]
    assert before == client.get("/api/v1/policies/campus").headers["etag"]
    done = client.post("/api/v1/endpoints/web1/labels", content='["release=new"]', headers={"If-Match": before})
    assert done.json()["etag"] == client.get("/api/v1/policies/campus").headers["etag"] != before
    # whoever read the policy before the label came does not take it away again
    problem(client.put("/api/v1/policies/campus", content=POLICY, headers={"If-Match": before}), 412)
    old = {"If-Match": before}
    problem(client.post("/api/v1/endpoints/web1/labels", content='["release-"]', headers=old), 412)
    problem(client.put("/api/v1/endpoints/web1/drain", headers=old), 412)
    problem(client.delete("/api/v1/endpoints/web1/drain", headers=old), 412)
    problem(client.put("/api/v1/networks/clients", content="{subnet: 10.1.0.0/24}", headers=old), 412)
    problem(client.delete("/api/v1/networks/clients", headers=old), 412)
    assert "release: new" in client.get("/api/v1/policies/campus").text
    assert client.put("/api/v1/policies/campus", content=POLICY).status_code == 200


def test_of_many_at_the_same_time_one_comes_first(guarded: Guarded) -> None:
    tag = guarded.client(WRITER).put(URL, content=EXTRA).headers["etag"]
    statuses: list[int] = []

    def one(number: int) -> None:
        text = EXTRA + f"# {number}\n"
        statuses.append(guarded.client(WRITER).put(URL, content=text, headers={"If-Match": tag}).status_code)

    threads = [in_thread(lambda number=number: one(number)) for number in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [200] + [412] * 7

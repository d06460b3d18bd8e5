"""The controller's REST interface, as a client sees it. Every error is one clear line."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from controller_app.cli.common import Failure, controller_url, token_of

if TYPE_CHECKING:
    import httpx

TIMEOUT = 90.0  # seconds; the controller itself waits for its switches
LONG = 3600.0  # seconds, for what takes as long as a network is large
SILENCE = 40.0  # seconds without an event, or word that there was none, until a stream of events counts as broken

_POLICY = re.compile(r"(?!.*\.(?:yaml|yml|json)\Z)[A-Za-z0-9][A-Za-z0-9._-]*\Z")  # a policy's name, and no file's
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d+)?\Z")


class Client:
    """Speaks to one controller."""

    def __init__(self, controller: str | None, token: str | None) -> None:
        self.url = _checked(controller_url(controller))
        self.files: dict[str, str] = {}  # policy name -> the file it was read from, for positions
        self.patience = TIMEOUT
        self._token = token_of(token)

    def get(self, path: str, **query: Any) -> Any:
        """A JSON document."""
        return self._json("GET", path, query)

    def get_text(self, path: str, **query: Any) -> str:
        """A text."""
        return self._send("GET", path, query, None, {})[1]

    def put(self, path: str, text: str, if_match: str | None = None, **query: Any) -> Any:
        """Put a policy's text; the answer is a JSON document. if_match: only where it has this entity tag."""
        return self._json("PUT", path, query, text.encode(), "application/yaml", if_match)

    def post(self, path: str, body: Mapping[str, Any] | Sequence[Any], **query: Any) -> Any:
        """Post a JSON document; so is the answer."""
        import json

        return self._json("POST", path, query, json.dumps(body).encode(), "application/json")

    def delete(self, path: str, if_match: str | None = None, **query: Any) -> Any:
        """Delete something; the answer is a JSON document."""
        return self._json("DELETE", path, query, if_match=if_match)

    def lines(self, path: str, headers: Mapping[str, str], **query: Any) -> Iterator[str]:
        """The lines of an answer as they come. ConnectionError where the connection breaks."""
        import httpx

        try:
            # What is too long silent is broken.
            with (
                httpx.Client(trust_env=False, timeout=httpx.Timeout(SILENCE, connect=5)) as client,
                client.stream("GET", f"{self.url}/api/v1{path}", params=query,
                              headers={**headers, **self._authorization()}) as answer,
            ):  # fmt: skip
                if not answer.is_success:
                    answer.read()
                    raise Failure(_problem(answer.text, answer.status_code, f"{self.url}/api/v1{path}", self.files))
                yield from answer.iter_lines()
        except httpx.ConnectError as error:
            raise ConnectionError(self._unreachable(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionError(f"the connection to the controller at {self.url} broke: {error}") from None

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: bytes | None = None,
        kind: str | None = None,
        if_match: str | None = None,
    ) -> Any:
        import json

        headers = {} if kind is None else {"Content-Type": kind}
        if if_match is not None:
            headers["If-Match"] = if_match if if_match == "*" or '"' in if_match else f'"{if_match}"'
        where, text = self._send(method, path, query, body, headers)
        try:
            return json.loads(text)
        except ValueError:
            raise Failure(f"{where} answered something that is not JSON: is this a Chainsteer controller?") from None

    def _send(
        self, method: str, path: str, query: Mapping[str, Any], body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[str, str]:
        import httpx

        where = f"{self.url}/api/v1{path}"
        # Its own key for each call: sent again, because its answer got lost, it is answered again and not done again.
        key = {} if method == "GET" else {"Idempotency-Key": f'"{uuid.uuid4()}"'}
        try:
            # Its own address is all that is needed: a proxy of the environment would only be in the way.
            with httpx.Client(trust_env=False, timeout=httpx.Timeout(self.patience, connect=5)) as client:
                request = client.build_request(
                    method,
                    where,
                    params={k: v for k, v in query.items() if v is not None},
                    content=body,
                    headers={**headers, **key, **self._authorization()},
                )
                try:
                    answer = client.send(request)
                except (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError):
                    answer = _again(client, request)
        except httpx.TimeoutException:
            raise Failure(f"the controller at {self.url} does not answer") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Failure(self._unreachable(error)) from None
        if answer.is_success:
            return where, answer.text
        raise Failure(_problem(answer.text, answer.status_code, where, self.files))

    def _authorization(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def _unreachable(self, error: Exception) -> str:
        return (
            f"the controller at {self.url} cannot be reached ({error}); is chain-manager running? "
            "--controller or CHAINCTL_URL say where"
        )


def _again(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """The answer to a request whose connection broke, once it is there: the first may still be worked on (409 that
    says when to ask again; no other 409 does)."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        answer = client.send(request)
        wait = answer.headers.get("Retry-After", "")
        if answer.status_code != 409 or not wait.isdigit() or time.monotonic() + int(wait) > deadline:
            return answer
        time.sleep(int(wait))


def place(item: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Where a problem or warning is; in a policy that was read from a file, in that file."""
    return f"{files.get(item['file'], item['file'])}:{max(1, item['line'])}:{max(1, item['column'])}"


def unseen(items: Iterable[Mapping[str, Any]], files: Mapping[str, str]) -> list[str]:
    """How to look at policies that places are in and that nobody here read from a file."""
    names = dict.fromkeys(item["file"] for item in items if item["file"] not in files and _POLICY.match(item["file"]))
    return [f"{name} is a policy that the controller keeps: chainctl get policies {name} shows it" for name in names]


def _checked(url: str) -> str:
    """A controller's address. Failure where it is none."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0):
            return url
    except ValueError:
        pass
    guess = f"http://{url}" if _HOST.match(url) else "http://127.0.0.1:8080"
    raise Failure(f"{url!r} is not a controller's address (--controller, CHAINCTL_URL): write it like {guess}")


def _problem(text: str, status: int, where: str, files: Mapping[str, str]) -> str:
    """What a problem document says (RFC 9457): its diagnostics one a line, or its detail."""
    import json

    try:
        document = json.loads(text)
        problems = document.get("problems") or []
        if problems:
            lines = [f"{place(item, files)}: {item['path']}: {item['what']}; {item['remedy']}" for item in problems]
            return "\n".join(lines + unseen(problems, files))
        return f"{document['title']}: {document.get('command', document['detail'])}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{where} answered with status {status}: is this a Chainsteer controller?"

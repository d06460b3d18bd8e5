"""The controller's REST interface, as a client sees it. Every error is one clear line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller_app.cli.common import Failure, controller_url, token_of

TIMEOUT = 90.0  # seconds; the controller itself waits for its switches


class Client:
    """Speaks to one controller."""

    def __init__(self, controller: str | None, token: str | None) -> None:
        self.url = controller_url(controller)
        self.files: dict[str, str] = {}  # policy name -> the file it was read from, for positions
        self._token = token_of(token)

    def get(self, path: str, **query: Any) -> Any:
        """A JSON document."""
        return self._json("GET", path, query)

    def get_text(self, path: str) -> str:
        """A text."""
        return self._send("GET", path, {}, None, None)[1]

    def put(self, path: str, text: str, **query: Any) -> Any:
        """Put a policy's text; the answer is a JSON document."""
        return self._json("PUT", path, query, text.encode(), "application/yaml")

    def post(self, path: str, body: Mapping[str, Any] | Sequence[Any], **query: Any) -> Any:
        """Post a JSON document; so is the answer."""
        import json

        return self._json("POST", path, query, json.dumps(body).encode(), "application/json")

    def delete(self, path: str, **query: Any) -> Any:
        """Delete something; the answer is a JSON document."""
        return self._json("DELETE", path, query)

    def _json(
        self, method: str, path: str, query: Mapping[str, Any], body: bytes | None = None, kind: str | None = None
    ) -> Any:
        import json

        where, text = self._send(method, path, query, body, kind)
        try:
            return json.loads(text)
        except ValueError:
            raise Failure(f"{where} answered something that is not JSON: is this a Chainsteer controller?") from None

    def _send(
        self, method: str, path: str, query: Mapping[str, Any], body: bytes | None, kind: str | None
    ) -> tuple[str, str]:
        import httpx

        where = f"{self.url}/api/v1{path}"
        headers = {} if kind is None else {"Content-Type": kind}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            # Its own address is all that is needed: a proxy of the environment would only be in the way.
            with httpx.Client(trust_env=False, timeout=httpx.Timeout(TIMEOUT, connect=5)) as client:
                answer = client.request(
                    method,
                    where,
                    params={k: v for k, v in query.items() if v is not None},
                    content=body,
                    headers=headers,
                )
        except httpx.TimeoutException:
            raise Failure(f"the controller at {self.url} does not answer") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Failure(
                f"the controller at {self.url} cannot be reached ({error}); is chain-manager running? "
                "--controller or CHAINCTL_URL say where"
            ) from None
        if answer.is_success:
            return where, answer.text
        raise Failure(_problem(answer.text, answer.status_code, where, self.files))


def _problem(text: str, status: int, where: str, files: Mapping[str, str]) -> str:
    """What a problem document says (RFC 9457): its diagnostics one a line, or its detail."""
    import json

    try:
        document = json.loads(text)
        problems = document.get("problems") or []
        if problems:
            return "\n".join(
                f"{files.get(item['file'], item['file'])}:{item['line']}:{item['column']}: {item['path']}: "
                f"{item['what']}; {item['remedy']}"
                for item in problems
            )
        return f"{document['title']}: {document['detail']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{where} answered with status {status}: is this a Chainsteer controller?"

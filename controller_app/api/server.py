"""The REST interface under /api/v1, and the thread that serves it."""

from __future__ import annotations

import hmac
import logging
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Annotated, Any

import uvicorn
from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from controller_app.api import index, link_views, objects, service_metrics, steering_views, tenants, views
from controller_app.api.changes import change, read_body
from controller_app.api.problems import Refused, document, install
from controller_app.api.removal import check_policy_unused
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent
from controller_app.runtime.live_trace import live_trace
from controller_app.settings import SettingsError
from controller_app.verification.trace import PacketSpec, TraceError

LOG = logging.getLogger(__name__)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class ApiError(SettingsError):
    """The server cannot be started; the text says why and what to do."""


class PoliciesRequest(BaseModel):
    """Several policies at once, by name, each as YAML or JSON text."""

    model_config = ConfigDict(extra="forbid")

    policies: dict[str, str]


class TraceRequest(BaseModel):
    """The packet to trace."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    source: Annotated[str, Field(alias="from")]
    to: str
    proto: str = "tcp"
    sport: Annotated[int, Field(ge=0, le=65535)] = 40000
    dport: Annotated[int, Field(ge=0, le=65535)] = 80


def create_app(runtime: Runtime, token: str | None = None) -> FastAPI:
    """The application. With a token every request but the health checks has to carry it."""
    app = FastAPI(
        title="Chainsteer", version="1", openapi_url="/openapi.json", docs_url=None, redoc_url=None,
        dependencies=[Depends(index.check_parameters)],
    )  # fmt: skip
    install(app)
    index.install(app)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path.startswith("/api/"):
            if token is not None:
                given = request.headers.get("authorization", "")
                if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                    response = document(
                        401,
                        "No token, or the wrong one",
                        "send the controller's token: chainctl --token, or CHAINCTL_TOKEN",
                    )
                    response.headers["WWW-Authenticate"] = "Bearer"
                    return response
            elif not is_loopback(_host_of(request.headers.get("host", ""))):
                # A web page whose name was pointed at this machine must not speak for its user.
                return document(
                    403,
                    "Not a name of this machine",
                    "without a token, address the controller as 127.0.0.1, [::1] or localhost",
                )
        return await call_next(request)

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthy() -> str:
        """The control thread answers."""
        runtime.call(lambda _: None)
        return "ok\n"

    @app.get("/readyz", response_model=None)
    def ready() -> Response:
        """Every connected switch holds what it should, and that fits the network as it is."""
        missing, problem = runtime.call(lambda c: (c.unconfirmed(), c.problem))
        if missing or problem:
            said = problem or f"switches not in sync: {', '.join(missing)}"
            return document(503, "Not ready", said)
        return PlainTextResponse("ok\n")

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Counters for Prometheus."""
        return PlainTextResponse(runtime.call(_metrics), media_type="text/plain; version=0.0.4")

    @app.get("/api/v1/policies/{name}", response_class=PlainTextResponse)
    def get_policy(name: str) -> Response:
        """A policy as it was applied."""
        text = runtime.call(lambda c: c.intent.text(name))
        if text is None:
            raise _no_policy(name)
        return PlainTextResponse(text, media_type="application/yaml")

    @app.put("/api/v1/policies/{name}")
    async def put_policy(name: str, request: Request, dry_run: bool = False) -> dict[str, Any]:
        """Apply a policy (YAML or JSON). Answers when every connected switch confirmed, or says which has
        not."""
        _check_name(name)
        text = await read_body(request)
        return await run_in_threadpool(
            change, runtime, lambda intent: intent.put({name: text}), f"apply {name}", dry_run
        )

    @app.post("/api/v1/policies")
    def put_policies(wanted: Annotated[PoliciesRequest, Body()], dry_run: bool = False) -> dict[str, Any]:
        """Apply several policies as one change."""
        for name in wanted.policies:
            _check_name(name)
        return change(
            runtime,
            lambda intent: intent.put(wanted.policies),
            "apply " + ", ".join(wanted.policies),
            dry_run,
        )

    @app.delete("/api/v1/policies/{name}")
    def delete_policy(name: str, dry_run: bool = False) -> dict[str, Any]:
        """Take a policy away."""

        def without(intent: Intent) -> Intent:
            if name not in intent.names:
                raise _no_policy(name)
            check_policy_unused(intent, name)
            return intent.delete(name)

        return change(runtime, without, f"delete {name}", dry_run)

    @app.get("/api/v1/plan")
    def plan() -> dict[str, Any]:
        """What the policies as they are applied would still change on the switches: nothing, when all of
        them confirmed."""
        return runtime.call(_outstanding)

    @app.get("/api/v1/topology")
    def topology() -> dict[str, Any]:
        """Switches, usable links and hosts."""
        return runtime.call(views.topology)

    @app.get("/api/v1/labels")
    def labels() -> dict[str, Any]:
        """The names behind the numbers in labels, for reading captures."""
        return runtime.call(steering_views.labels)

    @app.get("/api/v1/flows")
    def flows(switch: str | None = None) -> dict[str, Any]:
        """The rules the switches are to hold."""

        def listed(conductor: Conductor) -> dict[str, Any]:
            if switch is not None and switch not in conductor.topology.switches:
                what = f"no switch is named {switch!r}"
                raise Refused(
                    404, "No such switch", f"{what}; see /api/v1/switches", f"{what}; see `chainctl get switches`"
                )
            return views.flows(conductor, switch)

        return runtime.call(listed)

    @app.post("/api/v1/trace")
    def trace(wanted: Annotated[TraceRequest, Body()]) -> dict[str, Any]:
        """A packet's way there and back, as the switches take it now."""
        try:
            target = ip_address(wanted.to)
        except ValueError:
            raise TraceError(f"{wanted.to!r} is not an IP address") from None
        return live_trace(
            runtime, PacketSpec(wanted.source, target, wanted.proto, wanted.sport, wanted.dport)
        )

    objects.install(app, runtime)
    for kind, view in views.KINDS.items():
        _add_kind(app, runtime, kind, view)
    return app


def _add_kind(app: FastAPI, runtime: Runtime, kind: str, view: Callable[[Conductor], dict[str, Any]]) -> None:
    def listed() -> dict[str, Any]:
        return runtime.call(view)

    def of_tenant(tenant: str | None = None) -> dict[str, Any]:
        if tenant is None:
            return runtime.call(view)
        return runtime.call(lambda conductor: tenants.only(view(conductor), kind, conductor.intent.policy, tenant))

    path, answer = f"/api/v1/{kind}", of_tenant if kind in tenants.KINDS else listed
    app.get(path, name=kind, description=view.__doc__)(answer)


def _no_policy(name: str) -> Refused:
    what = f"no policy is named {name!r}"
    return Refused(404, "No such policy", f"{what}; see /api/v1/policies", f"{what}; see `chainctl get policies`")


def _check_name(name: str) -> None:
    if not NAME.match(name):
        raise Refused(
            422,
            "Not a name",
            f"{name!r}: a policy's name has letters, digits, '.', '_' and '-', at "
            "most 63, and starts with a letter or digit",
        )


def _metrics(conductor: Conductor) -> str:
    return steering_views.metrics(conductor) + service_metrics.metrics(conductor) + link_views.metrics(conductor)


def _outstanding(conductor: Conductor) -> dict[str, Any]:
    changes = {}
    for dpid, conversation in conductor.conversations.items():
        outstanding = conversation.sync.outstanding
        if conversation.connected and outstanding:
            changes[conductor.name_of(dpid)] = outstanding.to_json()
    return {"changes": changes, "affected": {"chains": [], "services": []}, "verification": None}


# -- the thread --------------------------------------------------------------------------------------------


class ApiServer:
    """Serves the application in a thread of its own."""

    def __init__(self, runtime: Runtime, address: tuple[str, int], token: str | None = None) -> None:
        """Take the address (host, port) at once. ApiError when it is taken, or reachable by others without a
        token."""
        host, port = address
        if not is_loopback(host) and not token:
            raise ApiError(
                f"--api-listen {host}:{port} can be reached from elsewhere, so it needs a token: set "
                "CHAINCTL_TOKEN, or listen on 127.0.0.1"
            )
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ApiError(
                f"--api-listen {host}:{port}: {error.strerror or error}; see who uses the port with "
                "`ss -ltnp`, or choose another"
            ) from None
        config = uvicorn.Config(
            create_app(runtime, token or None),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Finish open requests and end."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception:
            # The network is steered on without its interface; a supervisor sees /healthz fail.
            LOG.exception("the REST interface ended")


def is_loopback(host: str) -> bool:
    """Is this a name or address of the machine itself that nobody else reaches?"""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header

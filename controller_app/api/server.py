"""The REST interface under /api/v1, and the thread that serves it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, Response
from fastapi.responses import PlainTextResponse

from controller_app.api import (
    counting,
    describing,
    events,
    index,
    link_views,
    objects,
    openapi,
    policies,
    preconditions,
    problems,
    revisions,
    service_metrics,
    steering_views,
    tenants,
    tracing,
    views,
)
from controller_app.api.access import Access, is_loopback
from controller_app.api.audit import Audit
from controller_app.api.connections import Limits, limited
from controller_app.api.guard import Guard
from controller_app.api.refused import Refused
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.settings import Settings, SettingsError

LOG = logging.getLogger(__name__)


class ApiError(SettingsError):
    """The server cannot be started; the text says why and what to do."""


class _Metrics(PlainTextResponse):
    """The text format of Prometheus."""

    media_type = "text/plain; version=0.0.4"


def create_app(runtime: Runtime, access: Access | None = None, audit: Audit | None = None) -> FastAPI:
    """The application. access: who may (without: whoever is on this machine); audit: where it is written down."""
    access, audit = access or Access(), audit or Audit(None)
    app = FastAPI(
        title="Chainsteer", version="1", openapi_url="/openapi.json", docs_url=None, redoc_url=None,
        dependencies=[Depends(index.check_parameters), Depends(preconditions.check_read)],
    )  # fmt: skip
    problems.install(app)
    index.install(app)
    app.add_middleware(Guard, runtime=runtime, access=access, audit=audit)

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthy() -> str:
        """The control thread answers."""
        runtime.call(lambda _: None)
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    def ready() -> Response:
        """Every connected switch holds what it should, and that fits the network as it is."""
        missing, problem = runtime.call(lambda c: (c.unconfirmed(), c.problem or c.unkept or c.shortfall.problem))
        if missing or problem:
            said = problem or f"switches not in sync: {', '.join(missing)}"
            return problems.document(503, "Not ready", said)
        return PlainTextResponse("ok\n")

    @app.get("/metrics", response_class=_Metrics)
    def metrics() -> Response:
        """Counters for Prometheus."""
        return _Metrics(runtime.call(_metrics))

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

    policies.install(app, runtime)
    objects.install(app, runtime)
    revisions.install(app, runtime)
    tracing.install(app, runtime)
    counting.install(app, runtime)
    describing.install(app, runtime)
    events.install(app, runtime, access)
    for kind, view in views.KINDS.items():
        _add_kind(app, runtime, kind, view)
    openapi.install(app)
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

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        """Take the address at once. ApiError when it is taken, or reachable by others without a token; SettingsError
        for a file of tokens that cannot be used."""
        host, port = settings.api_address
        self._events = runtime.events
        self._access = Access(settings.api_token, settings.api_tokens)
        if not is_loopback(host) and self._access.open:
            raise ApiError(
                f"--api-listen {host}:{port} can be reached from elsewhere, so it needs a token: set "
                "CHAINCTL_TOKEN, give --api-tokens FILE, or listen on 127.0.0.1"
            )
        self._audit = Audit(settings.state)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ApiError(
                f"--api-listen {host}:{port}: {error.strerror or error}; see who uses the port with "
                "`ss -ltnp`, or choose another"
            ) from None
        limits = Limits()
        config = uvicorn.Config(
            create_app(runtime, self._access, self._audit),
            http=limited(limits),
            ws="none",
            timeout_keep_alive=limits.idle,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # who asks is who connected: a header that anybody can write must not say otherwise
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

    def reload(self) -> None:
        """Read the tokens again. What cannot be used is said in the log, and those read before count on."""
        try:
            self._access.reload()
        except SettingsError as error:
            LOG.error("the tokens stay as they are: %s", error)

    def close(self) -> None:
        """Finish open requests and end."""
        self._events.end()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()
        self._audit.close()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception:
            # The network is steered on without its interface; a supervisor sees /healthz fail.
            LOG.exception("the REST interface ended")

"""What there is under /api/v1: its index, words about what is not there, and no parameter that nobody reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.routing import Match

from controller_app.api.refused import Refused
from controller_app.policy.diagnostics import nearest

ROOT = "/api/v1"
Document = dict[str, Any]


def install(app: FastAPI) -> None:
    """Add the index itself."""

    @app.get(ROOT)
    def index() -> Document:
        """What there is, with what each path does by method, and the parameters it reads."""
        return {"paths": paths(app), "openapi": "/openapi.json"}


def paths(app: FastAPI) -> list[Document]:
    """Every path, as it is written in the app, with its methods: what each does and the parameters it reads."""
    found: dict[str, Document] = {}
    for route in _routes(app):
        for method in sorted(_methods(route)):
            methods = found.setdefault(route.path, {"path": route.path, "methods": {}})["methods"]
            methods[method] = {"does": " ".join(route.description.split()), "parameters": _known(route)}
    return [found[path] for path in sorted(found)]


async def check_parameters(request: Request) -> None:
    """A dependency of every path: Refused for a query parameter that nobody reads, or that is given twice."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not route.path.startswith(ROOT):
        return
    known = _known(route)
    given = [name for name, _ in request.query_params.multi_items()]
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    where = f"{request.method} {route.path}"
    if unknown:
        takes = f"it takes {_list(known)}" if known else "it takes none"
        raise Refused(
            400,
            "No such parameter",
            f"{where} has no parameter {_list(map(repr, unknown), 'or')}; {takes}",
        )
    twice = next((name for name in known if given.count(name) > 1), None)
    if twice is not None:
        raise Refused(400, "A parameter twice", f"{where} takes {twice!r} once")


def not_found(request: Request) -> str:
    """What to say of a path that is not there."""
    asked = request.url.path
    every = [path["path"] for path in paths(request.app)]
    guess = nearest(asked.removeprefix(f"{ROOT}/"), [path.removeprefix(f"{ROOT}/") for path in every])
    near = next((path for path in every if path.removeprefix(f"{ROOT}/") == guess), None)
    meant = "" if near is None else f"did you mean {near}? "
    return f"there is nothing at {asked}; {meant}GET {ROOT} lists what there is"


def not_allowed(request: Request) -> tuple[str, list[str]]:
    """What to say of a method that a path has not, and the methods it has."""
    here = [route for route in _routes(request.app) if route.matches(request.scope)[0] is not Match.NONE]
    methods = sorted({method for route in here for method in _methods(route)})
    below = [f"{route.path}/{{name}}" for route in here]
    others = sorted(
        f"{method} {route.path}"
        for route in _routes(request.app)
        if route.path in below
        for method in _methods(route)
        if method not in methods
    )
    more = f"; there is {_list(others)}" if others else ""
    return f"{request.method} cannot be done with {request.url.path}, only {_list(methods)}{more}", methods


def _routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute) and route.include_in_schema]


def _methods(route: APIRoute) -> set[str]:
    return route.methods or set()


def _known(route: APIRoute) -> list[str]:
    return [field.alias for field in route.dependant.query_params]


def _list(words: Iterable[str], last: str = "and") -> str:
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end

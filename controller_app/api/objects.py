"""Networks, endpoints and services one by one, under /api/v1: each is put into, or taken out of, the policy that
owns it, and goes the way of every change of a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from controller_app.api import object_views, service_views
from controller_app.api.changes import change, read_body
from controller_app.api.problems import Refused
from controller_app.policy import editing
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent
from controller_app.runtime.service_stats import read_fresh

Answer = dict[str, Any]
Edit = Callable[[str, str], str | None]  # a policy's text and name -> its text afterwards, None: nothing is left
_VIEWS = {
    "networks": object_views.network,
    "endpoints": object_views.endpoint,
    "services": service_views.service,
}


def install(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes."""
    for section in editing.SECTIONS:
        _install(app, runtime, section)

    @app.post("/api/v1/endpoints/{name}/labels")
    async def set_labels(name: str, request: Request, tenant: str = "default", dry_run: bool = False) -> Answer:
        """Set labels of an endpoint and remove others. The body is a mapping of labels, in which null removes, or a
        list of `key=value` and `key-`."""
        changes = _labels(await read_body(request), f"labels of {name}")

        def edit(text: str, policy: str) -> str:
            return editing.label(text, policy, name, changes)

        what = f"label {name}"
        return await run_in_threadpool(_edit, runtime, ("endpoints", tenant, name), edit, what, dry_run)

    @app.put("/api/v1/endpoints/{name}/drain")
    def drain(name: str, deadline: str | None = None, tenant: str = "default", dry_run: bool = False) -> Answer:
        """Give an endpoint no new connections of services; after the deadline (such as 10m) end those it has."""

        def edit(text: str, policy: str) -> str:
            return editing.drain(text, policy, name, deadline or True)

        return _edit(runtime, ("endpoints", tenant, name), edit, f"drain {name}", dry_run)

    @app.delete("/api/v1/endpoints/{name}/drain")
    def undrain(name: str, tenant: str = "default", dry_run: bool = False) -> Answer:
        """Let an endpoint serve again."""

        def edit(text: str, policy: str) -> str:
            return editing.drain(text, policy, name, False)

        return _edit(runtime, ("endpoints", tenant, name), edit, f"undrain {name}", dry_run)


def _install(app: FastAPI, runtime: Runtime, section: str) -> None:
    one = section[:-1]

    async def put(
        name: str, request: Request, tenant: str = "default", new: bool = False, dry_run: bool = False
    ) -> Answer:
        definition = editing.read_object(await read_body(request), f"{one} {name}")

        def edit(intent: Intent) -> Intent:
            owner = intent.owner(tenant, section, name)
            policy = owner or editing.cli_policy(tenant)
            text = intent.text(policy) or editing.new_policy(tenant)
            after = editing.put_object(text, policy, tenant, section, name, definition)
            if new and owner is not None and after != text:
                raise Refused(
                    409,
                    f"There is such a {one}",
                    f"{one} {name!r}{_of(tenant)} is declared in policy {owner!r}, and not like that: remove it first, "
                    "or choose another name",
                )
            return intent if after == intent.text(policy) else intent.put({policy: after})

        return await run_in_threadpool(change, runtime, edit, f"put {one} {name}", dry_run)

    def delete(name: str, tenant: str = "default", dry_run: bool = False) -> Answer:
        def edit(text: str, policy: str) -> str | None:
            return editing.remove_object(text, policy, section, name)

        return _edit(runtime, (section, tenant, name), edit, f"delete {one} {name}", dry_run)

    def get(name: str, tenant: str = "default") -> Answer:
        if section == "services":
            read_fresh(runtime)

        def view(conductor: Conductor) -> Answer:
            found = _VIEWS[section](conductor, tenant, name)
            if found is None:
                raise _unknown(conductor.intent, section, tenant, name)
            return found

        return runtime.call(view)

    path = f"/api/v1/{section}/{{name}}"
    of = f"a {one} of a tenant"
    app.put(path, name=f"put {one}", description=f"Make {of} what the body (YAML or JSON) says.")(put)
    app.delete(path, name=f"delete {one}", description=f"Take {of} away.")(delete)
    app.get(path, name=f"get {one}", description=f"What is known of {of}.")(get)


def _edit(runtime: Runtime, which: tuple[str, str, str], edit: Edit, what: str, dry_run: bool) -> Answer:
    """Change the policy that declares an object; Refused when none does."""
    section, tenant, name = which

    def changed(intent: Intent) -> Intent:
        owner = intent.owner(tenant, section, name)
        text = None if owner is None else intent.text(owner)
        if owner is None or text is None:
            raise _unknown(intent, section, tenant, name)
        after = edit(text, owner)
        if after is None and owner == editing.cli_policy(tenant):
            return intent.delete(owner)
        after = after or editing.new_policy(tenant)
        return intent if after == text else intent.put({owner: after})

    return change(runtime, changed, what, dry_run)


def _labels(text: str, name: str) -> dict[str, str | None]:
    """The changes of a body."""
    if not text.lstrip().startswith(("[", "-")):
        return {key: None if value is None else _word(value) for key, value in editing.read_object(text, name).items()}
    words = editing.read_object(f"labels: {text}" if text.lstrip()[0] == "[" else f"labels:\n{text}", name)["labels"]
    try:
        return editing.read_labels(str(word) for word in words)
    except ValueError as error:
        raise Refused(422, "Not labels", str(error)) from None


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        raise Refused(422, "Not labels", "a label's value is one word; write key: value")
    return str(value)


def _unknown(intent: Intent, section: str, tenant: str, name: str) -> Refused:
    elsewhere = [other.name for other in intent.policy.tenants.values() if name in getattr(other, section)]
    one = section[:-1]
    what = f"no {one} is named {name!r}{_of(tenant)}"
    also = f"; tenant {', '.join(elsewhere)} has one" if elsewhere else f"; see /api/v1/{section}"
    return Refused(404, f"No such {one}", what + also)


def _of(tenant: str) -> str:
    return "" if tenant == "default" else f" in tenant {tenant}"

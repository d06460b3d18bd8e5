"""Networks, endpoints and services one by one, under /api/v1: each is put into, or taken out of, the policy that
owns it, and goes the way of every change of a policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from controller_app.api import object_views, service_views, tenants
from controller_app.api.bodies import LABELS_BODY, OBJECT_BODY, read_text
from controller_app.api.changes import CONFIRM_TIME, change
from controller_app.api.preconditions import Conditions, IfMatch, conditions, etag, explained
from controller_app.api.refused import Refused
from controller_app.api.removal import check_unused
from controller_app.policy import editing
from controller_app.reconcile.plan import plan
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent, source_name
from controller_app.runtime.service_stats import read_fresh

Answer = dict[str, Any]
Edit = Callable[[str, str], str | None]  # a policy's text and name -> its text afterwards, None: nothing is left
SETTLING = 2.0  # seconds until what follows from a drain, or its end, is computed
_VIEWS = {
    "networks": object_views.network,
    "endpoints": object_views.endpoint,
    "services": service_views.service,
}


def install(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes."""
    for section in editing.SECTIONS:
        _install(app, runtime, section)

    @app.post("/api/v1/endpoints/{name}/labels", openapi_extra=LABELS_BODY)
    async def set_labels(
        name: str, request: Request, tenant: str = "default", dry_run: bool = False, match: IfMatch = None
    ) -> Answer:
        """Set labels of an endpoint and remove others. The body is a mapping of labels, in which null removes, or a
        list of `key=value` and `key-`."""
        by = _By(request.state.who, conditions(match))
        changes = _labels(await read_text(request), f"labels of {name}")
        did: Answer = {}

        def edit(text: str, policy: str) -> str:
            return editing.label(text, policy, name, changes)

        def look(intent: Intent) -> None:
            did["labels"] = editing.label_changes(intent.policy.tenants[tenant].endpoints[name].labels, changes)

        which = ("endpoints", tenant, name)
        answer = await run_in_threadpool(_edit, runtime, which, edit, f"label {name}", dry_run, by, look)
        return {**answer, **did}

    @app.put("/api/v1/endpoints/{name}/drain")
    def drain(
        name: str,
        request: Request,
        deadline: str | None = None,
        tenant: str = "default",
        dry_run: bool = False,
        match: IfMatch = None,
    ) -> Answer:
        """Give an endpoint no new connections of services; after the deadline (such as 10m) end those it has."""
        if deadline is not None:
            _refuse_wrong("No time to drain", lambda: editing.check_deadline(deadline, name))

        def edit(text: str, policy: str) -> str:
            return editing.drain(text, policy, name, deadline or True)

        by = _By(request.state.who, conditions(match))
        return _drain(runtime, (tenant, name), edit, f"drain {name}", dry_run, by)

    @app.delete("/api/v1/endpoints/{name}/drain")
    def undrain(
        name: str, request: Request, tenant: str = "default", dry_run: bool = False, match: IfMatch = None
    ) -> Answer:
        """Let an endpoint serve again."""

        def edit(text: str, policy: str) -> str:
            return editing.drain(text, policy, name, False)

        by = _By(request.state.who, conditions(match))
        return _drain(runtime, (tenant, name), edit, f"undrain {name}", dry_run, by)


def _install(app: FastAPI, runtime: Runtime, section: str) -> None:
    one = section[:-1]

    async def put(
        name: str,
        request: Request,
        tenant: str = "default",
        new: bool = False,
        dry_run: bool = False,
        match: IfMatch = None,
    ) -> Answer:
        by = _By(request.state.who, conditions(match))
        definition = editing.read_object(await read_text(request), f"{one} {name}")
        _refuse_wrong(f"Not a {one}", lambda: editing.check_object(section, name, definition))
        did: Answer = {}

        def edit(intent: Intent) -> Intent:
            owner = intent.owner(tenant, section, name)
            policy = owner or editing.cli_policy(tenant)
            by.conditions.check(intent, policy)
            text = intent.text(policy) or editing.new_policy(tenant)
            after = editing.put_object(text, policy, tenant, section, name, definition)
            if new and owner is not None and after != text:
                raise Refused(
                    409,
                    f"There is such a {one}",
                    f"{one} {name!r}{tenants.of(tenant)} is declared in policy {owner!r}, and not like that: remove it "
                    "first, or choose another name",
                )
            made = intent if after == intent.text(policy) else intent.put({policy: after})
            return _edited(policy, intent, made, did, "created" if owner is None else "changed")

        answer = await run_in_threadpool(_change, runtime, edit, f"put {one} {name}", dry_run, by)
        return {**answer, **did}

    def delete(
        name: str, request: Request, tenant: str = "default", dry_run: bool = False, match: IfMatch = None
    ) -> Answer:
        def edit(text: str, policy: str) -> str | None:
            return editing.remove_object(text, policy, section, name)

        def look(intent: Intent) -> None:
            check_unused(intent, tenant, section, name)

        by = _By(request.state.who, conditions(match))
        return _edit(runtime, (section, tenant, name), edit, f"delete {one} {name}", dry_run, by, look)

    def get(name: str, tenant: str = "default") -> Answer:
        if section == "services":
            read_fresh(runtime)

        def view(conductor: Conductor) -> Answer:
            found = _VIEWS[section](conductor, tenant, name)
            if found is None:
                raise tenants.unknown(conductor.intent.policy, section, tenant, name)
            text = None if found["policy"] is None else conductor.intent.text(found["policy"])
            return {**found, "etag": None if text is None else etag(text)}

        return runtime.call(view)

    path = f"/api/v1/{section}/{{name}}"
    of = f"{'an' if one[0] in 'aeiou' else 'a'} {one} of a tenant"
    makes = f"Make {of} what the body (YAML or JSON) says."
    app.put(path, name=f"put {one}", openapi_extra=OBJECT_BODY, description=makes)(put)
    app.delete(path, name=f"delete {one}", description=f"Take {of} away.")(delete)
    app.get(path, name=f"get {one}", description=f"What is known of {of}.")(get)


@dataclass(frozen=True)
class _By:
    """Who asks for a change, and what the policy that declares the object has to be for it."""

    who: str
    conditions: Conditions


def _change(runtime: Runtime, edit: Callable[[Intent], Intent], what: str, dry_run: bool, by: _By) -> Answer:
    with explained(runtime):
        return change(runtime, edit, what, dry_run, by.who)


def _edit(
    runtime: Runtime,
    which: tuple[str, str, str],
    edit: Edit,
    what: str,
    dry_run: bool,
    by: _By,
    look: Callable[[Intent], None] = lambda intent: None,
) -> Answer:
    """Change the policy that declares an object; Refused when none does. look: at the policies before the change."""
    section, tenant, name = which
    did: Answer = {}

    def changed(intent: Intent) -> Intent:
        owner = intent.owner(tenant, section, name)
        text = None if owner is None else intent.text(owner)
        if owner is None or text is None:
            raise tenants.unknown(intent.policy, section, tenant, name)
        by.conditions.check(intent, owner)
        look(intent)
        after = edit(text, owner)
        if after is None and owner == editing.cli_policy(tenant):
            return _edited(owner, intent, intent.delete(owner), did)
        after = after or editing.new_policy(tenant)
        return _edited(owner, intent, intent if after == text else intent.put({owner: after}), did)

    return {**_change(runtime, changed, what, dry_run, by), **did}


def _edited(policy: str, before: Intent, after: Intent, did: Answer, outcome: str = "changed") -> Intent:
    """Note in `did` which policy was edited, its entity tag now, what places in it are called, and the outcome for the
    object."""
    stored, text = after.stored.get(policy), after.text(policy)
    source = None if stored is None else source_name(stored)
    tag = None if text is None else etag(text)
    did.update(policy=policy, etag=tag, source=source, outcome="unchanged" if after is before else outcome)
    return after


def _drain(runtime: Runtime, which: tuple[str, str], edit: Edit, what: str, dry_run: bool, by: _By) -> Answer:
    """An edit whose effect depends on the checks of providers, which follow it: answers when they did."""
    tenant, name = which
    before = runtime.call(lambda conductor: conductor.computed)
    answer = _edit(runtime, ("endpoints", tenant, name), edit, what, dry_run, by)
    if dry_run or answer["outcome"] == "unchanged":
        return answer
    after = _settled(runtime)
    if not answer["changes"]:
        done = plan(
            after.state, before.state, (after.policy, after.allocation), (before.policy, before.allocation)
        ).to_json(answer["verification"])
        waiting = runtime.wait_confirmed(CONFIRM_TIME)
        answer = {**answer, **done, "confirmed": not waiting, "waiting": waiting}
    return {**answer, "provides": runtime.call(lambda conductor: object_views.provides(conductor, tenant, name))}


def _settled(runtime: Runtime) -> Computed:
    """What the switches are to hold once the checks of providers have followed the policies."""

    def look(conductor: Conductor) -> tuple[bool, Computed]:
        followed = conductor.checking.unready is conductor.topology.unready
        return followed and conductor.topology.unready == conductor.computed.topology.unready, conductor.computed

    deadline = time.monotonic() + SETTLING
    while not (found := runtime.call(look))[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    return found[1]


def _refuse_wrong(title: str, check: Callable[[], None]) -> None:
    try:
        check()
    except ValueError as error:
        raise Refused(422, title, str(error)) from None


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

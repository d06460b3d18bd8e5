"""The one-liners' changes to policies: an object put, taken away, labelled or drained in the text of its policy.

Text in, text out; comments and order stay (see `text_edit`). Whether the result makes a policy is for who reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from controller_app.model.position import Diagnostic, PolicyError, Position
from controller_app.policy.text_edit import put, remove
from controller_app.policy.values import as_text
from controller_app.policy.yaml_positions import mapping_document

SECTIONS = ("networks", "endpoints", "services")  # what can be put by itself

_ADDRESS = re.compile(r"\s*(?:\d+(?:\.\d+){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)\s*\Z")  # without a prefix length
_NOTHING = re.compile(r"\s*0+(?:\.0*)?\s*[A-Za-z]*\s*\Z")


def cli_policy(tenant: str) -> str:
    """The name of the policy that takes a tenant's new objects: a file speaks for one tenant."""
    return "cli" if tenant == "default" else f"cli-{tenant}"


def new_policy(tenant: str) -> str:
    """A policy of a tenant without anything in it."""
    return "version: 1\n" if tenant == "default" else put("version: 1\n", cli_policy(tenant), ("tenant",), tenant)


def read_object(text: str, name: str) -> dict[str, Any]:
    """An object's definition in YAML or JSON, as it would stand in a policy: `{host: h3, labels: {tier: web}}`.

    `name` stands in positions. Raises PolicyError for what is no mapping.
    """
    return {key: _plain(value) for key, value in mapping_document(text, name).plain().items()}


def _plain(value: Any) -> Any:
    """Numbers with a fraction, or written in another way than with digits, as their text: that is what the language
    takes them for."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    text = as_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and text == str(int(value)):
        return int(value)
    return text


def put_object(
    text: str, policy: str, tenant: str, section: str, name: str, definition: Mapping[str, Any]
) -> str:
    """A policy's text with an object added, or made what the definition says.

    Raises PolicyError when the policy is another tenant's, or is written in a way that only people can change.
    """
    _check_tenant(text, policy, tenant)
    return put(text, policy, (section, name), definition)


def check_object(section: str, name: str, definition: Mapping[str, Any]) -> None:
    """Raises ValueError for what a policy may say and nobody means who writes one object: an address as the subnet of
    a network, which is that address alone."""
    subnets = definition.get("subnet") if section == "networks" else None
    for subnet in subnets if isinstance(subnets, list) else [subnets]:
        if isinstance(subnet, str) and _ADDRESS.match(subnet):
            length, alone = (64, 128) if ":" in subnet else (24, 32)
            raise ValueError(
                f"the subnet {subnet} of network {name!r} is without a prefix length; write {subnet}/{length}, or "
                f"{subnet}/{alone} where that one address is meant"
            )


def check_deadline(deadline: str, endpoint: str) -> None:
    """Raises ValueError for a time to drain that is none."""
    if _NOTHING.match(deadline):
        raise ValueError(
            f"{deadline} is no time to drain: write 1s or more, or no deadline where connections may end by "
            f"themselves; to end them at once, remove endpoint {endpoint!r}, or the labels it is chosen by"
        )


def label_changes(labels: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, list[str]]:
    """What changes of labels do to those there are: `set` and `same` as `key=value`, `removed` and `absent` keys."""
    found: dict[str, list[str]] = {"set": [], "same": [], "removed": [], "absent": []}
    for key, value in changes.items():
        if value is None:
            found["removed" if key in labels else "absent"].append(key)
        else:
            found["same" if labels.get(key) == value else "set"].append(f"{key}={value}")
    return found


def remove_object(text: str, policy: str, section: str, name: str) -> str | None:
    """A policy's text without an object that it has; None when nothing is left in it. Raises PolicyError."""
    text = remove(text, policy, (section, name))
    left = mapping_document(text, policy).plain().keys()
    return None if left <= {"version", "tenant"} and "#" not in text else text


def label(text: str, policy: str, endpoint: str, changes: Mapping[str, str | None]) -> str:
    """A policy's text with labels of an endpoint set, or removed where the value is None. Raises PolicyError."""
    path = ("endpoints", endpoint, "labels")
    for key, value in changes.items():
        if value is not None:
            text = put(text, policy, (*path, key), value)
        elif _has(text, policy, (*path, key)):
            text = remove(text, policy, (*path, key))
    return text


def drain(text: str, policy: str, endpoint: str, wanted: bool | str) -> str:
    """A policy's text in which an endpoint drains (True, or how long it may, such as `10m`), or does not (False).
    Raises PolicyError."""
    path = ("endpoints", endpoint, "drain")
    if wanted is not False:
        return put(text, policy, path, wanted)
    return remove(text, policy, path) if _has(text, policy, path) else text


def read_labels(words: Iterable[str]) -> dict[str, str | None]:
    """What `key=value` (set it) and `key-` (remove it) say. ValueError for a word that is neither, or a key twice."""
    changes: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            if not word.endswith("-"):
                raise ValueError(f"{word!r} is no change of a label; write key=value, or key- to remove it")
            key = word[:-1]
        if not key:
            raise ValueError(f"{word!r} names no label; write key=value, or key- to remove it")
        if key in changes:
            raise ValueError(f"label {key!r} is given twice; write it once")
        changes[key] = value if equals else None
    return changes


def _has(text: str, policy: str, path: tuple[str, ...]) -> bool:
    value = mapping_document(text, policy).plain()
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def _check_tenant(text: str, policy: str, tenant: str) -> None:
    document = mapping_document(text, policy)
    found = document.plain().get("tenant", "default")
    if as_text(found) != tenant:
        where, position = document.walk(("tenant",))
        raise PolicyError(
            [
                Diagnostic(
                    position if "tenant" in document.plain() else Position(policy),
                    where,
                    f"policy {policy!r} is for tenant {found}, and objects of tenant {tenant} would be added to it",
                    "apply it under another name",
                )
            ]
        )

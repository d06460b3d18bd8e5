"""Policy files to one `Policy`: read, check each against the language, put together, resolve references.

Several files make one policy. Each file speaks for one tenant; the same object of a tenant in two files is an
error. All problems of all files are found in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from controller_app.model.policy import (
    Chain,
    Classifier,
    Endpoint,
    Function,
    Health,
    Instance,
    Network,
    Party,
    Policy,
    Require,
    Segment,
    Selector,
    Service,
    Tenant,
)
from controller_app.model.position import NOWHERE, Diagnostic, PolicyError, Position
from controller_app.policy.consistency import check_policy
from controller_app.policy.diagnostics import Findings
from controller_app.policy.entries import Entry
from controller_app.policy.features import FEATURES
from controller_app.policy.fitting import check_against
from controller_app.policy.pools import with_pools
from controller_app.policy.reading import ALL, Checked, check
from controller_app.policy.references import check_tenant
from controller_app.policy.schema import ClassifierSpec, PolicyFile
from controller_app.policy.schema_parties import PartySpec
from controller_app.policy.schema_services import FunctionHealthSpec, HealthSpec
from controller_app.policy.source_text import read_file
from controller_app.policy.yaml_positions import mapping_document
from controller_app.policy.yaml_scalars import kind_name

__all__ = ["LoadedPolicy", "check_against", "load_policy", "parse_policy"]

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy, what to mention about it, and the files it came from."""

    policy: Policy
    warnings: tuple[Diagnostic, ...] = ()
    files: tuple[str, ...] = ()


def load_policy(paths: Sequence[str]) -> LoadedPolicy:
    """Read files (a directory means every YAML or JSON file in it, by name) into one policy.

    Raises PolicyError with every problem found in any of them.
    """
    findings = Findings()
    files: dict[str, str] = {}
    for path in paths:
        for name in _expand(path, findings):
            files.setdefault(str(Path(name).resolve()), name)
    texts: dict[str, str] = {}
    for name in files.values():
        try:
            texts[name] = read_file(name)
        except PolicyError as error:
            findings.all.extend(error.diagnostics)
    return _load(texts, findings)


def parse_policy(texts: Mapping[str, str]) -> LoadedPolicy:
    """Like load_policy, from name to text (YAML or JSON). Names stand in positions and messages."""
    return _load(texts, Findings())


def _expand(path: str, findings: Findings) -> list[str]:
    directory = Path(path)
    try:
        if not directory.is_dir():
            return [path]
        names = sorted(
            str(item)
            for item in directory.iterdir()
            if item.suffix in SUFFIXES and not item.name.startswith(".")
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        findings.error(
            Position(path), "document", f"cannot be read: {reason}", "check the path and its permissions"
        )
        return []
    if not names:
        findings.warning(
            Position(path),
            "document",
            "no policy file in this directory",
            "put files ending in .yaml, .yml or .json into it",
        )
    return names


def _load(texts: Mapping[str, str], findings: Findings) -> LoadedPolicy:
    unread = bool(findings.errors)
    parts = []
    for name, text in texts.items():
        part = _read(name, text, findings)
        if part is None:
            unread = True
        else:
            parts.append(part)
    policy = _assemble(parts, unread, findings)
    findings.all.extend(check_policy(policy))
    if findings.errors:
        raise PolicyError(_in_order(findings.errors))
    return LoadedPolicy(policy, tuple(findings.warnings), tuple(texts))


def _in_order(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By place, each said once."""
    return sorted(dict.fromkeys(problems), key=lambda item: item.position)


def _read(name: str, text: str, findings: Findings) -> Checked[PolicyFile] | None:
    try:
        document = mapping_document(text, name)
    except PolicyError as error:
        findings.all.extend(error.diagnostics)
        return None
    data: dict[str, Any] = document.plain()
    needed = data.get("must_understand")
    unknown = [
        (index, item)
        for index, item in enumerate(needed if isinstance(needed, list) else [])
        if not (isinstance(item, str) and item in FEATURES)
    ]
    for index, item in unknown:
        path, position = document.walk(("must_understand", index))
        findings.error(
            position,
            path,
            f"this version does not understand {kind_name(item)}, which the file requires",
            "use a version that does, or remove the entry with what needs it",
        )
    if unknown:
        return None  # the file says itself that reading on would misread it
    return check(document, data, PolicyFile, findings)


class _Builder:
    """One tenant, growing file by file."""

    def __init__(self, name: str, findings: Findings) -> None:
        self.name = name
        self.findings = findings
        self.default: Entry | None = None
        self.flood: set[str] = set()
        self.entries: dict[str, dict[str, Entry]] = {section: {} for section in _SECTIONS}
        self.faulty: dict[str, set[str]] = {section: set() for section in _SECTIONS}

    def add(self, section: str, name: str, entry: Entry) -> None:
        earlier = self.entries[section].setdefault(name, entry)
        if earlier is not entry:
            path, position = entry.walk(key=True)
            who = "" if self.name == "default" else f" of tenant {self.name}"
            self.findings.error(
                position,
                path,
                f"{section[:-1]} {name!r}{who} is declared at {earlier.where} too",
                "rename one of them, or remove one",
            )

    def build(self) -> Tenant:
        def values(section: str) -> dict[str, Any]:
            return {name: entry.value for name, entry in self.entries[section].items()}

        return with_pools(
            Tenant(
                self.name,
                self.default is None or self.default.value == "allow",
                tuple(sorted(self.flood)),
                default_where=NOWHERE if self.default is None else self.default.position,
                **{section: values(section) for section in _SECTIONS},
            )
        )


_SECTIONS = ("networks", "segments", "endpoints", "functions", "chains", "classifiers", "services")


def _assemble(parts: Sequence[Checked[PolicyFile]], unread: bool, findings: Findings) -> Policy:
    """`unread`: some file could not be read at all, so what is not found may be declared there."""
    tenants: dict[str, _Builder] = {}
    clashing = _files_with_clashing_names(parts)
    for part in parts:
        spec = part.value
        tenant = tenants.setdefault(spec.tenant, _Builder(spec.tenant, findings))
        for section, broken in part.faulty.items():
            if section in tenant.faulty:
                tenant.faulty[section].update(broken)
        if spec.default is not None:
            entry = Entry(part.document, ("default",), spec.default)
            if tenant.default is None:
                tenant.default = entry
            elif tenant.default.value != spec.default:
                findings.error(
                    entry.position,
                    "default",
                    f"{spec.default!r} contradicts {tenant.default.position}, "
                    f"which says {tenant.default.value!r}",
                    "say it in one of the files only",
                )
        tenant.flood.update(spec.flood)
        for section, convert in _CONVERT.items():
            for name, item in getattr(spec, section).items():
                path = (section, name)
                value = convert(name, item, Entry(part.document, path, None))
                tenant.add(section, name, Entry(part.document, path, value))
        prefix = f"{_stem(part.document.name)}-" if part.document.name in clashing else ""
        for position, classifier in enumerate(spec.classifiers):
            index = part.index("classifiers", position)
            name = classifier.name or f"{prefix}classifier-{index + 1}"
            place = Entry(part.document, ("classifiers", index), None)
            tenant.add(
                "classifiers", name, Entry(place.document, place.path, _classifier(name, classifier, place))
            )
    for tenant in tenants.values():
        if unread:
            for names in tenant.faulty.values():
                names.add(ALL)
        check_tenant(tenant.entries, tenant.faulty, findings)
    return Policy({name: tenant.build() for name, tenant in tenants.items()}) if tenants else Policy()


def _files_with_clashing_names(parts: Sequence[Checked[PolicyFile]]) -> set[str]:
    """Files of one tenant in which the same `classifier-N` would be generated."""
    owners: dict[tuple[str, int], list[str]] = {}
    for part in parts:
        for position, classifier in enumerate(part.value.classifiers):
            if classifier.name is None:
                key = part.value.tenant, part.index("classifiers", position)
                owners.setdefault(key, []).append(part.document.name)
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _stem(name: str) -> str:
    return PurePath(name).stem


def _network(name: str, spec: Any, entry: Entry) -> Network:
    return Network(name, tuple(spec.subnet), tuple(spec.gateway), spec.kind, tuple(spec.insert), entry.where)


def _segment(name: str, spec: Any, entry: Entry) -> Segment:
    return Segment(name, spec.network, spec.cidr, spec.selector, tuple(spec.insert), entry.where)


def _endpoint(name: str, spec: Any, entry: Entry) -> Endpoint:
    after = None if isinstance(spec.drain, bool) else spec.drain
    drain = spec.drain is not False
    return Endpoint(name, spec.host, spec.network, dict(spec.labels), spec.weight, drain, after, entry.where)


def _function(name: str, spec: Any, entry: Entry) -> Function:
    selector = spec.instances if isinstance(spec.instances, Selector) else None
    named = {} if selector is not None else spec.instances
    instances = {
        key: Instance(key, item.host, item.weight, entry.at("instances", key, key=True))
        for key, item in named.items()
    }
    return Function(
        name,
        spec.kind,
        instances,
        spec.mode,
        spec.handover,
        spec.on_failure,
        selector,  # what it matches is known when all files are read: see `with_pools`
        None if spec.health is None else _health(spec.health, entry),
        entry.where,
    )


def _health(spec: HealthSpec, entry: Entry) -> Health:
    probe, hold = spec.probe, spec.hold if isinstance(spec, FunctionHealthSpec) else None
    where = entry.at("health", "probe")
    return Health(probe.kind, probe.port, probe.path, spec.interval, spec.misses, hold, where)


def _chain(name: str, spec: Any, entry: Entry) -> Chain:
    require = None
    if spec.require is not None:
        asked = spec.require
        at = entry.at("require", key=True)
        avoid, prefer = (
            None if selector is None else replace(selector, where=entry.at("require", word))
            for word, selector in (("avoid", asked.avoid), ("prefer", asked.prefer))
        )
        require = Require(asked.latency, asked.bandwidth, asked.within, avoid, prefer, asked.apart, asked.backup, at)
    through = tuple(spec.through)
    return Chain(name, through, spec.returns, spec.transport, spec.stickiness, spec.spread, require, entry.where)


def _service(name: str, spec: Any, entry: Entry) -> Service:
    health = None if spec.health is None else _health(spec.health, entry)
    expose: str | tuple[Party, ...]
    if isinstance(spec.expose, str):
        expose = spec.expose
    else:
        expose = tuple(_party(item, entry, "expose", index) for index, item in enumerate(spec.expose))
    return Service(
        name,
        spec.network,
        spec.selector,
        tuple(spec.ports),
        tuple(spec.ip),
        spec.session_affinity,
        spec.prefer,
        health,
        expose,
        entry.where,
    )


def _classifier(name: str, spec: ClassifierSpec, entry: Entry) -> Classifier:
    return Classifier(
        name,
        _party(spec.source, entry, "from"),
        _party(spec.destination, entry, "to"),
        spec.then,
        tuple(spec.traffic or ()),
        tuple(dict.fromkeys(spec.dscp)),
        spec.after,
        int(spec.priority),
        entry.where,
    )


def _party(spec: PartySpec, entry: Entry, *place: str | int) -> Party:
    kind, value = spec.only()
    return Party(kind, None if kind == "any" else value, entry.at(*place, kind))


_CONVERT: Mapping[str, Callable[[str, Any, Entry], Any]] = {
    "networks": _network,
    "segments": _segment,
    "endpoints": _endpoint,
    "functions": _function,
    "chains": _chain,
    "services": _service,
}

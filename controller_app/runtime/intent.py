"""The policies that are applied, by name, and how files and the store agree on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath

from controller_app.model.policy import Policy
from controller_app.model.position import Diagnostic, PolicyError, Position
from controller_app.model.topology import Topology
from controller_app.policy.by_edges import check_required
from controller_app.policy.diagnostics import Findings
from controller_app.policy.policy_file import SUFFIXES, check_against, parse_policy
from controller_app.policy.source_text import read_file
from controller_app.store.interface import StoredPolicy, digest


@dataclass(frozen=True)
class Intent:
    """All applied policies, as stored and as one. `warnings` are those of the texts alone."""

    stored: Mapping[str, StoredPolicy] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the applied policies."""
        return tuple(name for name, policy in self.stored.items() if policy.text is not None)

    def text(self, name: str) -> str | None:
        """A policy as it was written; None when there is none of that name."""
        policy = self.stored.get(name)
        return None if policy is None else policy.text

    def owner(self, tenant: str, section: str, name: str) -> str | None:
        """The policy that declares an object (`section`: networks, endpoints, services, ...); None where none does."""
        declared = self.policy.tenants.get(tenant)
        found = None if declared is None else getattr(declared, section).get(name)
        return None if found is None else self._sources.get(found.where.file)

    @cached_property
    def _sources(self) -> dict[str | None, str]:
        """What positions name -> the policy."""
        return {source_name(policy): name for name, policy in self.stored.items() if policy.text is not None}

    def put(self, texts: Mapping[str, str]) -> Intent:
        """With policies added or replaced, by name. Raises PolicyError when all together make no policy."""
        stored = dict(self.stored)
        for name, text in texts.items():
            stored[name] = replace(stored.get(name, StoredPolicy(name, None)), text=text)
        return build(stored)

    def delete(self, name: str) -> Intent:
        """Without a policy. Its file, if it came from one, does not bring it back until it changes."""
        before = self.stored[name]
        if before.file:
            return build({**self.stored, name: replace(before, text=None)})
        return build({other: policy for other, policy in self.stored.items() if other != name})

    def with_files(self, files: Mapping[str, StoredPolicy]) -> Intent:
        """With what files say, where they changed since they were read last. Raises PolicyError when all together make
        no policy."""
        stored = at_start(self.stored, files)
        return self if stored == dict(self.stored) else build(stored)

    def with_only(self, texts: Mapping[str, str]) -> Intent:
        """Exactly these policies, by name. Files of others do not bring them back until they change. Raises
        PolicyError when all together make no policy."""
        stored = {name: replace(policy, text=texts.get(name)) for name, policy in self.stored.items()}
        for name, text in texts.items():
            stored.setdefault(name, StoredPolicy(name, text))
        return build({name: policy for name, policy in stored.items() if policy.text is not None or policy.file})

    def check(
        self, topology: Topology, discovering: bool, standing: Collection[Diagnostic] = ()
    ) -> tuple[Diagnostic, ...]:
        """The warnings about this intent on a topology. Raises PolicyError where it does not fit. standing: what chains
        require in vain already."""
        found = check_against(self.policy, topology, discovering=discovering, standing=standing)
        errors = [item for item in found if item.severity == "error"]
        if errors:
            raise PolicyError(errors)
        return (*self.warnings, *found)

    def check_required(self, topology: Topology) -> None:
        """Raises PolicyError where what chains require cannot be had on a topology."""
        findings = Findings()
        check_required(self.policy, topology, findings)
        if findings.errors:
            raise PolicyError(findings.errors)


def source_name(policy: StoredPolicy) -> str | None:
    """What positions in a policy name: its file as long as the text is the file's. None where there is no text."""
    if policy.text is None:
        return None
    as_read = policy.file and digest(policy.text) == policy.file_digest
    return policy.file if as_read else policy.name


def build(stored: Mapping[str, StoredPolicy]) -> Intent:
    """All policies as one. Raises PolicyError with every problem of any of them."""
    texts: dict[str, str] = {}
    for policy in stored.values():
        name = source_name(policy)
        if name is not None and policy.text is not None:
            texts[name] = policy.text
    loaded = parse_policy(texts)
    return Intent(dict(stored), loaded.policy, loaded.warnings)


def read_files(paths: Sequence[str]) -> dict[str, StoredPolicy]:
    """The policies in files (a directory means every YAML and JSON file in it), named by the files' stems.

    Raises PolicyError for what cannot be read, and for two files of one name.
    """
    problems: list[Diagnostic] = []
    found: dict[str, StoredPolicy] = {}
    for file in _expand(paths):
        name = PurePath(file).stem
        try:
            text = read_file(file)
        except PolicyError as error:
            problems += error.diagnostics
            continue
        earlier = found.get(name)
        if earlier is not None and Path(earlier.file).resolve() != Path(file).resolve():
            problems.append(
                Diagnostic(
                    Position(file),
                    "document",
                    f"a policy is named by its file, and {earlier.file} is named {name!r} too",
                    "rename one of the files",
                )
            )
            continue
        found[name] = StoredPolicy(name, text, file, digest(text))
    if problems:
        raise PolicyError(problems)
    return found


def _expand(paths: Sequence[str]) -> list[str]:
    files: list[str] = []
    for path in paths:
        try:
            if Path(path).is_dir():
                files += sorted(
                    str(item)
                    for item in Path(path).iterdir()
                    if item.suffix in SUFFIXES and not item.name.startswith(".")
                )
            else:
                files.append(path)
        except OSError as error:
            raise PolicyError(
                [
                    Diagnostic(
                        Position(path),
                        "document",
                        f"cannot be read: {error.strerror}",
                        "check the path and its permissions",
                    )
                ]
            ) from None
    return files


def at_start(
    stored: Mapping[str, StoredPolicy], files: Mapping[str, StoredPolicy]
) -> dict[str, StoredPolicy]:
    """Which policies count: those applied last, except where a file changed since it was last read."""
    result = dict(stored)
    for name, file in files.items():
        before = stored.get(name)
        if before is None or before.file_digest != file.file_digest:
            result[name] = file
        elif before.file != file.file:
            result[name] = replace(before, file=file.file)
    return result

"""What switches hold of others, as the last look at them found it, and what is said of it when a policy is applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.model.flow import Flow
from controller_app.model.position import NOWHERE, Diagnostic, PolicyError
from controller_app.openflow.decode import UnknownFlow
from controller_app.pipeline.ofctl import format_flow
from controller_app.runtime.computed import Computed
from controller_app.runtime.conversation import Conversation, Foreign
from controller_app.verification.foreign import NOT_FOLLOWED, Crossing, Held, crossings
from controller_app.verification.packet import describe
from controller_app.verification.verified import Verified


def foreign_of(switches: Mapping[str, Conversation]) -> dict[str, Foreign]:
    """What is foreign, by switch, where there is any. A switch that is away holds what it held."""
    return {name: each.foreign for name, each in switches.items() if each.foreign.flows}


def examine(computed: Computed, foreign: Mapping[str, Foreign], verified: Verified | None) -> tuple[Crossing, ...]:
    """The foreign flows that change what becomes of packets. verified: of what is wanted, or was wanted before."""
    held = {name: Held(tuple(_words(each.flows)), each.groups) for name, each in foreign.items()}
    return crossings(computed.policy, computed.topology, computed.state, computed.allocation, held, verified)


def _words(flows: Iterable[Flow | UnknownFlow]) -> Iterable[Flow]:
    """What is known of flows: those of which not even the match is, are passed over (`unread` names them)."""
    for flow in flows:
        if isinstance(flow, Flow):
            yield flow
        elif flow.match is not None:
            yield Flow(flow.table, flow.priority, flow.match, (NOT_FOLLOWED,), cookie=flow.cookie)


def judged(
    found: Iterable[Crossing], foreign: Mapping[str, Foreign], allow: bool
) -> tuple[Diagnostic, ...]:
    """What is to be said of foreign flows. PolicyError for those that could lead packets past a chain, unless they
    are allowed; what they only drop, and what nobody can tell, are warnings."""
    said = [_diagnostic(each, "warning" if allow or each.lost else "error") for each in found]
    errors = [item for item in said if item.severity == "error"]
    if errors:
        raise PolicyError(errors)
    return (*said, *_unread(foreign))


def _diagnostic(crossing: Crossing, severity: str) -> Diagnostic:
    finding = crossing.finding
    classifier = finding.expected.classifier
    path = f"tenants.{finding.expected.tenant}" if classifier is None else f"classifiers.{classifier.name}"
    does = "takes packets of this" if crossing.lost else "could lead packets of this past what they have to meet"
    return Diagnostic(
        NOWHERE if classifier is None else classifier.where,
        path,
        f"a foreign flow on {crossing.switch} {does} ({format_flow(crossing.flow)}): {describe(finding.packet)} from "
        f"{finding.source} ({finding.way}): {finding.what}",
        "take the flow away, give it a lower priority, or `chainctl apply --allow-foreign`"
        if severity == "error"
        else "take the flow away, or give it a lower priority",
        severity,
    )


def _unread(foreign: Mapping[str, Foreign]) -> Iterable[Diagnostic]:
    for name, each in sorted(foreign.items()):
        count = sum(isinstance(flow, UnknownFlow) and flow.match is None for flow in each.flows) + each.more
        if count:
            yield Diagnostic(
                NOWHERE,
                f"switches.{name}",
                f"nobody can tell whether {count} foreign flows on it change anything: they match what is not read "
                "here, or are too many",
                "see them with `ovs-ofctl dump-flows`",
                "warning",
            )


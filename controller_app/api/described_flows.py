"""The rules of one switch, or those made for one object, each with what it has counted."""

from __future__ import annotations

from typing import Any

from controller_app.api import views
from controller_app.api.refused import Refused
from controller_app.model.flow import Flow, FlowState
from controller_app.openflow.counted import ALL_BITS
from controller_app.pipeline.cookies import OURS_COOKIE, OURS_COOKIE_MASK, object_name
from controller_app.policy.diagnostics import nearest
from controller_app.runtime.control import Runtime
from controller_app.runtime.live_counters import Wanted, read
from controller_app.verification.explain import shortened

Document = dict[str, Any]


def flows(runtime: Runtime, name: str) -> Document:
    """The rules of a switch, or those that are there for an object (`KIND/NAME`, as traces name it), each with what it
    has counted. Refused where there are none."""
    state, allocation, topology = runtime.call(
        lambda c: (c.computed.state, c.computed.allocation, c.computed.topology)
    )
    names = {shortened(full): number for number, full in allocation.object_names.items()}
    if name in topology.switches:
        asked = {name: Wanted(held=[(OURS_COOKIE, OURS_COOKIE_MASK)])}
        chosen = {name: list(state[name].flows.values()) if name in state else []}
    elif name in names:
        chosen = _made_for(state, names[name])
        asked = {
            switch: Wanted(held=[(cookie, ALL_BITS) for cookie in {flow.cookie for flow in found}])
            for switch, found in chosen.items()
        }
    else:
        guess = nearest(name, [*topology.switches, *names])
        raise Refused(404, "No such object", f"there is no switch, and no object of rules, named {name!r}; "
                      + (f"did you mean {guess!r}?" if guess else "name a switch, or what rules are for"))  # fmt: skip
    counted = read(runtime, asked)
    listed = []
    for switch, found in chosen.items():
        answers = counted.counted.get(switch)
        for flow in sorted(found, key=lambda f: (f.table, -f.priority, f.match)):
            entry = None if answers is None else answers.held.get(flow.key)
            owner = object_name(flow.cookie, allocation)
            shown = views.flow(switch, flow, None if owner is None else shortened(owner))
            told = None if entry is None else {
                "packets": entry.packets, "bytes": entry.octets, "age": round(entry.age, 3)}  # fmt: skip
            listed.append({**shown, "counters": told})
    return {"kind": "flows", "name": name, "flows": listed, "silent": dict(counted.silent)}


def _made_for(state: FlowState, number: int) -> dict[str, list[Flow]]:
    found = {
        switch: [flow for flow in held.flows.values() if flow.cookie & (1 << 40) - 1 == number]
        for switch, held in state.items()
    }
    return {switch: flows for switch, flows in found.items() if flows}

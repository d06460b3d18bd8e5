"""What the decision of a classifier does to a packet."""

from __future__ import annotations

from controller_app.model.flow import Action, Meter, MeterConfig, SetQueue
from controller_app.pipeline.build import put, write
from controller_app.pipeline.functions import FIRST_INDEX
from controller_app.pipeline.regions import Decision
from controller_app.pipeline.tables import BACKWARD_REG, LIST, SERVICE_INDEX, TRANSPORT
from controller_app.pipeline.views import World
from controller_app.transports import TRANSPORTS

_TEN_FRAMES = 120  # kbit

def decide(world: World, decision: Decision) -> tuple[tuple[Action, ...], str | None]:
    """The actions of a decision, and the table that comes next."""
    if decision.action == "reject":
        return (), "reject"
    if decision.action == "deny":
        return (), None
    actions: list[Action] = []
    if decision.limit:
        actions.append(Meter(world.meters[decision.limit]))
    if decision.action == "chain":
        view = world.lists[decision.list_key]
        actions.append(put(LIST, view.id))
        if decision.backward:
            actions.append(put(BACKWARD_REG, 1))
        number = TRANSPORTS[view.transport].number
        if number:
            actions += [put(TRANSPORT, number), put(SERVICE_INDEX, FIRST_INDEX)]
    if decision.dscp is not None:
        actions.append(write("ip_dscp", decision.dscp))
    if decision.queue is not None:
        actions.append(SetQueue(decision.queue))
    return tuple(actions), "remember"


def meter_of(world: World, name: str) -> MeterConfig:
    """The meter of a limit, by its name (`classifiers/TENANT/NAME`). It lets through at once what passes in a tenth
    of a second, or ten full frames: less and TCP does not come near the rate."""
    _, tenant, classifier = name.split("/", 2)
    limit = world.policy.tenants[tenant].classifiers[classifier].then.limit
    assert limit is not None
    rate = max(1, round(limit / 1000))
    return MeterConfig(world.meters[name], rate, max(rate // 10, _TEN_FRAMES))

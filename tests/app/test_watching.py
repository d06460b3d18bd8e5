"""What changed in the network, as events."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

from controller_app.discovery.merge import LinkState
from controller_app.discovery.ports import PortId
from controller_app.model.topology import End, Link
from controller_app.runtime.checking import Event as Turn
from controller_app.runtime.events import Events
from controller_app.runtime.watching import PERIOD, Watching
from controller_app.store.interface import Revision


class Watched:
    """A network that is looked at once for each call."""

    def __init__(self) -> None:
        self.events = Events(lambda: 0.0)
        self.watching = Watching(self.events)
        self.switch: Any = SimpleNamespace(connected=True, foreign_flows=0, sync=SimpleNamespace(in_sync=False))
        self.turns: deque[Turn] = deque(maxlen=3)
        self._now = 0.0
        self._seen = 0

    def look(self, *links: LinkState) -> list[tuple[str, dict[str, Any]]]:
        self._now += PERIOD
        self.watching.look(self._now, {1: self.switch}, lambda dpid: f"s{dpid}", links, self.turns)
        return self.news()

    def news(self) -> list[tuple[str, dict[str, Any]]]:
        found, _ = self.events.after(self._seen)
        self._seen = self.events.number
        return [(event.kind, dict(event.data)) for event in found]


def link(port: int, state: str, why: str = "") -> LinkState:
    ends = Link(End("s1", port), End("s2", port))
    return LinkState(ends, (PortId(1, port), PortId(2, port)), True, state, why)


def test_a_switch_is_in_sync_once() -> None:
    watched = Watched()
    assert watched.look() == []
    watched.switch.sync.in_sync = True
    assert watched.look() == [("switch.synced", {"switch": "s1"})]
    assert watched.look() == []
    watched.switch.connected = False
    assert watched.look() == []
    watched.switch.connected = True
    assert watched.look() == [("switch.synced", {"switch": "s1"})]


def test_rules_of_others() -> None:
    watched = Watched()
    watched.switch.foreign_flows = 2
    assert watched.look() == [("foreign.flow", {"switch": "s1", "flows": 2})]
    watched.switch.foreign_flows = 1
    assert watched.look() == []
    watched.switch.foreign_flows = 3
    assert watched.look() == [("foreign.flow", {"switch": "s1", "flows": 3})]


def test_links_come_and_go() -> None:
    watched = Watched()
    assert watched.look(link(1, "declared"), link(2, "declared")) == []  # what there is at first is no news
    up = ("link.up", {"link": "s1:1 - s2:1", "state": "up", "why": ""})
    assert watched.look(link(1, "up"), link(2, "declared")) == [up]
    down = {"link": "s1:1 - s2:1", "state": "down", "why": "port 1 is down"}
    assert watched.look(link(1, "down", "port 1 is down"), link(2, "declared")) == [("link.down", down)]
    assert watched.look(link(1, "up"), link(2, "declared")) == [up]
    assert watched.look(link(1, "up")) == [("link.down", {"link": "s1:2 - s2:2", "state": "gone", "why": ""})]
    assert watched.look(link(1, "damped"))[0][0] == "link.down"
    assert watched.look(link(1, "only-way"))[0][0] == "link.up"


def test_each_turn_of_a_check_once() -> None:
    watched = Watched()
    watched.turns.append(Turn(1.0, "services/default/app/web1", False, "web1 is unready"))
    watched.turns.append(Turn(1.0, "functions/default/fw/fw1", False, "fw1 is out"))
    assert watched.look() == [
        ("provider.unready", {"name": "services/default/app/web1", "text": "web1 is unready"}),
        ("instance.out", {"name": "functions/default/fw/fw1", "text": "fw1 is out"}),
    ]
    assert watched.look() == []
    for ready in (True, False, True, False):  # the first of them is forgotten by now
        watched.turns.append(Turn(2.0, "functions/default/fw/fw1", ready, "fw1 turns"))
    assert [kind for kind, _ in watched.look()] == ["instance.out", "instance.working", "instance.out"]


def test_what_became_of_a_revision() -> None:
    watched = Watched()
    watched.watching.became(Revision(7, 0.0, "apply web", waiting=("s1 (no answer yet)",)))
    watched.watching.became(Revision(7, 0.0, "apply web", state="confirmed"))
    assert watched.news() == [
        ("change.waiting", {"revision": 7, "waiting": ["s1 (no answer yet)"]}),
        ("change.confirmed", {"revision": 7}),
    ]

"""Links as JSON documents and for Prometheus: their state, their load, and what was tried on their discovery."""

from __future__ import annotations

from typing import Any

from controller_app.api.steering_views import quoted
from controller_app.discovery.damping import Key
from controller_app.discovery.merge import LinkState
from controller_app.runtime.conductor import Conductor

Document = dict[str, Any]


def links(conductor: Conductor) -> Document:
    """Every link, declared or found, with its state, and whether it is used."""
    return {"links": [document for _, document in _listed(conductor)]}


def used(conductor: Conductor) -> list[Document]:
    """The links that packets take."""
    return [document for state, document in _listed(conductor) if state.used]


def _listed(conductor: Conductor) -> list[tuple[LinkState, Document]]:
    declaring = any(state.declared for state in conductor.links)
    return [(state, _link(conductor, state, declaring)) for state in conductor.links]


def _link(conductor: Conductor, state: LinkState, declaring: bool) -> Document:
    link = state.link
    load = conductor.load.use_of(state, conductor.ports)
    left = back_in(conductor, state)
    return {
        "name": name_of(state),
        "ends": [str(link.a), str(link.b)],
        "cost": conductor.load.cost_of(state),
        "latency": link.latency,
        "bandwidth": link.bandwidth,
        "kind": link.kind,
        "state": state.state,
        "used": state.used,
        "declared": state.declared,
        "note": _note(state, left, declaring),
        "back_in": None if left is None else round(left, 1),
        "failures": conductor.discovery.damping.failures[state.ends],
        "bits_per_second": [load.forward, load.backward],
        "capacity": load.capacity,
        "utilisation": load.share,
        "cost_steps": conductor.load.step_of(state),
    }


def name_of(state: LinkState) -> str:
    """What a link is called."""
    return f"{state.link.a}-{state.link.b}"


def back_in(conductor: Conductor, state: LinkState) -> float | None:
    """Seconds until a link that is held down may come back; None where it is not."""
    if not state.held:
        return None
    keys: tuple[Key, ...] = (state.ends, state.ends[0].dpid, state.ends[1].dpid)
    now = conductor.now()
    left = [seconds for key in keys if (seconds := conductor.discovery.damping.back_in(key, now)) is not None]
    return max(left, default=0.0)


def _note(state: LinkState, left: float | None, declaring: bool) -> str:
    parts = [state.why] if state.why else []
    if left is not None:
        parts.append(f"{'back' if state.state == 'damped' else 'held down until quiet'} in {left:.0f} s")
    if declaring and not state.declared:
        parts.append("not declared")
    return "; ".join(parts)


def dropped(conductor: Conductor, dpid: int) -> list[Document]:
    """Discovery frames that were not believed at one switch, by port and reason."""
    return [
        {"port": place.port, "reason": reason, "frames": frames}
        for (place, reason), frames in sorted(conductor.discovery.dropped.items())
        if place.dpid == dpid
    ]


def metrics(conductor: Conductor) -> str:
    """Prometheus' text format, version 0.0.4."""
    found = [(quoted(name_of(state)), document) for state, document in _listed(conductor)]
    lines = []
    for name, kind, what, key in (
        ("used", "gauge", "Whether packets take a link.", "used"),
        ("failures_total", "counter", "How often a link went.", "failures"),
        ("damped_seconds", "gauge", "How long a link that comes and goes is still held down.", "back_in"),
        ("cost", "gauge", "What a link costs, with what its load adds.", "cost"),
        ("utilisation_ratio", "gauge", "How full the fuller direction of a link is.", "utilisation"),
    ):
        lines += [f"# HELP chainsteer_link_{name} {what}", f"# TYPE chainsteer_link_{name} {kind}"]
        for label, document in found:
            value = document[key]
            if value is not None:
                lines.append(f'chainsteer_link_{name}{{link="{label}"}} {float(value):g}')
    lines += [
        "# HELP chainsteer_link_bits_per_second What goes over a link, by the port it goes out of.",
        "# TYPE chainsteer_link_bits_per_second gauge",
    ]
    for label, document in found:
        for end, bits in zip(document["ends"], document["bits_per_second"], strict=True):
            if bits is not None:
                lines.append(f'chainsteer_link_bits_per_second{{link="{label}",from="{quoted(end)}"}} {bits:.0f}')
    lines += [
        "# HELP chainsteer_discovery_dropped_total Discovery frames that were not believed.",
        "# TYPE chainsteer_discovery_dropped_total counter",
    ]
    for (place, reason), frames in sorted(conductor.discovery.dropped.items()):
        switch = quoted(conductor.name_of(place.dpid))
        lines.append(
            f'chainsteer_discovery_dropped_total{{switch="{switch}",port="{place.port}",reason="{reason}"}} {frames}'
        )
    return "\n".join(lines) + "\n"

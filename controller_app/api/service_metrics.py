"""What services are used for, for Prometheus."""

from __future__ import annotations

from collections import Counter

from controller_app.api.service_views import states
from controller_app.api.steering_views import quoted
from controller_app.health.states import STATES
from controller_app.runtime.conductor import Conductor


def metrics(conductor: Conductor) -> str:
    """Prometheus' text format, version 0.0.4."""
    used = conductor.stats.all()
    lines = [
        "# HELP chainsteer_service_connections_total New connections (of UDP: conversations) that providers were sent.",
        "# TYPE chainsteer_service_connections_total counter",
    ]
    for provider, sums in used.items():
        lines.append(f"chainsteer_service_connections_total{{{_labels(*provider)}}} {sums.opened}")
    lines += [
        "# HELP chainsteer_service_connections_open TCP connections that providers seem to have, an estimate from the "
        "FIN and RST that passed (docs/services.md).",
        "# TYPE chainsteer_service_connections_open gauge",
    ]
    for provider, sums in used.items():
        if sums.left is not None:
            lines.append(f"chainsteer_service_connections_open{{{_labels(*provider)}}} {sums.left}")
    for unit in ("packets", "bytes"):
        name = f"chainsteer_service_{unit}_total"
        what = "Packets" if unit == "packets" else "Bytes, with Ethernet headers,"
        lines += [f"# HELP {name} {what} to (in) and from (out) providers.", f"# TYPE {name} counter"]
        for provider, sums in used.items():
            for direction in ("in", "out"):
                value = getattr(sums, f"{unit}_{direction}")
                lines.append(f'{name}{{{_labels(*provider)},direction="{direction}"}} {value}')
    lines += [
        "# HELP chainsteer_service_providers Endpoints that a service's selector matches, by state.",
        "# TYPE chainsteer_service_providers gauge",
    ]
    found = Counter((tenant, service, state.word) for (tenant, service, _), state in states(conductor).items())
    for tenant, service in dict.fromkeys((tenant, service) for tenant, service, _ in found):
        for word in STATES:
            lines.append(
                f'chainsteer_service_providers{{tenant="{quoted(tenant)}",service="{quoted(service)}",state="{word}"}} '
                f"{found[tenant, service, word]}"
            )
    return "\n".join(lines) + "\n"


def _labels(tenant: str, service: str, provider: str) -> str:
    return f'tenant="{quoted(tenant)}",service="{quoted(service)}",provider="{quoted(provider)}"'

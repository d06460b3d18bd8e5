"""Can the instances of a function be checked as it says?"""

from __future__ import annotations

from controller_app.model.policy import Function, Tenant
from controller_app.model.topology import Topology
from controller_app.modes import MODES
from controller_app.policy.diagnostics import Findings
from controller_app.policy.health import FROM_A_GATEWAY, asked_of, probes_for

_WRITTEN = {"tcp": "tcp/PORT", "http": "http://:PORT/PATH"}


def check_probes(tenant: Tenant, findings: Findings) -> None:
    """What needs no topology: the probe and the function's mode."""
    for function in tenant.functions.values():
        health, able = function.health, probes_for(function)
        if health is None or health.probe in able:
            continue
        mode = MODES[function.mode]
        path, remedy = f"functions.{function.name}.health.probe", f"write `probe: {able[0]}`" if able else ""
        if not able:
            what = f"an instance of mode {mode.word} sends nothing, so there is no telling how it is"
            remedy = "remove `health`: nobody misses the copies of one that is gone"
        elif health.probe == "frame":
            what = f"an instance of mode {mode.word} does not pass frames on as they are: it is asked at its addresses"
            remedy += "".join(f", {_WRITTEN.get(each, each)}" for each in able[1:-1]) + f" or {_WRITTEN[able[-1]]}"
        else:
            what = f"an instance of mode {mode.word} has no address in the network to be asked at"
        findings.error(health.where, path, what, remedy)


def check_asked(tenant: Tenant, topology: Topology, discovering: bool, findings: Findings) -> None:
    """What needs the topology: addresses, and gateways to ask from. With `discovering` addresses may still be
    learned."""
    for function in tenant.functions.values():
        health = function.health
        if health is None or health.probe == "frame" or health.probe not in probes_for(function):
            continue
        for instance in function.instances.values():
            host = topology.hosts.get(instance.host)
            if host is None:
                continue
            asked = asked_of(tenant, function, host)
            if not asked:
                say = findings.warning if discovering else findings.error
                say(
                    instance.where,
                    f"functions.{function.name}.instances.{instance.name}.host",
                    f"host {host.name!r} has no address at which {_written(function)!r} could ask it",
                    "write its `ip` in the topology",
                )
            for _, address, gateway in asked if health.probe in FROM_A_GATEWAY else ():
                if gateway is None:
                    findings.error(
                        health.where,
                        f"functions.{function.name}.health.probe",
                        f"{address} of instance {instance.name!r} ({instance.where}) is in no network with an "
                        f"IPv{address.version} gateway, from whose address the checks are made",
                        "give its network a `gateway`, or write `probe: arp`",
                    )
                    break


def _written(function: Function) -> str:
    """The probe as people write it."""
    health = function.health
    assert health is not None
    return {"tcp": f"tcp/{health.port}", "http": f"http://:{health.port}{health.path}"}.get(health.probe, health.probe)

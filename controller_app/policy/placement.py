"""Does the host of a function instance suit the function's mode: its arms, its MAC, its addresses?"""

from __future__ import annotations

from collections.abc import Mapping

from controller_app.model.policy import Function, Instance
from controller_app.model.topology import Host
from controller_app.modes import MODES
from controller_app.modes.mode import TWO_ARMS
from controller_app.policy.diagnostics import Findings


def check_instance(
    function: Function, instance: Instance, host: Host, discovering: bool, findings: Findings
) -> None:
    """What is missing. With `discovering` a MAC and addresses may still be learned: that is a warning."""
    path = f"functions.{function.name}.instances.{instance.name}.host"
    mode = MODES[function.mode]
    noun = f"{mode.word} function" if mode.on_path else mode.word
    arms = frozenset(host.attach)
    if arms not in mode.arms:
        two = TWO_ARMS.issubset(mode.arms)
        how = "{in: switch:port, out: switch:port}" if two else "switch:port"
        findings.error(
            instance.where,
            path,
            f"a {noun} has {'two arms' if two else 'one arm'}; host {host.name!r} is attached by {_arms(host)}",
            f"write `attach: {how}` in the topology",
        )
    say = findings.warning if discovering else findings.error
    if mode.needs_mac and host.mac is None:
        say(
            instance.where,
            path,
            f"packets are sent to the MAC of a {noun}, and that of host {host.name!r} is not known",
            "write its `mac` in the topology",
        )
    elif mode.needs_mac and "out" in arms and host.out_mac is None:
        findings.warning(
            instance.where,
            path,
            f"the MAC of arm out of host {host.name!r} is not known: {host.mac} of arm in is taken for it",
            "write `attach: {in: switch:port, out: {port: switch:port, mac: ...}}` in the topology",
        )
    if mode.needs_address and not (host.ips or host.out_ips or host.prefixes):
        say(
            instance.where,
            path,
            f"what a {noun} sends is known by its address, and host {host.name!r} has none",
            "write its `ip`, or the `prefixes` it translates to, in the topology",
        )


def _arms(host: Host) -> str:
    arms: Mapping[str, object] = host.attach
    return " and ".join(f"{arm} {end}" if arm else f"{end} alone" for arm, end in arms.items())

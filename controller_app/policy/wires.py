"""Do the links carry what a chain's transport adds to packets, and has it enough numbers?"""

from __future__ import annotations

from controller_app.model.policy import Chain, Policy
from controller_app.model.topology import Topology
from controller_app.policy.diagnostics import Findings
from controller_app.transports import TRANSPORTS

PACKET = 1500  # what hosts send unless they are told otherwise (RFC 894)
MOST_SWITCHES = 4094  # numbers of VLANs


def check_transports(policy: Policy, topology: Topology, findings: Findings) -> None:
    """An error where a transport cannot number the switches; a warning for each link that is too small."""
    chains = [chain for tenant in policy.tenants.values() for chain in tenant.chains.values()]
    for chain in chains:
        if chain.transport == "vlan" and len(topology.switches) > MOST_SWITCHES:
            findings.error(
                chain.where,
                f"chains.{chain.name}.transport",
                f"the transport vlan numbers at most {MOST_SWITCHES} switches, and there are {len(topology.switches)}",
                "write `transport: mac` or `mpls`",
            )
    largest: Chain | None = max(chains, key=lambda chain: TRANSPORTS[chain.transport].overhead, default=None)
    added = TRANSPORTS[largest.transport].overhead if largest is not None else 0
    if largest is None or not added:
        return
    for link in topology.links:
        if link.mtu is not None and link.mtu < PACKET + added:
            findings.warning(
                link.where,
                f"links.{link.a}-{link.b}.mtu",
                f"packets of {PACKET} bytes do not fit: the link takes {link.mtu}, and the transport "
                f"{largest.transport} of chain {largest.name!r} adds {added}; who sends them is told",
                f"raise the MTU of both ports to {PACKET + added} and write so here, or use another transport",
            )

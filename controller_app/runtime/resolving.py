"""The gateways as resolvers: questions about services' names that switches send up are answered where they came from.

Time comes in as `now`, a monotonic clock in seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import dns.rcode

from controller_app.discovery.ports import FIRST_RESERVED_PORT, PortId, SendFrame
from controller_app.model.policy import Policy
from controller_app.naming import datagrams
from controller_app.naming.answering import answer
from controller_app.naming.zone import Zone, build_zone
from controller_app.openflow.decode import PacketIn
from controller_app.pipeline.cookies import KINDS, is_ours
from controller_app.pipeline.tables import GATEWAY_MAC, NUMBER, TENANT
from controller_app.runtime.answering import Rates
from controller_app.runtime.computed import Computed

_NETWORKS = KINDS.index("networks")


def is_question(packet: PacketIn) -> bool:
    """Did it come up because it asks a gateway for a name?"""
    ours = is_ours(packet.cookie) and packet.table == NUMBER["respond"]
    return ours and packet.cookie >> 40 & 0xFF == _NETWORKS


class Resolver:
    """Answers to questions, as many as are good for anyone."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()  # answers by rcode; "held-back": too many at once; "unreadable"
        self._rates = Rates()
        self._zone = Zone()
        self._made_of: tuple[Policy, Mapping[str, tuple[str, ...]]] | None = None

    def tell(self, computed: Computed, port: PortId, packet: PacketIn, now: float) -> tuple[SendFrame, ...]:
        """What is to be sent because of a question that came up, by `port`."""
        number = packet.fields.get(TENANT.field, 0) >> TENANT.offset & (1 << TENANT.bits) - 1
        tenants = computed.allocation.ids.get("tenants", {})
        tenant = next((name for name, found in tenants.items() if found == number), None)
        datagram = datagrams.read(packet.data)
        if datagram is None or tenant is None or not 0 < port.port < FIRST_RESERVED_PORT:
            self.told["unreadable"] += 1
            return ()
        if not self._rates.allows(port, now):
            self.told["held-back"] += 1
            return ()
        said = answer(self._of(computed), tenant, datagram.payload)
        if said is None:
            self.told["unreadable"] += 1
            return ()
        self.told[dns.rcode.to_text(dns.rcode.Rcode(said[3] & 15))] += 1
        return (SendFrame(port.dpid, (port.port,), datagrams.reply(datagram, said, GATEWAY_MAC)),)

    def _of(self, computed: Computed) -> Zone:
        """The names as they are now; made again when what they are made of changed."""
        policy, addresses = computed.policy, computed.allocation.addresses
        if self._made_of is None or self._made_of[0] is not policy or self._made_of[1] != addresses:
            self._zone = build_zone(policy, computed.allocation)
            self._made_of = policy, addresses
        return self._zone

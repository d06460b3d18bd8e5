"""The pipeline, declared: tables, what they may match and write, where they may go; registers; priorities.

Numbers appear here and nowhere else. `build.Rules` refuses a flow that breaks the declaration.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller_app.model.flow import SubField
from controller_app.pipeline.cookies import METER_MARK

GATEWAY_MAC = 0x0A_00_00_00_00_01  # every gateway and every service answers with it, on every switch

# Of the frames that go through functions to check them: the sender's on the side of the `in` arm, and on the other. No
# host may send from them. Functions that speak NSH get the frame on a service path that no chain has.
CHECK_MACS = (0x0A_00_00_00_00_02, 0x0A_00_00_00_00_03)
CHECK_PATH = 0xFF_FFFF

# --- registers: every bit has a name ---------------------------------------------------------------------
TENANT = SubField("reg0", 0, 16)  # tenant id, from the port the packet entered by
ZONE = SubField("reg1", 0, 16)  # conntrack zone of the host port the packet entered, or leaves, by
ZONES = 1 << 14  # of ports; the upper bits say which of a port's zones it is
SERVING = SubField("reg1", 15, 1)  # where the port's host is the provider: its addresses are translated there
LIST = SubField("reg2", 0, 16)  # list of functions the packet's classifier asks for; 0 none
BACKWARD_REG = SubField("reg2", 16, 1)  # the packet takes the list from its end
LEAVING = SubField("reg4", 0, 16)  # waypoint of the host or tap this packet is delivered to
SERVICE = SubField("reg3", 0, 32)  # service whose address the packet was sent to; 0 none
PROBE = SubField("reg5", 0, 1)  # a question of the controller's: tell the choice, send nothing
LARGE = SubField("reg5", 1, 1)  # an ICMP error long enough to be translated
TOO_BIG = SubField("reg5", 2, 1)  # it does not fit the links with what its transport adds
EXEMPT = SubField("reg5", 3, 1)  # sent by or to a function for itself: it meets no chain
TAGGED = SubField("reg5", 4, 1)  # its host sends it with a tag of its own, which is still on it
TRANSPORT = SubField("reg5", 8, 4)  # what carries the next waypoint on links; 0 the label alone
FROM = SubField("reg6", 0, 13)  # waypoint of the function's arm it came out of; 0 a host's frame
RESUMED = SubField("reg6", 16, 1)  # it came out of a function without its label, and is classified again
SERVICE_INDEX = SubField("reg8", 0, 8)  # what a service header starts with (RFC 8300 2.3)
SAVED_LOW = SubField("reg9", 0, 32)  # the label, while a service header goes on or off in front of it
SAVED_HIGH = SubField("reg10", 0, 16)
RECALLED = SubField("reg11", 0, 26)  # what is remembered of the connection: backward, path, waypoint as in the label
SERVED_PORT = SubField("reg7", 8, 8)  # which port of its service, counted from 0, a packet to a provider was sent to
SLOT = SubField("reg7", 0, 8)  # the slot of 256 it hashes to, where the group does not choose

# --- ether types, and the object that wants what every switch needs --------------------------------------
IP, IPV6, ARP, LLDP = 0x0800, 0x86DD, 0x0806, 0x88CC
BASE = "pipeline/base"

ANSWERS_METER = METER_MARK << 24 | 1  # for packets that the controller answers: refusals, ICMP errors
ANSWERS_RATE = 200  # of them, a second and switch

IN_PORT_NONE = 0xFFFF  # loaded into in_port, it lets a packet leave by the port it came from


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what its flows may match and write, and which tables may come next."""

    name: str
    number: int
    says: str
    matches: frozenset[str]
    writes: frozenset[str] = frozenset()
    next: frozenset[str] = frozenset()


_L3 = {"eth_type", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ip_proto"}
_L4 = {"tcp_src", "tcp_dst", "udp_src", "udp_dst"}
_TO = {"eth_type", "ipv4_dst", "ipv6_dst", "ip_proto", "tcp_dst", "udp_dst"}  # where a packet goes


def _table(name: str, number: int, says: str, matches: set[str], writes: set[str], nexts: str) -> Table:
    return Table(name, number, says, frozenset(matches), frozenset(writes), frozenset(nexts.split()))


TABLES: tuple[Table, ...] = (
    _table(
        "admission",
        0,
        "Who sent this? Labelled frames from links go on to `transit` (to `unwrap` with a transport's header), from "
        "functions to `branch`; frames of known hosts get their tenant and zone; what hosts forge is dropped; ARP, ND "
        "and IP of hosts not yet known go to the controller, and so do frames that went through a function to check "
        "it. What matches nothing is not ours: other apps may have it.",
        {"in_port", "eth_src", "eth_dst", "eth_type", "vlan_tci", "ipv4_src", "ipv6_src", "arp_spa"},
        {"reg0", "reg1", "reg5", "reg6"},
        "transit unwrap branch addressing flood nsh respond",
    ),
    _table(
        "respond",
        100,
        "ARP and ND for gateways, service addresses and known hosts, and echo for gateways, are answered "
        "here, so hosts keep working while the controller is away. What else hosts ask, and what answers its "
        "health checks, goes to the controller; IP goes on.",
        {
            "reg0",
            "reg1",
            "reg5",
            "vlan_tci",
            "tcp_src",
            "tcp_dst",
            "udp_dst",
            "arp_op",
            "arp_tpa",
            "arp_spa",
            "nd_target",
            "ipv6_src",
            "icmp_type",
            "icmpv6_type",
            "eth_type",
            "ip_proto",
            "ipv4_dst",
            "ipv6_dst",
            "eth_dst",
        },
        {
            "eth_dst",
            "eth_src",
            "arp_op",
            "arp_spa",
            "arp_tpa",
            "arp_sha",
            "arp_tha",
            "ipv4_src",
            "ipv4_dst",
            "ipv6_src",
            "ipv6_dst",
            "icmp_type",
            "icmpv6_type",
            "nd_options_type",
            "nd_reserved",
            "vlan_tci",
        },
        "guard advertise flood reject",
    ),
    _table(
        "advertise",
        101,
        "A neighbour solicitation that became an advertisement gets its sender's address as the target's (only "
        "now may a flow write it) and goes back.",
        {"eth_type", "ip_proto", "icmpv6_type"},
        {"nd_tll"},
        "",
    ),
    _table(
        "flood",
        103,
        "Broadcasts that a policy lets through: tagged with their network's number, along a tree of links, untagged to "
        "its hosts.",
        {"vlan_tci"},
        {"vlan_tci"},
        "",
    ),
    _table(
        "guard",
        105,
        "Packets of a host that provides a service: short ICMP errors, which Open vSwitch 3.1.0 does not "
        "survive translating, are dropped.",
        {"reg1", "icmp_type", "icmpv6_type", "eth_type", "ip_proto", "ipv4_dst", "ipv6_dst"},
        {"reg1", "reg5"},
        "guard-size returning hairpin-reply addressing",
    ),
    _table("guard-size", 106, "An ICMP error passes if it is long enough.", {"reg5"}, set(), "returning"),
    _table(
        "hairpin-reply",
        107,
        "What a provider sends to the address of its own service: where it is the reply to itself, the provider's own "
        "address is put back, then the service's.",
        {"reg1", "ct_state", "eth_type"},
        set(),
        "returning returned",
    ),
    _table(
        "returning",
        110,
        "Replies of a provider get the service's address back.",
        {"eth_type"},
        set(),
        "returned",
    ),
    _table(
        "returned",
        111,
        "Replies are counted, by service, port and provider; apart from these FIN and RST of TCP, by service and "
        "provider.",
        {"reg1", "eth_type", "ipv4_src", "ipv6_src", "ip_proto", "tcp_src", "udp_src", "tcp_flags"},
        set(),
        "addressing",
    ),
    _table(
        "addressing",
        115,
        "Where does it leave the network? The destination MAC (same network) or, for frames to the gateway, "
        "the destination address becomes a label; a service's address sets the service instead.",
        {"reg0", "reg6", "eth_dst", "ipv4_src", "ipv6_src", "icmp_type", "icmpv6_type", *_TO},
        {"eth_dst", "reg3", "reg5", "in_port"},
        "branch reject",
    ),
    _table(
        "nsh",
        116,
        "What comes back from a function that speaks NSH itself, if it decremented the service index. Frames that went "
        "through it to check it go to the controller.",
        {"reg6", "nsh_spi", "nsh_si", "eth_type"},
        {"eth_dst", "in_port"},
        "branch unwrap",
    ),
    _table(
        "branch",
        117,
        "Classifiers for what comes out of a function. What none of them takes goes on along its path, or is "
        "classified if it has no label.",
        {"reg6", *_L3, "tcp_dst", "udp_dst", "ip_dscp", "ip_frag"},
        {"reg1", "reg2", "reg5", "reg6", "reg8", "eth_dst", "in_port", "ip_dscp"},
        "classify advance remember transit reject",
    ),
    _table(
        "classify",
        120,
        "The policy's classifiers: which list of functions, or none, or drop.",
        {"reg0", "reg6", *_L3, *_L4, "ip_dscp", "ip_frag", "conj_id", "icmp_type", "icmpv6_type"},
        {"reg1", "reg2", "reg5", "reg6", "reg8", "ip_dscp"},
        "remember reject",
    ),
    _table(
        "remember",
        125,
        "Where the edges remember connections, look this one up. What meets no chain forgets its list first.",
        {"reg1", "reg2", "reg3", "reg5", "reg6", "ct_state", "eth_type"},
        {"reg1", "reg2", "reg5"},
        "pinned-provider choose copies",
    ),
    _table(
        "pinned-provider",
        130,
        "A remembered provider is taken again, unless it does not serve any more, or only the TCP connections it has.",
        {"reg3", "ct_label", "eth_type", "ip_proto"},
        {"eth_dst", "reg3", "reg7"},
        "pinned-path left-behind affine choose",
    ),
    _table(
        "left-behind",
        131,
        "The remembered provider does not serve any more: TCP is refused, unless it opens a connection. All else is "
        "chosen anew.",
        {"reg3", "eth_type", "ip_proto", "tcp_flags"},
        {"reg7"},
        "affine choose reject",
    ),
    _table(
        "affine",
        132,
        "Where all connections of a client have one provider: which, by the slot its address hashes to.",
        {"reg3", "reg7"},
        {"eth_dst", "reg3"},
        "choose",
    ),
    _table(
        "pinned-path",
        135,
        "What is remembered of the way: what this edge chose for this direction or, for the way back, the way that "
        "packets came.",
        {"reg2", "ct_label"},
        {"reg11"},
        "recalled copies choose",
    ),
    _table(
        "recalled",
        136,
        "The remembered path is taken again if the packet's list still has it: where a chain requires something of it, "
        "between the edges where the packet travels.",
        {"reg2", "reg6", "reg11", "eth_dst"},
        {"eth_dst"},
        "copies choose",
    ),
    _table(
        "choose",
        140,
        "One group per list of functions (and service) picks everything: each slot is a whole path and a "
        "provider. Where edges count, one per switch by which packets leave, known by their label.",
        {"reg2", "reg3", "reg6", "eth_dst"},
        {"eth_dst", "reg7"},
        "commit copies slot reject",
    ),
    _table(
        "slot",
        141,
        "Where switches cannot be trusted to hash alike in both directions, the slot was computed by `choose`; here "
        "it is looked up.",
        {"reg2", "reg3", "reg6", "reg7", "eth_dst"},
        {"eth_dst"},
        "commit copies",
    ),
    _table(
        "reject",
        142,
        "The controller tells the sender: reset, or unreachable. Metered.",
        {"eth_type"},
        set(),
        "",
    ),
    _table(
        "commit",
        145,
        "The choice for a new connection is remembered.",
        {"reg5", "eth_type"},
        {"ct_label"},
        "copies",
    ),
    _table(
        "copies",
        150,
        "Taps at the head of the path get their copies.",
        {"reg5", "reg6", "eth_dst"},
        {"eth_dst", "reg5"},
        "transit advance fits",
    ),
    _table(
        "fits",
        151,
        "Where links declare what they take: is it too long for them, with what its transport adds?",
        {"eth_dst", "eth_type", "reg5"},
        {"reg5"},
        "too-big transit",
    ),
    _table(
        "too-big",
        152,
        "The controller tells the sender what fits (RFC 1191, RFC 8201). Metered.",
        {"reg5"},
        set(),
        "transit",
    ),
    _table(
        "advance",
        155,
        "A packet came out of a function: copies for taps that follow, then the label moves to the next "
        "waypoint.",
        {"reg6", "eth_dst"},
        {"eth_dst", "in_port", "reg5", "reg8"},
        "transit",
    ),
    _table(
        "unwrap",
        157,
        "Frames on links with a transport's header: on towards the switch it names; there it is taken off.",
        {"eth_dst", "eth_type", "vlan_tci", "mpls_label", "mpls_bos"},
        {"eth_dst", "eth_src", "reg9", "reg10"},
        "unwrapped transit",
    ),
    _table(
        "unwrapped",
        158,
        "What was below a header that is off.",
        {"eth_type", "mpls_label", "mpls_bos"},
        {"eth_dst"},
        "transit",
    ),
    _table(
        "transit",
        160,
        "Towards the waypoint: one rule for each block of waypoints of another switch (two where a detour is among its "
        "ways), pointing at a fast-failover group where there is more than one way. Waypoints of this switch are "
        "delivered. Where a chain asks for a transport, its header is put on here.",
        {"eth_dst", "eth_type", "reg5"},
        {"eth_dst", "reg9", "reg10", "vlan_tci", "mpls_label", "nsh_spi", "nsh_si", "nsh_c1"},
        "deliver",
    ),
    _table(
        "deliver",
        165,
        "At the waypoint: into a function's arm, to a tap, or out of the network.",
        {"eth_dst", "eth_type", "ipv4_dst", "ipv6_dst"},
        {"reg0", "reg1", "reg4", "eth_dst", "eth_src", "ct_label", "reg9", "reg10", "nsh_spi", "nsh_si", "nsh_c1"},
        "restore translate",
    ),
    _table("restore", 170, "A tap's copy becomes the original frame again.", {"eth_dst"}, {"eth_dst"}, "tap"),
    _table("tap", 171, "Out to the tap.", {"reg4"}, set(), ""),
    _table(
        "translate",
        175,
        "At the exit: a service's address becomes the provider's, and the far edge learns the path its "
        "replies have to take.",
        {"reg0", "reg4", "eth_dst", "ip_ttl", "ipv4_src", "ipv6_src", "icmp_type", "icmpv6_type", *_TO},
        {"ct_label", "reg3", "reg5", "reg7"},
        "translate-error hairpin served leave",
    ),
    _table(
        "translate-error",
        176,
        "An ICMP error for a provider is translated if it is long enough.",
        {"reg4", "reg5", "eth_type"},
        set(),
        "served",
    ),
    _table(
        "hairpin",
        177,
        "A provider that asks itself is asked from the address of the service.",
        {"reg3", "reg4", "eth_type"},
        set(),
        "served",
    ),
    _table(
        "served",
        178,
        "New connections are counted, by service, port and provider; and FIN and RST of TCP, by service and provider.",
        {"reg3", "reg4", "reg7", "ct_state", "eth_type", "ip_proto", "tcp_flags"},
        set(),
        "leave",
    ),
    _table(
        "leave",
        180,
        "Between networks TTL goes down and the gateway becomes the sender.",
        {"eth_dst", "eth_type"},
        {"eth_src"},
        "emit",
    ),
    _table("emit", 185, "The host's own MAC, out of its port.", {"reg4"}, {"eth_dst", "vlan_tci"}, ""),
)

BY_NAME = {table.name: table for table in TABLES}
NUMBER = {table.name: table.number for table in TABLES}
# In these the edge decides where packets go; what the others do counts once packets are sent there.
DECIDING = frozenset(NUMBER[name] for name in (
    "admission", "addressing", "branch", "classify", "remember", "pinned-provider", "left-behind", "affine",
    "pinned-path", "recalled", "choose", "slot"))  # fmt: skip
TABLE_NAMES: dict[int, str] = {table.number: table.name for table in TABLES}

# --- priorities: named bands, the higher wins; nothing of ours is above 60,000 ---------------------------
BANDS = {
    "probe": 59_000,  # questions of the controller's
    "trusted": 55_000,  # links and functions may carry labels
    "refuse": 50_000,  # what must never pass
    "exact": 40_000,  # one host, one path, one port
    "known": 30_000,  # what an edge remembers, first
    "learned": 25_000,  # what it learned from the other side
    "prefix": 20_000,  # plus the prefix length
    "classifier": 10_000,  # plus the classifier's rank
    "learn": 1_000,  # not yet known: ask the controller
    "rest": 100,  # everything else in this table
}
CLASSIFIER_RANKS = 40_000

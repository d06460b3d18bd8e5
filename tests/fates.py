"""What becomes of real packets on dummy Open vSwitch, with nothing of our model of a switch in between.

Many conversations at once go through a whole network: each host sends first packets, their receivers answer, later
packets follow, and some more of both once every group would choose otherwise. Functions are played by `bed_players`.
What each conversation led to is told as where its frames came out, and in which order.
"""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bed import Bed
from bed_players import Nat, Player, players
from dummy_ovs import DummyOvs, OvsError
from fate_frames import answer, conversation, inside, number_of, numbered, plain, with_port
from fate_wires import Control, Pcap
from mutation import Mutant
from openflow.wire_client import WireClient

from controller_app.model.flow import Flow, FlowKey, FlowState, Group, SwitchState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.openflow import decode, encode

FIRST = 0x1000  # numbers of frames: what functions say for themselves has small ones
_AT_ONCE = 90  # frames into one port: a dummy port holds 100
_CLOCK = bytes.fromhex("0200000000fe0200000000ff88b5") + bytes(46)  # a frame that only says that time has passed
_MOST_ROUNDS, _MOST_FRAMES = 60, 64  # of one phase; of one conversation in it: more is an endless loop
_GENEROUS = 1_000_000  # packets per second, for meters: here they are no part of anything's fate
_SET_CONFIG = struct.pack("!BBHIHH", 4, 9, 12, 9, 0, 0xFFFF)  # OFPT_SET_CONFIG: packet-ins come, and whole
_PACKET_IN, _ERROR, _MULTIPART = 10, 1, 19  # OFPT_*
_FLOWS, _GROUPS = 1, 7  # OFPMP_*

Came = tuple[int, int, str, str, bytes]  # phase, round, host (or "controller"), arm, and the frame


@dataclass(frozen=True)
class Kind:
    """Packets that differ in one port at most: who sends them by which arm, and the first one. later: what its sender
    sends once it was answered. varies: whether its source port ("source"), its destination port or none is free. loose:
    several things may become of it, as of a fragment. ruled: the policy says something of it, and not only that it goes
    where it is sent to."""

    name: str
    host: str
    arm: str
    first: bytes
    later: bytes | None = None
    varies: str = ""
    loose: bool = False
    ruled: bool = True

    def frame(self, port: int, later: bool = False) -> bytes:
        """The first frame, or the later one, with a port (0: as it is)."""
        found = self.later if later else self.first
        assert found is not None
        return with_port(found, self.varies == "source", port) if port and self.varies else found


@dataclass(frozen=True, slots=True)
class Sent:
    """A conversation: what kind of packet, and the port that differs (0: none)."""

    kind: Kind
    port: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversation led to: its first packet, answer and a later packet; then another later packet and an answer
    when groups choose otherwise, and whether these two went as before."""

    whole: tuple[Came, ...]
    again: tuple[Came, ...]
    alike: bool | None  # None: no other packets were sent


class Oracle:
    """A network on dummy Open vSwitch that holds a state, or a mutant of it."""

    def __init__(self, ovs: DummyOvs, topology: Topology, policy: Policy, state: FlowState) -> None:
        self.state = {name: SwitchState(held.flows, held.groups, {
            number: replace(meter, rate=_GENEROUS, burst=_GENEROUS, packets=True)
            for number, meter in held.meters.items()}) for name, held in state.items()}
        self._topology, self._policy = topology, policy
        self._functions = {instance.host for tenant in policy.tenants.values()
                           for function in tenant.functions.values() for instance in function.instances.values()}
        self._bed = Bed(ovs, topology, policy)
        self._bed.load(self.state)
        self._control = Control(ovs.dir / "vswitchd.ctl")
        # Fragments that connection tracking holds back for others to come are let go later, among other packets.
        for version in ("v4", "v6"):
            self._control.ask("dpctl/ipf-set-disabled", version)
        self._wires = {}
        for name, bridge in self._bed.bridges.items():
            self._wires[name] = WireClient.to_bridge(ovs.management(bridge))
            self._wires[name].send(_SET_CONFIG)
        self._ports: dict[str, list[tuple[str, str]]] = {}
        for place, port in self._bed.ports.items():
            self._ports.setdefault(port, []).append(place)
        self._pcaps = {port: Pcap(ovs.dir / f"{port}.pcap") for port in self._ports}
        # A dummy port hands over one frame in each turn of the switch's main loop: a cable of its own tells the turns.
        # Another one tells what a frame's hash is.
        with ovs.transaction():
            ovs.add_bridge("clock", 0xC10C)
            for number, port in enumerate(("tick", "tock", "ask", "told"), 1):
                ovs.add_port("clock", port, number, tx_pcap=True)
        told = ",".join(f"bucket=weight:1,actions=set_field:02:00:00:00:00:{slot:02x}->eth_src,output:4"
                        for slot in range(256))
        ovs.ofctl("add-group", "clock", f"group_id=1,type=select,{told}")
        ovs.ofctl("add-flow", "clock", "in_port=1,actions=2")
        ovs.ofctl("add-flow", "clock", "in_port=3,actions=group:1")
        self._tock, self._slots = Pcap(ovs.dir / "tock.pcap"), Pcap(ovs.dir / "told.pcap")
        self._told: list[tuple[str, bytes]] = []
        self._answers: dict[tuple[str, str, bytes], list[tuple[str, bytes]]] = {}
        self._mutant: Mutant | None = None
        self._groups: Mapping[str, Mapping[int, Group]] = {name: held.groups for name, held in self.state.items()}
        self._turned: dict[tuple[str, int], tuple[Group, bytes, bytes]] = {}

    def close(self) -> None:
        """Let go of what it is connected to, and take the bridges away."""
        for wire in self._wires.values():
            wire.sock.close()
        self._control.close()
        for pcap in (self._tock, self._slots, *self._pcaps.values()):
            pcap.close()

    # -- what the switches hold ------------------------------------------------------------------------------

    def put(self, mutant: Mutant) -> str:
        """Make the switches hold a mutant. Why the switch refuses it, and then they do not."""
        messages = [encode.flow_mod(encode.DELETE_STRICT, flow) for flow in mutant.gone]
        messages += [encode.flow_mod(encode.ADD, flow) for flow in mutant.come]
        if mutant.group is not None:
            messages.append(encode.group_mod(encode.GROUP_MODIFY, mutant.group))
        self._mutant = mutant
        errors = self._ask(mutant.switch, messages)
        if errors:
            self.take_back()
            return "; ".join(errors)
        self._groups = {name: held.groups for name, held in mutant.of(self.state).items()}
        return ""

    def take_back(self) -> None:
        """Make them hold the state again."""
        mutant, self._mutant = self._mutant, None
        if mutant is None:
            return
        held = self.state[mutant.switch]
        messages = [encode.flow_mod(encode.DELETE_STRICT, flow) for flow in mutant.come]
        messages += [encode.flow_mod(encode.ADD, flow) for flow in mutant.gone]
        messages += [encode.flow_mod(encode.ADD, held.flows[flow.key]) for flow in mutant.come
                     if flow.key in held.flows]
        if mutant.group is not None:
            messages.append(encode.group_mod(encode.GROUP_MODIFY, held.groups[mutant.group.id]))
        errors = self._ask(mutant.switch, messages)
        assert not errors, errors
        self._groups = {name: each.groups for name, each in self.state.items()}

    def held(self, switch: str) -> SwitchState:
        """What a switch says that it holds."""
        asked = encode.flow_stats_request(xid=5), encode.group_desc_request(6)
        said = [message for message in self._wires[switch].ask(*asked) if message[1] == _MULTIPART]
        flows = [entry.flow for message in said if decode.multipart_kind(message) == _FLOWS
                 for entry in decode.flow_stats(message) if isinstance(entry.flow, Flow)]
        groups = [group for message in said if decode.multipart_kind(message) == _GROUPS
                  for group in decode.group_desc(message) if isinstance(group, Group)]
        return SwitchState({flow.key: flow for flow in flows}, {group.id: group for group in groups},
                           self.state[switch].meters)

    def hits(self) -> dict[str, set[FlowKey]]:
        """The flows of each switch that packets met, since there are flows."""
        self._control.ask("revalidator/purge")  # what the datapath counted is told
        return {name: {entry.flow.key for entry in wire.flows() if isinstance(entry.flow, Flow) and entry.packets}
                for name, wire in self._wires.items()}

    def _ask(self, switch: str, messages: Sequence[bytes]) -> list[str]:
        """Send a switch messages; the errors. What it tells a controller meanwhile is kept."""
        errors = []
        for message in self._wires[switch].ask(*messages):
            if message[1] == _PACKET_IN:
                self._told.append((switch, decode.packet_in(message).data))
            elif message[1] == _ERROR:
                errors.append(str(decode.error_message(message)))
        return errors

    def _turn(self, back: bool = False) -> None:
        """Every group of 256 slots chooses otherwise, or as before: each bucket half way round, and one more."""
        for name, groups in self._groups.items():
            messages = []
            for group in groups.values():
                if group.kind == "select" and len(group.buckets) == 256:
                    known = self._turned.get((name, group.id))
                    if known is None or known[0] is not group:
                        other = replace(group, buckets=(*group.buckets[129:], *group.buckets[:129]))
                        known = (group, encode.group_mod(encode.GROUP_MODIFY, group),
                                 encode.group_mod(encode.GROUP_MODIFY, other))
                        self._turned[name, group.id] = known
                    messages.append(known[1 if back else 2])
            if messages:
                self._ask(name, messages)
        self._control.ask("revalidator/purge")

    # -- packets ---------------------------------------------------------------------------------------------

    def run(self, sent: Sequence[Sent], turning: bool = True) -> list[Outcome]:
        """What became of these conversations, on switches that remember nothing of any before. The last one is of
        whatever had no number. Those that a switch may take for one connection do not meet."""
        parties: list[tuple[set[object], list[int]]] = []
        for n, each in enumerate(sent):
            key = conversation(each.kind.frame(each.port))
            party = next((party for party in parties if key is None or key not in party[0]), None)
            if party is None:
                parties.append(party := (set(), []))
            party[0].add(key)
            party[1].append(n)
        found: dict[int, Outcome] = {}
        strays: list[Came] = []
        for _, members in parties:
            *outcomes, stray = self._run([sent[n] for n in members], turning)
            found.update(zip(members, outcomes, strict=True))
            strays += stray.whole + stray.again
        return [*(found[n] for n in range(len(sent))), _outcome(strays, turning)]

    def _run(self, sent: Sequence[Sent], turning: bool) -> list[Outcome]:
        self._control.ask("dpctl/flush-conntrack")
        self._control.ask("revalidator/purge")
        self._players = players(self._topology, self._policy)
        self._collect()
        came: dict[int, list[Came]] = defaultdict(list)
        firsts = [numbered(each.kind.frame(each.port), FIRST + n) for n, each in enumerate(sent)]
        later = [(n, each) for n, each in enumerate(sent) if each.kind.later is not None]
        laters = [numbered(each.kind.frame(each.port, True), FIRST + n) for n, each in later]
        answers = self._phase(0, [(each.kind.host, each.kind.arm, frame) for each, frame
                                  in zip(sent, firsts, strict=True)], came)
        answers = [found for found in answers if sent[number_of(found[2]) - FIRST].kind.later is not None]
        following = [(each.kind.host, each.kind.arm, frame) for (_, each), frame in zip(later, laters, strict=True)]
        self._phase(1, answers, came)
        self._phase(2, following, came)
        if turning:
            self._turn()
            self._phase(4, following, came)
            self._phase(3, answers, came)
            self._turn(back=True)
        found = []
        for n, each in enumerate(sent):
            mine = [(phase, turn, host, arm, plain(frame, each.port))
                    for phase, turn, host, arm, frame in came.pop(FIRST + n, ())]
            found.append(_outcome(mine, turning))
        strays = [(phase, turn, host, arm, plain(frame, 0)) for some in came.values()
                  for phase, turn, host, arm, frame in some]
        return [*found, _outcome(strays, turning)]

    def slots(self, frames: Sequence[bytes]) -> list[int]:
        """The slots of 256 that a switch's hash gives these frames."""
        found: list[bytes] = []
        for start in range(0, len(frames), _AT_ONCE):
            some = frames[start : start + _AT_ONCE]
            self._control.ask("netdev-dummy/receive", "ask", *(frame.hex() for frame in some))
            self._turns(len(some) + 2)
            found += self._slots.read()
        assert len(found) == len(frames)
        return [frame[11] for frame in found]

    def _phase(self, phase: int, frames: Iterable[tuple[str, str, bytes]],
               came: dict[int, list[Came]]) -> list[tuple[str, str, bytes]]:
        """Send frames from hosts and play functions until nothing moves; what their receivers answer."""
        answers = []
        count: dict[int, int] = defaultdict(int)
        waiting = list(frames)
        for turn in range(_MOST_ROUNDS):
            if not waiting:
                break
            following = []
            for host, arm, frame in self._pass(waiting):
                number = number_of(frame)
                count[number] += 1
                if count[number] > _MOST_FRAMES:
                    continue
                came[number].append((phase, turn, host, arm, frame))
                if host in self._players:
                    following += [(host, out, sent) for out, sent in self._play(host, arm, frame)]
                elif host in self._topology.hosts and host not in self._functions:
                    mac = self._topology.hosts[host].arm_mac(arm)
                    if mac is not None and frame[:6] == bytes.fromhex(mac.replace(":", "")) and inside(frame):
                        back = answer(frame)
                        if back is not None and number >= FIRST:
                            answers.append((host, arm, back))
            waiting = following
        return answers

    def _play(self, host: str, arm: str, frame: bytes) -> list[tuple[str, bytes]]:
        """What a function makes of a frame: what no program can read it drops. The same each time, unless it remembers
        connections."""
        player = self._players[host]
        if isinstance(player, Nat):
            return self._played(player, arm, frame)
        known = self._answers.get((host, arm, frame))
        if known is None:
            known = self._answers[host, arm, frame] = self._played(player, arm, frame)
        return known

    def _played(self, player: Player, arm: str, frame: bytes) -> list[tuple[str, bytes]]:
        try:
            return list(player(arm, frame))
        except Exception:  # scapy on a frame cut or wrapped by a mutant
            return []

    def _pass(self, frames: Iterable[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
        """Let frames arrive, and everything that came out anywhere."""
        queues: dict[str, list[bytes]] = defaultdict(list)
        for host, arm, frame in frames:
            queues[self._bed.ports[host, arm]].append(frame)
        found = []
        while queues:
            calls = [("netdev-dummy/receive", port, *(frame.hex() for frame in queue[:_AT_ONCE]))
                     for port, queue in queues.items()]
            most = min(_AT_ONCE, max(len(queue) for queue in queues.values()))
            self._control.ask_all(calls)
            self._turns(most + 2)
            queues = defaultdict(list, {port: queue[_AT_ONCE:] for port, queue in queues.items()
                                        if len(queue) > _AT_ONCE})
            found += self._collect()
        return found

    def _turns(self, count: int) -> None:
        """Wait for so many turns of the switch's main loop."""
        self._control.ask("netdev-dummy/receive", "tick", *([_CLOCK.hex()] * count))
        deadline = time.monotonic() + 30
        while (count := count - len(self._tock.read())) > 0:
            if time.monotonic() > deadline:
                raise OvsError("ovs-vswitchd does not answer any more")
            time.sleep(0.0003)

    def _collect(self) -> list[tuple[str, str, bytes]]:
        """What came out since the last time: at hosts, and for a controller."""
        for name in self._wires:
            self._ask(name, ())
        found = [("controller", switch, frame) for switch, frame in self._told]
        self._told = []
        for port, places in self._ports.items():
            host, arm = places[0]
            found += [(host, arm, frame) for frame in self._pcaps[port].read()]
        return found


def _outcome(came: list[Came], turning: bool) -> Outcome:
    def of(*phases: int) -> tuple[Came, ...]:
        return tuple(sorted(one for one in came if one[0] in phases))

    def what(phase: int) -> list[tuple[int, str, str, bytes]]:
        return [one[1:] for one in of(phase)]

    alike = what(1) == what(3) and what(2) == what(4) if turning else None
    return Outcome(of(0, 1, 2), of(3, 4), alike)

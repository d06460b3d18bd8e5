"""The page on services of Contiv's documentation, command by command in chainctl's names.

A service network, a service with three labels as its selector, four endpoints that carry them, a client in another
network; then a preferred address, labels that change, and everything taken away again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

from mininet_scenarios.harness import ovs
from mininet_scenarios.harness.controller import chainctl, chainctl_json
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.processes import run as command
from mininet_scenarios.harness.processes import wait_for
from mininet_scenarios.harness.state import LabError
from mininet_scenarios.harness.traffic import Outcome, WebServer, connect, tally

TOPOLOGY = "contiv_walkthrough.yaml"
POLICY = "contiv_walkthrough.yaml"

CLIENT, GATEWAY, PREFERRED = "11.1.1.1", "10.1.1.254", "100.1.1.3"
FOUR = ("web1", "web2", "web3", "web4")
EACH = 64  # connections at a time
LABELS = "--label tier=web --label release=stable --label environment=prod --label version=1.0"
SERVICE = (
    "service create {name} --network contiv-srv-net --tenant default --selector=tier=web --selector=release=stable "
    "--selector=environment=prod --port 8080:80:TCP"
)

Check = Callable[..., bool]
_ports = count(20001)


class Bench:
    """The running lab: a web server on every endpoint, and someone who types."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.servers: dict[str, WebServer] = {}
        for name in (*FOUR, "web5"):
            self.servers[name] = lab.web_server(name, 80)
        for server in self.servers.values():
            server.ready()

    def types(self, line: str) -> None:
        """A command, as a user types it; LabError when it is refused."""
        self.lab.say(f"chainctl {line}")
        chainctl(*shlex.split(line))
        command(["ovs-appctl", "--timeout=30", "revalidator/purge"])  # else it takes half a second

    def refused(self, line: str) -> str:
        """What is said against a command; nothing when it is obeyed."""
        try:
            self.types(line)
        except LabError as problem:
            return str(problem)
        return ""

    def plugs_in(self, name: str) -> None:
        """A host gets the mask and the gateway of its network, as Contiv's plugin gave them to a container."""
        address = self.lab.topology.hosts[name].ips[0]
        for words in ("addr flush dev eth0", f"addr add {address}/24 dev eth0", f"route add default via {GATEWAY}"):
            self.lab.network.on(name, "ip", *words.split())

    def browse(self, to: str, port: int = 8080, number: int = EACH) -> list[Outcome]:
        return connect(self.lab.network, "client", to, port, [next(_ports) for _ in range(number)], timeout=4)


def run(lab: Lab) -> None:
    """The lab, check by check."""

    def about(topic: str) -> Check:
        lab.say(topic)
        return partial(lab.checks.that, topic)

    bench = Bench(lab)
    untouched = rules()
    objects(bench, about("networks and endpoints"))
    address = service(bench, about("the service"))
    traffic(bench, about("traffic"), address)
    preferred(bench, about("a preferred address"))
    labels(bench, about("labels that change"))
    ends(bench, about("everything taken away"), untouched)


def objects(bench: Bench, check: Check) -> None:
    bench.types("net create contiv-srv-net -s 100.1.1.0/24 --kind service --tenant default")
    bench.types(f"net create contiv-net -s 10.1.1.0/24 -g {GATEWAY}")
    listed = {item["name"]: item for item in chainctl_json("net", "ls")["networks"]}
    check("networks", ", ".join(sorted(listed)), "client-net, contiv-net, contiv-srv-net")
    check("the pool's kind", listed["contiv-srv-net"]["kind"], "service")
    for name in FOUR:
        bench.types(f"endpoint add {name} --host {name} --network contiv-net {LABELS}")
        bench.plugs_in(name)
    bench.types("endpoint add web5 --host web5 --network contiv-net --label tier=web --label environment=prod")
    bench.plugs_in("web5")
    found = {item["name"]: item["labels"] for item in chainctl_json("endpoint", "ls")["endpoints"]}
    check("endpoints", ", ".join(sorted(found)), "client, web1, web2, web3, web4, web5")
    check("a label that looks like a number", found["web1"]["version"], "1.0")


def service(bench: Bench, check: Check) -> str:
    bench.types(SERVICE.format(name="app-svc"))
    found = inspect()
    address = ", ".join(found["ips"])
    check("its address is from the pool", address, "100.1.1.x", address.startswith("100.1.1."))
    check("its port", ", ".join(found["ports"]), "8080:80/tcp")
    check("its name", found["dns"], "app-svc.default.svc.internal")
    check("its providers", states(found), "web1 serving, web2 serving, web3 serving, web4 serving")
    check("their slots", ", ".join(str(provider["slots"]) for provider in found["providers"]), "64, 64, 64, 64")
    return address


def traffic(bench: Bench, check: Check, address: str) -> None:
    answered = tally(bench.browse(address))
    check("connections that were answered", sum(answered[name] for name in FOUR), EACH)
    check("who answered", ", ".join(sorted(answered)), ", ".join(FOUR))
    peers = {(peer, port) for name in FOUR for peer, _, port in bench.servers[name].visits()}
    check("whom providers saw, and at which port", _all(peers), f"{CLIENT} at 80")
    # the switches tell what their datapath counted within half a second
    wait_for("every connection to be counted", lambda: inspect()["total"]["opened"] >= EACH, 10, 0.2)
    found = inspect()
    check("connections counted", found["total"]["opened"], EACH)
    counted = {provider["endpoint"]: provider["opened"] for provider in found["providers"]}
    check("by provider, as the servers say", _all(counted.items()), _all((name, answered[name]) for name in FOUR))
    check("providers with bytes in both directions",
          sum(bool(provider["bytes_in"] and provider["bytes_out"]) for provider in found["providers"]), 4)  # fmt: skip
    (refused,) = bench.browse(address, 8081, 1)
    check("a port that the service does not have", refused.error, "refused at once",
          "111" in str(refused.error) and refused.seconds < 1)  # fmt: skip


def preferred(bench: Bench, check: Check) -> None:
    bench.types("service rm app-svc")
    bench.types(SERVICE.format(name="app-svc") + f" --ip {PREFERRED}")
    check("the address asked for", ", ".join(inspect()["ips"]), PREFERRED)
    check("connections that were answered", _answered(bench.browse(PREFERRED)), EACH)
    said = bench.refused(SERVICE.format(name="other-svc") + f" --ip {PREFERRED}")
    owner = f"{PREFERRED} belongs to service 'app-svc'"
    check("another service that asks for it is told whose it is", owner if owner in said else said, owner)
    check("services there are", _names("services"), "app-svc")


def labels(bench: Bench, check: Check) -> None:
    """Who starts, or stops, matching joins or leaves, with no other command."""
    bench.types("label web4 release-")
    check("web4 without its release", states(inspect()), "web1 serving, web2 serving, web3 serving")
    check("who answers then", _who(bench.browse(PREFERRED)), "web1, web2, web3")
    bench.types("label web5 release=stable")
    check("who answers when web5 is stable", _who(bench.browse(PREFERRED)), "web1, web2, web3, web5")
    bench.types("label web4 release=stable environment=prod")
    check("and web4 again", _who(bench.browse(PREFERRED)), "web1, web2, web3, web4, web5")
    bench.types("label web5 environment=test")
    check("and web5 is for tests", _who(bench.browse(PREFERRED)), "web1, web2, web3, web4")


def ends(bench: Bench, check: Check, untouched: dict[str, int]) -> None:
    bench.types("service rm app-svc")
    for name in (*FOUR, "web5"):
        bench.types(f"endpoint rm {name}")
    bench.types("net rm contiv-net")
    bench.types("net rm contiv-srv-net")
    check("networks left", _names("networks"), "client-net")
    check("policies left", _names("policies"), "contiv_walkthrough")
    check("rules on each switch, as before", _all(rules().items()), _all(untouched.items()))


def rules() -> dict[str, int]:
    """How many flows each switch holds."""
    return {item["name"]: len(ovs.dump_flows(item["name"])) for item in chainctl_json("get", "switches")["switches"]}


def inspect() -> dict[str, Any]:
    return dict(chainctl_json("service", "inspect", "app-svc"))


def states(found: dict[str, Any]) -> str:
    return ", ".join(f"{provider['endpoint']} {provider['state']}" for provider in found["providers"])


def _names(kind: str) -> str:
    return ", ".join(item["name"] for item in chainctl_json("get", kind)[kind])


def _answered(outcomes: Iterable[Outcome]) -> int:
    return sum(outcome.answered_by is not None for outcome in outcomes)


def _who(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(sorted(tally(outcomes)))


def _all(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{one} at {other}" if "." in one else f"{one} {other}" for one, other in sorted(pairs))

"""Policy and topology together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from marked import unmark

from controller_app.model.position import Diagnostic
from controller_app.model.topology import Topology
from controller_app.policy.policy_file import check_against, load_policy, parse_policy
from controller_app.policy.topology_file import load_topology, parse_topology

ROOT = Path(__file__).parents[2]

NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}, s9: {dpid: 9}}
links: [[s1:1, s2:1], [s2:2, s3:1]]
hosts:
  h1: {attach: s1:11, ip: 10.1.0.11, mac: 02:00:00:00:01:11}
  h2: {attach: s3:11, ip: 10.2.0.12}
  new: {attach: s3:12}
  far: {attach: s9:11, ip: 10.1.0.99}
  fw: {attach: {in: s2:21, out: s2:22}}
  fw2: {attach: {in: s2:23, out: s3:22}}
  farfw: {attach: {in: s9:21, out: s9:22}}
  bridge: {attach: {in: s1:31, out: s9:31}}
  ids: {attach: s3:31}
  arm: {attach: {in: s3:32}}
"""
NETS = "networks: {a: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}, b: {subnet: 10.2.0.0/24}}\n"


def check(policy: str, topology: str = NETWORK, *, discovering: bool = False) -> tuple[Diagnostic, ...]:
    loaded = parse_policy({"p": f"version: 1\n{policy}\n"})
    return check_against(loaded.policy, parse_topology(topology, "t"), discovering=discovering)


def chain(functions: str, source: str, destination: str) -> str:
    return (
        f"{NETS}functions: {{{functions}}}\nchains: {{c: {{through: [f]}}}}\n"
        f"classifiers: [{{from: {source}, to: {destination}, then: {{chain: c}}}}]"
    )


def test_a_policy_that_fits() -> None:
    functions = "f: {instances: {x: {host: fw}, y: {host: fw2}}}, t: {mode: tap, instances: {i: {host: ids}}}"
    assert check(chain(functions, "{host: h1}", "{host: h2}").replace("[f]", "[f, t]")) == ()
    assert check("functions: {t: {mode: tap, instances: {i: {host: arm}}}}") == ()


def test_the_examples_fit() -> None:
    topology = load_topology(str(ROOT / "topologies" / "firewall_ids.yaml"))
    loaded = load_policy([str(ROOT / "policies" / "firewall_ids.yaml")])
    assert (loaded.warnings, check_against(loaded.policy, topology)) == ((), ())


CASES = [
    (
        "unknown instance host",
        "functions: {f: {instances: {§x: {host: fww}}}}",
        "functions.f.instances.x.host",
        "no host named 'fww'",
        "did you mean 'fw'?",
    ),
    (
        "unknown endpoint host",
        "endpoints: {§e: {host: zzz}}",
        "endpoints.e.host",
        "no host named 'zzz'",
        "known: ",
    ),
    (
        "unknown classifier host",
        "classifiers: [{from: {host: §h11}, to: any, then: deny}]",
        "classifiers.classifier-1.from",
        "no host named 'h11'",
        "did you mean 'h1'?",
    ),
    (
        "transparent with one arm",
        "functions: {f: {instances: {§x: {host: ids}}}}",
        "functions.f.instances.x.host",
        "a transparent function has two arms; host 'ids' is attached by s3:31 alone",
        "{in: ",
    ),
    (
        "transparent with only in",
        "functions: {f: {instances: {§x: {host: arm}}}}",
        "functions.f.instances.x.host",
        "host 'arm' is attached by in s3:32",
        "{in: ",
    ),
    (
        "tap with two arms",
        "functions: {f: {mode: tap, instances: {§x: {host: fw}}}}",
        "functions.f.instances.x.host",
        "a tap has one arm; host 'fw' is attached by in s2:21 and out s2:22",
        "attach: ",
    ),
    (
        "address outside the network",
        NETS + "endpoints: {§e: {host: h1, network: b}}",
        "endpoints.e.network",
        "10.1.0.11 of host 'h1' is in no subnet of network 'b' (10.2.0.0/24)",
        "correct the address",
    ),
    (
        "an instance's own traffic",
        "functions: {f: {instances: {x: {host: fw}}}}\n"
        "classifiers: [{from: {host: §fw}, to: any, then: deny}]",
        "classifiers.classifier-1.from",
        "host 'fw' is an instance of function 'f'",
        "",
    ),
    (
        "function in another part",
        chain("f: {instances: {x: {host: farfw}}}", "{host: h1}", "{host: h2}").replace("[{from", "[§{from"),
        "classifiers.classifier-1.then.chain",
        "chain 'c' cannot be routed: no link leads from switch s1 to function 'f' on s9",
        "connect",
    ),
    (
        "destination in another part",
        chain("f: {instances: {x: {host: fw}}}", "{host: h1}", "{host: far}").replace("[{from", "[§{from"),
        "classifiers.classifier-1.then.chain",
        "chain 'c' cannot be routed: from switch s1 through it no link leads to s9",
        "connect",
    ),
    (
        "source in another part",
        chain("f: {instances: {x: {host: fw}}}", "{host: far}", "any").replace("[{from", "[§{from"),
        "classifiers.classifier-1.then.chain",
        "no link leads from switch s9",
        "connect",
    ),
    (
        "tap in another part",
        chain("f: {mode: tap, instances: {x: {host: ids}}}", "{host: far}", "{host: far}").replace(
            "[{from", "[§{from"
        ),
        "classifiers.classifier-1.then.chain",
        "to function 'f' on s3",
        "connect",
    ),
]


@pytest.mark.parametrize(
    ("text", "path", "what", "remedy"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_errors(text: str, path: str, what: str, remedy: str) -> None:
    text, (place,) = unmark(f"version: 1\n{text}", "p")
    (problem,) = check(text.removeprefix("version: 1\n"))
    assert (problem.position, problem.path, problem.severity) == (place, path, "error")
    assert what in problem.what
    assert remedy in problem.remedy


def test_a_function_may_join_two_parts() -> None:
    assert check(chain("f: {instances: {x: {host: bridge}}}", "{host: h1}", "{host: far}")) == ()
    (problem,) = check(chain("f: {instances: {x: {host: bridge}}}", "{host: far}", "{host: h1}"))
    assert "no link leads from switch s9 to function 'f' on s1" in problem.what  # forward traffic enters `in`


def test_some_hosts_cut_off_is_a_warning() -> None:
    (problem,) = check(chain("f: {instances: {x: {host: fw}}}", "{network: a}", "{host: h2}"))
    assert (problem.severity, "switch s9" in problem.what) == ("warning", True)


def test_hosts_may_still_be_discovered() -> None:
    text = "endpoints: {e: {host: zzz}}\nclassifiers: [{from: {host: yyy}, to: any, then: deny}]"
    assert [item.severity for item in check(text, discovering=True)] == ["warning", "warning"]
    assert (
        check(
            chain("f: {instances: {x: {host: fw}}}", "any", "any"),
            "version: 1\nswitches: {s1: {dpid: 1}}\n",
            discovering=True,
        )[0].severity
        == "warning"
    )


def test_a_host_without_an_address_is_a_warning_where_it_needs_one() -> None:
    deny = "classifiers: [{from: {host: SOURCE}, to: {host: TARGET}, then: deny}]"
    assert check(deny.replace("SOURCE", "new").replace("TARGET", "h1")) == ()
    (problem,) = check(deny.replace("SOURCE", "h1").replace("TARGET", "new"))
    assert (problem.severity, problem.path) == ("warning", "classifiers.classifier-1.to")
    (problem,) = check(chain("f: {instances: {x: {host: fw}}}", "{host: new}", "{host: h2}"))
    assert (problem.severity, problem.path) == ("warning", "classifiers.classifier-1.from")
    (problem,) = check(
        "networks: {v: {subnet: 100.1.1.0/24, kind: service}}\nendpoints: {e: {host: new, labels: {t: w}}}\n"
        "services: {s: {network: v, selector: t=w, ports: [80/tcp]}}"
    )
    assert (problem.severity, problem.path) == ("warning", "endpoints.e.host")


DOUBLE = NETWORK + "  twin: {attach: s2:31, ip: 10.1.0.11}\n"


@pytest.mark.parametrize(
    ("policy", "topology", "what"),
    [
        ("default: allow", DOUBLE, "10.1.0.11 belongs to host 'h1' (t:5:3)"),
        (
            NETS,
            NETWORK + "  x: {attach: s2:31, ip: 10.1.0.254}\n",
            "10.1.0.254 belongs to the gateway of network 'a'",
        ),
        (
            "default: allow",
            NETWORK + "  x: {attach: s2:31, mac: 02:00:00:00:01:11}\n",
            "02:00:00:00:01:11 belongs to host 'h1'",
        ),
        (
            "default: allow",
            NETWORK + "  x: {attach: s2:31, prefixes: [10.1.0.11/32, 10.1.0.0/16]}\n",
            "10.1.0.11/32 belongs to host 'h1' (t:5:3)",
        ),
        (
            "networks: {v: {subnet: 100.1.1.0/24, kind: service}}",
            NETWORK + '  x: {attach: s2:31, prefixes: [100.1.1.0/24, 0.0.0.0/0, 100.1.1.0/28]}\n',
            "100.1.1.0/24 belongs to the services of network 'v' (p:2:12)",
        ),
        (
            "networks: {v: {subnet: 100.1.1.3/32, kind: service}}",
            NETWORK + "  x: {attach: s2:31, ip: 100.1.1.3, prefixes: [100.1.1.4/32]}\n",
            "100.1.1.3 belongs to the services of network 'v' (p:2:12)",
        ),
    ],
)
def test_an_address_has_one_owner_in_a_tenant(policy: str, topology: str, what: str) -> None:
    (problem,) = check(policy, topology)
    assert problem.position.file == "t"
    assert problem.position.line == 15
    assert what in problem.what


def test_a_prefix_has_one_owner_in_a_tenant() -> None:
    """Two ways out would be two rules for the same packets."""
    ways = "  x: {attach: s2:31, prefixes: [0.0.0.0/0]}\n  y: {attach: s2:32, prefixes: [0.0.0.0/1, 0.0.0.0/0]}\n"
    (problem,) = check("default: allow", NETWORK + ways)
    assert (problem.severity, problem.position.line, problem.path) == ("error", 16, "hosts.y")
    assert "0.0.0.0/0 belongs to host 'x' (t:15:3)" in problem.what


def test_two_tenants_may_use_the_same_address() -> None:
    texts = {
        tenant: f"version: 1\ntenant: {tenant}\nendpoints: {{e: {{host: {host}}}}}\n"
        for tenant, host in (("red", "h1"), ("blue", "twin"))
    }
    assert check_against(parse_policy(texts).policy, parse_topology(DOUBLE, "t")) == ()
    same = {name: text.replace("blue", "red").replace("{e:", f"{{{name}:") for name, text in texts.items()}
    (problem,) = check_against(parse_policy(same).policy, parse_topology(DOUBLE, "t"))
    assert "10.1.0.11" in problem.what


def test_a_classifier_names_hosts_of_its_own_tenant() -> None:
    texts = {
        "red": "version: 1\ntenant: red\nendpoints: {e: {host: h1}}\n",
        "blue": "version: 1\ntenant: blue\nclassifiers: [{from: {host: h1}, to: any, then: deny}]\n",
    }
    (problem,) = check_against(parse_policy(texts).policy, parse_topology(NETWORK, "t"))
    assert "host 'h1' belongs to tenant 'red', not 'blue'" in problem.what


def test_a_topology_without_hosts_or_links_is_no_reason_to_fail() -> None:
    topology = parse_topology(NETWORK, "t")
    loaded = parse_policy({"p": "version: 1\n" + chain("f: {instances: {x: {host: fw}}}", "any", "any")})
    bare = replace(topology, links=(), hosts={"fw": topology.hosts["fw"]})
    assert check_against(loaded.policy, bare) == ()
    assert check_against(parse_policy({}).policy, Topology()) == ()


def test_a_host_that_two_tenants_claim_is_said() -> None:
    text = NETWORK.replace("ip: 10.1.0.11,", "ip: [10.1.0.11, 10.2.0.11],")
    texts = {
        tenant: f"version: 1\ntenant: {tenant}\nnetworks: {{n: {{subnet: 10.{n}.0.0/24}}}}\n"
        for n, tenant in ((1, "red"), (2, "blue"))
    }
    (warning,) = check_against(parse_policy(texts).policy, parse_topology(text, "t"))
    assert (warning.severity, warning.path, warning.position.line) == ("warning", "hosts.h1", 5)
    assert "red and blue" in warning.what
    assert check_against(parse_policy(texts).policy, parse_topology(NETWORK, "t")) == ()

"""Bad policies: each refused at its very place, in words that say what to do.

`§` marks where the problem is reported; it is not part of the text.
"""

from __future__ import annotations

import pytest
from marked import unmark

from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import parse_policy

NET = "networks: {n: {subnet: 10.0.0.0/24, gateway: 10.0.0.254}, v: {subnet: 100.1.1.0/24, kind: service}}\n"
FUN = "functions: {fw: {instances: {a: {host: a}}}}\n"
CHA = "chains: {c: {through: [fw]}}\n"
EP = "endpoints: {e: {host: h1, network: n, labels: {tier: web}}}\n"


def classifier(text: str) -> str:
    return f"{NET}{EP}{FUN}{CHA}classifiers:\n  - {text}\n"


def service(text: str) -> str:
    return f"{NET}{EP}services:\n  s: {text}\n"


def endpoint(text: str) -> str:
    return f"{NET}endpoints:\n  e: {text}\n"


STEER = (
    "networks: {n: {subnet: 10.0.0.0/24}, m: {subnet: 10.1.0.0/24}, v: {subnet: 100.1.1.0/24, kind: service}}\n"
    "functions:\n  fw: {instances: {a: {host: a}}}\n  r: {mode: routed, instances: {b: {host: b}}}\n"
    "  ids: {mode: tap, instances: {c: {host: c}}}\n  nat: {mode: translating, instances: {d: {host: d}}}\n"
    "chains: {cf: {through: [fw]}, cr: {through: [r]}, cn: {through: [nat, fw]}}\n"
)


def steer(text: str) -> str:
    return f"{STEER}classifiers:\n  - {text}\n"


def segment(*texts: str) -> str:
    lines = "".join(f"  s{number}: {text}\n" for number, text in enumerate(texts, 1))
    ends = "endpoints: {a: {host: x, labels: {a: b, c: d}}, b: {host: y, labels: {a: b}}, e: {host: z, labels: {c: d}}}"
    return f"{STEER}{ends}\nsegments:\n{lines}"


# id, text (after `version: 1`), path, what, remedy
CASES = [
    (
        "unknown top key",
        "§classifers: []",
        "classifers",
        "unknown key 'classifers'",
        "did you mean 'classifiers'?",
    ),
    (
        "unknown key in an object",
        "chains: {c: {through: [], §trough: x}}",
        "chains.c.trough",
        "unknown key",
        "through",
    ),
    (
        "unknown key in a list",
        classifier("{from: any, to: any, then: deny, §prioritty: 1}"),
        "classifiers[0].prioritty",
        "unknown key",
        "did you mean 'priority'?",
    ),
    (
        "unknown key nested",
        "functions: {f: {instances: {a: {host: x, §wieght: 1}}}}",
        "functions.f.instances.a.wieght",
        "unknown key",
        "did you mean 'weight'?",
    ),
    (
        "missing key",
        "functions: {f: {instances: {§a: {weight: 1}}}}",
        "functions.f.instances.a",
        "'host' is missing",
        "add `host",
    ),
    ("nothing under a key", "§endpoints:\n", "endpoints", "nothing is written here", "remove the key"),
    ("weight -1", endpoint("{host: h, weight: §-1}"), "endpoints.e.weight", "-1 is too small", "least is 1"),
    ("weight 0", endpoint("{host: h, weight: §0}"), "endpoints.e.weight", "0 is too small", "least is 1"),
    (
        "weight 257",
        "functions: {f: {instances: {a: {host: x, weight: §257}}}}",
        "functions.f.instances.a.weight",
        "257 is too large",
        "most is 256",
    ),
    (
        "weight as text",
        endpoint('{host: h, weight: §"2"}'),
        "endpoints.e.weight",
        "expected a whole number",
        "digits",
    ),
    (
        "weight a fraction",
        endpoint("{host: h, weight: §1.5}"),
        "endpoints.e.weight",
        "a whole number, found 1.5",
        "",
    ),
    (
        "priority as text",
        classifier("{from: any, to: any, then: deny, priority: §high}"),
        "classifiers[0].priority",
        "expected a whole number, found 'high'",
        "digits",
    ),
    (
        "priority beyond measure",
        classifier("{from: any, to: any, then: deny, priority: §99999999999}"),
        "classifiers[0].priority",
        "too large",
        "",
    ),
    (
        "port 0",
        classifier("{from: any, to: any, traffic: [tcp/80, §tcp/0], then: deny}"),
        "classifiers[0].traffic[1]",
        "port 0 does not exist",
        "1 to 65535",
    ),
    (
        "port 65536",
        classifier("{from: any, to: any, traffic: [§tcp/65536], then: deny}"),
        "classifiers[0].traffic[0]",
        "port 65536",
        "",
    ),
    (
        "empty range",
        classifier("{from: any, to: any, traffic: [§tcp/90-80], then: deny}"),
        "classifiers[0].traffic[0]",
        "range 90-80 is empty",
        "write 80-90",
    ),
    (
        "icmp port",
        classifier("{from: any, to: any, traffic: [§icmp/8], then: deny}"),
        "classifiers[0].traffic[0]",
        "icmp has no ports",
        "",
    ),
    (
        "protocol",
        classifier("{from: any, to: any, traffic: [§sctp/8], then: deny}"),
        "classifiers[0].traffic[0]",
        "'sctp' is not supported",
        "",
    ),
    (
        "traffic empty",
        classifier("{from: any, to: any, traffic: §[], then: deny}"),
        "classifiers[0].traffic",
        "it is empty",
        "",
    ),
    (
        "traffic nonsense",
        classifier("{from: any, to: any, traffic: [§80/tcp], then: deny}"),
        "classifiers[0].traffic[0]",
        "'80/tcp' is not traffic",
        "tcp/80",
    ),
    (
        "party of two",
        classifier("{from: §{host: a, network: n}, to: any, then: deny}"),
        "classifiers[0].from",
        "exactly one thing, found host and network",
        "",
    ),
    (
        "party of none",
        classifier("{from: §{}, to: any, then: deny}"),
        "classifiers[0].from",
        "found nothing",
        "",
    ),
    (
        "party a word",
        classifier("{from: §h1, to: any, then: deny}"),
        "classifiers[0].from",
        "expected a party",
        "{host: NAME}",
    ),
    (
        "party kind",
        classifier("{from: {§hosts: h1}, to: any, then: deny}"),
        "classifiers[0].from.hosts",
        "unknown key",
        "did you mean 'host'?",
    ),
    (
        "from a service",
        service("{network: v, selector: tier=web, ports: [80/tcp]}")
        + "classifiers: [{from: {service: §s}, to: any, then: deny}]",
        "classifiers[0].from.service",
        "cannot be the source",
        "that connects",
    ),
    (
        "verdict",
        classifier("{from: any, to: any, then: §drop}"),
        "classifiers[0].then",
        "'drop' is not a verdict",
        "deny",
    ),
    (
        "selector in a party",
        classifier('{from: any, to: {selector: §"a in (b"}, then: deny}'),
        "classifiers[0].to.selector",
        "expected ',' or ')'",
        "",
    ),
    (
        "cidr with host bits",
        classifier("{from: any, to: {cidr: §10.1.0.5/24}, then: deny}"),
        "classifiers[0].to.cidr",
        "bits set beyond",
        "write 10.1.0.0/24",
    ),
    (
        "unknown chain",
        classifier("{from: any, to: any, then: {chain: §cc}}"),
        "classifiers[0].then.chain",
        "no chain named 'cc'",
        "did you mean 'c'?",
    ),
    (
        "unknown network in a party",
        classifier("{from: {network: §m}, to: any, then: deny}"),
        "classifiers[0].from.network",
        "no network named 'm'",
        "known: n, v",
    ),
    (
        "unknown endpoint",
        classifier("{from: {endpoint: §web1}, to: any, then: deny}"),
        "classifiers[0].from.endpoint",
        "no endpoint named 'web1'",
        "known: e",
    ),
    (
        "unknown service",
        classifier("{from: any, to: {service: §app}, then: deny}"),
        "classifiers[0].to.service",
        "no service named 'app'",
        "declare it under `services:`",
    ),
    (
        "unknown function",
        "functions: {firewall: {instances: {a: {host: a}}}}\nchains: {c: {through: [§firewal]}}",
        "chains.c.through[0]",
        "no function named 'firewal'",
        "did you mean 'firewall'?",
    ),
    (
        "unknown network of an endpoint",
        endpoint("{host: h, network: §servers}"),
        "endpoints.e.network",
        "no network named 'servers'",
        "",
    ),
    ("chain of nothing", "chains: {c: {through: §[]}}", "chains.c.through", "it is empty", "at least one"),
    (
        "function twice in a chain",
        FUN + "chains: {c: {through: [fw, §fw]}}",
        "chains.c.through[1]",
        "'fw' is in the chain twice",
        "once",
    ),
    (
        "function of no instance",
        "functions: {f: {instances: §{}}}",
        "functions.f.instances",
        "it is empty",
        "",
    ),
    (
        "unknown mode",
        "functions: {f: {mode: §transparant, instances: {a: {host: a}}}}",
        "functions.f.mode",
        "'transparant' is not known here",
        "transparent?",
    ),
    (
        "instance attached twice",
        "functions: {f: {instances: {a: {host: x}}}, g: {instances: {§b: {host: x}}}}",
        "functions.g.instances.b",
        "host 'x' is attached as instance 'f.a' already (p.yaml:2:29)",
        "a host of its own",
    ),
    (
        "instance as endpoint",
        "functions: {f: {instances: {a: {host: x}}}}\nendpoints: {§e: {host: x}}",
        "endpoints.e",
        "host 'x' is an instance of function 'f'",
        "remove",
    ),
    (
        "host in one network twice",
        NET + "endpoints: {a: {host: x, network: n}, §b: {host: x, network: n}}",
        "endpoints.b",
        "is endpoint 'a' of the same network already",
        "",
    ),
    (
        "bad subnet",
        "networks: {n: {subnet: §10.0.0.0/33}}",
        "networks.n.subnet",
        "is not a prefix",
        "10.1.0.0/24",
    ),
    (
        "host bits in a subnet",
        "networks: {n: {subnet: [§10.0.0.1/24]}}",
        "networks.n.subnet[0]",
        "bits set",
        "write 10.0.0.0/24",
    ),
    (
        "two subnets of a family",
        "networks: {n: {subnet: [10.0.0.0/24, §10.0.1.0/24]}}",
        "networks.n.subnet[1]",
        "a second subnet of IPv4",
        "one a family",
    ),
    (
        "gateway outside",
        "networks: {n: {subnet: 10.0.0.0/24, gateway: §10.0.1.1}}",
        "networks.n.gateway",
        "10.0.1.1 is outside 10.0.0.0/24",
        "of the subnet",
    ),
    (
        "gateway is broadcast",
        "networks: {n: {subnet: 10.0.0.0/24, gateway: §10.0.0.255}}",
        "networks.n.gateway",
        "broadcast",
        "",
    ),
    (
        "bad gateway",
        "networks: {n: {subnet: 10.0.0.0/24, gateway: §10.0.0.300}}",
        "networks.n.gateway",
        "is not an IP address",
        "",
    ),
    (
        "overlapping networks",
        "networks: {a: {subnet: 10.0.0.0/8}, b: {subnet: §10.1.0.0/16}}",
        "networks.b.subnet",
        "10.1.0.0/16 overlaps 10.0.0.0/8 of network 'a' (p.yaml:2:12)",
        "its own",
    ),
    (
        "network kind",
        "networks: {n: {subnet: 10.0.0.0/8, kind: §services}}",
        "networks.n.kind",
        "'services' is not known here",
        "service?",
    ),
    (
        "endpoint in a service network",
        endpoint("{host: h, network: §v}"),
        "endpoints.e.network",
        "is a pool of service addresses",
        "kind hosts",
    ),
    ("label key", endpoint("{host: h, labels: §{-x: y}}"), "endpoints.e.labels", "label '-x'", "rename"),
    (
        "label value",
        endpoint("{host: h, labels: §{x: a b}}"),
        "endpoints.e.labels",
        "'a b' is not a label value",
        "",
    ),
    ("label without a value", endpoint("{host: h, labels: {§x: ~}}"), "endpoints.e.labels.x", "nothing", ""),
    (
        "name of an object",
        "chains: {§a/b: {through: [fw]}}",
        "chains.a/b",
        "'a/b' is not a name",
        "63 letters",
    ),
    (
        "service in an unknown network",
        service("{network: §w, selector: tier=web, ports: [80/tcp]}"),
        "services.s.network",
        "no network named 'w'",
        "",
    ),
    (
        "service in a host network",
        service("{network: §n, selector: tier=web, ports: [80/tcp]}"),
        "services.s.network",
        "'n' is not a pool of service addresses",
        "kind: service",
    ),
    (
        "service address outside",
        service("{network: v, ip: §10.0.0.3, selector: tier=web, ports: [80/tcp]}"),
        "services.s.ip",
        "10.0.0.3 is outside 100.1.1.0/24",
        "leave `ip` out",
    ),
    (
        "service selector",
        service('{network: v, selector: §"tier=", ports: [§80:80/icmp]}').replace("§", "", 1),
        "services.s.ports[0]",
        "'icmp' is not supported for services",
        "",
    ),
    (
        "service port",
        service("{network: v, selector: tier=web, ports: [§80:0/tcp]}"),
        "services.s.ports[0]",
        "port 0 does not exist",
        "",
    ),
    (
        "service port twice",
        service("{network: v, selector: tier=web, ports: [80:1/tcp, §80:2/tcp]}"),
        "services.s.ports[1]",
        "80/tcp is written twice",
        "keep one",
    ),
    (
        "service without ports",
        service("{network: v, selector: tier=web, ports: §[]}"),
        "services.s.ports",
        "it is empty",
        "",
    ),
    (
        "empty selector",
        service('{network: v, selector: §"", ports: [80/tcp]}'),
        "services.s.selector",
        "would match everything",
        "",
    ),
    (
        "service address twice",
        NET + "services:\n  a: {network: v, ip: 100.1.1.3, selector: x, ports: [80/tcp]}\n"
        "  §b: {network: v, ip: 100.1.1.3, selector: x, ports: [80/tcp]}",
        "services.b.ip",
        "100.1.1.3 belongs to service 'a' (p.yaml:4:3)",
        "another address",
    ),
    (
        "service address is a gateway",
        "networks: {v: {subnet: 100.1.1.0/24, gateway: 100.1.1.1, kind: service}}\n"
        "services:\n  §s: {network: v, ip: 100.1.1.1, selector: x, ports: [80/tcp]}",
        "services.s.ip",
        "belongs to the gateway of network 'v'",
        "another address",
    ),
    (
        "must_understand",
        "must_understand: [§teleport]",
        "must_understand[0]",
        "does not understand 'teleport'",
        "use a version that does",
    ),
    (
        "handover of another mode",
        "functions: {f: {mode: routed, handover: §original, instances: {a: {host: a}}}}",
        "functions.f.handover",
        "the handover is for transparent functions, and 'f' is routed",
        "remove `handover`",
    ),
    (
        "handover unknown",
        "functions: {f: {handover: §lable, instances: {a: {host: a}}}}",
        "functions.f.handover",
        "'lable' is not known here",
        "label?",
    ),
    (
        "on_failure unknown",
        "functions: {f: {on_failure: §drop, instances: {a: {host: a}}}}",
        "functions.f.on_failure",
        "'drop' is not known here",
        "'closed', 'open' or 'reject'",
    ),
    ("return a function", FUN + "chains: {c: {through: [fw], return: §fw}}", "chains.c.return", "'fw' is no way", ""),
    ("return of nothing", FUN + "chains: {c: {through: [fw], return: §[]}}", "chains.c.return", "it is empty", ""),
    (
        "return of an unknown function",
        FUN + "chains: {c: {through: [fw], return: [fw, §wf]}}",
        "chains.c.return[1]",
        "no function named 'wf'",
        "known: fw",
    ),
    (
        "return twice through one",
        FUN + "chains: {c: {through: [fw], return: [fw, §fw]}}",
        "chains.c.return[1]",
        "'fw' is in the way back twice",
        "once",
    ),
    (
        "return through a translating function of its own",
        STEER.replace("cf: {through: [fw]", "cf: {through: [fw], return: [fw, §nat]"),
        "chains.cf.return[1]",
        "function 'nat' changes addresses and is not on the way there",
        "leave it out of `return`",
    ),
    (
        "return through one of two translating functions",
        STEER.replace("  nat: {", "  pat: {mode: translating, instances: {e: {host: e}}}\n  nat: {").replace(
            "through: [nat, fw]", "through: [nat, pat], return: [fw, §nat]"
        ),
        "chains.cn.return[1]",
        "replies are sent to the addresses of pat, nat, in this order, and the list says nat",
        "name pat, nat in this order, or none of them: then the others are met before 'pat'",
    ),
    (
        "return through translating functions the wrong way round",
        STEER.replace("  nat: {", "  pat: {mode: translating, instances: {e: {host: e}}}\n  nat: {").replace(
            "through: [nat, fw]", "through: [nat, pat], return: [§nat, fw, pat]"
        ),
        "chains.cn.return[0]",
        "in this order, and the list says nat, pat",
        "name pat, nat in this order",
    ),
    (
        "a tap that rejects when it fails",
        "functions: {f: {mode: tap, on_failure: §reject, instances: {a: {host: a}}}}",
        "functions.f.on_failure",
        "function 'f' is a tap: traffic passes whether it gets its copies or not",
        "remove `on_failure`",
    ),
    (
        "a tap that closes when it fails",
        "functions: {f: {mode: tap, on_failure: §closed, instances: {a: {host: a}}}}",
        "functions.f.on_failure",
        "function 'f' is a tap",
        "",
    ),
    (
        "limit of nothing",
        classifier("{from: any, to: any, then: {limit: §0Mbps}}"),
        "classifiers[0].then.limit",
        "0Mbps lets nothing through, and a limit is above zero",
        "`then: deny` where nothing is to pass",
    ),
    (
        "limit in the words of tc",
        classifier("{from: any, to: any, then: {limit: §5Mbit}}"),
        "classifiers[0].then.limit",
        "'5Mbit' is not a rate",
        "did you mean 5Mbps?",
    ),
    (
        "limit in bits per second in words",
        classifier("{from: any, to: any, then: {limit: §10 Gbit/s}}"),
        "classifiers[0].then.limit",
        "'10 Gbit/s' is not a rate",
        "did you mean 10Gbps?",
    ),
    (
        "transport unknown",
        FUN + "chains: {c: {through: [fw], transport: §vxlan}}",
        "chains.c.transport",
        "'vxlan' is not known here",
        "vlan?",
    ),
    ("flood unknown", "flood: [dhcp, §arp]", "flood[1]", "'arp' is not known here", "'dhcp' or 'multicast'"),
    ("flood nothing", "flood: §[]", "flood", "it is empty", "at least one"),
    (
        "insert unknown",
        STEER.replace("m: {", "m: {insert: [fw, §ff], "),
        "networks.m.insert[1]",
        "named 'ff'",
        "known: fw",
    ),
    ("insert twice", STEER.replace("m: {", "m: {insert: [fw, §fw], "), "networks.m.insert[1]", "in the list twice", ""),
    ("insert nothing", STEER.replace("m: {", "m: {insert: §[], "), "networks.m.insert", "it is empty", ""),
    (
        "insert a translating function",
        STEER.replace("m: {", "m: {insert: [r, §nat], "),
        "networks.m.insert[1]",
        "function 'nat' changes addresses",
        "a classifier with a chain",
    ),
    (
        "insert at a pool of addresses",
        STEER.replace("v: {", "v: {insert: §[fw], "),
        "networks.v.insert",
        "has no hosts whose traffic could leave it",
        "the network of the hosts",
    ),
    (
        "insert in a segment",
        segment("{network: n, cidr: 10.0.0.0/25, insert: [§nat]}"),
        "segments.s1.insert[0]",
        "'nat' changes addresses",
        "",
    ),
    ("segment of nothing", segment("§{network: n, insert: [fw]}"), "segments.s1", "found nothing", "one of the two"),
    (
        "segment of both",
        segment("§{network: n, cidr: 10.0.0.0/25, selector: a=b}"),
        "segments.s1",
        "a cidr or a selector, found both",
        "one of the two",
    ),
    (
        "segment with an unknown key",
        segment("{network: n, §cdir: 10.0.0.0/25}"),
        "segments.s1.cdir",
        "unknown key",
        "did you mean 'cidr'?",
    ),
    (
        "segment without a network",
        segment("{cidr: 10.0.0.0/25}").replace("  s1", "  §s1"),
        "segments.s1",
        "'network' is missing",
        "add `network",
    ),
    ("segment as a word", segment("§kiosks"), "segments.s1", "expected `key: value` pairs", ""),
    (
        "segment of an unknown network",
        segment("{network: §nn, cidr: 10.0.0.0/25}"),
        "segments.s1.network",
        "no network named 'nn'",
        "did you mean 'n'?",
    ),
    (
        "segment of a pool of addresses",
        segment("{network: §v, selector: a=b}"),
        "segments.s1.network",
        "is a pool of service addresses",
        "kind hosts",
    ),
    (
        "segment outside its network",
        segment("{network: n, cidr: §10.0.0.0/23}"),
        "segments.s1.cidr",
        "10.0.0.0/23 is not inside 10.0.0.0/24",
        "a part",
    ),
    (
        "segment of the other family",
        segment("{network: n, cidr: §fd00::/64}"),
        "segments.s1.cidr",
        "fd00::/64 is not inside 10.0.0.0/24",
        "",
    ),
    (
        "two segments of one prefix",
        segment("{network: n, cidr: 10.0.0.0/25}", "{network: n, cidr: §10.0.0.0/25}"),
        "segments.s2.cidr",
        "10.0.0.0/25 is segment 's1' already (p.yaml:11:3)",
        "a part of the other",
    ),
    (
        "two selectors with a host in common",
        segment("{network: n, selector: a=b}", "{network: n, selector: c=d}").replace("  s2", "  §s2"),
        "segments.s2",
        "host 'x' is in segment 's1' too (p.yaml:11:3), and neither segment is a part",
        "no host in common",
    ),
    (
        "party of an unknown segment",
        segment("{network: n, cidr: 10.0.0.0/25}") + "classifiers: [{from: any, to: {segment: §s2}, then: deny}]",
        "classifiers[0].to.segment",
        "no segment named 's2'",
        "known: s1",
    ),
    (
        "after an unknown function",
        steer("{from: any, to: any, after: §idss, then: deny}"),
        "classifiers[0].after",
        "no function named 'idss'",
        "did you mean 'ids'?",
    ),
    (
        "after a tap",
        steer("{from: any, to: any, after: §ids, then: deny}"),
        "classifiers[0].after",
        "function 'ids' is a tap: it gets copies",
        "that traffic goes through",
    ),
    (
        "after itself",
        steer("{from: any, to: any, after: fw, then: {chain: §cf}}"),
        "classifiers[0].then.chain",
        "a loop: what comes out of 'fw' comes back to it by chain 'cf'",
        "to `allow`",
    ),
    (
        "a loop of three",
        steer(
            "{from: any, to: any, after: fw, then: {chain: §cr}}\n"
            "  - {name: x, from: any, to: any, after: r, then: {chain: cn}}"
        ),
        "classifiers[0].then.chain",
        "by chain 'cr' and then chain 'cn' (classifier 'x' after 'r')",
        "",
    ),
    (
        "dscp unknown",
        steer("{from: any, to: any, dscp: §af24, then: deny}"),
        "classifiers[0].dscp",
        "not a DSCP",
        "af43",
    ),
    ("dscp 64", steer("{from: any, to: any, dscp: [1, §64], then: deny}"), "classifiers[0].dscp[1]", "too large", "63"),
    ("dscp of nothing", steer("{from: any, to: any, dscp: §[], then: deny}"), "classifiers[0].dscp", "it is empty", ""),
    ("mark unknown", steer("{from: any, to: any, then: {dscp: §gold}}"), "classifiers[0].then.dscp", "'gold'", "ef"),
    (
        "limit without a unit",
        steer("{from: any, to: any, then: {chain: cf, limit: §50}}"),
        "classifiers[0].then.limit",
        "'50' is not a rate",
        "50Mbps",
    ),
    (
        "limit too small",
        steer("{from: any, to: any, then: {limit: §999bps}}"),
        "classifiers[0].then.limit",
        "less",
        "1k",
    ),
    (
        "limit too large",
        steer("{from: any, to: any, then: {limit: §5Tbps}}"),
        "classifiers[0].then.limit",
        "more",
        "4T",
    ),
    ("queue below 0", steer("{from: any, to: any, then: {queue: §-1}}"), "classifiers[0].then.queue", "too small", "0"),
    (
        "queue beyond HTB",
        steer("{from: any, to: any, then: {queue: §61440}}"),
        "classifiers[0].then.queue",
        "large",
        "",
    ),
    (
        "marks on deny",
        steer("{from: any, to: any, then: §{deny: true, limit: 1Mbps, queue: 1}}"),
        "classifiers[0].then",
        "what deny meets does not pass: no limit or queue there",
        "write deny alone",
    ),
    (
        "marks on reject",
        steer("{from: any, to: any, then: §{reject: true, dscp: ef}}"),
        "classifiers[0].then",
        "what reject meets does not pass",
        "write reject alone",
    ),
    (
        "two verdicts",
        steer("{from: any, to: any, then: §{chain: cf, allow: true}}"),
        "classifiers[0].then",
        "a verdict is one thing, found chain and allow",
        "keep one",
    ),
    (
        "no verdict",
        steer("{from: any, to: any, then: §{}}"),
        "classifiers[0].then",
        "nothing is written",
        "allow, deny",
    ),
    (
        "verdict denied",
        steer("{from: any, to: any, then: {deny: §false}}"),
        "classifiers[0].then.deny",
        "false is not known here",
        "write one of True",
    ),
    ("duplicate key", "chains: {}\n§chains: {}", "chains", "duplicate key 'chains'", "line 2"),
    ("wrong kind of section", "chains: §[a]", "chains", "expected `key: value` pairs, found a list", ""),
    ("wrong kind of list", "classifiers: §{a: 1}", "classifiers", "expected a list", ""),
    ("default", "default: §drop", "default", "'drop' is not known here", "'allow' or 'deny'"),
]


@pytest.mark.parametrize(
    ("text", "path", "what", "remedy"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    text, (place,) = unmark(f"version: 1\n{text}\n", "p.yaml")
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p.yaml": text})
    here = [item for item in caught.value.diagnostics if item.path == path]
    assert here, caught.value
    assert (str(here[0].position), what in here[0].what, remedy in here[0].remedy) == (
        str(place),
        True,
        True,
    ), here[0]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("chains: {}\n", 1, "'version' is missing; add `version: 1`"),
        ("version: 2\n", 1, "2 is not known here; write one of 1"),
        ('version: "1"\n', 1, "'1' is not known here"),
        ("", 0, "the file is empty"),
        ("hello world\n", 1, "expected `key: value` lines, found 'hello world'"),
    ],
)
def test_what_is_no_policy_file_at_all(text: str, line: int, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p.yaml": text})
    (problem,) = caught.value.diagnostics
    assert problem.position.line == line
    assert what in str(problem)


def test_a_file_that_must_be_understood_is_not_read_further() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy({"p": "version: 1\nmust_understand: [a, [b]]\nnew-thing: 5\n"})
    assert [item.position.line for item in caught.value.diagnostics] == [2, 2]
    assert "'a'" in caught.value.diagnostics[0].what


@pytest.mark.parametrize(
    ("count", "severity"), [(64, None), (65, "warning"), (256, "warning"), (257, "error")]
)
def test_limits_on_instances(count: int, severity: str | None) -> None:
    instances = "".join(f"      i{n}: {{host: x{n}}}\n" for n in range(count))
    text = f"version: 1\nfunctions:\n  f:\n    instances:\n{instances}"
    if severity == "error":
        with pytest.raises(PolicyError, match="257 instances; at most 256"):
            parse_policy({"p": text})
    else:
        assert [item.severity for item in parse_policy({"p": text}).warnings] == (
            [severity] if severity else []
        )


def test_a_selector_within_another_is_a_part_of_it() -> None:
    parse_policy({"p": "version: 1\n" + segment("{network: n, selector: a=b}", "{network: n, selector: 'a=b, c=d'}")})
    parse_policy({"p": "version: 1\n" + segment("{network: n, selector: a=b}", "{network: m, selector: c=d}")})


def test_a_branch_that_only_looks_like_a_loop() -> None:
    text = steer(
        "{from: any, to: any, after: fw, then: {chain: cr}}\n  - {from: any, to: {host: h}, after: r, then: allow}"
    )
    assert parse_policy({"p": f"version: 1\n{text}"}).warnings == ()


def test_what_is_written_and_will_not_happen_is_a_warning() -> None:
    text, places = unmark(
        "version: 1\nnetworks: {n: {subnet: 10.0.0.0/24, insert: §[ids]}}\n"
        "segments: {§s: {network: n, selector: tier=web}}\n"
        "functions: {ids: {mode: tap, instances: {a: {host: a}}}, fw: {instances: {b: {host: b}}}}\n"
        "classifiers: [{from: any, to: any, after: §fw, then: deny}]\n",
        "p",
    )
    loaded = parse_policy({"p": text})
    said = {str(item.position): item.what for item in loaded.warnings}
    assert set(said) == {str(place) for place in places}
    assert "only taps are inserted" in said[str(places[0])]
    assert "the selector 'tier=web' matches no endpoint" in said[str(places[1])]
    assert "no chain goes through it" in said[str(places[2])]


def test_a_selector_that_matches_nothing_is_a_warning() -> None:
    text, places = unmark(
        f"version: 1\n{NET}{EP}services:\n  §s: {{network: v, selector: tier=db, ports: [80/tcp]}}\n"
        "classifiers:\n  - {from: {selector: §tier!=web}, to: {selector: tier}, then: deny}\n",
        "p",
    )
    loaded = parse_policy({"p": text})
    assert [item.position for item in loaded.warnings] == places
    assert "the selector 'tier=db' matches no endpoint" in loaded.warnings[0].what
    assert "tier=web" in loaded.warnings[0].remedy


def test_a_host_belongs_to_one_tenant() -> None:
    texts = {name: f"version: 1\ntenant: {name}\nendpoints: {{e: {{host: h}}}}\n" for name in ("red", "blue")}
    with pytest.raises(PolicyError, match="host 'h' belongs to tenant 'red'"):
        parse_policy(texts)

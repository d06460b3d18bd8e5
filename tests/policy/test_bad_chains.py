"""Functions, instances and chains that cannot be: each refused at its very place (`bad_policies`)."""

from __future__ import annotations

import pytest
from bad_policies import FUN, STEER, Case, each, refused_at_its_place

from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import parse_policy

CASES: list[Case] = [
    (
        "weight 257",
        "functions: {f: {instances: {a: {host: x, weight: §257}}}}",
        "functions.f.instances.a.weight",
        "257 is too large",
        "most is 256",
    ),
    (
        "unknown function",
        "functions: {firewall: {instances: {a: {host: a}}}}\nchains: {c: {through: [§firewal]}}",
        "chains.c.through[0]",
        "no function named 'firewal'",
        "did you mean 'firewall'?",
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
        "name of an object",
        "chains: {§a/b: {through: [fw]}}",
        "chains.a/b",
        "'a/b' is not a name",
        "63 letters",
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
        "transport unknown",
        FUN + "chains: {c: {through: [fw], transport: §vxlan}}",
        "chains.c.transport",
        "'vxlan' is not known here",
        "vlan?",
    ),
]


@each(CASES)
def test_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    refused_at_its_place(text, path, what, remedy)


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

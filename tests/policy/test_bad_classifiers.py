"""Classifiers that cannot be: each refused at its very place (`bad_policies`)."""

from __future__ import annotations

from bad_policies import Case, classifier, each, refused_at_its_place, segment, service, steer

from controller_app.policy.policy_file import parse_policy

CASES: list[Case] = [
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
]


@each(CASES)
def test_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    refused_at_its_place(text, path, what, remedy)


def test_a_branch_that_only_looks_like_a_loop() -> None:
    text = steer(
        "{from: any, to: any, after: fw, then: {chain: cr}}\n  - {from: any, to: {host: h}, after: r, then: allow}"
    )
    assert parse_policy({"p": f"version: 1\n{text}"}).warnings == ()

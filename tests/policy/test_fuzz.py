"""Whatever the input: a value or a PolicyError with positions in that file, never another exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from policies_by_example import BY_EXAMPLE, SERVING, SMALLEST, STEERING, WHOLE
from test_topology_file import GOOD
from test_topology_graph import GML

from controller_app.model.position import PolicyError
from controller_app.policy.policy_file import check_against, parse_policy
from controller_app.policy.topology_file import parse_topology

NETWORK = parse_topology(
    "version: 1\nswitches: {s1: {dpid: 1}, s2: {dpid: 2}}\nhosts: {h1: {attach: s1:1, ip: 10.1.0.1}, "
    "h3: {attach: s2:1}, r1: {attach: s2:5, mac: 02:00:00:00:00:01}, n1: {attach: s1:6, vlan: 5}, "
    "nat1: {attach: {in: s1:7, out: {port: s2:7, ip: 10.2.0.7}}}, "
    "fw1: {attach: {in: s1:2, out: s2:2}}, ids1: {attach: s1:9}}\n",
    "t",
)
GRAPHML = (
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    '<key attr.name="label" attr.type="string" for="node" id="d1"/>'
    '<graph edgedefault="undirected"><node id="0"><data key="d1">A</data></node><node id="1"/>'
    '<edge source="0" target="1"/></graph></graphml>'
)
NODE_LINK = (
    '{"nodes": [{"id": "a"}, {"id": 2}], "links": [{"source": "a", "target": 2, "bandwidth": "1Gbps"}]}'
)

PIECES = st.sampled_from(
    [
        *":{}[],\"'#|>%@~<$*",
        *("", " ", "\n", "\t", ": ", "- ", "&a ", "*a", "!!str ", "!x ", "---\n", "...\n", "&amp;", "[key]"),
        *("null", "true", "-1", "0", "1", "1e999", ".nan", ".inf", "0x", "9" * 25, "9" * 5000),
        *("any", "s1:1", "10.0.0.0/8", "::/0", "é", "\x00", "\x85", "\ufeff", "\ud800", "\U0001f600"),
    ]
)


@st.composite
def mutated(draw: st.DrawFn, *texts: str) -> str:
    """One of the texts with a few runs of characters replaced by pieces of syntax, or by other runs of it."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        copy = draw(st.integers(0, len(text)))
        piece = draw(st.one_of(PIECES, st.just(text[copy : copy + 20])))
        text = text[:start] + piece + text[end:]
    return text


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), mutated(SMALLEST, WHOLE, STEERING, SERVING, BY_EXAMPLE)))
def test_policies(text: str) -> None:
    try:
        loaded = parse_policy({"p": text})
    except PolicyError as error:
        assert error.diagnostics
        for item in error.diagnostics:
            assert item.position.file == "p"
            assert item.what and item.remedy and item.path
            assert 0 <= item.position.line <= text.count("\n") + text.count("\r") + text.count("\x85") + 2
    else:
        for item in check_against(loaded.policy, NETWORK):
            assert item.what and item.remedy and item.path


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(max_size=60), mutated(GOOD, NODE_LINK, GML, GRAPHML)),
    st.sampled_from(["t.yaml", "t.json", "t.gml", "t.graphml"]),
)
def test_topologies(text: str, name: str) -> None:
    try:
        parse_topology(text, name)
    except PolicyError as error:
        assert all(item.position.file == name for item in error.diagnostics)


@settings(max_examples=150, deadline=None)
@given(mutated(GML, GRAPHML), st.booleans())
def test_graph_formats(text: str, gml: bool) -> None:
    try:
        parse_topology(text, "t.gml" if gml else "t.graphml")
    except PolicyError as error:
        assert error.diagnostics


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), PIECES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(max_size=5),
                st.sampled_from(
                    [
                        "host",
                        "from",
                        "to",
                        "then",
                        "chain",
                        "attach",
                        "in",
                        "out",
                        "port",
                        "mac",
                        "vlan",
                        "cidr",
                        "insert",
                        "return",
                        "limit",
                        "dscp",
                        "ends",
                        "id",
                        "selector",
                        "matchLabels",
                        "instances",
                        "health",
                        "probe",
                        "expose",
                        "drain",
                    ]
                ),
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            "must_understand",
            "tenant",
            "default",
            "flood",
            "networks",
            "segments",
            "endpoints",
            "functions",
            "chains",
            "classifiers",
            "services",
            "switches",
            "links",
            "hosts",
            "nodes",
            "version",
        ]
    ),
    st.one_of(
        values, st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2), st.lists(values, max_size=2)
    ),
)
def test_any_value_in_any_section(section: str, value: object) -> None:
    import json

    text = json.dumps({"version": 1, "links": [], section: value})
    for read in (
        lambda: parse_policy({"p": text.replace('"links": [], ', "")}),
        lambda: parse_topology(text, "t.json"),
    ):
        try:
            read()
        except PolicyError as error:
            assert error.diagnostics

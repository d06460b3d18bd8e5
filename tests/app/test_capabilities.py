"""What switches cannot do is found out when they connect, and nobody is promised it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import bed
import examples
import httpx
import pytest
from dummy_ovs import DummyOvs
from fake_switch import FakeSwitch
from plain_controller import PlainController
from test_rest import files
from wire_client import WireClient

from controller_app.model.flow import FIELD_BITS, Action, DecTtl, Output, PushMpls, SetField, ToGroup, match
from controller_app.model.position import PolicyError
from controller_app.openflow import decode
from controller_app.pipeline.compile import compile_next
from controller_app.runtime import capabilities
from controller_app.runtime.capabilities import ABILITIES, Capabilities, by_version, needs_of
from controller_app.runtime.computed import Computed
from controller_app.runtime.control import Runtime
from controller_app.runtime.shortfall import Able, Lack, lacks, overflows, refusals
from controller_app.runtime.trying import Trying
from controller_app.store.interface import StoredPolicy

NONE = examples.POLICY.replace("STICKINESS", "none").replace("RETURN", "symmetric")
WEB = "  - {name: web, from: {network: clients}, to: {service: app-svc}, traffic: [tcp/8080], then: {chain: inspect}}\n"
CHAINS_ONLY = NONE.partition("services:")[0].replace(WEB, "")
NSH = CHAINS_ONLY.replace("stickiness: none,", "stickiness: none, transport: nsh,")
MPLS = NSH.replace("transport: nsh", "transport: mpls")
LIMITED = CHAINS_ONLY.replace("then: allow}", "then: {allow: true, limit: 1Mbps}}")


def computed(text: str, before: Computed | None = None) -> Computed:
    policy, topology = examples.policy(text=text), examples.network()
    return Computed(policy, topology, compile_next(None if before is None else before.compiled, policy, topology))


def without(*names: str, **more: object) -> Able:
    return Able(Capabilities(dict.fromkeys(names, False), dict.fromkeys(names, "it says so"), **more), "3.1.0")  # type: ignore[arg-type]


def found(ovs: DummyOvs) -> Capabilities:
    """What is found out about the bridge b0, and whether it is as it was."""
    xids = iter(range(100, 1000))
    trying = Trying(lambda: next(xids))
    with WireClient.to_bridge(ovs.management("b0")) as switch:
        switch.send(b"\4\x09\0\x0c\0\0\0\1\0\0\xff\xff")  # OFPT_SET_CONFIG: a controller that gets frames
        switch.send(trying.start(), trying.tick(0.0), trying.tables(), b"\4\x14\0\x08\0\0\0\x63")
        deadline = time.monotonic() + 10
        answered = False
        while (not answered or not trying.settled) and time.monotonic() < deadline:
            raw = switch.read()
            answered |= raw[:8] == b"\4\x15\0\x08\0\0\0\x63"
            if raw[1] == decode.PACKET_IN:
                assert trying.packet(decode.packet_in(raw))
            elif raw[4:8] != b"\0\0\0\x63":
                assert trying.told(raw, int.from_bytes(raw[4:8], "big"))
        assert switch.flows() == []
        assert switch.groups() == []
    return trying.found


@pytest.fixture
def bridge(dummy_ovs: DummyOvs) -> DummyOvs:
    dummy_ovs.add_bridge("b0", 1)
    return dummy_ovs


def test_a_real_switch_is_found_able_and_left_as_it_was(bridge: DummyOvs) -> None:
    bridge.vsctl(
        "--", "--id=@t", "create", "Flow_Table", "flow_limit=50", "--", "set", "bridge", "b0", "flow_tables:120=@t"
    )
    has = found(bridge)
    assert has.can == dict.fromkeys(ABILITIES, True)
    assert has.lacking == ()
    assert has.mpls_depth == 3
    assert has.meters is not None
    assert has.meters > 1000
    assert (has.tables[120], has.tables[0]) == (50, 1_000_000)


@pytest.mark.parametrize(
    ("features", "lacking"),
    [
        (("ct_state",), ("conntrack", "ct-label", "ct-nat")),
        (("ct_label",), ("ct-label",)),
        (("ct_state_nat",), ("ct-nat",)),
    ],
)
def test_a_real_datapath_without_something_is_found_out(
    bridge: DummyOvs, features: tuple[str, ...], lacking: tuple[str, ...]
) -> None:
    for feature in features:
        bridge.appctl("dpif/set-dp-features", "b0", feature, "false")
    has = found(bridge)
    assert has.lacking == lacking
    assert all("CT_DATAPATH_SUPPORT" in has.why[name] for name in lacking)


def test_every_word_of_rules_is_an_ability_or_common_to_all_switches() -> None:
    common = {Output, ToGroup, SetField, DecTtl}
    assert set(get_args(Action)) == common | set(capabilities._BY_ACTION)
    assert set(capabilities._BY_FIELD) <= set(FIELD_BITS)
    named = {*capabilities._BY_ACTION.values(), *capabilities._BY_FIELD.values(), *capabilities._BY_KIND.values()}
    assert named | {"bundles", "ct-nat"} == set(ABILITIES)
    for name, ability in ABILITIES.items():
        if ability.trial is not None:
            assert name in needs_of(ability.trial.actions, ability.trial.match)


@pytest.mark.parametrize(("version", "few"), [("2.16.3", True), ("2.17.0", False), ("3.1.0", False), (None, False)])
def test_old_versions_have_too_few_slots(version: str | None, few: bool) -> None:
    assert (by_version("Open vSwitch", version) is not None) == few
    assert by_version("another switch", version) is None


def test_only_the_switches_whose_rules_need_it_lack_something() -> None:
    nsh = computed(NSH)
    everywhere = {name: without("nsh") for name in nsh.topology.switches}
    needing = {lack.switch for lack in lacks(nsh, everywhere)}
    having = {
        name
        for name, state in nsh.state.items()
        if any("nsh" in needs_of(flow.actions, flow.match) for flow in state.flows.values())
    }
    assert needing == having != set()
    assert lacks(computed(CHAINS_ONLY), everywhere) == ()
    assert [lack.ability for lack in lacks(computed(MPLS), {"s1": without(mpls_depth=1)})] == ["mpls"]
    assert lacks(computed(MPLS), {"s1": without(mpls_depth=2)}) == ()
    (limited,) = lacks(computed(LIMITED), {"s1": without("meters")})
    assert [user.path for user in limited.users] == ["classifiers.ssh"]
    (limited,) = lacks(computed(LIMITED), {"s4": without("meters")})  # h2 is not there, but every edge answers hosts
    assert limited.users == ()
    assert str(limited) == "cannot do meters, which every switch with hosts needs"


def test_a_refusal_names_feature_place_and_switch() -> None:
    plain = computed(CHAINS_ONLY)
    text = NSH.replace("version: 1\n", "version: 1\nmust_understand: [transport-nsh]\n")
    stored = {"p": StoredPolicy("p", text, "policy.yaml", "")}
    able = {"s2": without("nsh")}
    nsh = computed(text, plain)
    said = refusals(nsh, plain, able, {"policy.yaml": StoredPolicy("policy.yaml", text)})
    assert [item.severity for item in said] == ["error", "error"]
    chain, demand = said
    assert (chain.path, text.splitlines()[chain.position.line - 1].strip()[:8]) == ("chains.inspect", "inspect:")
    assert "s2 cannot do Network Service Headers" in chain.what
    assert "it says so (version 3.1.0)" in chain.what
    assert "another transport" in chain.remedy
    assert (demand.path, demand.position.line) == ("must_understand[0]", 2)
    assert "'transport-nsh'" in demand.what
    # What was there before is no reason to refuse something else, but is mentioned.
    assert [item.severity for item in refusals(nsh, nsh, able, stored)] == ["warning"]
    assert refusals(plain, nsh, able, stored) == []


def test_what_does_not_fit_into_a_table_is_refused_before_it_is_sent() -> None:
    plain = computed(CHAINS_ONLY)
    held = sum(key.table == 120 for key in plain.state["s1"].flows)
    empty = computed("version: 1\n")
    for most, foreign, fits in ((held, 0, True), (held - 1, 0, False), (held, 1, False), (held + 1, 1, True)):
        able = {"s1": Able(Capabilities(tables={120: most}), None, {120: foreign})}
        assert (overflows(plain, able) == {}) == fits
        assert (refusals(plain, empty, able, {}) == []) == fits
        assert refusals(plain, plain, able, {}) == []
    (((switch, what), (count, told)),) = overflows(plain, {"s1": Able(Capabilities(groups=1), None, {})}).items()
    assert (switch, what, count > 1) == ("s1", "groups", True)
    assert (told.path, "takes 1 at most" in told.what) == ("switches.s1", True)
    able = {"s1": Able(Capabilities(tables={120: 2}), None, {})}
    ((_, told),) = overflows(plain, able).values()
    assert CHAINS_ONLY.splitlines()[told.position.line - 1].startswith("  - {name: direct")
    # What is too much already may become less, and not more.
    less = computed(CHAINS_ONLY.replace("tcp/20-29, udp/53", "tcp/20-29"), plain)
    assert refusals(less, plain, able, {}) == []
    assert [item.severity for item in refusals(plain, less, able, {})] == ["error"]


# -- a controller with switches that lack something ---------------------------------------------------------


@pytest.fixture
def controller() -> Iterator[PlainController]:
    with PlainController(examples.network(), CHAINS_ONLY) as running:
        yield running


def connect(controller: PlainController, dpid: int, *missing: str) -> FakeSwitch:
    switch = FakeSwitch(("127.0.0.1", controller.port), dpid)
    switch.serve(missing)
    controller.wait(lambda c: dpid in c.conversations and "bundles" in c.conversations[dpid].capabilities.can)
    return switch


def applied(controller: PlainController, text: str) -> None:
    def change() -> None:
        conductor = controller.conductor
        intent = conductor.intent.put({"test": text})
        computed, _ = conductor.check(intent)
        conductor.adopt(intent, computed, "test", 0.0)

    controller.do(change)


@pytest.mark.parametrize(
    ("missing", "wanted", "words"),
    [
        (("conntrack", "ct-label", "ct-nat"), CHAINS_ONLY.replace("none", "connection"), "connection track"),
        (("meters",), LIMITED, "meters"),
    ],
)
def test_a_policy_that_asks_a_switch_for_what_it_lacks_is_refused_whole(
    controller: PlainController, missing: tuple[str, ...], wanted: str, words: str
) -> None:
    with connect(controller, 1, *missing):
        controller.wait(lambda c: c.conversations[1].sync.failures > 0)  # rules that it gets under any policy
        with pytest.raises(PolicyError, match=f"s1 cannot do {words}"):
            applied(controller, wanted)
        assert controller.do(lambda: controller.conductor.intent.text("test")) == CHAINS_ONLY
        applied(controller, CHAINS_ONLY.replace("tcp/23", "tcp/24"))  # what it can is as ever


@pytest.mark.parametrize(("missing", "wanted"), [("nsh", NSH), ("mpls", MPLS)])
def test_what_only_the_datapath_lacks_is_found_out_by_frames(missing: str, wanted: str) -> None:
    with PlainController(examples.network(), CHAINS_ONLY) as controller, connect(controller, 1, missing):
        controller.wait(lambda c: c.conversations[1].capabilities.lacking == (missing,), 15)
        with pytest.raises(PolicyError, match="did not come back"):
            applied(controller, wanted)


def test_a_switch_that_comes_later_and_lacks_something_is_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    with PlainController(examples.network(), LIMITED) as controller:
        with FakeSwitch(("127.0.0.1", controller.port), 1) as switch:
            switch.serve(["meters"])
            controller.wait(lambda c: c.shortfall.problem is not None)
            problem = controller.do(lambda: controller.conductor.shortfall.of("s1"))
            assert problem == "cannot do meters, which classifiers.ssh needs"
            assert controller.do(lambda: controller.conductor.shortfall.of("s2")) is None
            assert sum("s1 cannot do meters" in record.message for record in caplog.records) == 1
        controller.wait(lambda c: c.shortfall.problem is None)


def test_real_switches_without_conntrack_are_promised_no_connections(dummy_ovs: DummyOvs) -> None:
    bed.Bed(dummy_ovs, examples.network(), examples.policy())
    dummy_ovs.appctl("dpif/set-dp-features", "b0", "ct_state", "false")  # one datapath is behind all of them
    with PlainController(examples.network(), "version: 1\n") as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.shortfall.lacks) >= 6)  # conntrack and its labels, of three switches with hosts
        with pytest.raises(PolicyError, match=r"s1 cannot do connection tracking \(ct\).*CT_DATAPATH_SUPPORT"):
            applied(controller, CHAINS_ONLY.replace("none", "connection"))


def test_readiness_says_what_a_switch_lacks(tmp_path: Path) -> None:
    runtime = Runtime(files(tmp_path))
    runtime.start()
    try:
        url = "http://{}:{}/readyz".format(*runtime.api_address)
        assert httpx.get(url, trust_env=False).status_code == 200
        runtime.call(lambda c: setattr(c.shortfall, "lacks", (Lack("s1", "meters", "it says so"),)))
        answer = httpx.get(url, trust_env=False)
        assert (answer.status_code, "s1 cannot do meters" in answer.text) == (503, True)
    finally:
        runtime.close()


def test_a_switch_of_an_old_version_is_sent_no_chains() -> None:
    with PlainController(examples.network(), "version: 1\n") as controller, FakeSwitch(
        ("127.0.0.1", controller.port), 1
    ) as switch:
        switch.serve(version="2.16.1")
        controller.wait(lambda c: 1 in c.conversations and bool(c.conversations[1].capabilities.lacking))
        with pytest.raises(PolicyError, match=r"s1 cannot do select groups, of 256 slots.*2\.17 and later have them"):
            applied(controller, CHAINS_ONLY)


def test_the_switch_list_shows_what_each_can_do(tmp_path: Path) -> None:
    from controller_app.api import views

    with PlainController(examples.network(), CHAINS_ONLY) as controller, connect(controller, 1, "meters"):
        first, second, *_ = controller.do(lambda: views.switches(controller.conductor)["switches"])
    assert (first["lacks"], second["lacks"]) == (["meters"], [])
    assert first["capabilities"]["can"]["meters"] is False
    assert first["capabilities"]["can"]["conntrack"] is True
    assert second["capabilities"] is None


def test_labels_count_up_to_what_comes_back() -> None:
    assert capabilities.labels_pushed((PushMpls(), Output(1), PushMpls())) == 2
    assert needs_of((), match(eth_type=0x8847, mpls_label=3)) == {"mpls"}

"""Frames refused at admission are counted by what was wrong with them, over replaced flows and restarts of a switch."""

from __future__ import annotations

import pytest

from controller_app.model.flow import Flow, Output, match
from controller_app.pipeline.cookies import cookie
from controller_app.pipeline.labels import ANY_LABEL, ANY_WRAPPED
from controller_app.pipeline.tables import ARP, GATEWAY_MAC, IP, NUMBER
from controller_app.runtime.refused import Place, Refused, reason

BASE, HOST, LINK, FUNCTION = (cookie(f"{kind}/x", 1) for kind in ("pipeline", "hosts", "links", "functions"))


def drop(owner: int = BASE, **fields: object) -> Flow:
    return Flow(NUMBER["admission"], 100, match(**fields), cookie=owner)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flow", "wanted"),
    [
        (drop(eth_dst=ANY_LABEL), Place(None, "label")),
        (drop(eth_dst=ANY_WRAPPED), Place(None, "label")),
        (drop(eth_src=GATEWAY_MAC), Place(None, "gateway")),
        (drop(eth_type=0x894F), Place(None, "nsh")),
        (drop(eth_type=0x8847), Place(None, "mpls")),
        (drop(eth_type=0x8848), Place(None, "mpls")),
        (drop(HOST, in_port=3, vlan_tci=(0x1000, 0x1000)), Place(3, "vlan")),
        (drop(HOST, in_port=3, eth_src=5, eth_type=IP), Place(3, "source")),
        (drop(HOST, in_port=3, eth_type=ARP), Place(3, "source")),
        (drop(FUNCTION, in_port=4), Place(4, "function")),
        (drop(in_port=1, eth_type=IP), Place(1, "stray")),
        # and what refuses nothing
        (drop(0x1234, eth_dst=ANY_LABEL), None),
        (Flow(NUMBER["admission"], 1, (), (Output(2),), cookie=BASE), None),
        (Flow(NUMBER["admission"], 1, (), goto=NUMBER["transit"], cookie=BASE), None),
        (Flow(NUMBER["addressing"], 1, (), cookie=BASE), None),
        (Flow(NUMBER["addressing"], 1, match(eth_dst=ANY_LABEL), cookie=BASE), Place(None, "label")),
        (Flow(NUMBER["deliver"], 1, match(eth_dst=ANY_LABEL), cookie=BASE), None),
    ],
)
def test_a_flow_says_what_it_refuses(flow: Flow, wanted: Place | None) -> None:
    assert reason(flow) == wanted


def test_counts_go_on_when_counters_begin_anew() -> None:
    refused = Refused()
    forged, label = drop(HOST, in_port=3, eth_type=IP), drop(eth_dst=ANY_LABEL)
    refused.audited([(forged, 5), (label, 0)])
    refused.audited([(forged, 7), (label, 2)])
    assert (refused.at(3), refused.at(4)) == (7, 0)
    refused.audited([(forged, 1)])  # replaced, and one frame since
    assert refused.at(3) == 8
    refused.audited([])
    refused.audited([(forged, 4)])  # taken away and added again
    assert refused.totals == {Place(3, "source"): 12, Place(None, "label"): 2}

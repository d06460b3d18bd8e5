"""What a resolver says of services: to whom, of what, and of nothing else."""

from __future__ import annotations

import struct
from dataclasses import replace

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy, Selector, Service, ServicePort, Tenant
from controller_app.naming import domain, fqdn
from controller_app.naming.answering import LARGEST, SMALLEST, TTL, answer
from controller_app.naming.zone import Zone, build_zone

ADDRESSES = {
    "blue/app-svc": ("100.1.1.3", "fd03::3"),
    "blue/Web": ("100.1.1.4",),
    "blue/web": ("100.1.1.5",),
    "blue/api.v1": ("fd03::6",),
    "blue/new": (),
    "blue/many": ("100.1.1.7",),
    "red/app-svc": ("100.1.1.3",),
    "red/own": ("100.1.1.9",),
    "a.b/s": ("100.1.1.10",),
    "odd./s": ("100.1.1.11",),
}
PORTS = {
    "blue/app-svc": (ServicePort(8080, 80), ServicePort(53, 5353, "udp"), ServicePort(53, 5353)),
    "blue/many": tuple(ServicePort(port, port) for port in range(1000, 1100)),
}


def zone(addresses: dict[str, tuple[str, ...]]) -> Zone:
    tenants: dict[str, Tenant] = {}
    for key in addresses:
        tenant, name = key.split("/")
        ports = PORTS.get(key, (ServicePort(80, 80),))
        service = Service(name, "vips", Selector(()), ports, expose="internal" if name == "own" else "everyone")
        before = tenants.get(tenant, Tenant(tenant))
        tenants[tenant] = replace(before, services={**before.services, name: service})
    return build_zone(Policy(tenants), Allocation(addresses=addresses))


ZONE = zone(ADDRESSES)


def ask(name: str, rdtype: str = "A", tenant: str = "blue", zone: Zone = ZONE, **how: object) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, **how)  # type: ignore[arg-type]
    said = answer(zone, tenant, query.to_wire())
    assert said is not None
    response = dns.message.from_wire(said)
    assert query.is_response(response)
    return response


def records(response: dns.message.Message) -> dict[str, set[str]]:
    """Texts of the answers, by type."""
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert all(rrset.ttl == TTL for section in response.sections[1:] for rrset in section)
    return {dns.rdatatype.to_text(r.rdtype): {rdata.to_text() for rdata in r} for r in response.answer}


def nothing(response: dns.message.Message) -> tuple[str, str]:
    """The rcode of an answer without records, and the zone that says so."""
    assert not response.answer
    (soa,) = response.authority
    assert (soa.rdtype, soa.ttl, soa[0].minimum) == (dns.rdatatype.SOA, TTL, TTL)
    return dns.rcode.to_text(response.rcode()), soa.name.to_text()


def test_a_services_name_has_its_addresses() -> None:
    assert records(ask("app-svc.blue.svc.internal")) == {"A": {"100.1.1.3"}}
    assert records(ask("app-svc.blue.svc.internal", "AAAA")) == {"AAAA": {"fd03::3"}}
    assert records(ask("api.v1.blue.svc.internal", "AAAA")) == {"AAAA": {"fd03::6"}}
    assert records(ask("s.a.b.svc.internal", tenant="a.b")) == {"A": {"100.1.1.10"}}


def test_a_name_follows_its_address() -> None:
    moved = zone({**ADDRESSES, "blue/app-svc": ("100.1.1.77",)})
    assert records(ask("app-svc.blue.svc.internal", zone=moved)) == {"A": {"100.1.1.77"}}
    assert nothing(ask("app-svc.blue.svc.internal", "AAAA", zone=moved))[0] == "NOERROR"
    assert records(ask("77.1.1.100.in-addr.arpa", "PTR", zone=moved)) == {"PTR": {"app-svc.blue.svc.internal."}}
    assert ask("3.1.1.100.in-addr.arpa", "PTR", zone=moved).rcode() == dns.rcode.REFUSED


def test_ports_are_told_all_together_or_one_by_one() -> None:
    response = ask("app-svc.blue.svc.internal", "SRV")
    target = "app-svc.blue.svc.internal."
    assert records(response) == {"SRV": {f"0 0 8080 {target}", f"0 0 53 {target}"}}
    told = {(r.name.to_text(), rdata.to_text()) for r in response.additional for rdata in r}
    assert told == {(target, "100.1.1.3"), (target, "fd03::3")}
    one = ask("_8080._TCP.app-svc.blue.svc.internal", "SRV")
    assert records(one) == {"SRV": {f"0 0 8080 {target}"}}
    assert len(one.additional) == 2
    assert records(ask("_53._udp.app-svc.blue.svc.internal", "SRV")) == {"SRV": {f"0 0 53 {target}"}}


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("_tcp.app-svc", "NOERROR"),  # nothing there, but below it (RFC 8020)
        ("_8080._tcp.app-svc", "NOERROR"),  # and no address
        ("v1", "NOERROR"),
        ("new", "NOERROR"),
        ("_8080._udp.app-svc", "NXDOMAIN"),
        ("_08080._tcp.app-svc", "NXDOMAIN"),
        ("_81._tcp.app-svc", "NXDOMAIN"),
        ("x._8080._tcp.app-svc", "NXDOMAIN"),
        ("_udp.many", "NXDOMAIN"),
        ("_tcp", "NXDOMAIN"),
        ("x.app-svc", "NXDOMAIN"),
        ("nobody", "NXDOMAIN"),
        ("own", "NXDOMAIN"),
        ("app-svc.blue.svc.internal", "NXDOMAIN"),
        (r"api\.v1", "NXDOMAIN"),
        (r"app-\255svc", "NXDOMAIN"),
    ],
)
def test_what_is_not_there(name: str, rcode: str) -> None:
    assert nothing(ask(f"{name}.blue.svc.internal")) == (rcode, "blue.svc.internal.")


def test_other_types_of_a_known_name() -> None:
    for rdtype in ("MX", "TXT", "CNAME", "SOA", "NS", "HTTPS", "TYPE65280"):
        assert nothing(ask("app-svc.blue.svc.internal", rdtype)) == ("NOERROR", "blue.svc.internal.")


def test_any_gets_one_type() -> None:
    assert records(ask("app-svc.blue.svc.internal", "ANY")) == {"A": {"100.1.1.3"}}
    assert records(ask("api.v1.blue.svc.internal", "ANY")) == {"AAAA": {"fd03::6"}}
    assert nothing(ask("v1.blue.svc.internal", "ANY")) == ("NOERROR", "blue.svc.internal.")


@pytest.mark.parametrize("apex", ["svc.internal.", "blue.svc.internal.", "3.1.1.100.in-addr.arpa."])
def test_zones_say_so(apex: str) -> None:
    assert records(ask(apex, "SOA")) == {"SOA": {f"{apex} nobody.invalid. 1 {TTL} {TTL} {TTL} {TTL}"}}
    assert records(ask(apex, "NS")) == {"NS": {apex}}
    assert nothing(ask(apex, "A")) == ("NOERROR", apex)


def test_tenants_see_their_own_names_alone() -> None:
    for name in ("app-svc.red.svc.internal", "red.svc.internal", "nowhere.svc.internal", "s.a.b.svc.internal"):
        assert nothing(ask(name)) == ("NXDOMAIN", "svc.internal.")
    assert nothing(ask("app-svc.blue.svc.internal", tenant="red")) == ("NXDOMAIN", "svc.internal.")
    assert nothing(ask("app-svc.blue.svc.internal", tenant="nobody")) == ("NXDOMAIN", "svc.internal.")
    # one address, two tenants: each has its own name for it
    for tenant in ("blue", "red"):
        response = ask("3.1.1.100.in-addr.arpa", "PTR", tenant)
        assert records(response) == {"PTR": {f"app-svc.{tenant}.svc.internal."}}
    assert ask("9.1.1.100.in-addr.arpa", "PTR").rcode() == dns.rcode.REFUSED
    # who may not reach a service finds its name all the same
    assert records(ask("own.red.svc.internal", tenant="red")) == {"A": {"100.1.1.9"}}
    # above a tenant with a dot in its name there is something, for itself
    assert nothing(ask("b.svc.internal", tenant="a.b")) == ("NOERROR", "svc.internal.")
    assert nothing(ask("b.svc.internal")) == ("NXDOMAIN", "svc.internal.")


def test_addresses_have_names() -> None:
    reverse = dns.reversename.from_address("fd03::3").to_text()
    assert records(ask(reverse, "PTR")) == {"PTR": {"app-svc.blue.svc.internal."}}
    assert records(ask(reverse.upper(), "PTR")) == {"PTR": {"app-svc.blue.svc.internal."}}
    assert nothing(ask(reverse, "A")) == ("NOERROR", reverse)
    assert nothing(ask("x.3.1.1.100.in-addr.arpa", "PTR")) == ("NXDOMAIN", "3.1.1.100.in-addr.arpa.")


@pytest.mark.parametrize(
    "name",
    ["example.com", ".", "internal", "xsvc.internal", "svc.internal.com", "1.1.100.in-addr.arpa", "in-addr.arpa",
     "003.1.1.100.in-addr.arpa", "256.1.1.100.in-addr.arpa", "1.0.0.127.in-addr.arpa", r"3\.1.1.100.x.in-addr.arpa",
     "0.ip6.arpa", ".".join(["0"] * 32) + ".ip6.arpa", ".".join(["g"] * 32) + ".ip6.arpa",
     ".".join(["00"] * 32) + ".ip6.arpa", ".".join(["3"] * 33) + ".ip6.arpa"],
)  # fmt: skip
def test_of_everything_else_we_know_nothing(name: str) -> None:
    for rdtype in ("A", "PTR", "ANY"):
        response = ask(name, rdtype)
        assert (response.rcode(), response.flags & dns.flags.AA) == (dns.rcode.REFUSED, 0)
        assert not any(response.sections[1:])


def test_what_is_no_type_or_no_class_of_ours_is_refused() -> None:
    for rdtype in ("AXFR", "MAILB", "TYPE128", "TSIG", "OPT"):
        assert ask("app-svc.blue.svc.internal", rdtype).rcode() == dns.rcode.REFUSED
    for rdclass in (dns.rdataclass.CH, dns.rdataclass.ANY):
        assert ask("app-svc.blue.svc.internal", rdclass=rdclass).rcode() == dns.rcode.REFUSED


def test_names_that_differ_in_case_alone_are_one() -> None:
    for name in ("web", "Web", "WEB"):
        assert records(ask(f"{name}.blue.svc.internal")) == {"A": {"100.1.1.5"}}
    assert ask("4.1.1.100.in-addr.arpa", "PTR").rcode() == dns.rcode.REFUSED


def test_names_as_texts() -> None:
    assert fqdn("blue", "App-Svc") == "app-svc.blue.svc.internal"
    assert domain("Blue") == "blue.svc.internal"
    assert fqdn("a.b", "c.d") == "c.d.a.b.svc.internal"
    for tenant, service in (("blue", "x."), ("blue", "x..y"), ("odd.", "s")):
        assert fqdn(tenant, service) is None
    assert domain("odd.") is None
    longest = fqdn("t" * 63, ".".join("s" * 32)[:63])
    assert longest is not None
    dns.name.from_text(f"_65535._tcp.{longest}")
    # who has no domain sees what belongs to everybody, and no service
    assert records(ask("svc.internal", "NS", "odd.")) == {"NS": {"svc.internal."}}
    assert ask("11.1.1.100.in-addr.arpa", "PTR", "odd.").rcode() == dns.rcode.REFUSED


# -- messages ----------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_cut_and_says_so() -> None:
    name = "many.blue.svc.internal"
    assert ask(name, "SRV").flags & dns.flags.TC
    assert not ask("_1042._tcp." + name, "SRV").flags & dns.flags.TC
    seen = set()
    for payload in (0, 512, 600, 4096, 5000, 65535):
        query = dns.message.make_query(name, "SRV", use_edns=0, payload=payload)
        for largest in (512, LARGEST, 4096, 65535):
            limit = min(max(payload, SMALLEST), largest)
            said = answer(ZONE, "blue", query.to_wire(), largest)
            assert said is not None
            assert len(said) <= limit
            response = dns.message.from_wire(said)
            assert (response.edns, response.payload) == (0, LARGEST)
            cut = bool(response.flags & dns.flags.TC)
            # a hundred records of 42 bytes: all, or none of them (RFC 2181 9)
            assert [len(rrset) for rrset in response.answer] == ([] if cut else [100])
            assert cut == (limit < 4200)
            seen.add(cut)
    assert seen == {False, True}


def test_addresses_beside_an_answer_are_left_out_before_it_is_cut() -> None:
    several = Allocation(addresses={"blue/some": tuple(f"fd03::{n:x}" for n in range(1, 11))})
    kinds = []
    for count in range(1, 20):
        service = Service("some", "vips", Selector(()), PORTS["blue/many"][:count])
        made = build_zone(Policy({"blue": Tenant("blue", services={"some": service})}), several)
        response = ask("some.blue.svc.internal", "SRV", zone=made)
        assert len(response.to_wire()) <= SMALLEST
        kinds.append((bool(response.flags & dns.flags.TC), len(response.answer), len(response.additional)))
    assert list(dict.fromkeys(kinds)) == [(False, 1, 1), (False, 1, 0), (True, 0, 0)]


def test_edns() -> None:
    response = ask("app-svc.blue.svc.internal", use_edns=0, want_dnssec=True, payload=1400)
    assert (response.edns, response.payload, response.ednsflags) == (0, LARGEST, dns.flags.DO)
    assert records(response) == {"A": {"100.1.1.3"}}
    assert ask("app-svc.blue.svc.internal", use_edns=False).edns == -1
    newer = ask("app-svc.blue.svc.internal", use_edns=1)
    assert (newer.rcode(), newer.edns, newer.answer) == (dns.rcode.BADVERS, 0, [])
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(100))
    response = ask("app-svc.blue.svc.internal", use_edns=0, options=[cookie, padding])
    assert response.options == ()
    assert records(response) == {"A": {"100.1.1.3"}}
    assert ask("example.com", use_edns=0).edns == 0


def header(wire: bytes) -> tuple[int, ...]:
    return struct.unpack("!HHHHHH", wire[:12])


def test_what_cannot_be_read() -> None:
    query = dns.message.make_query("app-svc.blue.svc.internal", "A", use_edns=0, id=0x1234)
    wire = query.to_wire()
    for length in range(12):
        assert answer(ZONE, "blue", wire[:length]) is None
    damaged = [wire[:length] for length in range(12, len(wire))] + [wire + b"\0"]
    damaged += [wire[:4] + struct.pack("!HHHH", *counts) + wire[12:] for counts in
                ((0, 0, 0, 1), (2, 0, 0, 1), (1, 1, 0, 1), (1, 0, 2, 1), (1, 0, 0, 3), (1, 0, 0, 2))]  # fmt: skip
    damaged.append(wire[:12] + b"\xc0\x0c" + wire[-15:])  # a name that points at itself
    damaged.append(wire[:10] + b"\0\2" + wire[12:] + wire[-11:])  # OPT twice
    for bad in damaged:
        said = answer(ZONE, "blue", bad)
        assert said is not None
        assert header(said) == (0x1234, 0x8101, 0, 0, 0, 0)
        assert len(said) == 12
        assert dns.message.from_wire(said).rcode() == dns.rcode.FORMERR


def test_answers_are_not_answered() -> None:
    wire = answer(ZONE, "blue", dns.message.make_query("app-svc.blue.svc.internal", "A").to_wire())
    assert wire is not None
    assert answer(ZONE, "blue", wire) is None


@pytest.mark.parametrize("opcode", [dns.opcode.IQUERY, dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE, 15])
def test_other_operations_are_not_implemented(opcode: int) -> None:
    wire = bytearray(dns.message.make_query("svc.internal", "SOA", id=7).to_wire())
    wire[2] = wire[2] & 0x87 | opcode << 3
    said = answer(ZONE, "blue", bytes(wire))
    assert said is not None
    assert header(said) == (7, 0x8100 | opcode << 11 | dns.rcode.NOTIMP, 0, 0, 0, 0)


def test_a_signed_question_is_not_authorised() -> None:
    query = dns.message.make_query("app-svc.blue.svc.internal", "A")
    query.use_tsig({dns.name.from_text("key."): dns.tsig.Key("key.", b"secret")})
    said = answer(ZONE, "blue", query.to_wire())
    assert said is not None
    assert dns.message.from_wire(said).rcode() == dns.rcode.NOTAUTH


@given(st.data())
def test_the_question_comes_back_letter_for_letter(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["app-svc.blue.svc.internal", "x.blue.svc.internal", "example.org",
                                      "_8080._tcp.app-svc.blue.svc.internal"]))  # fmt: skip
    mixed = "".join(data.draw(st.sampled_from((letter.lower(), letter.upper()))) for letter in name)
    rdtype = data.draw(st.sampled_from(["A", "AAAA", "SRV", "TXT", "ANY"]))
    wire = dns.message.make_query(mixed, rdtype).to_wire()
    said = answer(ZONE, "blue", wire)
    assert said is not None
    assert said[12 : len(wire)] == wire[12:]  # all but its header
    plain = dns.message.from_wire(answer(ZONE, "blue", dns.message.make_query(name, rdtype).to_wire()) or b"")
    response = dns.message.from_wire(said)
    assert (response.rcode(), response.answer, response.authority) == (plain.rcode(), plain.answer, plain.authority)
    assert all(rrset.name.to_text() == f"{mixed}." for rrset in response.answer)


LABELS = st.sampled_from(
    ["app-svc", "Web", "new", "api", "v1", "many", "_tcp", "_8080", "_udp", "_53", "blue", "red", "svc", "internal"]
)


@given(st.lists(LABELS, max_size=6), st.sampled_from(["A", "AAAA", "SRV", "ANY", "PTR"]))
def test_whatever_lies_below_a_name_that_is_not_there_is_not_there_either(labels: list[str], rdtype: str) -> None:
    """RFC 8020; and what is there lies below what is there."""
    below = ".".join(["x", *labels, "svc.internal"])
    above = ".".join([*labels, "svc.internal"])
    if ask(above, rdtype).rcode() == dns.rcode.NXDOMAIN:
        assert ask(below, rdtype).rcode() == dns.rcode.NXDOMAIN
        for label in ("app-svc", "_tcp", "blue"):
            assert ask(f"{label}.{above}", rdtype).rcode() == dns.rcode.NXDOMAIN


def _damage(wire: bytes, places: list[tuple[int, int]], length: int) -> bytes:
    changed = bytearray(wire)
    for place, value in places:
        changed[place % len(wire)] = value
    return bytes(changed[: max(0, len(wire) - length)])


BYTES = st.tuples(st.integers(0, 200), st.integers(0, 255))
REAL = dns.message.make_query("_8080._tcp.app-svc.blue.svc.internal", "SRV", use_edns=0, payload=700).to_wire()


DAMAGED = st.builds(_damage, st.just(REAL), st.lists(BYTES, max_size=4), st.integers(0, 3))


@given(st.one_of(st.binary(max_size=300), DAMAGED))
def test_whatever_comes_gets_one_readable_answer_or_none(wire: bytes) -> None:
    said = answer(ZONE, "blue", wire)
    if len(wire) < 12 or wire[2] & 0x80:
        assert said is None
        return
    assert said is not None
    assert len(said) <= LARGEST
    assert said[:2] == wire[:2]
    assert said[2] & 0xF9 == 0x80 | wire[2] & 0x79  # it is an answer, to the same operation, with the same RD
    opcode = wire[2] >> 3 & 15
    if opcode == dns.opcode.QUERY:
        response = dns.message.from_wire(said)
        assert len(response.question) == (response.rcode() not in (dns.rcode.FORMERR, dns.rcode.NOTAUTH))

"""DNS questions about services, answered: RFC 1034, RFC 1035, and what later ones made of them.

Authoritative for svc.internal, below it for the domain of the tenant who asks, and for the reverse names of its
services' addresses. There is no recursion, so everything else is REFUSED; other tenants' names do not exist. Every
answer lives five seconds at most, so that a name works on while its address moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset
from dns.rdataclass import IN
from dns.rdatatype import AAAA, ANY, NS, PTR, SOA, SRV, A

from controller_app.model.policy import ServicePort
from controller_app.naming.names import DOMAIN
from controller_app.naming.zone import Key, Named, View, Zone, key

TTL = 5  # seconds that anyone may keep an answer
LARGEST = 1232  # bytes of a message that no link fragments (RFC 8200 5: 1280, less the headers)
SMALLEST = 512  # bytes that everyone takes (RFC 1035 2.3.4)

_HEADER = 12
_TOP = key(DOMAIN)
_REVERSE = {key("in-addr.arpa"): 4, key("ip6.arpa"): 32}  # labels of an address below
_NOBODY = "nobody.invalid."  # who minds such a zone (RFC 6303 3)
_SERIAL = 1  # it is compared where zones are transferred (RFC 1034 4.3.5), and this one never is

Records = Mapping[dns.rdatatype.RdataType, tuple[dns.rdata.Rdata, ...]]


@dataclass(frozen=True, slots=True)
class _Found:
    """What there is at a name. `zone` is the zone it lies in; `exists`: it, or something below it, is there.
    `target`: the service whose addresses go with the answer."""

    zone: Key
    exists: bool = False
    records: Records = field(default_factory=dict)
    target: Named | None = None


def answer(zone: Zone, tenant: str, question: bytes, max_size: int = LARGEST) -> bytes | None:
    """The answer to a message that a host of `tenant` sent, of no more than `max_size` bytes (512 at least); None for
    what is no question and gets none."""
    if len(question) < _HEADER or question[2] & 0x80:
        return None  # cut, or an answer: to answer those would never end
    if question[2] >> 3 & 15 != dns.opcode.QUERY:
        return _bare(question, dns.rcode.NOTIMP)
    asked, answers, authorities, more = (int.from_bytes(question[n : n + 2], "big") for n in (4, 6, 8, 10))
    # one question (RFC 9619); a transfer's has a SOA, others nothing but OPT and a signature
    if asked != 1 or answers or authorities > 1 or more > 2:
        return _bare(question, dns.rcode.FORMERR)
    try:
        query = dns.message.from_wire(question)
    except dns.message.UnknownTSIGKey:
        return _bare(question, dns.rcode.NOTAUTH)
    except dns.exception.DNSException:
        return _bare(question, dns.rcode.FORMERR)
    response = _response(query)
    largest = min(max_size, max(SMALLEST, query.payload)) if query.edns >= 0 else SMALLEST
    if query.edns > 0:
        response.set_rcode(dns.rcode.BADVERS)  # RFC 6891 6.1.3
    else:
        _fill(response, zone.view(tenant))
    return response.to_wire(max_size=largest, prefer_truncation=True)


def _bare(question: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """An answer to what could not be read, of its header alone."""
    return question[:2] + bytes((0x80 | question[2] & 0x79, rcode)) + bytes(8)


def _response(query: dns.message.Message) -> dns.message.Message:
    """The answer's frame: the question letter for letter, and OPT where there was one (RFC 6891 6.1.1)."""
    response = dns.message.QueryMessage(id=query.id)
    response.flags = dns.flags.QR | (query.flags & dns.flags.RD)
    response.question = list(query.question)
    if query.edns >= 0:
        response.use_edns(0, query.ednsflags & dns.flags.DO, LARGEST)
    return response


def _fill(response: dns.message.Message, view: View) -> None:
    asked = response.question[0]
    name, rdtype = asked.name, asked.rdtype
    found = None
    # of what is no type of record (RFC 6895 3.1), transfers for instance, only ANY is answered
    if asked.rdclass == IN and (rdtype == ANY or not (128 <= rdtype < 256 or rdtype == dns.rdatatype.OPT)):
        found = _find(view, tuple(label.lower() for label in name.labels[:-1]))
    if found is None:
        response.set_rcode(dns.rcode.REFUSED)
        return
    response.flags |= dns.flags.AA
    if not found.exists:
        response.set_rcode(dns.rcode.NXDOMAIN)
    if rdtype == ANY:
        rdtype = next(iter(found.records), ANY)  # any will do (RFC 8482 4.1)
    if rdtype not in found.records:
        response.authority.append(_rrset(_name(found.zone), _soa(found.zone)))
        return
    response.answer.append(_rrset(name, found.records[rdtype]))
    if rdtype == SRV and found.target is not None:
        addresses = _addresses(found.target)
        response.additional += [_rrset(_name(found.target.key), records) for records in addresses.values()]


def _find(view: View, name: Key) -> _Found | None:
    """What there is at a name; None for what is not ours to answer."""
    if name[-len(_TOP) :] == _TOP:
        return _find_service(view, name)
    for domain, labels in _REVERSE.items():
        apex = name[-labels - len(domain) :]
        if len(apex) == labels + len(domain) and apex[labels:] == domain:
            owner = view.owners.get(_address(apex))
            if owner is not None:
                there = name == apex
                records = {PTR: (_record(PTR, _text(owner.key)),), **_apex(apex)}
                return _Found(apex, there, records if there else {})
    return None


def _find_service(view: View, name: Key) -> _Found:
    inside = view.domain is not None and name[-len(view.domain) :] == view.domain
    zone = view.domain if inside and view.domain is not None else _TOP
    if name in (_TOP, view.domain):
        return _Found(zone, True, _apex(zone))
    if name in view.nodes:
        named = view.nodes[name]
        if named is None:
            return _Found(zone, True)  # nothing here, but something below (RFC 8020)
        return _Found(zone, True, {**_addresses(named), **_ports(named, named.ports)}, named)
    return _find_port(view, name, zone)


def _find_port(view: View, name: Key, zone: Key) -> _Found:
    """What there is at _tcp, or _8080._tcp, before a service's name (RFC 2782)."""
    for prefix in (1, 2):
        named = view.nodes.get(name[prefix:])
        if named is not None:
            ports = [port for port in named.ports if _labels(port)[2 - prefix :] == name[:prefix]]
            if ports:
                return _Found(zone, True, _ports(named, ports) if prefix == 2 else {}, named)
    return _Found(zone)


def _labels(port: ServicePort) -> Key:
    return b"_%d" % port.port, b"_" + port.protocol.encode()


def _ports(named: Named, ports: tuple[ServicePort, ...] | list[ServicePort]) -> Records:
    target = _text(named.key)
    numbers = dict.fromkeys(port.port for port in ports)
    return {SRV: tuple(_record(SRV, f"0 0 {number} {target}") for number in numbers)}


def _addresses(named: Named) -> Records:
    found = {
        A: tuple(_record(A, ip) for ip in named.ips if ":" not in ip),
        AAAA: tuple(_record(AAAA, ip) for ip in named.ips if ":" in ip),
    }
    return {rdtype: records for rdtype, records in found.items() if records}


def _apex(zone: Key) -> Records:
    return {SOA: _soa(zone), NS: (_record(NS, _text(zone)),)}


def _soa(zone: Key) -> tuple[dns.rdata.Rdata, ...]:
    """What says how long it may be kept that something is not there (RFC 2308 4)."""
    return (_record(SOA, f"{_text(zone)} {_NOBODY} {_SERIAL} {TTL} {TTL} {TTL} {TTL}"),)


def _address(name: Key) -> str:
    """The address that a reverse name of the right length stands for; empty where it stands for none."""
    try:
        found = ip_address(dns.reversename.to_address(_name(name)))
    except (dns.exception.DNSException, ValueError):
        return ""
    return str(found) if key(found.reverse_pointer) == name else ""


def _text(labels: Key) -> str:
    return _name(labels).to_text()


def _record(rdtype: dns.rdatatype.RdataType, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(IN, rdtype, text)


def _name(labels: Key) -> dns.name.Name:
    return dns.name.Name((*labels, b""))


def _rrset(name: dns.name.Name, records: tuple[dns.rdata.Rdata, ...]) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, TTL, records)

"""Switches that connect by TLS: who is let in, and that nobody holds up the others."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dummy_ovs import DummyOvs
from fake_switch import FakeSwitch, xid
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER
from test_osken_fixes import HANDSHAKE, Controller, serve

from controller_app.model.flow import Flow, Output
from controller_app.openflow import encode
from controller_app.openflow.listener import Listener, ListenError, tls_context

x509 = pytest.importorskip("cryptography.x509", reason="certificates are made with cryptography")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402


@dataclass(frozen=True)
class Identity:
    """Paths of a certificate and its key."""

    certificate: str
    key: str


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self._name = folder, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.path = self._write(f"{name}.pem", self._sign(self._name, self._key, True))

    def issue(self, name: str) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
        certificate = self._sign(subject, key, False, name)
        return Identity(self._write(f"{name}.crt", certificate), self._write(f"{name}.key", private))

    def _write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, authority: bool, dns: str = "ca") -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        made = (x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=1))
                .not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.BasicConstraints(authority, None), True)
                .add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), False)
                .sign(self._key, hashes.SHA256()))
        return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "our-ca")


@pytest.fixture(scope="module")
def secure(authority: Authority) -> ssl.SSLContext:
    mine = authority.issue("controller")
    return tls_context(mine.certificate, mine.key, authority.path)


@pytest.fixture
def controller(secure: ssl.SSLContext) -> Iterator[Controller]:
    yield from serve(Listener("127.0.0.1", 0, secure))


def client(authority: Authority, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


def test_a_switch_with_a_certificate_is_let_in_and_large_messages_pass(controller: Controller,
                                                                       authority: Authority) -> None:
    with controller.switch(3, context=client(authority, authority.issue("switch"))) as switch:
        datapath = controller.ours.until(MAIN_DISPATCHER)
        flow = encode.flow_mod(encode.ADD, Flow(0, 1, (), (Output(2),)))
        assert datapath.send(flow * 50_000) and datapath.send(encode.barrier_request(7))
        assert xid(switch.expect(20)) == 7
        switch.send(b"".join(encode.echo_request(9, bytes(60_000)) for _ in range(50)))
        for _ in range(50):
            assert len(switch.expect(3)) == 60_008
    controller.ours.until(DEAD_DISPATCHER, 1)


def test_strangers_are_not_let_in(controller: Controller, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "strange-ca").issue("stranger")
    for identity in (None, stranger):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            controller.switch(4, context=client(authority, identity))
    with socket.create_connection(controller.address) as plain:
        plain.settimeout(5)
        plain.sendall(b"\4\0\0\x08\0\0\0\1")
        with contextlib.suppress(ConnectionError):
            assert plain.recv(100)[:1] != b"\4"  # nothing of OpenFlow, at most a TLS alert
    assert controller.ours.states.empty()


def test_a_stalled_handshake_holds_up_nobody_and_is_cut(controller: Controller, authority: Authority) -> None:
    with socket.create_connection(controller.address) as stalled:
        with controller.switch(5, context=client(authority, authority.issue("switch"))):
            assert controller.ours.until(MAIN_DISPATCHER, 2).id == 5
        stalled.settimeout(HANDSHAKE + 2)
        assert stalled.recv(100) == b""


def test_open_vswitch_connects_by_tls(controller: Controller, authority: Authority, dummy_ovs: DummyOvs) -> None:
    mine = authority.issue("bridge")
    dummy_ovs.vsctl("set-ssl", mine.key, mine.certificate, authority.path)
    dummy_ovs.add_bridge("br", dpid=0x77)
    dummy_ovs.vsctl("set-controller", "br", f"ssl:127.0.0.1:{controller.address[1]}")
    assert controller.ours.until(MAIN_DISPATCHER, 10).id == 0x77
    dummy_ovs.vsctl("del-controller", "br")
    assert controller.ours.until(DEAD_DISPATCHER, 1).id == 0x77


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    mine = authority.issue("named")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for arguments, expected in (
            ((str(tmp_path / "none"), mine.key, None), "none: there is no such file"),
            ((mine.certificate, str(junk), None), "not a certificate and its key"),
            ((mine.certificate, mine.key, str(junk)), "holds no CA certificates")):
        with pytest.raises(ListenError, match=expected):
            tls_context(*arguments)


def test_without_authorities_any_client_may_connect(authority: Authority) -> None:
    mine = authority.issue("controller")
    for found in serve(Listener("127.0.0.1", 0, tls_context(mine.certificate, mine.key, None))):
        with FakeSwitch(found.address, 6, context=client(authority, None)):
            assert found.ours.until(MAIN_DISPATCHER).id == 6

"""Where switches connect: one listening socket, plain or TLS, on exactly the address it was told."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

_BACKLOG = 1024  # a whole network may reconnect at once


class ListenError(Exception):
    """It cannot listen. The text is one line for people."""


def tls_context(certificate: str, private_key: str, authorities: str | None) -> ssl.SSLContext:
    """TLS as a server: our certificate, and, where `authorities` (a PEM file) is given, only switches whose
    certificate one of them signed. Raises ListenError that names the file which cannot be used."""
    for path in filter(None, (certificate, private_key, authorities)):
        if not Path(path).is_file():
            raise ListenError(f"{path}: there is no such file; give PEM files for --ctl-cert, --ctl-privkey "
                              f"and --ca-certs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, private_key)
    except (ssl.SSLError, OSError) as error:
        raise ListenError(f"{certificate} and {private_key} are not a certificate and its key in PEM: {error}"
                          ) from error
    if authorities:
        try:
            context.load_verify_locations(authorities)
        except (ssl.SSLError, OSError) as error:
            raise ListenError(f"{authorities} holds no CA certificates in PEM: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Listener:
    """Bound when made; ListenError when that fails. Port 0: any free one, see `port`."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        self.host, self._context = host, context
        self._closed = False
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                          flags=socket.AI_PASSIVE)[0]
            self._socket = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ListenError(f"cannot listen on {_text(host, port)}: {why}; choose another with "
                              f"--ofp-listen-host or --ofp-tcp-listen-port, or end the program that has it"
                              ) from error
        self.port: int = self._socket.getsockname()[1]

    @property
    def tls(self) -> bool:
        """Does it speak TLS?"""
        return self._context is not None

    def __str__(self) -> str:
        return _text(self.host, self.port) + (" (TLS)" if self.tls else "")

    def serve(self, handle: Callable[[socket.socket, Any], None]) -> None:
        """Accept until `close`. `handle(socket, address)` runs in a thread of each connection's own; a TLS
        socket comes with its handshake still to do, so that a slow one keeps nobody waiting."""
        while not self._closed:
            try:
                connected, address = self._socket.accept()
            except OSError as error:
                if not self._closed:  # out of file descriptors, or a connection that went at once
                    LOG.warning("cannot accept a connection on %s: %s", self, error)
                    time.sleep(0.1)
                continue
            if self._context is not None:
                connected = self._context.wrap_socket(connected, server_side=True,
                                                      do_handshake_on_connect=False)
            threading.Thread(target=handle, args=(connected, address), daemon=True,
                             name=f"switch {address[0]}:{address[1]}").start()

    def close(self) -> None:
        """Stop listening. Connections stay."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone does not wake accept()
        self._socket.close()


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

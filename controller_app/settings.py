"""What `chain-manager` was told: one value, from the command line and its file of options."""

from __future__ import annotations

from dataclasses import dataclass

MAX_UTILISATION_COST = 1000.0
OFP_PORT = 6653  # registered with IANA for OpenFlow, plain and TLS


class SettingsError(ValueError):
    """Options that do not make sense. The text is one line for people."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of `chain-manager`, named as on its command line. Paths are as they were written.

    Without TLS switches connect to `ofp_tcp_listen_port`. With a key and a certificate they connect by TLS to
    `ofp_ssl_listen_port`, and plainly only where a plain port was given too. Port 0 is any free one.
    """

    topology: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()
    state: str | None = None
    api_listen: str = "127.0.0.1:8080"
    api_token: str | None = None  # from CHAINCTL_TOKEN, so that it does not show among the processes
    api_tokens: str | None = None  # a YAML file of tokens, see api/access.py
    observe_links: bool = True
    symmetric_hash: bool = True  # use the switches' own hash where it gives both directions the same slot
    utilisation_cost: float = 0.0  # a full link costs 1 + this times as much; 0: the load changes no costs
    ofp_listen_host: str = "127.0.0.1"
    ofp_tcp_listen_port: int | None = None
    ofp_ssl_listen_port: int | None = None
    ctl_privkey: str | None = None
    ctl_cert: str | None = None
    ca_certs: str | None = None
    verbose: bool = False

    @property
    def tls(self) -> bool:
        """Do switches connect by TLS?"""
        return self.ctl_cert is not None

    @property
    def tcp_port(self) -> int | None:
        """The port for plain connections, None for none."""
        if self.ofp_tcp_listen_port is None and not self.tls:
            return OFP_PORT
        return self.ofp_tcp_listen_port

    @property
    def tls_port(self) -> int | None:
        """The port for TLS, None for none."""
        if not self.tls:
            return None
        return OFP_PORT if self.ofp_ssl_listen_port is None else self.ofp_ssl_listen_port

    @property
    def api_address(self) -> tuple[str, int]:
        """Host and port of the REST API."""
        host, separator, port = self.api_listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 0xFFFF:
            raise SettingsError(f"--api-listen {self.api_listen}: write it as HOST:PORT, e.g. 127.0.0.1:8080")
        return host, int(port)

    def check(self) -> None:
        """Raise SettingsError for options that contradict each other or cannot be."""
        _ = self.api_address
        for name in ("ofp_tcp_listen_port", "ofp_ssl_listen_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= 0xFFFF:
                raise SettingsError(f"--{name.replace('_', '-')} {port}: a port is 0 to 65535")
        if not 0 <= self.utilisation_cost <= MAX_UTILISATION_COST:
            raise SettingsError(f"--utilisation-cost {self.utilisation_cost:g}: write 0 to {MAX_UTILISATION_COST:g}; "
                                "4 makes a full link cost 5 times as much")
        if not self.ofp_listen_host:
            raise SettingsError("--ofp-listen-host is empty; write 0.0.0.0 to listen on every address")
        if (self.ctl_cert is None) != (self.ctl_privkey is None):
            raise SettingsError("--ctl-cert and --ctl-privkey go together: give both for TLS, none without it")
        if not self.tls and (self.ofp_ssl_listen_port is not None or self.ca_certs is not None):
            raise SettingsError("--ofp-ssl-listen-port and --ca-certs need --ctl-cert and --ctl-privkey")
        if self.tls and self.tcp_port and self.tcp_port == self.tls_port:
            raise SettingsError(f"--ofp-tcp-listen-port and --ofp-ssl-listen-port are both {self.tcp_port}; "
                                f"give two different ports, or no plain one")

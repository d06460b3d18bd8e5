"""HAProxy in a host: picks a backend by the start of the path, and leaves from another address for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mininet_scenarios.harness.net import LabNetwork
from mininet_scenarios.harness.processes import Process, Processes, run, wait_for

_CONFIG = """\
global
    maxconn 1000
    log stdout format raw local0
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    log global
    option httplog
    option http-server-close
frontend edge
    bind {address}:{port}
    log-format "%ci:%cp %b %bi:%bp %HU %ST %B"
{rules}
{backends}"""


@dataclass(frozen=True, slots=True)
class Application:
    """A backend: paths that start with `path` go to `server` ("address:port"), from the address `source`."""

    path: str
    server: str
    source: str


class HaProxy:
    """A running HAProxy on a host. It writes one line a request: client, backend, own address and port, path, status,
    bytes."""

    def __init__(
        self,
        network: LabNetwork,
        processes: Processes,
        host: str,
        listen: tuple[str, int],
        applications: Mapping[str, Application],
    ) -> None:
        """Start it and wait until it listens. Applications are by the name of their backend."""
        rules = [f"    use_backend {name} if {{ path_beg {app.path} }}" for name, app in applications.items()]
        backends = [
            f"backend {name}\n    server one {app.server} source {app.source}\n" for name, app in applications.items()
        ]
        text = _CONFIG.format(address=listen[0], port=listen[1], rules="\n".join(rules), backends="\n".join(backends))
        file = processes.logs / f"haproxy-{host}.cfg"
        file.write_text(text, encoding="utf-8")
        run(["haproxy", "-c", "-q", "-f", str(file)])
        self.process: Process = processes.start(
            f"haproxy-{host}", ["haproxy", "-db", "-f", str(file)], network.pid(host)
        )

        def listens() -> bool:
            return f":{listen[1]}" in run(["ss", "-Hltn"], network.pid(host))

        wait_for(f"HAProxy to listen (see {self.process.log})", listens)

    def requests(self) -> list[list[str]]:
        """The words of every line it wrote about a request."""
        lines = (line.split() for line in self.process.output().splitlines())
        return [words for words in lines if len(words) == 6 and ":" in words[0]]

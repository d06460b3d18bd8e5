"""Networks, endpoints and services one by one, by chainctl and over REST, on a running controller without switches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import examples
import httpx
import pytest

from controller_app.cli.chainctl import run
from controller_app.runtime.control import Runtime
from controller_app.settings import Settings

CAMPUS = """\
version: 1
# who serves
endpoints:
  web1:
    host: w1
    labels: {tier: web}   # in front
"""


class Controller:
    """A running controller, chainctl for it, and its REST interface."""

    def __init__(self, runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
        host, port = runtime.api_address
        self._url = f"http://{host}:{port}"
        self._capsys = capsys
        self.http = httpx.Client(base_url=f"{self._url}/api/v1", trust_env=False, timeout=20)
        self.err = ""

    def ctl(self, *words: str, code: int = 0) -> str:
        """Run a command; returns what it wrote to stdout."""
        done = run(("--controller", self._url, *words))
        out, self.err = self._capsys.readouterr()
        assert done == code, self.err
        assert "Traceback" not in self.err
        return out

    def json(self, *words: str) -> Any:
        return json.loads(self.ctl(*words, "-o", "json"))

    def policy(self, name: str = "cli") -> str:
        return self.http.get(f"/policies/{name}").text


@pytest.fixture
def controller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Controller]:
    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    (tmp_path / "campus.yaml").write_text(CAMPUS)
    runtime = Runtime(
        Settings(
            topology=(str(tmp_path / "network.yaml"),),
            policy=(str(tmp_path / "campus.yaml"),),
            api_listen="127.0.0.1:0",
        )
    )
    runtime.start()
    yield Controller(runtime, capsys)
    runtime.close()


def service(controller: Controller, name: str = "app", *more: str, code: int = 0) -> str:
    return controller.ctl(
        "service", "create", name, "--network", "vips", "--selector=tier=web", "--selector=release in (stable, canary)",
        "--port", "8080:80:TCP", *more, code=code,
    )  # fmt: skip


@pytest.fixture
def shop(controller: Controller) -> Controller:
    """Two networks and a provider."""
    controller.ctl("net", "create", "vips", "-s", "100.1.1.0/24", "--kind", "service")
    controller.ctl("net", "create", "servers", "-s", "10.2.0.0/24,fd02::/64", "-g", "10.2.0.254", "-g", "fd02::fe")
    controller.ctl(
        "endpoint", "add", "web2", "--host", "w2", "--network", "servers", "--label", "tier=web,release=stable",
        "--weight", "2",
    )  # fmt: skip
    return controller


def test_one_liners_make_a_policy_that_people_can_read(shop: Controller) -> None:
    service(shop)
    assert "app has the address 100.1.1.1 and the name app.default.svc.internal" in shop.err
    assert shop.policy() == (
        "version: 1\n"
        "networks:\n"
        "  vips: {subnet: 100.1.1.0/24, kind: service}\n"
        "  servers: {subnet: [10.2.0.0/24, 'fd02::/64'], gateway: [10.2.0.254, 'fd02::fe']}\n"
        "endpoints:\n"
        "  web2: {host: w2, network: servers, labels: {tier: web, release: stable}, weight: 2}\n"
        "services:\n"
        "  app: {network: vips, selector: 'tier=web, release in (stable, canary)', ports: ['8080:80/tcp']}\n"
    )
    assert [(n["name"], n["kind"], n["policy"]) for n in shop.json("net", "ls")["networks"]] == [
        ("vips", "service", "cli"), ("servers", "hosts", "cli"),
    ]  # fmt: skip
    assert [e["name"] for e in shop.json("get", "endpoints")["endpoints"]] == ["web1", "web2"]
    assert "web2 (256/256, 0 opened)" in shop.ctl("service", "ls")
    assert "web2 (256/256, 0 opened)" in shop.ctl("get", "services")


def test_a_service_is_inspected(shop: Controller) -> None:
    service(shop, "app", "--ip", "100.1.1.77")
    found = shop.json("service", "inspect", "app")
    assert (found["ips"], found["ports"], found["dns"]) == (
        ["100.1.1.77"], ["8080:80/tcp"], "app.default.svc.internal",
    )  # fmt: skip
    (web2,) = found["providers"]
    assert (web2["endpoint"], web2["state"], web2["weight"], web2["slots"]) == ("web2", "serving", 2, 256)
    assert (web2["opened"], web2["active"], web2["bytes_in"], web2["bytes_out"]) == (0, False, 0, 0)
    assert web2["left"] is None, "no switch told of it"
    table = shop.ctl("service", "inspect", "app")
    assert "address:   100.1.1.77" in table
    assert "256/256" in table
    assert "there is" not in shop.err
    shop.ctl("service", "inspect", "nothing", code=1)
    assert shop.err == "No such service: no service is named 'nothing'; see /api/v1/services\n"


def test_an_edit_goes_into_the_policy_that_owns_the_object(shop: Controller) -> None:
    shop.ctl("label", "web1", "release=stable", "tier-")
    assert shop.policy("campus") == CAMPUS.replace("{tier: web}", "{release: stable}")
    shop.ctl("label", "web1", "release-")
    assert shop.policy("campus") == CAMPUS.replace("    labels: {tier: web}   # in front\n", "")
    shop.ctl("label", "web9", "a=b", code=1)
    assert "no endpoint is named 'web9'" in shop.err
    shop.ctl("label", "web1", "a", code=1)
    assert "write key=value, or key- to remove it" in shop.err


def test_labels_decide_who_provides_at_once(shop: Controller) -> None:
    service(shop)
    assert shop.json("endpoint", "ls")["endpoints"][0]["labels"] == {"tier": "web"}
    shop.ctl("label", "web1", "release=canary")
    assert [p["slots"] for p in shop.json("service", "inspect", "app")["providers"]] == [85, 171]
    answer = shop.http.post("/endpoints/web1/labels", json={"release": None, "tier": "web"}).json()
    assert answer["confirmed"]
    assert [p["slots"] for p in shop.json("service", "inspect", "app")["providers"]] == [256]


def test_what_is_there_is_not_made_again(shop: Controller) -> None:
    service(shop)
    service(shop)
    service(shop, "app", "--ip", "100.1.1.9", code=1)
    assert "service 'app' is declared in policy 'cli', and not like that: remove it first" in shop.err
    answer = shop.http.put("/services/app", content="{network: vips, selector: tier=web, ports: 80:80/tcp}")
    assert answer.json()["affected"]["services"] == ["app"]
    assert shop.json("service", "inspect", "app")["ports"] == ["80:80/tcp"]


def test_errors_name_the_place_and_the_owner(shop: Controller) -> None:
    service(shop, "app", "--ip", "100.1.1.3")
    before = shop.policy()
    service(shop, "other", "--ip", "100.1.1.3", code=1)
    assert "100.1.1.3 belongs to service 'app'" in shop.err
    shop.ctl("net", "rm", "vips", code=1)
    assert "no network named 'vips'" in shop.err
    shop.ctl("endpoint", "add", "web3", "--host", "w33", code=1)
    assert shop.err.startswith("cli:")
    assert "endpoints.web3" in shop.err
    dry = shop.http.put("/endpoints/web3?dry_run=true", content="{host: w3, labels: {tier: web, release: stable}}")
    assert dry.json()["affected"]["services"] == ["app"]
    assert shop.policy() == before
    answer = shop.http.put("/endpoints/web3", content="{host: w3, wait: 1}")
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["path"] == "endpoints.web3.wait"


def test_what_is_taken_away_leaves_nothing(shop: Controller) -> None:
    service(shop)
    shop.ctl("service", "rm", "app")
    shop.ctl("endpoint", "rm", "web2")
    shop.ctl("net", "rm", "vips")
    shop.ctl("net", "rm", "servers")
    assert [p["name"] for p in shop.json("get", "policies")["policies"]] == ["campus"]
    shop.ctl("net", "rm", "servers", code=1)
    assert shop.err == "No such network: no network is named 'servers'; see /api/v1/networks\n"


def test_tenants_have_policies_of_their_own(shop: Controller) -> None:
    shop.ctl("net", "create", "vips", "-s", "100.1.1.0/24", "--kind", "service", "--tenant", "blue")
    shop.ctl("endpoint", "add", "web3", "--host", "w3", "--label", "tier=web", "--tenant", "blue")
    shop.ctl("service", "create", "app", "--network", "vips", "--selector", "tier=web", "--port", "53:53/udp",
             "--tenant", "blue")  # fmt: skip
    assert shop.policy("cli-blue").startswith("version: 1\ntenant: blue\n")
    assert shop.json("service", "inspect", "app", "--tenant", "blue")["dns"] == "app.blue.svc.internal"
    assert [s["tenant"] for s in shop.json("service", "ls", "--tenant", "blue")["services"]] == ["blue"]
    shop.ctl("service", "inspect", "app", code=1)
    assert shop.err == "No such service: no service is named 'app'; tenant blue has one\n"
    answer = shop.http.put("/networks/n", params={"tenant": "a\nflood: [dhcp]"}, content="{subnet: 10.7.0.0/24}")
    assert (answer.status_code, answer.json()["problems"][0]["path"]) == (422, "tenant")


def test_draining(shop: Controller) -> None:
    shop.ctl("label", "web1", "release=stable")
    service(shop)
    shop.ctl("endpoint", "drain", "web2", "--deadline", "10m")
    assert "what is left: chainctl service inspect app" in shop.err
    states = {p["endpoint"]: (p["state"], p["slots"]) for p in shop.json("service", "inspect", "app")["providers"]}
    assert states == {"web1": ("serving", 256), "web2": ("draining", 0)}
    assert "its connections are ended in" in shop.ctl("service", "inspect", "app")
    assert shop.json("get", "endpoint", "web2")["drain"] == "600s"
    metrics = shop.http.get(str(shop.http.base_url).replace("/api/v1/", "/metrics")).text
    assert 'chainsteer_service_providers{tenant="default",service="app",state="draining"} 1' in metrics
    shop.ctl("endpoint", "undrain", "web2")
    assert "drain" not in shop.policy()
    shop.ctl("endpoint", "drain", "web2", "--deadline", "soon", code=1)
    assert "endpoints.web2.drain" in shop.err


def test_changes_at_the_same_time_are_all_made(shop: Controller) -> None:
    def label(number: int) -> int:
        body = {f"key{number}": "on"}
        return httpx.post(f"{shop.http.base_url}endpoints/web1/labels", json=body, trust_env=False).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(label, range(4))) == {200}
    assert shop.http.get("/endpoints/web1").json()["labels"].keys() == {"tier", "key0", "key1", "key2", "key3"}

"""Networks, endpoints and services one by one, by chainctl and over REST, on a running controller without switches."""

from __future__ import annotations

import json
import time
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
    assert shop.err == "No such service: no service is named 'nothing'; see `chainctl service ls`\n"


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
    assert shop.err == "No such network: no network is named 'servers'; see `chainctl net ls`\n"


def test_tenants_have_policies_of_their_own(shop: Controller) -> None:
    shop.ctl("net", "create", "vips", "-s", "100.1.1.0/24", "--kind", "service", "--tenant", "blue")
    shop.ctl("endpoint", "add", "web3", "--host", "w3", "--label", "tier=web", "--tenant", "blue")
    shop.ctl("service", "create", "app", "--network", "vips", "--selector", "tier=web", "--port", "53:53/udp",
             "--tenant", "blue")  # fmt: skip
    assert shop.policy("cli-blue").startswith("version: 1\ntenant: blue\n")
    assert shop.json("service", "inspect", "app", "--tenant", "blue")["dns"] == "app.blue.svc.internal"
    assert [s["tenant"] for s in shop.json("service", "ls", "--tenant", "blue")["services"]] == ["blue"]
    shop.ctl("service", "inspect", "app", code=1)
    assert shop.err == "No such service: no service is named 'app'; tenant blue has one: --tenant blue\n"
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


def test_what_others_use_is_not_taken_away(shop: Controller) -> None:
    service(shop)
    stable = "version: 1\n\nservices:\n  stable: {network: vips, selector: tier=web, ports: 80/tcp}\nclassifiers:\n"
    stable += "  - {from: {host: h1}, to: {service: app}, then: deny}\n"
    assert shop.http.put("/policies/red", content=stable).status_code == 200
    before = shop.policy()
    shop.ctl("net", "rm", "vips", code=1)
    assert shop.err == (
        "The network is in use: network 'vips' is used by service app (policy cli, cli:8) and service stable (policy "
        "red, red:4): remove them first\n"
    )
    shop.ctl("net", "rm", "servers", code=1)
    assert "network 'servers' is used by endpoint web2 (policy cli, cli:6): remove them first" in shop.err
    shop.ctl("service", "rm", "app", code=1)
    assert "service 'app' is used by classifier classifier-1 (policy red, red:6): remove them first" in shop.err
    answer = shop.http.delete("/policies/cli")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "objects of policy 'cli' are used by others: its network 'vips' by service stable (policy red, red:4); its "
        "service 'app' by classifier classifier-1 (policy red, red:6): remove them first",
    )
    assert shop.policy() == before
    shop.ctl("delete", "red")
    shop.ctl("delete", "cli")


def test_what_was_done_is_said(shop: Controller) -> None:
    shop.ctl("label", "web1", "release=stable")
    assert shop.err == "endpoint web1: set release=stable; nothing to change on the switches\n"
    shop.ctl("net", "create", "pool", "-s", "100.9.0.0/24", "--kind", "service")
    assert shop.err == "created network pool; no switch is connected\n"
    shop.ctl("net", "create", "pool", "-s", "100.9.0.0/24", "--kind", "service")
    assert shop.err == "network pool is there already; nothing to change on the switches\n"
    service(shop)
    assert shop.err.startswith("created service app; no switch is connected\n")
    service(shop)
    assert shop.err.startswith("service app is there already; nothing to change on the switches\n")
    shop.ctl("label", "web1", "old-", "release=stable")
    assert shop.err == (
        "endpoint web1: release=stable is there already; there is no label old; nothing to change on the switches\n"
    )
    shop.ctl("label", "web1", "release-", "tier=web", "new=1")
    assert shop.err.startswith("endpoint web1: set new=1; removed release; tier=web is there already; ")


def test_every_service_of_a_drained_endpoint_is_named(shop: Controller) -> None:
    shop.ctl("label", "web1", "release=stable")
    service(shop)
    service(shop, "other")
    assert "affected services: app, other" in shop.ctl("endpoint", "drain", "web2")
    assert shop.err.startswith("endpoint web2 drains: app (draining, 0/256), other (draining, 0/256); ")
    assert "affected services: app, other" in shop.ctl("endpoint", "undrain", "web2")
    assert shop.err.startswith("endpoint web2 serves again: app (serving, 171/256), other (serving, 171/256); ")
    shop.ctl("endpoint", "undrain", "web2")
    assert shop.err == "endpoint web2 serves again (it did not drain); nothing to change on the switches\n"
    shop.ctl("label", "web2", "tier-")
    shop.ctl("endpoint", "drain", "web2")
    assert shop.err == "endpoint web2 drains; nothing to change on the switches\n"
    shop.ctl("endpoint", "drain", "web2")
    assert shop.err == "endpoint web2 drains (just so already); nothing to change on the switches\n"


def test_the_end_of_a_drain_that_was_over_says_what_changes(shop: Controller) -> None:
    """Its slots come back when the checks of providers have followed, not with the text."""
    shop.ctl("label", "web1", "release=stable")
    service(shop)
    shop.ctl("endpoint", "drain", "web2", "--deadline", "100ms")
    deadline = time.monotonic() + 5
    while shop.json("service", "inspect", "app")["providers"][1]["state"] != "unready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = shop.http.delete("/endpoints/web2/drain").json()
    assert answer["changes"]
    assert answer["affected"]["services"] == ["app"]
    (app,) = answer["provides"]
    assert (app["service"], app["state"], app["slots"]) == ("app", "serving", 171)


def test_warnings_are_about_the_policy_that_was_edited(shop: Controller) -> None:
    lonely = "version: 1\nservices: {lonely: {network: vips, selector: nobody=here, ports: 80/tcp}}\n"
    shop.http.put("/policies/red", content=lonely)
    shop.ctl("service", "create", "app", "--network", "vips", "--selector", "no=one", "--port", "80/tcp")
    assert "services.app.selector: warning: the selector 'no=one' matches no endpoint" in shop.err
    assert "cli is a policy that the controller keeps: chainctl get policies cli shows it\n" in shop.err
    assert "1 warning in other policies: chainctl get warnings\n" in shop.err
    assert "lonely" not in shop.err
    warnings = shop.json("get", "warnings")["warnings"]
    assert [(w["policy"], w["path"]) for w in warnings] == [
        ("cli", "services.app.selector"), ("red", "services.lonely.selector"),
    ]  # fmt: skip
    assert "red:2:" in shop.ctl("get", "warnings", "red")
    shop.ctl("label", "web1", "a=b")
    assert shop.err.startswith("2 warnings in other policies: chainctl get warnings\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("endpoint", "drain", "web2", "--deadline", "0s"), "No time to drain: 0s is no time to drain: write 1s"),
        (("endpoint", "drain", "web2", "--deadline", "0.0 h"), "write 1s or more"),
        (("net", "create", "n", "-s", "10.77.0.0"), "write 10.77.0.0/24, or 10.77.0.0/32 where"),
        (("net", "create", "n", "-s", "10.77.0.0/24,fd77::"), "write fd77::/64, or fd77::/128 where"),
    ],
)
def test_what_nobody_means_is_refused(shop: Controller, words: tuple[str, ...], said: str) -> None:
    before = shop.policy()
    shop.ctl(*words, code=1)
    assert said in shop.err
    assert shop.policy() == before


def test_names_that_several_tenants_have(shop: Controller) -> None:
    for tenant in ("red", "blue"):
        shop.ctl("net", "create", "pool", "-s", "100.7.0.0/24", "--kind", "service", "--tenant", tenant)
    shop.ctl("net", "rm", "pool", code=1)
    assert shop.err == (
        "No such network: no network is named 'pool'; tenants blue and red have one: --tenant blue\n"
    )
    assert [n["tenant"] for n in shop.json("get", "networks", "--tenant", "blue")["networks"]] == ["blue"]
    assert shop.json("get", "network", "pool", "--tenant", "red")["tenant"] == "red"
    shop.ctl("get", "network", "pool", "-o", "json", code=1)
    assert shop.err == "tenants blue and red have a network 'pool': --tenant blue\n"
    shop.ctl("get", "switches", "--tenant", "red", code=1)
    assert shop.err == "switches are no tenant's: leave --tenant out\n"
    shop.ctl("net", "ls", "--tenant", "green", code=1)
    assert shop.err == "No such tenant: no policy is for a tenant 'green'; there is blue, default and red\n"


def test_places_are_those_of_validate(shop: Controller, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    shop.ctl("apply", str(tmp_path / "empty.yaml"), code=1)
    applied = shop.err.splitlines()[0]
    assert applied == shop.ctl("validate", str(tmp_path / "empty.yaml"), code=1).splitlines()[0]
    assert ":1:1: " in applied
    shop.ctl("service", "create", "x", "--network", "vipz", "--selector", "a=b", "--port", "80/tcp", code=1)
    place, command = shop.err.splitlines()
    assert place.startswith("cli:8:")
    assert command == "cli is a policy that the controller keeps: chainctl get policies cli shows it"


def test_slots_of_clients_that_are_near_to_some(shop: Controller) -> None:
    shop.ctl("endpoint", "add", "web3", "--host", "w3", "--network", "servers", "--label", "tier=web,release=stable")
    service(shop, "app", "--prefer", "switch")
    found = shop.json("service", "inspect", "app")
    assert {p["endpoint"]: p["slots"] for p in found["providers"]} == {"web2": 171, "web3": 85}
    assert found["near"] == [
        {"switches": ["s3"], "slots": {"web3": 256}}, {"switches": ["s4"], "slots": {"web2": 256}},
    ]  # fmt: skip
    table = shop.ctl("service", "inspect", "app")
    assert "clients at (prefer: switch)" in table
    assert "web3 256/256" in table
    shop.ctl("label", "web3", "tier-")
    assert shop.json("service", "inspect", "app")["near"] == []


def test_changes_at_the_same_time_are_all_made(shop: Controller) -> None:
    def label(number: int) -> int:
        body = {f"key{number}": "on"}
        return httpx.post(f"{shop.http.base_url}endpoints/web1/labels", json=body, trust_env=False).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(label, range(4))) == {200}
    assert shop.http.get("/endpoints/web1").json()["labels"].keys() == {"tier", "key0", "key1", "key2", "key3"}

"""Who names what: exactly those without whom a policy is none any more."""

from __future__ import annotations

import pytest
from policies_by_example import SERVING, STEERING, WHOLE

from controller_app.model.position import PolicyError
from controller_app.policy import users
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.text_edit import remove


@pytest.mark.parametrize("text", [WHOLE, STEERING, SERVING])
def test_what_is_not_used_can_go_and_what_is_used_cannot(text: str) -> None:
    """Taking an object away makes others name what is not there if, and only if, there are users."""
    tried = 0
    for tenant in parse_policy({"p": text}).policy.tenants.values():
        for section in ("networks", "segments", "endpoints", "functions", "chains", "services"):
            for name in getattr(tenant, section):
                said = ""
                try:
                    parse_policy({"p": remove(text, "p", (section, name))})
                except PolicyError as error:
                    said = str(error)
                found = users.users(tenant, section, name)
                assert (f"no {section[:-1]} named {name!r}" in said) == bool(found), (section, name, said)
                assert found == users.used(tenant).get((section, name), ())
                for user in found:
                    assert user.where == getattr(tenant, user.section)[user.name].where
                tried += 1
    assert tried


def test_every_kind_of_use() -> None:
    text = """\
version: 1
networks:
  inside: {subnet: 10.1.0.0/24, insert: [fw]}
  vips: {subnet: 100.1.1.0/24, kind: service}
segments: {part: {network: inside, cidr: 10.1.0.0/26, insert: [fw]}}
endpoints: {web: {host: h1, network: inside, labels: {tier: web}}}
functions: {fw: {kind: firewall, instances: {fw1: {host: fw1}}}}
chains:
  through: {through: [fw]}
  back: {through: [fw], return: [fw]}
services:
  app: {network: vips, selector: tier=web, ports: 80/tcp, expose: [{segment: part}, {endpoint: web}]}
classifiers:
  - {name: to, from: {segment: part}, to: {service: app}, then: {chain: through}}
  - {name: after, from: {endpoint: web}, to: {network: inside}, after: fw, then: deny}
"""
    tenant = parse_policy({"p": text}).policy.tenants["default"]
    found = {
        f"{section}/{name}": [f"{user.section}/{user.name}" for user in by]
        for (section, name), by in users.used(tenant).items()
    }
    assert found == {
        "networks/inside": ["segments/part", "endpoints/web", "classifiers/after"],
        "networks/vips": ["services/app"],
        "segments/part": ["services/app", "classifiers/to"],
        "endpoints/web": ["services/app", "classifiers/after"],
        "functions/fw": ["networks/inside", "segments/part", "chains/through", "chains/back", "classifiers/after"],
        "services/app": ["classifiers/to"],
        "chains/through": ["classifiers/to"],
    }

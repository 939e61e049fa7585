"""NetworkPolicies on a real API server: what it makes of ours, and that each change of somebody's is undone."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.control_plane
Raw = dict[str, Any]
RULES = {
    "enabled": True,
    "metricsFrom": [],
    "dns": [],
    "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]},
    "extraEgress": [{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {}}}], "ports": [{"port": 3128}]}],
}
"""Of which the API server stores every part otherwise than it is written here."""


@pytest.fixture(scope="module", autouse=True)
def operator(start_operator: Any) -> Any:
    return start_operator(f"--trader-network-policy={json.dumps(RULES)}").until_ready()


def change(desk: Any, body: Raw) -> None:
    answer = desk.admin.merge(desk.path("NetworkPolicy", "btc-trader"), body)
    assert answer.is_success, answer.body


@pytest.mark.parametrize(
    "spec",
    [
        {"ingress": [{}]},
        {"egress": [{}]},
        {"egress": None},
        {"policyTypes": ["Ingress"]},
        {"podSelector": {"matchExpressions": [{"key": "nobody", "operator": "Exists"}]}},
    ],
    ids=["everybody may come", "everything is reached", "nothing is reached", "one direction", "no pod"],
)
def test_changed_policy_is_put_right(desk: Any, spec: Raw) -> None:
    desk.create_bot()
    before = desk.until_children()["NetworkPolicy"]["spec"]
    assert "ingress" not in before
    desk.until_current()
    change(desk, {"spec": spec})
    desk.until("the policy as before", lambda: desk.get("NetworkPolicy")["spec"] == before)


def test_deleted_policy_is_made_again(desk: Any) -> None:
    desk.create_bot()
    before = desk.until_children()["NetworkPolicy"]["metadata"]["uid"]
    assert desk.admin.delete(desk.path("NetworkPolicy", "btc-trader")).is_success
    desk.until(
        "another one", lambda: (desk.get("NetworkPolicy") or {}).get("metadata", {}).get("uid", before) != before
    )


def test_policy_is_written_once_though_the_api_server_writes_it_otherwise(desk: Any, audit: Any, operator: Any) -> None:
    desk.create_bot()
    stored = desk.until_children()["NetworkPolicy"]["spec"]
    assert stored["egress"][-1] == {
        "to": [{"namespaceSelector": {}, "podSelector": {}}],
        "ports": [{"port": 3128, "protocol": "TCP"}],
    }
    operator.until_resynced(3)
    writes = [event for event in audit.writes() if event.namespace == desk.namespace]
    assert [event.code for event in writes if event.resource == "networkpolicies"] == [201]


def test_foreign_policy_holds_the_pod_back(desk: Any) -> None:
    foreign = {"metadata": {"name": "btc-trader"}, "spec": {"podSelector": {}}}
    assert desk.admin.create(desk.path("NetworkPolicy"), foreign).is_success
    desk.create_bot()
    desk.until_verdict("Stalled", "True", "OwnershipConflict")
    assert desk.get("NetworkPolicy")["spec"]["podSelector"] == {}
    assert desk.get("Deployment") is None


def test_policy_that_is_turned_off_is_deleted_once_and_comes_back(desk: Any, audit: Any, start_operator: Any) -> None:
    """Last in this module: it starts operators of its own."""
    desk.create_bot()
    desk.until_children()
    namespaces = f"--namespaces={desk.namespace}"
    other = start_operator(namespaces, '--trader-network-policy={"enabled": false}').until_ready()
    desk.until("a delete", lambda: any(e.verb == "delete" and e.namespace == desk.namespace for e in audit.events()))
    assert other.stop() == 0
    desk.until_children()

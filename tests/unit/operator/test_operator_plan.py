"""Given spec and observation, expect plan: read each test as a row."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tradingbot_operator import kinds
from tradingbot_operator.plan.plan import Observation, plan

Make = Callable[..., Any]


def applied(todo: Any) -> list[str]:
    return [apply.kind.name for apply in todo.applies]


def test_new_bot_gets_everything_and_the_deployment_last(make_cluster: Make) -> None:
    todo = make_cluster().plan()
    assert applied(todo) == [
        "ServiceAccount", "Role", "RoleBinding", "Lease", "PersistentVolumeClaim", "Service", "NetworkPolicy",
        "Deployment",
    ]  # fmt: skip
    assert all(apply.is_new for apply in todo.applies)
    assert todo.status["permit"]["stage"] == "micro"
    assert [event.reason for event in todo.events] == ["Permitted"]
    assert todo.requeue_after_seconds is None


def test_new_bot_is_one_status_and_one_event_beyond_its_children(make_cluster: Make) -> None:
    cluster = make_cluster().settle()
    assert cluster.writes == len(kinds.BUILT_IN) + 1


def test_settled_bot_needs_nothing(make_running: Make) -> None:
    assert make_running().plan().is_empty


def test_heartbeat_alone_writes_nothing(make_running: Make) -> None:
    cluster = make_running()
    for _ in range(5):
        cluster.wait(30).report()
        assert cluster.plan().is_empty


def test_running_bot_is_looked_at_again_when_its_report_would_be_stale(make_running: Make) -> None:
    assert make_running().plan().requeue_after_seconds == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.name)
def test_deleted_child_is_made_again_alone(make_running: Make, kind: kinds.Kind) -> None:
    cluster = make_running()
    cluster.children[kind] = None
    assert applied(cluster.plan()) == [kind.name]


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.name)
def test_changed_label_is_put_back_with_the_uid_of_what_was_seen(make_running: Make, kind: kinds.Kind) -> None:
    cluster = make_running()
    cluster.children[kind]["metadata"]["labels"]["app.kubernetes.io/name"] = "x"
    (apply,) = cluster.plan().applies
    assert apply.kind is kind
    assert apply.manifest["metadata"]["uid"] == cluster.children[kind]["metadata"]["uid"]
    assert not apply.is_new


@pytest.mark.parametrize(
    "changes",
    [
        {"spec.capital.stage": "small"},
        {"spec.risk.maxOrderNotional": "10"},
        {"spec.symbols": ["BTC/USDT", "ETH/USDT"]},
        {"spec.strategy.parameters": {"fast": 7}},
        {"spec.killSwitch": {"engaged": True}},
        {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}},
        {"spec.capital.approvals": {"required": 2}},
    ],
)
def test_what_the_trader_takes_by_itself_does_not_touch_a_child(make_running: Make, changes: dict[str, Any]) -> None:
    assert make_running().edit(changes).plan().applies == ()


def test_suspend_takes_the_pod_away_and_nothing_else(make_running: Make) -> None:
    cluster = make_running().edit({"spec.suspend": True})
    (apply,) = cluster.plan().applies
    assert apply.manifest["spec"]["replicas"] == 0
    cluster.settle()
    assert cluster.verdict("Ready") == ("False", "Suspended")
    assert cluster.verdict("Reconciling") == ("True", "Applying")
    cluster.children[kinds.DEPLOYMENT]["status"] = {}
    assert cluster.settle().verdict("Reconciling") == ("False", "Suspended")
    assert cluster.status["phase"] == "Suspended"


def test_bigger_volume_is_asked_for_and_a_smaller_one_is_not(make_running: Make) -> None:
    (apply,) = make_running().edit({"spec.storage": {"size": "2Gi"}}).plan().applies
    assert apply.manifest["spec"]["resources"]["requests"]["storage"] == "2Gi"
    grown = make_running({"spec.storage": {"size": "2Gi"}})
    assert grown.edit({"spec.storage": {"size": "1Gi"}}).plan().applies == ()


def test_volume_size_in_other_words_is_no_change(make_running: Make) -> None:
    assert make_running({"spec.storage": {"size": "1024Mi"}}).plan().is_empty


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.name)
def test_foreign_object_is_not_touched_and_nothing_is_started(make_cluster: Make, kind: kinds.Kind) -> None:
    cluster = make_cluster()
    foreign = {"metadata": {"name": "btc-trader", "namespace": "desk-a", "uid": "theirs"}}
    cluster.children[kind] = copy.deepcopy(foreign)
    todo = cluster.plan()
    assert kind.name not in applied(todo)
    assert "Deployment" not in applied(todo)
    cluster.settle()
    assert cluster.children[kind] == foreign
    assert cluster.verdict("Stalled") == ("True", "OwnershipConflict")
    assert f"{kind.name} btc-trader" in cluster.condition("Stalled")["message"]
    assert "OwnershipConflict" in [event.reason for event in todo.events]


def test_conflict_ends_when_the_foreign_object_goes(make_cluster: Make) -> None:
    cluster = make_cluster()
    cluster.children[kinds.SERVICE] = {"metadata": {"name": "btc-trader", "uid": "theirs"}}
    cluster.settle()
    cluster.children[kinds.SERVICE] = None
    assert applied(cluster.plan()) == ["Service", "Deployment"]
    assert cluster.settle().verdict("Stalled") == ("False", "NotStalled")


def test_suspend_reaches_a_deployment_beside_a_foreign_object(make_running: Make) -> None:
    cluster = make_running()
    cluster.children[kinds.SERVICE] = {"metadata": {"name": "btc-trader", "uid": "theirs"}}
    assert cluster.plan().applies == ()
    (apply,) = cluster.edit({"spec.suspend": True}).plan().applies
    assert apply.manifest["spec"]["replicas"] == 0


def test_what_an_earlier_bot_left_is_waited_for(make_running: Make) -> None:
    cluster = make_running()
    cluster.bot = copy.deepcopy(cluster.bot) | {"status": {}}
    cluster.bot["metadata"]["uid"] = "99999999-2222-3333-4444-555555555555"
    todo = cluster.plan()
    assert todo.applies == ()
    assert todo.requeue_after_seconds == 5.0
    cluster.settle()
    assert cluster.verdict("Stalled") == ("False", "NotStalled")
    assert cluster.verdict("Reconciling") == ("True", "Applying")
    for kind in kinds.BUILT_IN:
        if kind != kinds.VOLUME:
            cluster.children[kind] = None
    assert "PersistentVolumeClaim" not in applied(cluster.plan())
    assert "Deployment" in applied(cluster.plan())


def test_volume_that_is_going_is_not_started_upon(make_cluster: Make) -> None:
    cluster = make_cluster().settle()
    cluster.children[kinds.DEPLOYMENT] = None
    cluster.children[kinds.VOLUME]["metadata"]["deletionTimestamp"] = "2025-06-15T00:00:00Z"
    assert cluster.plan().applies == ()
    assert "PersistentVolumeClaim btc-trader" in cluster.settle().condition("Reconciling")["message"]


def test_binding_with_another_role_is_made_anew(make_running: Make) -> None:
    cluster = make_running()
    cluster.children[kinds.ROLE_BINDING]["roleRef"]["name"] = "cluster-admin"
    todo = cluster.plan()
    (delete,) = todo.deletes
    assert (delete.kind, delete.name) == (kinds.ROLE_BINDING, "btc-trader")
    assert delete.uid == cluster.children[kinds.ROLE_BINDING]["metadata"]["uid"]
    assert todo.requeue_after_seconds == 1.0
    cluster.carry_out(todo)
    assert applied(cluster.plan()) == ["RoleBinding"]


def test_deleted_bot_gets_nothing_made(make_running: Make) -> None:
    cluster = make_running({"metadata.deletionTimestamp": None})
    cluster.bot["metadata"]["deletionTimestamp"] = "2025-06-15T00:00:00Z"
    cluster.children[kinds.SERVICE] = None
    todo = cluster.plan()
    assert todo.applies == ()
    assert todo.events == ()
    assert todo.status["phase"] == "Deleting"
    assert cluster.settle().verdict("Ready") == ("False", "Deleting")


@pytest.mark.parametrize(
    "spec",
    [
        None, {}, [], "text", 5, {"exchange": None}, {"exchange": {"id": "ftx"}},
        {"capital": {"stages": "many"}}, {"symbols": [1, None]}, {"risk": {"maxOrderNotional": 1e308}},
        {"killSwitch": "yes", "suspend": "maybe"}, {"strategy": {"parameters": [[[[]]]]}},
    ],
)  # fmt: skip
def test_garbage_is_said_and_nothing_is_made_of_it(make_cluster: Make, spec: Any) -> None:
    cluster = make_cluster({"spec": spec})
    assert cluster.plan().applies == ()
    cluster.settle()
    assert cluster.verdict("Stalled") == ("True", "InvalidSpec")
    assert "permit" not in cluster.status


@pytest.mark.parametrize(
    "status",
    [
        "text", [], {"conditions": "none"}, {"conditions": [None, 5, {"type": "Ready"}]}, {"permit": "granted"},
        {"permit": {"uid": 5}}, {"killSwitch": []}, {"killSwitch": {"state": 5}}, {"trader": {"uid": None}},
        {"trader": {"uid": "11111111-2222-3333-4444-555555555555", "config": 5, "latch": "x", "heartbeatAt": 7}},
        {"trader": {"uid": "11111111-2222-3333-4444-555555555555", "config": {"generation": "1"}, "state": None}},
    ],
)  # fmt: skip
def test_garbage_in_status_does_not_stop_a_bot(make_cluster: Make, status: Any) -> None:
    cluster = make_cluster({"status": status})
    assert len(cluster.plan().applies) == len(kinds.BUILT_IN)
    if isinstance(status, dict) and "state" not in (status.get("killSwitch") or {}):
        assert cluster.settle().status["permit"]["stage"] == "micro"


def test_bad_edit_leaves_everything_that_runs(make_running: Make) -> None:
    cluster = make_running()
    permit, deployment = copy.deepcopy(cluster.status["permit"]), copy.deepcopy(cluster.children[kinds.DEPLOYMENT])
    cluster.edit({"spec.capital.stage": "none-such"}).settle()
    assert cluster.status["permit"] == permit
    assert cluster.children[kinds.DEPLOYMENT] == deployment
    assert cluster.verdict("Stalled") == ("True", "InvalidSpec")
    assert "none-such" in cluster.condition("Stalled")["message"]
    cluster.children[kinds.SERVICE] = None
    assert applied(cluster.plan()) == ["Service"]


def test_venue_without_an_address_is_said(make_cluster: Make) -> None:
    cluster = make_cluster({"spec.exchange": {"id": "kraken", "network": "Sandbox"}}).settle()
    assert all(child is None for child in cluster.children.values())
    assert cluster.verdict("Stalled") == ("True", "UnsupportedExchange")
    assert "platform engineer" in cluster.condition("Stalled")["message"]


def test_object_without_a_uid_is_no_bot(make_cluster: Make) -> None:
    assert make_cluster({"metadata.uid": None}).plan().is_empty


def test_upgrade_of_the_image_replaces_the_pod_template_alone(make_running: Make) -> None:
    cluster = make_running()
    cluster.platform = replace(cluster.platform, trader_image="registry.example/tradingbot-trader:2")
    assert applied(cluster.plan()) == ["Deployment"]


def test_running_trader_is_given_a_moment_before_a_status_says_that_it_is_waited_for(make_running: Make) -> None:
    cluster = make_running().edit({"spec.risk": {"maxOrderNotional": "10"}})
    young = Observation(cluster.bot, cluster.children, generation_age_ns=0)
    todo = plan(young, cluster.platform, cluster.now_ns)
    assert (todo.is_empty, todo.requeue_after_seconds) == (True, 2.0)
    old = replace(young, generation_age_ns=2_000_000_000)
    assert plan(old, cluster.platform, cluster.now_ns).status is not None
    cluster.report()
    assert plan(young, cluster.platform, cluster.now_ns).status is not None, "it has looked"


@pytest.mark.parametrize(
    "edit",
    [
        {"spec.killSwitch": {"engaged": True}},
        {"spec.suspend": True},
        {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}},
        {"spec.capital.stage": "none-such"},
    ],
)
def test_what_is_more_than_a_look_of_the_trader_waits_for_nothing(make_running: Make, edit: dict[str, Any]) -> None:
    cluster = make_running().edit(edit)
    todo = plan(Observation(cluster.bot, cluster.children, generation_age_ns=0), cluster.platform, cluster.now_ns)
    assert not todo.is_empty


def test_trader_that_is_down_is_given_no_moment(make_running: Make) -> None:
    cluster = make_running().edit({"spec.risk": {"maxOrderNotional": "10"}}).wait(91)
    todo = plan(Observation(cluster.bot, cluster.children, generation_age_ns=0), cluster.platform, cluster.now_ns)
    assert todo.status is not None

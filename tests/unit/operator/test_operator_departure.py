"""When a suspended pod ends, when a deleted bot goes, and when our finalizer is on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tradingbot_api.labels import FINALIZER
from tradingbot_operator import kinds
from tradingbot_operator.timestamps import format_time

Make = Callable[..., Any]
LIVE = {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}
SUSPEND = {"spec.suspend": True}
LEFT = {"clientOrderId": "a1", "symbol": "BTC/USDT", "side": "buy", "result": "Remaining", "reason": ""}


def drain(cluster: Any, reason: str, *, done: bool, **more: Any) -> dict[str, Any]:
    return {"reason": reason, "since": format_time(cluster.now_ns), "done": done, "orders": [LEFT], **more}


def has_finalizer(cluster: Any) -> bool:
    return FINALIZER in cluster.bot["metadata"].get("finalizers", [])


def delete(cluster: Any) -> Any:
    cluster.bot["metadata"]["deletionTimestamp"] = format_time(cluster.now_ns)
    return cluster


def replicas(cluster: Any) -> int:
    count: int = cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"]
    return count


def test_paper_bot_has_no_finalizer_and_costs_no_write_more(make_running: Make) -> None:
    cluster = make_running()
    assert not has_finalizer(cluster)
    assert delete(cluster).plan().is_empty or delete(cluster).plan().finalizer is None


def test_finalizer_is_there_before_a_live_pod_and_goes_with_it(make_running: Make) -> None:
    cluster = make_running().edit(LIVE).report()
    cluster.carry_out(cluster.plan())
    todo = cluster.plan()
    assert [apply.kind for apply in todo.applies] == [kinds.DEPLOYMENT]
    assert todo.finalizer is True, "the shell writes it before it applies anything"
    cluster.settle().make_available().report_live().settle()
    assert has_finalizer(cluster)
    cluster.edit({"spec.mode": "Paper"}).settle().report_live().settle()
    assert (cluster.book, has_finalizer(cluster)) == ("paper", False)


def test_hold_asks_for_no_work_and_so_for_no_finalizer(make_live: Make) -> None:
    cluster = make_live()
    assert has_finalizer(cluster)
    cluster.edit({"spec.onDelete": "Hold"}).settle()
    assert not has_finalizer(cluster)
    assert has_finalizer(cluster.edit({"spec.onDelete": "CancelOrders"}).settle())


def test_deleted_live_bot_goes_when_its_orders_are_closed_and_not_before(make_live: Make) -> None:
    cluster = delete(make_live()).settle()
    assert has_finalizer(cluster)
    cluster.report_live(drain=drain(cluster, "Deleting", done=False), openOrders=1).settle()
    assert has_finalizer(cluster)
    message = cluster.condition("Reconciling")["message"]
    assert "a1" in message
    assert "onDelete to Hold" in message, "the way out is said"
    cluster.report_live()
    todo = cluster.plan()
    assert todo.finalizer is False
    assert [event.reason for event in todo.events] == ["Drained"]


def test_deleted_bot_goes_after_the_timeout_and_says_what_is_left(make_live: Make) -> None:
    cluster = delete(make_live()).report_live(drain=drain(delete(make_live()), "Deleting", done=False), openOrders=1)
    todo = cluster.settle().plan()
    assert todo.requeue_after_seconds is not None
    assert todo.requeue_after_seconds <= cluster.platform.drain_timeout_seconds + 1
    cluster.wait(cluster.platform.drain_timeout_seconds + 1)
    todo = cluster.plan()
    assert todo.finalizer is False
    (event,) = todo.events
    assert (event.type, event.reason) == ("Warning", "NotDrained")
    assert "a1" in event.note


def test_way_out_is_hold(make_live: Make) -> None:
    cluster = delete(make_live()).settle()
    cluster.edit({"spec.onDelete": "Hold"})
    todo = cluster.plan()
    assert todo.finalizer is False
    assert [event.reason for event in todo.events] == ["Held"]


def test_silent_trader_is_waited_for_until_the_timeout(make_live: Make) -> None:
    cluster = delete(make_live()).wait(200)
    assert cluster.settle().plan().finalizer is None
    assert "does not report" in cluster.condition("Reconciling")["message"]
    assert cluster.wait(401).plan().finalizer is False


def test_bot_without_a_deployment_goes_at_once_because_nobody_will_come(make_live: Make) -> None:
    cluster = delete(make_live())
    cluster.children[kinds.DEPLOYMENT] = None
    todo = cluster.plan()
    assert todo.finalizer is False
    assert [event.reason for event in todo.events] == ["NotDrained"]


def test_suspended_live_pod_drains_before_it_ends(make_live: Make) -> None:
    cluster = make_live().edit(SUSPEND).settle()
    assert replicas(cluster) == 1, "its trader has not looked yet"
    assert cluster.verdict("Reconciling") == ("True", "Draining")
    cluster.report_live(drain=drain(cluster, "Suspended", done=False), openOrders=1).settle()
    assert replicas(cluster) == 1
    cluster.report_live(openPositions=1).settle()
    assert replicas(cluster) == 0, "a drain never waits for positions: suspend keeps them"
    assert has_finalizer(cluster), "its pod is still there"
    cluster.children[kinds.DEPLOYMENT]["status"] = {}
    cluster.settle()
    assert not has_finalizer(cluster)
    assert cluster.verdict("Reconciling") == ("False", "Suspended")


@pytest.mark.parametrize("why", ["it does not report", "it never opened its books", "its time is over"])
def test_suspension_does_not_wait_for_ever(make_live: Make, why: str) -> None:
    cluster = make_live()
    if why == "it never opened its books":
        cluster.report_live(epoch=0).settle()
    cluster.edit(SUSPEND)
    if why == "it does not report":
        cluster.wait(91)
    if why == "its time is over":
        begun = drain(cluster, "Suspended", done=False)
        cluster.report_live(drain=begun).settle()
        assert replicas(cluster) == 1
        cluster.wait(601).report_live(drain=begun)
    assert replicas(cluster.settle()) == 0


def test_paper_pod_is_suspended_at_once(make_running: Make) -> None:
    assert replicas(make_running().edit(SUSPEND).settle()) == 0


def test_new_image_does_not_come_with_a_drain(make_live: Make) -> None:
    cluster = make_live()
    cluster.platform = replace(cluster.platform, trader_image="registry.example/tradingbot-trader:2")
    before = cluster.children[kinds.DEPLOYMENT]["spec"]["template"]
    cluster.edit(SUSPEND).settle()
    assert cluster.children[kinds.DEPLOYMENT]["spec"]["template"] == before

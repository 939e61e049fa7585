from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradingbot_operator import kinds
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.plan.events import EventNote, build_event

Make = Callable[..., Any]
BOT = BotRef("desk-a", "btc", "uid-1")
LATCH = {"state": "Stopping", "id": "t-1", "source": "KillSwitch", "acknowledgedAt": "2025-06-15T15:06:40Z"}


def told(cluster: Any) -> list[tuple[str, str]]:
    return [(event.type, event.reason) for event in cluster.plan().events]


def test_each_transition_is_told_once(make_running: Make) -> None:
    cluster = make_running()
    steps: list[tuple[Any, list[tuple[str, str]]]] = [
        (lambda: cluster.edit({"spec.capital.stage": "small"}), [("Normal", "Permitted")]),
        (lambda: cluster.report(latch=LATCH), [("Warning", "Latched")]),
        (lambda: cluster.report(latch=LATCH | {"state": "Stopped"}), []),
        (lambda: cluster.report(latch={"state": "Armed"}), [("Normal", "Rearmed")]),
        (lambda: cluster.edit({"spec.capital.stage": "none-such"}), [("Warning", "InvalidSpec")]),
        (lambda: cluster.edit({"spec.capital.stage": "nor-this"}), []),
        (lambda: cluster.edit({"spec.capital.stage": "small"}), []),
        (lambda: cluster.report(accepted=False), [("Warning", "UnknownSymbol")]),
    ]
    for step, expected in steps:
        step()
        assert told(cluster) == expected
        cluster.settle()
        assert told(cluster) == []


def test_another_reason_to_stall_is_told_too(make_running: Make) -> None:
    cluster = make_running().edit({"spec.capital.stage": "none-such"}).settle()
    cluster.children[kinds.SERVICE] = {"metadata": {"name": "btc-trader", "uid": "theirs"}}
    assert told(cluster) == [("Warning", "OwnershipConflict")]


def test_event_reads_as_a_whole() -> None:
    event = EventNote("Warning", "Latched", "Stop", "Stopped by KillSwitch, latch t-1", "t-1")
    built = build_event(event, BOT, instance="operator-1", now_ns=1_750_000_000_123_456_789)
    assert built == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": built["metadata"]["name"], "namespace": "desk-a"},
        "eventTime": "2025-06-15T15:06:40.123456Z",
        "reportingController": "tradingbot.dev/operator",
        "reportingInstance": "operator-1",
        "regarding": {
            "apiVersion": "tradingbot.dev/v1alpha1",
            "kind": "TradingBot",
            "namespace": "desk-a",
            "name": "btc",
            "uid": "uid-1",
        },
        "type": "Warning",
        "reason": "Latched",
        "action": "Stop",
        "note": "Stopped by KillSwitch, latch t-1",
    }


def test_same_transition_has_the_same_name_at_any_time() -> None:
    names = {
        build_event(EventNote("Normal", "Permitted", "Permit", "", occasion), BOT, instance=instance, now_ns=now)[
            "metadata"
        ]["name"]
        for occasion in ("a", "b")
        for instance, now in (("one", 1), ("two", 2))
    }
    assert len(names) == 2


def test_note_ends_before_the_api_servers_limit() -> None:
    event = EventNote("Warning", "InvalidSpec", "Reconcile", "x" * 5000, "1")
    assert len(build_event(event, BOT, instance="i" * 500, now_ns=0)["note"]) <= 1024

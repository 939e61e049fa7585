"""One patch stops a bot, by the trader's own watch; only the id of the latch releases it."""

from __future__ import annotations

import os
import signal

from support.stack import SYSTEM, Stack, build_bot, kill_operator

RESTING = {"fast": 2, "slow": 5, "rsiPeriod": 0, "entryOffsetPercent": "1.5"}


def start(stack: Stack, desk: str, name: str = "btc", **changes: object) -> None:
    stack.apply(build_bot(name, desk, **changes))
    stack.wait("a ready bot", lambda: stack.condition(desk, name, "Ready").get("status") == "True")


def latch(stack: Stack, desk: str, name: str = "btc") -> dict[str, object]:
    found: dict[str, object] = stack.trader(desk, name).get("latch", {})
    return found


def test_stop_cancels_a_resting_entry_and_only_its_id_releases_it(stack: Stack, desk: str) -> None:
    start(stack, desk, strategy={"name": "sma-cross", "timeframe": "1s", "parameters": RESTING})
    stack.wait("a resting entry", lambda: stack.metrics(desk, "btc").get("open_orders"), seconds=90)

    stack.patch(desk, "btc", {"killSwitch": {"engaged": True, "reason": "drill"}})
    stopped = stack.wait("the proof", lambda: (found := latch(stack, desk)).get("state") == "Stopped" and found)
    assert stopped["ordersCancelled"] == 1
    assert [order["result"] for order in stopped["orders"]] == ["Cancelled"]
    assert stopped["source"] == "KillSwitch"
    assert stopped["reason"] == "drill"
    assert stopped["engagedAt"] <= stopped["acknowledgedAt"]
    mirror = stack.wait(
        "the operator's mirror", lambda: stack.get("tb", "btc", desk)["status"]["killSwitch"].get("state") == "Stopped"
    )
    assert mirror
    assert stack.condition(desk, "btc", "Halted")["status"] == "True"
    assert stack.trader(desk, "btc")["state"] == "ReduceOnly"

    stack.patch(desk, "btc", {"killSwitch": {"engaged": False}})
    stack.wait("the operator's look", lambda: is_observed(stack, desk))
    stack.patch(desk, "btc", {"killSwitch": {"rearm": "not-its-id"}})
    stack.wait("the operator's look", lambda: is_observed(stack, desk))
    assert latch(stack, desk)["state"] == "Stopped"
    assert latch(stack, desk)["id"] == stopped["id"]

    stack.patch(desk, "btc", {"killSwitch": {"rearm": stopped["id"]}})
    stack.wait("the release", lambda: latch(stack, desk)["state"] == "Armed")
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready")["status"] == "True")


def test_stop_works_with_the_operator_killed(stack: Stack, desk: str) -> None:
    start(stack, desk)
    stack.kubectl("-n", SYSTEM, "scale", "deployment/tradingbot-operator", "--replicas=0")
    try:
        kill_operator(stack)
        stack.patch(desk, "btc", {"killSwitch": {"engaged": True}})
        stopped = stack.wait(
            "the trader's own report", lambda: (f := latch(stack, desk)).get("state") == "Stopped" and f
        )
        assert stopped["acknowledgedAt"]
        assert not stack.pods(SYSTEM), "the operator came back; this shows nothing"
        stack.apply(build_bot("late", desk))
    finally:
        stack.kubectl("-n", SYSTEM, "scale", "deployment/tradingbot-operator", "--replicas=1")
    stack.wait(
        "the bot that was applied meanwhile", lambda: stack.condition(desk, "late", "Ready").get("status") == "True"
    )
    stack.wait("the mirror", lambda: stack.get("tb", "btc", desk)["status"]["killSwitch"].get("id") == stopped["id"])


def test_latch_survives_sigkill_of_the_trader(stack: Stack, desk: str) -> None:
    start(stack, desk)
    stack.patch(desk, "btc", {"killSwitch": {"engaged": True}})
    before = stack.wait("the proof", lambda: (found := latch(stack, desk)).get("state") == "Stopped" and found)
    epoch = stack.trader(desk, "btc")["epoch"]
    stack.patch(desk, "btc", {"killSwitch": {"engaged": False}})
    os.kill(stack.trader_pid(desk, "btc"), signal.SIGKILL)
    stack.wait("the next run", lambda: stack.trader(desk, "btc")["epoch"] > epoch)
    assert latch(stack, desk)["id"] == before["id"]
    assert latch(stack, desk)["state"] == "Stopped"


def test_kill_in_an_object_that_the_trader_cannot_read_still_kills(stack: Stack, desk: str) -> None:
    start(stack, desk)
    stack.patch(
        desk,
        "btc",
        {"strategy": {"parameters": {"nonsense": 1}}, "killSwitch": {"engaged": True, "action": "ReduceOnly"}},
    )
    stopped = stack.wait("the proof", lambda: (found := latch(stack, desk)).get("state") == "Stopped" and found)
    assert stopped["action"] == "ReduceOnly"
    stack.wait("the refusal", lambda: stack.condition(desk, "btc", "Stalled")["status"] == "True")


def test_halt_stops_the_bots_that_it_matches_and_outlives_itself(stack: Stack, desk: str) -> None:
    start(stack, desk, "one")
    start(stack, desk, "two")
    halt = {
        "apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingHalt", "metadata": {"name": desk},
        "spec": {"namespaces": [desk], "bots": ["one"], "reason": "drill"},
    }  # fmt: skip
    stack.apply(halt)
    stopped = stack.wait("the proof", lambda: (f := latch(stack, desk, "one")).get("state") == "Stopped" and f)
    assert stopped["source"] == f"TradingHalt/{desk}"
    stack.kubectl("delete", "tradinghalt", desk)
    stack.patch(desk, "one", {"killSwitch": {"rearm": "wrong"}})
    stack.wait("the operator's look", lambda: is_observed(stack, desk, "one"))
    assert latch(stack, desk, "one")["state"] == "Stopped"
    assert latch(stack, desk, "two")["state"] == "Armed"


def is_observed(stack: Stack, desk: str, name: str = "btc") -> bool:
    """Operator and trader have both looked at the newest generation."""
    bot = stack.get("tb", name, desk)
    generation = bot["metadata"]["generation"]
    status = bot["status"]
    return bool(status["observedGeneration"] == generation == status["trader"]["config"]["generation"])

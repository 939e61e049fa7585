"""How a live bot comes and goes: mode, suspension, deletion. A row each of what was asked for, what happened at once,
what waited and for what, and what the conditions said. The venue's own books are the truth."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from support.live_bots import RESTING, TRADE_SECONDS, Live, build_live, open_account
from support.stack import SYSTEM, CommandFailed, Stack, kill_operator
from tradingbot_api.labels import FINALIZER

STRATEGY = {"name": "sma-cross", "timeframe": "1s", "parameters": RESTING}
NAMES = ("mode", "suspended", "deleted", "held", "orphaned")


@pytest.fixture(scope="module")
def bots(stack: Stack) -> Iterator[dict[str, Live]]:
    """Applied together, so that their starts cost the time of one."""
    desk = f"life-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", desk)
    found = {name: open_account(stack, desk, name) for name in NAMES}
    for bot in found.values():
        stack.put_keys(desk, f"{bot.name}-keys", bot.keys)
    hold = {"onDelete": "Hold"}
    stack.apply(*(build_live(n, desk, strategy=STRATEGY, **(hold if n == "held" else {})) for n in NAMES))
    yield found
    stack.kubectl("delete", "namespace", desk, "--wait=false")


def finalizers(bot: Live) -> list[str]:
    listed: list[str] = bot.stack.get("tb", bot.name, bot.desk)["metadata"].get("finalizers", [])
    return listed


def is_gone(bot: Live, resource: str, name: str) -> bool:
    try:
        bot.stack.get(resource, name, bot.desk)
    except CommandFailed as error:
        return "not found" in str(error)
    return False


def wait_for_entry(bot: Live) -> dict[str, Any]:
    """An entry that rests at the venue now."""
    bot.wait_trading()
    found: dict[str, Any] = bot.wait(
        "a resting entry at the venue",
        lambda: next((o for o in bot.open_at_venue if o["side"] == "BUY"), None),
        seconds=TRADE_SECONDS,
    )
    return found


def told(bot: Live, reason: str) -> list[dict[str, Any]]:
    fields = f"regarding.name={bot.name},reason={reason}"
    items = bot.stack.kubectl(
        "-n", bot.desk, "get", "events.events.k8s.io", "--field-selector", fields, "-o", "json"
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(items)["items"]
    return found


def no_buy_is_open(bot: Live) -> bool:
    return not [order for order in bot.open_at_venue if order["side"] == "BUY"]


def test_live_bot_goes_back_to_paper_as_a_drain(bots: dict[str, Live]) -> None:
    bot = bots["mode"]
    wait_for_entry(bot)
    assert finalizers(bot) == [FINALIZER]
    live_pod = bot.run[0]
    bot.patch({"mode": "Paper"})

    bot.wait("the end of the permit", lambda: "permit" not in bot.stack.get("tb", bot.name, bot.desk)["status"])
    bot.wait("no entry at the venue", lambda: no_buy_is_open(bot))
    bot.wait("the paper pod", lambda: bot.run[0] != live_pod and bot.trader["mode"] == "Paper", seconds=TRADE_SECONDS)
    bot.wait("paper trading", lambda: bot.condition("Ready") == ("True", "Trading"))
    assert bot.open_at_venue == []
    assert bot.condition("ConfigDrift") == ("False", "NoDrift")
    assert finalizers(bot) == []
    orders = len(bot.truth["orders"])
    bot.wait("a paper order", lambda: bot.trader["performance"]["orders"] > 0, seconds=TRADE_SECONDS)
    assert len(bot.truth["orders"]) == orders, "a paper pod has no keys and sends nothing"


def test_suspension_cancels_first_and_sells_nothing(bots: dict[str, Live]) -> None:
    bot = bots["suspended"]
    wait_for_entry(bot)
    sold_before = [order for order in bot.truth["orders"] if order["side"] == "SELL"]
    bot.patch({"suspend": True})
    bot.wait("no pod", lambda: not bot.stack.pods(bot.desk, bot.name))
    assert no_buy_is_open(bot)
    new_sales = [order for order in bot.truth["orders"] if order["side"] == "SELL" and order not in sold_before]
    assert all(order["type"] != "MARKET" for order in new_sales), "suspend never flattens"
    drain = bot.trader["drain"]
    assert (drain["reason"], drain["done"]) == ("Suspended", True)
    assert bot.condition("Reconciling") == ("False", "Suspended")
    bot.wait("no finalizer", lambda: finalizers(bot) == [])
    bot.patch({"suspend": False})
    bot.wait_trading()
    assert finalizers(bot) == [FINALIZER]


def test_deleted_bot_cancels_its_orders_before_it_goes_and_keeps_its_volume(bots: dict[str, Live]) -> None:
    bot = bots["deleted"]
    wait_for_entry(bot)
    volume = bot.stack.get("pvc", f"{bot.name}-trader", bot.desk)["metadata"]["uid"]
    bot.stack.kubectl("-n", bot.desk, "delete", "tb", bot.name, "--timeout=60s")
    assert no_buy_is_open(bot)
    assert told(bot, "Drained")
    bot.wait("the end of its Deployment", lambda: is_gone(bot, "deployment", f"{bot.name}-trader"))
    assert bot.stack.get("pvc", f"{bot.name}-trader", bot.desk)["metadata"]["uid"] == volume


def test_hold_lets_a_bot_go_at_once(bots: dict[str, Live]) -> None:
    bot = bots["held"]
    bot.wait_trading()
    assert finalizers(bot) == []
    bot.stack.kubectl("-n", bot.desk, "delete", "tb", bot.name, "--timeout=20s")


def test_bot_whose_operator_is_gone_has_a_documented_way_out(bots: dict[str, Live]) -> None:
    bot = bots["orphaned"]
    wait_for_entry(bot)
    bot.stack.kubectl("-n", SYSTEM, "scale", "deployment/tradingbot-operator", "--replicas=0")
    try:
        kill_operator(bot.stack)
        bot.stack.kubectl("-n", bot.desk, "delete", "tb", bot.name, "--wait=false")
        bot.wait("the trader's own drain", lambda: bot.trader.get("drain", {}).get("done"))
        assert no_buy_is_open(bot), "the trader needs no operator to close its orders"
        assert finalizers(bot) == [FINALIZER], "and nobody says so"
        clear = '{"metadata":{"finalizers":null}}'  # docs/how-to/delete-a-bot.md
        bot.stack.kubectl("-n", bot.desk, "patch", "tb", bot.name, "--type", "merge", "-p", clear)
        bot.wait("the end of the bot", lambda: is_gone(bot, "tb", bot.name))
    finally:
        bot.stack.kubectl("-n", SYSTEM, "scale", "deployment/tradingbot-operator", "--replicas=1")


def test_namespace_with_a_live_bot_goes(stack: Stack) -> None:
    desk = f"going-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", desk)
    bot = open_account(stack, desk, "last")
    stack.put_keys(desk, "last-keys", bot.keys)
    stack.apply(build_live("last", desk, strategy=STRATEGY))
    wait_for_entry(bot)
    stack.kubectl("delete", "namespace", desk, "--timeout=120s")
    assert no_buy_is_open(bot), "its trader was told to end, and cancelled what could still fill"

"""Live trading on the simulated venue, through chart, operator and pod: what the venue itself says is the truth.

The bots of `live` are applied together, each with an account of its own, so that their starts cost the time of one.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.live_bots import BALANCES, RESTING, TRADE_SECONDS, Live, build_live, open_account
from support.stack import Stack, build_bot


@pytest.fixture(scope="module")
def live(stack: Stack) -> Iterator[dict[str, Live]]:
    desk = f"live-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", desk)
    resting = {"name": "sma-cross", "timeframe": "1s", "parameters": RESTING}
    changes: dict[str, dict[str, Any]] = {"crashed": {}, "rotated": {}, "touched": {}, "killed": {"strategy": resting}}
    bots = {name: open_account(stack, desk, name) for name in changes}
    for bot in bots.values():
        stack.put_keys(desk, f"{bot.name}-keys", bot.keys)
    stack.apply(*(build_live(name, desk, **each) for name, each in changes.items()))
    yield bots
    stack.kubectl("delete", "namespace", desk, "--wait=false")


@pytest.mark.usefixtures("live")  # the others start meanwhile
def test_paper_bot_is_asked_to_go_live_and_trades_once_it_has_keys(stack: Stack, desk: str) -> None:
    bot = open_account(stack, desk, "late")
    stack.apply(build_bot("late", desk))
    bot.wait("a paper permit", lambda: bot.condition("Ready")[0] == "True")
    paper_pod = bot.run[0]
    bot.patch({"mode": "Live", "credentials": {"secretName": "late-keys"}})

    bot.wait("a live pod without keys", lambda: bot.condition("CredentialsReady") == ("False", "CredentialsMissing"))
    assert bot.run[0] != paper_pod
    assert bot.condition("LiveEligible")[0] == "True"
    assert bot.condition("PreflightPassed")[0] == "False"
    assert bot.condition("Ready")[0] == "False"
    assert "permit" not in stack.get("tb", "late", desk)["status"]
    assert bot.trader["state"] == "Halted"
    assert bot.truth["orders"] == []

    live_pod = bot.run
    stack.put_keys(desk, "late-keys", bot.keys)
    bot.wait_trading()
    assert bot.condition("CredentialsReady")[0] == "True"
    assert bot.condition("PreflightPassed") == ("True", "Passed")
    assert bot.condition("Reconciled")[0] == "True"
    permit = stack.get("tb", "late", desk)["status"]["permit"]
    assert (permit["mode"], permit["limit"]) == ("Live", "50")
    bot.wait_for_trades(2)
    assert bot.run == live_pod
    check_flat_and_equal(bot)
    check_no_secret_is_told(bot)


def test_kill_cancels_what_rests_at_the_venue_and_lets_nothing_out_again(live: dict[str, Live]) -> None:
    bot = live["killed"]
    bot.wait_trading()
    seen = {order["orderId"] for order in bot.truth["orders"]}
    resting = bot.wait(
        "a fresh resting entry at the venue",
        lambda: [order for order in bot.open_at_venue if order["orderId"] not in seen],
        seconds=TRADE_SECONDS,
    )
    latch = bot.stop("CancelOrders")

    assert bot.open_at_venue == []
    assert latch["ordersCancelled"] == len(latch["orders"]) >= 1
    assert {order["result"] for order in latch["orders"]} == {"Cancelled"}
    told = {order["clientOrderId"]: order["status"] for order in bot.truth["orders"]}
    assert {told[order["clientOrderId"]] for order in (*resting, *latch["orders"])} == {"CANCELED"}
    assert latch["engagedAt"] <= latch["acknowledgedAt"]

    orders, refused = bot.truth["orders"], count_refused_entries(bot)
    bot.wait(
        "an entry that was asked for and refused",
        lambda: count_refused_entries(bot) > refused or bot.truth["orders"] != orders,
        seconds=TRADE_SECONDS,
    )
    assert bot.truth["orders"] == orders
    assert bot.trader["latch"]["id"] == latch["id"]


def test_killed_process_with_a_lost_answer_leaves_no_double_order_and_no_lost_fill(live: dict[str, Live]) -> None:
    bot = live["crashed"]
    bot.wait_trading()
    bot.wait_for_trades(2)
    venue, epoch = bot.stack.venue, bot.trader["epoch"]
    mine = bot.truth["orders"][0]["clientOrderId"][:10]
    deaf = venue.add_fault("drop-events", when={"operation": "user-stream", "client_id": mine})
    lost = venue.add_fault("lose-answer", when={"operation": "place", "client_id": mine, "count": 1}, seconds=60)
    order_id = bot.wait(
        "an order whose answer is lost", lambda: hits(bot, lost) and in_doubt(bot), seconds=TRADE_SECONDS
    )
    os.kill(bot.stack.trader_pid(bot.desk, bot.name), signal.SIGKILL)
    venue.remove_fault(deaf)
    assert in_doubt(bot) == order_id, "the trader learned of it before it was killed; this shows nothing"

    bot.wait("the next run", lambda: bot.trader["epoch"] > epoch)
    bot.wait_trading()
    assert bot.run[1] == 1
    assert bot.trader["unresolvedOrders"] == 0
    assert not in_doubt(bot)
    bot.wait("the fate of the order", lambda: state_in_store(bot, order_id) == state_at_venue(bot, order_id))
    bot.wait_for_trades(len(bot.truth["trades"]) + 1)
    check_flat_and_equal(bot)


def test_rotated_key_is_taken_without_a_restart_and_a_too_powerful_one_is_not(live: dict[str, Live]) -> None:
    bot = live["rotated"]
    bot.wait_trading()
    run, secret, venue = bot.run, "rotated-keys", bot.stack.venue
    assert fingerprint_in_use(bot) == fingerprint(bot.keys)

    second = venue.issue_key(bot.uid)
    bot.stack.put_keys(bot.desk, secret, second)
    bot.wait("the new key", lambda: fingerprint_in_use(bot) == fingerprint(second))
    assert bot.condition("CredentialsReady") == ("True", "Accepted")
    venue.revoke_key(bot.keys[0])
    bot.wait_for_trades(len(bot.truth["trades"]) + 1)

    strong = venue.issue_key(bot.uid, permissions={"enableWithdrawals": True})
    bot.stack.put_keys(bot.desk, secret, strong)
    bot.wait("the refusal", lambda: bot.condition("CredentialsReady") == ("True", "KeyTooPowerful"))
    told = bot.stack.condition(bot.desk, bot.name, "CredentialsReady")["message"]
    assert fingerprint(strong) in told
    assert f"the key {fingerprint(second)} stays in use" in told
    assert fingerprint_in_use(bot) == fingerprint(second)
    bot.wait_for_trades(len(bot.truth["trades"]) + 1)
    assert bot.run == run
    check_flat_and_equal(bot)
    check_no_secret_is_told(bot, second, strong)


def test_manual_trade_is_reported_stops_new_risk_and_is_healed_by_an_adjustment(live: dict[str, Live]) -> None:
    bot = live["touched"]
    bot.wait_trading()
    bot.wait_for_trades(1)
    bot.stack.venue.order_by_hand(bot.uid, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    bot.wait("the mismatch", lambda: bot.condition("Reconciled")[0] == "False" and deltas(bot))
    found = deltas(bot)
    assert set(found) == {"BTC", "USDT"}
    assert found["BTC"] > 0 > found["USDT"]
    trader = bot.trader
    assert "Reconciling" in trader["stateReasons"]
    assert trader["state"] == "ReduceOnly"
    assert bot.stack.get("tb", bot.name, bot.desk)["status"]["permit"]["mode"] == "Live"

    for asset, amount in found.items():
        adjust(bot.store, asset, amount)
    bot.wait("agreement", lambda: bot.condition("Reconciled")[0] == "True" and bot.condition("Ready")[0] == "True")
    assert bot.trader["state"] == "Active"
    check_flat_and_equal(bot, by_hand={"BTC": found["BTC"], "USDT": found["USDT"]})


def hits(bot: Live, number: int) -> int:
    return next(int(rule["hits"]) for rule in bot.stack.venue.faults() if rule["rule"] == number)


def fingerprint(keys: tuple[str, str]) -> str:
    return hashlib.sha256(keys[0].encode()).hexdigest()[:12]


def fingerprint_in_use(bot: Live) -> str:
    found: str = bot.trader["credentials"]["fingerprint"]
    return found


def deltas(bot: Live) -> dict[str, Decimal]:
    """What differs, by asset, as the status says."""
    report = bot.trader["reconciliation"]
    if report["result"] != "Failed":
        return {}
    return {each["asset"]: Decimal(each["delta"]) for each in report["deltas"] if Decimal(each["delta"])}


def adjust(store: Path, asset: str, amount: Decimal) -> None:
    command = [
        str(Path(sys.executable).with_name("tradingbot-trader")), "account", "adjust", "--store", str(store),
        "--asset", asset, f"--amount={amount}", "--reason", "bought by hand", "--who", "ops",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read(store: Path, query: str, *values: str) -> list[sqlite3.Row]:
    with sqlite3.connect(f"file:{store / 'store.db'}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return database.execute(query, values).fetchall()


def count_refused_entries(bot: Live) -> int:
    query = "SELECT count(*) AS number FROM audit WHERE book = 'live' AND kind = 'OrderDenied'"
    return int(read(bot.store, query)[0]["number"])


def state_in_store(bot: Live, client_order_id: str) -> str:
    rows = read(bot.store, "SELECT state FROM orders WHERE book = 'live' AND client_order_id = ?", client_order_id)
    return str(rows[0]["state"]) if rows else ""


def state_at_venue(bot: Live, client_order_id: str) -> str:
    """In the store's words."""
    status = next(o["status"] for o in bot.truth["orders"] if o["clientOrderId"] == client_order_id)
    words = {"NEW": "Open", "PARTIALLY_FILLED": "PartiallyFilled", "CANCELED": "Cancelled"}
    return words.get(status, status.capitalize())


def in_doubt(bot: Live) -> str:
    """The newest order that the venue has accepted and the trader does not know to be there; empty if there is none."""
    for order in reversed(bot.truth["orders"]):
        name = str(order["clientOrderId"])
        if state_in_store(bot, name) in ("Intent", "Sent", "Unresolved"):
            return name
    return ""


def fills_of_ledger(bot: Live) -> set[tuple[object, ...]]:
    rows = read(bot.store, "SELECT * FROM fills WHERE book = 'live'")
    return {
        (
            row["trade_id"], row["client_order_id"], row["side"], Decimal(row["price"]), Decimal(row["quantity_base"]),
            row["fee_asset"], Decimal(row["fee_amount"]),
        )
        for row in rows
    }  # fmt: skip


def fills_of_venue(bot: Live) -> set[tuple[object, ...]]:
    """Of the bot's own orders; a person's begin with `web_`."""
    truth = bot.truth
    names = {order["orderId"]: order["clientOrderId"] for order in truth["orders"]}
    return {
        (
            str(trade["id"]), names[trade["orderId"]], "buy" if trade["isBuyer"] else "sell", Decimal(trade["price"]),
            Decimal(trade["qty"]), trade["commissionAsset"], Decimal(trade["commission"]),
        )
        for trade in truth["trades"]
        if not names[trade["orderId"]].startswith("web_")
    }  # fmt: skip


def check_flat_and_equal(bot: Live, *, by_hand: dict[str, Decimal] | None = None) -> None:
    """Sell everything; then fills and balances of the venue and of the ledger are the same, to the last digit."""
    latch = bot.stop("Flatten")
    assert latch["flat"] == "True"
    bot.wait("the same fills on both sides", lambda: fills_of_ledger(bot) == fills_of_venue(bot))
    truth = bot.truth
    assert truth["trades"]
    assert bot.open_at_venue == []
    assert set(truth["acceptedByClientId"].values()) == {1}

    expected = {asset: Decimal(amount) for asset, amount in BALANCES.items()}
    for asset, amount in (by_hand or {}).items():
        expected[asset] = expected.get(asset, Decimal(0)) + amount
    for _, _, side, price, quantity, fee_asset, fee in fills_of_ledger(bot):
        sign = 1 if side == "buy" else -1
        expected["BTC"] = expected.get("BTC", Decimal(0)) + sign * quantity
        expected["USDT"] -= sign * quantity * price
        expected[fee_asset] -= fee
    held = {asset: Decimal(each["free"]) + Decimal(each["locked"]) for asset, each in truth["balances"].items()}
    assert {asset: amount for asset, amount in held.items() if amount} == {a: n for a, n in expected.items() if n}


def check_no_secret_is_told(bot: Live, *more: tuple[str, str]) -> None:
    """Nothing of a key in status, events, log, audit or the pod's arguments and environment."""
    told = [
        bot.stack.kubectl("-n", bot.desk, "get", "tb,pods,deployments,events", "-o", "json"),
        bot.stack.kubectl("-n", bot.desk, "logs", f"deployment/{bot.name}-trader"),
        *(row["data"] for row in read(bot.store, "SELECT data FROM audit")),
    ]
    secrets = [half for keys in (bot.keys, *more) for half in keys]
    assert [number for number, text in enumerate(told) if any(secret in text for secret in secrets)] == []

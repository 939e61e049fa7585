"""A real account behind the desk: what holds trading back, what is reported, what an answer brings about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.account import (
    BTC,
    BUSY,
    CLOSED,
    DEAD_KEY,
    FILTER,
    LOST,
    MALFORMED,
    POOR,
    SKEWED,
    FakeAccount,
    FakeKeys,
    Rig,
    build_instrument,
)
from support.virtual import VirtualClock, run
from tradingbot_trader.book.requests import Request, RequestKind
from tradingbot_trader.control.state import Cause
from tradingbot_trader.errors import StoreMismatch, StoreUnwritable
from tradingbot_trader.market.events import FeedChange, FeedState
from tradingbot_trader.orders.order import BookName, OrderState, Side
from tradingbot_trader.orders.reconcile import Result
from tradingbot_trader.orders.recovery import PACE_SECONDS
from tradingbot_trader.risk.breakers import TripKind
from tradingbot_trader.venues.account import Answer

D = Decimal


def play(folder: Path, test: Callable[[Rig], Awaitable[None]], **rig: Any) -> None:
    async def go() -> None:
        clock = VirtualClock()
        made = await Rig(folder, clock, FakeAccount(clock), **rig).start()
        try:
            await test(made)
        finally:
            await made.end()

    run(go())


def causes(rig: Rig) -> set[Cause]:
    return set(rig.execution.causes())


def ask(kind: RequestKind = RequestKind.RECONCILE, number: int = 1, **about: Any) -> Request:
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "kind": kind,
        "book": BookName.LIVE,
        "who": "a person",
        "created_ns": 1,
    }
    return Request(**values | about)


def adjust(amount: str, *, asset: str = "USDT", **about: Any) -> Request:
    return ask(RequestKind.ADJUST, asset=asset, amount=D(amount), reason="a deposit", **about)


# ---- What holds trading back -----------------------------------------------------------------------------------------


def test_everything_in_order_holds_nothing_back(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        assert causes(rig) == set()
        preflight = rig.execution.news().preflight
        assert (preflight.passed, preflight.reason) == (True, "Passed")

    play(tmp_path, test)


def test_without_keys_nothing_is_asked_and_the_first_thing_that_is_missing_is_told(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        keys = FakeKeys(None)
        rig = await Rig(tmp_path, clock, None, keys=keys).start(is_reconciled=False)
        await rig.settle(5)
        assert causes(rig) == {Cause.CREDENTIALS_REJECTED, Cause.RECONCILING, Cause.ACCOUNT_STREAM_LOST}
        assert rig.execution.news().preflight.reason == "CredentialsRejected"
        assert rig.execution.news().account is None
        keys.take(rig.account)
        await rig.until(lambda: not causes(rig), seconds=5)
        account = rig.execution.news().account
        assert account is not None
        assert len(account.fingerprint) == 12
        await rig.end()

    run(go())


def test_account_of_another_book_is_refused_and_tried_again(tmp_path: Path) -> None:
    refusals = [StoreMismatch("this volume holds the ledger of another account")] * 2

    def claim(_account_id: str) -> None:
        if refusals:
            raise refusals.pop()

    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock), claim=claim).start(is_reconciled=False)
        await rig.settle()
        assert Cause.CREDENTIALS_REJECTED in causes(rig)
        assert rig.execution.news().preflight.reason == "AccountRefused"
        assert rig.account.calls == []
        await rig.until(lambda: not causes(rig), seconds=15)
        await rig.end()

    run(go())


def test_no_order_leaves_before_the_account_is_claimed(tmp_path: Path) -> None:
    def claim(_account_id: str) -> None:
        raise StoreMismatch("another one")

    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock), claim=claim).start(is_reconciled=False)
        assert rig.execution._may_place(rig.desk.engine.orders) == "the account has not been claimed yet"  # type: ignore[arg-type]
        await rig.end()

    run(go())


def test_lost_stream_holds_back_and_its_return_asks_for_a_look(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.settle()
        before = rig.recovery.report
        rig.account.hang_up()
        assert causes(rig) == {Cause.ACCOUNT_STREAM_LOST}
        assert rig.execution.news().preflight.reason == "AccountStreamLost"
        rig.account.come_back()
        await rig.until(lambda: rig.recovery.report is not before, seconds=2)
        assert causes(rig) == set()

    play(tmp_path, test)


def test_open_breaker_holds_back_until_a_question_succeeds(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.always("query", BUSY)
        rig.recovery.require("the test")
        await rig.until(lambda: Cause.BREAKER_OPEN in causes(rig), seconds=120)
        rig.account.works()
        await rig.until(lambda: not causes(rig), seconds=90)
        breakers = rig.execution.news().breakers
        assert (breakers.open, breakers.trips >= 1, breakers.last_trip_at is not None) == ([], True, True)

    play(tmp_path, test)


def test_unresolved_orders_are_counted_in_the_report(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST)
        rig.enter()
        await rig.settle()
        assert rig.execution.news().unresolved_orders == 1

    play(tmp_path, test)


def test_failed_comparison_is_told_with_its_numbers(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.balances["USDT"] += 7
        await rig.reconcile()
        news = rig.execution.news()
        assert news.preflight.message == "Failed: USDT: venue 1007, books 1000, difference 7"
        assert news.reconciliation is not None
        first = news.reconciliation.deltas[0]
        assert (first.asset, first.delta) == ("USDT", D(7)), "what differs comes first"
        assert causes(rig) == {Cause.RECONCILING}

    play(tmp_path, test)


def test_preflight_keeps_its_time_while_nothing_changes(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        first = rig.execution.news().preflight
        await rig.settle(100)
        assert rig.execution.news().preflight.at == first.at

    play(tmp_path, test)


# ---- Keys ------------------------------------------------------------------------------------------------------------


def test_new_keys_are_used_for_the_next_request_and_the_stream_moves_to_them(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        new = FakeAccount(rig.clock)
        new.orders, new.trades, new.balances = rig.account.orders, rig.account.trades, rig.account.balances
        old_calls = len(rig.account.calls)
        rig.keys.take(new)
        order = rig.enter()
        await rig.settle(2)
        assert new.has(order)
        assert len(rig.account.calls) == old_calls
        assert (rig.account.sinks, new.sinks) == ([], [rig.execution])
        assert causes(rig) == set()

    play(tmp_path, test)


def test_refused_key_halts(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", DEAD_KEY)
        order = rig.enter()
        await rig.settle()
        assert rig.state(order) is OrderState.REJECTED
        assert Cause.CREDENTIALS_REJECTED in causes(rig)

    play(tmp_path, test)


def test_late_refusal_of_a_key_that_was_let_go_does_not_halt_the_new_one(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", DEAD_KEY, seconds=3.0)
        order = rig.enter()
        await rig.settle()
        new = FakeAccount(rig.clock)
        new.orders, new.trades, new.balances = rig.account.orders, rig.account.trades, rig.account.balances
        rig.keys.take(new)
        await rig.settle(5)
        assert rig.state(order) is OrderState.REJECTED
        assert Cause.CREDENTIALS_REJECTED not in causes(rig)

    play(tmp_path, test)


# ---- What an answer brings about -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "refreshed", "resynced", "has_passed"),
    [(FILTER, 1, 0, True), (SKEWED, 0, 1, True), (POOR, 0, 0, False), (CLOSED, 0, 0, True), (MALFORMED, 0, 0, True)],
    ids=["RefreshRules", "ResyncClock", "Reconcile", "Wait", "None"],
)
def test_action_of_a_refusal(
    tmp_path: Path, answer: Answer, refreshed: int, resynced: int, *, has_passed: bool
) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", answer)
        rig.enter()
        await rig.until(lambda: rig.account.count("place") == 1, seconds=1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (rig.refreshed, rig.resynced, rig.recovery.has_passed) == (refreshed, resynced, has_passed)

    play(tmp_path, test)


def test_market_that_is_back_asks_for_a_look(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.settle()
        before = rig.recovery.report
        rig.execution.on_feed(FeedChange(BTC, FeedState.LOST, 0, "silence"))
        await rig.settle()
        assert rig.recovery.report is before
        rig.execution.on_feed(FeedChange(BTC, FeedState.CONNECTED, 0))
        await rig.settle(PACE_SECONDS + 1)
        assert rig.recovery.report is not before

    play(tmp_path, test)


@pytest.mark.parametrize(("action", "cancels"), [("ReduceOnly", 0), ("CancelOrders", 1), ("Flatten", 1)])
def test_mismatch_does_what_the_spec_says_and_never_sells(tmp_path: Path, action: str, cancels: int) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.fill(order, "0.1")
        rig.account.balances["USDT"] += 7
        await rig.reconcile()
        await rig.settle()
        assert rig.account.count("cancel") == cancels
        assert rig.account.count("place") == 1
        assert "Mismatch" in rig.kinds()

    play(tmp_path, test, reconciliation={"interval": "1h", "onMismatch": action})


# ---- Breakers and restarts -------------------------------------------------------------------------------------------


def test_breakers_are_durable_and_each_trip_is_told_once(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock)).start()
        rig.account.always("place", MALFORMED)
        for _ in range(5):
            rig.enter()
            await rig.settle(1)
        assert causes(rig) == {Cause.BREAKER_OPEN}
        await rig.gateway.ask(lambda account: account.open_orders())
        await rig.settle(1)
        assert rig.kinds().count("BreakerTripped") == 1
        await rig.end()
        second = await Rig(tmp_path, clock, rig.account).start(is_reconciled=False)
        await second.until(lambda: second.recovery.has_passed)
        await second.settle(2)
        assert causes(second) == {Cause.BREAKER_OPEN}
        assert second.execution.news().breakers.open == [TripKind.REJECT_STORM]
        assert second.kinds().count("BreakerTripped") == 1
        await second.end()

    run(go())


def test_opening_cash_is_what_the_account_held_and_what_people_moved_since(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        assert rig.execution.opening_cash_quote(rig.limits) == D(1000)
        await rig.execution.handle(adjust("50"))
        assert rig.execution.opening_cash_quote(rig.limits) == D(1050)

    play(tmp_path, test)


def test_opening_cash_is_not_known_before_the_opening(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        rig = Rig(tmp_path, clock, FakeAccount(clock))
        assert rig.execution.opening_cash_quote(rig.limits) is None
        await rig.end()

    run(go())


# ---- What people ask for ---------------------------------------------------------------------------------------------


def test_person_gets_the_report_of_a_fresh_reconciliation(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        answer = await rig.execution.handle(ask())
        assert (answer.is_done, answer.message) == (True, "Passed. ")
        assert answer.data["why"] == "a person asked for it"

    play(tmp_path, test)


def test_adjustment_is_recorded_once_and_the_account_compared_again(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.balances["USDT"] += 7
        assert (await rig.reconcile()).result is Result.FAILED
        for _ in range(2):
            assert (await rig.execution.handle(adjust("7"))).is_done
        await rig.until(lambda: rig.recovery.has_passed, seconds=2)
        assert rig.kinds().count("Adjusted") == 1

    play(tmp_path, test)


def test_adjustment_is_refused_for_another_book_with_other_content_and_on_a_full_disk(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        assert not (await rig.execution.handle(adjust("7", book=BookName.PAPER))).is_done
        rig.disk.is_full = True
        refused = await rig.execution.handle(adjust("7"))
        assert (refused.is_done, refused.message) == (False, "the store cannot record now: ask again later")
        rig.disk.is_full = False
        assert (await rig.execution.handle(adjust("7"))).is_done
        assert not (await rig.execution.handle(adjust("8"))).is_done

    play(tmp_path, test)


# ---- The end ---------------------------------------------------------------------------------------------------------


def test_drain_waits_for_what_is_under_way(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.latency_seconds = 3.0
        order = rig.enter()
        await rig.execution.drain()
        assert rig.state(order) is OrderState.OPEN

    play(tmp_path, test)


def test_sink_that_fails_ends_the_process(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        async def fail(_sink: object) -> None:
            raise RuntimeError("a bug")

        new = FakeAccount(rig.clock)
        new.run_stream = fail  # type: ignore[method-assign]
        rig.keys.take(new)
        await rig.settle(2)
        assert rig.running.done()
        assert rig.running.exception() is not None

    play(tmp_path, test)


# ---- Known defects ---------------------------------------------------------------------------------------------------


def test_repeated_executions_trip_though_the_fills_come_by_the_stream(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.limits = replace(rig.limits, granted_quote=D(1000))
        for _ in range(11):
            assert rig.execution.breakers.trips == ()
            order = rig.enter()
            await rig.settle(1)
            rig.account.fill(order, rig.order(order).intent.quantity_base)
        assert [trip.kind for trip in rig.execution.breakers.trips] == [TripKind.REPEATED_EXECUTION]

    play(tmp_path, test)


def test_gateway_task_that_dies_ends_the_process(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        async def fail(*_args: object, **_kwargs: object) -> None:
            raise RuntimeError("a bug")

        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # as the default: it only logs
        rig.account.place = fail  # type: ignore[assignment, method-assign]
        rig.enter()
        await rig.settle(5)
        assert rig.running.done()

    play(tmp_path, test)


def test_ordinary_answers_of_the_venue_urge_no_report(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.settle(2)
        before = rig.changes
        for _ in range(60):
            await rig.gateway.ask(lambda account: account.open_orders())
            await rig.settle(1)
        assert rig.changes - before <= 2

    play(tmp_path, test)


def test_full_disk_at_the_claim_is_waited_for(tmp_path: Path) -> None:
    failures = [StoreUnwritable("the store cannot record")]

    def claim(_account_id: str) -> None:
        if failures:
            raise failures.pop()

    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock), claim=claim).start(is_reconciled=False)
        await rig.settle(10)
        is_over = rig.running.done()
        await rig.end()
        assert not is_over

    run(go())


def test_person_is_answered_though_the_reconciliation_does_not_end(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.latency_seconds = 1_000.0
        answer = await rig.execution.handle(ask())
        assert (answer.is_done, "did not end within 60 s" in answer.message) == (False, True)
        assert (await rig.execution.handle(adjust("7"))).is_done

    play(tmp_path, test)


def test_request_for_a_reconciliation_without_keys_is_answered(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, None, keys=FakeKeys(None)).start(is_reconciled=False)
        try:
            answer = await asyncio.wait_for(rig.execution.handle(ask()), 600)
            assert not answer.is_done
        finally:
            await rig.end()

    run(go())


@pytest.mark.parametrize("answer", [LOST, BUSY, SKEWED], ids=["lost", "503", "-1021"])
def test_cancel_that_failed_is_asked_for_again(tmp_path: Path, answer: Answer) -> None:
    """An entry whose time is over (`expires_after_candles`) is cancelled once: a lost cancel leaves it for ever."""

    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.will("cancel", answer)
        rig.desk.cancel([order])
        await rig.settle(300)
        assert not rig.account.find(order).state.is_open

    play(tmp_path, test)


def test_cash_of_a_new_currency_does_not_count_flows_in_the_old_one(tmp_path: Path) -> None:
    """`capital.currency` may be changed: 100 USDC in the account, 20 USDT spent before, so 100 USDC can be spent."""

    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.fill(order, "0.201")
        symbol = "BTC/USDC"
        rig.instruments[symbol] = build_instrument(symbol)
        capital = rig.spec.capital.model_copy(update={"currency": "USDC"})
        rig.spec = rig.spec.model_copy(update={"symbols": [symbol], "capital": capital})
        conditions = rig._conditions(symbol)
        assert rig.desk.engine.observe(symbol, conditions).cash_quote == D(0), "there never was any USDC"

    play(tmp_path, test)


def test_fees_in_a_third_asset_count_as_a_loss(tmp_path: Path) -> None:
    """BNB discount on: 0.075 % of up to `maxDailyNotional` a day is lost outside of every limit."""

    async def test(rig: Rig) -> None:
        rig.account.balances["BNB"] = D(1)
        order = rig.enter()
        await rig.settle()
        rig.account.fill(order, "0.201", fee=("BNB", "0.01"))
        rig.account.takes = D("0.201")
        rig.leave()
        await rig.settle()
        assert rig.held() == 0
        assert rig.desk.engine.ledger.total_quote({}) < 0

    play(tmp_path, test)


def test_position_in_the_fee_asset_is_what_is_left_after_fees_of_other_symbols(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        bnb = rig.enter("BNB/USDT")
        await rig.settle()
        rig.account.fill(bnb, "0.2")
        btc = rig.enter()
        await rig.settle()
        rig.account.fill(btc, "0.1", fee=("BNB", "0.001"))
        assert rig.account.balances["BNB"] == D("0.199")
        exit_order = rig.order(rig.leave("BNB/USDT"))
        assert exit_order.intent.quantity_base <= D("0.199")

    play(tmp_path, test, symbols=(BTC, "BNB/USDT"))


def test_what_is_left_after_a_person_sold_a_part_can_still_be_sold(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.fill(order, "0.201")
        rig.account.put("web_1", Side.SELL, "0.1")
        rig.account.fill("web_1", "0.1")
        await rig.execution.handle(adjust("-0.1", asset="BTC"))
        await rig.execution.handle(adjust("10", number=2))
        await rig.until(lambda: rig.recovery.has_passed, seconds=30)
        exit_order = rig.order(rig.leave())
        assert exit_order.intent.quantity_base <= rig.account.balances["BTC"]

    play(tmp_path, test)

"""Recovery on a whole live desk and a played account: doubts, adoption, history, reconciliation, people's trades."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.account import (
    BTC,
    BUSY,
    ETH,
    LOST,
    OTHER_BOT,
    FakeAccount,
    Rig,
    build_instrument,
    own_id,
)
from support.trader import FillableDisk
from support.virtual import VirtualClock, run
from tradingbot_trader.book.account import Adjustment
from tradingbot_trader.orders.doubt import SCANS
from tradingbot_trader.orders.order import BookName, OrderState, Side
from tradingbot_trader.orders.reconcile import Result
from tradingbot_trader.orders.recovery import FIRST_RETRY_SECONDS
from tradingbot_trader.risk.breakers import TripKind
from tradingbot_trader.venues.account import Answer

D = Decimal


def play(
    folder: Path,
    test: Callable[[Rig], Awaitable[None]],
    *,
    before: Callable[[FakeAccount], None] | None = None,
    **rig: Any,
) -> None:
    """`before` is what there is at the venue when the first life begins."""

    async def go() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock, page=rig.pop("page", 1000))
        if before is not None:
            before(account)
        made = await Rig(folder, clock, account, **rig).start()
        try:
            await test(made)
        finally:
            await made.end()

    run(go())


class StumblingDisk(FillableDisk):
    """Fails once, at the transaction whose newest audit record is of that kind."""

    fails_at = ""

    def commit(self, connection: sqlite3.Connection) -> None:
        newest = (
            connection.execute("SELECT kind FROM audit ORDER BY sequence DESC LIMIT 1").fetchone()
            if self.fails_at
            else None
        )
        if newest is not None and newest[0] == self.fails_at:
            self.fails_at = ""
            raise OSError(errno.EIO, "Input/output error")
        super().commit(connection)


async def again(folder: Path, old: Rig, **changes: Any) -> Rig:
    """The next life of the same bot on the same account."""
    await old.end()
    return Rig(folder, old.clock, old.account, **changes)


# ---- The first start -------------------------------------------------------------------------------------------------


def test_first_start_records_what_the_account_held(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        assert rig.store.baseline(BookName.LIVE) == {"USDT": D(1000)}
        assert rig.kinds()[:2] == ["BaselineRecorded", "Reconciled"]
        assert rig.recovery.report is not None
        assert [d.asset for d in rig.recovery.report.deltas] == ["BTC", "USDT"]

    play(tmp_path, test)


def test_nothing_that_adds_risk_may_leave_before_the_books_agree(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock)
        account.always("query", BUSY)
        rig = await Rig(tmp_path, clock, account).start(is_reconciled=False)
        await rig.settle(60)
        assert not rig.recovery.has_passed
        assert rig.recovery.report is not None
        assert rig.recovery.report.result is Result.INCONCLUSIVE
        account.works()
        await rig.until(lambda: rig.recovery.has_passed, seconds=2 * FIRST_RETRY_SECONDS)
        await rig.end()

    run(go())


def test_history_of_other_people_is_no_news_on_a_new_book(tmp_path: Path) -> None:
    def before(account: FakeAccount) -> None:
        for number in range(7):
            account.put(f"web_{number}")
            account.fill(f"web_{number}", "0.1")

    async def test(rig: Rig) -> None:
        assert rig.recovery.report is not None
        assert rig.recovery.report.orphans == ()
        assert "Orphan" not in rig.kinds()
        assert rig.held() == 0
        assert rig.account.count("find_order_by_venue_id") == 0
        assert rig.store.counters(BookName.LIVE)["trades.BTC/USDT"] == rig.account.trades[-1].trade_id

    play(tmp_path, test, before=before, page=3)


def test_lost_store_is_rebuilt_from_the_venue(tmp_path: Path) -> None:
    """Orders and fills of the bot's earlier lives are its own again; what it bought then is no part of the opening."""

    def before(account: FakeAccount) -> None:
        for number in range(4):
            account.put(own_id(number), quantity="0.1")
            account.fill(own_id(number), "0.1")
        account.put(own_id(9, bot=OTHER_BOT))
        account.fill(own_id(9, bot=OTHER_BOT), "0.1")

    async def test(rig: Rig) -> None:
        assert rig.held() == D("0.4")
        assert rig.store.baseline(BookName.LIVE) == {"BTC": D("0.1"), "USDT": D(990)}
        assert rig.kinds().count("Adopted") == 4
        assert rig.kinds().count("Fill") == 4

    play(tmp_path, test, before=before, page=2)


def test_young_trade_whose_order_is_not_listed_yet_is_no_lost_fill(tmp_path: Path) -> None:
    """The store is lost, and the venue's list is late: a trade that is passed over here is never looked at again."""

    def before(account: FakeAccount) -> None:
        account.put(own_id(1), quantity="0.1")
        account.fill(own_id(1), "0.1")
        account.put("web_1", quantity="0.1")
        account.fill("web_1", "0.1")
        account.unlisted = {own_id(1)}

    async def test(rig: Rig) -> None:
        assert rig.held() == D("0.1")
        assert rig.store.baseline(BookName.LIVE) == {"BTC": D("0.1"), "USDT": D(990)}
        assert rig.account.count("find_order_by_venue_id") == 1, "a listed order is asked for no more"

    play(tmp_path, test, before=before)


def test_nothing_passes_before_the_venue_knows_the_order_of_a_young_trade(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock)
        account.put(own_id(1), quantity="0.1")
        account.fill(own_id(1), "0.1")
        account.unlisted, account.is_hiding = {own_id(1)}, True
        rig = await Rig(tmp_path, clock, account).start(is_reconciled=False)
        await rig.settle(20)
        assert not rig.recovery.has_passed
        assert rig.held() == 0
        account.is_hiding = False
        await rig.until(lambda: rig.recovery.has_passed, seconds=2 * FIRST_RETRY_SECONDS + 120)
        assert rig.held() == D("0.1")
        await rig.end()

    run(go())


def test_what_the_lists_show_late_is_no_part_of_the_opening_balances(tmp_path: Path) -> None:
    """The store is lost, and one of its trades shows in the balances, and a later one in the list, before it does."""

    async def go() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock)
        for order_id in (own_id(1), own_id(2), "web_1"):
            account.put(order_id, quantity="0.1")
            account.fill(order_id, "0.1")
        account.unlisted, account.untold_trades = {own_id(2)}, {account.trades[1].trade_id}
        rig = await Rig(tmp_path, clock, account).start(is_reconciled=False)
        await rig.settle(20)
        assert not rig.recovery.has_passed
        assert rig.store.baseline(BookName.LIVE) is None
        assert rig.recovery.is_rebuilding, "what is held is not known, so nothing may be sold"
        account.unlisted, account.untold_trades = set(), set()
        await rig.until(lambda: rig.recovery.has_passed, seconds=120)
        assert rig.held() == D("0.2")
        assert rig.store.baseline(BookName.LIVE) == {"BTC": D("0.1"), "USDT": D(990)}
        assert not rig.recovery.is_rebuilding
        await rig.end()

    run(go())


def test_new_bot_waits_for_no_lists(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock)
        account.put("web_1", quantity="0.1")
        account.fill("web_1", "0.1")
        rig = await Rig(tmp_path, clock, account).start(is_reconciled=False)
        await rig.until(lambda: rig.recovery.has_passed, seconds=5)
        await rig.end()

    run(go())


# ---- Own orders that no store remembers ------------------------------------------------------------------------------


def test_own_order_that_rests_and_that_nobody_knows_is_adopted_and_cancelled(tmp_path: Path) -> None:
    def before(account: FakeAccount) -> None:
        account.put(own_id(1))
        account.fill(own_id(1), "0.04")

    async def test(rig: Rig) -> None:
        await rig.settle()
        assert rig.state(own_id(1)) is OrderState.CANCELLED
        assert rig.held() == D("0.04")
        assert not rig.account.find(own_id(1)).state.is_open

    play(tmp_path, test, before=before)


def test_own_order_that_comes_from_the_stream_alone_is_adopted(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.put(own_id(5))
        rig.account.fill(own_id(5), "0.1")
        assert rig.state(own_id(5)) is OrderState.FILLED
        assert rig.held() == D("0.1")
        report = await rig.reconcile()
        assert (report.result, report.adopted) == (Result.PASSED, (own_id(5),))

    play(tmp_path, test)


def test_own_trade_that_nobody_told_is_found_and_its_order_adopted(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.tells = False
        rig.account.put(own_id(5))
        rig.account.fill(own_id(5), "0.1")
        assert (await rig.reconcile()).result is Result.PASSED
        assert rig.held() == D("0.1")

    play(tmp_path, test)


# ---- Lost answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_done", [True, False], ids=["the venue took it", "the venue never saw it"])
def test_lost_answer_is_cleared_by_questions_and_never_by_sending_again(tmp_path: Path, *, is_done: bool) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST, is_done=is_done, seconds=10)
        order = rig.enter()
        await rig.settle(10.5)
        if is_done:
            await rig.until(lambda: rig.state(order) is OrderState.OPEN, seconds=2)
        else:
            assert rig.state(order) is OrderState.UNRESOLVED
            assert rig.desk.engine.exposure_quote > 19, "it counts in full"
            await rig.until(lambda: rig.state(order) is OrderState.PRESUMED_ABSENT, seconds=80)
            assert rig.desk.engine.exposure_quote == 0
        assert rig.account.count("place") == 1

    play(tmp_path, test)


@pytest.mark.parametrize("up_seconds", [0, 600], ids=["at the start", "after ten minutes"])
def test_order_is_presumed_absent_only_after_its_minute_and_three_scans(tmp_path: Path, up_seconds: int) -> None:
    async def test(rig: Rig) -> None:
        await rig.settle(up_seconds)
        begun_ns = rig.clock.now_ns()
        rig.account.will("place", LOST)
        order = rig.enter()
        await rig.until(lambda: rig.state(order) is OrderState.PRESUMED_ABSENT)
        assert 66 <= (rig.clock.now_ns() - begun_ns) / 1e9 <= 80
        assert rig.account.count("find_order") > SCANS
        assert rig.recovery.in_doubt == 0

    play(tmp_path, test)


def test_order_of_a_clock_that_was_a_day_ahead_is_presumed_absent_a_minute_after_it_was_doubted(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.settle(600)
        rig.clock.skew_ns = 86_400 * 10**9
        rig.account.will("place", LOST)
        order = rig.enter()
        await rig.until(lambda: rig.state(order) is OrderState.UNRESOLVED)
        rig.clock.skew_ns, begun_ns = 0, rig.clock.monotonic_ns()
        await rig.until(lambda: rig.state(order) is OrderState.PRESUMED_ABSENT)
        assert 66 <= (rig.clock.monotonic_ns() - begun_ns) / 1e9 <= 80

    play(tmp_path, test)


def test_order_that_is_hidden_for_a_while_is_not_presumed_absent(tmp_path: Path) -> None:
    """Binance may not show an order right after it took it."""

    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST, is_done=True)
        rig.account.is_hiding = True
        order = rig.enter()
        await rig.settle(30)
        assert rig.state(order) is OrderState.UNRESOLVED
        rig.account.is_hiding = False
        await rig.until(lambda: rig.state(order) is OrderState.OPEN, seconds=15)

    play(tmp_path, test)


def test_presumed_absent_order_that_appears_is_taken_back_cancelled_and_told(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST)
        order = rig.enter()
        await rig.until(lambda: rig.state(order) is OrderState.PRESUMED_ABSENT)
        rig.account.put(order, quantity_base=rig.order(order).intent.quantity_base, price=D("99.5"))
        rig.account.tell(order)
        assert not rig.recovery.has_passed
        assert [trip.kind for trip in rig.execution.breakers.trips] == [TripKind.CONTRADICTION]
        assert len(rig.desk.engine.illegal) == 1
        await rig.until(lambda: rig.state(order) is OrderState.CANCELLED, seconds=5)
        await rig.until(lambda: rig.recovery.has_passed, seconds=10)
        assert rig.desk.engine.illegal == (), "a reconciliation has looked at them"
        assert rig.execution.breakers.open_kinds(rig.clock.now_ns()) == ()

    play(tmp_path, test)


def test_presumed_absent_order_is_asked_for_with_each_reconciliation_for_a_day(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST)
        order = rig.enter()
        await rig.until(lambda: rig.state(order) is OrderState.PRESUMED_ABSENT)
        rig.account.tells = False
        rig.account.put(order, quantity_base=rig.order(order).intent.quantity_base, price=D("99.5"))
        rig.account.fill(order, "0.1")
        rig.account.end(order)
        await rig.reconcile()
        assert (rig.state(order), rig.held()) == (OrderState.CANCELLED, D("0.1"))
        await rig.until(lambda: rig.recovery.has_passed)

    play(tmp_path, test)


def test_presumed_absent_order_that_ended_unfilled_is_found_with_the_next_reconciliation(tmp_path: Path) -> None:
    """It is in no list of open orders and has no trade: only a question about it finds it."""

    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST)
        order = rig.enter()
        await rig.until(lambda: rig.state(order) is OrderState.PRESUMED_ABSENT)
        quantity = rig.order(order).intent.quantity_base
        rig.account.put(order, quantity_base=quantity, price=D("99.5"), state=OrderState.EXPIRED)
        await rig.reconcile()
        assert rig.state(order) is OrderState.EXPIRED
        assert [trip.kind for trip in rig.execution.breakers.trips] == [TripKind.CONTRADICTION]

    play(tmp_path, test)


def test_failing_venue_keeps_an_order_in_doubt(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST)
        rig.account.always("query", BUSY)
        order = rig.enter()
        await rig.settle(200)
        assert rig.state(order) is OrderState.UNRESOLVED
        rig.account.works()
        await rig.until(lambda: rig.state(order) is OrderState.PRESUMED_ABSENT, seconds=60)

    play(tmp_path, test)


def test_fills_that_no_message_brought_are_fetched_by_the_order(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.tells = False
        rig.account.fill(order, "0.1")
        rig.account.tells = True
        rig.account.tell(order)  # its trade was in a message that was lost
        assert (rig.held(), rig.order(order).filled_base) == (D(0), D("0.1"))
        await rig.until(lambda: rig.held() == D("0.1"), seconds=2)

    play(tmp_path, test)


def test_cancel_that_came_too_late_ends_with_the_fill(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.tells = False
        rig.account.fill(order, rig.order(order).intent.quantity_base)
        rig.desk.cancel([order])
        await rig.settle(3)
        assert rig.state(order) is OrderState.FILLED
        assert rig.held() == rig.order(order).intent.quantity_base

    play(tmp_path, test)


# ---- Fills of orders that have ended ---------------------------------------------------------------------------------


def test_late_fill_of_a_cancelled_order_is_counted_and_stops_new_risk(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.desk.cancel([order])
        await rig.settle()
        assert rig.state(order) is OrderState.CANCELLED
        rig.account.fill(order, "0.05")
        assert rig.held() == D("0.05")
        assert len(rig.desk.engine.illegal) == 1
        await rig.reconcile()
        assert rig.desk.engine.illegal == ()

    play(tmp_path, test)


def test_doubled_fill_of_an_ended_order_changes_nothing(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        trade = rig.account.fill(order, rig.order(order).intent.quantity_base)
        before = rig.kinds()
        rig.account.tell(order, trade)
        assert (rig.kinds(), rig.held()) == (before, trade.quantity_base)
        assert order not in rig.desk.engine.orders

    play(tmp_path, test)


# ---- Restarts --------------------------------------------------------------------------------------------------------


def test_next_life_looks_at_whatever_was_under_way(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock)).start()
        await rig.settle()
        rig.account.will("place", LOST, is_done=True, seconds=10)
        order = rig.enter()
        await rig.settle(0.1)
        assert rig.state(order) is OrderState.SENT
        second = await (await again(tmp_path, rig)).start(is_reconciled=False)
        await second.until(lambda: second.state(order) is OrderState.OPEN, seconds=5)
        assert second.account.count("place") == 1
        assert second.state(order) is OrderState.OPEN, "it was ours all the time: nobody cancels it"
        await second.end()

    run(go())


def test_what_was_on_its_way_is_unresolved_from_the_first_moment_of_the_next_life(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock)).start()
        await rig.settle()
        rig.account.will("place", LOST, seconds=10)
        order = rig.enter()
        await rig.settle(0.1)
        second = await (await again(tmp_path, rig)).start(is_reconciled=False)
        await second.settle(0.1)
        assert second.state(order) is OrderState.UNRESOLVED
        assert second.order(order).reason == "the trader ended while it was on its way"
        await second.until(lambda: second.state(order) is OrderState.PRESUMED_ABSENT, seconds=80)
        await second.until(lambda: second.recovery.has_passed, seconds=10)
        assert second.account.count("place") == 1
        await second.end()

    run(go())


def test_order_that_filled_between_two_lives_is_counted(tmp_path: Path) -> None:
    async def go() -> None:
        clock = VirtualClock()
        rig = await Rig(tmp_path, clock, FakeAccount(clock)).start()
        order = rig.enter()
        await rig.settle()
        second = await again(tmp_path, rig)
        second.account.fill(order, "0.05")
        second.account.end(order)
        await second.start()
        assert (second.held(), second.state(order)) == (D("0.05"), OrderState.CANCELLED)
        assert second.recovery.report is not None
        assert second.recovery.report.result is Result.PASSED
        await second.end()

    run(go())


# ---- Other people ----------------------------------------------------------------------------------------------------


def test_trade_of_a_person_is_reported_once_and_never_corrected(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.put("web_1", Side.SELL)
        rig.account.fill("web_1", "0.1")
        await rig.until(lambda: rig.recovery.report is not None and rig.recovery.report.result is Result.FAILED)
        report = rig.recovery.report
        assert report is not None
        assert {d.asset: d.delta for d in report.deltas if d.is_mismatch} == {"BTC": D("-0.1"), "USDT": D(10)}
        assert not rig.recovery.has_passed
        assert rig.held() == 0
        assert rig.kinds().count("Orphan") == 2, "the order and its trade"
        for asset, amount in (("BTC", D("-0.1")), ("USDT", D(10))):
            adjustment = Adjustment(asset * 8, BookName.LIVE, asset, amount, "sold by hand", "a person")
            rig.desk.record(lambda tx, made=adjustment: tx.put_adjustment(made))
        assert (await rig.reconcile()).result is Result.PASSED
        assert rig.recovery.has_passed
        assert rig.kinds().count("Orphan") == 2

    play(tmp_path, test)


def test_order_of_another_bot_is_reported_once_and_left_alone(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.put(own_id(1, bot=OTHER_BOT))
        for _ in range(3):
            report = await rig.reconcile()
        assert report.result is Result.PASSED
        assert rig.kinds().count("Orphan") == 1
        assert rig.account.count("cancel") == 0

    play(tmp_path, test)


def test_deposit_fails_the_comparison_until_somebody_says_what_it_was(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.balances["USDT"] += 7
        report = await rig.reconcile()
        assert report.result is Result.FAILED
        assert report.message == "USDT: venue 1007, books 1000, difference 7"
        assert not rig.recovery.has_passed
        assert rig.kinds()[-2:] == ["Reconciled", "Mismatch"]

    play(tmp_path, test)


def test_balances_are_read_again_while_something_trades(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        reads: list[int] = []
        read = rig.account.account

        async def trade_meanwhile() -> Any:
            view = await read()
            if len(reads) < 2:
                reads.append(1)
                rig.account.fill(order, "0.01")
            return view

        rig.account.account = trade_meanwhile  # type: ignore[method-assign]  a moment that no script of calls can name
        assert (await rig.reconcile()).result is Result.PASSED
        assert rig.account.count("account") >= 3

    play(tmp_path, test)


def test_account_that_never_rests_proves_nothing(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        read = rig.account.account

        async def trade_meanwhile() -> Any:
            view = await read()
            rig.account.fill(order, "0.001")
            return view

        rig.account.account = trade_meanwhile  # type: ignore[method-assign]  as above
        report = await rig.reconcile()
        assert (report.result, report.message) == (Result.INCONCLUSIVE, "something trades all the time")
        assert rig.recovery.has_passed, "nothing was disproved"

    play(tmp_path, test)


def test_orders_that_are_not_resolved_prove_nothing(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.will("place", LOST)
        order = rig.enter()
        await rig.settle()
        report = await rig.reconcile()
        assert report.result is Result.INCONCLUSIVE
        assert f"{order} (Unresolved)" in report.message

    play(tmp_path, test)


def test_reconciliation_passes_while_orders_rest(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.fill(order, "0.05")
        assert (await rig.reconcile()).result is Result.PASSED
        assert rig.state(order) is OrderState.PARTIALLY_FILLED
        assert rig.account.count("cancel") == 0

    play(tmp_path, test)


def test_fee_in_a_third_asset_is_part_of_the_books(tmp_path: Path) -> None:
    def before(account: FakeAccount) -> None:
        account.balances["BNB"] = D(1)

    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.fill(order, "0.1", fee=("BNB", "0.00007"))
        report = await rig.reconcile()
        assert report.result is Result.PASSED
        assert {d.asset: d.venue for d in report.deltas}["BNB"] == D("0.99993")

    play(tmp_path, test, before=before)


# ---- When ------------------------------------------------------------------------------------------------------------


def test_requirement_is_met_only_by_a_reconciliation_that_began_after_it(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.latency_seconds = 1.0
        first = asyncio.ensure_future(rig.recovery.reconcile("first"))
        await rig.settle(1.5)
        rig.recovery.require("while it looks")
        waiting = rig.recovery.reconcile("after that")
        before = rig.recovery.report
        await rig.until(lambda: rig.recovery.report is not before)
        assert not rig.recovery.has_passed
        assert (await waiting).result is Result.PASSED
        assert rig.recovery.has_passed
        await first

    play(tmp_path, test)


def test_interval_brings_the_next_one(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.settle(30)
        first = rig.recovery.report
        await rig.settle(3500)
        assert rig.recovery.report is first
        await rig.settle(200)
        assert rig.recovery.report is not first
        assert rig.recovery.report is not None
        assert rig.recovery.report.why == "interval"

    play(tmp_path, test)


def test_what_proves_nothing_is_said_once_in_the_audit(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.recovery.require("the test")
        rig.account.always("query", BUSY)
        await rig.settle(60)
        assert rig.kinds().count("Reconciled") <= 3

    play(tmp_path, test)


# ---- Known defects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [LOST, BUSY], ids=["lost", "503"])
def test_adopted_order_is_cancelled_though_the_first_cancel_fails(tmp_path: Path, answer: Any) -> None:
    def before(account: FakeAccount) -> None:
        account.put(own_id(1))
        account.will("cancel", answer)

    async def test(rig: Rig) -> None:
        await rig.settle(120)
        assert not rig.account.find(own_id(1)).state.is_open

    play(tmp_path, test, before=before)


def test_order_that_was_refused_and_appears_all_the_same_is_cancelled(tmp_path: Path) -> None:
    """A firewall's 403, or a 429, in front of an order that came through: machine.py asks for adopt and cancel."""

    async def test(rig: Rig) -> None:
        rig.account.will("place", Answer(True, 403, "", "blocked"), is_done=True)
        order = rig.enter()
        await rig.settle(0.1)
        assert rig.state(order) is OrderState.REJECTED
        rig.account.tell(order)
        assert rig.state(order) is OrderState.OPEN
        await rig.settle(120)
        assert not rig.account.find(order).state.is_open

    play(tmp_path, test)


def test_past_of_a_symbol_that_is_added_to_the_spec_is_no_news(tmp_path: Path) -> None:
    def before(account: FakeAccount) -> None:
        for number in range(50):
            account.put(f"web_{number}", symbol=ETH)
            account.fill(f"web_{number}", "0.1")

    async def test(rig: Rig) -> None:
        rig.spec = rig.spec.model_copy(update={"symbols": [BTC, ETH]})
        rig.instruments[ETH] = build_instrument(ETH)
        report = await rig.reconcile()
        assert report.result is Result.PASSED
        assert rig.account.count("find_order_by_venue_id") == 0
        assert report.orphans == ()

    play(tmp_path, test, before=before)


def test_difference_that_is_gone_a_moment_later_does_not_hold_trading_back_for_an_hour(tmp_path: Path) -> None:
    """The venue showed the balance before the trade: its account and its trades are not one moment."""

    async def test(rig: Rig) -> None:
        rig.account.balances["USDT"] += 7
        assert (await rig.reconcile()).result is Result.FAILED
        rig.account.balances["USDT"] -= 7
        await rig.until(lambda: rig.recovery.has_passed, seconds=120)

    play(tmp_path, test)


def test_mismatch_that_stays_is_looked_at_less_and_less_often(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.balances["USDT"] += 7
        await rig.reconcile()
        await rig.reconcile()
        before, records = rig.account.count("open_orders"), len(rig.kinds())
        await rig.settle(600)
        assert rig.account.count("open_orders") - before <= 20
        assert len(rig.kinds()) - records <= 40

    play(tmp_path, test)


def test_resting_order_that_the_venue_does_not_have_any_more_ends(tmp_path: Path) -> None:
    """Binance archives (-2026) after 90 days, and its testnet forgets everything each month."""

    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.orders.clear()
        await rig.reconcile()
        await rig.settle(3600)
        assert not rig.state(order).is_open

    play(tmp_path, test)


def test_foreign_orders_of_two_symbols_with_one_number_are_two(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.account.put("web_1", venue_order_id="9000")
        rig.account.put("web_2", venue_order_id="9000", symbol=ETH)
        await rig.reconcile()
        assert rig.kinds().count("Orphan") == 2

    play(tmp_path, test, symbols=(BTC, ETH))


def test_own_trade_that_the_disk_could_not_take_is_taken_later(tmp_path: Path) -> None:
    """P2: one commit fails, the next one works, and the fill is in no book."""
    disk = StumblingDisk()

    async def test(rig: Rig) -> None:
        rig.account.tells = False
        rig.account.put(own_id(5))
        rig.account.fill(own_id(5), "0.1")
        disk.fails_at = "Adopted"
        await rig.reconcile()
        await rig.settle(60)
        await rig.reconcile()
        assert rig.held() == D("0.1")

    play(tmp_path, test, disk=disk)


def test_own_order_is_adopted_on_a_full_volume(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.disk.is_full = True
        assert not rig.desk.record(rig.desk.put_counters)
        rig.disk.is_full = False
        rig.disk.free_bytes = lambda _folder: 0  # type: ignore[method-assign]  the reserve cannot be made again
        assert rig.store.is_reserve_spent
        assert rig.desk.record(rig.desk.put_counters), "what has happened is recorded"
        rig.account.put(own_id(5))
        rig.account.fill(own_id(5), "0.1")
        assert rig.held() == D("0.1")

    play(tmp_path, test)


def test_doubled_fill_while_the_disk_is_full_is_told_once(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.disk.is_full = True
        trade = rig.account.fill(order, rig.order(order).intent.quantity_base)
        rig.account.tell(order, trade)
        rig.disk.is_full = False
        assert rig.desk.record(rig.desk.put_counters)
        assert rig.kinds().count("Fill") == 1

    play(tmp_path, test)


def test_order_of_more_trades_than_a_page_holds_is_known_whole(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.account.tells = False
        for _ in range(5):
            rig.account.fill(order, "0.01")
        rig.account.tells = True
        rig.account.tell(order)
        await rig.until(lambda: rig.held() == D("0.05"), seconds=60)

    play(tmp_path, test, page=3)


def test_contradiction_is_looked_at_soon(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.desk.cancel([order])
        await rig.settle()
        rig.account.fill(order, "0.05")
        assert rig.desk.engine.illegal
        await rig.until(lambda: not rig.desk.engine.illegal, seconds=60)

    play(tmp_path, test)


def test_somebody_who_trades_all_the_time_does_not_make_us_ask_all_the_time(tmp_path: Path) -> None:
    """85 % of the weight of every minute: new orders, exits too, of every bot behind the address find no room then."""

    async def test(rig: Rig) -> None:
        rig.account.latency_seconds = 0.05
        before = rig.account.count("open_orders")
        rig.account.put("web_1", Side.BUY, "100")
        for _ in range(120):
            rig.account.fill("web_1", "0.1")
            await rig.settle(0.5)
        assert rig.account.count("open_orders") - before <= 12, "of 80 each, and 6,000 a minute are allowed"

    play(tmp_path, test)


def test_trade_of_another_order_with_an_old_number_is_not_ours(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        order = rig.enter()
        await rig.settle()
        rig.desk.cancel([order])
        await rig.settle()
        number = rig.account.find(order).venue_order_id
        rig.account.orders.clear()
        rig.account.put("web_1", venue_order_id=number)
        rig.account.tells = False
        rig.account.fill("web_1", "0.1")
        await rig.reconcile()
        assert rig.held() == 0

    play(tmp_path, test)

"""A stop on a live desk: what is cancelled, what is sold, and what is said of each order. Promise P4."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from support.account import BTC, BUSY, ETH, LOST
from support.stops import Scene, play
from tradingbot_api.conditions import LatchState
from tradingbot_api.spec import StopAction
from tradingbot_api.status import Flat
from tradingbot_trader.control.flatten import MOST_UNSOLD
from tradingbot_trader.control.stop import Stop
from tradingbot_trader.orders.order import BookName, OrderState, Side
from tradingbot_trader.orders.snapshot import Place, trade_event
from tradingbot_trader.venues.account import VenueTrade

D = Decimal
COLLAR = D("0.02")
"""The default of `priceCollarPercent`."""


def test_resting_entries_are_cancelled_and_told(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        order = scene.rig.enter()
        await scene.rig.settle()
        scene.latch()
        await scene.tick(1)
        assert scene.told.state is LatchState.STOPPED
        assert (scene.result(order), scene.told.orders_cancelled, scene.told.flat) == ("Cancelled", 1, Flat.TRUE)

    play(tmp_path, test)


def test_entry_that_filled_before_its_cancel_is_told_as_filled(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        order = scene.rig.enter()
        await scene.rig.settle()
        scene.rig.account.tells = False
        scene.rig.account.fill(order, scene.rig.order(order).intent.quantity_base)
        scene.latch()
        await scene.tick(3)
        assert (scene.result(order), scene.told.orders_cancelled, scene.told.flat) == ("Filled", 0, Flat.FALSE)

    play(tmp_path, test)


def test_stop_does_not_end_while_an_order_is_unresolved(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.rig.account.will("place", LOST)
        order = scene.rig.enter()
        await scene.rig.settle()
        scene.latch()
        await scene.tick(30)
        assert (scene.told.state, scene.result(order)) == (LatchState.STOPPING, "Unresolved")
        await scene.tick(60)
        assert scene.told.state is LatchState.STOPPED

    play(tmp_path, test)


def test_cancel_that_fails_is_sent_again_until_the_order_is_gone(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        order = scene.rig.enter()
        await scene.rig.settle()
        scene.rig.account.will("cancel", BUSY, times=3)
        scene.latch()
        await scene.tick(12)
        assert scene.told.state is LatchState.STOPPING
        await scene.tick(10)
        assert (scene.told.state, scene.result(order)) == (LatchState.STOPPED, "Cancelled")

    play(tmp_path, test)


def test_flatten_sells_what_is_held_when_nothing_is_in_the_way(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.latch(StopAction.FLATTEN)
        scene.rig.account.takes = D(1)
        await scene.tick(2)
        assert (scene.rig.held(), scene.told.flat, scene.told.positions_closed) == (D(0), Flat.TRUE, 1)
        assert scene.told.state is LatchState.STOPPED

    play(tmp_path, test)


def test_flatten_tries_again_what_the_market_did_not_take(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.latch(StopAction.FLATTEN)
        await scene.tick(3)
        assert scene.told.state is LatchState.STOPPING
        scene.rig.account.takes = D(1)
        await scene.tick(2)
        assert scene.told.state is LatchState.STOPPED
        assert scene.rig.held() == 0

    play(tmp_path, test)


def test_reduce_only_takes_entries_and_leaves_the_rest(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        entry = scene.rig.enter(ETH)
        await scene.rig.settle()
        scene.latch(StopAction.REDUCE_ONLY)
        await scene.tick(2)
        assert scene.rig.state(entry) is OrderState.CANCELLED
        assert (scene.rig.held(), scene.told.flat, scene.told.state) == (D("0.201"), Flat.FALSE, LatchState.STOPPED)

    play(tmp_path, test)


def test_flatten_sells_one_symbol_while_an_order_of_another_is_unresolved(tmp_path: Path) -> None:
    """DESIGN: Flatten sells what the ledger holds, less open and unresolved sells."""

    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.rig.account.will("place", LOST)
        scene.rig.enter(ETH)
        await scene.rig.settle()
        scene.rig.account.takes = D(1)
        scene.latch(StopAction.FLATTEN)
        await scene.tick(10)
        assert scene.rig.held() == 0

    play(tmp_path, test)


def test_flatten_sells_one_symbol_while_a_cancel_of_another_is_refused(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.rig.enter(ETH)
        await scene.rig.settle()
        scene.rig.account.takes = D(1)
        scene.rig.account.always("cancel", BUSY)
        scene.latch(StopAction.FLATTEN)
        await scene.tick(120)
        assert scene.rig.held() == 0

    play(tmp_path, test)


def test_entry_that_waited_for_its_turn_does_not_remain(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        rig = scene.rig
        rig.gateway._budget.orders_used_up(rig.clock.now_ns())
        order = rig.enter()
        scene.latch()
        scene.stop.advance(rig.instruments)
        rig.closed = "the trading state is ReduceOnly"
        await scene.tick(15)
        assert rig.state(order) is OrderState.DENIED
        assert not rig.account.has(order)
        assert scene.result(order) != "Remaining"

    play(tmp_path, test)


def test_order_that_is_presumed_absent_does_not_remain(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.rig.account.will("place", LOST)
        order = scene.rig.enter()
        await scene.rig.settle()
        scene.latch()
        await scene.tick(90)
        assert scene.rig.state(order) is OrderState.PRESUMED_ABSENT
        assert scene.result(order) != "Remaining"

    play(tmp_path, test)


def test_latched_bot_does_not_read_its_ended_orders_at_each_tick(tmp_path: Path) -> None:
    """Twenty times a second: a Flatten that the market takes in a thousand slices stops the event loop."""

    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.rig.account.latency_seconds = 0.2
        scene.latch(StopAction.FLATTEN)
        await scene.tick(60)
        statements: list[str] = []
        scene.rig.store._connection.set_trace_callback(statements.append)
        await scene.tick(1)
        scene.rig.store._connection.set_trace_callback(None)
        reads = [text for text in statements if text.startswith("SELECT * FROM orders WHERE book")]
        assert len(reads) <= 3 * 20

    play(tmp_path, test)


def test_flatten_does_not_cancel_its_own_exit(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.rig.account.takes = D(1)
        scene.rig.account.latency_seconds = 0.3
        scene.latch(StopAction.FLATTEN)
        await scene.tick(2)
        assert scene.rig.held() == 0
        assert scene.rig.account.count("cancel") == 0

    play(tmp_path, test)


def test_result_is_read_once_and_again_when_something_comes_about_an_order_that_had_ended(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        rig = scene.rig
        order = rig.enter()
        await rig.settle()
        scene.latch()
        await scene.tick(1)
        assert scene.result(order) == "Cancelled"
        statements: list[str] = []
        rig.store._connection.set_trace_callback(statements.append)
        await scene.tick(1)
        rig.store._connection.set_trace_callback(None)
        assert not [text for text in statements if "FROM orders" in text]
        whole = rig.order(order).intent.quantity_base
        trade = VenueTrade(BTC, "77", "1", Side.BUY, D(99), whole, "USDT", D(0), rig.clock.now_ns(), is_maker=True)
        rig.desk.on_event(trade_event(trade, order, Place("binance", "a", BookName.LIVE)))
        await scene.tick(1)
        assert scene.result(order) == "Filled"

    play(tmp_path, test)


def test_flatten_sells_in_slices_of_one_order(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        for _ in range(3):
            await scene.hold()
        held = scene.rig.held()
        scene.rig.account.takes = D(1)
        scene.latch(StopAction.FLATTEN)
        await scene.tick(10)
        sold = [o.intent for o in map(scene.rig.desk.find, scene.exits()) if o is not None]
        assert sum(each.quantity_base for each in sold) == held
        assert len(sold) >= 3
        assert all(each.quantity_base * each.price <= 20 + 10 for each in sold)
        assert (scene.told.state, scene.told.flat) == (LatchState.STOPPED, Flat.TRUE)

    play(tmp_path, test)


def test_flatten_that_finds_no_buyer_gives_up_and_tells_what_is_left(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.latch(StopAction.FLATTEN)
        await scene.tick(MOST_UNSOLD + 5)
        assert scene.told.state is LatchState.STOPPED
        assert (scene.told.flat, scene.told.positions_left) == (Flat.FALSE, [f"{scene.rig.held()} BTC/USDT"])
        assert [each.symbol for each in scene.told.given_up] == [BTC]
        prices = {scene.rig.order(each).intent.price for each in scene.exits()}
        assert min(prices) >= 100 * (1 - COLLAR)
        tried = len(scene.exits())
        assert tried == MOST_UNSOLD
        scene.rig.account.takes = D(1)
        await scene.tick(5)
        assert len(scene.exits()) == tried, "given up is given up, until a person asks again"

    play(tmp_path, test)


def test_what_was_given_up_is_not_sold_by_the_next_life(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.latch(StopAction.FLATTEN)
        await scene.tick(MOST_UNSOLD + 5)
        tried = len(scene.exits())
        scene.stop = Stop(scene.rig.desk, scene.rig.venue_clock)
        scene.rig.account.takes = D(1)
        await scene.tick(5)
        assert (len(scene.exits()), scene.told.state) == (tried, LatchState.STOPPED)

    play(tmp_path, test)


def test_one_buyer_in_between_and_flatten_goes_on(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.latch(StopAction.FLATTEN)
        for _ in range(3):
            scene.rig.account.takes = D(0)
            await scene.tick(MOST_UNSOLD - 10)
            scene.rig.account.takes = D("0.001")
            await scene.tick(3)
        assert scene.told.given_up == []
        assert scene.told.state is LatchState.STOPPING

    play(tmp_path, test)

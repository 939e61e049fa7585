"""A stop-loss that rests at the venue while nobody watches: the trading, the adapter and the venue, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.bench import BTC, ETH, Bench
from support.virtual import run
from tradingbot_api.conditions import LatchState
from tradingbot_trader.execution import PaperExecution
from tradingbot_trader.live import LiveExecution
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderState, Purpose
from tradingbot_trader.orders.sizing import NoOrder
from tradingbot_trader.strategy.base import Target

D = Decimal
OUT = Target(D(0), reason="fast below slow")


class Stage(Bench):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, risk={"stopLossPercent": "2"})
        self.rests_stops = True

    def stops(self, symbol: str = BTC) -> list[Any]:
        """Conditional orders that wait at the venue."""
        return [o for o in self.venue.account.open_orders() if o.symbol == symbol and o.type.is_conditional]

    def sells(self) -> list[Any]:
        """Everything that was sold but for what stops sold."""
        return [o for o in self.venue.account.orders if not o.side.is_buy and not o.type.is_conditional]

    def held(self, symbol: str = BTC) -> Decimal:
        return self.trading.desk.engine.ledger.position(symbol).quantity_base

    def known_stop(self) -> Order:
        (order,) = [o for o in self.trading.desk.open_orders() if o.intent.purpose is Purpose.PROTECT]
        return order

    async def hold(self, symbol: str = BTC) -> Any:
        """A position, and the stop that it gets."""
        assert self.enter(symbol) is not None
        await self.until("a position", lambda: self.held(symbol) > 0)
        await self.until(
            "its stop",
            lambda: self.stops(symbol) and all(o.state is OrderState.OPEN for o in self.trading.desk.open_orders()),
        )
        (stop,) = self.stops(symbol)
        return stop

    def check_sales(self) -> None:
        """No more is on sale than is held."""
        for symbol in (BTC, ETH):
            sells = [o for o in self.venue.account.open_orders() if o.symbol == symbol and not o.side.is_buy]
            assert sum(o.remaining for o in sells) <= self.held(symbol)
            assert len(sells) <= 1


def play(folder: Path, test: Callable[[Stage], Awaitable[None]]) -> None:
    async def story() -> None:
        stage = Stage(folder)
        async with stage.running():
            await test(stage)
            stage.wire.let_go()
            await stage.clock.sleep(1)
            stage.check_books()
            assert stage.truth.violations == []

    run(story())


def test_position_is_protected_within_seconds_for_all_that_is_held(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        average = stage.trading.desk.engine.ledger.position(BTC).average_price
        assert average is not None
        assert stage.held() - D("0.001") < stop.quantity <= stage.held()
        assert D(0) <= stop.stop_price - average * D("0.98") < D("0.01")
        assert D("0.994") < stop.price / stop.stop_price <= D("0.996")

    play(tmp_path, test)


def test_stop_outlives_a_crash_sells_alone_and_its_fill_is_found_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        async with stage.running():
            stop = await stage.hold()
        assert stage.stops() == [stop]
        await stage.clock.sleep(600)
        stage.trade("97.9")
        assert stage.stops() == []
        assert stop.state.value == "FILLED"
        assert stage.sells() == []
        async with stage.running():
            assert stage.held() < D("0.001")
            assert stage.order(stop.client_id).state is OrderState.FILLED
            stage.check_books()
            await stage.clock.sleep(30)
            assert stage.stops() == []

    run(story())


def test_stop_of_the_life_before_is_known_and_gets_no_second_one(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path)
        async with stage.running():
            stop = await stage.hold()
        async with stage.running():
            await stage.clock.sleep(60)
            assert stage.stops() == [stop]
            assert stage.known_stop().client_order_id == stop.client_id

    run(story())


def test_position_that_grows_gets_one_stop_for_all_of_it(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        first = await stage.hold()
        before = stage.held()
        assert stage.enter(offset="0.5") is not None, "what a stop holds is no sale that is under way"
        await stage.clock.sleep(1)
        stage.fill(price="99")
        await stage.until("more", lambda: stage.held() > before)
        for _ in range(200):
            await stage.clock.sleep(0.05)
            stage.check_sales()
        (second,) = stage.stops()
        assert first.state.value == "CANCELED"
        assert stage.held() - D("0.001") < second.quantity <= stage.held()

    play(tmp_path, test)


def test_position_that_grows_fill_by_fill_is_not_left_bare_and_makes_no_storm_of_orders(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.hold()
        before = stage.held()
        stage.enter(offset="0.5")
        await stage.clock.sleep(0.5)
        bare_seconds = 0.0
        for number in range(400):
            if number % 10 == 0:
                stage.fill(price="99", quantity="0.005")
            await stage.clock.sleep(0.05)
            bare_seconds += 0 if stage.stops() else 0.05
        assert stage.held() > before + D("0.1")
        stops = [order for order in stage.venue.account.orders if order.type.is_conditional]
        assert 2 <= len(stops) <= 7
        assert bare_seconds < 1

    play(tmp_path, test)


def test_a_real_venue_rests_stops_and_one_that_is_played_does_not() -> None:
    assert (LiveExecution.rests_stops, PaperExecution.rests_stops) == (True, False)


@pytest.mark.parametrize("ask", ["strategy", "stop-loss"])
def test_exit_takes_the_stop_away_first_and_sells_in_the_moment_in_which_that_is_proved(
    tmp_path: Path, ask: str
) -> None:
    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        stage.wire.holds_answers = {"cancel"}
        stage.reports.is_held = True
        if ask == "strategy":
            assert isinstance(stage.trading.desk.pursue(BTC, OUT), NoOrder)
        else:
            stage.trading.desk.exit(BTC, "StopLoss")
        await stage.clock.sleep(3)
        assert stop.state.value == "CANCELED"
        assert stage.sells() == [], "the cancel is not proved yet"
        stage.wire.let_go()
        await stage.clock.sleep(0.1)
        assert len(stage.sells()) == 1
        stage.reports.is_held = False
        for message in stage.reports.waiting:
            stage.reports.say(message)
        await stage.until("it is sold", lambda: stage.held() < D("0.05"), seconds=5)
        assert stage.stops() == []

    play(tmp_path, test)


def test_what_an_exit_could_not_sell_is_protected_again(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        stage.prices[BTC] = "101"  # nobody buys at 100.5
        await stage.clock.sleep(1)
        stage.trading.desk.pursue(BTC, OUT)
        await stage.clock.sleep(3)
        assert stage.stops() == []
        await stage.until("a stop", stage.stops, seconds=20)
        assert stage.stops() != [stop]
        stage.check_sales()

    play(tmp_path, test)


@pytest.mark.parametrize("action", ["CancelOrders", "ReduceOnly"])
def test_latch_keeps_it_and_says_why(tmp_path: Path, action: str) -> None:
    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        entry = stage.enter(ETH, offset="1")
        assert entry is not None
        await stage.clock.sleep(0.5)
        stage.kube.edit(killSwitch={"engaged": True, "action": action, "reason": "drill"})
        stage.look()
        await stage.until("the stop's end", lambda: stage.trading.stop.latch.state is LatchState.STOPPED)  # type: ignore[union-attr]
        latch = stage.trading.stop.latch
        assert latch is not None
        told = {order.client_order_id: (order.result, order.reason) for order in latch.orders}
        assert told[stop.client_id] == ("Remaining", "protective stop")
        assert told[entry.client_order_id][0] == "Cancelled"
        await stage.clock.sleep(60)
        assert stage.stops() == [stop]

    play(tmp_path, test)


def test_flatten_takes_it_away_and_sells(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.hold()
        stage.kube.edit(killSwitch={"engaged": True, "action": "Flatten", "reason": "drill"})
        stage.look()
        await stage.until("the stop's end", lambda: stage.trading.stop.latch.state is LatchState.STOPPED)  # type: ignore[union-attr]
        await stage.clock.sleep(20)
        assert stage.stops() == []
        assert not stage.trading.desk.is_tradable(BTC)

    play(tmp_path, test)


def test_end_of_the_process_leaves_it_though_a_larger_one_would_be_better(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        await stage.clock.sleep(10)
        before = stage.held()
        entries = [stage.enter(BTC, offset="0.5", allocation="0.9"), stage.enter(ETH, offset="1")]
        await stage.clock.sleep(0.5)
        stage.wire.holds_before = {"cancel"}
        draining = asyncio.create_task(stage.trading.drain(20))
        await stage.clock.sleep(0.1)
        stage.fill(price="99")
        await stage.clock.sleep(10)
        assert stage.held() > before + D("0.002")
        assert stop.client_id not in {call.client_order_id for call in stage.wire.calls if call.kind == "cancel"}
        stage.wire.let_go()
        await draining
        assert not any(stage.order(entry.client_order_id).state.is_open for entry in entries if entry)
        assert stage.stops() == [stop]

    play(tmp_path, test)


def test_position_is_left_to_its_stop_and_sold_here_when_that_cannot_sell_any_more(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        stage.prices[BTC] = "97.8"  # below its stop price, above its limit price
        await stage.clock.sleep(5)
        assert stage.stops() == [stop]
        assert stage.sells() == []
        stage.prices[BTC] = "97"
        await stage.until("an exit", lambda: not stage.trading.desk.is_tradable(BTC), seconds=5)
        assert stop.state.value == "CANCELED"

    play(tmp_path, test)


def test_stop_that_is_all_that_protects_is_not_taken_away_for_an_exit_that_cannot_leave(tmp_path: Path) -> None:
    """The lease is lost: nothing leaves but cancels."""

    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        stage.lease_seconds = 0.0
        stage.prices[BTC] = "97"
        await stage.clock.sleep(30)
        stage.trading.desk.pursue(BTC, OUT)
        await stage.clock.sleep(30)
        assert stage.stops() == [stop]
        stage.lease_seconds = 60.0
        await stage.until("it is sold", lambda: not stage.trading.desk.is_tradable(BTC))

    play(tmp_path, test)


def test_stop_that_cannot_be_cancelled_is_not_sold_twice(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stop = await stage.hold()
        stage.wire.holds_before = {"cancel"}
        stage.trading.desk.pursue(BTC, OUT)
        await stage.clock.sleep(30)
        assert stage.stops() == [stop]
        assert stage.sells() == []

    play(tmp_path, test)

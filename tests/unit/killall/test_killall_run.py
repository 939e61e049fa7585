"""One run on a venue in memory, in virtual time: silence, late lists, lost sales, and a time that is over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from tests.unit.orders.builders import instrument

from support.account import BANNED, BUSY, DEAD_KEY, LOST, NOT_FOUND, POLICY, SKEWED, THROTTLED, UNKNOWN_ORDER, own_id
from support.virtual import VirtualClock, run
from tradingbot_trader.killall.plan import Report, SaleAsked, Scope
from tradingbot_trader.killall.run import CouldNotTry, Killer
from tradingbot_trader.killall.sale import Market
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.order import Intent, OrderState
from tradingbot_trader.venues.account import AccountView, Answer, Balance, OrderSnapshot, VenueSaid
from tradingbot_trader.venues.killer import Ending, KillerPort, RestingOrder

ORDERS = ("1", "2", "3")


class Venue(KillerPort):
    """Orders that rest until they are cancelled; what it says instead is scripted, call by call."""

    def __init__(self, clock: VirtualClock, *ids: str) -> None:
        self.clock = clock
        self.book: dict[str, Ending | None] = dict.fromkeys(ids)
        self.calls: list[tuple[float, str]] = []
        self.script: dict[str, deque[Answer]] = {}
        self.stale: deque[tuple[str, ...]] = deque()
        """Lists that are answered instead of the true one; the first look is not among them."""
        self.free, self.takes = Decimal(10), Decimal(10)
        self.sold: dict[str, Decimal] = {}
        self.loses_sales = self.hides_sales = False
        self.on_sell: Callable[[], None] = lambda: None

    def will(self, name: str, answer: Answer, times: int = 1) -> None:
        self.script.setdefault(name, deque()).extend([answer] * times)

    def count(self, name: str) -> int:
        return sum(called == name for _, called in self.calls)

    async def _call(self, name: str) -> None:
        self.calls.append((self.clock.monotonic_ns() / 1e9, name))
        await self.clock.sleep(0.01)
        if self.script.get(name):
            raise VenueSaid(self.script[name].popleft())

    def _show(self, number: str) -> RestingOrder:
        return RestingOrder(
            symbol="BTCUSDT", venue_order_id=number, client_order_id=own_id(1), ending=self.book[number]
        )

    async def sync_clock(self) -> None:
        await self._call("sync")

    async def resting(self, symbol: str | None) -> tuple[RestingOrder, ...]:  # noqa: ARG002  one market
        await self._call("list")
        open_now = tuple(number for number, ending in self.book.items() if ending is None)
        if self.count("list") > 1 and self.stale:
            open_now = self.stale.popleft()
        return tuple(replace(self._show(number), ending=None) for number in open_now)

    async def cancel_resting(self, order: RestingOrder) -> tuple[RestingOrder, ...]:
        await self._call("cancel")
        if self.book[order.venue_order_id] is not None:
            raise VenueSaid(UNKNOWN_ORDER)
        self.book[order.venue_order_id] = Ending.CANCELLED
        return (self._show(order.venue_order_id),)

    async def cancel_market(self, symbol: str) -> tuple[RestingOrder, ...]:  # noqa: ARG002  one market
        await self._call("cancel-market")
        self.book |= {number: Ending.CANCELLED for number, ending in self.book.items() if ending is None}
        return tuple(self._show(number) for number in self.book)

    async def look_up(self, order: RestingOrder) -> RestingOrder:
        await self._call("look-up")
        return self._show(order.venue_order_id)

    async def account(self) -> AccountView:
        await self._call("account")
        return AccountView("7", can_trade=True, balances={"BTC": Balance("BTC", self.free, Decimal(0))})

    async def rules(self, symbol: str) -> Instrument:
        await self._call("rules")
        return instrument(symbol)

    async def last_price(self, symbol: str) -> Decimal:  # noqa: ARG002  one market
        await self._call("price")
        return Decimal(100)

    async def sell(self, intent: Intent) -> OrderSnapshot:
        await self._call("sell")
        filled = min(self.takes, intent.quantity_base)
        self.takes -= filled
        self.sold[intent.client_order_id] = filled
        self.on_sell()
        if self.loses_sales:
            raise VenueSaid(LOST)
        return self._sold(intent)

    async def find_sell(self, intent: Intent) -> OrderSnapshot:
        await self._call("find-sell")
        if self.hides_sales:
            raise VenueSaid(NOT_FOUND)
        return self._sold(intent)

    async def close(self) -> None:
        pass

    def _sold(self, intent: Intent) -> OrderSnapshot:
        filled = self.sold[intent.client_order_id]
        return OrderSnapshot(
            symbol=intent.symbol,
            client_order_id=intent.client_order_id,
            venue_order_id="9",
            state=OrderState.FILLED if filled == intent.quantity_base else OrderState.EXPIRED,
            side=intent.side,
            type=intent.type,
            time_in_force=intent.time_in_force,
            quantity_base=intent.quantity_base,
            price=intent.price,
            stop_price=None,
            filled_base=filled,
            created_ns=0,
            updated_ns=0,
        )


class World:
    def __init__(self, *ids: str, scope: Scope | None = None) -> None:
        self.clock, self.stopping, self.told = VirtualClock(), asyncio.Event(), list[str]()
        self.venue = Venue(self.clock, *ids)
        numbers = count(1)
        self.market = Market(collar_percent=Decimal(2), slice_quote=Decimal(100), take_id=lambda: own_id(next(numbers)))
        self.killer = Killer(
            self.venue, self.clock, POLICY, scope or Scope(), tell=self.told.append, stopping=self.stopping
        )

    async def kill(self, *sales: SaleAsked, seconds: float = 120) -> Report:
        await self.killer.look(seconds)
        return await self.killer.kill(sales, self.market, seconds)


BTC = SaleAsked("BTC", Decimal(3), "BTC/USDT")


def play(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(test())


def test_proof_is_two_lists_that_are_five_seconds_apart() -> None:
    async def test() -> None:
        world = World("1")
        report = await world.kill()
        assert report.exit_code == 0
        empty = [at for at, name in world.venue.calls if name == "list"][1:]
        assert len(empty) == 2
        assert empty[1] - empty[0] >= 5

    play(test)


def test_after_a_silence_cancels_come_first_and_nothing_comes_in_it() -> None:
    async def test() -> None:
        for answer, seconds in ((THROTTLED, 30), (BANNED, 120)):
            world = World(*ORDERS, scope=Scope(own_only=True))
            world.venue.will("cancel", answer)
            report = await world.kill(seconds=300)
            assert report.exit_code == 0
            at = next(at for at, name in world.venue.calls if name == "cancel")
            later = [(when, name) for when, name in world.venue.calls if when > at + 0.02]
            assert later[0][0] >= at + seconds
            assert later[0][1] == "cancel"

    play(test)


def test_order_that_was_filled_before_the_cancel_is_told_as_filled() -> None:
    async def test() -> None:
        world = World("1")
        await world.killer.look(60)
        world.venue.book["1"] = Ending.FILLED
        report = await world.killer.kill((), world.market, 60)
        assert (report.exit_code, [each.ending for each in report.targets]) == (0, [Ending.FILLED])

    play(test)


def test_list_that_is_late_proves_nothing_either_way() -> None:
    async def test() -> None:
        world = World("1")
        world.venue.stale.extend([("1",), ("1",)])
        report = await world.kill()
        assert report.exit_code == 0
        assert world.venue.count("list") >= 5
        forgetful = World("1", "2", scope=Scope(own_only=True))
        forgetful.venue.stale.extend([()])
        forgetful.venue.will("cancel", BUSY, times=4)
        report = await forgetful.kill()
        assert report.exit_code == 0
        assert set(forgetful.venue.book.values()) == {Ending.CANCELLED}

    play(test)


def test_order_that_stays_in_the_list_is_left() -> None:
    async def test() -> None:
        world = World("1")
        world.venue.stale.extend([("1",)] * 1000)
        report = await world.kill(seconds=30)
        assert (report.exit_code, [each.is_closed for each in report.targets]) == (2, [False])

    play(test)


def test_key_is_dead_after_three_refusals_and_not_after_one() -> None:
    async def test() -> None:
        world = World("1")
        world.venue.will("list", DEAD_KEY, times=2)
        assert (await world.kill()).exit_code == 0
        world = World("1")
        world.venue.will("list", DEAD_KEY, times=100)
        with pytest.raises(CouldNotTry, match="-2015"):
            await world.killer.look(60)
        assert world.venue.count("list") == 3

    play(test)


def test_clock_is_set_again_when_the_venue_says_so() -> None:
    async def test() -> None:
        world = World("1")
        world.venue.will("cancel", SKEWED)
        assert (await world.kill()).exit_code == 0
        assert world.venue.count("sync") == 2

    play(test)


def test_interrupted_run_ends_with_a_report() -> None:
    async def test() -> None:
        world = World("1")
        world.venue.will("cancel", BUSY, times=1000)
        await world.killer.look(60)
        asyncio.get_running_loop().call_later(3, world.stopping.set)
        report = await world.killer.kill((BTC,), world.market, 60)
        assert (report.exit_code, report.problem) == (2, "it was interrupted")
        assert world.clock.monotonic_ns() < 5e9
        assert world.venue.count("sell") == 0

    play(test)


def test_market_without_buyers_above_the_floor_ends_the_sale() -> None:
    async def test() -> None:
        world = World()
        world.venue.takes = Decimal("1.5")
        report = await world.kill(BTC)
        (sale,) = report.sales
        assert (report.exit_code, sale.sold_base, sale.floor_price) == (2, Decimal("1.5"), Decimal(98))
        assert "nobody buys at 98 or more" in sale.reason

    play(test)


def test_sale_whose_answers_are_lost_sells_what_was_named() -> None:
    async def test() -> None:
        world = World()
        world.venue.loses_sales = True
        report = await world.kill(BTC)
        assert report.exit_code == 0
        assert sum(world.venue.sold.values()) == 3
        assert report.sales[0].received_quote == 3 * 98

    play(test)


def test_sale_that_cannot_be_found_is_counted_in_full_and_ends_there() -> None:
    async def test() -> None:
        world = World("1")
        world.venue.loses_sales = world.venue.hides_sales = True
        report = await world.kill(BTC)
        (sale,) = report.sales
        assert (report.exit_code, world.venue.count("sell")) == (2, 1)
        assert sale.unresolved_base == sum(world.venue.sold.values()) > 0
        assert own_id(1) in sale.reason

    play(test)


def test_order_without_end_leaves_time_for_the_sale_and_is_tried_again_after_it() -> None:
    async def test() -> None:
        world = World("1")
        world.venue.will("cancel", BUSY, times=1000)
        world.venue.on_sell = world.venue.script["cancel"].clear
        report = await world.kill(BTC, seconds=60)
        assert (report.exit_code, report.sales[0].sold_base) == (0, Decimal(3))

    play(test)


def test_order_that_only_the_list_forgot_is_cancelled() -> None:
    """By its own word it is open."""

    async def test() -> None:
        world = World("1")
        world.venue.will("cancel", BUSY)
        world.venue.stale.extend([()] * 1000)
        report = await world.kill(seconds=30)
        assert (report.exit_code, world.venue.book) == (0, {"1": Ending.CANCELLED})

    play(test)

"""The whole live trader against the simulated venue, in situations that no random world draws. Virtual time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.account import intent_of
from support.bench import BTC, ETH, Bench
from support.simulation.plan import Plan
from support.simulation.world import World
from support.trader import Trader, build_spec
from support.virtual import run
from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults_rules import Rule, When
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.reader import open_reader
from tradingbot_trader.orders.order import BookName, OrderState

RISE = ("100", "100", "99.5", "99", "101", "102")


class Stage(World):
    """A world whose chaos the test brings itself."""

    async def act(self, test: Callable[[Stage], Awaitable[None]]) -> None:
        self._write_keys()
        pump = asyncio.create_task(self.venue.pump())
        try:
            await test(self)
        finally:
            await self._end_life()
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    def begin(self) -> None:
        self._begin_life()

    async def crash(self) -> None:
        await self._end_life()

    def refuse(self, operation: rules.Operation, what: Any, *, count: int = 1) -> None:
        self.venue.faults.script.add(
            Rule(when=When(operation=operation, nth=1, count=count), what=what), self.clock.now_ns()
        )

    async def until(self, look: Callable[[], Any], *, seconds: float = 120.0) -> Any:
        deadline = self._seconds() + seconds
        while not (found := look()):
            assert self._seconds() < deadline, f"it did not come: {self.kube.trader}"
            await self.clock.sleep(0.02)
        return found

    def resting(self, symbol: str = "") -> list[Any]:
        """The bot's own open entries at the venue."""
        return [
            order
            for order in self.venue.account.open_orders()
            if order in self.truth.own_orders() and order.side.is_buy and symbol in ("", order.symbol)
        ]

    def fills(self) -> set[tuple[str, str]]:
        with open_reader(self.store) as reader:
            return {(fill.symbol, fill.trade_id) for fill in reader.fills(BookName.LIVE)}

    def own_trades(self) -> set[tuple[str, str]]:
        own = self.truth.own_orders()
        return {(trade.symbol, str(trade.trade_id)) for trade in self.venue.account.trades if trade.order in own}


def play(folder: Path, test: Callable[[Stage], Awaitable[None]], *, seed: int = 1, symbols: int = 1) -> None:
    async def go() -> None:
        await Stage(Plan(seed=seed, kinds="limit", symbols=symbols), folder).act(test)

    run(go())


def test_entry_rests_and_a_stop_takes_it_away(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.begin()
        await stage.until(stage.resting)
        stage.kube.edit(killSwitch={"engaged": True, "action": "CancelOrders", "reason": "drill"})
        await stage.until(lambda: stage.kube.trader.get("latch", {}).get("state") == "Stopped", seconds=10)
        assert stage.resting() == []
        assert stage.fills() == stage.own_trades()

    play(tmp_path, test)


def test_latched_bot_whose_spec_is_refused_at_the_next_start_takes_its_entries_away(tmp_path: Path) -> None:
    """P4. The stop is latched while the venue cannot be reached, and the pod dies; at the next start the venue is still
    away for two seconds, and somebody has broken the spec. Then the venue is back for good."""

    async def test(stage: Stage) -> None:
        stage.begin()
        await stage.until(stage.resting)
        stage.venue.is_cut_off = True
        stage.kube.edit(killSwitch={"engaged": True, "action": "CancelOrders", "reason": "get out"})
        await stage.until(lambda: stage.kube.trader.get("latch", {}).get("acknowledgedAt"), seconds=5)
        await stage.crash()
        stage.kube.edit(permit=False, capital={"stage": "nowhere"})
        stage.begin()
        await stage.clock.sleep(2)
        order = stage.resting()[0]
        stage.venue.is_cut_off = False
        await stage.clock.sleep(120)
        assert order.state.value == "CANCELED"

    play(tmp_path, test)


def test_latched_bot_without_any_spec_takes_its_entries_away(tmp_path: Path) -> None:
    """P4. Neither the last good spec nor the new one can be read any more: no market ever runs."""

    async def test(stage: Stage) -> None:
        stage.begin()
        await stage.until(stage.resting)
        stage.venue.is_cut_off = True
        stage.kube.edit(killSwitch={"engaged": True, "action": "CancelOrders", "reason": "get out"})
        await stage.until(lambda: stage.kube.trader.get("latch", {}).get("acknowledgedAt"), seconds=5)
        await stage.crash()
        with sqlite3.connect(stage.store / "store.db") as connection:
            connection.execute("UPDATE configs SET spec = '{}'")
        stage.kube.edit(permit=False, capital={"stage": "nowhere"})
        stage.begin()
        await stage.clock.sleep(2)
        order = stage.resting()[0]
        stage.venue.is_cut_off = False
        await stage.clock.sleep(30)
        assert order.state.value == "CANCELED"
        assert "NoConfig" in stage.kube.trader["stateReasons"]

    play(tmp_path, test)


def test_last_good_spec_is_resumed_when_the_venue_is_back_though_the_new_one_is_refused(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.begin()
        await stage.until(stage.resting)
        await stage.crash()
        stage.kube.edit(permit=False, capital={"stage": "nowhere"})
        stage.venue.is_cut_off = True
        stage.begin()
        await stage.clock.sleep(2)
        stage.venue.is_cut_off = False
        await stage.until(lambda: "NoConfig" not in stage.kube.trader.get("stateReasons", ["NoConfig"]), seconds=120)

    play(tmp_path, test)


def test_order_of_a_symbol_that_left_the_spec_while_the_trader_was_away_keeps_its_fills(tmp_path: Path) -> None:
    """P2. An entry in ETH rests, the pod dies, the entry fills, the owner takes ETH out of the spec."""

    async def test(stage: Stage) -> None:
        stage.begin()
        await stage.until(lambda: stage.resting("ETH/USDT") and not _has(stage, "ETH/USDT"))
        await stage.crash()
        order = stage.resting("ETH/USDT")[0]
        await stage.until(lambda: order not in stage.resting() or order.remaining < order.quantity, seconds=3000)
        stage.kube.edit(symbols=["BTC/USDT"])
        stage.venue.is_cut_off = True  # so that the spec of before cannot be resumed
        stage.begin()
        await stage.clock.sleep(2)
        stage.venue.is_cut_off = False
        await stage.clock.sleep(120)
        assert stage.own_trades() <= stage.fills()
        assert stage.kube.trader["state"] == "Active"

    play(tmp_path, test, symbols=2)


def _has(stage: Stage, symbol: str) -> bool:
    return any(trade.symbol == symbol for trade in stage.venue.account.trades)


@pytest.mark.parametrize("action", ["CancelOrders", "Flatten"])
def test_restart_while_a_position_is_in_profit_trips_nothing(tmp_path: Path, action: str) -> None:
    """A drained node is enough: 5 USDT of unrealized profit on a limit of 50 latch the bot, and Flatten sells it."""

    async def test() -> None:
        trader = Trader(tmp_path, build_spec(killSwitch={"engaged": False, "action": action}))
        async with trader.running():
            await trader.until_active()
            await trader.market.walk(*RISE, "110", "120", "130")
            assert Decimal((await trader.report())["performance"]["unrealizedPnl"]) > 5
        async with trader.running():
            await trader.until_active()
            await trader.market.walk("130", "130")
            report = await trader.report()
            assert report["latch"]["state"] == "Armed", report["latch"]
            assert report["openPositions"] == 1

    run(test())


def test_symbol_of_an_order_has_a_market_though_no_spec_names_it(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            entry = bench.enter(ETH, offset="1")
            assert entry is not None
            await bench.until("an order", lambda: bench.order(entry.client_order_id).state is OrderState.OPEN)
        bench.kube.edit(symbols=[BTC])
        bench.prices.pop(ETH)
        async with bench.running():
            assert bench.market.symbols == [BTC, ETH]

    run(story())


def test_order_that_is_adopted_widens_the_market(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            assert bench.market.symbols == [BTC]
            bench.trading.desk.adopt(intent_of("e" * 32, symbol=ETH))
            await bench.until("its market", lambda: bench.market.symbols == [BTC, ETH], seconds=1)

    run(story())


def test_nothing_is_bought_while_a_position_has_no_price(tmp_path: Path) -> None:
    """What the bot has lost today is not known."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            bench.enter(ETH, allocation="0.2")
            await bench.until("a position", lambda: bench.trading.desk.engine.ledger.position(ETH).quantity_base)
        bench.prices.pop(ETH)
        async with bench.running():
            await bench.until("a price", lambda: BTC in bench.trading.driver.prices)
            assert bench.enter(BTC) is None
            assert bench.records(AuditKind.ORDER_DENIED)
            bench.prices[ETH] = "100"
            await bench.until("a price", lambda: ETH in bench.trading.driver.prices)
            assert bench.enter(BTC) is not None

    run(story())

"""A stop on a live desk without the rest of the trader (Scene), and in a whole trader (StopBench)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.account import BTC, ETH, FakeAccount, Rig
from support.bench import Bench
from support.virtual import VirtualClock, run
from tradingbot_api.spec import StopAction
from tradingbot_api.status import Latch
from tradingbot_trader.control.break_glass import FILE_NAME
from tradingbot_trader.control.latch import StopRequest
from tradingbot_trader.control.stop import Stop
from tradingbot_trader.orders.order import Side

TICK_SECONDS = 0.05


class Scene:
    """A live desk with a stop on it, ticking as the trader does."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.stop = Stop(rig.desk, rig.venue_clock, new_id=lambda: "latch-1")

    def latch(self, action: StopAction = StopAction.CANCEL_ORDERS) -> None:
        assert self.stop.trip(StopRequest("KillSwitch", action, "drill"))

    async def tick(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_SECONDS)):
            self.stop.advance(self.rig.instruments)
            await self.rig.clock.sleep(TICK_SECONDS)

    async def hold(self, symbol: str = BTC) -> None:
        """A position of 0.2, fees included."""
        order = self.rig.enter(symbol)
        await self.rig.settle()
        self.rig.account.fill(order, self.rig.order(order).intent.quantity_base)

    @property
    def told(self) -> Latch:
        assert self.stop.latch is not None
        return self.stop.latch

    def exits(self) -> list[str]:
        """Client order ids of what was sent to sell."""
        orders = self.rig.account.orders.values()
        return [order.client_order_id for order in orders if order.side is Side.SELL]

    def result(self, client_order_id: str) -> str:
        return next(order.result for order in self.told.orders if order.client_order_id == client_order_id)


def play(
    folder: Path, test: Callable[[Scene], Awaitable[None]], *, symbols: Any = (BTC, ETH), quote: str = "1000"
) -> None:
    async def go() -> None:
        clock = VirtualClock()
        account = FakeAccount(clock)
        account.balances["USDT"] = Decimal(quote)
        rig = await Rig(folder, clock, account, symbols=symbols).start()
        await rig.settle()
        try:
            await test(Scene(rig))
        finally:
            await rig.end()

    run(go())


class StopBench(Bench):
    """A whole live trader, and what a test of its stop looks at."""

    @property
    def latch(self) -> Latch:
        assert self.trading.stop.latch is not None
        return self.trading.stop.latch

    @property
    def is_latched(self) -> bool:
        return self.trading.stop.is_latched

    @property
    def glass(self) -> Path:
        return self.folder / "store" / FILE_NAME

    def ask(self, **switch: object) -> None:
        self.kube.edit(killSwitch=switch)
        self.look()

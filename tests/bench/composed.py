"""SHELL. The trading part of a trader against the simulator: all of it real but the control plane.

As Session puts it together, but in reach: a figure has to ask the desk for an order at a moment of its own choice.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from support.trader import FakeKube, build_spec
from tradingbot_api.conditions import TradingState
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_sandbox.venues.process import VenueProcess
from tradingbot_trader import log
from tradingbot_trader.book.store import Identity, SqliteDisk, Store
from tradingbot_trader.clock import SystemClock, VenueClock
from tradingbot_trader.control.configuration import Configurator
from tradingbot_trader.control.permit import MODES
from tradingbot_trader.control.tenant import Tenant
from tradingbot_trader.execution import Execution, PaperExecution, Surroundings
from tradingbot_trader.market.events import Candle
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.budget import RateBudget
from tradingbot_trader.orders.client_id import ClientOrderIds, hash_bot
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.strategy.base import BaseStrategy, Parameters, Target
from tradingbot_trader.trading import Trading, World
from tradingbot_trader.venues.ccxt_port import build_market_data
from tradingbot_trader.venues.port import Addresses, MarketDataPort

SYMBOL = "BTC/USDT"
DEADLINE_SECONDS = 60.0
BALANCES = {"USDT": "1000000"}
RISK = {"maxOrderNotional": "20", "cooldownAfterLoss": "0s", "maxOrdersPerMinute": 600}


class Waiting(BaseStrategy[Parameters, None]):
    """Wants nothing, so that no order but the measured ones leaves."""

    name: ClassVar[str] = "waiting"
    parameters_class = Parameters

    def warmup_candles(self, parameters: Parameters) -> int:  # noqa: ARG002  the interface
        return 0

    def initial_state(self, parameters: Parameters) -> None:  # noqa: ARG002  as above
        return

    def on_candle(self, parameters: Parameters, state: None, candle: Candle) -> tuple[None, Target | None]:  # noqa: ARG002
        return None, None


class TimedDisk(SqliteDisk):
    """The real disk, and how long each commit took."""

    def __init__(self) -> None:
        self.commits_seconds: list[float] = []

    def commit(self, connection: sqlite3.Connection) -> None:
        began = time.perf_counter()
        super().commit(connection)
        self.commits_seconds.append(time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Composed:
    trading: Trading
    port: MarketDataPort
    disk: TimedDisk
    kube: FakeKube
    """What `Trading.look` is told is up to the figure."""


@asynccontextmanager
async def trading(
    venue: VenueProcess,
    folder: Path,
    *,
    book: BookName,
    keys_dir: Path | None = None,
    budget: RateBudget | None = None,
) -> AsyncIterator[Composed]:
    """Runs, and is Active, when it is entered. `keys_dir` and `budget` belong to the live book."""
    log.configure(namespace="desk", name="btc")  # as in a pod: what it costs to log is part of every path
    clock, book_folder = SystemClock(), folder / "store"
    addresses = Addresses(rest_url=venue.rest_url, stream_url=venue.stream_url, account_url=venue.session_url)
    port = build_market_data(
        ExchangeId.BINANCE, Network.SANDBOX, clock=clock, rest_url=venue.rest_url, stream_url=venue.stream_url
    )
    kube = FakeKube(_spec(book))
    kube.permit(mode=MODES[book].value)
    tenant = Tenant(kube, clock, random.Random(1), identity="btc-0")  # noqa: S311  jitter
    disk = TimedDisk()
    store = Store.open(
        book_folder,
        Identity("bench", "desk", "btc", ExchangeId.BINANCE.value, Network.SANDBOX.value),
        book=book,
        account="paper" if book is BookName.PAPER else None,
        now_ns=clock.now_ns(),
        disk=disk,
    )
    epoch = store.begin_epoch(0, clock.now_ns())
    costs = Costs()
    made = Trading(
        store,
        World(
            clock=VenueClock(clock),
            port=port,
            holds_lease=lambda seconds: tenant.holds(margin_seconds=seconds),
            contact_age_seconds=lambda: 0.0,
            urge_report=lambda: None,
            folder=book_folder,
            build_execution=_execution(addresses, keys_dir, budget),
        ),
        Configurator(
            port,
            exchange=ExchangeId.BINANCE,
            network=Network.SANDBOX,
            costs=costs,
            find_strategy=lambda _: Waiting(),
        ),
        ClientOrderIds(hash_bot("bench", "desk", "btc"), epoch),
        costs,
        Metrics(),
    )
    tasks = [asyncio.create_task(tenant.run())]
    try:
        await until("the lease", tenant.holds)
        made.look(kube.bot, [])
        tasks.append(asyncio.create_task(made.run()))
        await until("Active", lambda: made.verdict.state is TradingState.ACTIVE and SYMBOL in made.driver.prices, tasks)
        yield Composed(made, port, disk, kube)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await port.close()
        store.close()


async def until(
    what: str,
    look: Callable[[], Any],
    tasks: list[asyncio.Task[Any]] | None = None,
    *,
    seconds: float = DEADLINE_SECONDS,
) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        for task in tasks or ():
            if task.done():
                task.result()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:g} s")
        await asyncio.sleep(0.01)


def write_keys(venue: VenueProcess, folder: Path) -> Path:
    """A fresh account of its own, and the two files of its key, as a mounted Secret has them."""
    key, secret = venue.issue_key(venue.open_account(BALANCES))
    folder.mkdir(mode=0o700, parents=True)
    (folder / "apiKey").write_text(key)
    (folder / "apiSecret").write_text(secret)
    return folder


def build_bot_spec(book: BookName, **changes: Any) -> dict[str, Any]:
    """One symbol, the shipped strategy, candles of a minute."""
    live = {"mode": "Live", "credentials": {"secretName": "keys"}} if book is BookName.LIVE else {}
    strategy = {"name": "sma-cross", "timeframe": "1m", "parameters": {"fast": 10, "slow": 30}}
    return build_spec(**{"risk": RISK, "strategy": strategy} | live | changes)


def _spec(book: BookName) -> dict[str, Any]:
    return build_bot_spec(book, strategy={"name": Waiting.name, "timeframe": "1m", "parameters": {}})


def _execution(
    addresses: Addresses, keys_dir: Path | None, budget: RateBudget | None
) -> Callable[[Surroundings], Execution]:
    if keys_dir is None:
        return lambda around: PaperExecution(around, open_orders=around.desk.store.open_orders(BookName.PAPER))
    from tradingbot_trader.live_binance import build_live

    return build_live(ExchangeId.BINANCE, Network.SANDBOX, addresses, keys_dir, budget=budget)

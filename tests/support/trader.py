"""A whole trader in one process: the real session, an API server and a market that the test plays."""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.virtual import VirtualClock
from tradingbot_api.digest import digest_spec
from tradingbot_api.spec import ExchangeId, Network, Timeframe, TradingBotSpec
from tradingbot_trader.book.store import SqliteDisk
from tradingbot_trader.control.configuration import ConfigRefused
from tradingbot_trader.control.kube import KubeError, Listing
from tradingbot_trader.market.events import Book, Candle, FeedChange, FeedState, Level, MarketSink, Trade
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.session import Session, Settings
from tradingbot_trader.venues.port import FeedCounters, UnknownSymbol

Raw = dict[str, Any]
LISTED = ("BTC/USDT", "ETH/USDT")
MOST_STATUSES_AT_ONCE = 100


def build_spec(**changes: Any) -> Raw:
    spec: Raw = {
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": ["BTC/USDT"],
        "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": 1, "slow": 2, "rsiPeriod": 0}},
        "capital": {
            "currency": "USDT",
            "stage": "micro",
            "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
        },
        "risk": {"maxOrderNotional": "20", "cooldownAfterLoss": "0s"},
    }
    return spec | changes


class FakeKube:
    """KubeApi over one object in memory. `down` makes every call fail, as a partition does."""

    def __init__(self, spec: Raw, *, uid: str = "u1") -> None:
        self.version = 1
        self.bot: Raw | None = {
            "metadata": {"name": "btc", "namespace": "desk", "uid": uid, "generation": 1, "resourceVersion": "1"},
            "spec": spec,
            "status": {},
        }
        self.halts: dict[str, Raw] = {}
        self.lease: Raw | None = {"metadata": {"name": "btc-trader", "resourceVersion": "1"}}
        self.statuses: list[Raw] = []
        self.down = False
        self.forbid_halts = False
        self._watchers: list[asyncio.Queue[Raw]] = []

    def edit(self, *, permit: bool = True, **spec: Any) -> None:
        """A merge patch of the first level of the spec, as kubectl would send it, and the operator's answer to it."""
        assert self.bot is not None
        for key, value in spec.items():
            old = self.bot["spec"].get(key)
            self.bot["spec"][key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
        self.bot["metadata"]["generation"] += 1
        self._changed()
        if permit:
            self.permit()

    def permit(self, *, stage: str | None = None, **changes: Any) -> None:
        assert self.bot is not None
        try:
            spec = TradingBotSpec.model_validate(self.bot["spec"])
        except ValueError:
            return
        granted = spec.capital.find_stage(stage or spec.capital.stage)
        self.bot["status"]["permit"] = {
            "uid": self.bot["metadata"]["uid"], "mode": "Paper", "stage": granted.name, "limit": str(granted.limit),
            "digest": digest_spec(spec), "specGeneration": 1, "issuedAt": "2026-01-01T00:00:00Z",
        } | changes  # fmt: skip
        self._changed()

    def halt(self, name: str, spec: Raw | None) -> None:
        if spec is None:
            del self.halts[name]
        else:
            self.halts[name] = {"metadata": {"name": name, "resourceVersion": "1"}, "spec": spec}
        self._changed()

    def delete(self) -> None:
        self.bot = None
        self._changed()

    @property
    def trader(self) -> Raw:
        """The newest `status.trader`."""
        return self.statuses[-1] if self.statuses else {}

    async def get_bot(self) -> Raw | None:
        self._answer()
        return copy.deepcopy(self.bot)

    async def list_bot(self) -> Listing:
        self._answer()
        return Listing([copy.deepcopy(self.bot)] if self.bot else [], str(self.version))

    async def list_halts(self) -> Listing:
        self._answer()
        if self.forbid_halts:
            raise KubeError("tradinghalts is forbidden", status=403)
        return Listing(list(copy.deepcopy(self.halts).values()), str(self.version))

    async def watch_bot(self, resource_version: str) -> AsyncIterator[Raw]:
        async for _ in self._news(resource_version):
            if self.bot is None:
                yield {"type": "DELETED", "object": {"metadata": {"name": "btc", "resourceVersion": "9"}}}
            else:
                yield {"type": "MODIFIED", "object": copy.deepcopy(self.bot)}

    async def watch_halts(self, resource_version: str) -> AsyncIterator[Raw]:
        known = dict(self.halts)
        async for _ in self._news(resource_version):
            for name, halt in list(known.items()):
                if name not in self.halts:
                    yield {"type": "DELETED", "object": halt}
            for halt in self.halts.values():
                yield {"type": "ADDED", "object": copy.deepcopy(halt)}
            known = dict(self.halts)

    async def apply_status(self, trader: Mapping[str, Any]) -> None:
        self._answer()
        self.statuses.append(dict(trader))
        # In virtual time a trader that answers its own echo would never let the clock go on.
        is_endless = len(self.statuses) > MOST_STATUSES_AT_ONCE and all(
            status["heartbeatAt"] == trader["heartbeatAt"] for status in self.statuses[-MOST_STATUSES_AT_ONCE:]
        )
        assert not is_endless, f"{MOST_STATUSES_AT_ONCE} reports within one instant"
        if self.bot is not None:
            self.bot["status"]["trader"] = dict(trader)
            self._changed()

    async def get_lease(self) -> Raw | None:
        self._answer()
        return copy.deepcopy(self.lease)

    async def replace_lease(self, body: Mapping[str, Any], *, resource_version: str) -> Raw:
        self._answer()
        assert self.lease is not None
        if self.lease["metadata"]["resourceVersion"] != resource_version:
            raise KubeError("the object has been modified", status=409)
        metadata = {"name": "btc-trader", "resourceVersion": str(int(resource_version) + 1)}
        self.lease = {"metadata": metadata, "spec": dict(body["spec"])}
        return copy.deepcopy(self.lease)

    async def close(self) -> None:
        return

    def _answer(self) -> None:
        if self.down:
            raise KubeError("no answer from the API server: ConnectionRefusedError")

    async def _news(self, _resource_version: str) -> AsyncIterator[None]:
        self._answer()
        queue: asyncio.Queue[Raw] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            while True:
                await queue.get()
                if not self.down:
                    yield
        finally:
            self._watchers.remove(queue)

    def _changed(self) -> None:
        self.version += 1
        if self.bot is not None:
            self.bot["metadata"]["resourceVersion"] = str(self.version)
        for queue in self._watchers:
            queue.put_nowait({})


class FakeMarket:
    """MarketDataPort that the test plays by hand."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.sink: MarketSink | None = None
        self.symbols: list[str] = []
        self.counters = FeedCounters()
        self.history: tuple[Candle, ...] = ()
        self.history_seconds = 0.0
        """How long the venue takes to answer."""
        self._number = 0

    async def load_instruments(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        unknown = [symbol for symbol in symbols if symbol not in LISTED]
        if unknown:
            raise UnknownSymbol(unknown, venue="Binance")
        return {symbol: build_instrument(symbol) for symbol in symbols}

    async def server_time_ns(self) -> int:
        return self._clock.now_ns()

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, *, limit: int) -> tuple[Candle, ...]:  # noqa: ARG002  the port's form
        await self._clock.sleep(self.history_seconds)
        return self.history[-limit:]

    async def run(self, symbols: Sequence[str], sink: MarketSink) -> None:
        self.sink, self.symbols = sink, list(symbols)
        for symbol in symbols:
            sink.on_feed(FeedChange(symbol, FeedState.CONNECTED, self._clock.now_ns()))
        await asyncio.Event().wait()

    async def close(self) -> None:
        return

    def lose(self, symbol: str = "BTC/USDT") -> None:
        assert self.sink is not None
        self.sink.on_feed(FeedChange(symbol, FeedState.LOST, self._clock.now_ns(), "silence"))

    def find(self, symbol: str = "BTC/USDT") -> None:
        assert self.sink is not None
        self.sink.on_feed(FeedChange(symbol, FeedState.CONNECTED, self._clock.now_ns()))

    def trade(self, price: str, symbol: str = "BTC/USDT", *, quantity: str = "1") -> None:
        """A trade, and a deep book around it."""
        assert self.sink is not None
        self._number += 1
        at_ns, last = self._clock.now_ns(), Decimal(price)
        level = Decimal(1000)
        self.sink.on_book(
            Book(symbol, at_ns, (Level(last - Decimal("0.01"), level),), (Level(last + Decimal("0.01"), level),))
        )
        self.sink.on_trade(Trade(symbol, str(self._number), last, Decimal(quantity), at_ns, buyer_is_maker=False))

    async def walk(self, *prices: str, symbol: str = "BTC/USDT") -> None:
        """One price a second, each seen ten times, so that every candle closes at it."""
        for price in prices:
            for _ in range(10):
                self.trade(price, symbol)
                await self._clock.sleep(0.1)


def build_instrument(symbol: str) -> Instrument:
    base, _, quote = symbol.partition("/")
    return Instrument(
        symbol=symbol,
        venue_symbol=base + quote,
        base=base,
        quote=quote,
        price_tick=Decimal("0.01"),
        quantity_step=Decimal("0.00001"),
        min_quantity_base=Decimal("0.00001"),
        max_quantity_base=Decimal(9000),
        min_notional_quote=Decimal(5),
    )


class FillableDisk(SqliteDisk):
    """The real disk, until it is full."""

    is_full = False
    fail_after: int | None = None
    """So many orders and events of orders are still recorded."""

    def commit(self, connection: sqlite3.Connection) -> None:
        if self.fail_after is not None and connection.total_changes:
            count = connection.execute("SELECT count(*) FROM order_events").fetchone()[0]
            if count >= self.fail_after:
                self.fail_after, self.is_full = None, True
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().commit(connection)


class Trader:
    """Starts and ends sessions on one store, as a kubelet does with containers."""

    def __init__(self, folder: Path, spec: Raw | None = None) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.kube = FakeKube(spec or build_spec())
        self.market = FakeMarket(self.clock)
        self.disk = FillableDisk()
        self.kube.permit()

    def settings(self, **changes: Any) -> Settings:
        values: dict[str, Any] = {
            "namespace": "desk", "name": "btc", "pod": "btc-0", "installation": "test",
            "exchange": ExchangeId.BINANCE, "network": Network.SANDBOX, "book": BookName.PAPER,
            "store": self.folder, "version": "0",
        }  # fmt: skip
        return Settings(**(values | changes))

    @asynccontextmanager
    async def running(
        self, *, crash: bool = False, refusal: ConfigRefused | None = None, **settings: Any
    ) -> AsyncIterator[Session]:
        """A session that trades; at the end SIGTERM, or with `crash` nothing but the end of its tasks."""
        stopping = asyncio.Event()
        session = Session(
            self.settings(**settings),
            kube=self.kube,
            port=refusal or self.market,
            clock=self.clock,
            jitter=random.Random(1),  # noqa: S311  a test
            metrics=Metrics(),
            disk=self.disk,
        )
        task = asyncio.create_task(session.run(stopping))
        try:
            yield session
        finally:
            if crash:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                stopping.set()
                await task

    async def until(self, what: str, look: Callable[[], Any], *, seconds: float = 120) -> Any:
        """Virtual seconds, so a test that fails here fails at once."""
        deadline_ns = self.clock.monotonic_ns() + int(seconds * 1e9)
        while not (found := look()):
            assert self.clock.monotonic_ns() < deadline_ns, f"{what} did not come; the trader says {self.kube.trader}"
            await self.clock.sleep(0.01)
        return found

    async def until_active(self) -> None:
        await self.until("Active", lambda: self.kube.trader.get("state") == "Active")

    async def report(self) -> Raw:
        """`status.trader` after the next heartbeat."""
        seen = len(self.kube.statuses)
        await self.until("a heartbeat", lambda: len(self.kube.statuses) > seen)
        return self.kube.trader

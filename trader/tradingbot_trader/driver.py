"""SHELL. Runs the market for one accepted configuration: feed -> prices, candles -> strategy -> desk. No rule.

A strategy is warmed up on history, which never trades. After that an entry is asked for once, when the strategy wants
it; an exit again at each candle until nothing is left, because a position that should be gone is a risk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import structlog

from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control.configuration import Configuration
from tradingbot_trader.market.candles import CandleBuilder
from tradingbot_trader.market.events import Book, Candle, FeedChange, FeedGap, FeedState, Trade
from tradingbot_trader.metrics import Metrics, picture
from tradingbot_trader.risk.observed import TrustedPrice
from tradingbot_trader.strategy.base import Target
from tradingbot_trader.venues.port import MarketDataPort, VenueError, VenueUnavailable

_log = structlog.get_logger("market")
TICK_SECONDS = 0.05
"""The paper venue's latency is of this size; candles of quiet markets close a tick late at most."""
CLOCK_INTERVAL_SECONDS = 60.0
"""How often the venue is asked for its time. Clocks drift by milliseconds in a minute."""
SHORTEST_CLOCK_INTERVAL_SECONDS = 1.0
SLOWEST_TIME_SECONDS = 2.0
"""The longest round trip that tells the time. Half of it is how wrong it may be, and Binance refuses timestamps that
are a second ahead of its own (its REST documentation, "Timing security")."""
NS = 1_000_000_000


class Follower(Protocol):
    """What plays the venue on paper has to see the market, too; a real venue does not listen."""

    def advance(self, now_ns: int) -> None: ...
    def on_book(self, book: Book) -> None: ...
    def on_trade(self, trade: Trade) -> None: ...
    def on_feed(self, change: FeedChange) -> None: ...


@dataclass(slots=True)
class _Chart:
    """One symbol that the strategy trades."""

    candles: CandleBuilder
    state: object
    """The strategy's own."""
    wanted: Target | None = None
    """The last target, the warm-up's included."""
    expires_in: int | None = None
    """Candles until a resting entry is given up."""
    is_fetching: bool = True
    heard_ns: int = 0
    """When the last message of the symbol came."""


class Driver:
    """The market side of a trader. `run` serves one configuration until it is cancelled; prices outlive it."""

    def __init__(
        self,
        port: MarketDataPort,
        clock: VenueClock,
        metrics: Metrics,
        *,
        follower: Follower,
        pursue: Callable[[str, Target], object],
        cancel_entries: Callable[[str], object],
        on_gap: Callable[[FeedGap], None],
    ) -> None:
        self._port, self._clock, self._metrics = port, clock, metrics
        self._follower, self._pursue, self._cancel_entries = follower, pursue, cancel_entries
        self._tell_gap = on_gap
        self._configuration: Configuration | None = None
        self._charts: dict[str, _Chart] = {}
        self.prices: dict[str, TrustedPrice] = {}
        self._time_wanted = asyncio.Event()
        self.lost: set[str] = set()
        """Symbols without a stream now."""

    def price_of(self, symbol: str) -> Decimal | None:
        trusted = self.prices.get(symbol)
        return trusted.price if trusted is not None else None

    async def run(self, configuration: Configuration, symbols: Collection[str]) -> None:
        """`symbols` are those of the configuration and whatever is still held: an exit needs a price."""
        timeframe = configuration.spec.strategy.timeframe
        self.lost = set(symbols)
        self._configuration = configuration
        self._charts = {
            symbol: _Chart(
                CandleBuilder(symbol, timeframe.duration_ns),
                configuration.strategy.initial_state(configuration.parameters),
            )
            for symbol in configuration.spec.symbols
        }
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._port.run(list(symbols), self))
            tasks.create_task(self._follow_venue_clock())
            tasks.create_task(self._tick(configuration, tasks))
            limit = configuration.strategy.warmup_candles(configuration.parameters)
            for symbol, chart in self._charts.items():
                tasks.create_task(self._fetch(symbol, chart, configuration, limit=limit))

    def on_trade(self, trade: Trade) -> None:
        self._metrics.trades.labels(trade.symbol).inc()
        self._metrics.price_time.labels(trade.symbol).set(picture(Decimal(trade.event_time_ns) / NS))
        self._follower.advance(self._clock.now_ns())
        self.prices[trade.symbol] = TrustedPrice(trade.price, trade.event_time_ns)
        self._follower.on_trade(trade)
        chart = self._charts.get(trade.symbol)
        if chart is not None:
            chart.heard_ns = self._clock.now_ns()
            self._take(trade.symbol, chart, chart.candles.add(trade), is_history=False)

    def on_book(self, book: Book) -> None:
        self._follower.advance(self._clock.now_ns())
        self._follower.on_book(book)
        chart = self._charts.get(book.symbol)
        if chart is not None:
            chart.heard_ns = self._clock.now_ns()

    def on_feed(self, change: FeedChange) -> None:
        _log.info("feed", symbol=change.symbol, state=change.state, reason=change.reason)
        self._follower.on_feed(change)
        chart = self._charts.get(change.symbol)
        if change.state is FeedState.CONNECTED:
            self.lost.discard(change.symbol)
            if chart is not None:
                chart.candles.connected(change.at_ns)
        else:
            self.lost.add(change.symbol)
            if chart is not None:
                chart.candles.lost()

    def on_gap(self, gap: FeedGap) -> None:
        self._metrics.missing.labels(gap.symbol).inc(gap.missing)
        chart = self._charts.get(gap.symbol)
        if chart is not None:
            chart.candles.gap(gap.at_ns)
        self._tell_gap(gap)

    async def _tick(self, configuration: Configuration, tasks: asyncio.TaskGroup) -> None:
        while True:
            now_ns = self._clock.now_ns()
            self._follower.advance(now_ns)
            for symbol, chart in self._charts.items():
                # Not beyond what was heard: in a line that has fallen silent, quiet spans would be made up.
                until_ns = min(now_ns, chart.heard_ns)
                self._take(symbol, chart, chart.candles.close_until(until_ns), is_history=False)
                missing = 0 if chart.is_fetching else chart.candles.missing(now_ns)
                if missing:
                    chart.is_fetching = True
                    tasks.create_task(self._fetch(symbol, chart, configuration, limit=missing))
            await self._clock.sleep(TICK_SECONDS)

    async def _fetch(self, symbol: str, chart: _Chart, configuration: Configuration, *, limit: int) -> None:
        """Candles that trades cannot tell: the warm-up, and what a lost stream left out."""
        while True:
            try:
                timeframe = configuration.spec.strategy.timeframe
                candles = await self._port.fetch_candles(symbol, timeframe, limit=max(limit, 1))
                break
            except VenueError as error:
                seconds = error.retry_after_seconds if isinstance(error, VenueUnavailable) else 60.0
                _log.warning("candles_not_fetched", symbol=symbol, error=str(error), retry_seconds=seconds)
                await self._clock.sleep(seconds)
        chart.is_fetching = False
        self._take(symbol, chart, chart.candles.seed(candles), is_history=True)

    def ask_for_time(self) -> None:
        """The venue said that our time is not its own: ask again now."""
        self._time_wanted.set()

    async def _follow_venue_clock(self) -> None:
        while True:
            self._time_wanted.clear()
            sent_ns = self._clock.monotonic_ns()
            try:
                venue_ns = await self._port.server_time_ns()
            except VenueError as error:
                _log.warning("venue_time_unknown", error=str(error))
            else:
                took_ns = self._clock.monotonic_ns() - sent_ns
                is_slow = took_ns > SLOWEST_TIME_SECONDS * NS
                if is_slow:
                    _log.warning("venue_time_too_slow", seconds=took_ns / NS)
                    self._time_wanted.set()  # again soon: a slow moment passes
                # It was written while we waited. A slow answer is believed where ours cannot be true by it.
                cannot_be = not venue_ns <= self._clock.now_ns() <= venue_ns + took_ns
                if not is_slow or cannot_be:
                    # In the middle of the round trip, as far as anybody can know.
                    self._clock.set(venue_ns, at_monotonic_ns=sent_ns + took_ns // 2)
            await self._clock.sleep(SHORTEST_CLOCK_INTERVAL_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOCK_INTERVAL_SECONDS):
                    await self._time_wanted.wait()

    def _take(self, symbol: str, chart: _Chart, candles: Iterable[Candle], *, is_history: bool) -> None:
        configuration = self._configuration
        if configuration is None:
            return
        for candle in candles:
            chart.state, target = configuration.strategy.on_candle(configuration.parameters, chart.state, candle)
            chart.wanted = target or chart.wanted
            if is_history:
                continue
            self._metrics.candles.labels(symbol).inc()
            if target is not None:
                chart.expires_in = target.expires_after_candles
                self._pursue(symbol, target)
                continue
            if chart.wanted is not None and chart.wanted.allocation == 0:
                self._pursue(symbol, chart.wanted)
            if chart.expires_in is not None:
                chart.expires_in -= 1
                if chart.expires_in == 0:
                    chart.expires_in = None
                    self._cancel_entries(symbol)

"""Turns what happened into stream messages: each event at once, and what Binance tells at a pace, at that pace.

PURE.

Flow: exchange -> `on_event` for each event, `on_tick` each 100 ms of the venue's clock -> subscriptions. Streams that
nobody hears cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_sandbox.market.events import NS_PER_MS, BookDelta, MarketEvent, Trade
from tradingbot_sandbox.market.port import PlayState
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.aggregate import AggregateTrade, Aggregator
from tradingbot_sandbox.venues.binance.payloads import (
    DepthBatch,
    aggregate_body,
    book_ticker_body,
    delta_body,
    kline_body,
    partial_depth_body,
    trade_body,
)
from tradingbot_sandbox.venues.binance.rules import venue_name
from tradingbot_sandbox.venues.binance.streams import Stream, StreamKind, Subscriptions
from tradingbot_sandbox.venues.binance.text import milliseconds
from tradingbot_sandbox.venues.binance.tickers import day_statistics, stream_mini_ticker, stream_ticker

TICK_NS = 100 * NS_PER_MS
"""The pace of the fastest timed stream."""


@dataclass(slots=True)
class _Names:
    """The names of one symbol's event streams, built once."""

    trade: str
    aggregate: str
    book_ticker: str
    fast_depth: str
    slow_depth: tuple[str, ...]


@dataclass(slots=True)
class _KlineState:
    """How far a kline stream has told its candles."""

    open_ns: int
    told_trade_id: int | None = None


class Publisher:
    """Everything that leaves on streams of one venue."""

    def __init__(self, world: World, subscriptions: Subscriptions) -> None:
        self._world = world
        self._subscriptions = subscriptions
        self.aggregators = {symbol: Aggregator() for symbol in world.boards}
        self._names = {symbol: _names(symbol) for symbol in world.boards}
        self._batches: dict[str, DepthBatch] = {}
        self._klines: dict[str, _KlineState] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def on_event(self, event: MarketEvent) -> None:
        names = self._names[event.symbol]
        if isinstance(event, Trade):
            if self._subscriptions.has(names.trade):
                self._subscriptions.publish(names.trade, trade_body(event))
            self._tell_aggregate(self.aggregators[event.symbol].add(event))
        elif isinstance(event, BookDelta):
            if self._subscriptions.has(names.fast_depth):
                self._subscriptions.publish(names.fast_depth, delta_body(event))
            for name in names.slow_depth:
                if self._subscriptions.has(name):
                    self._batches.setdefault(name, DepthBatch(event.symbol)).add(event)
        elif self._subscriptions.has(names.book_ticker):
            self._subscriptions.publish(names.book_ticker, book_ticker_body(event))

    def on_tick(self, tick_ns: int) -> None:
        """Tell what is told at a pace. All events up to `tick_ns` have been handed over before."""
        for aggregator in self.aggregators.values():
            self._tell_aggregate(aggregator.settle(tick_ns))
        streams = self._subscriptions.streams
        for stream in streams:
            if stream.kind is StreamKind.KLINE:
                self._tell_kline(stream, tick_ns)
            elif stream.period_ns and tick_ns % stream.period_ns == 0:
                self._tell_timed(stream, tick_ns)
        self._forget_unheard({stream.name for stream in streams})

    def _tell_aggregate(self, trade: AggregateTrade | None) -> None:
        if trade is not None:
            name = self._names[trade.symbol].aggregate
            if self._subscriptions.has(name):
                self._subscriptions.publish(name, aggregate_body(trade))

    def _tell_timed(self, stream: Stream, tick_ns: int) -> None:
        board = self._world.boards[stream.symbol]
        if stream.kind is StreamKind.DIFF_DEPTH:
            batch = self._batches.get(stream.name)
            delta = batch.flush(tick_ns) if batch is not None else None
            if delta is not None:
                self._subscriptions.publish(stream.name, delta_body(delta))
            return
        if stream.kind is StreamKind.PARTIAL_DEPTH:
            state = (board.book.update_id, 0)
            if self._is_news(stream, state):
                self._subscriptions.publish(stream.name, partial_depth_body(board.book, stream.levels))
            return
        if self._is_news(stream, (board.last_trade_id, board.top.update_id)):
            day = day_statistics(board, tick_ns)
            body = stream_ticker(day) if stream.kind is StreamKind.TICKER else stream_mini_ticker(day)
            self._subscriptions.publish(stream.name, body)

    def _is_news(self, stream: Stream, state: tuple[int, int]) -> bool:
        if self._told.get(stream.name) == state:
            return False
        self._told[stream.name] = state
        return True

    def _tell_kline(self, stream: Stream, tick_ns: int) -> None:
        """Closed candles as soon as no trade of theirs can come any more, and the running one at the stream's pace."""
        interval = stream.interval
        if interval is None:
            return
        chart = self._world.boards[stream.symbol].chart
        state = self._klines.setdefault(stream.name, _KlineState(interval.floor(tick_ns)))
        market = self._world.market
        is_playing = market.position().state is PlayState.PLAYING
        event_ms = milliseconds(tick_ns)
        while interval.next(state.open_ns) <= tick_ns - market.lateness_ns:
            candle = chart.candle(interval, state.open_ns)
            if is_playing or candle.last_trade_id is not None:
                body = kline_body(stream.symbol, interval, candle, closed=True, event_ms=event_ms)
                self._subscriptions.publish(stream.name, body)
            state.open_ns, state.told_trade_id = interval.next(state.open_ns), None
        if interval.name == "1s" or tick_ns % stream.period_ns:
            return
        candle = chart.candle(interval, state.open_ns)
        if candle.last_trade_id not in (None, state.told_trade_id):
            state.told_trade_id = candle.last_trade_id
            body = kline_body(stream.symbol, interval, candle, closed=False, event_ms=event_ms)
            self._subscriptions.publish(stream.name, body)

    def _forget_unheard(self, heard: set[str]) -> None:
        for memory in (self._klines, self._told, self._batches):
            for name in [name for name in memory if name not in heard]:
                del memory[name]


def _names(symbol: str) -> _Names:
    joined = venue_name(symbol).lower()
    return _Names(
        trade=f"{joined}@trade",
        aggregate=f"{joined}@aggTrade",
        book_ticker=f"{joined}@bookTicker",
        fast_depth=f"{joined}@depth@100ms",
        slow_depth=(f"{joined}@depth", f"{joined}@depth@1000ms"),
    )

"""SHELL. Keeps a venue's stream up: watches for silence, reconnects, and says what was missed. Venue -> sink.

A connection lives until it raises StreamLost. It gives what it reads to a Tap, which counts, finds gaps and passes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from tradingbot_trader.clock import Clock
from tradingbot_trader.market.events import Book, FeedChange, FeedState, MarketSink, Trade
from tradingbot_trader.market.sequence import TradeSequence
from tradingbot_trader.venues.port import FeedCounters

_log = structlog.get_logger(__name__)
_NS = 1_000_000_000


class StreamLost(Exception):  # noqa: N818  an event of every day, named as the sink names it
    """The connection is gone. `retry_after_seconds` is what the venue asked for, if it did."""

    def __init__(self, reason: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    silence_seconds: float = 30.0
    """A symbol of which neither a trade nor a book came for so long is taken for dead, and the stream is built again.
    Binance sends a book every 100 ms while anything changes; a market that is truly quieter costs one reconnect."""
    first_backoff_seconds: float = 0.5
    """Longest wait before the first reconnect; it doubles with each failure."""
    max_backoff_seconds: float = 30.0
    """Longest wait of all. With 10 s to connect, the feed is back within 120 s of a partition's end."""


class Connect(Protocol):
    """Connects, subscribes and gives messages to the tap. Ends by StreamLost or by being cancelled."""

    async def __call__(self, symbols: Sequence[str], tap: Tap) -> None: ...


class Tap:
    """One connection's way to the sink. Its methods neither block nor raise."""

    def __init__(self, feed: Feed, symbols: Sequence[str], sink: MarketSink, failure: asyncio.Future[None]) -> None:
        self._feed = feed
        self._counters = feed.counters
        self._clock = feed.clock
        self._sink = sink
        self._failure = failure
        self._open = True
        self._overflowed = False
        self._heard_ns = dict.fromkeys(symbols, feed.clock.monotonic_ns())
        self._live: set[str] = set()

    def close(self) -> None:
        """What a connection that was given up still reads is not received: the next one declares it as missing."""
        self._open = False

    def alive(self, symbol: str) -> None:
        """A message of this symbol that holds nothing for the sink, like a book's change before its snapshot."""
        if symbol in self._heard_ns:
            self._heard_ns[symbol] = self._clock.monotonic_ns()

    def trade(self, trade: Trade) -> None:
        if not self._open:
            return
        self._counters.received += 1
        if trade.symbol not in self._heard_ns:
            self._counters.dropped += 1
            return
        try:
            self._come_alive(trade.symbol, trade.event_time_ns)
            gap = self._feed.sequence(trade.symbol).observe(trade)
            if gap is not None:
                self._counters.missing += gap.missing
                self._sink.on_gap(gap)
            self._sink.on_trade(trade)
        except Exception as error:  # noqa: BLE001  a sink that fails ends the feed through `failure`, whatever it raised
            self._fail(error, dropped=1)
        else:
            self._counters.delivered += 1

    def book(self, book: Book) -> None:
        if not self._open or book.symbol not in self._heard_ns:
            return
        try:
            self._come_alive(book.symbol, book.event_time_ns)
            self._sink.on_book(book)
        except Exception as error:  # noqa: BLE001  as above
            self._fail(error)
        else:
            self._counters.books += 1

    def unreadable(self, error: Exception) -> None:
        """A frame that nobody could parse. It may have been a trade, so it counts as one that was dropped."""
        self._counters.received += 1
        self._counters.dropped += 1
        _log.warning("frame dropped", error=repr(error)[:300])

    def overflowed(self) -> None:
        """A frame that came faster than frames can be handled, for too long. It counts as above."""
        self._counters.received += 1
        self._counters.dropped += 1
        if not self._overflowed:
            self._overflowed = True
            _log.error("the venue sends faster than this trader can read, frames are lost")

    def resynced(self, symbol: str, reason: str) -> None:
        self._counters.resyncs += 1
        _log.warning("order book out of step, taking a new snapshot", symbol=symbol, reason=reason)

    def silent(self, for_ns: int) -> str | None:
        """A symbol that was not heard of for so long."""
        now_ns = self._clock.monotonic_ns()
        return next((symbol for symbol, at_ns in self._heard_ns.items() if now_ns - at_ns >= for_ns), None)

    def _come_alive(self, symbol: str, event_time_ns: int) -> None:
        self._heard_ns[symbol] = self._clock.monotonic_ns()
        if symbol not in self._live:
            if not self._live:
                self._counters.connections += 1
            self._live.add(symbol)
            self._feed.sequence(symbol).reconnected()
            self._feed.tell(self._sink, FeedChange(symbol, FeedState.CONNECTED, event_time_ns))

    def _fail(self, error: Exception, *, dropped: int = 0) -> None:
        self._counters.dropped += dropped
        self._open = False
        if not self._failure.done():
            self._failure.set_exception(error)


class Feed:
    """Outlives its connections: counters, and the last trade number of each symbol, go on from one to the next."""

    def __init__(
        self, connect: Connect, *, clock: Clock, random: Callable[[], float], settings: FeedSettings | None = None
    ) -> None:
        self.clock = clock
        self.counters = FeedCounters()
        self._connect = connect
        self._random = random
        self._settings = settings or FeedSettings()
        self._sequences: dict[str, TradeSequence] = {}
        self._states: dict[str, FeedState] = {}

    async def run(self, symbols: Sequence[str], sink: MarketSink) -> None:
        failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failures = 0
        try:
            while True:
                began_ns = self.clock.monotonic_ns()
                lost = await self._until_lost(symbols, Tap(self, symbols, sink, failure), failure)
                # One that lives for a moment, again and again, is no better than one that never comes up.
                lived = self.clock.monotonic_ns() - began_ns >= self._settings.max_backoff_seconds * _NS
                failures = 1 if lived else failures + 1
                delay_seconds = max(self._backoff_seconds(failures), lost.retry_after_seconds)
                _log.warning("stream lost", symbols=list(symbols), reason=str(lost), retry_in_seconds=delay_seconds)
                self._tell_lost(symbols, sink, str(lost))
                await self.clock.sleep(delay_seconds)
        finally:
            failure.cancel()
            self._tell_lost(symbols, sink, "the feed was stopped")

    async def _until_lost(self, symbols: Sequence[str], tap: Tap, failure: asyncio.Future[None]) -> StreamLost:
        connection = asyncio.ensure_future(self._connect(symbols, tap))
        watchdog = asyncio.ensure_future(self._watch(tap))
        try:
            done, _ = await asyncio.wait({failure, connection, watchdog}, return_when=asyncio.FIRST_COMPLETED)
            for task in (each for each in (failure, connection, watchdog) if each in done):  # a failing sink goes first
                if task.cancelled():  # ccxt cancels its futures when a connection dies; nobody has cancelled us
                    return StreamLost("the connection was dropped")
                task.result()
        except StreamLost as lost:
            return lost
        finally:
            tap.close()
            connection.cancel()
            watchdog.cancel()
            await asyncio.gather(connection, watchdog, return_exceptions=True)
        return StreamLost("the connection ended without a reason")

    async def _watch(self, tap: Tap) -> None:
        silence_seconds = self._settings.silence_seconds
        while True:
            await self.clock.sleep(silence_seconds / 4)
            symbol = tap.silent(int(silence_seconds * _NS))
            if symbol is not None:
                raise StreamLost(f"nothing was heard of {symbol} for {silence_seconds:g} s")

    def _backoff_seconds(self, failures: int) -> float:
        """Between half and the whole of a step that doubles: a fleet that lost one venue does not come back as one."""
        settings = self._settings
        step = min(settings.max_backoff_seconds, settings.first_backoff_seconds * 2.0 ** min(failures - 1, 30))
        return step * (0.5 + self._random() / 2)

    def sequence(self, symbol: str) -> TradeSequence:
        return self._sequences.setdefault(symbol, TradeSequence())

    def tell(self, sink: MarketSink, change: FeedChange) -> None:
        """Once a change: a venue that stays away is not said to be lost again at each attempt."""
        if self._states.get(change.symbol) is not change.state:
            self._states[change.symbol] = change.state
            sink.on_feed(change)

    def _tell_lost(self, symbols: Sequence[str], sink: MarketSink, reason: str) -> None:
        for symbol in symbols:
            self.tell(sink, FeedChange(symbol, FeedState.LOST, self.clock.now_ns(), reason))

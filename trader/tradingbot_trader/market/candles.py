"""PURE. Trades to candles, by the venue's time of each trade. Between the feed and the strategy.

A cursor stands on the next span to close, and only moves on: whatever the mixture of trades and REST candles, each span
leaves once, in order. A span of which we may not have seen every trade (the stream came up in its middle, was away, or
skipped numbers) is not made from trades at all: `missing` says so, and `seed` takes the venue's own candle for it.

    connected -> add, add, ... -> closed candles        missing > 0 -> fetch -> seed -> closed candles
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from tradingbot_trader.market.events import Candle, Trade

MAX_FLAT_CANDLES = 1_000
"""Most flat candles that one silence makes. An hour without a trade is 3,600 spans of 1 s that all say the same; the
first ones are left out and counted in `skipped`. No shipped strategy looks further back than these."""
DEFAULT_GRACE_NS = 250_000_000
"""How long after its end a quiet span waits for late messages: two and a half of Binance's 100 ms depth intervals, so
that a trade which was held up as long as the slowest regular stream is still in time."""
MAX_FETCHED = 1_000
"""Most candles that `missing` asks for: one request at Binance. What lay before them is counted in `skipped`."""
REMEMBERED_TRADES = 10_000
"""Doubles are looked for among so many trades: ten times what one REST answer can repeat after a reconnect."""


@dataclass(slots=True)
class _Span:
    """A span that is still open. First and last are by event time; trades of the same instant count as they arrived."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume_base: Decimal
    trades: int
    first_ns: int
    last_ns: int

    def add(self, trade: Trade) -> None:
        if trade.event_time_ns < self.first_ns:
            self.open, self.first_ns = trade.price, trade.event_time_ns
        if trade.event_time_ns >= self.last_ns:
            self.close, self.last_ns = trade.price, trade.event_time_ns
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.volume_base += trade.quantity_base
        self.trades += 1


class CandleBuilder:
    """One symbol, one timeframe. Every method that can close spans returns them, oldest first."""

    def __init__(self, symbol: str, timeframe_ns: int, *, grace_ns: int = DEFAULT_GRACE_NS) -> None:
        self._symbol = symbol
        self._timeframe_ns = timeframe_ns
        self._grace_ns = grace_ns
        self._seeded = False
        self._cursor_ns: int | None = None
        """Opening of the next span to leave; unknown before the first seed or connection."""
        self._trusted_from_ns: int | None = None
        """Spans that open here or later were seen whole; None while the stream is away."""
        self._until_ns = 0
        """Spans that open before this are over, by a later trade or by the venue's clock."""
        self._spans: dict[int, _Span] = {}
        self._last_close: Decimal | None = None
        self._recent_ids: dict[str, None] = {}
        self.late = 0
        """Trades whose span had left already. They change nothing."""
        self.duplicates = 0
        """Trades whose id was seen before. They change nothing."""
        self.skipped = 0
        """Spans that left no candle: the start of a silence above MAX_FLAT_CANDLES, or beyond what REST still had."""

    def connected(self, at_ns: int) -> None:
        """The first message came, of this venue time, and every trade after it will: the next span to open is whole.

        Even when `at_ns` is an opening: another trade of the same millisecond may have come before we listened.
        """
        self._trusted_from_ns = self._opening(at_ns) + self._timeframe_ns

    def lost(self) -> None:
        """The stream is away: what it said of the spans that have not left is worth nothing now."""
        self._trusted_from_ns = None
        self._spans.clear()

    def gap(self, at_ns: int) -> None:
        """Trades before this venue time are missing; the span that it falls into cannot be made from trades."""
        if self._trusted_from_ns is None:
            return
        self._trusted_from_ns = max(self._trusted_from_ns, self._opening(at_ns) + self._timeframe_ns)
        self._spans = {opening: span for opening, span in self._spans.items() if opening >= self._trusted_from_ns}

    def add(self, trade: Trade) -> tuple[Candle, ...]:
        if self._seen_before(trade.trade_id):
            self.duplicates += 1
            return ()
        opening = self._opening(trade.event_time_ns)
        if self._cursor_ns is not None and opening < self._cursor_ns:
            self.late += 1
            return ()
        if self._trusted_from_ns is not None and opening >= self._trusted_from_ns:
            span = self._spans.get(opening)
            if span is None:
                price, at_ns = trade.price, trade.event_time_ns
                self._spans[opening] = _Span(price, price, price, price, trade.quantity_base, 1, at_ns, at_ns)
            else:
                span.add(trade)
        return self._close(opening)

    def close_until(self, venue_time_ns: int) -> tuple[Candle, ...]:
        """Closes what ended before this venue time, less the grace: a quiet market has candles too."""
        return self._close(self._opening(venue_time_ns - self._grace_ns))

    def missing(self, venue_time_ns: int) -> int:
        """How many candles to fetch now, because a span that is over must come from REST; the answer goes to `seed`.

        So many that the newest closed candles reach back to that span, and at most MAX_FETCHED.
        """
        if self._cursor_ns is None:
            return 0
        over_ns = self._opening(venue_time_ns - self._grace_ns)
        wanted_until_ns = over_ns if self._trusted_from_ns is None else min(over_ns, self._trusted_from_ns)
        if self._cursor_ns >= wanted_until_ns:
            return 0
        return min(MAX_FETCHED, (self._opening(venue_time_ns) - self._cursor_ns) // self._timeframe_ns)

    def seed(self, candles: Iterable[Candle]) -> tuple[Candle, ...]:
        """Takes closed candles from REST: the warm-up at the start, later what is `missing`. Nothing leaves before it.

        Candles of spans that have left are passed over. Venues leave out spans without a trade: these become flat.
        """
        self._seeded = True
        out: list[Candle] = []
        reaches_back = False
        for candle in candles:
            if candle.timeframe_ns != self._timeframe_ns or candle.open_time_ns % self._timeframe_ns:
                raise ValueError(f"{candle} does not fit a timeframe of {self._timeframe_ns} ns")
            if self._cursor_ns is None:
                self._cursor_ns = candle.open_time_ns
            if candle.open_time_ns < self._cursor_ns:
                reaches_back = True
                continue
            if candle.open_time_ns > self._cursor_ns and not (reaches_back or out):
                self._skip_to(candle.open_time_ns)  # the answer starts too late to say what was before
            out.extend(self._flat_until(candle.open_time_ns))
            out.append(self._leave(candle))
        if self._cursor_ns is not None:
            self._spans = {opening: span for opening, span in self._spans.items() if opening >= self._cursor_ns}
        return (*out, *self._close(self._until_ns))

    def _opening(self, time_ns: int) -> int:
        return time_ns - time_ns % self._timeframe_ns

    def _seen_before(self, trade_id: str) -> bool:
        if not trade_id:  # a venue that does not number its trades
            return False
        if trade_id in self._recent_ids:
            return True
        self._recent_ids[trade_id] = None
        if len(self._recent_ids) > REMEMBERED_TRADES:
            del self._recent_ids[next(iter(self._recent_ids))]
        return False

    def _close(self, until_ns: int) -> tuple[Candle, ...]:
        self._until_ns = max(self._until_ns, until_ns)
        if not self._seeded or self._trusted_from_ns is None:
            return ()
        if self._cursor_ns is None:
            if self._until_ns <= self._trusted_from_ns:
                return ()
            self._cursor_ns = self._trusted_from_ns
        if self._cursor_ns < self._trusted_from_ns:
            return ()  # order: what REST has to bring leaves first
        out: list[Candle] = []
        while self._cursor_ns < self._until_ns:
            span = self._spans.pop(self._cursor_ns, None)
            if span is None:
                out.extend(self._flat_until(min([self._until_ns, *self._spans])))
                continue
            out.append(
                self._leave(
                    Candle(
                        symbol=self._symbol,
                        open_time_ns=self._cursor_ns,
                        timeframe_ns=self._timeframe_ns,
                        open=span.open,
                        high=span.high,
                        low=span.low,
                        close=span.close,
                        volume_base=span.volume_base,
                        trades=span.trades,
                    )
                )
            )
        return tuple(out)

    def _flat_until(self, opening_ns: int) -> list[Candle]:
        """Nothing traded from the cursor to here. Before the first price there is nothing to draw."""
        price = self._last_close
        if self._cursor_ns is None or price is None:
            self._cursor_ns = opening_ns
            return []
        self._skip_to(opening_ns - MAX_FLAT_CANDLES * self._timeframe_ns)
        return [
            self._leave(Candle(self._symbol, at_ns, self._timeframe_ns, price, price, price, price, Decimal(0)))
            for at_ns in range(self._cursor_ns, opening_ns, self._timeframe_ns)
        ]

    def _skip_to(self, opening_ns: int) -> None:
        if self._cursor_ns is not None and opening_ns > self._cursor_ns:
            self.skipped += (opening_ns - self._cursor_ns) // self._timeframe_ns
            self._cursor_ns = opening_ns

    def _leave(self, candle: Candle) -> Candle:
        self._cursor_ns = candle.close_time_ns
        self._last_close = candle.close
        return candle

"""Candles: built from trades as they happen, merged into longer ones, flat where nothing traded. PURE."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from tradingbot_sandbox.market.events import Trade
from tradingbot_sandbox.market.intervals import MINUTE_NS, SECOND_NS

ZERO = Decimal(0)


@dataclass(slots=True)
class Candle:
    """What happened in one interval. `first_trade_id` is None where no trade of this run is in it."""

    open_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume_base: Decimal = ZERO
    volume_quote: Decimal = ZERO
    trades: int = 0
    taker_buy_base: Decimal = ZERO
    taker_buy_quote: Decimal = ZERO
    first_trade_id: int | None = None
    last_trade_id: int | None = None

    def add(self, trade: Trade) -> None:
        quote = trade.price * trade.quantity
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.close = trade.price
        self.volume_base += trade.quantity
        self.volume_quote += quote
        self.trades += 1
        if not trade.buyer_is_maker:
            self.taker_buy_base += trade.quantity
            self.taker_buy_quote += quote
        if self.first_trade_id is None:
            self.first_trade_id = trade.trade_id
        self.last_trade_id = trade.trade_id


def flat_candle(open_ns: int, price: Decimal) -> Candle:
    """A candle in which nothing traded: all four prices are the last one."""
    return Candle(open_ns, price, price, price, price)


def merge_candles(open_ns: int, candles: Iterable[Candle]) -> Candle | None:
    """One candle of many, given in the order of time. None: there were none."""
    merged: Candle | None = None
    for candle in candles:
        if merged is None:
            merged = Candle(open_ns, candle.open, candle.high, candle.low, candle.close)
        merged.high = max(merged.high, candle.high)
        merged.low = min(merged.low, candle.low)
        merged.close = candle.close
        merged.volume_base += candle.volume_base
        merged.volume_quote += candle.volume_quote
        merged.trades += candle.trades
        merged.taker_buy_base += candle.taker_buy_base
        merged.taker_buy_quote += candle.taker_buy_quote
        if merged.first_trade_id is None:
            merged.first_trade_id = candle.first_trade_id
        if candle.last_trade_id is not None:
            merged.last_trade_id = candle.last_trade_id
    return merged


class _Buckets:
    """Candles of one fixed length in which something traded, found by time. The oldest are dropped beyond `keep`."""

    def __init__(self, length_ns: int, *, keep: int) -> None:
        self._length_ns = length_ns
        self._keep = keep
        self._opens: list[int] = []
        self._candles: dict[int, Candle] = {}
        self.complete_from_ns = 0

    def add(self, trade: Trade) -> None:
        open_ns = trade.time_ns // self._length_ns * self._length_ns
        candle = self._candles.get(open_ns)
        if candle is None:
            candle = flat_candle(open_ns, trade.price)
            self._candles[open_ns] = candle
            insort(self._opens, open_ns)
            if len(self._opens) > self._keep:
                self._drop_oldest()
        candle.add(trade)

    def _drop_oldest(self) -> None:
        dropped = self._opens[: self._keep // 10]
        del self._opens[: len(dropped)]
        for open_ns in dropped:
            del self._candles[open_ns]
        self.complete_from_ns = dropped[-1] + self._length_ns

    def between(self, start_ns: int, end_ns: int) -> list[Candle]:
        """Candles that open in [start, end)."""
        return [
            self._candles[o] for o in self._opens[bisect_left(self._opens, start_ns) : bisect_left(self._opens, end_ns)]
        ]

    def last_before(self, time_ns: int) -> Candle | None:
        index = bisect_left(self._opens, time_ns)
        return self._candles[self._opens[index - 1]] if index else None


class CandleSeries:
    """The candles of the trades of this run, in seconds and in minutes; longer ones are merged from minutes.

    A candle is about 1 kB. Seconds are kept for twelve hours of trading, minutes for a year: a sandbox that stays up
    stays small.
    """

    def __init__(self, *, keep_seconds: int = 12 * 3600, keep_minutes: int = 366 * 24 * 60) -> None:
        self._seconds = _Buckets(SECOND_NS, keep=keep_seconds)
        self._minutes = _Buckets(MINUTE_NS, keep=keep_minutes)

    @property
    def seconds_from_ns(self) -> int:
        """Seconds before this time have been dropped; a candle shorter than a minute cannot be told there."""
        return self._seconds.complete_from_ns

    def add(self, trade: Trade) -> None:
        self._seconds.add(trade)
        self._minutes.add(trade)

    def between(self, start_ns: int, end_ns: int) -> Candle | None:
        """All trades of [start, end) as one candle.

        Exact to the second, and to the minute where the bounds are minutes.
        """
        buckets = self._minutes if start_ns % MINUTE_NS == 0 and end_ns % MINUTE_NS == 0 else self._seconds
        return merge_candles(start_ns, buckets.between(start_ns, end_ns))

    def last_close_before(self, time_ns: int) -> Decimal | None:
        """The price of the last trade before a second's start."""
        candle = self._seconds.last_before(time_ns) or self._minutes.last_before(time_ns - MINUTE_NS + 1)
        return None if candle is None else candle.close

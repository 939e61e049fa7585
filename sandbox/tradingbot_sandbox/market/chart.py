"""One symbol's candles at any interval and time: the walk before the run, the run's own trades after. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tradingbot_sandbox.market.candles import Candle, CandleSeries, flat_candle, merge_candles
from tradingbot_sandbox.market.events import Trade
from tradingbot_sandbox.market.history import History
from tradingbot_sandbox.market.intervals import MINUTE_NS, Interval


@dataclass(frozen=True, slots=True)
class ChartRows:
    """Candles in the order of time, and how many of them the walk had a part in."""

    candles: list[Candle]
    from_walk: int


class Chart:
    """Joins both sources at the second at which the walk ends. A candle without a trade is flat at the last price."""

    def __init__(self, history: History, first_price: Decimal) -> None:
        self._history = history
        self._first_price = first_price
        self._live = CandleSeries()

    @property
    def walk_ends_ns(self) -> int:
        return self._history.end_ns

    def add(self, trade: Trade) -> None:
        self._live.add(trade)

    def window(self, start_ns: int, end_ns: int) -> Candle:
        """Everything in [start, end) as one candle, to the minute: for rolling statistics."""
        start, end = start_ns // MINUTE_NS * MINUTE_NS, -(-end_ns // MINUTE_NS) * MINUTE_NS
        return self._between(start, end) or flat_candle(start, self._price_before(start))

    def candle(self, interval: Interval, open_ns: int) -> Candle:
        """The candle that opens at `open_ns`."""
        return self._between(open_ns, interval.next(open_ns)) or flat_candle(open_ns, self._price_before(open_ns))

    def candles(self, interval: Interval, *, first_open_ns: int, last_open_ns: int) -> ChartRows:
        """One candle for each opening time in [first, last]; both are starts of candles."""
        rows: list[Candle] = []
        from_walk = 0
        open_ns = max(first_open_ns, self._oldest_open(interval))
        while open_ns <= last_open_ns:
            next_ns = interval.next(open_ns)
            candle = self._between(open_ns, next_ns)
            if candle is None:
                candle = flat_candle(open_ns, rows[-1].close if rows else self._price_before(open_ns))
            rows.append(candle)
            from_walk += open_ns < self._history.end_ns
            open_ns = next_ns
        return ChartRows(rows, from_walk)

    def _oldest_open(self, interval: Interval) -> int:
        """Nothing is told of the time before listing, nor of seconds that have been dropped."""
        oldest = self._history.start_ns
        if 0 < interval.length_ns < MINUTE_NS:
            oldest = max(oldest, self._live.seconds_from_ns)
        floored = interval.floor(oldest)
        return floored if floored == oldest else interval.next(floored)

    def _between(self, start_ns: int, end_ns: int) -> Candle | None:
        walk_ends_ns = self._history.end_ns
        past = self._history.between(start_ns, min(end_ns, walk_ends_ns)) if start_ns < walk_ends_ns else None
        # the run has no trade before the walk's end, so the minute that both share may be asked whole
        live = self._live.between(start_ns, end_ns) if end_ns > walk_ends_ns else None
        return merge_candles(start_ns, [c for c in (past, live) if c is not None])

    def _price_before(self, time_ns: int) -> Decimal:
        return self._live.last_close_before(time_ns) or self._first_price

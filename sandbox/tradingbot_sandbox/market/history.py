"""The past that a simulated market never had: a seeded walk that ends at a given price at a given second. PURE.

A client warms its indicators up from candles of before it came. No recording holds them, so they are invented, one
tree a symbol: days are drawn backwards from the end, and each day is split on demand into hours, hours into minutes,
minutes into seconds. A split keeps its parent's open, high, low, close, volume and trade count, so every interval of
one moment agrees with every other, and the last 1,000 candles of any interval cost a few hundred draws instead of a
walk through all their seconds.

Inside, everything is an integer: prices in 1e-9 of the last day's close, quantities in steps. Quote volumes alone are
not additive: each candle's is its volume times the mean of its four prices.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from tradingbot_sandbox.market.candles import Candle
from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.market.intervals import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from tradingbot_sandbox.market.rng import seeded

HISTORY_DAYS = 1500
"""How far back the walk goes. Before that the symbol was not listed."""

_BASE = 10**9
_DAILY_DRIFT = 0.0004
_DAILY_VOLATILITY = 0.025  # of the order of BTC/USDT's in 2024
_TRADES_A_SECOND = 12
_CHILDREN = {DAY_NS: (24, HOUR_NS), HOUR_NS: (60, MINUTE_NS), MINUTE_NS: (60, SECOND_NS)}
_CACHED_SPLITS = 4096


class _Node(NamedTuple):
    """One candle of the tree."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int
    taker_buy: int


class History:
    """Candles of the time before `end_ns`, which is a whole second; the last of them closes at `last_price`."""

    def __init__(self, instrument: Instrument, *, seed: int, end_ns: int, last_price: Decimal) -> None:
        if end_ns % SECOND_NS:
            raise ValueError("a history ends at a whole second")
        self.end_ns = end_ns
        self._instrument = instrument
        self._words = (seed, instrument.symbol, "history")
        self._last_day = (end_ns - SECOND_NS) // DAY_NS
        self._days: list[_Node] = []  # from the last one backwards
        self._splits: dict[tuple[int, int], tuple[_Node, ...]] = {}
        self._last_ticks = int(last_price / instrument.tick)
        self._raw_at_end = self._node(SECOND_NS, end_ns - SECOND_NS).close

    @property
    def start_ns(self) -> int:
        """The first day of the walk."""
        return (self._last_day - HISTORY_DAYS + 1) * DAY_NS

    def between(self, start_ns: int, end_ns: int) -> Candle | None:
        """[start, end) as one candle; bounds are whole seconds. None: it lies outside the history."""
        nodes = list(self._cover(max(start_ns, self.start_ns), min(end_ns, self.end_ns)))
        if not nodes:
            return None
        return self._candle(
            start_ns,
            _Node(
                nodes[0].open,
                max(n.high for n in nodes),
                min(n.low for n in nodes),
                nodes[-1].close,
                sum(n.volume for n in nodes),
                sum(n.trades for n in nodes),
                sum(n.taker_buy for n in nodes),
            ),
        )

    def _cover(self, start_ns: int, end_ns: int) -> Iterator[_Node]:
        """The fewest nodes that make up [start, end)."""
        cursor = start_ns
        while cursor < end_ns:
            for length in (DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS):
                if cursor % length == 0 and cursor + length <= end_ns:
                    break
            else:
                raise ValueError("history is asked by whole seconds")
            yield self._node(length, cursor)
            cursor += length

    def _node(self, length_ns: int, open_ns: int) -> _Node:
        if length_ns == DAY_NS:
            return self._day(self._last_day - open_ns // DAY_NS)
        parent_ns = {HOUR_NS: DAY_NS, MINUTE_NS: HOUR_NS, SECOND_NS: MINUTE_NS}[length_ns]
        parent_open = open_ns // parent_ns * parent_ns
        return self._children(parent_ns, parent_open)[(open_ns - parent_open) // length_ns]

    def _day(self, age: int) -> _Node:
        while len(self._days) <= age:
            close = self._days[-1].open if self._days else _BASE
            self._days.append(_draw_day(seeded(*self._words, "day", len(self._days)), close, self._instrument))
        return self._days[age]

    def _children(self, length_ns: int, open_ns: int) -> tuple[_Node, ...]:
        key = (length_ns, open_ns)
        known = self._splits.get(key)
        if known is None:
            parts, part_ns = _CHILDREN[length_ns]
            rng = seeded(*self._words, length_ns, open_ns)
            known = _split(self._node(length_ns, open_ns), parts, part_ns // SECOND_NS, rng)
            if len(self._splits) >= _CACHED_SPLITS:
                self._splits.clear()
            self._splits[key] = known
        return known

    def _price(self, raw: int) -> Decimal:
        # rounding is monotone, so highs stay highs; at the end raw / raw_at_end is 1, so the last price is exact
        ticks = (2 * raw * self._last_ticks + self._raw_at_end) // (2 * self._raw_at_end)
        return max(ticks, 1) * self._instrument.tick

    def _candle(self, open_ns: int, node: _Node) -> Candle:
        prices = [self._price(raw) for raw in (node.open, node.high, node.low, node.close)]
        mean = sum(prices, Decimal(0)) / 4
        volume, taker = node.volume * self._instrument.step, node.taker_buy * self._instrument.step
        return Candle(
            open_ns=open_ns,
            open=prices[0],
            high=prices[1],
            low=prices[2],
            close=prices[3],
            volume_base=volume,
            volume_quote=volume * mean,
            trades=node.trades,
            taker_buy_base=taker,
            taker_buy_quote=taker * mean,
        )


def _draw_day(rng: random.Random, close: int, instrument: Instrument) -> _Node:
    """The day that closed at `close`."""
    opened = round(close * math.exp(-rng.gauss(_DAILY_DRIFT, _DAILY_VOLATILITY)))
    reach = _DAILY_VOLATILITY * 0.4
    high = round(max(opened, close) * (1 + abs(rng.gauss(0, reach))))
    low = round(min(opened, close) / (1 + abs(rng.gauss(0, reach))))
    trades = 86_400 * (_TRADES_A_SECOND + rng.randrange(_TRADES_A_SECOND))
    steps = int(instrument.day_volume_base / instrument.step)
    volume = max(trades, round(steps * math.exp(rng.gauss(0, 0.35))))
    return _Node(opened, high, low, close, volume, trades, round(volume * rng.uniform(0.46, 0.54)))


def _split(parent: _Node, parts: int, part_seconds: int, rng: random.Random) -> tuple[_Node, ...]:
    """Cut one candle into `parts` of `part_seconds` each, such that they merge into exactly their parent."""
    step = (parent.high - parent.low) / (
        1.4 * math.sqrt(parts)
    )  # a bridge of n steps ranges over about 1.25 sqrt(n) of them
    closes = _bridge(parent, parts, step, rng)
    opens = [parent.open, *closes[:-1]]
    highs = [
        min(parent.high, max(o, c) + round(abs(rng.gauss(0, step / 2)))) for o, c in zip(opens, closes, strict=True)
    ]
    lows = [max(parent.low, min(o, c) - round(abs(rng.gauss(0, step / 2)))) for o, c in zip(opens, closes, strict=True)]
    highs[highs.index(max(highs))] = parent.high
    lows[lows.index(min(lows))] = parent.low
    weights = [0.3 + rng.expovariate(1) for _ in range(parts)]
    trades = _share(parent.trades, [part_seconds] * parts, weights)  # at least one trade a second
    volumes = _share(parent.volume, trades, weights)  # at least one step a trade
    takers = _share_within(parent.taker_buy, volumes)
    return tuple(_Node(*row) for row in zip(opens, highs, lows, closes, volumes, trades, takers, strict=True))


def _bridge(parent: _Node, parts: int, step: float, rng: random.Random) -> list[int]:
    """A path from open to close that stays between low and high: the close of each part."""
    walk, path = 0.0, []
    for _ in range(parts):
        walk += rng.gauss(0, step)
        path.append(walk)
    trend = parent.close - parent.open - walk
    return [
        _reflect(round(parent.open + x + trend * (i + 1) / parts), parent.low, parent.high)
        for i, x in enumerate(path[:-1])
    ] + [parent.close]


def _reflect(value: int, low: int, high: int) -> int:
    """Fold a value back into [low, high], as a wall would."""
    width = high - low
    if width == 0:
        return low
    offset = (value - low) % (2 * width)
    return low + (offset if offset <= width else 2 * width - offset)


def _share(total: int, floors: list[int], weights: list[float]) -> list[int]:
    """Split `total` by weights, each part at least its floor; the parts sum to the total exactly."""
    spare = total - sum(floors)
    scale = sum(weights)
    shares = [floor + int(spare * weight / scale) for floor, weight in zip(floors, weights, strict=True)]
    shares[-1] += total - sum(shares)
    return shares


def _share_within(total: int, limits: list[int]) -> list[int]:
    """Split `total` in proportion to the limits, no part above its limit; the parts sum to the total exactly."""
    whole = sum(limits)
    shares = [total * limit // whole for limit in limits]
    rest = total - sum(shares)
    for index, limit in enumerate(limits):
        if rest and shares[index] < limit:
            shares[index] += 1
            rest -= 1
    return shares

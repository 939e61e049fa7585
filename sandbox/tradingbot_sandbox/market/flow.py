"""One symbol's invented order flow: takers come in bursts, makers follow a price that trends. PURE.

Everything is an integer here, prices in ticks and quantities in steps; random floats only shape them. A step of 0.1 s
goes: takers eat the top of the book, each fill a trade; then makers requote around the new fair price; then one delta
tells every level that changed. So a trade is always at the best price of the moment, and the book is never crossed.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

from tradingbot_sandbox.market.events import NS_PER_MS, BookDelta, BookSnapshot, BookTicker, Level, MarketEvent, Trade
from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.market.port import Opening
from tradingbot_sandbox.market.rng import seeded

STEP_NS = 100 * NS_PER_MS
"""One delta each 100 ms, as Binance's fast depth stream."""

_STEPS_A_SECOND = 10
_REGIME_SECONDS = (10, 20)
"""A trend lasts so long, then it turns: averages of 10 and 30 seconds cross within the first minute."""
_DRIFT_A_SECOND = 0.9e-4
_VOLATILITY_A_SECOND = (
    1.3e-4  # BTC/USDT in a busy minute; above the drift, so that an oscillator is not pinned to its end by a trend
)
_HOME_REACH = 0.02
"""Beyond this distance from its first price, the market turns back."""
_BURST_CHANCE = 0.01  # a step; a burst lasts up to a second
_BURST_FACTOR = 12
_LEVELS = 200
_LEVEL_GAP = 2e-6  # of the price, near the top
_LEAST_LEVELS = 60
_MOST_LEVELS_SWEPT = 8
_FIRST_UPDATE_ID = 1_000_000_000
_FIRST_TRADE_ID = 100_000_000


class _Ladder:
    """One side of the book, best price first in its own direction."""

    def __init__(self, *, is_bid: bool) -> None:
        self.is_bid = is_bid
        self.prices: list[int] = []  # upwards
        self.lots: dict[int, int] = {}
        self.changed: set[int] = set()

    def set(self, price: int, lots: int) -> None:
        if lots > 0:
            if price not in self.lots:
                self.prices.insert(bisect_left(self.prices, price), price)
            self.lots[price] = lots
        else:
            del self.lots[price]
            del self.prices[bisect_left(self.prices, price)]
        self.changed.add(price)

    @property
    def best(self) -> int:
        return self.prices[-1] if self.is_bid else self.prices[0]

    @property
    def worst(self) -> int:
        return self.prices[0] if self.is_bid else self.prices[-1]

    def nth(self, n: int) -> int:
        return self.prices[-1 - n] if self.is_bid else self.prices[n]

    def beyond(self, limit: int) -> list[int]:
        """Prices better than `limit`."""
        return (
            self.prices[bisect_right(self.prices, limit) :]
            if self.is_bid
            else self.prices[: bisect_left(self.prices, limit)]
        )

    def away(self, price: int, ticks: int) -> int:
        """The price that many ticks further from the market."""
        return price - ticks if self.is_bid else price + ticks


class Flow:
    """The events of one symbol, a step at a time."""

    def __init__(self, instrument: Instrument, *, seed: int) -> None:
        self._instrument = instrument
        self._rng = seeded(seed, instrument.symbol, "flow")
        self._home = self._fair = int(instrument.first_price / instrument.tick) * 1000  # in thousandths of a tick
        self._trade_lots = max(1, int(instrument.trade_size_base / instrument.step))
        self._level_lots = max(1, int(instrument.level_size_base / instrument.step))
        self._gap = max(1.0, self._home / 1000 * _LEVEL_GAP)
        self._direction = self._rng.choice((-1, 1))
        self._regime_steps = self._burst_steps = 0
        self._drift = 0.0
        self._update_id = self._told_update_id = _FIRST_UPDATE_ID
        self._trade_id = _FIRST_TRADE_ID - 1
        self._bids, self._asks = _Ladder(is_bid=True), _Ladder(is_bid=False)
        self._requote()
        self._bids.changed.clear()
        self._asks.changed.clear()
        self._told_update_id = self._update_id
        self._told_top = self._top()
        self.opening = Opening(self._snapshot(), instrument.first_price, _FIRST_TRADE_ID)

    def step(self, open_ns: int, length_ns: int) -> list[MarketEvent]:
        """The events of the next step, which lasts from `open_ns` for `length_ns`."""
        self._move()
        events: list[MarketEvent] = []
        for moment in sorted(self._rng.random() for _ in range(self._arrivals())):
            self._take(open_ns + int(moment * (length_ns - 1)), events)
        self._requote()
        self._tell_book(open_ns + length_ns - 1, events)
        return events

    def _move(self) -> None:
        """The fair price: a trend that turns every 10 to 20 seconds, and noise."""
        if self._regime_steps <= 0:
            self._direction = -self._direction
            self._regime_steps = round(self._rng.uniform(*_REGIME_SECONDS) * _STEPS_A_SECOND)
            self._drift = self._fair * _DRIFT_A_SECOND * self._rng.uniform(0.7, 1.4) / _STEPS_A_SECOND
        self._regime_steps -= 1
        if abs(self._fair - self._home) > self._home * _HOME_REACH:
            self._direction = 1 if self._fair < self._home else -1
        noise = self._rng.gauss(0, self._fair * _VOLATILITY_A_SECOND / math.sqrt(_STEPS_A_SECOND))
        self._fair += round(self._direction * self._drift + noise)

    def _arrivals(self) -> int:
        """How many takers come in this step: Poisson, with a rate that bursts."""
        if self._burst_steps:
            self._burst_steps -= 1
        elif self._rng.random() < _BURST_CHANCE:
            self._burst_steps = self._rng.randint(2, _STEPS_A_SECOND)
        rate = self._instrument.trades_per_second / _STEPS_A_SECOND * (_BURST_FACTOR if self._burst_steps else 1)
        limit, count, product = math.exp(-rate), 0, self._rng.random()
        while product > limit:
            count += 1
            product *= self._rng.random()
        return count

    def _take(self, when_ns: int, events: list[MarketEvent]) -> None:
        """One taker: it eats levels from the best on, one trade each."""
        is_buy = self._rng.random() < 0.5 + 0.2 * self._direction
        side = self._asks if is_buy else self._bids
        lots = max(1, round(self._trade_lots * math.exp(self._rng.gauss(0, 1.3))))
        for _ in range(_MOST_LEVELS_SWEPT):
            if len(side.prices) <= _LEAST_LEVELS:
                return  # a storm of takers: the rest of the order is cancelled, a side is never emptied
            price = side.best
            filled = min(lots, side.lots[price])
            self._trade_id += 1
            events.append(
                Trade(
                    symbol=self._instrument.symbol,
                    trade_id=self._trade_id,
                    price=price * self._instrument.tick,
                    quantity=filled * self._instrument.step,
                    time_ns=when_ns,
                    event_time_ns=when_ns,
                    buyer_is_maker=not is_buy,
                )
            )
            side.set(price, side.lots[price] - filled)
            self._update_id += 1
            self._tell_top(when_ns, events)
            lots -= filled
            if not lots:
                return

    def _requote(self) -> None:
        """Makers put their quotes around the fair price."""
        spread = 1 if self._rng.random() < 0.8 else self._rng.randint(2, 6)
        bid = self._fair // 1000
        for side, best in ((self._bids, bid), (self._asks, bid + spread)):
            for price in side.beyond(best):
                side.set(price, 0)
            if best not in side.lots:
                side.set(best, self._size())
            self._fill_gaps(side)
            self._shuffle(side)
        self._update_id += len(self._bids.changed) + len(self._asks.changed)

    def _fill_gaps(self, side: _Ladder) -> None:
        """New levels where the price has moved away from the old ones, and at the far end."""
        price, index = side.best, 0
        while index < 25 and len(side.prices) > index + 1:
            following = side.nth(index + 1)
            if abs(following - price) > 6 * self._gap:
                side.set(side.away(price, self._draw_gap(index)), self._size())
                following = side.nth(index + 1)
            price, index = following, index + 1
        while len(side.prices) < _LEVELS:
            side.set(side.away(side.worst, self._draw_gap(len(side.prices))), self._size())
        while len(side.prices) > 2 * _LEVELS:
            side.set(side.worst, 0)

    def _shuffle(self, side: _Ladder) -> None:
        """A few makers change their mind."""
        for _ in range(self._rng.randint(2, 8)):
            price = side.nth(self._rng.randrange(40))
            side.set(price, self._size())
        gone = side.nth(self._rng.randrange(5, 60))
        side.set(gone, 0)

    def _draw_gap(self, depth: int) -> int:
        return 1 + int(self._rng.expovariate(1 / self._gap) * (1 + depth / 20))

    def _size(self) -> int:
        return max(1, round(self._level_lots * math.exp(self._rng.gauss(0, 1.1))))

    def _top(self) -> tuple[int, int, int, int]:
        bid, ask = self._bids.best, self._asks.best
        return bid, self._bids.lots[bid], ask, self._asks.lots[ask]

    def _tell_top(self, when_ns: int, events: list[MarketEvent]) -> None:
        top = self._top()
        if top != self._told_top:
            self._told_top = top
            tick, step = self._instrument.tick, self._instrument.step
            prices = (top[0] * tick, top[1] * step, top[2] * tick, top[3] * step)
            events.append(BookTicker(self._instrument.symbol, self._update_id, *prices, when_ns))

    def _tell_book(self, when_ns: int, events: list[MarketEvent]) -> None:
        bids, asks = self._changes(self._bids), self._changes(self._asks)
        first_update_id = self._told_update_id + 1
        self._told_update_id = self._update_id
        events.append(BookDelta(self._instrument.symbol, first_update_id, self._update_id, bids, asks, when_ns))
        self._tell_top(when_ns, events)

    def _changes(self, side: _Ladder) -> tuple[Level, ...]:
        prices = sorted(side.changed, reverse=side.is_bid)
        side.changed.clear()
        return tuple(self._level(price, side.lots.get(price, 0)) for price in prices)

    def _level(self, price: int, lots: int) -> Level:
        return price * self._instrument.tick, lots * self._instrument.step

    def _snapshot(self) -> BookSnapshot:
        bids = tuple(self._level(p, self._bids.lots[p]) for p in reversed(self._bids.prices))
        asks = tuple(self._level(p, self._asks.lots[p]) for p in self._asks.prices)
        return BookSnapshot(self._instrument.symbol, self._update_id, bids, asks)

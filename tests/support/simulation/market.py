"""A small seeded market for simulations: a few levels and one trade a step, so that ten thousand worlds are cheap.

It is a market of the sandbox (market/port.py): the sandbox's boards, streams and matching run on it unchanged.
"""

from __future__ import annotations

import random
from collections import deque
from decimal import Decimal

from tradingbot_sandbox.market.events import BookDelta, BookSnapshot, MarketEvent, Trade
from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.market.port import Opening, PlayState, Position

STEP_NS = 250_000_000
LEVELS = 4
FIRST_PRICE = Decimal(100)
SYMBOLS = ("BTC/USDT", "ETH/USDT")


def build_instrument(symbol: str) -> Instrument:
    return Instrument(
        symbol=symbol,
        tick=Decimal("0.01"),
        step=Decimal("0.001"),
        first_price=FIRST_PRICE,
        trade_size_base=Decimal("0.1"),
        level_size_base=Decimal("0.5"),
        day_volume_base=Decimal(1000),
        trades_per_second=4,
    )


class SmallMarket:
    """Prices walk in ticks around 100, thin enough that orders fill in part."""

    kind = "synthetic"
    lateness_ns = 0

    def __init__(self, seed: int, symbols: tuple[str, ...] = SYMBOLS) -> None:
        self.instruments = tuple(build_instrument(symbol) for symbol in symbols)
        self._random = random.Random(f"market {seed}")  # noqa: S311  a simulation
        self._prices = dict.fromkeys(symbols, int(FIRST_PRICE * 100))
        self._update = dict.fromkeys(symbols, 1)
        self._trade_id = dict.fromkeys(symbols, 1)
        self._shown: dict[str, tuple[dict[int, int], dict[int, int]]] = {s: self._levels(s) for s in symbols}
        self._openings = {s: self._opening(s) for s in symbols}
        self._started_ns: int | None = None
        self._steps = 0
        self._ready: deque[MarketEvent] = deque()

    def opening(self, symbol: str) -> Opening:
        return self._openings[symbol]

    def start(self, now_ns: int) -> None:
        self._started_ns = now_ns

    def next_due_ns(self) -> int | None:
        if self._started_ns is None:
            return None
        if not self._ready:
            self._step()
        return self._ready[0].event_time_ns

    def take(self, now_ns: int, *, limit: int) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        while len(events) < limit and (due_ns := self.next_due_ns()) is not None and due_ns <= now_ns:
            event = self._ready.popleft()
            if isinstance(event, Trade):  # numbered when it happens: our own fills take numbers in between
                number = self.reserve_trade_ids(event.symbol, trades=1)
                event = Trade(
                    event.symbol, number, event.price, event.quantity, event.time_ns, event.event_time_ns,
                    event.buyer_is_maker,
                )  # fmt: skip
            events.append(event)
        return events

    def reserve_trade_ids(self, symbol: str, *, trades: int) -> int:
        first = self._trade_id[symbol]
        self._trade_id[symbol] += trades
        return first

    def position(self) -> Position:
        state = PlayState.WAITING if self._started_ns is None else PlayState.PLAYING
        return Position(state, 0, {}, None, self._started_ns, None)

    def _step(self) -> None:
        at_ns = (self._started_ns or 0) + self._steps * STEP_NS
        self._steps += 1
        for symbol in self._prices:
            draw = self._random
            self._prices[symbol] = self._move(symbol)
            self._ready.append(self._delta(symbol, at_ns))
            buys = draw.random() < 0.5
            price = self._prices[symbol] + (1 if buys else -1)
            quantity = Decimal(draw.randint(1, 400)) / 1000
            trade = Trade(symbol, 0, Decimal(price) / 100, quantity, at_ns, at_ns, buyer_is_maker=not buys)
            self._ready.append(trade)

    def _move(self, symbol: str) -> int:
        return max(self._prices[symbol] + self._random.choice((-30, -8, -2, -1, 0, 1, 2, 8, 30)), 5_000)

    def _levels(self, symbol: str) -> tuple[dict[int, int], dict[int, int]]:
        middle, draw = self._prices[symbol], self._random
        bids = {middle - 1 - number: draw.randint(20, 600) for number in range(LEVELS)}
        asks = {middle + 1 + number: draw.randint(20, 600) for number in range(LEVELS)}
        return bids, asks

    def _delta(self, symbol: str, at_ns: int) -> BookDelta:
        old, new = self._shown[symbol], self._levels(symbol)
        self._shown[symbol] = new
        first = self._update[symbol] + 1
        self._update[symbol] = first
        bids, asks = (dict.fromkeys(before, 0) | after for before, after in zip(old, new, strict=True))
        return BookDelta(symbol, first, first, _wire(bids), _wire(asks), at_ns)

    def _opening(self, symbol: str) -> Opening:
        bids, asks = self._shown[symbol]
        ranked_bids = {price: bids[price] for price in sorted(bids, reverse=True)}
        book = BookSnapshot(symbol, self._update[symbol], _wire(ranked_bids), _wire(asks))
        return Opening(book, FIRST_PRICE, 1)


def _wire(levels: dict[int, int]) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((Decimal(price) / 100, Decimal(lots) / 1000) for price, lots in levels.items())

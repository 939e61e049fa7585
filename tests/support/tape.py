"""A public tape in virtual time: numbered trades that go on whether anybody listens or not, and lines that may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from support.virtual import VirtualClock
from tradingbot_api.spec import Timeframe
from tradingbot_trader.market.events import Book, Candle, FeedChange, FeedGap, FeedState, Trade
from tradingbot_trader.market.feed import Feed, FeedSettings, StreamLost, Tap
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.venues.port import FeedCounters
from tradingbot_trader.venues.turns import PER_TURN, Turns

BTC, ETH = "BTC/USDT", "ETH/USDT"
NS = 1_000_000_000
DIAL_SECONDS = 10.0
"""How long a dial that nobody answers takes to fail, as in venues/ccxt_port.py."""


class Sink:
    """Everything that a feed says, in order."""

    def __init__(self) -> None:
        self.seen: list[Trade | Book | FeedChange | FeedGap] = []
        self.on_each: Callable[[Trade], None] = lambda _trade: None

    def on_trade(self, trade: Trade) -> None:
        self.on_each(trade)
        self.seen.append(trade)

    def on_book(self, book: Book) -> None:
        self.seen.append(book)

    def on_feed(self, change: FeedChange) -> None:
        self.seen.append(change)

    def on_gap(self, gap: FeedGap) -> None:
        self.seen.append(gap)

    def ids(self, symbol: str = BTC) -> list[int]:
        return [int(each.trade_id) for each in self.seen if isinstance(each, Trade) and each.symbol == symbol]

    @property
    def gaps(self) -> list[FeedGap]:
        return [each for each in self.seen if isinstance(each, FeedGap)]

    def changes(self, symbol: str = BTC) -> list[FeedState]:
        return [each.state for each in self.seen if isinstance(each, FeedChange) and each.symbol == symbol]

    def declared(self, symbol: str = BTC) -> list[int]:
        """Each number that a gap has named."""
        return [
            int(gap.first_missing_id) + number
            for gap in self.gaps
            if gap.symbol == symbol
            for number in range(gap.missing)
        ]


@dataclass(eq=False)
class Line:
    """One connection. What it hands over goes through Turns, as in the adapter."""

    symbols: Sequence[str]
    tap: Tap
    end: asyncio.Future[None]
    per_turn: int
    max_waiting: int
    is_up: bool = True
    turns: Turns[Trade] = field(init=False)

    def __post_init__(self) -> None:
        self.turns = Turns(
            self.tap.trade,
            call_soon=asyncio.get_running_loop().call_soon,
            overflow=self.tap.overflowed,
            per_turn=self.per_turn,
            max_waiting=self.max_waiting,
        )

    def lose(self, reason: str = "reset") -> None:
        if not self.end.done():
            self.end.set_exception(StreamLost(reason))


class Tape:
    """The venue. `is_refusing`: no line comes up. `is_dark`: dials hang, and lines that stand carry nothing."""

    def __init__(self, clock: VirtualClock, *, per_turn: int = PER_TURN, max_waiting: int = 100_000) -> None:
        self._clock, self._per_turn, self._max_waiting = clock, per_turn, max_waiting
        self.trades: dict[str, list[Trade]] = {BTC: [], ETH: []}
        self.lines: list[Line] = []
        """All that ever stood, the last one last."""
        self.dials = 0
        self.dial_seconds = 0.0
        self.is_refusing = self.is_dark = False

    def print(self, symbol: str = BTC, *, count: int = 1, is_heard: bool = True) -> list[Trade]:
        """So many trades happen now; whoever has a line hears of them."""
        tape, made = self.trades[symbol], []
        for _ in range(count):
            number = len(tape) + 1
            trade = Trade(symbol, str(number), Decimal(100 + number % 7), Decimal(1), self._clock.now_ns())
            tape.append(trade)
            made.append(trade)
            for line in self.lines:
                if is_heard and line.is_up and not self.is_dark and symbol in line.symbols:
                    line.turns.put(trade)
        return made

    async def trade_on(self, symbol: str = BTC, *, seconds: float = 0.1) -> None:
        """One trade each so many seconds, for ever."""
        while True:
            self.print(symbol)
            await self._clock.sleep(seconds)

    async def connect(self, symbols: Sequence[str], tap: Tap) -> None:
        self.dials += 1
        await self._clock.sleep(self.dial_seconds)
        if self.is_dark:
            await self._clock.sleep(DIAL_SECONDS)
            raise StreamLost("the dial was not answered")
        if self.is_refusing:
            raise StreamLost("refused")
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = Line(list(symbols), tap, end, self._per_turn, self._max_waiting)
        self.lines.append(line)
        try:
            await end
        finally:
            line.is_up = False

    def candles(self, symbol: str, timeframe_ns: int, until_ns: int) -> list[Candle]:
        """The venue's own, of spans that are over; spans without a trade are left out."""
        spans: dict[int, list[Trade]] = {}
        for trade in self.trades[symbol]:
            spans.setdefault(trade.event_time_ns // timeframe_ns * timeframe_ns, []).append(trade)
        return [
            Candle(
                symbol, opening, timeframe_ns, trades[0].price, max(t.price for t in trades),
                min(t.price for t in trades), trades[-1].price, Decimal(len(trades)), len(trades),
            )
            for opening, trades in sorted(spans.items())
            if opening + timeframe_ns <= until_ns
        ]  # fmt: skip


class TapePort:
    """MarketDataPort on a tape, with the trader's own feed."""

    def __init__(
        self,
        tape: Tape,
        clock: VirtualClock,
        *,
        random: Callable[[], float] = lambda: 1.0,
        settings: FeedSettings | None = None,
    ) -> None:
        self._tape, self._clock = tape, clock
        self.feed = Feed(tape.connect, clock=clock, random=random, settings=settings)
        self.ahead_ns = 0
        """Of the venue's clock."""
        self.fetches = 0

    async def load_instruments(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        raise NotImplementedError(symbols)

    async def server_time_ns(self) -> int:
        return self._clock.now_ns() + self.ahead_ns

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, *, limit: int) -> tuple[Candle, ...]:
        self.fetches += 1
        until_ns = self._clock.now_ns() + self.ahead_ns
        await self._clock.sleep(0.05)
        return tuple(self._tape.candles(symbol, timeframe.duration_ns, until_ns)[-limit:])

    async def run(self, symbols: Sequence[str], sink: Sink) -> None:
        await self.feed.run(symbols, sink)

    @property
    def counters(self) -> FeedCounters:
        return self.feed.counters

    async def close(self) -> None:
        return


class Stage:
    """A tape, a feed that listens to it, and what it said."""

    def __init__(self, *, max_waiting: int = 100_000, settings: FeedSettings | None = None) -> None:
        self.clock = VirtualClock()
        self.tape = Tape(self.clock, max_waiting=max_waiting)
        self.feed = Feed(self.tape.connect, clock=self.clock, random=lambda: 1.0, settings=settings)
        self.sink = Sink()

    @asynccontextmanager
    async def running(self, symbols: Sequence[str] = (BTC,)) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.feed.run(symbols, self.sink))
        try:
            await self.until_up(1)
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_up(self, lines: int) -> None:
        async with asyncio.timeout(120):
            while len(self.tape.lines) < lines:
                await self.clock.sleep(0.01)

    async def turns(self, count: int = 5) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    def check(self, symbol: str = BTC) -> None:
        """Each received trade is delivered or dropped; each number of the tape is delivered or declared, and once."""
        counters, ids = self.feed.counters, self.sink.ids(symbol)
        assert counters.received == counters.delivered + counters.dropped
        assert counters.delivered == len(ids)
        assert counters.missing == len(self.sink.declared(symbol))
        assert sorted(ids + self.sink.declared(symbol)) == list(range(ids[0], ids[-1] + 1))

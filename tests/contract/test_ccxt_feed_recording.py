"""A recorded Binance market, twenty times as fast, through the real ccxt.pro: each of its trades reaches the trader.

The recording is not in the project: its path comes from TRADINGBOT_RECORDING.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tradingbot_api.spec import ExchangeId, Network, Timeframe
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.market.candles import CandleBuilder
from tradingbot_trader.market.events import Book, Candle, FeedChange, FeedGap, FeedState, Trade
from tradingbot_trader.venues.ccxt_port import build_market_data
from tradingbot_trader.venues.port import FeedCounters

pytestmark = pytest.mark.recording
SYMBOL = "BTC/USDT"
DEADLINE_SECONDS = 240


@pytest.fixture(scope="module")
def recording() -> Path:
    path = os.environ.get("TRADINGBOT_RECORDING")
    if not path:
        pytest.skip("TRADINGBOT_RECORDING is not set: it names a recorded Binance market, no part of the project")
    assert Path(path).is_file(), f"TRADINGBOT_RECORDING names no file: {path}"
    return Path(path)


@pytest.fixture(scope="module")
def recorded_trades(recording: Path) -> list[dict[str, Any]]:
    with gzip.open(recording, "rt") as lines:
        frames = [json.loads(line.split(" ", 1)[1]) for line in lines]
    return [frame["data"] for frame in frames if frame.get("stream", "").endswith("@trade")]


@dataclass
class Sink:
    """Builds candles as the trader does, in the same loop iteration."""

    candles: CandleBuilder
    expected: int
    is_complete: asyncio.Event = field(default_factory=asyncio.Event)
    trades: list[Trade] = field(default_factory=list)
    books: int = 0
    crossed: int = 0
    closed: list[Candle] = field(default_factory=list)
    changes: list[FeedChange] = field(default_factory=list)
    gaps: list[FeedGap] = field(default_factory=list)

    def on_trade(self, trade: Trade) -> None:
        self.trades.append(trade)
        self.closed.extend(self.candles.add(trade))
        if len(self.trades) == self.expected:
            self.is_complete.set()

    def on_book(self, book: Book) -> None:
        self.books += 1
        self.crossed += book.bids[0].price >= book.asks[0].price

    def on_feed(self, change: FeedChange) -> None:
        self.changes.append(change)
        if change.state is FeedState.CONNECTED:
            self.candles.connected(change.at_ns)
        else:
            self.candles.lost()

    def on_gap(self, gap: FeedGap) -> None:
        self.gaps.append(gap)


@dataclass(frozen=True)
class Played:
    sink: Sink
    counters: FeedCounters
    theirs: dict[int, Candle]


@pytest.fixture(scope="module")
def played(recording: Path, recorded_trades: list[dict[str, Any]]) -> Played:
    options = ["--market", str(recording), "--speed", "20", "--play", "once", "--start", "first-subscription"]
    with running_venue("binance", options) as venue:
        return asyncio.run(play(venue, expected=len(recorded_trades)))


async def play(venue: VenueProcess, *, expected: int) -> Played:
    sink = Sink(CandleBuilder(SYMBOL, Timeframe.S1.duration_ns), expected)
    sink.candles.seed(())
    port = build_market_data(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=SystemClock(),
        rest_url=venue.rest_url,
        stream_url=venue.stream_url,
    )
    await port.load_instruments([SYMBOL])
    async with running(asyncio.create_task(port.run([SYMBOL], sink))):
        with contextlib.suppress(TimeoutError):  # the counters tell what is missing
            await asyncio.wait_for(sink.is_complete.wait(), DEADLINE_SECONDS)
        counters = port.counters
    theirs = await port.fetch_candles(SYMBOL, Timeframe.S1, limit=len(sink.closed) + 60)
    await port.close()
    return Played(sink, counters, {candle.open_time_ns: candle for candle in theirs})


@contextlib.asynccontextmanager
async def running(task: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_every_recorded_trade_reached_the_trader_and_none_was_dropped(
    played: Played, recorded_trades: list[dict[str, Any]]
) -> None:
    assert len(recorded_trades) == 9_757
    counters = played.counters
    assert (counters.received, counters.delivered, counters.dropped) == (9_757, 9_757, 0)
    assert (counters.missing, counters.connections, counters.resyncs) == (0, 1, 0)
    assert played.sink.gaps == []


def test_every_trade_is_the_recorded_one_to_the_last_digit(
    played: Played, recorded_trades: list[dict[str, Any]]
) -> None:
    ours = [
        (each.trade_id, str(each.price), str(each.quantity_base), each.buyer_is_maker) for each in played.sink.trades
    ]
    assert ours == [(str(each["t"]), each["p"], each["q"], each["m"]) for each in recorded_trades]


def test_books_came_and_none_was_crossed(played: Played) -> None:
    assert played.sink.books > 1_000
    assert played.sink.crossed == 0


def test_candles_are_whole_and_the_venues_own(played: Played) -> None:
    closed, candles = played.sink.closed, played.sink.candles
    assert len(closed) > 10
    assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(closed))
    assert (candles.late, candles.duplicates, candles.skipped) == (0, 0, 0)
    assert closed == [played.theirs[candle.open_time_ns] for candle in closed]

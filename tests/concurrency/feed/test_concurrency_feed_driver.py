"""Candles of a tape that goes on while the line is away, the clock is set anew, or the market is run again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import ClassVar

import pytest

from support.tape import BTC, ETH, NS, Tape, TapePort
from support.trader import build_instrument, build_spec
from support.virtual import VirtualClock, run
from tradingbot_api.digest import digest_spec
from tradingbot_api.spec import TradingBotSpec
from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control.configuration import Configuration
from tradingbot_trader.driver import Driver
from tradingbot_trader.market.events import Book, Candle, FeedChange, FeedGap, FeedState, Trade
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.strategy.base import BaseStrategy, Parameters, Target
from tradingbot_trader.venues.turns import PER_TURN

SECOND = NS
BACK_WITHIN_SECONDS = 120.0
"""Issue 4, "done when": the feed is back within 120 s of a partition's end."""

SILENCE_NOTICED_SECONDS = 37.5
"""30 s of silence, looked for every 7.5 s (FeedSettings)."""


class NoParameters(Parameters):
    pass


class Listening(BaseStrategy[NoParameters, int]):
    """Wants nothing, and remembers each candle that it was shown."""

    name: ClassVar[str] = "listening"
    parameters_class = NoParameters

    def __init__(self) -> None:
        self.candles: list[Candle] = []

    def warmup_candles(self, parameters: NoParameters) -> int:  # noqa: ARG002  the interface
        return 3

    def initial_state(self, parameters: NoParameters) -> int:  # noqa: ARG002  as above
        return 0

    def on_candle(self, parameters: NoParameters, state: int, candle: Candle) -> tuple[int, Target | None]:  # noqa: ARG002
        self.candles.append(candle)
        return state, None

    def of(self, symbol: str) -> list[Candle]:
        return [candle for candle in self.candles if candle.symbol == symbol]


class Follower:
    """Hears what a paper gateway would."""

    def __init__(self) -> None:
        self.changes: list[tuple[float, FeedChange]] = []
        self.trades: list[Trade] = []
        self.seconds = lambda: 0.0

    def advance(self, now_ns: int) -> None: ...
    def on_book(self, book: Book) -> None: ...

    def on_trade(self, trade: Trade) -> None:
        self.trades.append(trade)

    def on_feed(self, change: FeedChange) -> None:
        self.changes.append((self.seconds(), change))


class Market:
    """A driver on a tape."""

    def __init__(self, seed: int = 0, *, max_waiting: int = 100_000) -> None:
        self.clock = VirtualClock()
        self.tape = Tape(self.clock, max_waiting=max_waiting)
        draw = random.Random(seed)  # noqa: S311  a test
        self.port = TapePort(self.tape, self.clock, random=draw.random)
        self.venue_clock = VenueClock(self.clock)
        self.strategy, self.follower = Listening(), Follower()
        self.follower.seconds = self.seconds
        self.gaps: list[FeedGap] = []
        self.driver = Driver(
            self.port,  # type: ignore[arg-type]  a port with as much as the driver asks for
            self.venue_clock,
            Metrics(),
            follower=self.follower,
            pursue=lambda _symbol, _target: None,
            cancel_entries=lambda _symbol: None,
            on_gap=self.gaps.append,
        )

    def seconds(self) -> float:
        return self.clock.monotonic_ns() / 1e9

    def configuration(self, symbols: Sequence[str]) -> Configuration:
        spec = TradingBotSpec.model_validate(build_spec(symbols=list(symbols)))
        return Configuration(
            "u1", 1, digest_spec(spec), spec, self.strategy, NoParameters(), {s: build_instrument(s) for s in symbols}
        )

    @contextlib.asynccontextmanager
    async def running(self, symbols: Sequence[str] = (BTC,), *, talk_seconds: float = 0.1) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.driver.run(self.configuration(symbols), symbols))]
        tasks += [asyncio.create_task(self.tape.trade_on(symbol, seconds=talk_seconds)) for symbol in symbols]
        try:
            yield
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def check_candles(self, symbol: str = BTC, *, but_not: Sequence[tuple[int, int]] = ()) -> None:
        """One after the other, none twice, each the venue's own but for those that open in these spans of time."""
        candles = self.strategy.of(symbol)
        assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(candles))
        candles = [c for c in candles if not any(start <= c.open_time_ns < end for start, end in but_not)]
        true = {c.open_time_ns: c for c in self.tape.candles(symbol, SECOND, self.clock.now_ns())}
        assert [c for c in candles if c.trades] == [true[c.open_time_ns] for c in candles if c.trades]
        assert all(c.open_time_ns not in true for c in candles if not c.trades)

    def check_numbers(self, symbol: str = BTC) -> None:
        """Each number of the tape was heard, or stands in one gap."""
        heard = [int(t.trade_id) for t in self.follower.trades if t.symbol == symbol]
        missing = [
            int(gap.first_missing_id) + n for gap in self.gaps if gap.symbol == symbol for n in range(gap.missing)
        ]
        assert sorted(heard + missing) == list(range(heard[0], heard[-1] + 1))

    def came_back_at(self, after_seconds: float, symbol: str = BTC) -> float:
        return next(
            at
            for at, change in self.follower.changes
            if at >= after_seconds and (change.symbol, change.state) == (symbol, FeedState.CONNECTED)
        )


@pytest.mark.parametrize("kind", ["reset and refused", "silent, dials hang", "silent, then reset"])
@pytest.mark.parametrize("seed", range(6))
def test_feed_is_back_within_120_s_of_a_partitions_end_with_its_gap_declared_and_its_candles_filled(
    kind: str, seed: int
) -> None:
    draw = random.Random(f"{kind} {seed}")  # noqa: S311  a test

    async def story() -> None:
        market = Market(seed)
        unseen: list[tuple[int, int]] = []
        async with market.running(talk_seconds=0.25):
            for _ in range(2):
                await market.clock.sleep(draw.uniform(5, 40))
                before, began_ns = len(market.gaps), market.clock.now_ns()
                market.tape.is_dark, market.tape.is_refusing = kind.startswith("silent"), not kind.startswith("silent")
                if kind == "reset and refused":
                    market.tape.lines[-1].lose()
                await market.clock.sleep(draw.choice((45.0, 60.0, draw.uniform(40, 400))))
                if kind == "silent, then reset":
                    market.tape.lines[-1].lose()
                market.tape.is_dark = market.tape.is_refusing = False
                ended = market.seconds()
                await market.clock.sleep(BACK_WITHIN_SECONDS + 5)
                assert market.came_back_at(ended) - ended <= BACK_WITHIN_SECONDS
                assert len(market.gaps) == before + 1, "declared once"
                assert BTC not in market.driver.lost
                lost_ns = next(
                    change.at_ns
                    for _, change in market.follower.changes
                    if change.at_ns >= began_ns and change.state is FeedState.LOST
                )
                assert lost_ns - began_ns <= SILENCE_NOTICED_SECONDS * NS
                unseen.append((began_ns - SECOND, lost_ns))
            market.check_numbers()
            market.check_candles(but_not=unseen)
            assert market.strategy.of(BTC)[-1].close_time_ns >= market.clock.now_ns() - 2 * SECOND

    run(story())


def test_candles_of_a_line_that_has_fallen_silent_are_not_made_up() -> None:
    async def story() -> None:
        market = Market()
        async with market.running():
            await market.clock.sleep(10.35)
            market.tape.is_dark = True
            await market.clock.sleep(20)
            market.tape.lines[-1].lose()
            market.tape.is_dark = False
            await market.clock.sleep(30)
            market.check_candles()

    run(story())


@pytest.mark.parametrize("at", [0.4, 0.9, 0.999, 1.0, 1.001, 1.249, 1.25, 1.251, 1.6])
@pytest.mark.parametrize("ahead_seconds", [-1.5, -0.3, 0.3, 1.5])
def test_clock_that_is_set_while_candles_close_closes_each_of_them_once(at: float, ahead_seconds: float) -> None:
    """The venue's answer moves the wall clock of everything that trades, at every moment around a candle's end."""

    async def story() -> None:
        market = Market()
        async with market.running():
            await market.clock.sleep(10)
            for number in range(6):
                await market.clock.sleep(at)
                ahead_ns = int(ahead_seconds * 1e9) if number % 2 == 0 else 0
                market.venue_clock.set(market.clock.now_ns() + ahead_ns, at_monotonic_ns=market.clock.monotonic_ns())
            await market.clock.sleep(5)
            candles = market.strategy.of(BTC)
            assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(candles))
            assert len(candles) >= 14
            if ahead_seconds <= 0.3:  # a clock that runs ahead by more than the grace closes spans too early, by design
                market.check_candles()
            market.check_numbers()

    run(story())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("wait_seconds", [0.0, 0.03, 0.06, 1.3])
def test_market_that_is_run_again_with_other_symbols_shows_each_candle_once_and_no_old_message(
    turns: int, wait_seconds: float
) -> None:
    """As the intake does it, with trades in every turn, and while candles are being fetched."""

    async def story() -> None:
        market = Market()
        talk = [asyncio.create_task(market.tape.trade_on(symbol, seconds=0.01)) for symbol in (BTC, ETH)]
        first = asyncio.create_task(market.driver.run(market.configuration((BTC,)), (BTC,)))
        await market.clock.sleep(wait_seconds)
        for _ in range(turns):
            market.tape.print(count=150)
            await asyncio.sleep(0)
        first.cancel()
        market.tape.print(count=150)
        await asyncio.wait({first})
        shown = len(market.strategy.candles)
        heard = len(market.follower.trades)
        old_lines = [line for line in market.tape.lines if line.is_up]
        assert old_lines == []
        second = asyncio.create_task(market.driver.run(market.configuration((ETH,)), (ETH, BTC)))
        await market.clock.sleep(6)
        assert {candle.symbol for candle in market.strategy.candles[shown:]} == {ETH}, "BTC is held, and not traded"
        assert {trade.symbol for trade in market.follower.trades[heard:]} == {BTC, ETH}, "an exit needs a price"
        for symbol in (BTC, ETH):
            market.check_numbers(symbol)
        candles = market.strategy.candles[shown:]
        assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(candles))
        assert market.driver.lost == set()
        assert not second.done()
        for task in (*talk, second):
            task.cancel()
        await asyncio.gather(*talk, second, return_exceptions=True)

    run(story())


@pytest.mark.parametrize("at", [0.05, 0.5, 0.95, 1.0, 1.2])
@pytest.mark.parametrize("burst", [150, 400])
def test_candle_in_which_frames_overflowed_is_the_venues_own_and_not_made_of_the_rest(at: float, burst: int) -> None:
    """The line stands and the candles go on; those of the loss are asked for while new trades come."""

    async def story() -> None:
        market = Market(max_waiting=20)
        async with market.running():
            await market.clock.sleep(5)
            for _ in range(3):
                await market.clock.sleep(at)
                market.tape.print(count=burst)
                await market.clock.sleep(2)
            await market.clock.sleep(3)
            counters = market.port.counters
            assert counters.dropped == counters.missing
            lost = 3 * (burst - PER_TURN - 20)
            assert 0 <= counters.dropped - lost <= 3, "a trade of the tape's own may fall into a burst"
            assert len(market.tape.lines) == 1
            market.check_numbers()
            market.check_candles()

    run(story())


@pytest.mark.parametrize("delay_seconds", [0.0, 0.02, 0.04, 0.05, 0.06, 0.3, 1.0])
def test_line_that_dies_while_candles_are_fetched_leaves_no_hole(delay_seconds: float) -> None:
    """The answer of the fetch meets a chart that has lost its stream again, or just found it."""

    async def story() -> None:
        market = Market()
        async with market.running():
            await market.clock.sleep(4)
            for _ in range(4):
                fetches = market.port.fetches
                market.tape.lines[-1].lose()
                lines = len(market.tape.lines)
                while len(market.tape.lines) == lines or market.port.fetches == fetches:
                    await market.clock.sleep(0.01)
                await market.clock.sleep(delay_seconds)
                market.tape.lines[-1].lose()
                await market.clock.sleep(0.2)
            await market.clock.sleep(60)
            market.check_candles()
            market.check_numbers()
            assert market.strategy.of(BTC)[-1].close_time_ns >= market.clock.now_ns() - 2 * SECOND

    run(story())

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal

import pytest

from tradingbot_trader.market.events import Book, FeedChange, FeedGap, FeedState, Level, Trade
from tradingbot_trader.market.feed import Feed, FeedSettings, StreamLost, Tap

BTC, ETH = "BTC/USDT", "ETH/USDT"
START_NS = 1_723_161_255_000_000_000
Script = Callable[[Tap], Awaitable[None]]


class ManualClock:
    """Time that moves when a test says so; whoever sleeps wakes in order."""

    def __init__(self) -> None:
        self.elapsed_ns = 0
        self.slept_seconds: list[float] = []
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now_ns(self) -> int:
        return START_NS + self.elapsed_ns

    def monotonic_ns(self) -> int:
        return self.elapsed_ns

    async def sleep(self, seconds: float) -> None:
        self.slept_seconds.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.elapsed_ns + int(seconds * 10**9), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        until_ns = self.elapsed_ns + int(seconds * 10**9)
        await settle()
        while due := sorted((each for each in self._sleepers if each[0] <= until_ns), key=lambda each: each[0]):
            self._sleepers.remove(due[0])
            self.elapsed_ns = max(self.elapsed_ns, due[0][0])
            if not due[0][1].done():
                due[0][1].set_result(None)
            await settle()
        self.elapsed_ns = until_ns


async def settle() -> None:
    """Every callback that is ready, and those that they make ready, have run."""
    for _ in range(50):
        await asyncio.sleep(0)


class Sink:
    def __init__(self) -> None:
        self.seen: list[Trade | Book | FeedChange | FeedGap] = []
        self.fails_at: str | None = None

    def on_trade(self, trade: Trade) -> None:
        if trade.trade_id == self.fails_at:
            raise OSError("disk full")
        self.seen.append(trade)

    def on_book(self, book: Book) -> None:
        self.seen.append(book)

    def on_feed(self, change: FeedChange) -> None:
        self.seen.append(change)

    def on_gap(self, gap: FeedGap) -> None:
        self.seen.append(gap)

    @property
    def changes(self) -> list[tuple[str, FeedState, str]]:
        return [(each.symbol, each.state, each.reason) for each in self.seen if isinstance(each, FeedChange)]

    @property
    def ids(self) -> list[str]:
        return [each.trade_id for each in self.seen if isinstance(each, Trade)]


class Venue:
    """Answers each attempt to connect with the next script, and the last one for ever."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.taps: list[Tap] = []
        self.ended = 0

    async def connect(self, symbols: Sequence[str], tap: Tap) -> None:  # noqa: ARG002  as the feed calls it
        script = self._scripts[min(len(self.taps), len(self._scripts) - 1)]
        self.taps.append(tap)
        try:
            await script(tap)
        finally:
            self.ended += 1


def trade(number: int, symbol: str = BTC) -> Trade:
    return Trade(symbol, str(number), Decimal(100), Decimal(1), START_NS + number)


def book(symbol: str = BTC) -> Book:
    return Book(symbol, START_NS + 5, (Level(Decimal(99), Decimal(1)),), (Level(Decimal(101), Decimal(1)),))


def says(*messages: Trade | Book) -> Script:
    """Gives these, and then stays."""

    async def script(tap: Tap) -> None:
        for message in messages:
            tap.trade(message) if isinstance(message, Trade) else tap.book(message)
        await asyncio.get_running_loop().create_future()

    return script


def then_loses(*messages: Trade | Book, reason: str = "reset", retry_after_seconds: float = 0.0) -> Script:
    async def script(tap: Tap) -> None:
        for message in messages:
            tap.trade(message) if isinstance(message, Trade) else tap.book(message)
        raise StreamLost(reason, retry_after_seconds=retry_after_seconds)

    return script


def build(venue: Venue, clock: ManualClock, *, random: float = 1.0, settings: FeedSettings | None = None) -> Feed:
    return Feed(venue.connect, clock=clock, random=lambda: random, settings=settings)


@contextlib.asynccontextmanager
async def running(feed: Feed, sink: Sink, symbols: Sequence[str] = (BTC,)) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(feed.run(symbols, sink))
    await settle()
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_each_message_reaches_the_sink_in_the_iteration_in_which_it_was_given(clock: ManualClock) -> None:
    sink, seen_at_once = Sink(), []

    async def script(tap: Tap) -> None:
        for number in (1, 2, 3):
            tap.trade(trade(number))
            seen_at_once.append(list(sink.ids))
        await asyncio.get_running_loop().create_future()

    async with running(build(Venue(script), clock), sink):
        assert seen_at_once == [["1"], ["1", "2"], ["1", "2", "3"]]


async def test_symbol_is_connected_with_its_first_message_and_by_that_messages_time(clock: ManualClock) -> None:
    sink, feed = Sink(), build(Venue(says(trade(1), trade(2), book(ETH))), clock)
    async with running(feed, sink, (BTC, ETH)):
        assert sink.seen == [
            FeedChange(BTC, FeedState.CONNECTED, START_NS + 1),
            trade(1),
            trade(2),
            FeedChange(ETH, FeedState.CONNECTED, START_NS + 5),
            book(ETH),
        ]
        assert feed.counters.connections == 1


async def test_gap_is_told_before_the_trade_that_shows_it(clock: ManualClock) -> None:
    sink, feed = Sink(), build(Venue(says(trade(1), trade(4))), clock)
    async with running(feed, sink):
        assert sink.seen[2:] == [FeedGap(BTC, "2", 2, START_NS + 4), trade(4)]
        assert feed.counters.missing == 2


async def test_trades_missed_between_two_connections_are_a_gap(clock: ManualClock) -> None:
    venue = Venue(then_loses(trade(1)), says(trade(2), trade(5)), says(trade(9)))
    sink, feed = Sink(), build(venue, clock)
    async with running(feed, sink):
        await clock.advance(1)
        assert sink.ids == ["1", "2", "5"]
        assert [each.missing for each in sink.seen if isinstance(each, FeedGap)] == [2]
    async with running(feed, sink):
        assert feed.counters.missing == 2 + 3, "a feed that is run again goes on where it was"


async def test_numbers_that_start_over_on_a_new_connection_are_followed(clock: ManualClock) -> None:
    sink, feed = Sink(), build(Venue(then_loses(trade(1_000)), says(trade(5), trade(7))), clock)
    async with running(feed, sink):
        await clock.advance(1)
        assert [each for each in sink.seen if isinstance(each, FeedGap)] == [FeedGap(BTC, "6", 1, START_NS + 7)]


async def test_loss_and_return_are_told_once_each_however_many_attempts_it_takes(clock: ManualClock) -> None:
    venue = Venue(then_loses(trade(1), reason="reset by peer"), then_loses(), then_loses(), says(trade(2)))
    sink = Sink()
    async with running(build(venue, clock), sink):
        await clock.advance(20)
        assert sink.changes == [
            (BTC, FeedState.CONNECTED, ""),
            (BTC, FeedState.LOST, "reset by peer"),
            (BTC, FeedState.CONNECTED, ""),
        ]
        assert len(venue.taps) == 4


async def test_venue_that_was_never_reached_is_told_as_lost_with_the_reason(clock: ManualClock) -> None:
    sink = Sink()
    async with running(build(Venue(then_loses(reason="refused")), clock), sink, (BTC, ETH)):
        assert sink.changes == [(BTC, FeedState.LOST, "refused"), (ETH, FeedState.LOST, "refused")]


async def waits(venue: Venue, clock: ManualClock, *, random: float) -> list[float]:
    """How long it waited before each further attempt. The watchdog's own sleeps are of another length."""
    settings = FeedSettings(silence_seconds=1_000)
    async with running(build(venue, clock, random=random, settings=settings), Sink()):
        await clock.advance(200)
    return [seconds for seconds in clock.slept_seconds if seconds != 250]


async def test_waits_double_up_to_the_longest(clock: ManualClock) -> None:
    assert (await waits(Venue(then_loses()), clock, random=1.0))[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_chance_shortens_a_wait_by_half_at_most(clock: ManualClock) -> None:
    assert (await waits(Venue(then_loses()), clock, random=0.0))[:3] == [0.25, 0.5, 1]


async def test_connection_that_lived_long_lets_the_waits_begin_again(clock: ManualClock) -> None:
    async def lives(tap: Tap) -> None:
        tap.trade(trade(1))
        await clock.sleep(31)
        raise StreamLost("reset")

    venue = Venue(then_loses(), then_loses(), lives, then_loses())
    assert (await waits(venue, clock, random=1.0))[:6] == [0.5, 1, 31, 0.5, 1, 2]


async def test_connection_that_comes_up_for_a_moment_again_and_again_is_tried_less_and_less(
    clock: ManualClock,
) -> None:
    assert (await waits(Venue(then_loses(trade(1))), clock, random=1.0))[:4] == [0.5, 1, 2, 4]


async def test_venue_that_asks_for_patience_gets_it(clock: ManualClock) -> None:
    venue = Venue(then_loses(retry_after_seconds=77), says(trade(1)))
    async with running(build(venue, clock), Sink()):
        await clock.advance(76)
        assert len(venue.taps) == 1
        await clock.advance(1)
        assert len(venue.taps) == 2


async def test_silence_loses_the_stream_and_builds_it_again(clock: ManualClock) -> None:
    venue, sink = Venue(says(trade(1)), says(trade(2))), Sink()
    async with running(build(venue, clock), sink):
        await clock.advance(29)
        assert len(venue.taps) == 1
        await clock.advance(9)
        assert sink.changes[1] == (BTC, FeedState.LOST, "nothing was heard of BTC/USDT for 30 s")
        assert venue.ended == 1
        assert sink.ids == ["1", "2"]


async def test_one_silent_symbol_is_enough(clock: ManualClock) -> None:
    async def only_btc(tap: Tap) -> None:
        tap.trade(trade(1, ETH))
        for number in range(100):
            tap.trade(trade(number))
            await clock.sleep(1)

    sink = Sink()
    async with running(build(Venue(only_btc), clock), sink, (BTC, ETH)):
        await clock.advance(38)
        assert sink.changes[2] == (BTC, FeedState.LOST, "nothing was heard of ETH/USDT for 30 s")


async def test_connection_that_never_says_anything_is_silent(clock: ManualClock) -> None:
    venue = Venue(says())
    async with running(build(venue, clock), Sink()):
        await clock.advance(40)
        assert venue.ended == 1


async def test_messages_that_hold_nothing_for_the_sink_keep_the_stream(clock: ManualClock) -> None:
    async def script(tap: Tap) -> None:
        while True:
            tap.alive(BTC)
            await clock.sleep(10)

    venue = Venue(script)
    async with running(build(venue, clock), Sink()):
        await clock.advance(300)
        assert venue.ended == 0


async def test_sink_that_fails_ends_the_feed_with_its_error(clock: ManualClock) -> None:
    sink = Sink()
    sink.fails_at = "2"
    venue = Venue(says(trade(1), trade(2), trade(3)))
    feed = build(venue, clock)
    async with running(feed, sink) as task:
        with pytest.raises(OSError, match="disk full"):
            await task
    assert sink.ids == ["1"]
    assert (feed.counters.received, feed.counters.delivered, feed.counters.dropped) == (2, 1, 1)
    assert venue.ended == 1


async def test_mistake_in_our_own_code_is_not_taken_for_a_lost_stream(clock: ManualClock) -> None:
    async def mistaken(_: Tap) -> None:
        raise OSError("not StreamLost")

    async with running(build(Venue(mistaken), clock), Sink()) as task:
        with pytest.raises(OSError, match="not StreamLost"):
            await task


async def test_connection_that_is_cancelled_by_somebody_else_is_lost(clock: ManualClock) -> None:
    async def dropped(_: Tap) -> None:
        raise asyncio.CancelledError

    venue = Venue(dropped, says(trade(1)))
    sink = Sink()
    async with running(build(venue, clock), sink):
        await clock.advance(1)
        assert sink.changes[0] == (BTC, FeedState.LOST, "the connection was dropped")
        assert sink.ids == ["1"]


async def test_connection_that_just_ends_is_lost(clock: ManualClock) -> None:
    async def ends(_: Tap) -> None:
        return

    sink = Sink()
    async with running(build(Venue(ends), clock), sink):
        assert sink.changes == [(BTC, FeedState.LOST, "the connection ended without a reason")]


async def test_stopped_feed_says_so_and_hangs_up(clock: ManualClock) -> None:
    venue, sink = Venue(says(trade(1))), Sink()
    async with running(build(venue, clock), sink) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sink.changes[-1] == (BTC, FeedState.LOST, "the feed was stopped")
    assert venue.ended == 1


async def test_feed_can_be_stopped_while_it_waits_to_try_again(clock: ManualClock) -> None:
    venue = Venue(then_loses())
    async with running(build(venue, clock), Sink()) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(venue.taps) == 1


async def test_what_a_connection_that_was_given_up_still_reads_is_declared_by_the_next_one(clock: ManualClock) -> None:
    venue, sink = Venue(then_loses(trade(1)), says(trade(3))), Sink()
    feed = build(venue, clock)
    async with running(feed, sink):
        venue.taps[0].trade(trade(2))
        venue.taps[0].book(book())
        assert sink.ids == ["1"]
        await clock.advance(1)
        assert sink.seen[-2:] == [FeedGap(BTC, "2", 1, START_NS + 3), trade(3)]
        assert (feed.counters.received, feed.counters.delivered, feed.counters.missing) == (2, 2, 1)


async def test_trade_of_a_symbol_that_nobody_asked_for_is_dropped_and_counted(clock: ManualClock) -> None:
    sink, feed = Sink(), build(Venue(says(trade(1, ETH), book(ETH), trade(1))), clock)
    async with running(feed, sink):
        assert (feed.counters.received, feed.counters.dropped, feed.counters.books) == (2, 1, 0)


async def test_frame_that_cannot_be_read_counts_as_a_dropped_trade(clock: ManualClock) -> None:
    async def script(tap: Tap) -> None:
        tap.unreadable(ValueError("no JSON"))
        await asyncio.get_running_loop().create_future()

    feed = build(Venue(script), clock)
    async with running(feed, Sink()):
        assert (feed.counters.received, feed.counters.delivered, feed.counters.dropped) == (1, 0, 1)


async def test_frames_that_come_too_fast_count_as_dropped_trades(clock: ManualClock) -> None:
    async def script(tap: Tap) -> None:
        tap.overflowed()
        tap.overflowed()
        await asyncio.get_running_loop().create_future()

    feed = build(Venue(script), clock)
    async with running(feed, Sink()):
        assert (feed.counters.received, feed.counters.delivered, feed.counters.dropped) == (2, 0, 2)


async def test_feed_of_other_symbols_starts_without_what_the_first_one_knew(clock: ManualClock) -> None:
    sink, feed = Sink(), build(Venue(says(trade(1)), says(trade(1, ETH))), clock)
    async with running(feed, sink):
        pass
    async with running(feed, sink, (ETH,)):
        assert sink.changes == [
            (BTC, FeedState.CONNECTED, ""),
            (BTC, FeedState.LOST, "the feed was stopped"),
            (ETH, FeedState.CONNECTED, ""),
        ]


async def test_flood_leaves_the_watchdog_and_the_stop_alive(clock: ManualClock) -> None:
    async def floods(tap: Tap) -> None:
        for number in range(20_000):
            tap.trade(trade(number))
            if number % 500 == 0:
                await asyncio.sleep(0)
        raise StreamLost("enough")

    sink, feed = Sink(), build(Venue(floods, says()), clock)
    async with running(feed, sink):
        await settle()
        assert feed.counters.delivered == feed.counters.received == 20_000
        assert feed.counters.dropped == 0
        assert len(sink.ids) == 20_000


async def test_simultaneous_loss_silence_and_stop_end_in_one_stop(clock: ManualClock) -> None:
    async def dies_at_30(tap: Tap) -> None:
        tap.alive(BTC)
        await clock.sleep(30)
        raise StreamLost("died")

    venue, sink = Venue(dies_at_30), Sink()
    async with running(build(venue, clock), sink) as task:
        await clock.advance(29)
        task.cancel()
        await clock.advance(5)
        assert task.cancelled()
    assert sink.changes == [(BTC, FeedState.LOST, "the feed was stopped")]
    assert (len(venue.taps), venue.ended) == (1, 1)

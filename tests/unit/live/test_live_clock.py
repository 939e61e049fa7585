"""The venue's clock as ours, and the day's P&L that depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trader import FakeMarket, Trader, build_spec
from support.virtual import START_NS, VirtualClock, run
from tradingbot_trader.book.ledger import DAY_NS, utc_day
from tradingbot_trader.book.pnl import PnlTrack
from tradingbot_trader.clock import SystemClock, VenueClock

SECOND_NS = 1_000_000_000
D = Decimal
NOON_NS = START_NS + DAY_NS // 2
NEXT_NS = START_NS + DAY_NS + 1


def play(test: Callable[[VirtualClock, VenueClock], Awaitable[None]]) -> None:
    async def go() -> None:
        clock = VirtualClock()
        await test(clock, VenueClock(clock))

    run(go())


def test_before_the_venue_has_spoken_it_is_this_machines_clock() -> None:
    async def test(clock: VirtualClock, venue: VenueClock) -> None:
        assert (venue.is_set, venue.ahead_ns, venue.now_ns()) == (False, 0, clock.now_ns())
        clock.skew_ns = 5 * SECOND_NS
        assert venue.now_ns() == clock.now_ns()

    play(test)


def test_after_that_it_goes_on_with_the_monotonic_clock_alone() -> None:
    async def test(clock: VirtualClock, venue: VenueClock) -> None:
        venue.set(START_NS + 7 * SECOND_NS, at_monotonic_ns=clock.monotonic_ns())
        assert (venue.is_set, venue.ahead_ns) == (True, 7 * SECOND_NS)
        clock.skew_ns = -3600 * SECOND_NS
        await venue.sleep(2)
        assert venue.now_ns() == START_NS + 9 * SECOND_NS
        assert venue.ahead_ns == 3607 * SECOND_NS
        assert venue.monotonic_ns() == clock.monotonic_ns() == 2 * SECOND_NS

    play(test)


def test_answer_counts_for_the_moment_that_it_was_about() -> None:
    async def test(clock: VirtualClock, venue: VenueClock) -> None:
        await clock.sleep(10)
        venue.set(START_NS, at_monotonic_ns=4 * SECOND_NS)
        assert venue.now_ns() == START_NS + 6 * SECOND_NS

    play(test)


def test_newer_answer_replaces_the_older_one_backwards_too() -> None:
    async def test(_clock: VirtualClock, venue: VenueClock) -> None:
        venue.set(START_NS + SECOND_NS, at_monotonic_ns=0)
        venue.set(START_NS, at_monotonic_ns=0)
        assert venue.now_ns() == START_NS

    play(test)


def test_system_clock_tells_both_times_and_sleeps() -> None:
    clock = SystemClock()
    before, before_ns = clock.monotonic_ns(), clock.now_ns()
    asyncio.run(clock.sleep(0))
    assert clock.monotonic_ns() >= before
    assert before_ns > START_NS // 2


# ---- The day ---------------------------------------------------------------------------------------------------------


def test_first_look_opens_the_day() -> None:
    track = PnlTrack().observe(D(3), NOON_NS)
    assert (track.day, track.day_opening_quote, track.total_quote, track.day_quote) == (
        utc_day(NOON_NS),
        D(0),
        D(3),
        D(3),
    )


def test_new_day_opens_at_what_was_last_seen() -> None:
    track = PnlTrack().observe(D(3), NOON_NS).observe(D(1), NEXT_NS)
    assert (track.day, track.day_opening_quote, track.day_quote) == (utc_day(NEXT_NS), D(3), D(-2))


def test_clock_that_is_not_believed_opens_no_day_and_loses_nothing() -> None:
    track = PnlTrack().observe(D(-4), NOON_NS).observe(D(-5), NEXT_NS, may_open_day=False)
    assert (track.day, track.day_quote, track.total_quote) == (utc_day(NOON_NS), D(-5), D(-5))
    later = track.observe(D(-6), NEXT_NS)
    assert (later.day, later.day_opening_quote, later.day_quote) == (utc_day(NEXT_NS), D(-5), D(-1))


def test_clock_that_is_never_believed_never_opens_the_first_day() -> None:
    track = PnlTrack().observe(D(-4), NOON_NS, may_open_day=False)
    assert (track.day, track.day_quote) == (None, D(-4))


def test_clock_that_goes_back_opens_nothing() -> None:
    track = PnlTrack().observe(D(3), NEXT_NS).observe(D(1), NOON_NS)
    assert (track.day, track.day_opening_quote) == (utc_day(NEXT_NS), D(0))


@pytest.mark.parametrize("may_open_day", [True, False])
def test_peak_is_the_highest_ever_whatever_the_clock(*, may_open_day: bool) -> None:
    track = PnlTrack()
    for total in (D(-3), D(4), D(2)):
        track = track.observe(total, NOON_NS, may_open_day=may_open_day)
    assert (track.peak_quote, track.drawdown_quote) == (D(4), D(2))


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(0, 3 * 86_400), st.booleans()), max_size=30))
def test_counters_bring_the_track_back_and_days_never_go_back(looks: list[tuple[int, int, bool]]) -> None:
    track, days = PnlTrack(), [-1]
    for total, seconds, may_open_day in looks:
        before = track
        track = track.observe(D(total), START_NS + seconds * SECOND_NS, may_open_day=may_open_day)
        assert track.peak_quote >= max(before.peak_quote, D(total))
        if track.day != before.day:
            assert may_open_day
            assert track.day_opening_quote == before.total_quote
        days.append(-1 if track.day is None else track.day)
        assert PnlTrack.from_counters(track.to_counters()) == track
    assert days == sorted(days)


# ---- What tells the time ---------------------------------------------------------------------------------------------


class SlowMarket(FakeMarket):
    """The venue writes its time at once, and the answer takes long to come back."""

    async def server_time_ns(self) -> int:
        written_ns = self._clock.now_ns()
        await self._clock.sleep(8.0)
        return written_ns


def test_answer_that_took_long_is_no_clock(tmp_path: Path) -> None:
    async def test() -> None:
        trader = Trader(tmp_path, build_spec())
        trader.market = SlowMarket(trader.clock)
        async with trader.running() as session:
            await trader.clock.sleep(30)
            trading = session._trading
            assert trading is not None
            assert abs(trading._clock.ahead_ns) <= SECOND_NS

    run(test())


def test_slow_answer_still_corrects_a_clock_that_cannot_be_true_by_it(tmp_path: Path) -> None:
    """A machine a day ahead, and a venue that is slow all the time: without it no signed request would ever pass."""

    async def test() -> None:
        trader = Trader(tmp_path, build_spec())
        venue_clock = VirtualClock()
        trader.clock.skew_ns = DAY_NS
        trader.market = SlowMarket(venue_clock)
        async with trader.running() as session:
            await trader.clock.sleep(30)
            trading = session._trading
            assert trading is not None
            assert abs(trading._clock.now_ns() - venue_clock.now_ns()) <= 4 * SECOND_NS

    run(test())

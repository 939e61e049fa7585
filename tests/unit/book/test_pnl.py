"""Peak and day of the P&L: what no fill tells, and no restart may forget."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import DAY_NS, NOW_NS

from tradingbot_trader.book.pnl import PnlTrack

LOOKS = st.lists(st.tuples(st.decimals(-100, 100, places=4), st.integers(0, 5)), max_size=12)


@given(LOOKS)
def test_peak_is_the_highest_ever_and_survives_a_restart_at_any_look(looks: list[tuple[Decimal, int]]) -> None:
    through, restarted = PnlTrack(), PnlTrack()
    for total, day in looks:
        through = through.observe(total, NOW_NS + day * DAY_NS)
        restarted = PnlTrack.from_counters(restarted.to_counters()).observe(total, NOW_NS + day * DAY_NS)
    assert restarted == through
    assert through.peak_quote == max([total for total, _ in looks] + [Decimal(0)])
    assert through.drawdown_quote >= 0


def test_day_opens_at_what_was_last_seen_the_day_before() -> None:
    track = PnlTrack().observe(Decimal(10), NOW_NS).observe(Decimal(7), NOW_NS + DAY_NS)
    assert (track.day_quote, track.day_opening_quote) == (-3, 10)


def test_loss_over_a_stop_of_several_days_counts_for_the_day_of_return() -> None:
    stored = PnlTrack().observe(Decimal(10), NOW_NS).to_counters()
    assert PnlTrack.from_counters(stored).observe(Decimal(1), NOW_NS + 5 * DAY_NS).day_quote == -9


def test_clock_that_goes_back_opens_no_day() -> None:
    track = PnlTrack().observe(Decimal(0), NOW_NS).observe(Decimal(-5), NOW_NS)
    assert track.observe(Decimal(-6), NOW_NS - DAY_NS).day_quote == -6
    assert track.observe(Decimal(-6), NOW_NS - DAY_NS).observe(Decimal(-6), NOW_NS).day_quote == -6


def test_first_loss_counts_from_zero() -> None:
    assert PnlTrack().observe(Decimal(-2), NOW_NS).day_quote == -2


def test_nothing_stored_is_a_new_track() -> None:
    assert PnlTrack.from_counters({}) == PnlTrack()
    assert PnlTrack.from_counters(PnlTrack().to_counters()) == PnlTrack()

"""Losses that stop the bot or close a position: at which value, and which of them latch."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.unit.orders.builders import BTC, DAY_NS, NOW_NS, fill, limits

from tradingbot_trader.book.ledger import Ledger, Position
from tradingbot_trader.book.pnl import PnlTrack
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.risk.trips import TripReason, check_bot, check_positions


def track(*totals: str) -> PnlTrack:
    """The P&L as it was seen at these values, all of one day."""
    state = PnlTrack()
    for total in totals:
        state = state.observe(Decimal(total), NOW_NS)
    return state


@pytest.mark.parametrize(("total", "expected"), [("-4.99", []), ("-5", [TripReason.DAILY_LOSS])])
def test_daily_loss_trips_at_its_percentage_of_the_granted_limit(total: str, expected: list[TripReason]) -> None:
    trips = check_bot(track(total), limits(maxDailyLossPercent="5"))
    assert [trip.reason for trip in trips] == expected
    assert all(trip.is_latching for trip in trips)


def test_daily_loss_counts_from_midnight_and_not_from_the_peak() -> None:
    bounds = limits(maxDailyLossPercent="5", maxDrawdownPercent="50")
    assert check_bot(track("8", "-4"), bounds) == []
    new_day = track("-4").observe(Decimal(-8), NOW_NS + DAY_NS)
    assert check_bot(new_day, bounds) == []
    assert check_bot(new_day.observe(Decimal(-9), NOW_NS + DAY_NS), bounds) != []


def test_drawdown_counts_from_the_peak() -> None:
    bounds = limits(maxDailyLossPercent="50", maxDrawdownPercent="10")
    assert check_bot(track("8", "-1.99"), bounds) == []
    (trip,) = check_bot(track("8", "-2"), bounds)
    assert (trip.reason, trip.observed, trip.limit, trip.is_latching) == (TripReason.DRAWDOWN, 10, 10, True)


def test_drawdown_is_judged_on_the_limit_in_force() -> None:
    assert check_bot(track("8", "3"), limits(granted="100", maxDailyLossPercent="50")) == []
    assert check_bot(track("8", "3"), limits(granted="50", maxDailyLossPercent="50")) != []


def test_without_a_granted_limit_there_is_no_percentage_of_it() -> None:
    assert check_bot(track("-50"), limits(granted="0")) == []


@pytest.mark.parametrize(("price", "expected"), [("98.01", []), ("98", [TripReason.STOP_LOSS])])
def test_stop_loss_trips_below_the_average_price(price: str, expected: list[TripReason]) -> None:
    ledger = Ledger.rebuild(BookName.PAPER, [fill()])
    trips = check_positions(ledger.positions, {BTC: Decimal(price)}, limits(stopLossPercent="2"))
    assert [trip.reason for trip in trips] == expected
    assert [(trip.symbol, trip.is_latching) for trip in trips] == [(BTC, False)] * len(expected)


def test_trade_loss_trips_on_the_granted_limit() -> None:
    ledger = Ledger.rebuild(BookName.PAPER, [fill(quantity_base=Decimal("0.8"))])
    bounds = limits(stopLossPercent="50", maxTradeLossPercent="5")
    assert check_positions(ledger.positions, {BTC: Decimal("93.76")}, bounds) == []
    (trip,) = check_positions(ledger.positions, {BTC: Decimal("93.75")}, bounds)
    assert (trip.reason, trip.observed, trip.limit) == (TripReason.TRADE_LOSS, 5, 5)


def test_position_without_a_price_or_without_a_quantity_trips_nothing() -> None:
    assert check_positions({BTC: Position(BTC, Decimal(1), Decimal(100))}, {}, limits()) == []
    assert check_positions({BTC: Position(BTC)}, {BTC: Decimal(1)}, limits()) == []

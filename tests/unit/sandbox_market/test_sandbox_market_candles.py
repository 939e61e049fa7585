"""Candles from trades, intervals, and the chart that joins them with the walk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradingbot_sandbox.market.candles import CandleSeries, flat_candle, merge_candles
from tradingbot_sandbox.market.chart import Chart
from tradingbot_sandbox.market.events import NS_PER_MS, Trade
from tradingbot_sandbox.market.history import History
from tradingbot_sandbox.market.instruments import INSTRUMENTS
from tradingbot_sandbox.market.intervals import DAY_NS, MINUTE_NS, SECOND_NS
from tradingbot_sandbox.venues.binance.intervals import INTERVALS

BTC = INSTRUMENTS["BTC/USDT"]
START_NS = 1_760_000_000 * SECOND_NS


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


def chart(first_price: str = "100") -> Chart:
    price = Decimal(first_price)
    return Chart(History(BTC, seed=1, end_ns=START_NS, last_price=price), price)


@pytest.mark.parametrize(
    ("interval", "time", "opens", "closes"),
    [
        ("1s", "2025-10-09T08:53:20", "2025-10-09T08:53:20", "2025-10-09T08:53:21"),
        ("3m", "2025-10-09T08:53:20", "2025-10-09T08:51:00", "2025-10-09T08:54:00"),
        ("4h", "2025-10-09T08:53:20", "2025-10-09T08:00:00", "2025-10-09T12:00:00"),
        ("1w", "2025-10-09T08:53:20", "2025-10-06T00:00:00", "2025-10-13T00:00:00"),
        ("1M", "2025-10-09T08:53:20", "2025-10-01T00:00:00", "2025-11-01T00:00:00"),
        ("1M", "2024-12-31T23:59:59", "2024-12-01T00:00:00", "2025-01-01T00:00:00"),
    ],
)
def test_interval_starts_and_ends_where_the_calendar_says(interval: str, time: str, opens: str, closes: str) -> None:
    open_ns = INTERVALS[interval].floor(at(time))
    assert open_ns == at(opens)
    assert INTERVALS[interval].next(open_ns) == at(closes)
    assert INTERVALS[interval].next(INTERVALS[interval].previous(open_ns)) == open_ns


@given(st.lists(st.tuples(st.integers(0, 180_000), st.integers(1, 900), st.integers(1, 50), st.booleans()), min_size=1))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_minutes_agree_with_the_seconds_in_them(raw: list[tuple[int, int, int, bool]]) -> None:
    series = CandleSeries()
    minute_ns = START_NS // MINUTE_NS * MINUTE_NS
    rows = sorted(raw, key=lambda row: row[0])
    trades = [
        Trade(
            "BTC/USDT",
            n,
            Decimal(price),
            Decimal(size) / 100,
            minute_ns + ms * NS_PER_MS,
            minute_ns + ms * NS_PER_MS,
            sold,
        )
        for n, (ms, price, size, sold) in enumerate(rows)
    ]
    for trade in trades:
        series.add(trade)
    for open_ns in range(minute_ns, minute_ns + 4 * MINUTE_NS, MINUTE_NS):
        seconds = [series.between(s, s + SECOND_NS) for s in range(open_ns, open_ns + MINUTE_NS, SECOND_NS)]
        inside = [t for t in trades if open_ns <= t.time_ns < open_ns + MINUTE_NS]
        minute = series.between(open_ns, open_ns + MINUTE_NS)
        assert minute == merge_candles(open_ns, [s for s in seconds if s is not None])
        if not inside:
            assert minute is None
            continue
        assert minute is not None
        prices = [t.price for t in inside]
        assert (minute.open, minute.high, minute.low, minute.close) == (prices[0], max(prices), min(prices), prices[-1])
        assert minute.volume_base == sum(t.quantity for t in inside)
        assert minute.volume_quote == sum(t.price * t.quantity for t in inside)
        assert minute.taker_buy_base == sum(t.quantity for t in inside if not t.buyer_is_maker)
        assert (minute.trades, minute.first_trade_id, minute.last_trade_id) == (
            len(inside),
            inside[0].trade_id,
            inside[-1].trade_id,
        )


def test_seconds_are_dropped_after_a_while_and_minutes_stay(make_trade: Callable[..., Trade]) -> None:
    series = CandleSeries(keep_seconds=100)
    for second in range(240):
        series.add(make_trade(second, at_ns=START_NS + second * SECOND_NS))
    assert series.seconds_from_ns > START_NS
    assert series.between(series.seconds_from_ns, series.seconds_from_ns + SECOND_NS) is not None
    minute_ns = (START_NS // MINUTE_NS + 1) * MINUTE_NS
    minute = series.between(minute_ns, minute_ns + MINUTE_NS)
    assert minute is not None
    assert minute.trades == 60


def test_candle_without_a_trade_is_flat_at_the_last_price(make_trade: Callable[..., Trade]) -> None:
    board = chart("100")
    board.add(make_trade(price="107", at_ns=START_NS + 2 * SECOND_NS))
    rows = board.candles(INTERVALS["1s"], first_open_ns=START_NS, last_open_ns=START_NS + 4 * SECOND_NS)
    assert [str(c.close) for c in rows.candles] == ["100", "100", "107", "107", "107"]
    assert [c.trades for c in rows.candles] == [0, 0, 1, 0, 0]
    assert rows.candles[3] == flat_candle(START_NS + 3 * SECOND_NS, Decimal(107))
    assert rows.from_walk == 0


def test_walk_ends_at_the_first_price_and_its_rows_are_counted(make_trade: Callable[..., Trade]) -> None:
    board = chart("61837.63")
    board.add(make_trade(price="61840", at_ns=START_NS))
    rows = board.candles(INTERVALS["1s"], first_open_ns=START_NS - 3 * SECOND_NS, last_open_ns=START_NS)
    assert rows.candles[2].close == Decimal("61837.63")
    assert rows.candles[3].open == Decimal(61840)
    assert rows.from_walk == 3


def test_candle_over_the_seam_has_the_walk_and_the_trades(make_trade: Callable[..., Trade]) -> None:
    board = chart("100")
    board.add(make_trade(price="250", quantity="3", at_ns=START_NS + SECOND_NS))
    minute_ns = START_NS // MINUTE_NS * MINUTE_NS
    seconds = board.candles(
        INTERVALS["1s"], first_open_ns=minute_ns, last_open_ns=minute_ns + MINUTE_NS - SECOND_NS
    ).candles
    minute = board.candle(INTERVALS["1m"], minute_ns)
    assert minute.high == Decimal(250)
    assert minute.close == Decimal(250)
    assert minute.open == seconds[0].open
    assert minute.low == min(c.low for c in seconds)
    assert minute.volume_base == sum(c.volume_base for c in seconds)
    assert minute.trades == sum(c.trades for c in seconds)


def test_nothing_is_told_of_the_time_before_listing() -> None:
    board = chart()
    day_ns = START_NS // DAY_NS * DAY_NS
    rows = board.candles(INTERVALS["1d"], first_open_ns=day_ns - 4000 * DAY_NS, last_open_ns=day_ns)
    assert len(rows.candles) == 1500

"""The seeded walk that stands for the past."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradingbot_sandbox.market.candles import Candle
from tradingbot_sandbox.market.history import HISTORY_DAYS, History
from tradingbot_sandbox.market.instruments import INSTRUMENTS
from tradingbot_sandbox.market.intervals import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

END_NS = 1_760_000_007 * SECOND_NS
SEEDS = st.integers(0, 10_000)
SYMBOLS = st.sampled_from(sorted(INSTRUMENTS))


def history(symbol: str = "BTC/USDT", *, seed: int = 1, price: str | None = None, end_ns: int = END_NS) -> History:
    instrument = INSTRUMENTS[symbol]
    return History(instrument, seed=seed, end_ns=end_ns, last_price=Decimal(price) if price else instrument.first_price)


def candle(walk: History, start_ns: int, end_ns: int) -> Candle:
    found = walk.between(start_ns, end_ns)
    assert found is not None
    return found


@given(SEEDS, SYMBOLS, st.integers(0, 3 * 86_400))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_walk_ends_exactly_at_the_given_price(seed: int, symbol: str, shift: int) -> None:
    walk = history(symbol, seed=seed, end_ns=END_NS + shift * SECOND_NS)
    last = candle(walk, END_NS + (shift - 1) * SECOND_NS, END_NS + shift * SECOND_NS)
    assert last.close == INSTRUMENTS[symbol].first_price


@given(
    SEEDS,
    SYMBOLS,
    st.sampled_from([(DAY_NS, HOUR_NS), (HOUR_NS, MINUTE_NS), (MINUTE_NS, SECOND_NS)]),
    st.integers(1, 400),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_candle_is_the_sum_of_its_parts(seed: int, symbol: str, lengths: tuple[int, int], back: int) -> None:
    walk, (whole_ns, part_ns) = history(symbol, seed=seed), lengths
    open_ns = (END_NS // whole_ns - back) * whole_ns
    whole = candle(walk, open_ns, open_ns + whole_ns)
    parts = [candle(walk, p, p + part_ns) for p in range(open_ns, open_ns + whole_ns, part_ns)]
    assert (whole.open, whole.close) == (parts[0].open, parts[-1].close)
    assert (whole.high, whole.low) == (max(p.high for p in parts), min(p.low for p in parts))
    assert whole.volume_base == sum(p.volume_base for p in parts)
    assert whole.taker_buy_base == sum(p.taker_buy_base for p in parts)
    assert whole.trades == sum(p.trades for p in parts)
    for before, after in itertools.pairwise(parts):
        assert before.close == after.open


@given(SEEDS, SYMBOLS, st.integers(1, 86_400))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_second_is_a_possible_candle(seed: int, symbol: str, back: int) -> None:
    instrument = INSTRUMENTS[symbol]
    second = candle(history(symbol, seed=seed), END_NS - back * SECOND_NS, END_NS - (back - 1) * SECOND_NS)
    assert 0 < second.low <= min(second.open, second.close) <= max(second.open, second.close) <= second.high
    assert second.high % instrument.tick == 0
    assert second.volume_base % instrument.step == 0
    assert second.trades >= 1
    assert 0 <= second.taker_buy_base <= second.volume_base


def test_same_seed_same_past_in_whatever_order_it_is_asked() -> None:
    one, other = history(seed=3), history(seed=3)
    spans = [
        (END_NS - back * MINUTE_NS - 7 * SECOND_NS, END_NS - (back - 1) * MINUTE_NS - 7 * SECOND_NS)
        for back in (1, 900, 4)
    ]
    assert [one.between(*span) for span in spans] == [other.between(*span) for span in reversed(spans)][::-1]
    assert history(seed=4).between(*spans[0]) != one.between(*spans[0])


def test_asking_for_much_does_not_change_what_was_told() -> None:
    walk = history()
    before = candle(walk, END_NS - 60 * SECOND_NS, END_NS)
    for back in range(1, 6000):  # more splits than are remembered
        walk.between(
            END_NS - END_NS % MINUTE_NS - back * MINUTE_NS, END_NS - END_NS % MINUTE_NS - back * MINUTE_NS + SECOND_NS
        )
    assert candle(walk, END_NS - 60 * SECOND_NS, END_NS) == before


def test_nothing_lies_outside_the_walk() -> None:
    walk = history()
    assert walk.between(END_NS, END_NS + SECOND_NS) is None
    assert walk.between(walk.start_ns - DAY_NS, walk.start_ns) is None
    assert walk.start_ns == ((END_NS - 1) // DAY_NS - HISTORY_DAYS + 1) * DAY_NS


def test_walk_moves_as_much_as_a_market_does() -> None:
    walk = history()
    closes = [candle(walk, d * DAY_NS, (d + 1) * DAY_NS).close for d in range(END_NS // DAY_NS - 300, END_NS // DAY_NS)]
    moves = [abs(after / before - 1) for before, after in itertools.pairwise(closes)]
    assert Decimal("0.005") < sum(moves) / len(moves) < Decimal("0.05")


def test_history_ends_at_a_whole_second() -> None:
    with pytest.raises(ValueError, match="whole second"):
        history(end_ns=END_NS + 1)

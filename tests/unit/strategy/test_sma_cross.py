from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.market.events import Candle
from tradingbot_trader.strategy.base import InvalidParameters, Target
from tradingbot_trader.strategy.sma_cross import SmaCross, SmaCrossParameters, SmaCrossState, rsi

STRATEGY = SmaCross()
NEVER = Fraction(1, 10**27)
"""The index has 30 digits, at most three of them before the point."""


def parameters(**raw: Any) -> SmaCrossParameters:
    return STRATEGY.parse_parameters({"fast": 2, "slow": 3, "rsiPeriod": 0} | raw)


def candle(index: int, close: Decimal | int | str) -> Candle:
    price = Decimal(close)
    return Candle("BTC/USDT", index * 10**9, 10**9, price, price, price, price, Decimal(1), 1)


@dataclass
class Run:
    state: SmaCrossState
    targets: list[tuple[int, Target]]


def play(closes: Sequence[Decimal | int | str], chosen: SmaCrossParameters) -> Run:
    run = Run(STRATEGY.initial_state(chosen), [])
    for index, close in enumerate(closes):
        run.state, target = STRATEGY.on_candle(chosen, run.state, candle(index, close))
        if target is not None:
            run.targets.append((index, target))
    return run


def wanted(closes: Sequence[Decimal | int | str], chosen: SmaCrossParameters) -> list[tuple[int, int]]:
    return [(index, int(target.allocation)) for index, target in play(closes, chosen).targets]


# The same from the definitions, over all closes each time, in exact fractions.


def reference_mean(closes: Sequence[Decimal], count: int) -> Fraction:
    return sum((Fraction(close) for close in closes[-count:]), Fraction(0)) / count


def reference_rsi(closes: Sequence[Decimal], period: int) -> Fraction | None:
    changes = [Fraction(later) - Fraction(earlier) for earlier, later in pairwise(closes)]
    if not period or len(changes) < period:
        return None
    gains = [max(change, Fraction(0)) for change in changes]
    losses = [max(-change, Fraction(0)) for change in changes]
    gain, loss = sum(gains[:period], Fraction(0)) / period, sum(losses[:period], Fraction(0)) / period
    for up, down in zip(gains[period:], losses[period:], strict=True):
        gain, loss = (gain * (period - 1) + up) / period, (loss * (period - 1) + down) / period
    return Fraction(50) if gain + loss == 0 else 100 * gain / (gain + loss)


def reference_targets(closes: Sequence[Decimal], chosen: SmaCrossParameters) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    above: bool | None = None
    for index in range(chosen.slow - 1, len(closes)):
        seen = closes[: index + 1]
        fast, slow = reference_mean(seen, chosen.fast), reference_mean(seen, chosen.slow)
        if fast == slow or (fast > slow) is above:
            continue
        first, above = above is None, fast > slow
        index_now = reference_rsi(seen, chosen.rsi_period)
        if not above:
            out.append((index, 0))
        elif not first and (
            not chosen.rsi_period or (index_now is not None and index_now < Fraction(chosen.rsi_overbought))
        ):
            out.append((index, 1))
    return out


prices = st.integers(1, 10**9).map(lambda units: Decimal(units).scaleb(-4))
walks = st.lists(st.one_of(prices, st.integers(95, 105).map(Decimal)), max_size=60)


@st.composite
def choices(draw: st.DrawFn) -> SmaCrossParameters:
    slow = draw(st.integers(2, 12))
    return parameters(
        fast=draw(st.integers(1, slow - 1)),
        slow=slow,
        rsiPeriod=draw(st.integers(0, 8)),
        rsiOverbought=draw(st.integers(1, 100)),
    )


@given(walks, choices())
def test_averages_equal_those_from_the_definition_to_the_last_digit(
    closes: list[Decimal], chosen: SmaCrossParameters
) -> None:
    state = play(closes, chosen).state
    assert Fraction(state.fast_sum) == sum(map(Fraction, closes[-chosen.fast :]), Fraction(0))
    assert Fraction(state.slow_sum) == sum(map(Fraction, closes[-chosen.slow :]), Fraction(0))


@given(walks, choices())
def test_index_equals_wilders_definition(closes: list[Decimal], chosen: SmaCrossParameters) -> None:
    index = rsi(chosen, play(closes, chosen).state)
    expected = reference_rsi(closes, chosen.rsi_period)
    if expected is None or index is None:
        assert index is None
        assert expected is None
    else:
        assert abs(Fraction(index) - expected) < NEVER


@given(walks, choices())
def test_targets_equal_those_from_the_definitions(closes: list[Decimal], chosen: SmaCrossParameters) -> None:
    assert wanted(closes, chosen) == reference_targets(closes, chosen)


@given(walks, choices(), st.integers(0, 60))
def test_state_carries_everything_that_the_past_means(
    closes: list[Decimal], chosen: SmaCrossParameters, cut: int
) -> None:
    whole = play(closes, chosen)
    state, targets = play(closes[:cut], chosen).state, []
    for index, close in enumerate(closes[cut:], start=min(cut, len(closes))):
        state, target = STRATEGY.on_candle(chosen, state, candle(index, close))
        targets += [(index, target)] if target else []
    assert state == whole.state
    assert targets == [each for each in whole.targets if each[0] >= cut]


@given(st.lists(prices, min_size=30, max_size=60), st.integers(1, 4))
def test_warm_up_is_enough_for_the_averages_and_nearly_for_the_index(closes: list[Decimal], period: int) -> None:
    chosen = parameters(fast=2, slow=5, rsiPeriod=period)
    warm = play(closes[-STRATEGY.warmup_candles(chosen) :], chosen).state
    whole = play(closes, chosen).state
    assert (warm.closes, warm.fast_sum, warm.slow_sum) == (whole.closes, whole.fast_sum, whole.slow_sum)
    assert warm.changes == chosen.rsi_period


def test_wilders_index_of_a_series_worked_by_hand() -> None:
    # Changes +2 -1 +3, then -2: gain 5/3 and loss 1/3, then (5/3 * 2 + 0) / 3 = 10/9 and (1/3 * 2 + 2) / 3 = 8/9.
    chosen = parameters(rsiPeriod=3)
    assert rsi(chosen, play([10, 12, 11, 14], chosen).state) == Decimal("83.3333333333333333333333333333")
    assert rsi(chosen, play([10, 12, 11, 14, 12], chosen).state) == Decimal("55.5555555555555555555555555556")


def test_entry_at_the_cross_upwards_and_exit_at_the_cross_downwards() -> None:
    assert wanted([9, 8, 7, 10, 10, 11, 8, 6], parameters()) == [(2, 0), (3, 1), (6, 0)]


def test_no_entry_when_the_fast_average_is_above_from_the_start() -> None:
    assert wanted([1, 2, 3, 4, 5], parameters()) == []


def test_nothing_is_to_be_held_when_the_fast_average_is_below_from_the_start() -> None:
    """Whatever was bought before the trader started should have been sold at a cross that it did not see."""
    assert wanted([3, 2, 1], parameters()) == [(2, 0)]


def test_equal_averages_change_nothing() -> None:
    assert wanted([9, 8, 7, 8, 8, 8, 8, 9], parameters()) == [(2, 0), (4, 1)]


def test_entry_is_refused_at_the_threshold_of_the_index_and_taken_just_below_it() -> None:
    closes = [10, 9, 8, 12]  # changes -1 -1 +4: gain 4/3, loss 2/3, index 66.66...
    refused = parameters(rsiPeriod=3, rsiOverbought="66")
    taken = parameters(rsiPeriod=3, rsiOverbought="67")
    assert wanted(closes, refused) == [(2, 0)]
    assert wanted(closes, taken) == [(2, 0), (3, 1)]


def test_index_of_exactly_the_threshold_refuses_although_its_averages_are_rounded() -> None:
    closes = [10, 9, 8, 11]  # changes -1 -1 +3: gain 1, loss 0.66..67
    assert rsi(parameters(rsiPeriod=3), play(closes, parameters(rsiPeriod=3)).state) == 60
    assert wanted(closes, parameters(rsiPeriod=3, rsiOverbought="60")) == [(2, 0)]
    assert wanted(closes, parameters(rsiPeriod=3, rsiOverbought="60.000000001")) == [(2, 0), (3, 1)]


def test_refused_entry_is_not_made_up_for_before_the_next_cross() -> None:
    refused = parameters(rsiPeriod=3, rsiOverbought="66")
    assert wanted([10, 9, 8, 12, 12, 12, 12], refused) == [(2, 0)]


def test_entry_is_refused_while_the_index_is_unknown() -> None:
    assert wanted([9, 8, 7, 10], parameters(rsiPeriod=10)) == [(2, 0)]


def test_index_of_a_market_that_does_not_move_is_neutral() -> None:
    chosen = parameters(rsiPeriod=2)
    assert rsi(chosen, play([5, 5, 5, 5], chosen).state) == 50


def test_entry_takes_by_default_and_rests_with_an_offset() -> None:
    closes = [9, 8, 7, 10]
    (_, (_, taking)) = play(closes, parameters()).targets
    (_, (_, resting)) = play(closes, parameters(entryOffsetPercent="0.25", entryExpiresAfterCandles=5)).targets
    assert (taking.limit_offset_percent, taking.expires_after_candles) == (None, None)
    assert (resting.limit_offset_percent, resting.expires_after_candles) == (Decimal("0.25"), 5)


def test_reason_says_what_was_seen() -> None:
    (_, (_, target)) = play([10, 9, 8, 12], parameters(rsiPeriod=3)).targets
    assert target.reason == "SMA 2 (10) is above SMA 3 (9.6666667), RSI 66.7"


def test_sums_stay_exact_where_floats_and_28_digits_would_not() -> None:
    closes = [Decimal("100000000000000.00000001"), Decimal("0.00000001"), Decimal("99999999999999999999.99999999")] * 50
    state = play(closes, parameters(fast=7, slow=9)).state
    assert Fraction(state.fast_sum) == sum(map(Fraction, closes[-7:]), Fraction(0))


def test_warm_up_covers_both_the_slow_average_and_the_memory_of_the_index() -> None:
    assert STRATEGY.warmup_candles(parameters(fast=10, slow=300, rsiPeriod=14)) == 301
    assert STRATEGY.warmup_candles(parameters(fast=10, slow=30, rsiPeriod=14)) == 141


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"fast": 3, "slow": 3}, "parameter fast .3. must be less than slow .3."),
        ({"fast": 0}, "parameter fast: .*greater than or equal to 1"),
        ({"slow": 1001}, "parameter slow: .*less than or equal to 1000"),
        ({"rsiOverbought": "101"}, "parameter rsiOverbought"),
        ({"entryOffsetPercent": "100"}, "parameter entryOffsetPercent"),
        ({"entryExpiresAfterCandles": 3}, "entryExpiresAfterCandles needs an entryOffsetPercent above 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameters, match=message):
        parameters(**raw)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.market.candles import MAX_FETCHED, MAX_FLAT_CANDLES, REMEMBERED_TRADES, CandleBuilder
from tradingbot_trader.market.events import Candle, Trade

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000
START_NS = 1_723_161_255 * SECOND_NS
BEFORE_NS = START_NS - 1
SYMBOL = "BTC/USDT"


def trade(number: int, at_ms: int, price: str = "100", quantity: str = "1") -> Trade:
    return Trade(SYMBOL, str(number), Decimal(price), Decimal(quantity), START_NS + at_ms * MS_NS)


def flat(index: int, price: str, timeframe_ns: int = SECOND_NS) -> Candle:
    value = Decimal(price)
    return Candle(SYMBOL, START_NS + index * timeframe_ns, timeframe_ns, value, value, value, value, Decimal(0))


def rest_candle(index: int, close: str) -> Candle:
    return replace(flat(index, close), volume_base=Decimal(7), trades=3)


def builder(*, timeframe_ns: int = SECOND_NS, grace_ns: int = 0, warm_up: Sequence[Candle] = ()) -> CandleBuilder:
    """Warmed up, and connected in time for the span that opens at START_NS."""
    made = CandleBuilder(SYMBOL, timeframe_ns, grace_ns=grace_ns)
    made.seed(warm_up)
    made.connected(BEFORE_NS)
    return made


def feed(made: CandleBuilder, trades: Iterable[Trade]) -> list[Candle]:
    return [candle for each in trades for candle in made.add(each)]


def brute_force(trades: Sequence[Trade], timeframe_ns: int) -> list[Candle]:
    """Every span from the first trade to the one before the last, by looking at all trades each time."""
    out: list[Candle] = []
    first = min(each.event_time_ns for each in trades) // timeframe_ns
    last = max(each.event_time_ns for each in trades) // timeframe_ns
    for number in range(first, last):
        inside = sorted(
            (each for each in trades if each.event_time_ns // timeframe_ns == number),
            key=lambda each: each.event_time_ns,
        )
        prices = [each.price for each in inside] or [out[-1].close]
        out.append(
            Candle(
                symbol=SYMBOL,
                open_time_ns=number * timeframe_ns,
                timeframe_ns=timeframe_ns,
                open=prices[0],
                high=max(prices),
                low=min(prices),
                close=prices[-1],
                volume_base=sum((each.quantity_base for each in inside), Decimal(0)),
                trades=len(inside),
            )
        )
    return out


prices = st.integers(1, 10_000_000).map(lambda cents: str(Decimal(cents) / 100))
quantities = st.integers(1, 10**10).map(lambda units: str(Decimal(units).scaleb(-8)))


@st.composite
def tapes(draw: st.DrawFn) -> list[Trade]:
    """Trades in the order of a venue's tape: numbers rise, times do not fall, some of them far apart."""
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 40, 250, 999, 1_000, 1_001, 4_500]), min_size=1, max_size=60))
    at_ms, out = 0, []
    for number, step in enumerate(steps):
        at_ms += step
        out.append(trade(number, at_ms, draw(prices), draw(quantities)))
    return out


@given(tapes(), st.sampled_from([SECOND_NS, 5 * SECOND_NS, 60 * SECOND_NS]))
def test_candles_equal_those_of_brute_force(tape: list[Trade], timeframe_ns: int) -> None:
    assert feed(builder(timeframe_ns=timeframe_ns), tape) == brute_force(tape, timeframe_ns)


@given(tapes(), st.data())
def test_disorder_within_a_span_changes_nothing_but_for_trades_of_the_same_instant(
    tape: list[Trade], data: st.DataObject
) -> None:
    tape = [replace(each, event_time_ns=each.event_time_ns + number) for number, each in enumerate(tape)]
    spans: dict[int, list[Trade]] = {}
    for each in tape:
        spans.setdefault(each.event_time_ns // SECOND_NS, []).append(each)
    shuffled = [each for inside in spans.values() for each in data.draw(st.permutations(inside))]
    assert feed(builder(), shuffled) == brute_force(tape, SECOND_NS)


@given(tapes(), st.lists(st.integers(0, 59)))
def test_doubled_trades_are_counted_and_change_nothing(tape: list[Trade], doubles: list[int]) -> None:
    doubled = list(tape)
    for index in doubles:
        doubled.insert(len(doubled) if index >= len(tape) else doubled.index(tape[index]) + 1, tape[index % len(tape)])
    made = builder()
    assert feed(made, doubled) == brute_force(tape, SECOND_NS)
    assert made.duplicates == len(doubles)
    assert made.late == 0


@given(tapes(), st.lists(st.integers(0, 60), max_size=5))
def test_venue_clock_closes_the_same_candles_wherever_it_is_told(tape: list[Trade], ticks: list[int]) -> None:
    made, out = builder(), []
    for number, each in enumerate(tape):
        if number in ticks:
            out.extend(made.close_until(each.event_time_ns))
        out.extend(made.add(each))
    assert out == brute_force(tape, SECOND_NS)
    assert made.late == 0


@given(tapes(), st.data())
def test_a_tape_cut_anywhere_joins_the_venues_own_candles_without_a_doubled_or_missing_span(
    tape: list[Trade], data: st.DataObject
) -> None:
    """The trader starts, or comes back, at any trade: what it did not see whole comes from REST."""
    expected = brute_force([trade(9_999, -2_000), *tape, trade(10_000, 60_000 * 5)], SECOND_NS)
    end_ns = expected[-1].close_time_ns

    def rest(now_ns: int, limit: int) -> list[Candle]:
        return [candle for candle in expected if candle.close_time_ns <= now_ns][-limit:]

    cut = data.draw(st.integers(0, len(tape) - 1))
    away = data.draw(st.integers(cut, len(tape) - 1))
    back = data.draw(st.integers(away, len(tape) - 1))
    made = CandleBuilder(SYMBOL, SECOND_NS, grace_ns=0)
    at_cut = tape[cut].event_time_ns
    out = list(made.seed(rest(at_cut, 1_000)))
    made.connected(at_cut)
    for number, each in enumerate(tape[cut:], start=cut):
        if number == away:
            made.lost()
        if number == back:
            made.connected(each.event_time_ns)
        if not away <= number < back:
            out.extend(made.add(each))
        wanted = made.missing(each.event_time_ns)
        if wanted:
            out.extend(made.seed(rest(each.event_time_ns, wanted)))
    out.extend(made.close_until(end_ns))
    wanted = made.missing(end_ns)
    if wanted:
        out.extend(made.seed(rest(end_ns, wanted)))

    assert out == expected
    assert made.missing(end_ns) == 0
    assert made.skipped == 0


def test_trade_of_a_later_span_closes_the_earlier_ones() -> None:
    made = builder()
    assert made.add(trade(1, 100, "10", "2")) == ()
    assert made.add(trade(2, 200, "12", "3")) == ()
    (closed,) = made.add(trade(3, 1_000, "11"))
    assert (closed.open, closed.high, closed.low, closed.close) == (Decimal(10), Decimal(12), Decimal(10), Decimal(12))
    assert (closed.volume_base, closed.trades, closed.open_time_ns) == (Decimal(5), 2, START_NS)


def test_late_trade_is_counted_and_reopens_nothing() -> None:
    made = builder()
    feed(made, [trade(1, 100), trade(3, 1_100)])
    assert made.add(trade(2, 900, "999")) == ()
    assert made.late == 1
    (closed,) = made.close_until(START_NS + 2 * SECOND_NS)
    assert closed.high == Decimal(100)


def test_trades_of_the_span_that_the_stream_came_up_in_are_not_late() -> None:
    made = CandleBuilder(SYMBOL, SECOND_NS, grace_ns=0)
    made.seed(())
    made.connected(START_NS + 100 * MS_NS)
    out = feed(made, [trade(number, 100 * number) for number in range(1, 22)])
    assert [candle.open_time_ns for candle in out] == [START_NS + SECOND_NS]
    assert made.late == 0


def test_quiet_span_closes_by_the_venues_clock_after_the_grace() -> None:
    made = builder(grace_ns=250 * MS_NS)
    made.add(trade(1, 100))
    assert made.close_until(START_NS + 1_249 * MS_NS) == ()
    assert len(made.close_until(START_NS + 1_250 * MS_NS)) == 1


def test_message_within_the_grace_still_counts() -> None:
    made = builder(grace_ns=250 * MS_NS)
    made.add(trade(1, 100))
    made.close_until(START_NS + 1_200 * MS_NS)
    made.add(trade(2, 950, "120"))
    (closed,) = made.close_until(START_NS + 1_250 * MS_NS)
    assert closed.close == Decimal(120)
    assert made.late == 0


def test_spans_without_trades_are_flat_at_the_last_close() -> None:
    made = builder()
    out = feed(made, [trade(1, 0, "50"), trade(2, 3_000, "60")])
    assert out[1:] == [flat(1, "50"), flat(2, "50")]
    assert made.close_until(START_NS + 5 * SECOND_NS)[1:] == (flat(4, "60"),)


def test_market_that_is_silent_from_the_start_is_flat_at_the_last_warm_up_close() -> None:
    made = builder(warm_up=[rest_candle(-1, "42")])
    assert made.close_until(START_NS + 2 * SECOND_NS) == (flat(0, "42"), flat(1, "42"))


def test_nothing_is_drawn_before_the_first_price() -> None:
    made = builder()
    assert made.close_until(START_NS + 5 * SECOND_NS) == ()
    (closed,) = feed(made, [trade(1, 7_000, "50"), trade(2, 8_000, "50")])
    assert closed.open_time_ns == START_NS + 7 * SECOND_NS


def test_long_silence_makes_a_bounded_number_of_flat_candles_that_end_where_it_ends() -> None:
    made = builder()
    hour_ms = 3_600_000
    out = feed(made, [trade(1, 0), trade(2, hour_ms)])
    assert len(out) == 1 + MAX_FLAT_CANDLES
    assert out[-1].close_time_ns == START_NS + hour_ms * MS_NS
    assert made.skipped == 3_600 - len(out)
    assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(out[1:]))


def test_nothing_leaves_before_the_warm_up() -> None:
    made = CandleBuilder(SYMBOL, SECOND_NS)
    made.connected(BEFORE_NS)
    assert feed(made, [trade(1, 0), trade(2, 1_000), trade(3, 2_000)]) == []
    assert [candle.open_time_ns for candle in made.seed([rest_candle(-1, "9")])] == [
        START_NS - SECOND_NS,
        START_NS,
        START_NS + SECOND_NS,
    ]


def test_span_that_the_stream_came_up_in_is_taken_from_rest() -> None:
    made = CandleBuilder(SYMBOL, SECOND_NS, grace_ns=0)
    made.seed([rest_candle(-1, "9")])
    made.connected(START_NS + 500 * MS_NS)
    assert feed(made, [trade(1, 500, "10"), trade(2, 1_200, "11"), trade(3, 2_100, "12")]) == []
    assert made.missing(START_NS + 2_100 * MS_NS) == 2
    out = made.seed([rest_candle(-1, "9"), rest_candle(0, "10")])
    assert [(candle.close, candle.trades) for candle in out] == [(Decimal(10), 3), (Decimal(11), 1)]
    assert made.missing(START_NS + 2_100 * MS_NS) == 0


def test_span_that_rest_brings_although_it_was_seen_whole_leaves_once() -> None:
    made = CandleBuilder(SYMBOL, SECOND_NS, grace_ns=0)
    made.seed([rest_candle(-2, "9")])
    made.connected(START_NS - 500 * MS_NS)
    feed(made, [trade(1, 500, "10"), trade(2, 3_000, "11")])
    out = made.seed([rest_candle(-1, "9"), rest_candle(0, "10")])
    assert [candle.open_time_ns for candle in out] == [START_NS + index * SECOND_NS for index in (-1, 0, 1, 2)]
    assert out[2:] == (flat(1, "10"), flat(2, "10"))


def test_nothing_is_asked_of_rest_before_the_span_is_over() -> None:
    made = CandleBuilder(SYMBOL, SECOND_NS, grace_ns=100 * MS_NS)
    made.seed([rest_candle(-1, "9")])
    made.connected(START_NS + 500 * MS_NS)
    assert made.missing(START_NS + 1_099 * MS_NS) == 0
    assert made.missing(START_NS + 1_100 * MS_NS) == 1


def test_span_with_a_gap_is_taken_from_rest() -> None:
    made = builder(warm_up=[rest_candle(-1, "9")])
    made.add(trade(1, 0, "10"))
    made.gap(START_NS + 400 * MS_NS)
    assert feed(made, [trade(9, 400, "11"), trade(10, 1_000, "12"), trade(11, 2_000, "13")]) == []
    assert made.missing(START_NS + 2 * SECOND_NS) == 2
    assert [candle.close for candle in made.seed([rest_candle(0, "77")])] == [Decimal(77), Decimal(12)]


def test_rest_candles_carry_on_while_the_stream_is_away() -> None:
    made = builder(warm_up=[rest_candle(-1, "9")])
    made.add(trade(1, 0, "10"))
    made.lost()
    assert made.close_until(START_NS + 3 * SECOND_NS) == ()
    assert made.missing(START_NS + 3 * SECOND_NS) == 3
    assert [candle.close for candle in made.seed([rest_candle(0, "5"), rest_candle(1, "6")])] == [
        Decimal(5),
        Decimal(6),
    ]


def test_spans_that_a_venue_leaves_out_of_its_candles_become_flat() -> None:
    made = CandleBuilder(SYMBOL, SECOND_NS)
    out = made.seed([rest_candle(0, "5"), rest_candle(3, "8")])
    assert out[1:3] == (flat(1, "5"), flat(2, "5"))


def test_answer_that_does_not_reach_back_skips_and_says_so() -> None:
    made = builder(warm_up=[rest_candle(-1, "9")])
    made.lost()
    assert [candle.close for candle in made.seed([rest_candle(5, "6")])] == [Decimal(6)]
    assert made.skipped == 5


def test_missing_asks_for_no_more_than_one_request_can_bring() -> None:
    made = builder(warm_up=[rest_candle(-1, "9")])
    made.lost()
    assert made.missing(START_NS + 86_400 * SECOND_NS) == MAX_FETCHED


def test_candle_of_another_timeframe_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        CandleBuilder(SYMBOL, 60 * SECOND_NS).seed([rest_candle(0, "1")])


def test_memory_of_doubles_is_bounded() -> None:
    made = builder()
    feed(made, (trade(number, 0) for number in range(REMEMBERED_TRADES + 1)))
    made.add(trade(REMEMBERED_TRADES, 0))
    assert made.duplicates == 1
    made.add(trade(0, 0))
    assert made.duplicates == 1, "the oldest id is forgotten"


def test_trades_without_an_id_are_never_doubles() -> None:
    made = builder()
    feed(made, [replace(trade(1, 0), trade_id=""), replace(trade(1, 0), trade_id="")])
    assert made.duplicates == 0

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.market.events import FeedGap, Trade
from tradingbot_trader.market.sequence import TradeSequence


def trade(number: int | str) -> Trade:
    return Trade("BTC/USDT", str(number), Decimal(1), Decimal(1), event_time_ns=777)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=50), st.lists(st.booleans(), max_size=50))
def test_every_number_is_either_seen_or_declared_missing(steps: list[int], reconnects: list[bool]) -> None:
    sequence, number, seen, missing = TradeSequence(), 100, set(), set()
    for index, step in enumerate(steps):
        if index < len(reconnects) and reconnects[index]:
            sequence.reconnected()
        number += step
        gap = sequence.observe(trade(number))
        seen.add(number)
        if gap is not None:
            missing |= set(range(int(gap.first_missing_id), int(gap.first_missing_id) + gap.missing))
    assert seen.isdisjoint(missing)
    assert seen | missing == set(range(100 + steps[0], number + 1))


def test_gap_names_the_first_missing_trade_and_the_time_of_the_one_that_showed_it() -> None:
    sequence = TradeSequence()
    assert sequence.observe(trade(7)) is None
    assert sequence.observe(trade(10)) == FeedGap("BTC/USDT", first_missing_id="8", missing=2, at_ns=777)


def test_doubled_or_late_trade_is_no_gap_and_makes_none() -> None:
    sequence = TradeSequence()
    assert [sequence.observe(trade(number)) for number in (7, 8, 8, 7, 9)] == [None] * 5


def test_numbers_that_start_over_on_a_new_connection_are_followed() -> None:
    sequence = TradeSequence()
    sequence.observe(trade(1_000))
    sequence.reconnected()
    assert [sequence.observe(trade(number)) for number in (5, 6)] == [None, None]
    assert sequence.observe(trade(8)) is not None


def test_venue_that_does_not_number_its_trades_is_never_in_doubt() -> None:
    sequence = TradeSequence()
    assert [sequence.observe(trade(name)) for name in ("", "a-1", "5", "", "6")] == [None] * 5

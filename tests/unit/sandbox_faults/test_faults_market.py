"""A market that stands still and then catches up."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tradingbot_sandbox.market.events import NS_PER_MS, BookDelta, MarketEvent, Trade
from tradingbot_sandbox.market.instruments import INSTRUMENTS
from tradingbot_sandbox.market.synthetic import SyntheticMarket
from tradingbot_sandbox.venues.faults_market import StoppableMarket

START_NS = 1_760_000_000_000_000_000


def synthetic() -> SyntheticMarket:
    instruments = [INSTRUMENTS["BTC/USDT"], INSTRUMENTS["ETH/USDT"]]
    return SyntheticMarket(instruments, seed=3, speed=Fraction(1))


def play(market: StoppableMarket | SyntheticMarket, *, milliseconds: list[int], limit: int) -> list[MarketEvent]:
    """Everything that it hands over at these times after the start."""
    market.start(START_NS)
    out = []
    for at_ms in milliseconds:
        now_ns = START_NS + at_ms * NS_PER_MS
        while events := market.take(now_ns, limit=limit):
            assert len(events) <= limit
            out += events
    return out


def standing(*, symbol: str, from_ms: int, until_ms: int) -> StoppableMarket:
    def is_stale(asked: str, now_ns: int) -> bool:
        return asked == symbol and from_ms * NS_PER_MS <= now_ns - START_NS < until_ms * NS_PER_MS

    return StoppableMarket(synthetic(), is_stale)


def test_market_that_never_stops_is_the_same_market() -> None:
    times = list(range(0, 3000, 50))
    assert play(standing(symbol="", from_ms=0, until_ms=0), milliseconds=times, limit=7) == play(
        synthetic(), milliseconds=times, limit=7
    )


def test_nothing_happens_in_a_symbol_that_stands_still() -> None:
    market = standing(symbol="BTC/USDT", from_ms=500, until_ms=2000)
    events = play(market, milliseconds=list(range(0, 1950, 50)), limit=500)
    late = [event for event in events if event.event_time_ns > START_NS + 500 * NS_PER_MS]
    assert {event.symbol for event in late} == {"ETH/USDT"}


def test_what_was_held_comes_at_once_with_the_time_at_which_the_market_goes_on() -> None:
    market = standing(symbol="BTC/USDT", from_ms=500, until_ms=2000)
    events = play(market, milliseconds=[*range(0, 2000, 50), 2000], limit=500)
    resumed = [e for e in events if e.symbol == "BTC/USDT" and e.event_time_ns >= START_NS + 500 * NS_PER_MS]
    assert len(resumed) > 10
    assert {e.event_time_ns for e in resumed} == {START_NS + 2000 * NS_PER_MS}
    assert {e.time_ns for e in resumed if isinstance(e, Trade)} == {START_NS + 2000 * NS_PER_MS}


@settings(max_examples=12, deadline=None)
@given(
    from_ms=st.integers(0, 800),
    length_ms=st.integers(0, 800),
    limit=st.sampled_from([1, 3, 500]),
    step_ms=st.sampled_from([20, 100, 700]),
)
def test_no_trade_is_lost_and_every_update_follows_the_one_before(
    from_ms: int, length_ms: int, limit: int, step_ms: int
) -> None:
    times = [*range(0, 1600, step_ms), 1600]
    market = standing(symbol="BTC/USDT", from_ms=from_ms, until_ms=from_ms + length_ms)
    events = [e for e in play(market, milliseconds=times, limit=limit) if e.symbol == "BTC/USDT"]
    expected = [e for e in play(synthetic(), milliseconds=times, limit=limit) if e.symbol == "BTC/USDT"]
    assert [e.trade_id for e in events if isinstance(e, Trade)] == [
        e.trade_id for e in expected if isinstance(e, Trade)
    ]
    deltas = [e for e in events if isinstance(e, BookDelta)]
    assert all(b.first_update_id == a.final_update_id + 1 for a, b in pairwise(deltas))
    seen = [e.event_time_ns for e in events]
    assert seen == sorted(seen)

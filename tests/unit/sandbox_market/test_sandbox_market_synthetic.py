"""The seeded market: what must hold for any seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradingbot_sandbox.market.book import Book
from tradingbot_sandbox.market.candles import CandleSeries
from tradingbot_sandbox.market.events import BookDelta, BookTicker, MarketEvent, Trade
from tradingbot_sandbox.market.instruments import INSTRUMENTS
from tradingbot_sandbox.market.intervals import SECOND_NS
from tradingbot_sandbox.market.port import PlayState
from tradingbot_sandbox.market.synthetic import SyntheticMarket

START_NS = 1_760_000_000 * SECOND_NS
SEEDS = st.integers(0, 100_000)
SYMBOLS = st.sampled_from(sorted(INSTRUMENTS))


def market(*symbols: str, seed: int = 7, speed: str = "1") -> SyntheticMarket:
    return SyntheticMarket([INSTRUMENTS[s] for s in symbols or ("BTC/USDT",)], seed=seed, speed=Fraction(speed))


def play(source: SyntheticMarket, seconds: int) -> list[MarketEvent]:
    source.start(START_NS)
    return source.take(START_NS + seconds * SECOND_NS, limit=10_000_000)


@given(SEEDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_same_seed_same_market_however_it_is_pulled(seed: int) -> None:
    whole, pulled = market("BTC/USDT", "SOL/USDT", seed=seed), market("BTC/USDT", "SOL/USDT", seed=seed)
    expected = play(whole, 5)
    pulled.start(START_NS)
    taken: list[MarketEvent] = []
    for now in range(START_NS, START_NS + 5 * SECOND_NS + 1, SECOND_NS // 7):
        while piece := pulled.take(now, limit=11):
            taken += piece
    taken += pulled.take(START_NS + 5 * SECOND_NS, limit=1_000_000)
    assert taken == expected
    assert whole.opening("BTC/USDT") == pulled.opening("BTC/USDT")


def test_another_seed_is_another_market() -> None:
    assert play(market(seed=1), 2) != play(market(seed=2), 2)


def test_other_symbols_change_nothing_in_one() -> None:
    alone = play(market("SOL/USDT"), 5)
    among = [e for e in play(market("BTC/USDT", "SOL/USDT", "ADA/USDT"), 5) if e.symbol == "SOL/USDT"]
    assert among == alone


@given(SEEDS, SYMBOLS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_market_is_one_that_could_be(seed: int, symbol: str) -> None:
    source = market(symbol, seed=seed)
    instrument = INSTRUMENTS[symbol]
    book = Book(source.opening(symbol).book)
    bid, ask = book.best_bid, book.best_ask
    last_id = source.opening(symbol).first_trade_id - 1
    told_ns = START_NS
    for event in play(source, 20):
        assert bid is not None
        assert ask is not None
        assert event.event_time_ns >= told_ns
        told_ns = event.event_time_ns
        if isinstance(event, Trade):
            assert event.price == (bid[0] if event.buyer_is_maker else ask[0])  # at the best price of the moment
            assert event.quantity <= (bid[1] if event.buyer_is_maker else ask[1])
            assert event.quantity > 0
            assert event.quantity % instrument.step == 0
            assert event.trade_id == last_id + 1
            last_id = event.trade_id
        elif isinstance(event, BookTicker):
            bid, ask = (event.bid_price, event.bid_quantity), (event.ask_price, event.ask_quantity)
            assert bid[0] < ask[0]
        else:
            assert event.first_update_id == book.update_id + 1
            book.apply(event)
            assert not book.is_crossed
            assert min(len(book.bids(500)), len(book.asks(500))) >= 50
            assert all(price % instrument.tick == 0 and price > 0 for price, _ in event.bids + event.asks)
    assert (book.best_bid, book.best_ask) == (bid, ask)  # the last delta has caught up with the ticker


@given(SEEDS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_candles_are_the_aggregate_of_the_trades(seed: int) -> None:
    series = CandleSeries()
    seconds: dict[int, list[Trade]] = {}
    for trade in (e for e in play(market(seed=seed), 10) if isinstance(e, Trade)):
        series.add(trade)
        seconds.setdefault(trade.time_ns // SECOND_NS, []).append(trade)
    for second, trades in seconds.items():
        candle = series.between(second * SECOND_NS, (second + 1) * SECOND_NS)
        assert candle is not None
        prices = [t.price for t in trades]
        assert (candle.open, candle.high, candle.low, candle.close) == (prices[0], max(prices), min(prices), prices[-1])
        assert candle.volume_base == sum(t.quantity for t in trades)
        assert candle.trades == len(trades)


def closes_by_second(events: Sequence[MarketEvent], seconds: int, first: Decimal) -> list[Decimal]:
    last, closes = first, []
    by_second: dict[int, Decimal] = {}
    for event in events:
        if isinstance(event, Trade):
            by_second[(event.time_ns - START_NS) // SECOND_NS] = event.price
    for second in range(seconds):
        last = by_second.get(second, last)
        closes.append(last)
    return closes


def average(values: Sequence[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


@pytest.mark.parametrize("seed", range(12))
def test_averages_of_ten_and_thirty_seconds_cross_up_and_down_within_two_minutes(seed: int) -> None:
    source = market(seed=seed)
    closes = closes_by_second(play(source, 120), 120, source.opening("BTC/USDT").first_price)
    above = [average(closes[i - 9 : i + 1]) > average(closes[i - 29 : i + 1]) for i in range(29, 120)]
    crosses = [after for before, after in itertools.pairwise(above) if before != after]
    assert True in crosses
    assert False in crosses


def test_price_stays_near_where_it_began() -> None:
    source = market(seed=5, speed="20")
    prices = [e.price for e in play(source, 120) if isinstance(e, Trade)]  # 40 minutes of the market
    first = source.opening("BTC/USDT").first_price
    assert max(abs(p / first - 1) for p in prices) < Decimal("0.03")


def test_speed_compresses_the_same_market() -> None:
    slow = [e for e in play(market(), 10) if isinstance(e, Trade)]
    fast = [e for e in play(market(speed="5"), 2) if isinstance(e, Trade)]
    assert [(t.trade_id, t.price, t.quantity) for t in fast] == [(t.trade_id, t.price, t.quantity) for t in slow]
    assert abs((fast[-1].time_ns - START_NS) - (slow[-1].time_ns - START_NS) // 5) < 2


def test_trades_come_in_bursts() -> None:
    trades = [e for e in play(market(seed=3), 120) if isinstance(e, Trade)]
    steps = [0] * 1200
    for trade in trades:
        steps[(trade.time_ns - START_NS) // (SECOND_NS // 10)] += 1
    assert max(steps) > 8 * sum(steps) / len(steps)


def test_deltas_come_ten_times_a_second() -> None:
    deltas = [e for e in play(market(), 3) if isinstance(e, BookDelta)]
    assert len(deltas) == 30


def test_reserved_trade_ids_are_left_out() -> None:
    source = market()
    before = [e for e in play(source, 1) if isinstance(e, Trade)]
    assert source.reserve_trade_ids("BTC/USDT", trades=100) == before[-1].trade_id + 1
    after = [e for e in source.take(START_NS + 3 * SECOND_NS, limit=10_000) if isinstance(e, Trade)]
    assert after[0].trade_id == before[-1].trade_id + 101


def test_it_waits_for_its_start_and_never_ends() -> None:
    source = market()
    assert source.next_due_ns() is None
    assert source.position().state is PlayState.WAITING
    play(source, 1)
    assert source.position().state is PlayState.PLAYING
    assert source.position().total is None

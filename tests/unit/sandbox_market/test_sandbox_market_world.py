"""Boards: what a venue shows at each moment, and the start of the play."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from tradingbot_sandbox.market.instruments import derive_instrument, split_symbol
from tradingbot_sandbox.market.port import StartPolicy
from tradingbot_sandbox.market.replay import RecordedMarket
from tradingbot_sandbox.market.synthetic import SyntheticMarket
from tradingbot_sandbox.market.world import World

MS = 1_000_000
MakeReplay = Callable[..., RecordedMarket]


def test_before_the_start_a_board_shows_the_opening(make_replay: MakeReplay, now_ns: int) -> None:
    board = World(make_replay(), seed=7, now_ns=now_ns).boards["BTC/USDT"]
    assert board.book.update_id == 110
    assert (board.top.bid_price, board.top.ask_price) == (Decimal(99), Decimal(101))
    assert board.last_price == Decimal(100)
    assert not board.trades
    assert board.chart.walk_ends_ns == now_ns // 10**9 * 10**9


def test_book_ignores_deltas_older_than_the_snapshot(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay()
    world = World(market, seed=7, now_ns=now_ns)
    market.start(now_ns)
    world.advance(now_ns + 99 * MS, limit=100)
    assert world.boards["BTC/USDT"].book.bids(1) == ((Decimal(99), Decimal(1)),)
    world.advance(now_ns + 100 * MS, limit=100)
    board = world.boards["BTC/USDT"]
    assert board.book.update_id == 112
    assert board.book.bids(1) == ((Decimal("99.5"), Decimal(1)),)


def test_top_is_the_later_of_ticker_and_delta(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay()
    world = World(market, seed=7, now_ns=now_ns)
    market.start(now_ns)
    board = world.boards["BTC/USDT"]
    world.advance(now_ns + 50 * MS, limit=100)
    assert board.top.update_id == 110  # the ticker of id 108 is older than the snapshot
    world.advance(now_ns + 100 * MS, limit=100)
    assert (board.top.update_id, board.top.bid_price) == (112, Decimal("99.5"))
    world.advance(now_ns + 2010 * MS, limit=100)
    assert (board.top.update_id, board.top.ask_quantity) == (123, Decimal(2))


def test_burst_trades_follow_the_last_and_leave_the_book(
    make_synthetic: Callable[..., SyntheticMarket], now_ns: int
) -> None:
    market = make_synthetic()
    world = World(market, seed=7, now_ns=now_ns)
    market.start(now_ns)
    before = world.advance(now_ns + 1000 * MS, limit=100_000)
    board = world.boards["BTC/USDT"]
    last_id, book = board.last_trade_id, board.book.snapshot()
    burst = world.burst("BTC/USDT", trades=1000, now_ns=now_ns + 1000 * MS)
    assert before
    assert [e.trade_id for e in burst if hasattr(e, "trade_id")] == list(range(last_id + 1, last_id + 1001))
    assert {e.price for e in burst if hasattr(e, "price")} == {board.top.bid_price, board.top.ask_price}
    assert board.book.snapshot() == book
    assert board.last_trade_id == last_id + 1000
    after = [e for e in world.advance(now_ns + 3000 * MS, limit=100_000) if hasattr(e, "trade_id")]
    assert after[0].trade_id == last_id + 1001


def test_burst_before_the_start_has_the_first_ids(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay()
    world = World(market, seed=7, now_ns=now_ns)
    assert [e.trade_id for e in world.burst("BTC/USDT", trades=2, now_ns=now_ns) if hasattr(e, "trade_id")] == [
        500,
        501,
    ]
    market.start(now_ns)
    assert next(e.trade_id for e in world.advance(now_ns + 60 * MS, limit=9) if hasattr(e, "trade_id")) == 502


@pytest.mark.parametrize(
    ("text", "trades", "all_kinds", "met"),
    [
        ("immediately", 0, 0, True),
        ("first-subscription", 0, 3, False),
        ("first-subscription", 1, 1, True),
        ("all-subscriptions:3", 1, 2, False),
        ("all-subscriptions:3", 0, 3, True),
    ],
)
def test_play_starts_when_its_policy_is_met(text: str, trades: int, all_kinds: int, met: bool) -> None:  # noqa: FBT001 - a table's cell
    assert StartPolicy.parse(text).is_met(trade_subscriptions=trades, subscriptions=all_kinds) is met


@pytest.mark.parametrize("text", ["", "later", "all-subscriptions", "all-subscriptions:0", "all-subscriptions:x"])
def test_unknown_start_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected immediately"):
        StartPolicy.parse(text)


def test_joined_names_are_cut_at_a_known_quote_currency() -> None:
    assert split_symbol("BTCUSDT") == "BTC/USDT"
    assert split_symbol("ETHBTC") == "ETH/BTC"
    assert split_symbol("PEPEFDUSD") == "PEPE/FDUSD"
    with pytest.raises(ValueError, match="no known quote currency"):
        split_symbol("BTCXXX")


def test_instrument_of_an_unknown_symbol_is_read_off_its_numbers() -> None:
    prices, quantities = [Decimal("1.2500"), Decimal("1.3")], [Decimal(10), Decimal(200)]
    instrument = derive_instrument("XYZ/USDT", prices, quantities)
    assert (instrument.tick, instrument.step) == (Decimal("0.01"), Decimal(1))

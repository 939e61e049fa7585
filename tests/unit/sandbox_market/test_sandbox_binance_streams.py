"""Binance's streams: their names, what they tell and when, read off a venue without sockets."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tradingbot_sandbox.market.book import Book
from tradingbot_sandbox.market.events import BookDelta, BookSnapshot
from tradingbot_sandbox.venues.binance.control import build_state
from tradingbot_sandbox.venues.binance.intervals import INTERVALS
from tradingbot_sandbox.venues.binance.streams import StreamKind, build_frame, parse_stream

SYMBOLS = {"BTCUSDT": "BTC/USDT"}
MakeVenue = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "kind", "period_ms"),
    [
        ("btcusdt@trade", StreamKind.TRADE, 0),
        ("btcusdt@aggTrade", StreamKind.AGGREGATE_TRADE, 0),
        ("btcusdt@bookTicker", StreamKind.BOOK_TICKER, 0),
        ("btcusdt@depth@100ms", StreamKind.DIFF_DEPTH, 0),
        ("btcusdt@depth", StreamKind.DIFF_DEPTH, 1000),
        ("btcusdt@depth5", StreamKind.PARTIAL_DEPTH, 1000),
        ("btcusdt@depth20@100ms", StreamKind.PARTIAL_DEPTH, 100),
        ("btcusdt@kline_1s", StreamKind.KLINE, 1000),
        ("btcusdt@kline_1M", StreamKind.KLINE, 2000),
        ("btcusdt@ticker", StreamKind.TICKER, 1000),
        ("btcusdt@miniTicker", StreamKind.MINI_TICKER, 1000),
    ],
)
def test_stream_names_are_binances(name: str, kind: StreamKind, period_ms: int) -> None:
    stream = parse_stream(name, SYMBOLS)
    assert stream is not None
    assert (stream.kind, stream.period_ns) == (kind, period_ms * 1_000_000)


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT@trade",
        "ethusdt@trade",
        "btcusdt",
        "btcusdt@",
        "btcusdt@depth7",
        "btcusdt@kline_7m",
        "btcusdt@trade@100ms",
        "0",
    ],
)
def test_unknown_streams_stay_silent(name: str) -> None:
    assert parse_stream(name, SYMBOLS) is None


def test_message_is_written_raw_and_combined() -> None:
    frame = build_frame("btcusdt@trade", {"e": "trade", "p": "1.00000000"})
    assert frame.raw == b'{"e":"trade","p":"1.00000000"}'
    assert frame.combined == b'{"stream":"btcusdt@trade","data":{"e":"trade","p":"1.00000000"}}'


def test_trade_stream_tells_every_trade_in_order(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue(start="first-subscription")
    venue.exchange.subscribe(listener, "btcusdt@trade", venue.now_ns)
    venue.run(3000)
    assert [b["t"] for b in listener.bodies("btcusdt@trade")] == list(range(500, 510))
    assert listener.bodies("btcusdt@trade")[3] == {
        "e": "trade",
        "E": 1_760_000_001_150,
        "s": "BTCUSDT",
        "t": 503,
        "p": "101.20000000",
        "q": "0.01000000",
        "T": 1_760_000_000_950,
        "m": False,
        "M": True,
    }


def test_aggregate_trade_is_told_when_its_moment_has_passed(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue(start="first-subscription")
    venue.exchange.subscribe(listener, "btcusdt@aggTrade", venue.now_ns)
    venue.run(200)
    assert [b["f"] for b in listener.bodies("btcusdt@aggTrade")] == [500]  # by the tick after it, before another trade
    venue.run(2300)
    assert sum(Decimal(b["q"]) for b in listener.bodies("btcusdt@aggTrade")) == Decimal("0.11")


@pytest.mark.parametrize("name", ["btcusdt@depth@100ms", "btcusdt@depth"])
def test_depth_stream_leads_a_documented_sync_to_the_rest_book(
    make_venue: MakeVenue, make_synthetic: Any, listener: Any, name: str
) -> None:
    venue = make_venue(make_synthetic())
    venue.run(1234)
    venue.exchange.subscribe(listener, name, venue.now_ns)
    venue.run(300)
    board = venue.exchange.world.boards["BTC/USDT"]
    mine = Book(board.book.snapshot())
    venue.run(6000 - venue.now_ns // 1_000_000 % 1000)  # up to a whole second, when the slow stream has told all
    bodies = listener.bodies(name)
    assert len(bodies) >= 5
    for body in bodies:
        bids, asks = (tuple((Decimal(p), Decimal(q)) for p, q in body[side]) for side in "ba")
        mine.apply(BookDelta("BTC/USDT", body["U"], body["u"], bids, asks, 0))
    assert mine.snapshot() == board.book.snapshot()


def test_partial_depth_is_told_at_its_pace_and_only_when_it_changed(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue()
    venue.exchange.subscribe(listener, "btcusdt@depth5@100ms", venue.now_ns)
    venue.exchange.subscribe(listener, "btcusdt@depth10", venue.now_ns)
    venue.run(10_000)
    fast, slow = listener.bodies("btcusdt@depth5@100ms"), listener.bodies("btcusdt@depth10")
    assert [b["lastUpdateId"] for b in fast] == [110, 112, 113, 118, 119, 121]
    assert [b["lastUpdateId"] for b in slow] == [113, 119, 121]
    assert fast[0] == {
        "lastUpdateId": 110,
        "bids": [["99.00000000", "1.00000000"], ["98.00000000", "3.00000000"]],
        "asks": [["101.00000000", "2.00000000"]],
    }


def test_book_ticker_carries_no_event_name(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue()
    venue.exchange.subscribe(listener, "btcusdt@bookTicker", venue.now_ns)
    venue.run(3000)
    assert [b["u"] for b in listener.bodies("btcusdt@bookTicker")] == [108, 114, 123]
    assert listener.bodies("btcusdt@bookTicker")[0].keys() == {"u", "s", "b", "B", "a", "A"}


def test_second_klines_close_with_all_their_trades_and_end_with_the_play(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue()
    venue.exchange.subscribe(listener, "btcusdt@kline_1s", venue.now_ns)
    venue.run(10_000)
    klines = [b["k"] for b in listener.bodies("btcusdt@kline_1s")]
    assert all(k["x"] for k in klines)
    # 503 met in the first second and was told in the next: the candle waits for it
    assert [(k["t"] - 1_760_000_000_000, k["n"], k["f"], k["L"]) for k in klines] == [
        (0, 4, 500, 503),
        (1000, 4, 504, 507),
        (2000, 2, 508, 509),
    ]
    assert sum(Decimal(k["v"]) for k in klines) == Decimal("0.11")


def test_flat_seconds_are_told_while_the_market_plays(make_venue: MakeVenue, make_replay: Any, listener: Any) -> None:
    venue = make_venue(make_replay(speed="0.1"))
    venue.exchange.subscribe(listener, "btcusdt@kline_1s", venue.now_ns)
    venue.run(6000)
    counts = [b["k"]["n"] for b in listener.bodies("btcusdt@kline_1s")]
    assert counts == [1, 0, 0, 2]
    flat = listener.bodies("btcusdt@kline_1s")[1]["k"]
    assert (flat["o"], flat["c"], flat["f"], flat["L"]) == ("100.00000000", "100.00000000", -1, -1)


def test_minute_kline_is_updated_each_two_seconds_and_closed_once(
    make_venue: MakeVenue, make_synthetic: Any, listener: Any
) -> None:
    venue = make_venue(make_synthetic())
    venue.exchange.subscribe(listener, "btcusdt@kline_1m", venue.now_ns)
    venue.run(60_000)
    bodies = listener.bodies("btcusdt@kline_1m")
    opens = sorted({b["k"]["t"] for b in bodies})
    assert len(opens) == 2
    assert [b["k"]["x"] for b in bodies if b["k"]["t"] == opens[0]].count(True) == 1
    assert all(b["E"] % 2000 == 0 for b in bodies if not b["k"]["x"])
    closed = next(b["k"] for b in bodies if b["k"]["x"])
    minute_ns = opens[0] * 1_000_000
    candle = venue.exchange.world.boards["BTC/USDT"].chart.candle(INTERVALS["1m"], minute_ns)
    assert (closed["n"], Decimal(closed["v"]), Decimal(closed["h"])) == (candle.trades, candle.volume_base, candle.high)


def test_tickers_are_told_each_second_while_something_changes(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue()
    for name in ("btcusdt@ticker", "btcusdt@miniTicker"):
        venue.exchange.subscribe(listener, name, venue.now_ns)
    venue.run(10_000)
    tickers, minis = listener.bodies("btcusdt@ticker"), listener.bodies("btcusdt@miniTicker")
    assert len(tickers) == len(minis) == 3
    assert tickers[-1]["c"] == minis[-1]["c"] == "101.20000000"
    assert tickers[-1]["L"] - tickers[-1]["F"] + 1 == tickers[-1]["n"]


def test_play_begins_with_the_first_trade_subscription_and_loses_nothing(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue(start="first-subscription")
    venue.run(5000)
    venue.exchange.subscribe(listener, "btcusdt@depth@100ms", venue.now_ns)
    venue.run(5000)
    assert listener.heard == []
    assert ("play_started", {"market": "recording", "subscriptions": 2}) not in venue.log.events
    venue.exchange.subscribe(listener, "btcusdt@trade", venue.now_ns)
    venue.run(3000)
    assert len(listener.bodies("btcusdt@trade")) == 10
    assert ("play_started", {"market": "recording", "subscriptions": 2}) in venue.log.events


def test_end_is_logged_once_with_what_was_sent(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue()
    venue.exchange.subscribe(listener, "btcusdt@trade", venue.now_ns)
    venue.run(5000)
    ends = [values for event, values in venue.log.events if event == "ended"]
    assert ends == [{"played": {"trade": 10, "depth": 6, "bookTicker": 3}, "published": {"btcusdt@trade": 10}}]
    state: Any = build_state(venue.exchange, [], venue.now_ns)
    assert state["play"]["state"] == "ended"
    assert state["trades_sent"] == 10
    assert state["streams"] == {"btcusdt@trade": {"listeners": 1, "published": 10, "delivered": 10}}


def test_unsubscribed_listener_hears_no_more(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue()
    venue.exchange.subscribe(listener, "btcusdt@trade", venue.now_ns)
    venue.run(350)
    venue.exchange.subscriptions.remove(listener, "btcusdt@trade")
    venue.run(5000)
    assert len(listener.heard) == 3
    assert venue.exchange.subscriptions.held == 0


def test_slow_depth_tells_the_last_quantity_of_each_level(make_venue: MakeVenue, listener: Any) -> None:
    venue = make_venue()
    venue.exchange.subscribe(listener, "btcusdt@depth", venue.now_ns)
    venue.run(5000)
    bodies = listener.bodies("btcusdt@depth")
    assert [(b["U"], b["u"]) for b in bodies] == [(105, 113), (114, 119), (120, 121)]
    assert bodies[1]["b"] == [["99.50000000", "0.00000000"], ["99.10000000", "5.00000000"]]


def test_snapshot_and_stream_agree_from_the_very_first_event(
    make_venue: MakeVenue, listener: Any, as_levels: Any
) -> None:
    venue = make_venue(start="first-subscription")
    venue.exchange.subscribe(listener, "btcusdt@depth@100ms", venue.now_ns)
    venue.exchange.subscribe(listener, "btcusdt@trade", venue.now_ns)
    snapshot = venue.exchange.world.boards["BTC/USDT"].book.snapshot()
    venue.run(5000)
    mine = Book(BookSnapshot("BTC/USDT", snapshot.update_id, snapshot.bids, snapshot.asks))
    taken = 0
    for body in listener.bodies("btcusdt@depth@100ms"):
        bids, asks = (tuple((Decimal(p), Decimal(q)) for p, q in body[side]) for side in "ba")
        taken += mine.apply(BookDelta("BTC/USDT", body["U"], body["u"], bids, asks, 0))
    assert taken == 5  # the first of six is older than the snapshot
    assert mine.asks(5) == as_levels("101.2:3 101.5:4")

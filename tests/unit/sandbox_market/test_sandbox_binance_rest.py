"""Binance's REST answers, read off a venue without sockets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from tradingbot_sandbox.venues.binance.intervals import INTERVALS
from tradingbot_sandbox.venues.binance.rest import Answer, RestApi

MS = 1_000_000
Ask = Callable[..., Any]


@pytest.fixture
def asked(make_venue: Callable[..., Any]) -> Callable[..., tuple[Any, Ask]]:
    """A venue and a function that asks it."""

    def make(*, played_ms: int = 0, **options: Any) -> tuple[Any, Ask]:
        venue = make_venue(**options)
        venue.run(played_ms)
        api = RestApi(venue.exchange, venue.log)

        def ask(path: str, *pairs: tuple[str, str], address: str = "10.0.0.1", **values: object) -> Any:
            sent = [*pairs, *((name, str(value)) for name, value in values.items())]
            answer = api.answer("GET", f"/api/v3/{path}", query=urlencode(sent), address=address, now_ns=venue.now_ns)
            assert isinstance(answer, Answer)
            return answer if answer.http_status != 200 else answer.body

        return venue, ask

    return make


MakeAsked = Callable[..., tuple[Any, Ask]]


def test_unknown_path_is_not_found(make_venue: Callable[..., Any]) -> None:
    venue = make_venue()
    api = RestApi(venue.exchange, venue.log)
    answer = api.answer("GET", "/api/v3/nothing", address="10.0.0.1", now_ns=venue.now_ns)
    assert (answer.http_status, answer.content_type) == (404, "text/html")


def test_time_is_the_venues_clock_in_milliseconds(asked: MakeAsked) -> None:
    venue, ask = asked()
    assert ask("time") == {"serverTime": venue.now_ns // MS}
    assert ask("ping") == {}


def test_exchange_info_has_the_filters_that_orders_are_checked_by(
    asked: MakeAsked, make_synthetic: Callable[..., Any]
) -> None:
    _, ask = asked(market=make_synthetic("BTC/USDT", "ETH/USDT"))
    info = ask("exchangeInfo")
    assert [s["symbol"] for s in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert info["rateLimits"][0] == {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 6000,
    }
    filters = {f["filterType"]: f for f in info["symbols"][1]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00010000"
    assert filters["NOTIONAL"]["minNotional"] == "5.00000000"
    assert filters.keys() >= {"MARKET_LOT_SIZE", "PERCENT_PRICE_BY_SIDE", "MAX_NUM_ORDERS", "MAX_NUM_ALGO_ORDERS"}
    assert [s["symbol"] for s in ask("exchangeInfo", symbols='["ETHUSDT"]')["symbols"]] == ["ETHUSDT"]
    assert [s["symbol"] for s in ask("exchangeInfo", symbol="BTCUSDT")["symbols"]] == ["BTCUSDT"]


def test_depth_is_the_book_of_the_moment(asked: MakeAsked) -> None:
    venue, ask = asked()
    assert ask("depth", symbol="BTCUSDT", limit=1) == {
        "lastUpdateId": 110,
        "bids": [["99.00000000", "1.00000000"]],
        "asks": [["101.00000000", "2.00000000"]],
    }
    venue.run(450)
    book = ask("depth", symbol="BTCUSDT")
    assert book["lastUpdateId"] == 113
    assert book["asks"] == [["101.20000000", "1.00000000"], ["101.50000000", "4.00000000"]]


def test_trades_are_the_last_ones_oldest_first(asked: MakeAsked) -> None:
    _, ask = asked(played_ms=1000)
    assert ask("trades", symbol="BTCUSDT", limit=2)[0] == {
        "id": 502,
        "price": "101.50000000",
        "qty": "0.02000000",
        "quoteQty": "2.03000000",
        "time": 1_760_000_000_550,
        "isBuyerMaker": True,
        "isBestMatch": True,
    }
    assert [t["id"] for t in ask("historicalTrades", symbol="BTCUSDT", fromId=501, limit=2)] == [501, 502]


def test_aggregate_trades_join_the_fills_of_one_moment_price_and_side(
    asked: MakeAsked, lines_of: dict[str, Any], recording_lines: list[str], make_replay: Any
) -> None:
    same_side = lines_of["trade"](300, 504, "101.50000000", "0.03000000")  # even ids sell, as 502 before it
    lines = [*recording_lines[:7], same_side, *recording_lines[7:9]]
    _, ask = asked(market=make_replay(lines=lines), played_ms=1000)
    rows = ask("aggTrades", symbol="BTCUSDT")
    assert [(r["f"], r["l"], r["q"]) for r in rows] == [
        (500, 500, "0.01000000"),
        (501, 501, "0.01000000"),
        (502, 504, "0.05000000"),
    ]
    ids = [r["a"] for r in rows]
    assert ids == list(range(ids[0], ids[0] + 3))
    assert [r["a"] for r in ask("aggTrades", symbol="BTCUSDT", fromId=ids[1], limit=1)] == [ids[1]]
    assert [r["a"] for r in ask("aggTrades", symbol="BTCUSDT", startTime=rows[1]["T"], endTime=rows[1]["T"])] == ids[1:]


def test_klines_are_rows_of_twelve_and_agree_with_the_trades(asked: MakeAsked) -> None:
    _, ask = asked(played_ms=2500)  # the play began at .250 of a second
    rows = ask("klines", symbol="BTCUSDT", interval="1s", startTime=1_760_000_000_000)
    assert rows[0] == [
        1_760_000_000_000, "100.00000000", "101.50000000", "100.00000000", "101.20000000", "0.05000000",
        1_760_000_000_999, "5.05700000", 4, "0.02000000", "2.02700000", "0",
    ]  # fmt: skip
    assert [row[8] for row in rows] == [4, 4, 2]
    assert sum(Decimal(row[5]) for row in rows) == Decimal("0.11")


def test_kline_of_a_second_without_a_trade_is_flat(asked: MakeAsked) -> None:
    _, ask = asked(played_ms=5000)
    last = ask("klines", symbol="BTCUSDT", interval="1s", limit=1)[0]
    assert last[1:6] == ["101.20000000"] * 4 + ["0.00000000"]
    assert last[8] == 0


@pytest.mark.parametrize("name", sorted(INTERVALS))
def test_every_interval_gives_the_latest_rows_without_a_gap(asked: MakeAsked, name: str) -> None:
    venue, ask = asked(played_ms=500)
    rows, interval = ask("klines", symbol="BTCUSDT", interval=name, limit=30), INTERVALS[name]
    assert len(rows) == 30
    assert rows[-1][0] == interval.floor(venue.now_ns) // MS
    for before, after in itertools.pairwise(rows):
        assert after[0] == before[6] + 1
        assert interval.next(before[0] * MS) == after[0] * MS


def test_klines_obey_start_end_and_limit(asked: MakeAsked) -> None:
    _, ask = asked(played_ms=500)

    def opens(**window: int) -> list[int]:
        return [row[0] - 1_760_000_000_000 for row in ask("klines", symbol="BTCUSDT", interval="1s", **window)]

    start = 1_760_000_000_000
    assert opens(startTime=start - 5000, limit=2) == [-5000, -4000]
    assert opens(startTime=start - 4999, limit=1) == [-4000]
    assert opens(endTime=start - 1, limit=2) == [-2000, -1000]
    assert opens(startTime=start - 3000, endTime=start - 1000) == [-3000, -2000, -1000]
    assert opens(startTime=start - 2000) == [-2000, -1000, 0]
    assert opens(startTime=start + 60_000) == []
    assert len(opens(limit=5000)) == 1000


def test_rows_of_the_walk_are_marked_in_the_log(asked: MakeAsked) -> None:
    venue, ask = asked(played_ms=1500)
    ask("klines", symbol="BTCUSDT", interval="1s", limit=5)
    assert (
        "klines_served",
        {"symbol": "BTCUSDT", "interval": "1s", "rows": 5, "rows_from_walk": 3, "klines_from_walk": True},
    ) in venue.log.events
    venue.log.events.clear()
    ask("klines", symbol="BTCUSDT", interval="1s", limit=1)
    assert venue.log.events == []


def test_day_ticker_has_the_walk_and_the_play(asked: MakeAsked) -> None:
    _, ask = asked(played_ms=2500)
    full, mini = ask("ticker/24hr", symbol="BTCUSDT"), ask("ticker/24hr", symbol="BTCUSDT", type="MINI")
    assert full["lastPrice"] == "101.20000000"
    assert (full["bidPrice"], full["askPrice"]) == ("99.10000000", "101.20000000")
    assert full["lastId"] - full["firstId"] + 1 == full["count"] > 10_000
    assert full["closeTime"] - full["openTime"] == 86_400_000
    assert Decimal(full["openPrice"]) + Decimal(full["priceChange"]) == Decimal(full["lastPrice"])
    assert Decimal(full["lowPrice"]) <= Decimal(full["weightedAvgPrice"]) <= Decimal(full["highPrice"])
    assert mini.items() <= full.items()
    assert "bidPrice" not in mini


def test_tickers_of_one_some_and_all(asked: MakeAsked, make_synthetic: Callable[..., Any]) -> None:
    _, ask = asked(market=make_synthetic("BTC/USDT", "ETH/USDT", "SOL/USDT"))
    assert ask("ticker/price", symbol="SOLUSDT") == {"symbol": "SOLUSDT", "price": "152.00000000"}
    assert [t["symbol"] for t in ask("ticker/bookTicker")] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert [t["symbol"] for t in ask("ticker/24hr", symbols='["SOLUSDT","BTCUSDT"]')] == ["SOLUSDT", "BTCUSDT"]


def test_average_price_is_weighted_over_five_minutes(asked: MakeAsked) -> None:
    _, ask = asked(played_ms=2500)
    average = ask("avgPrice", symbol="BTCUSDT")
    assert average["mins"] == 5
    assert Decimal(80) < Decimal(average["price"]) < Decimal(120)


@pytest.mark.parametrize(
    ("path", "sent", "code", "message"),
    [
        ("depth", [], -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        (
            "klines",
            [("symbol", "BTCUSDT")],
            -1102,
            "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.",
        ),
        ("depth", [("symbol", "NOPEUSDT")], -1121, "Invalid symbol."),
        ("depth", [("symbol", "")], -1105, "Parameter 'symbol' was empty."),
        (
            "depth",
            [("symbol", "btcusdt")],
            -1100,
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
        ),
        (
            "depth",
            [("symbol", "BTCUSDT"), ("limit", "ten")],
            -1100,
            "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.",
        ),
        ("depth", [("symbol", "BTCUSDT"), ("limit", "0")], -1130, "Data sent for parameter 'limit' is not valid."),
        ("depth", [("symbol", "BTCUSDT"), ("symbol", "BTCUSDT")], -1101, "Duplicate values for a parameter detected."),
        (
            "depth",
            [("symbol", "BTCUSDT"), ("depth", "5")],
            -1104,
            "Not all sent parameters were read; read '1' parameter(s) but was sent '2'.",
        ),
        ("time", [("a", "1")], -1101, "Too many parameters; expected '0' and received '1'."),
        ("klines", [("symbol", "BTCUSDT"), ("interval", "7m")], -1120, "Invalid interval."),
        (
            "ticker/price",
            [("symbol", "BTCUSDT"), ("symbols", '["BTCUSDT"]')],
            -1128,
            "Combination of optional parameters invalid.",
        ),
        (
            "ticker/price",
            [("symbols", '["BTCUSDT","BTCUSDT"]')],
            -1151,
            "Symbol is present multiple times in the list.",
        ),
        ("ticker/24hr", [("symbol", "BTCUSDT"), ("type", "HUGE")], -1139, "Invalid ticker type."),
        ("exchangeInfo", [("symbol", "NOPEUSDT")], -1121, "Invalid symbol."),
    ],
)
def test_wrong_request_is_refused_in_binances_words(
    asked: MakeAsked, path: str, sent: list[tuple[str, str]], code: int, message: str
) -> None:
    _, ask = asked()
    answer = ask(path, *sent)
    assert answer.http_status == 400
    assert answer.body == {"code": code, "msg": message}


@pytest.mark.parametrize("names", ["BTCUSDT", "[]", "[1]", '["btc"]', "{}"])
def test_symbols_must_be_a_list_of_names(asked: MakeAsked, names: str) -> None:
    _, ask = asked()
    assert ask("ticker/price", symbols=names).body["code"] == -1100


@pytest.mark.parametrize(
    ("path", "values", "weight"),
    [
        ("ping", {}, 1),
        ("time", {}, 1),
        ("exchangeInfo", {}, 20),
        ("depth", {"symbol": "BTCUSDT"}, 5),
        ("depth", {"symbol": "BTCUSDT", "limit": 101}, 25),
        ("depth", {"symbol": "BTCUSDT", "limit": 1000}, 50),
        ("depth", {"symbol": "BTCUSDT", "limit": 5000}, 250),
        ("trades", {"symbol": "BTCUSDT"}, 25),
        ("aggTrades", {"symbol": "BTCUSDT"}, 4),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m"}, 2),
        ("avgPrice", {"symbol": "BTCUSDT"}, 2),
        ("ticker/24hr", {"symbol": "BTCUSDT"}, 2),
        ("ticker/24hr", {"symbols": '["BTCUSDT"]'}, 2),
        ("ticker/24hr", {}, 80),
        ("ticker/price", {"symbol": "BTCUSDT"}, 2),
        ("ticker/price", {}, 4),
        ("ticker/bookTicker", {}, 4),
        ("depth", {"symbol": "NOPE"}, 5),
    ],
)
def test_each_request_costs_what_binance_says(
    make_venue: Callable[..., Any], path: str, values: dict[str, object], weight: int
) -> None:
    venue = make_venue()
    api = RestApi(venue.exchange, venue.log)
    sent = urlencode([(name, str(value)) for name, value in values.items()])
    for times in (1, 2):
        answer = api.answer("GET", f"/api/v3/{path}", query=sent, address="10.0.0.1", now_ns=venue.now_ns)
        assert answer.headers == {"x-mbx-used-weight": str(weight * times), "x-mbx-used-weight-1m": str(weight * times)}


def test_above_the_limit_comes_429_and_then_418_for_who_goes_on(asked: MakeAsked) -> None:
    venue, ask = asked(weight_limit=40)
    assert "bids" in ask("depth", symbol="BTCUSDT", limit=200)
    refusals = [ask("exchangeInfo") for _ in range(12)]
    assert [r.http_status for r in refusals] == [429] * 10 + [418] * 2
    assert refusals[0].body["code"] == -1003
    assert "current limit is 40 request weight per 1 MINUTE" in refusals[0].body["msg"]
    left_seconds = 60 - venue.now_ns // 10**9 % 60
    assert refusals[0].headers["Retry-After"] == str(left_seconds)
    assert refusals[10].headers["Retry-After"] == "120"
    assert f"IP banned until {venue.now_ns // MS + 120_000}" in refusals[10].body["msg"]
    assert ask("ping", address="10.0.0.2") == {}  # others are not touched


def test_new_minute_clears_the_weight_and_an_ended_ban_is_forgiven_once(asked: MakeAsked) -> None:
    venue, ask = asked(weight_limit=40)
    for _ in range(3):
        refused = ask("exchangeInfo")
    assert refused.http_status == 429
    venue.now_ns += 60 * 10**9
    assert "symbols" in ask("exchangeInfo")
    for _ in range(13):
        refused = ask("exchangeInfo")
    assert refused.http_status == 418
    venue.now_ns += 121 * 10**9
    assert "symbols" in ask("exchangeInfo")
    for _ in range(13):
        refused = ask("exchangeInfo")
    assert refused.headers["Retry-After"] == "240"  # the second ban is twice as long

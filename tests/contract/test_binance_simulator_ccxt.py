"""The real, unmodified ccxt against the Binance simulator as a real process: REST."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tradingbot_sandbox.venues.process import VenueProcess, running_venue


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT,ADAUSDT"]) as process:
        yield process


@pytest.fixture
async def exchange(venue: VenueProcess) -> AsyncIterator[Any]:
    client = connect(venue)
    yield client
    await client.close()


def connect(venue: VenueProcess) -> Any:
    client = ccxt.binance({"options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = venue.rest_url
    return client


async def test_markets_have_the_venues_limits_and_precision(exchange: Any) -> None:
    markets = await exchange.load_markets()
    assert sorted(markets) == ["ADA/USDT", "BTC/USDT", "ETH/USDT"]
    ada = markets["ADA/USDT"]
    assert ada["active"] is True
    assert ada["spot"] is True
    assert (ada["precision"]["price"], ada["precision"]["amount"]) == (0.0001, 0.1)
    assert ada["limits"]["cost"]["min"] == 5.0
    assert exchange.amount_to_precision("BTC/USDT", 0.123456789) == "0.12345"


async def test_ticker_and_book_belong_together(exchange: Any) -> None:
    ticker = await exchange.fetch_ticker("BTC/USDT")
    assert ticker["bid"] < ticker["ask"]
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    book = await exchange.fetch_order_book("BTC/USDT", 100)
    assert len(book["bids"]) == len(book["asks"]) == 100
    assert book["bids"][0][0] < book["asks"][0][0]
    assert [p for p, _ in book["bids"]] == sorted((p for p, _ in book["bids"]), reverse=True)
    assert isinstance(book["nonce"], int)


@pytest.mark.parametrize("timeframe", ["1s", "1m", "1h", "1d"])
async def test_candles_are_enough_to_warm_an_indicator_up(exchange: Any, timeframe: str) -> None:
    rows = await exchange.fetch_ohlcv("BTC/USDT", timeframe, limit=200)
    assert len(rows) == 200
    step = exchange.parse_timeframe(timeframe) * 1000
    assert [row[0] - rows[0][0] for row in rows] == [n * step for n in range(200)]
    for _, opened, high, low, closed, volume in rows:
        assert low <= min(opened, closed) <= max(opened, closed) <= high
        assert volume >= 0


async def test_candles_since_a_time_start_there(exchange: Any) -> None:
    now = await exchange.fetch_time()
    since = now // 60_000 * 60_000 - 600_000
    rows = await exchange.fetch_ohlcv("ETH/USDT", "1m", since=since, limit=5)
    assert [row[0] for row in rows] == [since + n * 60_000 for n in range(5)]


async def test_trades_are_given_with_their_side(exchange: Any, venue: VenueProcess) -> None:
    venue.burst(trades=10, symbol="BTCUSDT")
    trades = await exchange.fetch_trades("BTC/USDT", limit=5, params={"fetchTradesMethod": "publicGetTrades"})
    assert len(trades) == 5
    assert {trade["side"] for trade in trades} <= {"buy", "sell"}
    assert [int(t["id"]) for t in trades] == sorted(int(t["id"]) for t in trades)


async def test_clock_is_the_wall_clock(exchange: Any) -> None:
    before = exchange.milliseconds()
    server = await exchange.fetch_time()
    assert before - 1 <= server <= exchange.milliseconds() + 1


async def test_numbers_are_strings_with_eight_decimals(exchange: Any) -> None:
    raw = await exchange.publicGetTickerBookTicker({"symbol": "ADAUSDT"})
    assert all(len(raw[key].split(".")[1]) == 8 for key in ("bidPrice", "bidQty", "askPrice", "askQty"))
    assert Decimal(raw["bidPrice"]) % Decimal("0.0001") == 0


@pytest.mark.parametrize(
    ("method", "params", "error", "code"),
    [
        ("publicGetDepth", {"symbol": "NOPEUSDT"}, ccxt.BadSymbol, "-1121"),
        ("publicGetDepth", {"symbol": "btcusdt"}, ccxt.BadRequest, "-1100"),
        ("publicGetDepth", {}, ccxt.BadRequest, "-1102"),
        ("publicGetKlines", {"symbol": "BTCUSDT", "interval": "7m"}, ccxt.BadRequest, "-1120"),
        ("publicGetTime", {"a": 1}, ccxt.BadRequest, "-1101"),
    ],
)
async def test_refusals_come_with_binances_codes(
    exchange: Any, method: str, params: dict[str, object], error: type[Exception], code: str
) -> None:
    with pytest.raises(error, match=code):
        await getattr(exchange, method)(params)


async def test_used_weight_is_told_with_each_answer(venue: VenueProcess) -> None:
    client = connect(venue)
    try:
        used = []
        for _ in range(3):
            await client.publicGetDepth({"symbol": "BTCUSDT", "limit": 1000})
            used.append(int(client.last_response_headers["x-mbx-used-weight-1m"]))
    finally:
        await client.close()
    # a new minute may begin in between: then the count starts anew
    assert used[2] - used[1] == 50 or used[1] - used[0] == 50


async def test_too_much_weight_is_429_and_going_on_is_418() -> None:
    with running_venue("binance", ["--weight-limit", "20"]) as venue:
        client = connect(venue)
        client.enableRateLimit = False
        try:
            texts: list[str] = []
            waits: list[int] = []
            for _ in range(40):  # even if a new minute begins in between
                try:
                    await client.publicGetExchangeInfo()
                except ccxt.DDoSProtection as error:
                    texts.append(str(error))
                    waits.append(int(client.last_response_headers["Retry-After"]))
                if texts and " 418 " in texts[-1]:
                    break
        finally:
            await client.close()
        statuses = [int(text.split()[1]) for text in texts]
        assert statuses[-1] == 418
        assert min(waits) >= 1
        assert all('"code":-1003' in text for text in texts)
        assert statuses.count(429) >= 10
        assert venue.state()["used_weight"]["127.0.0.1"] > 20
        refused = [line["status"] for line in venue.log_lines() if line["event"] == "request_refused"]
        assert refused == statuses


async def test_state_and_log_say_what_is_going_on(venue: VenueProcess, exchange: Any) -> None:
    await exchange.fetch_ohlcv("BTC/USDT", "1m", limit=10)
    state = venue.state()
    assert state["market"] == "synthetic"
    assert state["play"]["state"] == "playing"
    assert state["symbols"] == ["ADAUSDT", "BTCUSDT", "ETHUSDT"]
    lines = venue.log_lines()
    assert [line["event"] for line in lines[:3]] == ["market_ready", "play_started", "listening"]
    assert lines[2]["address"] == venue.address
    assert any(line["event"] == "klines_served" and line["klines_from_walk"] for line in lines)

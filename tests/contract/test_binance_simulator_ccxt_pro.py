"""The real, unmodified ccxt.pro against the Binance simulator as a real process: streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import ccxt.pro as ccxtpro
import pytest

from tradingbot_sandbox.venues.process import VenueProcess, running_venue

DEADLINE_SECONDS = 30


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
async def exchange(venue: VenueProcess) -> AsyncIterator[Any]:
    client = ccxtpro.binance({"options": {"fetchMarkets": {"types": ["spot"]}}, "newUpdates": True})
    client.urls["api"]["public"] = venue.rest_url
    client.urls["api"]["ws"]["spot"] = venue.stream_url
    async with asyncio.timeout(DEADLINE_SECONDS):
        await client.load_markets()
        yield client
        await client.close()


async def test_watched_trades_are_consecutive(exchange: Any) -> None:
    ids: list[int] = []
    while len(ids) < 30:
        ids += [int(trade["id"]) for trade in await exchange.watch_trades("BTC/USDT")]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_watched_book_follows_the_venues(exchange: Any) -> None:
    for _ in range(15):
        book = await exchange.watch_order_book("BTC/USDT")
        assert book["bids"][0][0] < book["asks"][0][0]
    # both books at one update id: the venue's moves on, so it is asked until the watched one has been there
    seen = {}
    for _ in range(100):
        book = await exchange.watch_order_book("BTC/USDT")
        seen[book["nonce"]] = (
            [list(level) for level in book["bids"][:20]],
            [list(level) for level in book["asks"][:20]],
        )
        rest = await exchange.fetch_order_book("BTC/USDT", 20)
        if rest["nonce"] in seen:
            assert seen[rest["nonce"]] == (rest["bids"], rest["asks"])
            return
    pytest.fail("the books never met at one update id")


async def test_watched_ticker_is_told_again(exchange: Any) -> None:
    first = await exchange.watch_ticker("BTC/USDT", {"name": "ticker"})
    second = await exchange.watch_ticker("BTC/USDT", {"name": "ticker"})
    assert second["timestamp"] > first["timestamp"]
    assert second["bid"] < second["ask"]
    assert second["low"] <= second["last"] <= second["high"]


async def test_watched_candles_agree_with_the_rest_candles(exchange: Any) -> None:
    watched: dict[int, list[float]] = {}
    while len(watched) < 3:
        for row in await exchange.watch_ohlcv("BTC/USDT", "1s"):
            watched[row[0]] = row
    rest = {row[0]: row for row in await exchange.fetch_ohlcv("BTC/USDT", "1s", limit=20)}
    for opened, row in watched.items():
        assert row == rest[opened]


async def test_watched_mini_ticker_has_the_days_prices(exchange: Any) -> None:
    ticker = await exchange.watch_ticker("BTC/USDT", {"name": "miniTicker"})
    assert ticker["low"] <= ticker["last"] <= ticker["high"]


async def test_watched_best_bids_and_asks_are_not_crossed(exchange: Any) -> None:
    for _ in range(20):
        tickers = await exchange.watch_bids_asks(["BTC/USDT", "ETH/USDT"])
        for ticker in tickers.values():
            assert ticker["bid"] < ticker["ask"]


async def test_two_symbols_come_over_one_connection(exchange: Any) -> None:
    seen: set[str] = set()
    while len(seen) < 2:
        seen |= {trade["symbol"] for trade in await exchange.watch_trades_for_symbols(["BTC/USDT", "ETH/USDT"])}
    assert seen == {"BTC/USDT", "ETH/USDT"}


async def test_unwatched_stream_has_no_listener_any_more(exchange: Any, venue: VenueProcess) -> None:
    await exchange.watch_ticker("ETH/USDT")
    assert venue.state()["streams"]["ethusdt@miniTicker"]["listeners"] == 1
    await exchange.un_watch_ticker("ETH/USDT")
    assert venue.state()["streams"]["ethusdt@miniTicker"]["listeners"] == 0


async def test_burst_reaches_who_takes_each_message(exchange: Any, venue: VenueProcess) -> None:
    """ccxt's cache keeps 1,000 trades; whoever takes the messages themselves misses none."""
    taken: list[int] = []
    handle_trade = exchange.handle_trade

    def take(client: Any, message: dict[str, Any]) -> None:
        taken.append(int(message["t"]))
        handle_trade(client, message)

    exchange.handle_trade = take
    await exchange.watch_trades("ETH/USDT")
    venue.burst(trades=20_000, symbol="ETHUSDT")
    while len(taken) < 20_000:
        await exchange.watch_trades("ETH/USDT")
    assert taken == list(range(taken[0], taken[0] + len(taken)))
    assert venue.state()["slow_clients"] == 0

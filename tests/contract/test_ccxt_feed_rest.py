"""What the trader asks Binance over REST, through the real ccxt: the simulator, and a venue that errs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tradingbot_api.spec import ExchangeId, Network, Timeframe
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.market.instrument import Instrument, PriceBand
from tradingbot_trader.orders.budget import Counts, RateBudget, RateLimit
from tradingbot_trader.venues import binance
from tradingbot_trader.venues.ccxt_port import RATE_LIMIT_PAUSE_SECONDS, build_market_data
from tradingbot_trader.venues.port import MarketDataPort, UnknownSymbol, VenueRefused, VenueUnavailable

DEADLINE_SECONDS = 60
MS_NS = 1_000_000


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


def port_to(rest_url: str) -> MarketDataPort:
    return build_market_data(
        ExchangeId.BINANCE, Network.SANDBOX, clock=SystemClock(), rest_url=rest_url, stream_url="ws://127.0.0.1:9/ws"
    )


@pytest.fixture
async def port(venue: VenueProcess) -> AsyncIterator[MarketDataPort]:
    made = port_to(venue.rest_url)
    async with asyncio.timeout(DEADLINE_SECONDS):
        yield made
        await made.close()


async def raw(venue: VenueProcess, path: str, **query: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{venue.rest_url}/{path}", params=query) as answer:
        return await answer.json()


async def test_rate_limits_of_the_venue_reach_the_budget(venue: VenueProcess) -> None:
    budget = RateBudget([])
    made = build_market_data(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=SystemClock(),
        rest_url=venue.rest_url,
        stream_url="ws://127.0.0.1:9/ws",
        on_rate_limits=budget.learn_limits,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        await made.load_instruments(["BTC/USDT"])
        await made.close()
    assert RateLimit(Counts.WEIGHT, 60, 6_000) in budget.limits
    assert RateLimit(Counts.ORDERS, 10, 100) in budget.limits


async def test_instruments_carry_the_venues_filters_exactly(port: MarketDataPort) -> None:
    instruments = await port.load_instruments(["ETH/USDT", "BTC/USDT"])
    assert list(instruments) == ["ETH/USDT", "BTC/USDT"]
    assert instruments["BTC/USDT"] == Instrument(
        symbol="BTC/USDT",
        venue_symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        price_tick=Decimal("0.01"),
        quantity_step=Decimal("0.00001"),
        min_quantity_base=Decimal("0.00001"),
        max_quantity_base=instruments["BTC/USDT"].max_quantity_base,
        min_notional_quote=Decimal(5),
        max_notional_quote=Decimal(9000000),
        max_price=Decimal(1000000),
        buy_band=PriceBand(Decimal("0.2"), Decimal(5)),
        sell_band=PriceBand(Decimal("0.2"), Decimal(5)),
    )


async def test_every_symbol_that_the_venue_does_not_list_is_named_and_no_other(port: MarketDataPort) -> None:
    with pytest.raises(UnknownSymbol) as caught:
        await port.load_instruments(["BTC/USDT", "NOPE/USDT", "ETH/USDT", "MOON/USDT"])
    assert caught.value.symbols == ("NOPE/USDT", "MOON/USDT")
    assert "Binance does not trade NOPE/USDT, MOON/USDT on its spot market" in str(caught.value)
    assert list(await port.load_instruments(["ETH/USDT"])) == ["ETH/USDT"], "a wrong edit leaves the port usable"


async def test_single_unknown_symbol_is_named(port: MarketDataPort) -> None:
    with pytest.raises(UnknownSymbol, match="NOPE/USDT"):
        await port.load_instruments(["NOPE/USDT"])


async def test_server_time_is_the_venues(port: MarketDataPort, venue: VenueProcess) -> None:
    before = (await raw(venue, "time"))["serverTime"] * MS_NS
    asked = await port.server_time_ns()
    assert before <= asked <= (await raw(venue, "time"))["serverTime"] * MS_NS


async def test_candles_are_closed_in_order_and_exact(port: MarketDataPort, venue: VenueProcess) -> None:
    await port.load_instruments(["BTC/USDT"])
    candles = await port.fetch_candles("BTC/USDT", Timeframe.S1, limit=20)
    assert len(candles) == 20
    assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(candles))
    assert candles[-1].close_time_ns <= await port.server_time_ns()
    first_ms = candles[0].open_time_ns // MS_NS
    rows = await raw(venue, "klines", symbol="BTCUSDT", interval="1s", startTime=str(first_ms), limit="20")
    assert [
        [each.open_time_ns // MS_NS, *(f"{price:f}" for price in (each.open, each.high, each.low, each.close))]
        for each in candles
    ] == [row[:5] for row in rows]
    assert [(f"{each.volume_base:f}", each.trades) for each in candles] == [(row[5], row[8]) for row in rows]


@pytest.mark.parametrize("limit", [1, 999, 1_000, 2_500])
async def test_more_candles_than_one_request_brings_join_without_a_seam(port: MarketDataPort, limit: int) -> None:
    await port.load_instruments(["BTC/USDT"])
    candles = await port.fetch_candles("BTC/USDT", Timeframe.M1, limit=limit)
    assert len(candles) == limit
    assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(candles))


async def test_venue_that_is_away_is_unavailable_and_no_query_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    port = port_to(f"http://{address[0]}:{address[1]}/api/v3")
    with pytest.raises(VenueUnavailable) as caught:
        await port.load_instruments(["BTC/USDT"])
    await port.close()
    assert "/api/v3/exchangeInfo" in str(caught.value)
    assert "BTCUSDT" not in str(caught.value)
    assert "?" not in str(caught.value)
    assert caught.value.__cause__ is None, "ccxt's own error carries the whole URL into any trace"


class ErringVenue:
    """Answers everything with the same."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self._answer = (status, text, headers or {})

    async def __aenter__(self) -> MarketDataPort:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self._port = port_to(f"http://{host}:{port}/api/v3")
        return self._port

    async def __aexit__(self, *_: object) -> None:
        await self._port.close()
        await self._runner.cleanup()

    async def _handle(self, _: web.Request) -> web.Response:
        status, text, headers = self._answer
        return web.Response(status=status, text=text, headers=headers, content_type="application/json")


ASKED_TO_WAIT = '{"code":-1003,"msg":"Too many requests."}'


async def test_venue_that_asks_for_patience_says_for_how_long() -> None:
    async with ErringVenue(429, ASKED_TO_WAIT, {"Retry-After": "17"}) as port:
        with pytest.raises(VenueUnavailable) as caught:
            await port.server_time_ns()
        assert caught.value.retry_after_seconds == 17


async def test_ban_without_a_time_is_a_minute() -> None:
    async with ErringVenue(418, ASKED_TO_WAIT) as port:
        with pytest.raises(VenueUnavailable) as caught:
            await port.server_time_ns()
        assert caught.value.retry_after_seconds == RATE_LIMIT_PAUSE_SECONDS


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_venue_in_trouble_is_asked_again(status: int) -> None:
    async with ErringVenue(status, "<html>trouble</html>") as port:
        with pytest.raises(VenueUnavailable):
            await port.server_time_ns()


async def test_refusal_is_not_asked_again() -> None:
    async with ErringVenue(400, json.dumps({"code": -1102, "msg": "A mandatory parameter was not sent."})) as port:
        with pytest.raises(VenueRefused, match="-1102"):
            await port.server_time_ns()


@pytest.mark.parametrize("text", ["[]", "{}", '"soon"', "", "no JSON at all"])
async def test_answer_that_cannot_be_read_is_the_venues_fault(text: str) -> None:
    async with ErringVenue(200, text) as port:
        with pytest.raises(VenueUnavailable):
            await port.server_time_ns()
        with pytest.raises((VenueUnavailable, UnknownSymbol)):
            await port.load_instruments(["BTC/USDT"])


async def test_market_that_is_listed_but_halted_is_unknown() -> None:
    listing = {
        "symbol": "BTCUSDT",
        "status": "BREAK",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "isSpotTradingAllowed": True,
        "filters": [],
    }
    async with ErringVenue(200, json.dumps({"symbols": [listing]})) as port:
        with pytest.raises(UnknownSymbol, match="BTC/USDT"):
            await port.load_instruments(["BTC/USDT"])


def test_addresses_are_those_that_ccxt_knows() -> None:
    import ccxt.pro

    urls = ccxt.pro.binance().urls
    for network, name in ((Network.MAINNET, "api"), (Network.TESTNET, "test")):
        assert binance.ADDRESSES[network] == (urls[name]["public"], urls[name]["ws"]["spot"])

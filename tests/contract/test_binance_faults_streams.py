"""The fault script of the Binance simulator as a process: on market streams and on the user data stream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from support.binance_ccxt import BTC, Trader, fresh_id, trading
from tradingbot_sandbox.venues.binance.auth import sign
from tradingbot_sandbox.venues.binance.ws_api import sorted_payload
from tradingbot_sandbox.venues.process import VenueProcess, running_venue

DEADLINE_SECONDS = 30
QUIET_SECONDS = 0.5
"""So long nothing must come; the market tells twelve trades a second, and a ping is answered at once."""


@pytest.fixture(scope="module")
def shared() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "15", "--symbols", "BTCUSDT", "--weight-limit", "1000000"]) as process:
        yield process


@pytest.fixture
def venue(shared: VenueProcess) -> Iterator[VenueProcess]:
    yield shared
    shared.remove_fault()


@pytest.fixture
async def trader(venue: VenueProcess) -> AsyncIterator[Trader]:
    async with trading(venue) as made:
        yield made
        made.faults.clear()  # `venue` takes all of them away


class Stream:
    """A client of a WebSocket that looks at each frame itself."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def message(self) -> Any:
        """The next message, past pings."""
        while (frame := await self.frame()).type is not aiohttp.WSMsgType.TEXT:
            assert frame.type is aiohttp.WSMsgType.PING, frame
        return json.loads(frame.data)

    async def frame(self) -> aiohttp.WSMessage:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.socket.receive()

    async def is_quiet(self) -> bool:
        """Does nothing come, not even the answer to a ping?"""
        await self.socket.ping(b"are you there")
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await self.socket.receive()
        except TimeoutError:
            return True
        return False

    async def until_quiet(self) -> None:
        """Past what was on its way before."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await self.is_quiet():
                pass

    async def until_dead(self) -> None:
        """Past what was on its way before, to the end without a goodbye."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (kind := (await self.socket.receive()).type) in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING):
                pass
        assert kind in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)

    async def drain(self) -> None:
        """Take away what was on its way before: the answer to a ping comes after it."""
        await self.socket.ping(b"that is all")
        while (await self.frame()).type is not aiohttp.WSMsgType.PONG:
            pass

    async def reports(self, count: int) -> list[tuple[str, str]]:
        """Of the next events so many execution reports: client id, execution type."""
        told: list[tuple[str, str]] = []
        while len(told) < count:
            event = (await self.message())["event"]
            if event["e"] == "executionReport":
                told.append((event["C"] or event["c"], event["x"]))
        return told


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Stream]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, autoping=False) as socket:
        yield Stream(socket)


@asynccontextmanager
async def hearing(trader: Trader) -> AsyncIterator[Stream]:
    """The user data stream of the trader's account."""
    async with listening(trader.venue.session_url) as stream:
        params = {"apiKey": trader.client.apiKey, "timestamp": str(trader.client.milliseconds())}
        params["signature"] = sign(trader.client.secret, sorted_payload(params))
        await stream.socket.send_json({"id": 1, "method": "userDataStream.subscribe.signature", "params": params})
        assert (await stream.message())["status"] == 200
        yield stream


async def test_gap_of_so_many_trades_is_on_the_stream_and_not_on_rest(trader: Trader) -> None:
    async with listening(f"{trader.venue.stream_url}/btcusdt@trade") as stream:
        number = trader.add_fault("drop-events", events=5, when={"stream": "trade", "nth": 3})
        trader.venue.burst(trades=40, symbol="BTCUSDT")
        ids = [(await stream.message())["t"] for _ in range(30)]
    missing = sorted(set(range(ids[0], ids[-1] + 1)) - set(ids))
    assert len(missing) == 5
    assert missing == list(range(missing[0], missing[0] + 5))
    assert trader.fault(number)["hits"] == 1
    params = {"fetchTradesMethod": "publicGetTrades"}
    told = {int(t["id"]) for t in await trader.client.fetch_trades(BTC, limit=1000, params=params)}
    assert set(missing) <= told


async def test_silent_stream_stays_open_and_answers_no_ping_until_it_is_over(venue: VenueProcess) -> None:
    async with listening(f"{venue.stream_url}/btcusdt@trade") as stream:
        await stream.message()
        silence = venue.add_fault("silence", when={"operation": "market-stream"})
        venue.add_fault("silence", when={"operation": "user-stream"})
        await stream.until_quiet()
        async with listening(f"{venue.stream_url}/btcusdt@trade") as other:
            assert await other.is_quiet()
        venue.remove_fault(silence)
        assert (await stream.message())["e"] == "trade"
        await stream.drain()


async def test_silence_of_old_connections_leaves_new_ones_alone(venue: VenueProcess) -> None:
    async with listening(f"{venue.stream_url}/btcusdt@trade") as stream:
        await stream.message()
        venue.add_fault("silence", new_connections=False)
        await stream.until_quiet()
        async with listening(f"{venue.stream_url}/btcusdt@trade") as other:
            assert (await other.message())["e"] == "trade"


async def test_streams_are_disconnected_without_a_goodbye(venue: VenueProcess) -> None:
    async with listening(f"{venue.stream_url}/btcusdt@trade") as stream:
        await stream.message()
        venue.add_fault("disconnect", when={"operation": "market-stream"})
        await stream.until_dead()
    async with listening(f"{venue.stream_url}/btcusdt@trade") as again:
        assert (await again.message())["e"] == "trade"


async def test_stale_market_has_a_frozen_book_and_no_trade_and_then_goes_on_without_a_gap(venue: VenueProcess) -> None:
    async with listening(f"{venue.stream_url}/btcusdt@trade") as stream, trading(venue) as trader:
        last = (await stream.message())["t"]
        stale = venue.add_fault("stale-market", symbol="BTCUSDT")
        # until it is over, all that comes was on its way before
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await only_pongs(stream):
                pass
        book = await trader.client.fetch_order_book(BTC, 100)
        ticker = await trader.client.publicGetTicker24hr({"symbol": "BTCUSDT"})
        assert await only_pongs(stream)
        assert (await trader.client.fetch_order_book(BTC, 100))["nonce"] == book["nonce"]
        assert (await trader.client.publicGetTicker24hr({"symbol": "BTCUSDT"}))["lastId"] == ticker["lastId"]
        began_ms = time.time_ns() // 10**6
        venue.remove_fault(stale)
        resumed = await stream.message()
        assert resumed["t"] == int(ticker["lastId"]) + 1 > last
        assert resumed["T"] >= began_ms - 200


async def only_pongs(stream: Stream) -> bool:
    """Does for a while nothing come but the answer to our ping?"""
    await stream.socket.ping(b"are you there")
    frames = []
    try:
        async with asyncio.timeout(QUIET_SECONDS):
            while True:
                frames.append((await stream.socket.receive()).type)
    except TimeoutError:
        return frames == [aiohttp.WSMsgType.PONG]


async def rest_and_cancel(trader: Trader, client_id: str) -> None:
    """Two execution reports, and no more: NEW and CANCELED."""
    await trader.rest(client_id)
    await trader.client.cancel_order(None, BTC, {"clientOrderId": client_id})


async def test_user_events_are_doubled(trader: Trader) -> None:
    async with hearing(trader) as stream:
        client_id, after = fresh_id(), fresh_id()
        trader.add_fault("duplicate-event", when={"client_id": client_id, "stream": "executionReport"})
        await rest_and_cancel(trader, client_id)
        await trader.rest(after)
        assert await stream.reports(5) == [
            (client_id, "NEW"),
            (client_id, "NEW"),
            (client_id, "CANCELED"),
            (client_id, "CANCELED"),
            (after, "NEW"),
        ]


async def test_user_events_are_reordered(trader: Trader) -> None:
    async with hearing(trader) as stream:
        client_id = fresh_id()
        trader.add_fault("reorder-events", window=2, when={"client_id": client_id, "stream": "executionReport"})
        await rest_and_cancel(trader, client_id)
        assert await stream.reports(2) == [(client_id, "CANCELED"), (client_id, "NEW")]


async def test_user_event_is_dropped(trader: Trader) -> None:
    async with hearing(trader) as stream:
        client_id, after = fresh_id(), fresh_id()
        trader.add_fault("drop-events", when={"client_id": client_id, "stream": "executionReport", "nth": 2})
        await rest_and_cancel(trader, client_id)
        await trader.rest(after)
        assert await stream.reports(2) == [(client_id, "NEW"), (after, "NEW")]


async def test_user_event_is_late_and_overtaken(trader: Trader) -> None:
    async with hearing(trader) as stream:
        client_id, after = fresh_id(), fresh_id()
        late = trader.add_fault("delay-event", seconds=1, when={"client_id": client_id, "nth": 2})
        await rest_and_cancel(trader, client_id)
        await trader.rest(after)
        assert await stream.reports(3) == [(client_id, "NEW"), (after, "NEW"), (client_id, "CANCELED")]
        assert trader.fault(late)["hits"] == 1


async def test_user_stream_falls_silent_with_an_event_while_market_streams_go_on(trader: Trader) -> None:
    async with hearing(trader) as stream, listening(f"{trader.venue.stream_url}/btcusdt@trade") as market:
        client_id = fresh_id()
        trader.add_fault(
            "silence", when={"operation": "user-stream", "client_id": client_id, "stream": "executionReport", "nth": 2}
        )
        await rest_and_cancel(trader, client_id)
        assert await stream.reports(1) == [(client_id, "NEW")]
        assert (await stream.message())["event"]["e"] == "outboundAccountPosition"
        assert await stream.is_quiet()
        await market.drain()


async def test_user_stream_is_disconnected_with_an_event(trader: Trader) -> None:
    async with hearing(trader) as stream, listening(f"{trader.venue.stream_url}/btcusdt@trade") as market:
        client_id = fresh_id()
        cut = trader.add_fault("disconnect", when={"operation": "user-stream", "client_id": client_id, "nth": 1})
        await trader.rest(client_id)
        await stream.until_dead()
        assert trader.fault(cut)["hits"] == 1
        await market.drain()
    async with hearing(trader) as again:
        await trader.rest(client_id := fresh_id())
        assert await again.reports(1) == [(client_id, "NEW")]


async def test_lost_answer_is_told_by_the_user_stream(trader: Trader) -> None:
    """What tells a trader of an order whose answer it never saw."""
    async with hearing(trader) as stream:
        client_id = fresh_id()
        trader.add_fault("accept-late", seconds=0.3, answered=False, when={"client_id": client_id})
        with pytest.raises(Exception, match="POST"):
            await trader.rest(client_id)
        assert await stream.reports(1) == [(client_id, "NEW")]
        assert trader.accepted(client_id) == 1

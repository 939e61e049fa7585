"""What a venue may send that it should not, through the real ccxt.pro, from a venue that says what a test writes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.market.events import Book, FeedChange, FeedGap, FeedState, Trade
from tradingbot_trader.market.feed import FeedSettings
from tradingbot_trader.venues.ccxt_port import build_market_data
from tradingbot_trader.venues.port import MarketDataPort

DEADLINE_SECONDS = 60
BTC = "BTC/USDT"
LISTING = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "baseAssetPrecision": 8,
    "quoteAssetPrecision": 8,
    "isSpotTradingAllowed": True,
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
    ],
}


def trade(number: int, **other: Any) -> dict[str, Any]:
    at_ms = 1_723_161_255_000 + number
    message = {"e": "trade", "E": at_ms + 1, "s": "BTCUSDT", "t": number, "p": "100.10000000", "q": "0.20000000"}
    return message | {"T": at_ms, "m": True, "M": True} | other


def depth(first: int, final: int, *, bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    at_ms = 1_723_161_255_000 + final
    return {"e": "depthUpdate", "E": at_ms, "s": "BTCUSDT", "U": first, "u": final, "b": bids, "a": asks}


class Venue:
    """Says what it is told to say, to whoever listens, once both subscriptions have come."""

    def __init__(self) -> None:
        self.snapshots: list[Any] = []
        """Answers to `depth`, the last one for ever: a body, or an HTTP status."""
        self.snapshot_requests = 0
        self.refuse_streams = 0
        self.refuse_dials = 0
        self.abort_dials = 0
        self._sockets: list[web.WebSocketResponse] = []
        self._subscribed: asyncio.Queue[list[str]] = asyncio.Queue()

    async def __aenter__(self) -> Venue:
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", self._listings)
        app.router.add_get("/api/v3/depth", self._depth)
        app.router.add_get("/ws/0", self._stream)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = "{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def subscribed_to(self, stream: str) -> None:
        while stream not in await self._subscribed.get():
            pass

    async def say(self, *messages: Any) -> None:
        for message in messages:
            await self._sockets[-1].send_str(message if isinstance(message, str) else json.dumps(message))

    async def _listings(self, _: web.Request) -> web.Response:
        return web.json_response({"symbols": [LISTING]})

    async def _depth(self, _: web.Request) -> web.Response:
        answer = self.snapshots[min(self.snapshot_requests, len(self.snapshots) - 1)]
        self.snapshot_requests += 1
        return web.Response(status=answer) if isinstance(answer, int) else web.json_response(answer)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_dials:
            self.refuse_dials -= 1
            return web.Response(status=429, headers={"Retry-After": "2"})
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        if self.abort_dials and request.transport is not None:
            self.abort_dials -= 1
            request.transport.abort()
        self._sockets.append(socket)
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                command = json.loads(frame.data)
                if self.refuse_streams:
                    self.refuse_streams -= 1
                    await socket.send_json({"error": {"code": 2, "msg": "Invalid request"}, "id": command["id"]})
                    continue
                await socket.send_json({"result": None, "id": command["id"]})
                self._subscribed.put_nowait(command["params"])
        return socket


class Sink:
    def __init__(self) -> None:
        self.trades: list[Trade] = []
        self.books: list[Book] = []
        self.changes: list[FeedChange] = []
        self.gaps: list[FeedGap] = []
        self._changed = asyncio.Event()

    def on_trade(self, trade: Trade) -> None:
        self.trades.append(trade)
        self._changed.set()

    def on_book(self, book: Book) -> None:
        self.books.append(book)
        self._changed.set()

    def on_feed(self, change: FeedChange) -> None:
        self.changes.append(change)
        self._changed.set()

    def on_gap(self, gap: FeedGap) -> None:
        self.gaps.append(gap)

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()


@contextlib.asynccontextmanager
async def streaming(venue: Venue, sink: Sink) -> AsyncIterator[MarketDataPort]:
    port = build_market_data(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=SystemClock(),
        rest_url=f"http://{venue.address}/api/v3",
        stream_url=f"ws://{venue.address}/ws",
        settings=FeedSettings(silence_seconds=30, first_backoff_seconds=0.1, max_backoff_seconds=0.2),
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        await port.load_instruments([BTC])
        task = asyncio.create_task(port.run([BTC], sink))
        try:
            yield port
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await port.close()


SNAPSHOT = {"lastUpdateId": 10, "bids": [["99.00000000", "1.5"]], "asks": [["101.00000000", "2.5"]]}
TRADES, BOOKS = "btcusdt@trade", "btcusdt@depth@100ms"


async def test_trades_are_asked_for_before_books() -> None:
    async with Venue() as venue:
        venue.snapshots = [SNAPSHOT]
        async with streaming(venue, Sink()):
            assert await venue._subscribed.get() == [TRADES]
            assert await venue._subscribed.get() == [BOOKS]


UNREADABLE = [
    "{not JSON",
    "[]",
    trade(3, p="NaN"),
    trade(3, p="-1"),
    trade(3, p=100.1),
    trade(3, q="0"),
    trade(3, q=None),
    trade(3, T="soon"),
    trade(3, s="ETHUSDT"),
    {"e": "trade", "s": "BTCUSDT"},
    {"e": "depthUpdate"},
    depth(1, 2) | {"s": "ETHUSDT"},
]


@pytest.mark.parametrize("frame", UNREADABLE, ids=range(len(UNREADABLE)))
async def test_frame_that_cannot_be_read_is_counted_and_the_next_ones_are_taken(frame: Any) -> None:
    sink = Sink()
    async with Venue() as venue:
        venue.snapshots = [SNAPSHOT]
        async with streaming(venue, sink) as port:
            await venue.subscribed_to(TRADES)
            await venue.say(trade(1), trade(2), frame, trade(4), trade(5))
            await sink.until(lambda: len(sink.trades) == 4)
            assert [each.trade_id for each in sink.trades] == ["1", "2", "4", "5"]
            counters = port.counters
            assert (counters.received, counters.delivered, counters.dropped) == (5, 4, 1)
            assert [(gap.first_missing_id, gap.missing) for gap in sink.gaps] == [("3", 1)]
            assert counters.connections == 1


async def test_numbers_that_no_float_can_hold_arrive_whole() -> None:
    sink = Sink()
    bid, ask = "12345678901234567.12345678", "12345678901234567.12345679"
    async with Venue() as venue:
        venue.snapshots = [{"lastUpdateId": 10, "bids": [[bid, "0.00000001"]], "asks": [[ask, "98765432109876543.21"]]}]
        async with streaming(venue, sink):
            await venue.subscribed_to(BOOKS)
            await venue.say(trade(1, p=bid, q=ask), depth(9, 11, asks=[[ask, "98765432109876543.22"]]))
            while not sink.books:
                await venue.say(depth(12, 12))
                await asyncio.sleep(0.02)
    assert (str(sink.trades[0].price), str(sink.trades[0].quantity_base)) == (bid, ask)
    assert [str(sink.books[-1].bids[0].price), str(sink.books[-1].asks[0].price)] == [bid, ask]
    assert sink.books[-1].asks[0].quantity_base == Decimal("98765432109876543.22")


async def test_level_that_goes_away_leaves_the_book_and_old_changes_do_nothing() -> None:
    sink = Sink()
    async with Venue() as venue:
        venue.snapshots = [SNAPSHOT | {"bids": [["99.00000000", "1.5"], ["98.50000000", "3"]]}]
        async with streaming(venue, sink):
            await venue.subscribed_to(BOOKS)
            await venue.say(depth(5, 10, bids=[["99.00", "7"]]))
            while not sink.books:
                await venue.say(depth(11, 11, bids=[["99.0", "0.00000000"]]))
                await asyncio.sleep(0.02)
    assert [(str(level.price), str(level.quantity_base)) for level in sink.books[-1].bids] == [("98.50000000", "3")]


async def test_book_that_misses_a_change_is_built_again_and_the_trades_go_on() -> None:
    sink = Sink()
    later = {"lastUpdateId": 30, "bids": [["97.00000000", "1"]], "asks": [["103.00000000", "1"]]}
    async with Venue() as venue:
        venue.snapshots = [SNAPSHOT, later]
        async with streaming(venue, sink) as port:
            await venue.subscribed_to(BOOKS)
            while not sink.books:
                await venue.say(depth(11, 11))
                await asyncio.sleep(0.02)
            await venue.say(depth(13, 14), trade(1))
            await venue.subscribed_to(BOOKS)
            while sink.books[-1].bids[0].price != Decimal(97):
                await venue.say(depth(31, 31))
                await asyncio.sleep(0.02)
            await venue.say(trade(2))
            await sink.until(lambda: len(sink.trades) == 2)
            counters = port.counters
            assert (counters.resyncs, counters.connections, counters.dropped) == (1, 1, 0)
            assert [change.state for change in sink.changes] == [FeedState.CONNECTED]


async def test_crossed_book_is_never_delivered_and_is_built_again() -> None:
    sink = Sink()
    async with Venue() as venue:
        venue.snapshots = [SNAPSHOT, SNAPSHOT | {"lastUpdateId": 30}]
        async with streaming(venue, sink) as port:
            await venue.subscribed_to(BOOKS)
            while not sink.books:
                await venue.say(depth(11, 11))
                await asyncio.sleep(0.02)
            await venue.say(depth(12, 12, bids=[["101.00000000", "1"]]))
            await venue.subscribed_to(BOOKS)
            seen = len(sink.books)
            while len(sink.books) == seen:
                await venue.say(depth(31, 31))
                await asyncio.sleep(0.02)
            assert port.counters.resyncs == 1
    assert all(book.bids[0].price < book.asks[0].price for book in sink.books)


async def test_snapshot_that_cannot_be_had_is_asked_for_again_while_trades_flow() -> None:
    sink = Sink()
    async with Venue() as venue:
        venue.snapshots = [503, SNAPSHOT]
        async with streaming(venue, sink) as port:
            await venue.subscribed_to(BOOKS)
            await venue.say(trade(1))
            await venue.subscribed_to(BOOKS)
            while not sink.books:
                await venue.say(depth(11, 11))
                await asyncio.sleep(0.02)
            await venue.say(trade(2))
            await sink.until(lambda: len(sink.trades) == 2)
            assert (port.counters.resyncs, port.counters.connections, port.counters.dropped) == (1, 1, 0)
            assert venue.snapshot_requests == 2


async def test_refused_subscription_is_a_lost_stream_with_the_venues_words_and_is_tried_again() -> None:
    sink = Sink()
    async with Venue() as venue:
        venue.snapshots, venue.refuse_streams = [SNAPSHOT], 1
        async with streaming(venue, sink):
            await venue.subscribed_to(BOOKS)
            await venue.say(trade(1))
            await sink.until(lambda: len(sink.trades) == 1)
    assert [change.state for change in sink.changes[:2]] == [FeedState.LOST, FeedState.CONNECTED]
    assert "Invalid request" in sink.changes[0].reason


async def test_connection_that_dies_while_it_is_written_to_is_just_a_lost_one() -> None:
    """ccxt passes on what the socket raises then, which is none of its own errors."""
    sink = Sink()
    async with Venue() as venue:
        venue.snapshots, venue.abort_dials = [SNAPSHOT], 20
        async with streaming(venue, sink):
            await venue.subscribed_to(BOOKS)
            assert not venue.abort_dials
            await venue.say(trade(1))
            await sink.until(lambda: len(sink.trades) == 1)


async def test_venue_that_refuses_to_be_dialled_is_left_in_peace_for_as_long_as_it_asks() -> None:
    """The waits of this test are shorter than a tick; only what the venue asked for explains two seconds."""
    clock, sink = SystemClock(), Sink()
    async with Venue() as venue:
        venue.snapshots, venue.refuse_dials = [SNAPSHOT], 1
        async with streaming(venue, sink):
            await sink.until(lambda: bool(sink.changes))
            refused_ns = clock.monotonic_ns()
            await venue.subscribed_to(TRADES)
            assert clock.monotonic_ns() - refused_ns >= 1_900_000_000
    assert "429" in sink.changes[0].reason


async def test_sink_that_fails_ends_the_feed_with_its_error() -> None:
    class Full(Sink):
        def on_trade(self, trade: Trade) -> None:  # noqa: ARG002  a sink's signature
            raise OSError("disk full")

    async with Venue() as venue:
        venue.snapshots = [SNAPSHOT]
        port = build_market_data(
            ExchangeId.BINANCE,
            Network.SANDBOX,
            clock=SystemClock(),
            rest_url=f"http://{venue.address}/api/v3",
            stream_url=f"ws://{venue.address}/ws",
        )
        async with asyncio.timeout(DEADLINE_SECONDS):
            await port.load_instruments([BTC])
            task = asyncio.create_task(port.run([BTC], Full()))
            await venue.subscribed_to(TRADES)
            await venue.say(trade(1))
            with pytest.raises(OSError, match="disk full"):
                await task
        await port.close()

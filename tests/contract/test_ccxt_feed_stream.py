"""The stream through the real ccxt.pro, against the simulator as a process, with a line between that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from tradingbot_api.spec import ExchangeId, Network, Timeframe
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.market.candles import CandleBuilder
from tradingbot_trader.market.events import Book, Candle, FeedChange, FeedGap, FeedState, Trade
from tradingbot_trader.market.feed import FeedSettings
from tradingbot_trader.venues.binance import BOOK_LEVELS
from tradingbot_trader.venues.ccxt_port import build_market_data
from tradingbot_trader.venues.port import MarketDataPort, UnknownSymbol

DEADLINE_SECONDS = 90
BTC, ETH = "BTC/USDT", "ETH/USDT"
QUICK = FeedSettings(silence_seconds=20.0, first_backoff_seconds=0.1, max_backoff_seconds=0.4)
IMPATIENT = FeedSettings(silence_seconds=2.0, first_backoff_seconds=0.1, max_backoff_seconds=0.4)


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


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
        self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    async def until_state(self, state: FeedState) -> None:
        await self.until(lambda: bool(self.changes) and self.changes[-1].state is state)

    def ids(self, symbol: str = BTC) -> list[int]:
        return [int(trade.trade_id) for trade in self.trades if trade.symbol == symbol]


class Line:
    """A TCP proxy. `cut` resets what is open; `is_held` swallows all bytes; `is_closed` refuses new connections."""

    def __init__(self, venue: VenueProcess) -> None:
        self._host, port = venue.address.split(":")
        self._port = int(port)
        self._open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self.was_opened = asyncio.Event()
        self.refusals: asyncio.Queue[None] = asyncio.Queue()
        self.opened = 0
        self.is_held = False
        self.is_closed = False

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.stream_url = f"ws://{host}:{port}/ws"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        while self._open:
            await asyncio.wait(self._open)
        await self._server.wait_closed()

    def cut(self) -> None:
        for writers in self._open.values():
            for writer in writers:
                writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        task = asyncio.ensure_future(self._serve(reader, writers))
        self._open[task] = writers
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        try:
            if self.is_closed:
                self.refusals.put_nowait(None)
                return
            self.opened += 1
            self.was_opened.set()
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
            writers.append(far_writer)
            pumps = [
                asyncio.ensure_future(self._pump(reader, far_writer)),
                asyncio.ensure_future(self._pump(far_reader, writers[0])),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for writer in writers:
                writer.transport.abort()
            await asyncio.wait(pumps)
        finally:
            for writer in writers:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not self.is_held:
                    writer.write(data)


@contextlib.asynccontextmanager
async def market_data(
    venue: VenueProcess,
    *,
    stream_url: str | None = None,
    settings: FeedSettings | None = None,
    loaded: Sequence[str] = (BTC, ETH),
) -> AsyncIterator[MarketDataPort]:
    port = build_market_data(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=SystemClock(),
        rest_url=venue.rest_url,
        stream_url=stream_url or venue.stream_url,
        settings=settings,
    )
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await port.load_instruments(loaded)
            yield port
    finally:
        await port.close()


@contextlib.asynccontextmanager
async def running(port: MarketDataPort, sink: Sink, symbols: Sequence[str] = (BTC,)) -> AsyncIterator[None]:
    task = asyncio.create_task(port.run(symbols, sink))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_trades_and_books_of_every_symbol_come_over_one_connection(venue: VenueProcess) -> None:
    sink = Sink()
    async with Line(venue) as line, market_data(venue, stream_url=line.stream_url) as port:
        async with running(port, sink, (BTC, ETH)):
            await sink.until(lambda: len(sink.ids(BTC)) > 20 and len(sink.ids(ETH)) > 5)
            await sink.until(lambda: {book.symbol for book in sink.books} == {BTC, ETH})
        assert line.opened == 1
        assert port.counters.received == port.counters.delivered == len(sink.trades)
        assert (port.counters.books, port.counters.missing) == (len(sink.books), 0)
    for symbol in (BTC, ETH):
        ids = sink.ids(symbol)
        assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert [change.state for change in sink.changes[:2]] == [FeedState.CONNECTED] * 2


async def test_trades_carry_exactly_what_the_venue_wrote(venue: VenueProcess) -> None:
    sink = Sink()
    raw: dict[int, dict[str, Any]] = {}
    async with (
        market_data(venue) as port,
        aiohttp.ClientSession() as session,
        running(port, sink),
        session.ws_connect(f"{venue.stream_url}/btcusdt@trade") as beside,
    ):
        await sink.until(lambda: bool(sink.trades))
        while len(raw) < 30:
            message = await beside.receive_json()
            raw[message["t"]] = message
        await sink.until(lambda: sink.ids()[-1] >= max(raw))
    ours = {int(trade.trade_id): trade for trade in sink.trades if int(trade.trade_id) in raw}
    assert len(ours) >= 25
    for number, trade in ours.items():
        message = raw[number]
        assert (str(trade.price), str(trade.quantity_base)) == (message["p"], message["q"])
        assert (trade.event_time_ns, trade.buyer_is_maker) == (message["T"] * 10**6, message["m"])


class ReferenceBook:
    """From the raw messages, as Binance's documentation describes it, with strings for numbers."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.update_id = snapshot["lastUpdateId"]
        self.sides = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}

    def take(self, message: dict[str, Any]) -> None:
        if message["u"] <= self.update_id:
            return
        assert message["U"] <= self.update_id + 1
        self.update_id = message["u"]
        for side, levels in self.sides.items():
            for price, quantity in message[side]:
                if Decimal(quantity):
                    levels[price] = quantity
                else:
                    levels.pop(price, None)

    def best(self, side: str) -> list[tuple[str, str]]:
        ordered = sorted(self.sides[side].items(), key=lambda level: Decimal(level[0]), reverse=side == "b")
        return ordered[:BOOK_LEVELS]


async def test_books_are_the_venues_own_to_the_last_digit(venue: VenueProcess) -> None:
    """Also that the levels are Decimal: ccxt makes floats of them, and a Decimal never meets a float of its value."""
    sink = Sink()
    expected: dict[int, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {}
    async with (
        market_data(venue) as port,
        aiohttp.ClientSession() as session,
        running(port, sink),
        session.ws_connect(f"{venue.stream_url}/btcusdt@depth@100ms") as beside,
    ):
        first = await beside.receive_json()
        await sink.until(lambda: bool(sink.books))
        query = {"symbol": "BTCUSDT", "limit": "1000"}
        async with session.get(f"{venue.rest_url}/depth", params=query) as answer:
            reference = ReferenceBook(await answer.json())
        assert reference.update_id >= first["U"]
        while len(expected) < 20:
            message = await beside.receive_json()
            reference.take(message)
            if message["u"] == reference.update_id:
                expected[message["E"] * 10**6] = (reference.best("b"), reference.best("a"))
        await sink.until(lambda: sink.books[-1].event_time_ns >= max(expected))
    ours = {
        book.event_time_ns: tuple(
            [(str(level.price), str(level.quantity_base)) for level in side] for side in (book.bids, book.asks)
        )
        for book in sink.books
        if book.event_time_ns in expected
    }
    assert len(ours) >= 15
    assert ours == {at_ns: expected[at_ns] for at_ns in ours}
    assert all(book.bids[0].price < book.asks[0].price for book in sink.books)


async def test_twenty_thousand_trades_at_once_are_all_delivered(venue: VenueProcess) -> None:
    sink = Sink()
    async with market_data(venue) as port, running(port, sink):
        await sink.until(lambda: bool(sink.trades) and bool(sink.books))
        before = len(sink.trades)
        await asyncio.to_thread(venue.burst, trades=20_000, symbol="BTCUSDT")
        await sink.until(lambda: len(sink.trades) >= before + 20_000)
        counters = port.counters
        assert counters.received == counters.delivered == len(sink.trades)
        assert (counters.dropped, counters.missing, counters.connections) == (0, 0, 1)
        ids = sink.ids()
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        seen = len(sink.books)
        await sink.until(lambda: len(sink.books) > seen + 3)
        assert port.counters.resyncs == 0
        assert all(book.bids[0].price < book.asks[0].price for book in sink.books)


async def test_cut_line_is_lost_comes_back_and_its_gap_is_declared_to_the_trade(venue: VenueProcess) -> None:
    sink = Sink()
    async with (
        Line(venue) as line,
        market_data(venue, stream_url=line.stream_url, settings=QUICK) as port,
        running(port, sink),
    ):
        await sink.until(lambda: len(sink.trades) > 5)
        await sink.until_state(FeedState.CONNECTED)
        line.cut()
        await sink.until_state(FeedState.LOST)
        last = sink.ids()[-1]
        await asyncio.to_thread(venue.burst, trades=100, symbol="BTCUSDT")
        await sink.until_state(FeedState.CONNECTED)
        await sink.until(lambda: sink.ids()[-1] > last)
        await sink.until(lambda: len(sink.books) > 0 and sink.books[-1].event_time_ns > sink.changes[-1].at_ns)
    ids = sink.ids()
    holes = {earlier + 1: later - earlier - 1 for earlier, later in pairwise(ids) if later > earlier + 1}
    assert holes
    assert {int(gap.first_missing_id): gap.missing for gap in sink.gaps} == holes
    assert port.counters.missing == sum(holes.values()) >= 100
    assert port.counters.connections == 2


async def test_line_that_falls_silent_is_noticed_and_built_again(venue: VenueProcess) -> None:
    sink = Sink()
    async with Line(venue) as line, market_data(venue, stream_url=line.stream_url, settings=IMPATIENT) as port:
        async with running(port, sink):
            await sink.until(lambda: len(sink.trades) > 5)
            line.is_held = True
            await sink.until_state(FeedState.LOST)
            assert "nothing was heard of BTC/USDT for 2 s" in sink.changes[-1].reason
            line.is_held = False
            await sink.until_state(FeedState.CONNECTED)
        assert port.counters.dropped == 0


async def test_partition_ends_and_the_feed_is_back(venue: VenueProcess) -> None:
    sink = Sink()
    async with (
        Line(venue) as line,
        market_data(venue, stream_url=line.stream_url, settings=QUICK) as port,
        running(port, sink),
    ):
        await sink.until(lambda: len(sink.trades) > 5)
        line.is_closed = True
        line.cut()
        await sink.until_state(FeedState.LOST)
        before = len(sink.changes)
        for _ in range(3):
            await line.refusals.get()
        assert len(sink.changes) == before
        line.is_closed = False
        await sink.until_state(FeedState.CONNECTED)
        seen = len(sink.books)
        await sink.until(lambda: len(sink.books) > seen)


async def test_reconnect_while_messages_pour_in_loses_nothing_uncounted(venue: VenueProcess) -> None:
    sink = Sink()
    async with Line(venue) as line, market_data(venue, stream_url=line.stream_url, settings=QUICK) as port:
        async with running(port, sink):
            for _ in range(3):
                await sink.until_state(FeedState.CONNECTED)
                seen = len(sink.trades)
                await asyncio.to_thread(venue.burst, trades=3_000, symbol="BTCUSDT")
                await sink.until(lambda seen=seen: len(sink.trades) > seen + 500)  # type: ignore[misc]  # bound now
                line.cut()
                await sink.until_state(FeedState.LOST)
            await sink.until_state(FeedState.CONNECTED)
            seen = len(sink.trades)
            await sink.until(lambda: len(sink.trades) > seen)
        counters = port.counters
    ids = sink.ids()
    assert counters.received == counters.delivered + counters.dropped
    assert counters.delivered == len(ids) == len(set(ids))
    assert ids[-1] - ids[0] + 1 == len(ids) + counters.missing


async def test_stopped_feed_leaves_no_connection_and_no_task(venue: VenueProcess) -> None:
    before = asyncio.all_tasks()
    sink = Sink()
    async with market_data(venue) as port, running(port, sink):
        await sink.until(lambda: bool(sink.trades) and bool(sink.books))
    for _ in range(100):
        if asyncio.all_tasks() == before and not (await asyncio.to_thread(venue.state))["clients"]:
            break
        await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
    assert (await asyncio.to_thread(venue.state))["clients"] == []
    assert sink.changes[-1].reason == "the feed was stopped"


async def test_feed_stopped_while_it_dials_leaves_nothing_behind(venue: VenueProcess) -> None:
    async with Line(venue) as line, market_data(venue, stream_url=line.stream_url) as port:
        line.is_held = True  # the handshake is never answered
        async with asyncio.timeout(8):  # ccxt itself would wait 10 s for it
            async with running(port, Sink()):
                await line.was_opened.wait()
        line.is_held = False
    for _ in range(100):
        if not (await asyncio.to_thread(venue.state))["clients"]:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the simulator still has a client")


async def test_many_symbols_are_subscribed_no_faster_than_the_venue_allows() -> None:
    """Binance, and the simulator, hang up on a client that sends more than five messages in a second."""
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "BNB/USDT", "XRP/USDT", "DOGE/USDT", "ADA/USDT"]
    joined = ",".join(symbol.replace("/", "") for symbol in symbols)
    sink = Sink()
    with running_venue("binance", ["--seed", "11", "--symbols", joined]) as busy:
        async with market_data(busy, loaded=symbols) as port, running(port, sink, symbols):
            await sink.until(lambda: {book.symbol for book in sink.books} == set(symbols))
            assert port.counters.connections == 1


async def test_symbols_are_changed_by_running_again(venue: VenueProcess) -> None:
    sink = Sink()
    async with market_data(venue) as port:
        async with running(port, sink, (BTC,)):
            await sink.until(lambda: len(sink.ids(BTC)) > 3)
        async with running(port, sink, (BTC, ETH)):
            await sink.until(lambda: len(sink.ids(ETH)) > 1 and sink.changes[-1].state is FeedState.CONNECTED)
            seen = len(sink.ids(BTC))
            await sink.until(lambda: len(sink.ids(BTC)) > seen)
        ids = sink.ids(BTC)
        assert ids[-1] - ids[0] + 1 == len(ids) + port.counters.missing


async def test_edit_of_the_symbols_right_or_wrong_leaves_the_running_ones_usable(venue: VenueProcess) -> None:
    sink = Sink()
    async with (
        Line(venue) as line,
        market_data(venue, stream_url=line.stream_url, settings=QUICK, loaded=[BTC]) as port,
        running(port, sink, (BTC,)),
    ):
        await sink.until_state(FeedState.CONNECTED)
        with pytest.raises(UnknownSymbol, match="NOPE/USDT"):
            await port.load_instruments([ETH, "NOPE/USDT"])
        await port.load_instruments([ETH])
        assert await port.fetch_candles(BTC, Timeframe.S1, limit=3)
        line.cut()
        await sink.until_state(FeedState.LOST)
        await sink.until_state(FeedState.CONNECTED)


async def test_symbol_without_loaded_rules_is_refused_at_once(venue: VenueProcess) -> None:
    async with market_data(venue) as port:
        with pytest.raises(ValueError, match="load_instruments comes first: SOL/USDT"):
            await port.run(["SOL/USDT"], Sink())


async def test_candles_of_the_stream_join_those_of_rest_and_equal_the_venues_own(venue: VenueProcess) -> None:
    """Warm-up, the span in which the stream came up, and a reconnect: one row of candles, each the venue's own."""
    sink, candles = Sink(), CandleBuilder(BTC, Timeframe.S1.duration_ns)
    out: list[Candle] = []
    trades = changes = 0
    async with Line(venue) as line, market_data(venue, stream_url=line.stream_url, settings=QUICK) as port:
        out += candles.seed(await port.fetch_candles(BTC, Timeframe.S1, limit=30))
        async with running(port, sink):
            while len(out) < 30 + 8:
                for change in sink.changes[changes:]:
                    candles.connected(change.at_ns) if change.state is FeedState.CONNECTED else candles.lost()
                for trade in sink.trades[trades:]:
                    out += candles.add(trade)
                changes, trades = len(sink.changes), len(sink.trades)
                now_ns = await port.server_time_ns()
                out += candles.close_until(now_ns)
                wanted = candles.missing(now_ns)
                if wanted:
                    out += candles.seed(await port.fetch_candles(BTC, Timeframe.S1, limit=wanted))
                if len(out) == 30 + 4 and changes == 1:
                    line.cut()
                    await sink.until_state(FeedState.LOST)
                await asyncio.sleep(0.05)
        theirs = {each.open_time_ns: each for each in await port.fetch_candles(BTC, Timeframe.S1, limit=60)}
    assert all(later.open_time_ns == earlier.close_time_ns for earlier, later in pairwise(out))
    assert out == [theirs[candle.open_time_ns] for candle in out]
    assert (candles.late, candles.duplicates, candles.skipped) == (0, 0, 0)

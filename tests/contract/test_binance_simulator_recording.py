"""A recorded market through the simulator as a real process: every trade arrives, and the candles and the book agree.

The real recording is not in the project: its path comes from TRADINGBOT_RECORDING. A tiny invented one is made here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.pro as ccxtpro
import pytest

from tradingbot_sandbox.venues.process import VenueProcess, running_venue

DEADLINE_SECONDS = 120
PLAYED_ONCE = ("--play", "once", "--start", "first-subscription")


@pytest.fixture(scope="module")
def recording() -> Path:
    path = os.environ.get("TRADINGBOT_RECORDING")
    if not path:
        pytest.skip(
            "TRADINGBOT_RECORDING is not set: it names a recorded Binance market, which is no part of the project"
        )
    assert Path(path).is_file(), f"TRADINGBOT_RECORDING names no file: {path}"
    return Path(path)


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Look twenty times a second, until the deadline of the test."""
    while not await asyncio.to_thread(is_so):  # noqa: ASYNC110 - what is waited for is in another process
        await asyncio.sleep(0.05)


async def wait_for_end(venue: VenueProcess) -> dict[str, Any]:
    await wait_until(lambda: bool(venue.state()["play"]["state"] == "ended"))
    return venue.state()


async def rest(session: aiohttp.ClientSession, venue: VenueProcess, path: str, **values: object) -> Any:
    query = {name: str(value) for name, value in values.items()}
    async with session.get(f"{venue.rest_url}/{path}", params=query) as answer:
        assert answer.status == 200
        return await answer.json()


class Book:
    """A local book, kept as Binance's documentation says."""

    def __init__(self) -> None:
        self.update_id: int | None = None
        self.sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
        self.waiting: list[dict[str, Any]] = []

    def reset(self, snapshot: dict[str, Any]) -> None:
        assert self.waiting
        assert snapshot["lastUpdateId"] >= self.waiting[0]["U"]
        self.update_id = snapshot["lastUpdateId"]
        self.sides = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
        waiting, self.waiting = self.waiting, []
        for update in waiting:
            self.take(update)

    def take(self, update: dict[str, Any]) -> None:
        if self.update_id is None:
            self.waiting.append(update)
            return
        if update["u"] <= self.update_id:
            return
        assert update["U"] <= self.update_id + 1, "updates are missing"
        self.update_id = update["u"]
        for side, levels in self.sides.items():
            for price, quantity in update[side]:
                if Decimal(quantity):
                    levels[price] = quantity
                else:
                    levels.pop(price, None)

    def best(self, side: str, count: int) -> list[list[str]]:
        rows = sorted(self.sides[side].items(), key=lambda row: Decimal(row[0]), reverse=side == "b")
        return [list(row) for row in rows[:count]]


@dataclass(slots=True)
class Played:
    """What two clients heard of one play at twenty times the pace, and what the venue said afterwards."""

    trades: list[dict[str, Any]]
    klines: list[dict[str, Any]]
    tickers: int
    book: Book
    ccxt_trades: list[int]
    ccxt_book: dict[str, Any]
    state: dict[str, Any]
    depth: dict[str, Any]
    rows: list[list[Any]]


@pytest.fixture(scope="module")
def played(recording: Path) -> Played:
    start = f"all-subscriptions:{len(RAW_STREAMS) + 2}"
    with running_venue(
        "binance", ["--market", str(recording), "--speed", "20", "--play", "once", "--start", start]
    ) as venue:
        return asyncio.run(play(venue))


RAW_STREAMS = ["btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@kline_1s", "btcusdt@trade"]


async def play(venue: VenueProcess) -> Played:
    """A raw websocket and ccxt.pro listen side by side until the end."""
    heard = Played([], [], 0, Book(), [], {}, {}, {}, [])
    async with asyncio.timeout(DEADLINE_SECONDS), aiohttp.ClientSession() as session:
        await asyncio.gather(listen_raw(venue, session, heard), listen_with_ccxt(venue, heard))
        heard.state = await wait_for_end(venue)
        heard.depth = await rest(session, venue, "depth", symbol="BTCUSDT", limit=1000)
        first, seconds = heard.trades[0]["T"] // 1000 * 1000, len({t["T"] // 1000 for t in heard.trades})
        heard.rows = await rest(
            session, venue, "klines", symbol="BTCUSDT", interval="1s", startTime=first, limit=seconds
        )
    return heard


async def listen_raw(venue: VenueProcess, session: aiohttp.ClientSession, heard: Played) -> None:
    async with session.ws_connect(venue.stream_url) as stream:
        await stream.send_json({"method": "SUBSCRIBE", "params": RAW_STREAMS, "id": 1})
        # the last second is closed as soon as none of its trades can come any more
        while len(heard.trades) < 9757 or not heard.klines or heard.klines[-1]["T"] < heard.trades[-1]["T"]:
            message = await stream.receive_json()
            match message.get("e"):
                case "trade":
                    heard.trades.append(message)
                case "kline":
                    heard.klines.append(message["k"])
                case "depthUpdate":
                    heard.book.take(message)
                    if heard.book.update_id is None and len(heard.book.waiting) == 20:
                        heard.book.reset(await rest(session, venue, "depth", symbol="BTCUSDT", limit=5000))
                case None:
                    heard.tickers += "id" not in message


async def listen_with_ccxt(venue: VenueProcess, heard: Played) -> None:
    exchange = ccxtpro.binance({"options": {"fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"]["public"] = venue.rest_url
    exchange.urls["api"]["ws"]["spot"] = venue.stream_url
    handle_trade = exchange.handle_trade

    def take(client: Any, message: dict[str, Any]) -> None:
        heard.ccxt_trades.append(int(message["t"]))
        handle_trade(client, message)

    exchange.handle_trade = take

    async def watch(method: str) -> None:
        while True:
            await getattr(exchange, method)("BTC/USDT")

    try:
        await exchange.load_markets()
        rows = await exchange.fetch_ohlcv("BTC/USDT", "1s", limit=100)  # warm-up, before the play has begun
        assert len(rows) == 100
        watching = [asyncio.create_task(watch(method)) for method in ("watch_trades", "watch_order_book")]
        await wait_for_end(venue)
        final = await exchange.fetch_order_book("BTC/USDT", 100)
        await wait_until(lambda: len(heard.ccxt_trades) >= 9757)
        await wait_until(lambda: bool(exchange.orderbooks["BTC/USDT"]["nonce"] == final["nonce"]))
        mine = exchange.orderbooks["BTC/USDT"]
        heard.ccxt_book = {
            "own": [[list(level) for level in mine[side][:100]] for side in ("bids", "asks")],
            "fetched": [final["bids"], final["asks"]],
        }
        assert not any(task.done() for task in watching)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    finally:
        await exchange.close()


@pytest.mark.recording
def test_every_recorded_trade_reaches_a_raw_client(played: Played) -> None:
    first = played.trades[0]["t"]
    assert [t["t"] for t in played.trades] == list(range(first, first + 9757))
    assert played.tickers == 28_040


@pytest.mark.recording
def test_every_recorded_trade_reaches_ccxt_pro_where_each_message_is_taken(played: Played) -> None:
    assert played.ccxt_trades == [t["t"] for t in played.trades]


@pytest.mark.recording
def test_simulator_counts_what_it_played_and_sent(played: Played) -> None:
    assert played.state["play"]["played"] == {"trade": 9757, "depth": 3451, "bookTicker": 28_040}
    assert played.state["trades_sent"] == 2 * 9757
    assert played.state["slow_clients"] == 0


@pytest.mark.recording
def test_recording_is_compressed_by_its_speed(played: Played) -> None:
    trades = played.trades
    assert (trades[-1]["T"] - trades[0]["T"]) == pytest.approx(346_000 / 20, abs=10)
    assert [t["T"] for t in trades] == sorted(t["T"] for t in trades)
    assert abs(played.state["play"]["started_ns"] // 1_000_000 - trades[0]["T"]) < 100


@pytest.mark.recording
def test_book_that_is_synced_as_documented_is_the_rest_book(played: Played) -> None:
    assert played.book.update_id == played.depth["lastUpdateId"]
    assert (played.book.best("b", 1000), played.book.best("a", 1000)) == (played.depth["bids"], played.depth["asks"])


@pytest.mark.recording
def test_book_that_ccxt_pro_keeps_is_the_rest_book(played: Played) -> None:
    assert played.ccxt_book["own"] == played.ccxt_book["fetched"]


@pytest.mark.recording
def test_candles_of_rest_and_stream_are_what_the_trades_say_to_the_last_digit(played: Played) -> None:
    check_candles(played.trades, {row[0]: row for row in played.rows})
    streamed = {
        k["t"]: [k["t"], *(k[x] for x in "ohlcv"), k["T"], k["q"], k["n"], k["V"], k["Q"], "0"] for k in played.klines
    }
    assert all(k["x"] for k in played.klines)
    assert len(streamed) == len(played.klines)
    check_candles(played.trades, streamed)


def check_candles(trades: list[dict[str, Any]], rows: dict[int, list[Any]]) -> None:
    """Each second's candle is what its trades say, to the last digit."""
    by_second: dict[int, list[dict[str, Any]]] = {}
    for trade in trades:
        by_second.setdefault(trade["T"] // 1000 * 1000, []).append(trade)
    for second, inside in by_second.items():
        prices = [Decimal(t["p"]) for t in inside]
        row = rows[second]
        assert [Decimal(x) for x in row[1:5]] == [prices[0], max(prices), min(prices), prices[-1]]
        assert Decimal(row[5]) == sum(Decimal(t["q"]) for t in inside)
        assert Decimal(row[7]) == sum(Decimal(t["q"]) * Decimal(t["p"]) for t in inside)
        assert row[8] == len(inside)
        assert Decimal(row[9]) == sum(Decimal(t["q"]) for t in inside if not t["m"])


def invented_recording(path: Path) -> Path:
    """A market of half a second: a snapshot, three updates and four trades."""

    def line(at_ms: int, frame: dict[str, Any]) -> str:
        return f"{(1_700_000_000_000 + at_ms - 1270) * 1_000_000} {json.dumps(frame)}"

    def trade(at_ms: int, trade_id: int, price: str) -> str:
        at = 1_700_000_000_000 + at_ms
        data = {
            "e": "trade",
            "E": at,
            "s": "ETHUSDT",
            "t": trade_id,
            "p": price,
            "q": "1.00000000",
            "T": at,
            "m": False,
            "M": True,
        }
        return line(at_ms, {"stream": "ethusdt@trade", "data": data})

    def depth(at_ms: int, first: int, final: int, bid: str, ask: str) -> str:
        at, bids, asks = 1_700_000_000_000 + at_ms, [[bid, "2.00000000"]], [[ask, "3.00000000"]]
        data = {"e": "depthUpdate", "E": at, "s": "ETHUSDT", "U": first, "u": final, "b": bids, "a": asks}
        return line(at_ms, {"stream": "ethusdt@depth@100ms", "data": data})

    snapshot = {
        "lastUpdateId": 12,
        "bids": [["2000.00000000", "1.00000000"]],
        "asks": [["2001.00000000", "1.00000000"]],
    }
    lines = [
        depth(0, 10, 13, "2000.10000000", "2000.90000000"),
        line(10, snapshot),
        trade(100, 70, "2000.90000000"),
        depth(200, 14, 14, "2000.20000000", "2000.80000000"),
        trade(250, 71, "2000.80000000"),
        trade(250, 72, "2000.80000000"),
        depth(400, 15, 19, "2000.30000000", "2000.70000000"),
        trade(500, 73, "2000.70000000"),
    ]
    path.write_text("\n".join(lines))
    return path


async def test_loop_goes_on_with_rising_ids_and_a_whole_book(tmp_path: Path) -> None:
    path = invented_recording(tmp_path / "market.jsonl")
    async with asyncio.timeout(DEADLINE_SECONDS), aiohttp.ClientSession() as session:
        with running_venue(
            "binance", ["--market", f"recording:{path}", "--speed", "5", "--start", "all-subscriptions:2"]
        ) as venue:
            async with session.ws_connect(
                f"ws://{venue.address}/stream?streams=ethusdt@trade/ethusdt@depth@100ms"
            ) as stream:
                ids: list[int] = []
                updates: list[dict[str, Any]] = []
                while len(ids) < 40:
                    data = (await stream.receive_json())["data"]
                    if data["e"] == "trade":
                        ids.append(data["t"])
                    else:
                        updates.append(data)
            assert venue.state()["play"]["loop"] >= 9
    assert ids == list(range(70, 70 + len(ids)))
    for before, after in itertools.pairwise(updates):
        assert after["U"] == before["u"] + 1


async def test_recording_waits_for_the_first_trade_subscription_and_answers_meanwhile(tmp_path: Path) -> None:
    path = invented_recording(tmp_path / "market.jsonl")
    async with asyncio.timeout(DEADLINE_SECONDS), aiohttp.ClientSession() as session:
        with running_venue("binance", ["--market", str(path), *PLAYED_ONCE, "--speed", "5"]) as venue:
            async with session.ws_connect(f"{venue.stream_url}/ethusdt@depth@100ms") as stream:
                book = await rest(session, venue, "depth", symbol="ETHUSDT")
                assert book == {
                    "lastUpdateId": 12,
                    "bids": [["2000.00000000", "1.00000000"]],
                    "asks": [["2001.00000000", "1.00000000"]],
                }
                rows = await rest(session, venue, "klines", symbol="ETHUSDT", interval="1m", limit=50)
                assert len(rows) == 50
                assert rows[-1][4] == "2000.90000000"
                assert venue.state()["play"]["state"] == "waiting"
                await stream.send_json({"method": "SUBSCRIBE", "params": ["ethusdt@trade"], "id": 1})
                ids: list[int] = []
                while len(ids) < 4:
                    message = await stream.receive_json()
                    if message.get("e") == "trade":
                        ids.append(message["t"])
            assert ids == [70, 71, 72, 73]
            state = await wait_for_end(venue)
            assert state["play"]["played"] == {"depth": 3, "trade": 4}
            assert await rest(session, venue, "ticker/price", symbol="ETHUSDT") == {
                "symbol": "ETHUSDT",
                "price": "2000.70000000",
            }
            ended = [line for line in venue.log_lines() if line["event"] == "ended"]
            assert [line["played"] for line in ended] == [{"depth": 3, "trade": 4}]
            assert any(line["event"] == "klines_served" and line["klines_from_walk"] for line in venue.log_lines())

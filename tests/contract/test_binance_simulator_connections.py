"""Pings, pongs and limits of a stream connection, with a simulator inside the test so that nobody waits for minutes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import aiohttp

from tradingbot_sandbox.market.clock import SystemClock
from tradingbot_sandbox.market.instruments import INSTRUMENTS
from tradingbot_sandbox.market.port import StartPolicy
from tradingbot_sandbox.market.synthetic import SyntheticMarket
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.connection import ConnectionLimits
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.server import Server
from tradingbot_sandbox.venues.binance.weights import WeightMeter

DEADLINE_SECONDS = 120


class Log:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.gone = asyncio.Event()

    def debug(self, event: str, /, **values: object) -> None:
        self.events.append((event, values))
        if event == "client_gone":
            self.gone.set()

    info = warning = debug


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[tuple[str, Log]]:
    """A simulator in this process; gives the websocket address and its log."""
    clock, log = SystemClock(), Log()
    market = SyntheticMarket([INSTRUMENTS["BTC/USDT"]], seed=1, speed=Fraction(1))
    world = World(market, seed=1, now_ns=clock.now_ns())
    exchange = Exchange(world, meter=WeightMeter(), start=StartPolicy.parse("immediately"), log=log)
    server = Server(exchange, clock=clock, log=log, limits=ConnectionLimits(**limits))
    async with asyncio.timeout(DEADLINE_SECONDS), server.listening("127.0.0.1", 0) as (host, port):
        yield f"ws://{host}:{port}/ws", log


def reasons(log: Log) -> list[object]:
    return [values["reason"] for event, values in log.events if event == "client_gone"]


async def test_server_pings_with_a_payload() -> None:
    async with (
        serving(ping_seconds=0.02) as (url, _),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=False) as stream,
    ):
        ping = await stream.receive()
        assert ping.type is aiohttp.WSMsgType.PING
        assert ping.data.isdigit()


async def test_client_that_answers_pings_stays() -> None:
    async with (
        serving(ping_seconds=0.3, pong_seconds=0.5) as (url, log),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=False) as stream,
    ):
        for _ in range(5):
            ping = await stream.receive()
            await stream.pong(ping.data)
        assert reasons(log) == []


async def test_client_without_a_pong_is_dropped() -> None:
    async with serving(ping_seconds=0.02, pong_seconds=0.1) as (url, log), aiohttp.ClientSession() as session:
        async with session.ws_connect(url, autoping=False) as stream:
            while (message := await stream.receive()).type is aiohttp.WSMsgType.PING:
                pass
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        await log.gone.wait()
        assert reasons(log) == ["no pong"]


async def test_clients_ping_is_answered_with_its_payload() -> None:
    async with (
        serving() as (url, _),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=False) as stream,
    ):
        await stream.ping(b"hello")
        pong = await stream.receive()
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"hello")


async def test_streams_that_are_held_may_be_asked_for_again_at_the_limit() -> None:
    async with serving(streams=1) as (url, log), aiohttp.ClientSession() as session, session.ws_connect(url) as stream:
        for number in (1, 2):
            await stream.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1M"], "id": number})
            while "id" not in (message := await stream.receive_json()):
                pass
            assert message == {"result": None, "id": number}
        assert reasons(log) == []


async def test_client_that_never_reads_does_not_hold_up_the_stop() -> None:
    async with serving() as (url, log):
        host, _, port = url.removeprefix("ws://").removesuffix("/ws").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(
            f"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101" in await reader.readline()
        async with aiohttp.ClientSession() as session:
            address = url.replace("ws://", "http://").removesuffix("/ws")
            async with session.post(f"{address}/sandbox/burst?trades=100000") as answer:
                assert answer.status == 200
            seen: list[int] = []
            while len(seen) < 4 or len(set(seen[-4:])) > 1:  # until every buffer on the way is full
                async with session.get(f"{address}/sandbox/state") as answer:
                    (client,) = (await answer.json())["clients"]
                seen.append(client["frames_sent"])
                await asyncio.sleep(0.05)
            assert client["frames_waiting"] > 0
    await log.gone.wait()
    assert reasons(log) == ["server shutdown"]
    writer.close()


async def test_more_streams_than_allowed_end_the_connection() -> None:
    async with serving(streams=2) as (url, log), aiohttp.ClientSession() as session:
        async with session.ws_connect(url) as stream:
            names = ["btcusdt@kline_1d", "btcusdt@kline_1w", "btcusdt@kline_1M"]
            await stream.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
            while (message := await stream.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert message.type is aiohttp.WSMsgType.CLOSE
        await log.gone.wait()
        assert reasons(log) == ["more streams than allowed"]

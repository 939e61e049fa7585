"""Binance's stream protocol over a raw websocket, against the simulator as a real process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tradingbot_sandbox.venues.process import VenueNotServingError, VenueProcess, running_venue

DEADLINE_SECONDS = 30


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "3", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with asyncio.timeout(DEADLINE_SECONDS), aiohttp.ClientSession() as opened:
        yield opened


async def answer_of(stream: aiohttp.ClientWebSocketResponse, **command: object) -> dict[str, Any]:
    """Send a command and wait for its answer, past whatever the streams tell meanwhile."""
    await stream.send_json(command)
    while True:
        message = await stream.receive_json()
        if "id" in message:
            return dict(message)


async def test_raw_stream_of_the_path_is_not_wrapped(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    async with session.ws_connect(f"{venue.stream_url}/btcusdt@trade") as stream:
        message = await stream.receive_json()
    assert message["e"] == "trade"
    assert message["s"] == "BTCUSDT"


async def test_combined_streams_are_wrapped(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    url = f"ws://{venue.address}/stream?streams=btcusdt@bookTicker/ethusdt@trade"
    async with session.ws_connect(url) as stream:
        names: set[str] = set()
        while len(names) < 2:
            message = await stream.receive_json()
            assert message.keys() == {"stream", "data"}
            names.add(message["stream"])
    assert names == {"btcusdt@bookTicker", "ethusdt@trade"}


async def test_subscriptions_are_made_listed_and_ended(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    async with session.ws_connect(venue.stream_url) as stream:
        assert await answer_of(stream, method="SUBSCRIBE", params=["btcusdt@trade", "btcusdt@depth"], id=1) == {
            "result": None,
            "id": 1,
        }
        assert await answer_of(stream, method="LIST_SUBSCRIPTIONS", id="b") == {
            "result": ["btcusdt@trade", "btcusdt@depth"],
            "id": "b",
        }
        assert await answer_of(stream, method="UNSUBSCRIBE", params=["btcusdt@trade"], id=3) == {
            "result": None,
            "id": 3,
        }
        message = await stream.receive_json()
        while message["e"] != "depthUpdate":
            message = await stream.receive_json()
        assert await answer_of(stream, method="LIST_SUBSCRIPTIONS", id=4) == {"result": ["btcusdt@depth"], "id": 4}


async def test_answer_comes_before_the_first_event(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    async with session.ws_connect(venue.stream_url) as stream:
        await stream.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 1})
        assert await stream.receive_json() == {"result": None, "id": 1}
        assert (await stream.receive_json()).keys() == {"u", "s", "b", "B", "a", "A"}


async def test_wrapping_is_a_property_of_the_connection(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    async with session.ws_connect(venue.stream_url) as stream:
        assert await answer_of(stream, method="GET_PROPERTY", params=["combined"], id=1) == {"result": False, "id": 1}
        assert await answer_of(stream, method="SET_PROPERTY", params=["combined", True], id=2) == {
            "result": None,
            "id": 2,
        }
        await answer_of(stream, method="SUBSCRIBE", params=["btcusdt@trade"], id=3)
        assert (await stream.receive_json())["stream"] == "btcusdt@trade"


async def test_wrong_command_is_answered_and_the_connection_stays(
    session: aiohttp.ClientSession, venue: VenueProcess
) -> None:
    async with session.ws_connect(venue.stream_url) as stream:
        assert (await answer_of(stream, method="SHOUT", id=1))["error"]["code"] == 2
        await stream.send_str("nonsense")
        assert (await stream.receive_json())["error"]["code"] == 3
        assert (await answer_of(stream, method="LIST_SUBSCRIPTIONS", id=2))["result"] == []


async def test_unknown_stream_is_accepted_and_silent_and_in_the_log(
    session: aiohttp.ClientSession, venue: VenueProcess
) -> None:
    async with session.ws_connect(venue.stream_url) as stream:
        assert await answer_of(stream, method="SUBSCRIBE", params=["nope@trade"], id=1) == {"result": None, "id": 1}
    assert any(line["event"] == "unknown_stream" and line["stream"] == "nope@trade" for line in venue.log_lines())


async def test_too_many_messages_end_the_connection(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    async with session.ws_connect(venue.stream_url) as stream:
        for n in range(8):
            await stream.send_json({"method": "LIST_SUBSCRIPTIONS", "id": n})
        while (message := await stream.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_candle_stream_agrees_with_the_trade_stream(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    url = f"ws://{venue.address}/stream?streams=btcusdt@trade/btcusdt@kline_1s"
    trades: dict[int, list[dict[str, Any]]] = {}
    klines: list[dict[str, Any]] = []
    async with session.ws_connect(url) as stream:
        while len(klines) < 4:
            message = await stream.receive_json()
            data = message["data"]
            if data["e"] == "trade":
                trades.setdefault(data["T"] // 1000 * 1000, []).append(data)
            else:
                klines.append(data["k"])
    for kline in klines[1:]:  # the first second was not heard from its start
        inside = trades.get(kline["t"], [])
        assert kline["x"] is True
        assert kline["n"] == len(inside)
        if inside:
            assert (kline["f"], kline["L"]) == (inside[0]["t"], inside[-1]["t"])
            assert (kline["o"], kline["c"]) == (inside[0]["p"], inside[-1]["p"])
            assert float(kline["h"]) == max(float(t["p"]) for t in inside)


async def test_slow_client_is_disconnected_and_counted_and_others_are_not() -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), aiohttp.ClientSession() as session:
        with running_venue("binance", ["--client-queue-frames", "30000"]) as venue:
            slow = never_reading_client(venue, "btcusdt@trade")
            try:
                async with session.ws_connect(f"{venue.stream_url}/btcusdt@trade") as stream:
                    heard = 0
                    while venue.state()["slow_clients"] == 0:
                        await asyncio.to_thread(venue.burst, trades=20_000, symbol="BTCUSDT")
                        heard += 20_000
                        while heard > 0:  # the other client reads all of it
                            message = await stream.receive()
                            assert message.type is aiohttp.WSMsgType.TEXT
                            heard -= 1
                    state = venue.state()
                    assert state["slow_clients"] == 1
                    assert [client["client"] for client in state["clients"]] == [2]
                gone = [line for line in venue.log_lines() if line["event"] == "slow_client_disconnected"]
                assert [line["client"] for line in gone] == [1]
                assert gone[0]["frames_unsent"] == 30_000
            finally:
                slow.close()


def never_reading_client(venue: VenueProcess, stream: str) -> socket.socket:
    """A websocket client that shakes hands and then reads nothing; its own buffer is small."""
    host, _, port = venue.address.rpartition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall(
        f"GET /ws/{stream} HTTP/1.1\r\nHost: {venue.address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101 Switching Protocols" in client.recv(64)
    return client


async def test_stopped_simulator_says_goodbye(session: aiohttp.ClientSession) -> None:
    with running_venue("binance") as venue:
        stream = await session.ws_connect(venue.stream_url)
        await answer_of(stream, method="LIST_SUBSCRIPTIONS", id=1)
    message = await stream.receive()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)


def test_address_in_use_is_refused_with_a_message(venue: VenueProcess) -> None:
    with (
        pytest.raises(VenueNotServingError, match=f"cannot listen on {venue.address}"),
        running_venue("binance", ["--listen", venue.address]),
    ):
        pass


def test_log_is_json_with_one_line_a_decision(venue: VenueProcess) -> None:
    for line in venue.log_lines():
        assert {"event", "level", "timestamp", "venue"} <= line.keys()
        json.dumps(line)

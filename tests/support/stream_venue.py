"""A venue's public stream on loopback that says a whole burst in one write, for the real ccxt on the other end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import WSMsgType, web

LISTING: dict[str, Any] = {
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
SNAPSHOT = {"lastUpdateId": 10, "bids": [["99.00000000", "1.5"]], "asks": [["101.00000000", "2.5"]]}
START_MS = 1_723_161_255_000


class StreamVenue:
    def __init__(self) -> None:
        self._sockets: list[tuple[web.Request, web.WebSocketResponse]] = []
        self._subscribed = asyncio.Event()
        self.connections = 0

    async def __aenter__(self) -> StreamVenue:
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

    async def subscribed(self) -> None:
        """To the trades, on a new connection."""
        await self._subscribed.wait()
        self._subscribed.clear()

    def say_trades(self, first: int, count: int) -> None:
        """All in one write, as a venue that has fallen behind does."""
        transport = self._sockets[-1][0].transport
        assert transport is not None
        transport.write(b"".join(_frame(number) for number in range(first, first + count)))

    def cut(self) -> None:
        transport = self._sockets[-1][0].transport
        if transport is not None:
            transport.abort()

    async def _listings(self, _: web.Request) -> web.Response:
        return web.json_response({"symbols": [LISTING]})

    async def _depth(self, _: web.Request) -> web.Response:
        return web.json_response(SNAPSHOT)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self._sockets.append((request, socket))
        self.connections += 1
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                command = json.loads(frame.data)
                await socket.send_json({"result": None, "id": command["id"]})
                if "btcusdt@trade" in command["params"]:
                    self._subscribed.set()
        return socket


def _frame(number: int) -> bytes:
    """A text frame of a server (RFC 6455, 5.2): no mask, the length in two bytes."""
    at_ms = START_MS + number
    message = {"e": "trade", "E": at_ms, "s": "BTCUSDT", "t": number, "p": "100.10000000", "q": "0.20000000"}
    payload = json.dumps(message | {"T": at_ms, "m": True, "M": True}).encode()
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload

"""The simulator as a program: one HTTP server for REST, streams and control, and the pump that moves its market.

SHELL.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import WSCloseCode, web

from tradingbot_sandbox.market.clock import Clock
from tradingbot_sandbox.market.events import NS_PER_SECOND
from tradingbot_sandbox.venues.binance.connection import Connection, ConnectionLimits
from tradingbot_sandbox.venues.binance.control import build_state
from tradingbot_sandbox.venues.binance.exchange import Exchange, Log
from tradingbot_sandbox.venues.binance.rest import Answer, RestApi
from tradingbot_sandbox.venues.binance.text import json_text

MOST_BURST_TRADES = 200_000
_SHORTEST_SLEEP_SECONDS = 0.001


class Server:
    """Binance on one address."""

    def __init__(self, exchange: Exchange, *, clock: Clock, log: Log, limits: ConnectionLimits) -> None:
        self._exchange = exchange
        self._clock = clock
        self._log = log
        self._limits = limits
        self._rest = RestApi(exchange, log)
        self._connections: dict[int, Connection] = {}
        self._numbers = 0
        self._wake = asyncio.Event()
        self.pump: asyncio.Task[None]

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
        """Serve, and move the market, while the context is open. Gives the bound address."""
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        self.pump = asyncio.create_task(self._move_market())
        try:
            await web.TCPSite(runner, host, port).start()
            bound_host, bound_port = runner.addresses[0][:2]
            self._exchange.start_if_due(self._clock.now_ns())
            self._wake.set()
            yield str(bound_host), int(bound_port)
        finally:
            self.pump.cancel()
            (end,) = await asyncio.gather(self.pump, return_exceptions=True)
            closing = [c.close(WSCloseCode.GOING_AWAY, "server shutdown") for c in self._connections.values()]
            await asyncio.gather(*closing)
            await runner.cleanup()
        if isinstance(end, Exception):
            raise end  # a market that stands still must not look like a quiet one

    def _application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/{tail:.*}", self._api)
        for path in ("/ws", "/ws/{streams:.*}", "/stream"):
            app.router.add_get(path, self._stream)
        app.router.add_get("/sandbox/state", self._state)
        app.router.add_post("/sandbox/burst", self._burst)
        return app

    async def _move_market(self) -> None:
        """Hand over what is due, then sleep until something is."""
        while True:
            if self._exchange.advance(self._clock.now_ns()):
                await asyncio.sleep(0)
                continue
            due_seconds = (self._exchange.next_due_ns() - self._clock.now_ns()) / NS_PER_SECOND
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(due_seconds, _SHORTEST_SLEEP_SECONDS))

    async def _api(self, request: web.Request) -> web.StreamResponse:
        pairs = [(name, value) for name, value in request.query.items()]
        answer = self._rest.answer(request.path, pairs, request.remote or "unknown", self._clock.now_ns())
        if answer is None:
            self._log.warning("unknown_endpoint", path=request.path)
            return web.Response(
                status=404, text="<html><body><h2>404 Not found</h2></body></html>", content_type="text/html"
            )
        self._log.debug("request", path=request.path_qs, status=answer.http_status)
        return _response(answer)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        is_combined = request.path == "/stream"
        asked = request.query.get("streams", "") if is_combined else request.match_info.get("streams", "")
        socket = web.WebSocketResponse(autoping=False, compress=False, writer_limit=65_536)
        await socket.prepare(request)
        self._numbers += 1
        connection = Connection(
            self._numbers,
            socket,
            request,
            exchange=self._exchange,
            clock=self._clock,
            log=self._log,
            limits=self._limits,
            wake=self._wake.set,
            is_combined=is_combined,
        )
        self._connections[connection.number] = connection
        try:
            # ccxt.pro numbers its connections in the path (`/ws/0`): what has no @ is no stream
            await connection.serve([name for name in asked.split("/") if "@" in name])
        finally:
            del self._connections[connection.number]
        await connection.close(WSCloseCode.POLICY_VIOLATION, "disconnected")
        return socket

    async def _state(self, _request: web.Request) -> web.StreamResponse:
        clients = [connection.state for connection in self._connections.values()]
        return _response(Answer(200, build_state(self._exchange, clients, self._clock.now_ns())))

    async def _burst(self, request: web.Request) -> web.StreamResponse:
        joined = request.query.get("symbol") or next(iter(self._exchange.symbols))
        count = request.query.get("trades", "")
        symbol = self._exchange.symbols.get(joined)
        if symbol is None or not count.isdecimal() or not 0 < int(count) <= MOST_BURST_TRADES:
            problem = f"expected trades=1..{MOST_BURST_TRADES} and, if given, a symbol of this simulator"
            return _response(Answer(400, {"error": problem}))
        self._exchange.burst(symbol, trades=int(count), now_ns=self._clock.now_ns())
        self._log.info("burst", symbol=joined, trades=int(count))
        return _response(Answer(200, {"symbol": joined, "trades": int(count)}))


def _response(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.http_status,
        text=json_text(answer.body),
        content_type="application/json",
        charset="UTF-8",
        headers=answer.headers,
    )

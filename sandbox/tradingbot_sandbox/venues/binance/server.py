"""The simulator as a program: one HTTP server for REST, streams and control, and the pump that moves its market.

SHELL.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from aiohttp import WSCloseCode, web

from tradingbot_sandbox.market.clock import Clock
from tradingbot_sandbox.market.events import NS_PER_SECOND
from tradingbot_sandbox.venues.binance.account_control import CONTROL_PATHS, answer_control
from tradingbot_sandbox.venues.binance.connection import Connection, ConnectionLimits
from tradingbot_sandbox.venues.binance.control import build_state
from tradingbot_sandbox.venues.binance.exchange import Exchange, Log
from tradingbot_sandbox.venues.binance.faults import BinanceFaults, describe_request
from tradingbot_sandbox.venues.binance.faults_control import FaultControl
from tradingbot_sandbox.venues.binance.faults_http import FaultyDelivery
from tradingbot_sandbox.venues.binance.rest import Answer, RestApi
from tradingbot_sandbox.venues.binance.ws_connection import MESSAGES_PER_SECOND, ApiConnection
from tradingbot_sandbox.venues.faults import FaultScript
from tradingbot_sandbox.venues.faults_rules import Rule

MOST_BURST_TRADES = 200_000
_SHORTEST_SLEEP_SECONDS = 0.001


class Server:
    """Binance on one address."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        clock: Clock,
        log: Log,
        limits: ConnectionLimits,
        faults: BinanceFaults | None = None,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._log = log
        self._limits = limits
        self._rest = RestApi(exchange, log)
        self._faults = faults or BinanceFaults(exchange, FaultScript(now_ns=clock.now_ns()), log=log)
        self._delivery = FaultyDelivery(self._faults, clock=clock, log=log)
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
            await asyncio.gather(*closing, self._delivery.close())
            await runner.cleanup()
        if isinstance(end, Exception):
            raise end  # a market that stands still must not look like a quiet one

    def _application(self) -> web.Application:
        app = web.Application()
        for path in ("/api/{tail:.*}", "/sapi/{tail:.*}"):
            app.router.add_route("*", path, self._api)
        for path in ("/ws", "/ws/{streams:.*}", "/stream"):
            app.router.add_get(path, self._stream)
        app.router.add_get("/ws-api/v3", self._session)
        for path in CONTROL_PATHS:
            app.router.add_route("*", path, self._control)
        FaultControl(self._faults.script, clock=self._clock, log=self._log).add_to(app)
        app.router.add_get("/sandbox/state", self._state)
        app.router.add_post("/sandbox/burst", self._burst)
        return app

    async def _move_market(self) -> None:
        """Hand over what is due, then sleep until something is."""
        while True:
            for rule in self._faults.advance(self._clock.now_ns()):
                self._disconnect(rule)
            if self._exchange.advance(self._clock.now_ns()):
                await asyncio.sleep(0)
                continue
            due_ns = self._exchange.next_due_ns()  # soon enough for faults, too: there is a tick each 100 ms
            due_seconds = (due_ns - self._clock.now_ns()) / NS_PER_SECOND
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due_seconds, _SHORTEST_SLEEP_SECONDS)):
                    await self._wake.wait()

    async def _api(self, request: web.Request) -> web.StreamResponse:
        query = request.raw_path.partition("?")[2]  # as it was sent: that is what was signed
        body = await request.text()

        def carry_out(now_ns: int) -> Answer:
            return self._rest.answer(
                request.method,
                request.path,
                query=query,
                body=body,
                headers=request.headers,
                address=request.remote or "unknown",
                now_ns=now_ns,
            )

        asked = describe_request(request.method, request.path, query=query, body=body)
        return await self._delivery.answer(request, asked, carry_out)

    def _disconnect(self, rule: Rule) -> None:
        for connection in self._connections.values():
            if rule.is_about(connection.operation):
                connection.cut("fault script: disconnect")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        is_combined = request.path == "/stream"
        asked = request.query.get("streams", "") if is_combined else request.match_info.get("streams", "")
        # ccxt.pro numbers its connections in the path (`/ws/0`): what has no @ is no stream
        names = [name for name in asked.split("/") if "@" in name]
        return await self._connect(request, Connection, self._limits, names, is_combined=is_combined)

    async def _session(self, request: web.Request) -> web.StreamResponse:
        limits = replace(self._limits, messages_per_second=MESSAGES_PER_SECOND)
        return await self._connect(request, ApiConnection, limits, [])

    async def _connect(
        self,
        request: web.Request,
        kind: type[Connection],
        limits: ConnectionLimits,
        streams: list[str],
        *,
        is_combined: bool = False,
    ) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False, compress=False, writer_limit=65_536)
        await socket.prepare(request)
        self._numbers += 1
        connection = kind(
            self._numbers,
            socket,
            request,
            exchange=self._exchange,
            clock=self._clock,
            log=self._log,
            limits=limits,
            faults=self._faults,
            wake=self._wake.set,
            is_combined=is_combined,
        )
        self._connections[connection.number] = connection
        try:
            await connection.serve(streams)
        finally:
            del self._connections[connection.number]
        await connection.close(WSCloseCode.POLICY_VIOLATION, "disconnected")
        return socket

    async def _state(self, _request: web.Request) -> web.StreamResponse:
        clients = [connection.state for connection in self._connections.values()]
        return _response(Answer(200, build_state(self._exchange, clients, self._clock.now_ns())))

    async def _control(self, request: web.Request) -> web.StreamResponse:
        body, now_ns = await request.text(), self._clock.now_ns()
        return _response(answer_control(self._exchange, request.method, request.path, body, now_ns))

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
        text=answer.text,
        content_type=answer.content_type,
        charset="UTF-8",
        headers=answer.headers,
    )

"""SHELL. /healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from tradingbot_operator.errors import NotConfigured
from tradingbot_operator.health import STANDBY, Health
from tradingbot_operator.metrics import Metrics


class HttpServer:
    def __init__(self, health: Health, metrics: Metrics, *, clock: Callable[[], float]) -> None:
        self._health = health
        self._metrics = metrics
        self._clock = clock
        app = web.Application()
        app.add_routes(
            [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._render)]
        )
        # A connection that is kept is a task, and at its end kopf waits for each task that is newer than itself.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=0.0)

    async def start(self, host: str, port: int) -> None:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise NotConfigured(f"cannot listen on {host}:{port}: {error}") from error

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return self._answer(self._health.why_dead(self._clock()))

    async def _readyz(self, _: web.Request) -> web.Response:
        return self._answer(self._health.why_not_ready(self._clock()))

    async def _render(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    def _answer(self, trouble: str) -> web.Response:
        if trouble:
            return web.Response(status=503, text=f"{trouble}\n")
        return web.Response(text="ok\n" if self._health.is_leading else f"ok: {STANDBY}\n")

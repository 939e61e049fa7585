"""SHELL. `/healthz`, `/readyz` and `/metrics` of the trader, on the pod's own address."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str]
"""Why it is not so, in one line; empty when it is."""


async def serve(
    *, host: str, port: int, ready: Check, observe: Callable[[], None], registry: CollectorRegistry
) -> web.AppRunner:
    """Start the server; the caller cleans the runner up. `observe` is called before each scrape.

    An answer of /healthz is the proof that the loop turns: nothing that a restart would cure can be seen beyond that.
    """

    def answer(check: Check) -> Callable[[web.Request], object]:
        async def handler(_request: web.Request) -> web.Response:
            problem = check()
            return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")

        return handler

    async def metrics(_request: web.Request) -> web.Response:
        observe()
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", answer(lambda: ""))  # type: ignore[arg-type]  # aiohttp's handler type is narrower than what it takes
    application.router.add_get("/readyz", answer(ready))  # type: ignore[arg-type]  # as above
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner

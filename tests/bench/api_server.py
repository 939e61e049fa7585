"""SHELL. The six requests that a trader makes of an API server, over TLS, answered from one object in memory.

So that a figure can be taken of the real program, with the real Kubernetes client in it, and without a cluster.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from support.service_account import certify
from support.trader import FakeKube
from tradingbot_api import API_VERSION, GROUP, VERSION
from tradingbot_trader.control.kube import KubeError, Listing

_BOTS = f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/tradingbots"
_LEASE = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"


@dataclass(frozen=True, slots=True)
class ApiServer:
    port: int
    service_account: Path
    """The folder that a pod would have mounted."""

    @property
    def environment(self) -> Mapping[str, str]:
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}


@asynccontextmanager
async def serving(kube: FakeKube, folder: Path) -> AsyncIterator[ApiServer]:
    context = certify(folder)
    runner = web.AppRunner(_application(kube), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield ApiServer(runner.addresses[0][1], folder)
    finally:
        await runner.cleanup()


def _application(kube: FakeKube) -> web.Application:
    async def bots(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await _stream(request, kube.watch_bot(request.query["resourceVersion"]))
        return _list("TradingBot", await kube.list_bot())

    async def halts(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await _stream(request, kube.watch_halts(request.query["resourceVersion"]))
        return _list("TradingHalt", await kube.list_halts())

    async def bot(_request: web.Request) -> web.Response:
        return web.json_response({"apiVersion": API_VERSION, "kind": "TradingBot"} | (await kube.get_bot() or {}))

    async def status(request: web.Request) -> web.Response:
        await kube.apply_status(json.loads(await request.text())["status"]["trader"])
        return web.json_response(await kube.get_bot())

    async def lease(_request: web.Request) -> web.Response:
        return web.json_response(await kube.get_lease())

    async def replace_lease(request: web.Request) -> web.Response:
        body = await request.json()
        try:
            version = body["metadata"]["resourceVersion"]
            return web.json_response(await kube.replace_lease(body, resource_version=version))
        except KubeError as error:
            return web.json_response({"kind": "Status", "message": str(error)}, status=error.status)

    application = web.Application()
    application.add_routes(
        [
            web.get(_BOTS, bots),
            web.get(f"{_BOTS}/{{name}}", bot),
            web.patch(f"{_BOTS}/{{name}}/status", status),
            web.get(f"/apis/{GROUP}/{VERSION}/tradinghalts", halts),
            web.get(_LEASE, lease),
            web.put(_LEASE, replace_lease),
        ]
    )
    return application


def _list(kind: str, listing: Listing) -> web.Response:
    metadata = {"resourceVersion": listing.resource_version}
    return web.json_response(
        {"apiVersion": API_VERSION, "kind": f"{kind}List", "metadata": metadata, "items": listing.items}
    )


async def _stream(request: web.Request, events: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    async for event in events:
        await response.write(json.dumps(event).encode() + b"\n")
    return response

"""The Kubernetes client and an API server that answers 5xx: it asks once, and the trader's loops ask again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from support.service_account import certify
from tradingbot_trader.control.kube import KubeError, KubernetesApi


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_failing_api_server_is_asked_once(tmp_path: Path, status: int) -> None:
    asked: list[str] = []

    async def fail(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.json_response({"kind": "Status", "message": "down"}, status=status)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fail)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certify(tmp_path)).start()
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(runner.addresses[0][1])}
    kube = KubernetesApi(namespace="desk", name="btc", service_account_dir=tmp_path, environ=environ)
    try:
        async with asyncio.timeout(60):
            for ask in (kube.get_bot, kube.list_bot, kube.list_halts, kube.get_lease):
                with pytest.raises(KubeError) as failed:
                    await ask()
                assert failed.value.status == status
    finally:
        await kube.close()
        await runner.cleanup()
    assert asked == ["GET"] * 4

"""The Kubernetes client and an API server that answers 5xx: it asks once, and the trader's loops ask again."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from tradingbot_sandbox.control_plane.certificates import Authority
from tradingbot_trader.control.kube import KubeError, KubernetesApi


def _serve(folder: Path) -> ssl.SSLContext:
    """Writes what a pod has mounted, and the server's certificate."""
    now = datetime.now(UTC)
    authority = Authority.create("test", now=now)
    pair = authority.issue_server("test", hosts=("127.0.0.1",), now=now)
    for name, content in {
        "ca.crt": authority.pem,
        "token": b"test",
        "server.crt": pair.certificate_pem,
        "server.key": pair.key_pem,
    }.items():
        (folder / name).write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


@pytest.mark.parametrize("status", [500, 503, 429])
def test_failing_api_server_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    asked: list[str] = []

    async def fail(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.json_response({"kind": "Status", "message": "down"}, status=status)

    async def go() -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", fail)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_serve(tmp_path))
        await site.start()
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(runner.addresses[0][1]))
        kube = KubernetesApi(namespace="desk", name="btc", service_account_dir=tmp_path)
        try:
            async with asyncio.timeout(60):
                for ask in (kube.get_bot, kube.list_bot, kube.list_halts, kube.get_lease):
                    with pytest.raises(KubeError) as failed:
                        await ask()
                    assert failed.value.status == status
        finally:
            await kube.close()
            await runner.cleanup()

    asyncio.run(go())
    assert asked == ["GET"] * 4

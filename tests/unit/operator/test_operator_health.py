from __future__ import annotations

import socket

import aiohttp
import pytest

from tradingbot_operator.errors import NotConfigured
from tradingbot_operator.health import Health
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.server import HttpServer


def test_silence_beyond_the_limit_is_death() -> None:
    health = Health(limit_seconds=60, last_sign_at=0)
    assert health.why_dead(60) == ""
    assert "61 s" in health.why_dead(61)
    health.saw_event(61)
    assert health.why_dead(121) == ""
    health.saw_list(121)
    assert health.why_dead(181) == ""
    assert health.why_dead(182) != ""


def test_ready_needs_a_list_and_watches_and_life() -> None:
    health = Health(limit_seconds=60, last_sign_at=0)
    assert "listed" in health.why_not_ready(1)
    health.saw_list(1)
    assert "watches" in health.why_not_ready(1)
    health.is_watching = True
    assert health.why_not_ready(1) == ""
    assert "neither" in health.why_not_ready(100)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_server_answers_what_health_says() -> None:
    now = 0.0
    health, metrics = Health(limit_seconds=60, last_sign_at=0), Metrics()
    metrics.requested("patch", "roles", 200)
    metrics.follow(queue_depth=lambda: 3, bots=lambda: 2)
    server, port = HttpServer(health, metrics, clock=lambda: now), free_port()
    await server.start("127.0.0.1", port)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(path) as response:
                    return response.status, await response.text()

            assert await get("/healthz") == (200, "ok\n")
            assert (await get("/readyz"))[0] == 503
            health.saw_list(0)
            health.is_watching = True
            assert await get("/readyz") == (200, "ok\n")
            now = 61.0
            status, text = await get("/healthz")
            assert status == 503
            assert "neither a watch event nor a list" in text
            status, text = await get("/metrics")
            assert status == 200
            assert "tradingbot_operator_queue_depth 3.0" in text
            assert "tradingbot_operator_bots 2.0" in text
            assert 'tradingbot_operator_api_requests_total{code="200",resource="roles",verb="patch"} 1.0' in text
        with pytest.raises(NotConfigured, match="cannot listen"):
            await HttpServer(health, metrics, clock=lambda: now).start("127.0.0.1", port)
    finally:
        await server.stop()

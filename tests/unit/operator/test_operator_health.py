from __future__ import annotations

import socket

import aiohttp
import pytest

from tradingbot_operator import kinds
from tradingbot_operator.errors import NotConfigured
from tradingbot_operator.health import Health
from tradingbot_operator.lag import Lag
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.server import HttpServer
from tradingbot_operator.store import News
from tradingbot_operator.watches import Watches


def build_health(*, is_leading: bool = True) -> Health:
    watches = Watches((), grace_seconds=10.0)
    return Health(watches, Lag(1.0, 30.0), limit_seconds=60, last_sign_at=0, is_leading=is_leading)


def open_watches(health: Health) -> None:
    for watch_id in health.watches.ids:
        health.watches.opened(watch_id)


def test_silence_beyond_the_limit_is_death() -> None:
    health = build_health()
    assert health.why_dead(60) == ""
    assert "61 s" in health.why_dead(61)
    health.saw_event(61)
    assert health.why_dead(121) == ""
    health.saw_list(121)
    assert health.why_dead(181) == ""
    assert health.why_dead(182) != ""


def test_leader_that_renews_its_lease_and_sees_nothing_else_is_dead() -> None:
    health = build_health()
    health.saw_lease(60)
    assert "neither a watch event nor a list" in health.why_dead(61)


def test_standby_lives_and_is_ready_as_long_as_it_can_read_the_lease() -> None:
    health = build_health(is_leading=False)
    assert "Lease" in health.why_not_ready(1)
    health.saw_lease(50)
    assert health.why_not_ready(110) == ""
    assert health.why_dead(110) == ""
    assert "no answer about the Lease for 61 s" in health.why_dead(111)
    assert health.why_not_ready(111) != ""


def test_new_leader_has_the_whole_limit_for_its_first_list() -> None:
    health = build_health(is_leading=False)
    health.saw_lease(1)
    health.lead(59)
    assert health.why_dead(119) == ""
    assert "listed" in health.why_not_ready(60)


def test_ready_needs_a_list_and_watches_and_life() -> None:
    health = build_health()
    assert "listed" in health.why_not_ready(1)
    health.saw_list(1)
    assert "watches" in health.why_not_ready(1)
    open_watches(health)
    assert health.why_not_ready(1) == ""
    assert "neither" in health.why_not_ready(100)


def test_dead_watch_and_a_slow_loop_are_told_together() -> None:
    health = build_health()
    open_watches(health)
    manifest = {"metadata": {"name": "btc", "namespace": "desk-a", "resourceVersion": "5"}}
    health.watches.listed(kinds.BOT, None, [News(manifest, 5)], 0.0)
    health.watches.judge(10.0)
    health.lag.saw(35.0, 40.0)
    assert "the watch of tradingbots is dead" in health.why_dead(40)
    assert "the event loop" in health.why_dead(40)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_server_answers_what_health_says() -> None:
    now = 0.0
    health, metrics = build_health(is_leading=False), Metrics()
    server, port = HttpServer(health, metrics, clock=lambda: now), free_port()
    await server.start("127.0.0.1", port)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(path) as response:
                    return response.status, await response.text()

            assert (await get("/readyz"))[0] == 503
            health.saw_lease(0)
            assert await get("/healthz") == (200, "ok: standby\n")
            assert await get("/readyz") == (200, "ok: standby\n")
            health.lead(0)
            assert await get("/healthz") == (200, "ok\n")
            assert (await get("/readyz"))[0] == 503
            health.saw_list(0)
            open_watches(health)
            assert await get("/readyz") == (200, "ok\n")
            now = 61.0
            status, text = await get("/healthz")
            assert status == 503
            assert "neither a watch event nor a list" in text
            status, text = await get("/metrics")
            assert status == 200
            assert "tradingbot_operator_queue_depth 0.0" in text
        with pytest.raises(NotConfigured, match="cannot listen"):
            await HttpServer(health, metrics, clock=lambda: now).start("127.0.0.1", port)
    finally:
        await server.stop()

"""Reports reach the object in the order in which they were made."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from support.virtual import VirtualClock, run
from tradingbot_api.status import ConfigReport, TraderStatus
from tradingbot_trader.control.kube import KubeApi
from tradingbot_trader.report import Reporter


class SlowKube:
    """Each write waits until the test lets it through; what came through last is what the object says."""

    def __init__(self) -> None:
        self.waiting: list[tuple[dict[str, Any], asyncio.Event]] = []
        self.status: dict[str, Any] = {}

    async def apply_status(self, report: dict[str, Any]) -> None:
        gate = asyncio.Event()
        self.waiting.append((report, gate))
        await gate.wait()
        self.status = report


def build(epoch: int) -> TraderStatus:
    return TraderStatus.model_validate(
        {
            "uid": "u1",
            "pod": "p",
            "version": "1",
            "mode": "Live",
            "state": "ReduceOnly",
            "startedAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": "2026-01-01T00:00:00Z",
            "epoch": epoch,
            "config": ConfigReport(generation=1, accepted=True, reason="Accepted").model_dump(by_alias=True),
        }
    )


def test_last_word_is_not_overtaken_by_the_heartbeat_before_it() -> None:
    async def story() -> None:
        kube, clock = SlowKube(), VirtualClock()
        said = iter(range(1, 10))
        reporter = Reporter(cast("KubeApi", kube), clock, lambda: build(next(said)))
        heartbeats = asyncio.create_task(reporter.run())
        await clock.sleep(0.1)
        last = asyncio.create_task(reporter.write())  # as the session does at its end, before it cancels the reporter
        await clock.sleep(0.1)
        while not last.done():
            for _, gate in reversed(kube.waiting):  # the network gives the later one first
                gate.set()
                await clock.sleep(0.1)
        await clock.sleep(0.1)
        newest = max(report["epoch"] for report, _ in kube.waiting)
        heartbeats.cancel()
        await asyncio.gather(heartbeats, return_exceptions=True)
        assert kube.status["epoch"] == newest

    run(story())

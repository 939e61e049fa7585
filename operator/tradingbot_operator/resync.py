"""SHELL. Lists everything again and again, beside the watches: one that died silently hides nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from tradingbot_operator import kinds
from tradingbot_operator.errors import ApiError
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kube import KubeApi
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import Backoff
from tradingbot_operator.store import Store

log = structlog.get_logger(__name__)

_BACKOFF = Backoff(base_seconds=1.0, max_seconds=15.0)


class Resync:
    def __init__(
        self,
        api: KubeApi,
        store: Store,
        intake: Intake,
        health: Health,
        metrics: Metrics,
        *,
        namespaces: Sequence[str],
        interval_seconds: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`namespaces` empty: all of the cluster."""
        self._api = api
        self._store = store
        self._intake = intake
        self._health = health
        self._metrics = metrics
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._random = random
        self.is_complete = asyncio.Event()
        """Everything was listed once: until then what is missing may only be unseen."""

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                await self.list_all()
            except ApiError as error:
                failures += 1
                wait_seconds = min(_BACKOFF.delay_seconds(failures, random=self._random()), self._interval_seconds)
                log.error("listing failed", error=str(error), retry_in_seconds=round(wait_seconds, 3))
                self._metrics.failed(error.reason)
            else:
                failures, wait_seconds = 0, self._interval_seconds
            await asyncio.sleep(wait_seconds)

    async def list_all(self) -> None:
        for kind in (*kinds.CHILDREN, kinds.BOT):
            for namespace in self._scopes:
                listing = await self._api.list(kind, namespace)
                self._store.replace(kind, listing.items, version=listing.version, namespace=namespace)
        self._health.saw_list(self._clock())
        self._metrics.listed(self._wall_clock())
        self.is_complete.set()
        self._intake.see_all()

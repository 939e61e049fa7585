"""SHELL. Lists everything again and again, beside the watches: one that died silently hides nothing for long.

What a list shows before its watch does is the proof that the watch is dead (watches.py); then all are opened anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from tradingbot_operator import kinds
from tradingbot_operator.errors import ApiError, Refused
from tradingbot_operator.health import Health
from tradingbot_operator.intake import Intake
from tradingbot_operator.kube import KubeApi
from tradingbot_operator.metrics import Metrics
from tradingbot_operator.queue import Backoff
from tradingbot_operator.store import Store

log = structlog.get_logger(__name__)

_BACKOFF = Backoff(base_seconds=1.0, max_seconds=15.0)
_RECHECK_SECONDS = 2.0
"""After watches were opened anew it is soon listed again: whether they live is what the next list shows."""


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
        reopen_watches: Callable[[], int],
        list_records: Callable[[], Awaitable[None]],
    ) -> None:
        """`namespaces` empty: all of the cluster. `reopen_watches` answers how many connections it has cut.
        `list_records` lists the records that are not known yet, and raises nothing."""
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
        self._reopen_watches = reopen_watches
        self._list_records = list_records
        self._failures = 0
        self.sees_halts = False
        """The API server let us list the halts: an older role does not."""
        self.is_complete = asyncio.Event()
        """Everything was listed once: until then what is missing may only be unseen."""

    async def run(self) -> None:
        """Until cancelled."""
        watches = self._health.watches
        recheck_seconds = min(max(_RECHECK_SECONDS, self._interval_seconds / 10), self._interval_seconds)
        while True:
            wait_seconds = await self._try_to_list()
            list_at = self._clock() + (min(wait_seconds, recheck_seconds) if watches.are_dead else wait_seconds)
            while (now := self._clock()) < list_at:
                if self.judge():
                    list_at = min(list_at, now + recheck_seconds)
                judge_at = watches.next_judgement_at()
                await asyncio.sleep((list_at if judge_at is None else min(list_at, judge_at)) - now)

    def judge(self) -> bool:
        """Whether a watch was proved dead just now."""
        dead = self._health.watches.judge(self._clock())
        if not dead:
            return False
        for watch_id in dead:
            self._metrics.missed(watch_id.plural)
        log.error("watches are dead", watches=[str(each) for each in dead], connections_cut=self._reopen_watches())
        return True

    async def _try_to_list(self) -> float:
        """In how many seconds to list again."""
        try:
            await self.list_all()
        except ApiError as error:
            self._failures += 1
            wait_seconds = min(_BACKOFF.delay_seconds(self._failures, random=self._random()), self._interval_seconds)
            log.error("listing failed", error=str(error), retry_in_seconds=round(wait_seconds, 3))
            self._metrics.failed(error.reason)
            return wait_seconds
        self._failures = 0
        return self._interval_seconds

    async def list_all(self) -> None:
        for kind in (*kinds.CHILDREN, kinds.BOT):
            for namespace in self._scopes:
                listing = await self._api.list(kind, namespace)
                if listing is None:
                    self._store.forget(kind)
                    continue
                news = self._store.replace(kind, listing.items, version=listing.version, namespace=namespace)
                if self.is_complete.is_set():  # until then everything is news, and no watch is open
                    self._intake.see_list(kind, news, namespace=namespace)
        await self._list_halts()
        await self._list_records()
        self._health.saw_list(self._clock())
        self._metrics.listed(self._wall_clock())
        self.is_complete.set()
        self._intake.see_all()

    async def _list_halts(self) -> None:
        """Of the whole cluster, whichever namespaces we serve. Without the right to it all else goes on."""
        try:
            listing = await self._api.list(kinds.HALT, None)
        except Refused as error:
            if self.sees_halts or not self.is_complete.is_set():
                log.error(
                    "halts not seen: a halt that comes and goes while a bot has no trader latches nobody",
                    error=str(error),
                    hint="give the operator list and watch on tradinghalts (the chart's role does), and restart it",
                )
            self.sees_halts = False
            self._metrics.halts_seen(is_seen=False)
            return
        self.sees_halts = True
        self._metrics.halts_seen(is_seen=True)
        if listing is None:
            return
        news = self._store.replace(kinds.HALT, listing.items, version=listing.version, namespace=None)
        if self.is_complete.is_set():
            self._intake.see_list(kinds.HALT, news, namespace=None)

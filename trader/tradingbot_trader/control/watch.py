"""SHELL. Where every command enters: our own TradingBot and all TradingHalts, by watch, and again by consistent reads.

The watch makes a stop fast; the reads make contact provable, because a watch can die without a sign. It holds no rule:
what is seen is handed on, the newest state of both together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from tradingbot_trader.clock import Clock
from tradingbot_trader.control.kube import KubeApi, KubeError, Raw

Deliver = Callable[[Raw | None, list[Raw] | None], None]
"""Called in the loop iteration of the read, with the newest bot (None: it is gone) and the newest halts (None: they
could never be read; a stop in the bot itself must not wait for them)."""

_BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


class ControlWatch:
    """Follows the bot and the halts until cancelled, and knows when the control plane was last heard."""

    def __init__(
        self, kube: KubeApi, clock: Clock, jitter: random.Random, deliver: Deliver, *, poll_seconds: Callable[[], float]
    ) -> None:
        """`poll_seconds` is asked before each read: a third of the spec's controlPlaneTimeout."""
        self._kube, self._clock, self._jitter = kube, clock, jitter
        self._deliver, self._poll_seconds = deliver, poll_seconds
        self._log = structlog.get_logger().bind(part="control")
        self._bot: Raw | None = None
        self._halts: dict[str, Raw] | None = None
        self._bot_seen = False
        self._last_contact_ns: int | None = None

    @property
    def last_contact_ns(self) -> int | None:
        """Monotonic time at which the last successful pair of reads was sent; None before the first."""
        return self._last_contact_ns

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forever("poll", self._poll))
            tasks.create_task(self._forever("watch bot", self._watch_bot))
            tasks.create_task(self._forever("watch halts", self._watch_halts))

    async def _forever(self, name: str, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        failures = 0
        while True:
            try:
                await step()
                failures = 0
            except KubeError as error:
                delay = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)] * self._jitter.uniform(0.8, 1.2)
                failures += 1
                self._log.warning(
                    "control_plane_unreachable", task=name, error=str(error), retry_seconds=round(delay, 1)
                )
                await self._clock.sleep(delay)

    async def _poll(self) -> None:
        sent_ns = self._clock.monotonic_ns()
        bot = await self._kube.get_bot()
        halts = await self._kube.list_halts()
        self._last_contact_ns = sent_ns
        self._take_bot(bot)
        self._halts = {halt["metadata"]["name"]: halt for halt in halts.items}
        self._hand_on()
        await self._clock.sleep(self._poll_seconds())

    async def _watch_bot(self) -> None:
        listing = await self._kube.list_bot()
        self._take_bot(listing.items[0] if listing.items else None)
        self._hand_on()
        async for event in self._kube.watch_bot(listing.resource_version):
            if event["type"] == "BOOKMARK":
                continue
            self._take_bot(None if event["type"] == "DELETED" else event["object"])
            self._hand_on()

    async def _watch_halts(self) -> None:
        listing = await self._kube.list_halts()
        self._halts = {halt["metadata"]["name"]: halt for halt in listing.items}
        self._hand_on()
        async for event in self._kube.watch_halts(listing.resource_version):
            name = event["object"]["metadata"].get("name", "")
            if event["type"] == "DELETED":
                self._halts.pop(name, None)
            elif event["type"] != "BOOKMARK":
                self._halts[name] = event["object"]
            self._hand_on()

    def _take_bot(self, bot: Raw | None) -> None:
        """Keep the newest: an answer to a read can arrive after a watch event that is newer than it."""
        self._bot_seen = True
        if bot is not None and self._bot is not None:
            new, old = bot["metadata"], self._bot["metadata"]
            if new["uid"] == old["uid"] and int(new["resourceVersion"]) < int(old["resourceVersion"]):
                return
        self._bot = bot

    def _hand_on(self) -> None:
        if self._bot_seen:
            self._deliver(self._bot, None if self._halts is None else list(self._halts.values()))

"""SHELL. Tells the API server what the trader does: `status.trader`, whole, by server-side apply.

Ordinary news wait for the next heartbeat, because every write is a write to etcd; what a person waits for (a stop, an
accepted or refused spec, another trading state, another limit) goes out at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tradingbot_api.status import TraderStatus
from tradingbot_trader.clock import Clock
from tradingbot_trader.control.kube import KubeApi, KubeError

HEARTBEAT_SECONDS = 30.0
"""How old `status.trader` may get; DESIGN, "status"."""
RETRY_SECONDS = 1.0

_log = structlog.get_logger("report")


class Reporter:
    """Writes until cancelled. `urge` is safe to call from anywhere in the loop."""

    def __init__(self, kube: KubeApi, clock: Clock, build: Callable[[], TraderStatus | None]) -> None:
        """`build` answers None while this trader may not speak for the bot."""
        self._kube, self._clock, self._build = kube, clock, build
        self._urgent = asyncio.Event()

    def urge(self) -> None:
        """Write at once."""
        self._urgent.set()

    async def run(self) -> None:
        while True:
            self._urgent.clear()
            if not await self.write():
                await self._clock.sleep(RETRY_SECONDS)
                continue
            waiting = asyncio.ensure_future(self._urgent.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(HEARTBEAT_SECONDS))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()

    async def write(self) -> bool:
        """One write; False when it did not get through and should be tried again."""
        status = self._build()
        if status is None:
            return False
        try:
            await self._kube.apply_status(status.model_dump(mode="json", by_alias=True, exclude_none=True))
        except KubeError as error:
            _log.warning("status_not_written", error=str(error), status=error.status)
            return False
        return True

"""SHELL. Where the trader reads time. Passed in everywhere, so that a simulation can bring its own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def now_ns(self) -> int:
        """This machine's wall clock, UTC. It may jump: never measure a duration with it."""
        ...

    def monotonic_ns(self) -> int:
        """Never goes back, and means nothing outside this process."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

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


class VenueClock:
    """The venue's clock as the wall clock of everything that trades, carried on by the monotonic one.

    A jump of this machine's wall clock changes nothing here: no loss window is reset, no limit forgets an order. Before
    the venue has told its time, it is the machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_of_monotonic_ns: int | None = None

    @property
    def is_set(self) -> bool:
        return self._ahead_of_monotonic_ns is not None

    @property
    def ahead_ns(self) -> int:
        """How far the venue's clock is ahead of this machine's, now; what `risk.maxClockSkew` is about."""
        return self.now_ns() - self._clock.now_ns()

    def set(self, venue_ns: int, *, at_monotonic_ns: int) -> None:
        """The venue's time was this at that moment."""
        self._ahead_of_monotonic_ns = venue_ns - at_monotonic_ns

    def now_ns(self) -> int:
        ahead_ns = self._ahead_of_monotonic_ns
        return self._clock.now_ns() if ahead_ns is None else self._clock.monotonic_ns() + ahead_ns

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

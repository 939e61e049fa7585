"""Whether the event loop still turns: a reconciliation, a watch or a probe that waits for its turn is late by its lag.

`Lag` is PURE, `measure` the SHELL around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

SAMPLE_SECONDS = 0.25


@dataclass(slots=True)
class Lag:
    limit_seconds: float
    """More than that is too slow."""
    bound_seconds: float
    """For so long it may be too slow without a break."""
    _slow_since: float | None = None

    def saw(self, lag_seconds: float, now: float) -> None:
        if lag_seconds <= self.limit_seconds:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = now - lag_seconds

    def why_dead(self, now: float) -> str:
        """Empty while it turns."""
        if self._slow_since is None or now - self._slow_since <= self.bound_seconds:
            return ""
        return f"the event loop has been late by more than {self.limit_seconds:g} s for {now - self._slow_since:.0f} s"


async def measure(lag: Lag, observe: Callable[[float], None], *, clock: Callable[[], float]) -> None:
    """Asks again and again to be woken, and looks how late that happens; until cancelled."""
    while True:
        asked_at = clock()
        await asyncio.sleep(SAMPLE_SECONDS)
        now = clock()
        late_seconds = max(now - asked_at - SAMPLE_SECONDS, 0.0)
        lag.saw(late_seconds, now)
        observe(late_seconds)

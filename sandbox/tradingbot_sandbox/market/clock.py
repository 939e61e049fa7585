"""The clock of the simulators: a venue's clock is the wall clock, and tests pass their own. SHELL."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a simulator reads the time."""

    def now_ns(self) -> int:
        """UTC, in nanoseconds."""
        ...


class SystemClock:
    """The machine's wall clock."""

    def now_ns(self) -> int:
        return time.time_ns()

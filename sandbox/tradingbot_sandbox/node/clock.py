"""SHELL. The one place of the node that reads the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_ns(self) -> int:
        """UTC, in nanoseconds since 1970: what statuses and records carry."""


class SystemClock:
    def now_ns(self) -> int:
        return time.time_ns()

"""Waiting for a condition with a deadline: the only place where tests of real processes pause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
DEADLINE_SECONDS = 60.0
PAUSE_SECONDS = 0.02


def until(
    what: str,
    look: Callable[[], T | None],
    *,
    seconds: float = DEADLINE_SECONDS,
    pause_seconds: float = PAUSE_SECONDS,
) -> T:
    """The first answer that is neither None nor false."""
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(pause_seconds)

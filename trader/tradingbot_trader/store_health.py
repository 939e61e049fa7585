"""SHELL. Whether the disk takes what has to be recorded; what it refused is tried again. Beside the desk."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tradingbot_trader.clock import Clock
from tradingbot_trader.errors import StopTrading

_log = structlog.get_logger("store")
RETRY_SECONDS = 5.0


class StoreHealth:
    """While `failure` says something, nothing leaves but cancels."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failure = ""
        """What the disk said last; empty while it takes everything."""
        self._is_lost_for_ever = False
        self._tried_ns = 0

    def fail(self, error: StopTrading) -> None:
        if not self.failure:
            _log.error("store_failed", error=str(error), action="nothing leaves but cancels until it can be written")
        self.failure = str(error)
        self._is_lost_for_ever = self._is_lost_for_ever or error.final
        self._tried_ns = self._clock.monotonic_ns()

    def retry(self, write: Callable[[], bool]) -> bool:
        """`write` takes what is owed along. True when it got through, and trading may go on."""
        is_due = self._clock.monotonic_ns() - self._tried_ns >= RETRY_SECONDS * 1e9
        if not self.failure or self._is_lost_for_ever or not is_due or not write():
            return False
        self.failure = ""
        _log.warning("store_repaired")
        return True

"""Virtual time: an event loop whose clock jumps to the next timer, so that a day of a trader takes a moment."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""


class _Jumping(selectors.SelectSelector):
    """Never waits: when nothing is readable, the time that it was asked to wait has passed."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and no timer is set: the test would hang for ever")
            self._loop.jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._seconds

    def jump(self, seconds: float) -> None:
        self._seconds += seconds


class VirtualClock:
    """The trader's Clock on that loop. `skew_ns` moves the wall clock and not the monotonic one."""

    def __init__(self) -> None:
        self.skew_ns = 0

    def now_ns(self) -> int:
        return START_NS + self.monotonic_ns() + self.skew_ns

    def monotonic_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(test)

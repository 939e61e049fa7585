"""SHELL. Who may send next: cancels before queries before new orders, as the rate budget allows. Inside the gateway."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tradingbot_trader.clock import Clock
from tradingbot_trader.orders.budget import Lane, RateBudget

MAX_IN_FLIGHT = 8
"""Requests at a time, cancels not counted: what a venue's answer costs it, we do not ask for in bulk."""

_ORDER = tuple(Lane)
_BEHIND_SECONDS = 0.01
"""How soon one that may leave, but stands behind another, looks again."""


class Lanes:
    """A cancel never waits for anything but the venue's own word (429, 418): it has no number in the queue."""

    def __init__(self, budget: RateBudget, clock: Clock, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._budget, self._clock = budget, clock
        self._free = max_in_flight
        self._blocked = dict.fromkeys(Lane, 0)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def turn(self, lane: Lane, weight: int) -> AsyncIterator[None]:
        """Held while the request is under way."""
        is_counted = lane is not Lane.CANCEL
        if is_counted:
            await self._acquire(lane)
        try:
            await self._wait_for_budget(lane, weight)
            yield
        finally:
            if is_counted:
                self._release()

    async def _wait_for_budget(self, lane: Lane, weight: int) -> None:
        self._blocked[lane] += 1
        try:
            while True:
                now_ns = self._clock.now_ns()
                at_ns = self._budget.next_allowed_ns(lane, weight, now_ns)
                if at_ns <= now_ns and not self._is_behind(lane):
                    self._budget.take(lane, weight, now_ns)
                    return
                # Looked at again each second: the venue's own numbers may have come meanwhile.
                left_seconds = (at_ns - now_ns) / 1e9
                await self._clock.sleep(min(left_seconds, 1.0) if left_seconds > 0 else _BEHIND_SECONDS)
        finally:
            self._blocked[lane] -= 1

    def _is_behind(self, lane: Lane) -> bool:
        """Somebody of a lane that comes first is waiting, too: what opens, opens for them."""
        return any(self._blocked[other] for other in _ORDER[: _ORDER.index(lane)])

    async def _acquire(self, lane: Lane) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (_ORDER.index(lane), next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # it was handed to us in the moment in which we gave up
            raise

    def _release(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

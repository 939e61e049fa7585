"""SHELL. Who may send next: one queue, in the order of the lanes, served as the rate budget allows. Inside the gateway.

Everybody waits in the same queue for both, a place and the budget, and is given both in one step or none: whoever waits
holds nothing up. The queue is served when somebody comes, when a place is left, and by one timer.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import insort
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tradingbot_trader.clock import Clock
from tradingbot_trader.orders.budget import Lane, RateBudget
from tradingbot_trader.venues.account import NotAllowed

MAX_IN_FLIGHT = 8
"""Questions and entries at a time: what a venue's answer costs it, we do not ask for in bulk."""
UNPLACED = frozenset({Lane.CANCEL, Lane.EXIT})
"""They wait for no place: eight requests that hang keep neither a stop nor a stop-loss in."""
LOOK_SECONDS = 1.0
"""How often the budget is looked at again at least: the venue's own numbers may have come meanwhile."""

_NS = 1_000_000_000
_ORDER = tuple(Lane)


@dataclass(order=True, slots=True)
class _Waiter:
    rank: int
    number: int
    lane: Lane = field(compare=False)
    weight: int = field(compare=False)
    came_ns: int = field(compare=False)
    until_ns: int | None = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)
    has_place: bool = field(default=False, compare=False)


class Lanes:
    """A cancel never waits for anything but the venue's own word (429, 418)."""

    def __init__(self, budget: RateBudget, clock: Clock, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._budget, self._clock = budget, clock
        self._free = max_in_flight
        self._waiting: list[_Waiter] = []
        self._numbers = itertools.count()
        self._timer: asyncio.Task[None] | None = None
        self._timer_due_ns = 0

    @asynccontextmanager
    async def turn(self, lane: Lane, weight: int, *, patience_seconds: float | None = None) -> AsyncIterator[None]:
        """Held while the request is under way. NotAllowed when it did not come within that time."""
        came_ns = self._clock.monotonic_ns()
        waiter = _Waiter(
            rank=_ORDER.index(lane),
            number=next(self._numbers),
            lane=lane,
            weight=weight,
            came_ns=came_ns,
            until_ns=None if patience_seconds is None else came_ns + int(patience_seconds * _NS),
            turn=asyncio.get_running_loop().create_future(),
        )
        insort(self._waiting, waiter)
        self._serve()
        try:
            await waiter.turn
            yield
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            self._free += waiter.has_place
            self._serve()

    def _serve(self) -> None:
        """Whoever may go goes, in order, in this very turn of the loop. Then the timer is set for the others."""
        now_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        left: list[_Waiter] = []
        wait_ns: list[int] = []
        for waiter in self._waiting:
            try:
                ready_ns = self._offer(waiter, now_ns, monotonic_ns)
            except (NotAllowed, ValueError) as error:
                waiter.turn.set_exception(error)
                continue
            if waiter.turn.done():
                continue
            left.append(waiter)
            if ready_ns is not None:
                wait_ns.append(min(ready_ns - now_ns, int(LOOK_SECONDS * _NS)))
            if waiter.until_ns is not None:
                wait_ns.append(waiter.until_ns - monotonic_ns)
        self._waiting = left
        self._set_timer(monotonic_ns + min(wait_ns) if wait_ns else None)

    def _offer(self, waiter: _Waiter, now_ns: int, monotonic_ns: int) -> int | None:
        """A place and the budget, if there are both. Else when the budget will be there; None: it waits for a place."""
        if waiter.turn.done():
            return None
        if waiter.until_ns is not None and monotonic_ns >= waiter.until_ns:
            raise NotAllowed(f"it waited {(monotonic_ns - waiter.came_ns) / _NS:.1f} s for its turn")
        needs_place = waiter.lane not in UNPLACED
        if needs_place and not self._free:
            return None
        ready_ns = self._budget.next_allowed_ns(waiter.lane, waiter.weight, now_ns)
        if ready_ns > now_ns:
            return ready_ns
        self._budget.take(waiter.lane, waiter.weight, now_ns)
        self._free -= needs_place
        waiter.has_place = needs_place
        waiter.turn.set_result(None)
        return None

    def _set_timer(self, due_ns: int | None) -> None:
        """One that is due earlier does no harm: it serves the queue, and is set anew."""
        if self._timer is not None and due_ns is not None and self._timer_due_ns <= due_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ns is not None:
            self._timer_due_ns = due_ns
            self._timer = asyncio.get_running_loop().create_task(self._wake(due_ns))

    async def _wake(self, due_ns: int) -> None:
        await self._clock.sleep((due_ns - self._clock.monotonic_ns()) / _NS)
        self._timer = None
        self._serve()

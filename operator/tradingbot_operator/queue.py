"""What is due: each key once, one worker a key at a time, later when asked, and slower after each failure.

`Schedule` decides and takes the time as an argument; `KeyedQueue` waits for it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tradingbot_operator.kinds import Key


@dataclass(frozen=True, slots=True)
class Backoff:
    base_seconds: float
    max_seconds: float

    def delay_seconds(self, failures: int, *, random: float) -> float:
        """After so many failures in a row; `random` in [0, 1) spreads keys that failed together over half the time."""
        exponent = min(failures - 1, 32)  # beyond that the longest wait has long been reached, and floats end
        whole = min(self.base_seconds * 2.0**exponent, self.max_seconds)
        return whole * (0.5 + random / 2)


@dataclass(slots=True)
class Schedule:
    """PURE state: nothing here waits or reads a clock."""

    backoff: Backoff
    _ready: deque[Key] = field(default_factory=deque)
    _waiting: dict[Key, float] = field(default_factory=dict)
    """What stands in `_ready`, and since when."""
    _working: dict[Key, bool] = field(default_factory=dict)
    """What a worker has; True when it was added again meanwhile."""
    _timers: dict[Key, float] = field(default_factory=dict)
    """The one time at which a key is due by itself."""
    _heap: list[tuple[float, Key]] = field(default_factory=list)
    """The same times in order, with some that do not hold any more."""
    _failures: dict[Key, int] = field(default_factory=dict)

    def add(self, key: Key, now: float) -> None:
        """Due now. What waited for a later time does not any more: the next reconciliation says anew when to look."""
        self._timers.pop(key, None)
        if key in self._working:
            self._working[key] = True
        elif key not in self._waiting:
            self._waiting[key] = now
            self._ready.append(key)

    def remind(self, key: Key, now: float) -> None:
        """Due now, without anything new: what is being worked on, or waits after a failure, is left alone."""
        if key not in self._working and not (key in self._failures and key in self._timers):
            self.add(key, now)

    def take(self, now: float) -> Key | None:
        """The next key that is due; it is the caller's until `finish`."""
        self._promote(now)
        if not self._ready:
            return None
        key = self._ready.popleft()
        del self._waiting[key]
        self._working[key] = False
        return key

    def finish(self, key: Key, now: float, *, again_in_seconds: float | None) -> None:
        """It went well."""
        self._failures.pop(key, None)
        self._release(key, None if again_in_seconds is None else now + max(again_in_seconds, 0.0), now)

    def fail(self, key: Key, now: float, *, random: float, at_least_seconds: float = 0.0) -> float:
        """It did not; the answer is in how many seconds it is tried again, unless something new comes first."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(self.backoff.delay_seconds(failures, random=random), at_least_seconds)
        self._release(key, now + delay, now)
        return delay

    def next_due(self) -> float | None:
        """When a timer ends; None when there is none."""
        self._drop_void()
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        """How many keys are due now and not yet taken."""
        return len(self._ready)

    def oldest_seconds(self, now: float) -> float:
        """For how long the first of them has been due; 0 when there is none."""
        return now - self._waiting[self._ready[0]] if self._ready else 0.0

    def _release(self, key: Key, due_at: float | None, now: float) -> None:
        was_added = self._working.pop(key)
        if was_added:
            self.add(key, now)
        elif due_at is not None:
            self._timers[key] = due_at
            heapq.heappush(self._heap, (due_at, key))

    def _promote(self, now: float) -> None:
        self._drop_void()
        while self._heap and self._heap[0][0] <= now:
            due_at, key = heapq.heappop(self._heap)
            self.add(key, due_at)
            self._drop_void()

    def _drop_void(self) -> None:
        while self._heap and self._timers.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)


class KeyedQueue:
    """SHELL around a schedule: workers await `get`, and say `done` or `failed`."""

    def __init__(self, schedule: Schedule, *, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._schedule = schedule
        self._clock = clock
        self._random = random
        self._changed = asyncio.Event()
        self._is_closed = False

    def add(self, key: Key) -> None:
        self._schedule.add(key, self._clock())
        self._changed.set()

    def remind(self, key: Key) -> None:
        self._schedule.remind(key, self._clock())
        self._changed.set()

    async def get(self) -> Key | None:
        """The next key, as soon as one is due; None when the queue is closed."""
        while not self._is_closed:
            now = self._clock()
            if (key := self._schedule.take(now)) is not None:
                return key
            due = self._schedule.next_due()
            self._changed.clear()
            try:
                # Not wait_for, which makes a task: at its end kopf waits for each task that is newer than itself.
                async with asyncio.timeout(None if due is None else max(due - now, 0.0)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    def done(self, key: Key, *, again_in_seconds: float | None) -> None:
        self._schedule.finish(key, self._clock(), again_in_seconds=again_in_seconds)
        self._changed.set()

    def failed(self, key: Key, *, at_least_seconds: float = 0.0) -> float:
        """In how many seconds it is tried again."""
        delay = self._schedule.fail(key, self._clock(), random=self._random(), at_least_seconds=at_least_seconds)
        self._changed.set()
        return delay

    def close(self) -> None:
        """Nobody gets another key; what is under way may end."""
        self._is_closed = True
        self._changed.set()

    def oldest_seconds(self) -> float:
        return self._schedule.oldest_seconds(self._clock())

    def __len__(self) -> int:
        return len(self._schedule)

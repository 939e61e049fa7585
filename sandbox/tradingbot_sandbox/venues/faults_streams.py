"""The way of a stream's events to its listeners, with the faults of the script on it. PURE.

Flow: publisher -> `StreamWay.put` -> what `take` hands over now or later -> subscriptions, or a simulated client.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from tradingbot_sandbox.market.rng import seeded
from tradingbot_sandbox.venues.faults import Event, FaultScript

Item = TypeVar("Item")


@dataclass(slots=True)
class _Window(Generic[Item]):
    """Events that wait to be shuffled."""

    closes_ns: int
    size: int
    items: list[Item] = field(default_factory=list)


class StreamWay(Generic[Item]):
    """One way for all events of a venue: what happens to an event happens to it for every listener."""

    def __init__(self, script: FaultScript, describe: Callable[[Item], Event], *, seed: int = 0) -> None:
        self._script = script
        self._describe = describe
        self._random = seeded("stream-way", seed)
        self._order = count()
        self._waiting: list[tuple[int, int, Item]] = []
        self._windows: dict[int, _Window[Item]] = {}

    def put(self, item: Item, now_ns: int) -> None:
        fate = self._script.on_event(self._describe(item), now_ns)
        if fate.is_dropped:
            return
        at_ns = now_ns + fate.delayed_ns
        for _ in range(fate.copies):
            if fate.shuffler is None:
                heapq.heappush(self._waiting, (at_ns, next(self._order), item))
                continue
            window = self._windows.get(fate.shuffler.rule)
            if window is None:
                closes_ns = now_ns + fate.shuffler.seconds_ns
                window = _Window(closes_ns, fate.shuffler.window)
                self._windows[fate.shuffler.rule] = window
            window.items.append(item)
            if len(window.items) >= window.size:
                self._close(fate.shuffler.rule, now_ns)

    def take(self, now_ns: int) -> list[Item]:
        """What comes out by now, in its order."""
        for rule in [rule for rule, window in self._windows.items() if window.closes_ns <= now_ns]:
            self._close(rule, self._windows[rule].closes_ns)
        out = []
        while self._waiting and self._waiting[0][0] <= now_ns:
            out.append(heapq.heappop(self._waiting)[2])
        return out

    def next_due_ns(self) -> int | None:
        """When `take` has something to hand over. None: nothing is under way."""
        times = [window.closes_ns for window in self._windows.values()]
        times += [at_ns for at_ns, _, _ in self._waiting[:1]]
        return min(times, default=None)

    def _close(self, rule: int, at_ns: int) -> None:
        items = self._windows.pop(rule).items
        shuffled = list(range(len(items)))
        self._random.shuffle(shuffled)
        if shuffled == sorted(shuffled):
            shuffled.reverse()  # a window that comes out as it went in would be no fault
        for index in shuffled:
            heapq.heappush(self._waiting, (at_ns, next(self._order), items[index]))

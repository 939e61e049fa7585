"""PURE. Shares the event loop between a flood of frames and everything else. Between a connection and its parser.

A socket hands over up to 256 kB at a time (asyncio's read size): two thousand trades, 50 ms of work in one piece, in
which no stop would be heard. Here so many frames are handled in each turn of the loop, in order; the rest wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

PER_TURN = 25
"""Frames in one turn: about 0.8 ms, at 30 us for a frame. Whoever sleeps needs two or three turns to be served."""
MAX_WAITING = 100_000
"""Frames that may wait: five bursts of 20,000 trades, about 40 MB. What comes on top is lost, and said to be."""
T = TypeVar("T")


class Turns(Generic[T]):
    def __init__(
        self,
        handle: Callable[[T], None],
        *,
        call_soon: Callable[[Callable[[], None]], object],
        overflow: Callable[[], None],
        per_turn: int = PER_TURN,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """`handle` must not raise. `call_soon` runs its argument in the next turn; `overflow` is told of each loss."""
        self._handle = handle
        self._call_soon = call_soon
        self._overflow = overflow
        self._per_turn = per_turn
        self._max_waiting = max_waiting
        self._left = per_turn
        self._waiting: deque[T] = deque()

    def put(self, frame: T) -> None:
        if self._left and not self._waiting:
            self._take(frame)
        elif len(self._waiting) < self._max_waiting:
            self._waiting.append(frame)
        else:
            self._overflow()

    def _take(self, frame: T) -> None:
        if self._left == self._per_turn:
            self._call_soon(self._next_turn)
        self._left -= 1
        self._handle(frame)

    def _next_turn(self) -> None:
        self._left = self._per_turn
        while self._waiting and self._left:
            self._take(self._waiting.popleft())

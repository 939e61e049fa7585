from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.venues.turns import Turns


class Loop:
    """Turns of an event loop, one at a time."""

    def __init__(self) -> None:
        self._ready: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self._ready.append(call)

    def turn(self) -> bool:
        ready, self._ready = self._ready, []
        for call in ready:
            call()
        return bool(ready)


class Handled:
    def __init__(self, *, per_turn: int = 3, max_waiting: int = 1_000) -> None:
        self.loop = Loop()
        self.frames: list[int] = []
        self.lost = 0
        self.turns = Turns(
            self.frames.append,
            call_soon=self.loop.call_soon,
            overflow=self._overflow,
            per_turn=per_turn,
            max_waiting=max_waiting,
        )

    def _overflow(self) -> None:
        self.lost += 1


def test_frame_is_handled_at_once_while_there_are_few() -> None:
    handled = Handled()
    for frame in (1, 2, 3):
        handled.turns.put(frame)
    assert handled.frames == [1, 2, 3]


def test_flood_is_handled_in_order_so_many_in_a_turn() -> None:
    handled = Handled(per_turn=3)
    for frame in range(8):
        handled.turns.put(frame)
    seen = [list(handled.frames)]
    while handled.loop.turn():
        seen.append(list(handled.frames))
    assert [len(each) for each in seen] == [3, 6, 8, 8]
    assert handled.frames == list(range(8))


def test_frame_does_not_overtake_those_that_wait() -> None:
    handled = Handled(per_turn=1)
    for frame in (1, 2, 3):
        handled.turns.put(frame)
    handled.loop.turn()
    handled.turns.put(4)
    while handled.loop.turn():
        pass
    assert handled.frames == [1, 2, 3, 4]


def test_frames_that_find_no_place_are_told_of_one_by_one() -> None:
    handled = Handled(per_turn=1, max_waiting=2)
    for frame in range(5):
        handled.turns.put(frame)
    while handled.loop.turn():
        pass
    assert (handled.frames, handled.lost) == ([0, 1, 2], 2)


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(1, 5), st.integers(0, 10))
def test_every_frame_is_handled_in_order_or_told_as_lost_and_no_turn_takes_too_many(
    arrivals: list[int], per_turn: int, max_waiting: int
) -> None:
    handled, number = Handled(per_turn=per_turn, max_waiting=max_waiting), 0
    for count in arrivals:
        before = len(handled.frames)
        for _ in range(count):
            handled.turns.put(number)
            number += 1
        handled.loop.turn()
        assert len(handled.frames) - before <= 2 * per_turn, "what arrived in this turn, and what the next one took"
    while handled.loop.turn():
        pass
    assert len(handled.frames) + handled.lost == number
    assert handled.frames == sorted(set(handled.frames))

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tradingbot_operator.kinds import Key
from tradingbot_operator.queue import Backoff, KeyedQueue, Schedule

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("other", "a")
BACKOFF = Backoff(base_seconds=1.0, max_seconds=60.0)


def schedule() -> Schedule:
    return Schedule(BACKOFF)


def test_key_that_was_added_twice_is_due_once() -> None:
    due = schedule()
    due.add(A, 0.0)
    due.add(A, 0.0)
    assert due.take(0.0) == A
    assert due.take(0.0) is None


def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    due = schedule()
    for key in (B, A, C, A):
        due.add(key, 0.0)
    assert [due.take(0.0) for _ in range(4)] == [B, A, C, None]


def test_key_that_a_worker_has_is_not_given_to_another() -> None:
    due = schedule()
    due.add(A, 0.0)
    assert due.take(0.0) == A
    due.add(A, 0.0)
    assert due.take(0.0) is None
    due.finish(A, 0.0, again_in_seconds=None)
    assert due.take(0.0) == A


def test_later_is_later() -> None:
    due = schedule()
    due.add(A, 0.0)
    due.take(0.0)
    due.finish(A, 0.0, again_in_seconds=30.0)
    assert due.next_due() == 30.0
    assert due.take(29.9) is None
    assert due.take(30.0) == A


def test_news_comes_before_its_timer_and_voids_it() -> None:
    due = schedule()
    due.add(A, 0.0)
    due.take(0.0)
    due.finish(A, 0.0, again_in_seconds=30.0)
    due.add(A, 0.0)
    assert due.take(1.0) == A
    due.finish(A, 1.0, again_in_seconds=None)
    assert due.next_due() is None
    assert due.take(1000.0) is None


def test_back_off_doubles_up_to_its_longest_and_success_forgets_it() -> None:
    due = schedule()
    waits = []
    now = 0.0
    for _ in range(9):
        due.add(A, now)
        due.take(now)
        waits.append(due.fail(A, now, random=1.0))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    due.take(now)
    due.finish(A, now, again_in_seconds=None)
    due.add(A, 0.0)
    due.take(now)
    assert due.fail(A, now, random=1.0) == 1


def test_servers_wish_is_the_least_wait() -> None:
    due = schedule()
    due.add(A, 0.0)
    due.take(0.0)
    assert due.fail(A, 0.0, random=0.0, at_least_seconds=7.0) == 7.0


@given(st.integers(min_value=1, max_value=10**6), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_jitter_stays_within_half_of_the_wait(failures: int, random: float) -> None:
    delay = BACKOFF.delay_seconds(failures, random=random)
    whole = BACKOFF.delay_seconds(failures, random=1.0)
    assert whole / 2 <= delay <= whole <= 60.0


def fail(due: Schedule, key: Key, now: float) -> float:
    assert due.take(now) == key
    return due.fail(key, now, random=1.0)


def test_resync_does_not_hammer_a_key_that_fails() -> None:
    """A re-list each second: the waits are those of the back-off, as if there were none."""
    due, attempts, now = schedule(), [0.0], 0.0
    due.add(A, now)
    fail(due, A, now)
    while now < 60.0:
        now += 1.0
        due.remind(A, now)
        if (key := due.take(now)) is not None:
            attempts.append(now)
            due.fail(key, now, random=1.0)
    assert attempts == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]


def test_news_of_a_key_that_fails_is_tried_at_once_and_its_back_off_goes_on() -> None:
    due = schedule()
    due.add(A, 0.0)
    assert fail(due, A, 0.0) == 1.0
    due.add(A, 0.5)
    assert fail(due, A, 0.5) == 2.0


def test_reminder_brings_forward_what_only_wanted_to_be_looked_at_later() -> None:
    due = schedule()
    due.add(A, 0.0)
    due.take(0.0)
    due.finish(A, 0.0, again_in_seconds=30.0)
    due.remind(A, 1.0)
    assert due.take(1.0) == A


def test_reminder_of_what_is_being_worked_on_is_none() -> None:
    due = schedule()
    due.add(A, 0.0)
    due.take(0.0)
    due.remind(A, 1.0)
    due.finish(A, 2.0, again_in_seconds=None)
    assert due.take(2.0) is None


def test_failure_of_one_key_delays_no_other() -> None:
    due = schedule()
    due.add(A, 0.0)
    for _ in range(5):
        due.add(A, 0.0)
        fail(due, A, 0.0)
    due.add(B, 0.0)
    assert due.take(0.0) == B


def test_age_of_the_oldest_key_is_how_long_it_has_been_due() -> None:
    due = schedule()
    assert due.oldest_seconds(5.0) == 0.0
    due.add(A, 1.0)
    due.add(B, 3.0)
    due.add(A, 4.0)
    assert due.oldest_seconds(5.0) == 4.0
    due.take(5.0)
    assert due.oldest_seconds(5.0) == 2.0
    due.finish(A, 5.0, again_in_seconds=1.0)
    due.take(6.0)
    due.add(C, 7.0)
    assert due.oldest_seconds(8.0) == 2.0, "A was due at 6 by its timer"


class AnyUse(RuleBasedStateMachine):
    """Whatever workers, watches and clocks do: no key is lost, doubled, or with two workers."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = schedule()
        self.now = 0.0
        self.owed: set[Key] = set()
        """Added since a worker last began with it."""
        self.working: set[Key] = set()
        self.timed: dict[Key, float] = {}
        self.failing: set[Key] = set()

    @rule(key=st.sampled_from([A, B, C]))
    def add(self, key: Key) -> None:
        self.schedule.add(key, self.now)
        self.owed.add(key)
        self.timed.pop(key, None)

    @rule(key=st.sampled_from([A, B, C]))
    def remind(self, key: Key) -> None:
        self.schedule.remind(key, self.now)
        if key not in self.working and not (key in self.failing and key in self.timed):
            self.owed.add(key)
            self.timed.pop(key, None)

    @rule(seconds=st.floats(min_value=0, max_value=100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        expected = (self.owed - self.working) | {key for key, at in self.timed.items() if at <= self.now}
        key = self.schedule.take(self.now)
        assert (key is not None) == bool(expected)
        if key is not None:
            assert key in expected
            assert key not in self.working
            self.working.add(key)
            self.owed.discard(key)
            self.timed.pop(key, None)

    @rule(
        data=st.data(),
        again=st.none() | st.floats(min_value=-1, max_value=50),
        outcome=st.sampled_from(["done", "failed"]),
    )
    def end(self, data: Any, again: float | None, outcome: str) -> None:
        if not self.working:
            return
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.working.discard(key)
        if outcome == "failed":
            self.failing.add(key)
            due: float | None = self.now + self.schedule.fail(key, self.now, random=0.5)
        else:
            self.failing.discard(key)
            self.schedule.finish(key, self.now, again_in_seconds=again)
            due = None if again is None else self.now + max(again, 0.0)
        if key not in self.owed and due is not None:
            self.timed[key] = due

    @invariant()
    def next_timer_is_known(self) -> None:
        assert self.schedule.next_due() == min(self.timed.values(), default=None) or any(
            at <= self.now for at in self.timed.values()
        )


AnyUse.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyUse = AnyUse.TestCase


class Clock:
    """A clock that stands still, so that every wait is as long as the schedule says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queue(clock: Clock) -> KeyedQueue:
    return KeyedQueue(schedule(), clock=clock, random=lambda: 0.0)


async def test_worker_that_waits_is_woken() -> None:
    keys = queue(Clock())
    waiting = asyncio.create_task(keys.get())
    await asyncio.sleep(0)
    keys.add(A)
    assert await asyncio.wait_for(waiting, 5) == A


async def test_two_workers_share_the_keys() -> None:
    keys = queue(Clock())
    workers = [asyncio.create_task(keys.get()) for _ in range(2)]
    await asyncio.sleep(0)
    keys.add(A)
    keys.add(B)
    assert set(await asyncio.wait_for(asyncio.gather(*workers), 5)) == {A, B}


async def test_timer_wakes_a_worker() -> None:
    clock = Clock()
    keys = queue(clock)
    keys.add(A)
    assert await keys.get() == A
    keys.done(A, again_in_seconds=0.01)
    clock.now = 0.02
    assert await asyncio.wait_for(keys.get(), 5) == A


async def test_timer_that_is_still_to_come_is_waited_for() -> None:
    loop = asyncio.get_running_loop()
    keys = KeyedQueue(schedule(), clock=loop.time, random=lambda: 0.0)
    keys.add(A)
    await keys.get()
    keys.done(A, again_in_seconds=0.01)
    assert len(keys) == 0
    assert await asyncio.wait_for(keys.get(), 5) == A


async def test_closed_queue_gives_nothing_more() -> None:
    keys = queue(Clock())
    waiting = asyncio.create_task(keys.get())
    await asyncio.sleep(0)
    keys.close()
    assert await asyncio.wait_for(waiting, 5) is None
    keys.add(A)
    assert await keys.get() is None


async def test_failed_key_comes_again() -> None:
    clock = Clock()
    keys = queue(clock)
    keys.add(A)
    await keys.get()
    assert keys.failed(A) == pytest.approx(0.5)
    clock.now = 0.5
    assert await asyncio.wait_for(keys.get(), 5) == A

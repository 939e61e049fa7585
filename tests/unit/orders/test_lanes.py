"""Who is next: cancels at once, queries before new orders, nobody beyond the budget, and no turn is ever lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.virtual import VirtualClock, run
from tradingbot_trader.orders.budget import Counts, Lane, RateBudget, RateLimit
from tradingbot_trader.orders.lanes import Lanes
from tradingbot_trader.venues.account import NotAllowed

MANY = RateLimit(Counts.WEIGHT, 60, 1_000_000)


class World:
    def __init__(self, *limits: RateLimit, at_once: int = 2) -> None:
        self.clock = VirtualClock()
        self.budget = RateBudget(limits or (MANY,))
        self.lanes = Lanes(self.budget, self.clock, max_in_flight=at_once)
        self.begun: list[str] = []
        self.under_way = self.most = 0

    def go(
        self, lane: Lane, name: str = "", *, seconds: float = 1.0, weight: int = 1, patience: float | None = None
    ) -> asyncio.Task[None]:
        async def work() -> None:
            async with self.lanes.turn(lane, weight, patience_seconds=patience):
                self.begun.append(name or lane)
                is_counted = lane not in (Lane.CANCEL, Lane.EXIT)
                self.under_way += is_counted
                self.most = max(self.most, self.under_way)
                try:
                    await self.clock.sleep(seconds)
                finally:
                    self.under_way -= is_counted

        return asyncio.get_running_loop().create_task(work())

    @property
    def seconds(self) -> float:
        return self.clock.monotonic_ns() / 1e9


def play(test: Callable[[World], Awaitable[None]], *limits: RateLimit, at_once: int = 2) -> None:
    async def go() -> None:
        await test(World(*limits, at_once=at_once))

    run(go())


def test_no_more_than_so_many_at_a_time() -> None:
    async def test(world: World) -> None:
        await asyncio.gather(*(world.go(Lane.QUERY) for _ in range(7)))
        assert (world.most, world.seconds) == (2, 4.0)

    play(test)


def test_query_that_comes_later_goes_before_a_new_order_that_waits() -> None:
    async def test(world: World) -> None:
        tasks = [world.go(Lane.NEW, name) for name in ("one", "two", "three", "four")]
        await world.clock.sleep(0.1)
        tasks += [world.go(Lane.QUERY, "query")]
        await asyncio.gather(*tasks)
        assert world.begun == ["one", "two", "query", "three", "four"]

    play(test)


@pytest.mark.parametrize("lane", [Lane.CANCEL, Lane.EXIT])
def test_cancel_and_exit_take_no_place_and_none_away(lane: Lane) -> None:
    async def test(world: World) -> None:
        tasks = [world.go(Lane.NEW) for _ in range(9)]
        await world.clock.sleep(0.1)
        await asyncio.gather(*(world.go(lane, seconds=0.0) for _ in range(50)))
        assert world.seconds == 0.1
        await asyncio.gather(*tasks)
        assert world.most == 2

    play(test)


def test_turn_that_is_given_up_while_it_waits_goes_to_the_next() -> None:
    async def test(world: World) -> None:
        first = world.go(Lane.NEW, "first")
        await world.clock.sleep(0)
        given_up, next_one = world.go(Lane.NEW, "given up"), world.go(Lane.NEW, "next")
        await world.clock.sleep(0.1)
        given_up.cancel()
        await asyncio.gather(first, next_one)
        assert world.begun == ["first", "next"]

    play(test, at_once=1)


def test_turn_that_is_given_up_in_the_moment_in_which_it_comes_is_not_lost() -> None:
    async def test(world: World) -> None:
        waiting: list[asyncio.Task[None]] = []

        async def hold() -> None:
            async with world.lanes.turn(Lane.NEW, 1):
                await world.clock.sleep(1)
            waiting[0].cancel()  # it has been handed the turn, and has not run yet

        holding = asyncio.get_running_loop().create_task(hold())
        await world.clock.sleep(0.1)
        waiting.append(world.go(Lane.NEW, "unlucky"))
        next_one = world.go(Lane.NEW, "next")
        await holding
        await next_one
        assert world.begun == ["next"]

    play(test, at_once=1)


def test_failure_inside_a_turn_gives_it_back() -> None:
    async def test(world: World) -> None:
        for _ in range(5):
            with pytest.raises(ValueError, match="a failure"):
                async with world.lanes.turn(Lane.QUERY, 1):
                    raise ValueError("a failure")
        await asyncio.gather(world.go(Lane.QUERY), world.go(Lane.QUERY))
        assert world.most == 2

    play(test)


def test_request_that_never_fits_says_so_and_gives_its_turn_back() -> None:
    async def test(world: World) -> None:
        for _ in range(5):
            with pytest.raises(ValueError, match="never fits"):
                async with world.lanes.turn(Lane.QUERY, 100):
                    pass
        await world.go(Lane.QUERY)

    play(test, RateLimit(Counts.WEIGHT, 60, 100))


def test_budget_is_waited_for_and_taken_once() -> None:
    async def test(world: World) -> None:
        await asyncio.gather(*(world.go(Lane.QUERY, seconds=0.0, weight=80) for _ in range(2)))
        assert world.seconds == 60.0

    play(test, RateLimit(Counts.WEIGHT, 60, 100))


def test_who_waits_for_the_budget_holds_no_place() -> None:
    async def test(world: World) -> None:
        world.budget.take(Lane.NEW, 70, world.clock.now_ns())
        waiting = [world.go(Lane.NEW, seconds=0.0) for _ in range(5)]
        await world.clock.sleep(0.1)
        await world.go(Lane.QUERY, seconds=0.0)
        assert (world.begun, world.seconds) == ([Lane.QUERY], 0.1)
        await asyncio.gather(*waiting)
        assert world.seconds == 60.0

    play(test, RateLimit(Counts.WEIGHT, 60, 100))


def test_end_of_a_pause_is_the_turn_of_all_in_the_order_of_the_lanes() -> None:
    async def test(world: World) -> None:
        world.budget.pause(0.7003, world.clock.now_ns())
        tasks = [world.go(lane, seconds=0.0) for lane in reversed(Lane)]
        await asyncio.gather(*tasks)
        assert world.begun == list(Lane)
        assert world.seconds == pytest.approx(0.7003, abs=1e-8)

    play(test)


def test_patience_that_is_over_gives_the_number_back() -> None:
    async def test(world: World) -> None:
        first = world.go(Lane.NEW, seconds=5.0)
        impatient = [world.go(lane, patience=2.0) for lane in (Lane.NEW, Lane.QUERY)]
        next_one = world.go(Lane.NEW, "next")
        done = await asyncio.gather(*impatient, return_exceptions=True)
        assert [str(each) for each in done] == ["it waited 2.0 s for its turn"] * 2
        assert world.seconds == 2.0
        await asyncio.gather(first, next_one)
        assert (world.begun[-1], world.seconds) == ("next", 6.0)

    play(test, at_once=1)


def test_who_is_due_earlier_than_those_that_wait_is_served_in_time() -> None:
    async def test(world: World) -> None:
        world.budget.pause(60, world.clock.now_ns())
        waiting = world.go(Lane.QUERY, seconds=0.0)
        await world.clock.sleep(0.1)
        with pytest.raises(NotAllowed):
            await world.go(Lane.NEW, patience=0.25)
        assert world.seconds == pytest.approx(0.35)
        await waiting

    play(test)


def test_patience_is_over_in_a_pause_too() -> None:
    async def test(world: World) -> None:
        world.budget.pause(60, world.clock.now_ns())
        with pytest.raises(NotAllowed):
            await world.go(Lane.NEW, patience=2.0)
        assert world.seconds == 2.0
        await world.go(Lane.CANCEL, seconds=0.0, patience=100.0)
        assert world.seconds == 60.0

    play(test)


def test_pause_that_ends_earlier_than_thought_is_noticed_within_a_second() -> None:
    """The venue's own numbers may come while somebody waits."""

    async def test(world: World) -> None:
        world.budget.take(Lane.QUERY, 80, world.clock.now_ns())
        waiting = world.go(Lane.QUERY, weight=80, seconds=0.0)
        await world.clock.sleep(5.5)
        world.budget.learn_limits(
            [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1000}]
        )
        await waiting
        assert world.seconds == 6.0

    play(test, RateLimit(Counts.WEIGHT, 60, 100))


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from([Lane.QUERY, Lane.NEW]), st.integers(0, 4), st.booleans()), min_size=1, max_size=20
    ),
    st.integers(1, 4),
)
def test_every_turn_comes_and_none_is_lost_whoever_gives_up(plan: list[tuple[Lane, int, bool]], at_once: int) -> None:
    async def test(world: World) -> None:
        tasks = []
        for lane, tenths, gives_up in plan:
            task = world.go(lane, seconds=0.25)
            await world.clock.sleep(tenths / 10)
            if gives_up:
                task.cancel()
            tasks.append(task)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(each is None or isinstance(each, asyncio.CancelledError) for each in done)
        assert world.most <= at_once
        world.most = 0
        await asyncio.gather(*(world.go(Lane.QUERY) for _ in range(at_once)))
        assert world.most == at_once, "as many as before may go at once"

    play(test, at_once=at_once)

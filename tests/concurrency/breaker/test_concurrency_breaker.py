"""Breakers and lanes while many requests are under way, and their answers come in any order."""

from __future__ import annotations

import asyncio
import random
from itertools import combinations, permutations

import pytest

from support.slow_account import FAILURE, PATIENCE, REFUSAL, Asked, GatewayBench
from support.virtual import run
from tradingbot_trader.orders.budget import BINANCE_LIMITS, Lane, RateBudget
from tradingbot_trader.orders.lanes import MAX_IN_FLIGHT, Lanes
from tradingbot_trader.orders.order import OrderState, Purpose
from tradingbot_trader.risk.breakers import Breakers, TripKind, VenueState
from tradingbot_trader.venues.account import Operation

VENUE, STORM = TripKind.VENUE_API.value, TripKind.REJECT_STORM.value


async def in_flight(bench: GatewayBench, count: int) -> list[Asked]:
    """So many queries have left."""
    before = len(bench.account.asked)
    for _ in range(count):
        bench.query()
    await bench.turn()
    assert len(bench.account.asked) == before + count
    return bench.account.asked[before:]


async def open_breaker(bench: GatewayBench) -> None:
    for asked in await in_flight(bench, 5):
        asked.say(FAILURE)
    await bench.turn()
    assert bench.breakers.venue.state(bench.clock.now_ns()) is VenueState.OPEN


@pytest.mark.parametrize("good", [(), *combinations(range(7), 1), *combinations(range(7), 2)])
def test_answers_in_any_order_open_the_breaker_once_five_in_a_row_are_failures(good: tuple[int, ...]) -> None:
    """Which request an answer belongs to says nothing: the row is that of arrival."""

    async def story() -> None:
        for seed in range(5):
            bench, draw = GatewayBench(), random.Random(seed)  # noqa: S311  a test
            asked = await in_flight(bench, 7)
            draw.shuffle(asked)
            row = longest = 0
            for number, each in enumerate(asked):
                each.say(None if number in good else FAILURE)
                row = 0 if number in good else row + 1
                longest = max(longest, row)
                await bench.turn()
                is_open = bench.breakers.venue.state(bench.clock.now_ns()) is VenueState.OPEN
                assert is_open is (longest >= 5), (good, number)
            assert bench.kinds == ([VENUE] if longest >= 5 else [])

    run(story())


def test_failures_that_arrive_in_one_turn_of_the_loop_are_one_trip() -> None:
    async def story() -> None:
        bench = GatewayBench()
        asked = await in_flight(bench, MAX_IN_FLIGHT)
        for each in asked:
            each.say(FAILURE)
        await bench.turn()
        assert bench.kinds == [VENUE]
        assert bench.breakers.total_trips == 1
        later = bench.clock.now_ns() + 30 * 10**9
        assert bench.breakers.venue.state(later - 1) is VenueState.OPEN
        assert bench.breakers.venue.state(later) is VenueState.HALF_OPEN, "the three late ones made it no longer"

    run(story())


@pytest.mark.parametrize("what", ["place", "cancel", "query"])
@pytest.mark.parametrize("answer", [None, FAILURE])
@pytest.mark.parametrize("after_seconds", [0, 15, 29.9])
def test_answer_of_a_request_from_before_the_opening_changes_nothing(
    what: str, answer: object, after_seconds: float
) -> None:
    async def story() -> None:
        bench = GatewayBench()
        if what == "place":
            bench.place("a")
        elif what == "cancel":
            bench.cancel("a")
        else:
            bench.query()
        await bench.turn()
        (old,) = bench.account.waiting
        await open_breaker(bench)
        before = bench.breakers.to_counters()
        await bench.clock.sleep(after_seconds)
        old.say(answer)  # type: ignore[arg-type]
        await bench.turn()
        assert bench.breakers.to_counters() == before
        assert bench.breakers.allows_new_risk(bench.clock.now_ns())

    run(story())


@pytest.mark.parametrize("answer", [None, FAILURE])
def test_new_orders_answer_that_comes_half_open_is_no_probe(answer: object) -> None:
    async def story() -> None:
        bench = GatewayBench()
        bench.place("old")
        await bench.turn()
        (old,) = bench.account.waiting
        await open_breaker(bench)
        await bench.clock.sleep(30)
        assert bench.breakers.venue.state(bench.clock.now_ns()) is VenueState.HALF_OPEN
        old.say(answer)  # type: ignore[arg-type]
        await bench.turn()
        assert bench.breakers.venue.state(bench.clock.now_ns()) is VenueState.HALF_OPEN

    run(story())


@pytest.mark.parametrize("restarts_after", [None, 0, 3, 7])
def test_half_open_gives_one_of_eight_that_ask_at_once_the_probe(restarts_after: int | None) -> None:
    """And a restart among them gives no second one."""

    async def story() -> None:
        bench = GatewayBench()
        await open_breaker(bench)
        await bench.clock.sleep(30)
        breakers = bench.breakers
        given: list[bool] = []

        async def ask(number: int) -> None:
            nonlocal breakers
            await asyncio.sleep(0)
            given.append(breakers.may_probe(Operation.QUERY, bench.clock.now_ns()))
            if number == restarts_after:
                breakers = Breakers.from_counters(breakers.to_counters())

        await asyncio.gather(*(ask(number) for number in range(8)))
        assert given == [True] + [False] * 7
        await bench.clock.sleep(9.9)
        assert not breakers.may_probe(Operation.QUERY, bench.clock.now_ns())
        await bench.clock.sleep(0.2)
        assert breakers.may_probe(Operation.QUERY, bench.clock.now_ns()), "the answer is overdue"

    run(story())


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")])
def test_two_answers_of_the_half_open_breaker_in_one_turn_leave_what_the_first_said(order: tuple[str, ...]) -> None:
    async def story() -> None:
        bench = GatewayBench()
        await open_breaker(bench)
        await bench.clock.sleep(30)
        for said, each in zip(order, await in_flight(bench, 2), strict=True):
            each.say(None if said == "good" else FAILURE)
        await bench.turn()
        state = bench.breakers.venue.state(bench.clock.now_ns())
        assert state is (VenueState.CLOSED if order[0] == "good" else VenueState.OPEN)
        assert bench.kinds == [VENUE] * (1 if order[0] == "good" else 2)

    run(story())


@pytest.mark.parametrize("refused", list(combinations(range(8), 5))[::5])
def test_storm_of_refusals_in_flight_is_one_trip_and_those_that_wait_never_leave(refused: tuple[int, ...]) -> None:
    """Eight are under way, four wait for a place; the fifth refusal stops the four."""

    async def story() -> None:
        bench = GatewayBench()
        for number in range(12):
            bench.place(f"o{number}")
        await bench.turn()
        assert [each.order_id for each in bench.account.asked] == [f"o{number}" for number in range(8)]
        first = list(bench.account.asked)
        for number in refused:  # all in one turn: none of those that wait can leave in between
            first[number].say(REFUSAL)
        await bench.turn()
        assert bench.kinds == [STORM]
        for number in set(range(8)) - set(refused):
            first[number].say()
        await bench.turn()
        assert [each.order_id for each in bench.account.asked] == [f"o{number}" for number in range(8)]
        assert [bench.states(f"o{number}") for number in range(8, 12)] == [[OrderState.DENIED]] * 4
        assert bench.breakers.total_trips == 1

    run(story())


def test_exits_and_cancels_pass_while_entries_do_not_all_asked_in_one_turn() -> None:
    async def story() -> None:
        bench = GatewayBench()
        await open_breaker(bench)
        seen = len(bench.account.asked)
        for number in range(3):
            bench.place(f"entry{number}")
            bench.place(f"exit{number}", purpose=Purpose.EXIT)
            bench.cancel(f"old{number}")
        await bench.turn()
        left = [(each.what, each.order_id) for each in bench.account.asked[seen:]]
        assert sorted(left) == sorted(
            [("place", f"exit{n}") for n in range(3)] + [("cancel", f"old{n}") for n in range(3)]
        )
        assert [bench.states(f"entry{n}") for n in range(3)] == [[OrderState.DENIED]] * 3
        for each in bench.account.waiting:
            each.say()
        await bench.turn()
        assert [bench.states(f"exit{n}") for n in range(3)] == [[OrderState.SENT, OrderState.OPEN]] * 3

    run(story())


@pytest.mark.parametrize("order", list(permutations(("pause", "cancel", "query", "place"))))
def test_nothing_leaves_before_the_end_of_a_pause(order: tuple[str, ...]) -> None:
    """A 429 arrives while everything asks: what asked before it has left, what asks after it waits to its end."""

    async def story() -> None:
        bench = GatewayBench()
        (asked,) = await in_flight(bench, 1)
        before = len(bench.account.asked)
        for step in order:
            if step == "pause":
                asked.say(PATIENCE)
            elif step == "cancel":
                bench.cancel("c")
            elif step == "query":
                bench.query()
            else:
                bench.place("p", purpose=Purpose.EXIT)
            await bench.turn()
        early, late = set(order[: order.index("pause")]), set(order[order.index("pause") + 1 :])
        assert {each.what for each in bench.account.asked[before:]} == early
        await bench.clock.sleep(6.99)
        assert {each.what for each in bench.account.asked[before:]} == early
        await bench.clock.sleep(0.02)
        left = {each.what for each in bench.account.asked[before:]}
        assert left == early | (late - {"place"}), "an order of seven seconds ago is none of now"
        if "place" in late:
            assert bench.states("p") == [OrderState.DENIED]

    run(story())


@pytest.mark.parametrize("order", list(permutations(("place", "query", "exit", "cancel"))))
def test_end_of_a_pause_lets_everybody_leave_in_that_very_moment_and_in_the_order_of_the_lanes(
    order: tuple[str, ...],
) -> None:
    async def story() -> None:
        bench = GatewayBench()
        bench.budget.pause(1.5, bench.clock.now_ns())
        ends_ns = bench.clock.now_ns() + 1_500_000_000
        for step in order:
            await bench.clock.sleep(0.1)
            if step == "cancel":
                bench.cancel("c")
            elif step == "query":
                bench.query()
            else:
                bench.place(step, purpose=Purpose.EXIT if step == "exit" else Purpose.ENTRY)
            await bench.turn()
        await bench.clock.sleep(1.2)
        assert [each.order_id or each.what for each in bench.account.asked] == ["c", "exit", "query", "place"]
        assert {each.at_ns for each in bench.account.asked} == {ends_ns}

    run(story())


def test_cancels_are_the_first_to_leave_after_a_pause() -> None:
    async def story() -> None:
        for order in permutations(("cancel", "query", "query", "cancel")):
            bench = GatewayBench()
            (asked,) = await in_flight(bench, 1)
            asked.say(PATIENCE)
            await bench.turn()
            for number, step in enumerate(order):
                if step == "cancel":
                    bench.cancel(f"c{number}")
                else:
                    bench.query()
                await bench.turn()
            await bench.clock.sleep(8)
            whats = [each.what for each in bench.account.asked[1:]]
            assert whats == ["cancel", "cancel", "query", "query"], order

    run(story())


@pytest.mark.parametrize("polls", [1, 200])
def test_cancel_is_the_next_to_leave_however_many_polls_and_orders_wait(polls: int) -> None:
    async def story() -> None:
        bench = GatewayBench()
        for _ in range(polls):
            bench.query()
        for number in range(10):
            bench.place(f"p{number}")
        await bench.turn()
        before = list(bench.account.asked)
        assert len(before) == min(MAX_IN_FLIGHT, polls + 10)
        bench.cancel("c")
        await bench.turn()
        assert [each.what for each in bench.account.asked[len(before) :]] == ["cancel"]
        while bench.account.waiting:
            bench.account.waiting[0].say()
            await bench.turn()
        whats = [each.what for each in bench.account.asked if each.what != "cancel"]
        # Lanes are asked each time that a place is free, so no order overtakes a query that waits.
        assert whats[len(before) :] == sorted(whats[len(before) :], key=["query", "place"].index)
        assert whats.count("query") == polls
        assert whats.count("place") == 10

    run(story())


def test_used_up_weight_holds_polls_and_entries_and_neither_exits_nor_cancels() -> None:
    """The venue's own number arrives while requests wait for their places."""

    async def story() -> None:
        bench = GatewayBench()
        await bench.clock.sleep(10)
        await in_flight(bench, MAX_IN_FLIGHT)
        for _ in range(3):
            bench.query()
        bench.place("p")
        before = len(bench.account.asked)
        bench.budget.observe_headers({"x-mbx-used-weight-1m": "5200"}, bench.clock.now_ns())
        for each in list(bench.account.waiting):
            each.say()
        bench.place("exit", purpose=Purpose.EXIT)
        bench.cancel("c")
        await bench.turn()
        assert [each.what for each in bench.account.asked[before:]] == ["place", "cancel"]
        assert bench.states("exit") == [OrderState.SENT], "there is room for it where there is none for an entry"
        await bench.clock.sleep(2.5)
        assert bench.states("p") == [OrderState.DENIED], "what its market was, it is not any more"
        await bench.clock.sleep(47.0)
        assert [each.what for each in bench.account.asked[before:]] == ["place", "cancel"]
        await bench.clock.sleep(1.5)
        assert [each.what for each in bench.account.asked[before + 2 :]] == ["query"] * 3

    run(story())


@pytest.mark.parametrize("turns", range(6))
def test_waiting_request_that_is_given_up_leaves_its_place_to_the_next(turns: int) -> None:
    """Given up before, in, and after the turn in which the place was handed to it: no place is ever lost."""

    async def story() -> None:
        clock = GatewayBench().clock
        lanes = Lanes(RateBudget(BINANCE_LIMITS), clock, max_in_flight=1)
        running: list[str] = []

        async def request(name: str, lane: Lane) -> None:
            async with lanes.turn(lane, 1):
                running.append(name)
                await asyncio.Event().wait()

        first = asyncio.create_task(request("first", Lane.QUERY))
        await asyncio.sleep(0)
        second, third = (asyncio.create_task(request(name, Lane.QUERY)) for name in ("second", "third"))
        await asyncio.sleep(0)
        first.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        second.cancel()
        for _ in range(6):
            await asyncio.sleep(0)
        assert running[-1] == "third"
        third.cancel()
        await asyncio.gather(first, second, third, return_exceptions=True)
        async with asyncio.timeout(1), lanes.turn(Lane.NEW, 1):
            pass

    run(story())


def test_trips_of_all_kinds_in_one_turn_are_counted_once_each() -> None:
    async def story() -> None:
        bench = GatewayBench()
        for number in range(5):
            bench.place(f"o{number}")
        await bench.turn()
        places = list(bench.account.waiting)
        queries = await in_flight(bench, 3)
        bench.cancel("c0")
        bench.cancel("c1")
        await bench.turn()
        cancels = [each for each in bench.account.waiting if each.what == "cancel"]
        for each in places:
            each.say(REFUSAL)
        for each in (*queries, *cancels):
            each.say(FAILURE)
        await bench.turn()
        bench.breakers.trip(TripKind.CONTRADICTION, "a test", bench.clock.now_ns())
        assert sorted(bench.kinds) == sorted([VENUE, STORM, TripKind.CONTRADICTION.value])
        assert bench.breakers.total_trips == 3
        again = Breakers.from_counters(bench.breakers.to_counters())
        assert again.total_trips == 3
        assert set(again.open_kinds(bench.clock.now_ns())) == set(TripKind) - {TripKind.REPEATED_EXECUTION}

    run(story())

"""The gateway: what leaves, what an answer makes of an order, and what is learned from it. On a played account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from support.account import (
    BANNED,
    BTC,
    BUSY,
    CLOSED,
    DEAD_KEY,
    DUPLICATE,
    FILTER,
    LOST,
    MALFORMED,
    NOT_FOUND,
    NOT_SENT,
    POLICY,
    POOR,
    SKEWED,
    THROTTLED,
    TOO_MANY_ORDERS,
    UNKNOWN_ORDER,
    FakeAccount,
    intent_of,
    own_id,
)
from support.virtual import VirtualClock, run
from tradingbot_trader.orders.budget import Counts, Lane, RateBudget, RateLimit
from tradingbot_trader.orders.gateway import Hooks, LiveGateway, NoAccount, Refusal
from tradingbot_trader.orders.lanes import MAX_IN_FLIGHT
from tradingbot_trader.orders.order import BookName, Intent, OrderEvent, OrderState, Purpose, Side, TimeInForce
from tradingbot_trader.orders.outcome import Action, Outcome
from tradingbot_trader.orders.snapshot import Place
from tradingbot_trader.risk.breakers import Breakers, TripKind
from tradingbot_trader.venues.account import Answer

FIRST = own_id(1)


@dataclass
class World:
    """A gateway, and everything that it told."""

    budget: RateBudget = field(default_factory=RateBudget)
    clock: VirtualClock = field(default_factory=VirtualClock)
    reasons: list[str] = field(default_factory=list)
    """What `may_place` says, one a question; empty when it is used up."""
    events: list[OrderEvent] = field(default_factory=list)
    actions: list[tuple[Action, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    has_keys: bool = True

    def __post_init__(self) -> None:
        self.account = FakeAccount(self.clock)
        self.breakers = Breakers()
        self.intents: dict[str, Intent] = {}
        self.gateway = LiveGateway(
            account=lambda: self.account if self.has_keys else None,
            place=lambda: Place("binance", "7", BookName.LIVE),
            policy=POLICY,
            budget=self.budget,
            breakers=self.breakers,
            clock=self.clock,
            find_intent=self.intents.get,
            hooks=Hooks(
                may_place=self._may_place,
                emit=self.events.append,
                on_action=lambda action, symbol, _answer: self.actions.append((action, symbol)),
                on_doubt=self.doubts.append,
            ),
        )

    def _may_place(self, intent: Intent) -> str:
        self.asked.append(intent.client_order_id)
        return self.reasons.pop(0) if self.reasons else ""

    def submit(self, client_order_id: str = FIRST, **changes: Any) -> None:
        intent = intent_of(client_order_id, created_ns=self.clock.now_ns(), **changes)
        self.intents[client_order_id] = intent
        self.gateway.submit(intent, self.clock.now_ns())

    async def place(self, client_order_id: str = FIRST, **changes: Any) -> None:
        self.submit(client_order_id, **changes)
        await self.gateway.drain()

    async def cancel(self, client_order_id: str = FIRST) -> None:
        assert self.gateway.cancel(client_order_id, self.clock.now_ns())
        await self.gateway.drain()

    def states(self, client_order_id: str = FIRST) -> list[OrderState]:
        return [event.state for event in self.events if event.client_order_id == client_order_id]


def play(test: Callable[[World], Awaitable[None]], **world: Any) -> World:
    async def go() -> World:
        made = World(**world)
        await test(made)
        return made

    return run(go())


# ---- A new order -----------------------------------------------------------------------------------------------------


def test_order_is_sent_and_then_what_the_venue_shows() -> None:
    async def test(world: World) -> None:
        await world.place()
        assert world.states() == [OrderState.SENT, OrderState.OPEN]
        assert world.events[-1].venue_order_id == world.account.find(FIRST).venue_order_id
        assert (world.doubts, world.actions) == ([], [])

    play(test)


def test_fill_in_the_answer_is_told_with_its_trade_and_looked_after() -> None:
    async def test(world: World) -> None:
        world.account.takes = Decimal("0.04")
        await world.place(time_in_force=TimeInForce.IOC)
        assert world.states() == [OrderState.SENT, OrderState.PARTIALLY_FILLED, OrderState.EXPIRED]
        fill = world.events[1].fill
        assert fill is not None
        assert (fill.venue, fill.account, fill.book, fill.quantity_base) == (
            "binance",
            "7",
            BookName.LIVE,
            Decimal("0.04"),
        )
        assert world.events[-1].filled_base == Decimal("0.04")
        assert world.doubts == [FIRST], "not every trade comes with the answer"

    play(test)


def test_order_is_in_flight_from_the_wish_to_the_answer() -> None:
    async def test(world: World) -> None:
        world.account.latency_seconds = 1.0
        world.submit()
        assert world.gateway.in_flight == {FIRST}
        await world.clock.sleep(0.5)
        assert world.gateway.in_flight == {FIRST}
        await world.gateway.drain()
        assert world.gateway.in_flight == frozenset()

    play(test)


def test_closed_gate_denies_before_the_order_counts_as_sent() -> None:
    async def test(world: World) -> None:
        world.reasons = ["the trading state is ReduceOnly"]
        await world.place()
        assert world.states() == [OrderState.DENIED]
        assert world.events[0].reason == "the trading state is ReduceOnly"
        assert world.account.calls == []

    play(test)


def test_gate_that_closes_while_the_send_is_recorded_holds_the_order_back() -> None:
    """The disk refused to record that it leaves: the second question says so."""

    async def test(world: World) -> None:
        world.reasons = ["", "the store cannot record"]
        await world.place()
        assert world.states() == [OrderState.SENT, OrderState.REJECTED]
        assert world.account.calls == []

    play(test)


def test_gate_is_asked_in_the_moment_of_the_send_and_not_before_the_turn() -> None:
    """P4: an order that waited for its turn when the stop came does not leave."""

    async def test(world: World) -> None:
        world.account.latency_seconds = 1.0
        for number in range(MAX_IN_FLIGHT):
            world.submit(own_id(10 + number))
        world.submit()
        await world.clock.sleep(0.5)
        assert FIRST not in world.asked
        world.reasons = ["latched"]
        await world.gateway.drain()
        assert world.states() == [OrderState.DENIED]
        assert world.account.count("place") == MAX_IN_FLIGHT

    play(test)


def test_order_that_waited_too_long_for_its_turn_is_refused_by_ourselves() -> None:
    async def test(world: World) -> None:
        world.account.latency_seconds = 2.5
        for number in range(MAX_IN_FLIGHT):
            world.submit(own_id(10 + number))
        world.submit()
        await world.gateway.drain()
        (denied,) = (event for event in world.events if event.client_order_id == FIRST)
        assert (denied.state, denied.reason) == (OrderState.DENIED, "it waited 2.0 s for its turn")
        assert FIRST not in world.asked

    play(test)


def test_without_keys_an_order_is_rejected_and_no_breaker_hears_of_it() -> None:
    async def test(world: World) -> None:
        for number in range(10):
            await world.place(own_id(number))
            assert world.states(own_id(number)) == [OrderState.REJECTED]
        assert (world.actions, world.breakers.total_trips) == ([], 0)

    play(test, has_keys=False)


# ---- What a refusal means --------------------------------------------------------------------------------------------

REFUSALS = [
    (MALFORMED, OrderState.REJECTED, []),
    (FILTER, OrderState.REJECTED, [Action.REFRESH_RULES]),
    (SKEWED, OrderState.REJECTED, [Action.RESYNC_CLOCK]),
    (POOR, OrderState.REJECTED, [Action.RECONCILE]),
    (DEAD_KEY, OrderState.REJECTED, [Action.HALT_CREDENTIALS]),
    (THROTTLED, OrderState.REJECTED, [Action.BACK_OFF]),
    (CLOSED, OrderState.REJECTED, [Action.WAIT]),
    (LOST, OrderState.UNRESOLVED, [Action.QUERY]),
    (BUSY, OrderState.UNRESOLVED, [Action.QUERY]),
    (DUPLICATE, OrderState.UNRESOLVED, [Action.QUERY]),
    (Answer(True, 200, "", "a success that cannot be read"), OrderState.UNRESOLVED, [Action.QUERY]),
    (NOT_SENT, OrderState.REJECTED, []),
]


@pytest.mark.parametrize(("answer", "state", "actions"), REFUSALS, ids=[str(row[0])[:40] for row in REFUSALS])
def test_every_action_and_outcome_of_a_new_order(answer: Answer, state: OrderState, actions: list[Action]) -> None:
    async def test(world: World) -> None:
        world.account.will("place", answer)
        await world.place()
        assert world.states() == [OrderState.SENT, state]
        assert world.events[-1].reason == str(answer)
        assert world.actions == [(action, BTC) for action in actions]
        assert world.doubts == ([FIRST] if state is OrderState.UNRESOLVED else [])
        assert world.account.count("place") == 1, "nothing is ever sent again"

    assert {action for row in REFUSALS for action in row[2]} == set(Action) - {Action.NONE}
    play(test)


# ---- Cancels ---------------------------------------------------------------------------------------------------------


def test_cancel_of_an_order_that_nobody_knows_is_not_sent() -> None:
    async def test(world: World) -> None:
        assert not world.gateway.cancel(FIRST, 0)
        assert world.account.calls == []

    play(test)


def test_cancel_ends_the_order_with_what_it_had_filled() -> None:
    async def test(world: World) -> None:
        await world.place()
        world.account.fill(FIRST, "0.03")
        await world.cancel()
        last = world.events[-1]
        assert (last.state, last.filled_base) == (OrderState.CANCELLED, Decimal("0.03"))
        assert world.doubts == [FIRST], "the answer names no trades"

    play(test)


@pytest.mark.parametrize("answer", [UNKNOWN_ORDER, NOT_FOUND, LOST, BUSY, MALFORMED], ids=str)
def test_cancel_that_got_no_success_says_nothing_and_leaves_a_doubt(answer: Answer) -> None:
    """Never "cancelled unfilled": the order may have been filled, or rest."""

    async def test(world: World) -> None:
        await world.place()
        world.account.will("cancel", answer)
        await world.cancel()
        assert world.states() == [OrderState.SENT, OrderState.OPEN]
        assert world.doubts == [FIRST]

    play(test)


def test_cancel_waits_for_no_turn_and_for_no_gate() -> None:
    async def test(world: World) -> None:
        await world.place()
        world.account.latency_seconds = 5.0
        for number in range(3 * MAX_IN_FLIGHT):
            world.submit(own_id(10 + number))
        world.reasons = ["latched"] * 100
        before_ns = world.clock.monotonic_ns()
        assert world.gateway.cancel(FIRST, 0)
        await world.clock.sleep(0)
        await world.clock.sleep(0.001)
        assert ("cancel", FIRST) in world.account.calls
        assert world.clock.monotonic_ns() - before_ns < 10_000_000
        await world.gateway.drain()

    play(test)


def test_cancel_without_keys_leaves_a_doubt() -> None:
    async def test(world: World) -> None:
        await world.place()
        world.has_keys = False
        await world.cancel()
        assert world.doubts == [FIRST]

    play(test)


# ---- Questions, breakers, budget -------------------------------------------------------------------------------------


def test_question_gives_the_answer() -> None:
    async def test(world: World) -> None:
        await world.place()
        assert (await world.gateway.ask(lambda account: account.find_order(BTC, FIRST))).client_order_id == FIRST

    play(test)


def test_refused_question_comes_with_its_meaning() -> None:
    async def test(world: World) -> None:
        with pytest.raises(Refusal) as caught:
            await world.gateway.ask(lambda account: account.find_order(BTC, FIRST))
        assert caught.value.meaning.outcome is Outcome.GONE
        assert world.actions == [(Action.QUERY, "")]

    play(test)


def test_question_without_keys_is_refused_and_told_to_nobody() -> None:
    async def test(world: World) -> None:
        with pytest.raises(Refusal):
            await world.gateway.ask(lambda account: account.open_orders())
        assert (world.actions, world.breakers.to_counters()) == ([], Breakers().to_counters())

    play(test, has_keys=False)
    assert str(NoAccount()) == "not sent: there are no credentials that work"


def test_failures_of_the_venue_open_its_breaker_whatever_was_asked() -> None:
    async def test(world: World) -> None:
        await world.place()
        world.account.always("query", BUSY)
        world.account.always("cancel", BUSY)
        for _ in range(3):
            with pytest.raises(Refusal):
                await world.gateway.ask(lambda account: account.open_orders())
        await world.cancel()
        await world.cancel()
        assert [trip.kind for trip in world.breakers.trips] == [TripKind.VENUE_API]

    play(test)


def test_post_only_orders_that_would_have_taken_are_no_storm() -> None:
    """The market moves under each of them; nobody is wrong."""

    async def test(world: World) -> None:
        answer = Answer(True, 400, "-2010", "Order would immediately match and take.")
        world.account.always("place", answer)
        for number in range(10):
            await world.place(own_id(number), time_in_force=TimeInForce.POST_ONLY)
            assert world.states(own_id(number)) == [OrderState.SENT, OrderState.REJECTED]
        assert world.breakers.trips == ()

    play(test)


def test_refused_orders_in_a_row_are_a_storm() -> None:
    async def test(world: World) -> None:
        world.account.always("place", MALFORMED)
        for number in range(5):
            await world.place(own_id(number))
        assert [trip.kind for trip in world.breakers.trips] == [TripKind.REJECT_STORM]

    play(test)


@pytest.mark.parametrize(("answer", "seconds"), [(THROTTLED, 30.0), (BANNED, 120.0)], ids=["429", "418"])
def test_nothing_leaves_until_the_venue_allows_it_not_even_a_cancel(answer: Answer, seconds: float) -> None:
    async def test(world: World) -> None:
        await world.place()
        world.account.will("find_order", answer)
        with pytest.raises(Refusal):
            await world.gateway.ask(lambda account: account.find_order(BTC, FIRST))
        before_ns = world.clock.monotonic_ns()
        await world.cancel()
        assert (world.clock.monotonic_ns() - before_ns) / 1e9 == pytest.approx(seconds)

    play(test)


def test_too_many_orders_stop_new_orders_alone() -> None:
    async def test(world: World) -> None:
        world.account.will("place", TOO_MANY_ORDERS)
        await world.place()
        before_ns = world.clock.monotonic_ns()
        await world.gateway.ask(lambda account: account.open_orders())
        await world.cancel()
        assert world.clock.monotonic_ns() == before_ns
        await world.place(own_id(2))
        assert world.states(own_id(2)) == [OrderState.DENIED], "it would have waited for 10 s"

    play(test)


def test_weight_of_each_request_is_taken_from_the_budget() -> None:
    async def test(world: World) -> None:
        await world.gateway.ask(lambda account: account.open_orders(), weight=40)
        await world.place()
        assert world.budget.used_percent(world.clock.now_ns()) == 41

    play(test, budget=RateBudget([RateLimit(Counts.WEIGHT, 60, 100)]))


# ---- The end ---------------------------------------------------------------------------------------------------------


def test_drain_waits_for_what_is_under_way_and_for_what_that_brings() -> None:
    async def test(world: World) -> None:
        world.account.latency_seconds = 3.0
        world.submit()
        await world.gateway.drain()
        assert world.states()[-1] is OrderState.OPEN

    play(test)


def test_abandoned_orders_stay_as_they_were_last_known() -> None:
    """The process ends: what was on its way is for the next life."""

    async def test(world: World) -> None:
        world.account.latency_seconds = 3.0
        world.submit()
        await world.clock.sleep(1)
        world.gateway.abandon()
        await world.gateway.drain()
        assert world.states() == [OrderState.SENT]
        assert world.gateway.in_flight == frozenset()

    play(test)


@pytest.mark.parametrize("runs_before", [True, False])
def test_a_bug_in_a_task_ends_the_run_and_leaves_the_order_as_last_known(*, runs_before: bool) -> None:
    async def test(world: World) -> None:
        running = asyncio.ensure_future(world.gateway.run()) if runs_before else None
        world.account.place = _break  # type: ignore[assignment]  # a port that breaks its word
        world.submit()
        await world.clock.sleep(1)
        with pytest.raises(RuntimeError, match="a bug"):
            await (running or world.gateway.run())
        assert (world.states(), world.gateway.in_flight) == ([], frozenset())

    play(test)


async def _break(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("a bug")


def test_new_orders_that_wait_for_the_budget_do_not_stop_questions() -> None:
    async def test(world: World) -> None:
        world.account.will("place", TOO_MANY_ORDERS)
        await world.place()
        for number in range(MAX_IN_FLIGHT):
            world.submit(own_id(10 + number))
        await world.clock.sleep(0.1)
        before_ns = world.clock.monotonic_ns()
        await world.gateway.ask(lambda account: account.open_orders())
        assert world.clock.monotonic_ns() - before_ns < 1_000_000_000
        await world.gateway.drain()

    play(test)


def test_order_that_cannot_get_its_turn_is_given_up_when_its_time_is_over() -> None:
    """Meanwhile it counts against the limits, and an exit cannot be asked for anew."""

    async def test(world: World) -> None:
        world.budget.pause(60.0, world.clock.now_ns())
        world.submit()
        await world.clock.sleep(5)
        assert world.states() == [OrderState.DENIED]

    play(test)


def test_exit_finds_room_where_an_entry_finds_none() -> None:
    async def test(world: World) -> None:
        world.budget.take(Lane.QUERY, 75, world.clock.now_ns())
        await world.place(purpose=Purpose.EXIT, side=Side.SELL)
        assert world.states() == [OrderState.SENT, OrderState.OPEN]

    play(test, budget=RateBudget([RateLimit(Counts.WEIGHT, 60, 100)]))


def test_retry_after_of_a_server_error_does_not_silence_cancels_for_an_hour() -> None:
    async def test(world: World) -> None:
        await world.place()
        world.account.will("find_order", Answer(True, 503, "", "maintenance", retry_after_seconds=3600.0))
        with pytest.raises(Refusal):
            await world.gateway.ask(lambda account: account.find_order(BTC, FIRST))
        before_ns = world.clock.monotonic_ns()
        await world.cancel()
        assert world.clock.monotonic_ns() - before_ns <= 120 * 1_000_000_000

    play(test)

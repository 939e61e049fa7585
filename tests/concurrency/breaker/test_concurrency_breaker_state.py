"""Breakers of a whole trader: what is written while it changes, what a restart finds, what clears them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest

from support.bench import BTC, ETH, Bench
from support.virtual import run
from tradingbot_api.conditions import TradingState
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.control.state import Cause
from tradingbot_trader.orders.order import OrderState, Side
from tradingbot_trader.risk.breakers import Breakers, TripKind, VenueState
from tradingbot_trader.venues.account import Operation
from tradingbot_trader.venues.transport import HttpReply

UNAVAILABLE = HttpReply(503, {}, "Service Unavailable")


def stored(bench: Bench) -> Breakers:
    return Breakers.from_counters(bench.store.counters(bench.store.book))


def venue_state(bench: Bench) -> VenueState:
    return bench.execution.breakers.venue.state(bench.clock.now_ns())


async def fail_five_queries(bench: Bench) -> None:
    bench.wire.holds_answers = {"query"}
    asked = [asyncio.ensure_future(bench.execution.gateway.ask(lambda account: account.account())) for _ in range(5)]
    await bench.until("five on the wire", lambda: sum(c.is_answered for c in bench.wire.pending("query")) >= 5)
    for call in bench.wire.pending("query"):
        call.answer(UNAVAILABLE)
    await asyncio.gather(*asked, return_exceptions=True)
    assert venue_state(bench) is VenueState.OPEN


@pytest.mark.parametrize("delay_seconds", [0.0, 0.1, 0.25, 0.4, 0.49, 0.5])
def test_trip_while_the_breakers_are_written_is_in_the_store_and_once_in_the_audit(
    tmp_path: Path, delay_seconds: float
) -> None:
    """Twice a second they are written; trips come at any moment between, and the disk refuses some of the writes."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            now = bench.clock.now_ns
            for number in range(6):
                bench.disk.is_full = number in (1, 2, 4)
                kind = (TripKind.CONTRADICTION, TripKind.VENUE_API, TripKind.REJECT_STORM)[number % 3]
                bench.execution.breakers.trip(kind, f"trip {number}", now())
                await bench.clock.sleep(delay_seconds)
            bench.disk.is_full = False
            await bench.until("written", lambda: stored(bench).to_counters() == bench.execution.breakers.to_counters())
            texts = [record.data for record in bench.records(AuditKind.BREAKER_TRIPPED)]
            assert [[f"trip {number}" in text for number in range(6)].index(True) for text in texts] == list(range(6))
            assert stored(bench).total_trips == 6

    run(story())


@pytest.mark.parametrize("probe", ["not sent", "under way"])
def test_restart_in_half_open_probes_again_and_lets_no_entry_pass_before_the_answer(tmp_path: Path, probe: str) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            await fail_five_queries(bench)
            await bench.clock.sleep(29.9 if probe == "not sent" else 31)
            assert venue_state(bench) is (VenueState.OPEN if probe == "not sent" else VenueState.HALF_OPEN)
            assert bool(bench.wire.pending("query")) is (probe == "under way")
            assert bench.enter(BTC) is None
        trips = bench.execution.breakers.total_trips
        await bench.clock.sleep(0.2)
        bench.prices.clear()  # the next life begins without a price

        async def watch() -> None:
            while True:
                if bench.lives == 2 and hasattr(bench, "trading") and venue_state(bench) is not VenueState.CLOSED:
                    assert bench.trading.verdict.state is not TradingState.ACTIVE
                await bench.clock.sleep(0.01)

        watching = asyncio.create_task(watch())
        async with bench.running():
            assert venue_state(bench) is VenueState.CLOSED
            assert bench.execution.breakers.total_trips == trips == 1
        assert not watching.done()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    run(story())


def test_half_open_asks_for_one_probe_and_its_failure_opens_for_twice_as_long(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            await fail_five_queries(bench)
            opened_ns = bench.clock.now_ns()
            before = len(bench.wire.calls)
            await bench.until("half-open", lambda: venue_state(bench) is VenueState.HALF_OPEN)
            assert bench.clock.now_ns() - opened_ns == pytest.approx(30e9, abs=2e7)
            await bench.until("a probe", lambda: bench.wire.pending("query"))
            await bench.clock.sleep(5)
            assert len(bench.wire.calls) - before == 1, "one question to the venue, and no second before it is answered"
            bench.wire.pending("query")[0].answer(UNAVAILABLE)
            await bench.until("open", lambda: venue_state(bench) is VenueState.OPEN)
            opened_ns = bench.clock.now_ns()
            bench.wire.let_go()
            await bench.until("half-open", lambda: venue_state(bench) is not VenueState.OPEN, seconds=90)
            assert bench.clock.now_ns() - opened_ns == pytest.approx(60e9, abs=2e7)
            await bench.until("Active", lambda: bench.trading.verdict.state is TradingState.ACTIVE)
            assert bench.execution.breakers.total_trips == 2

    run(story())


@pytest.mark.parametrize("step", range(12))
def test_trip_in_the_middle_of_a_reconciliation_is_not_cleared_by_it(tmp_path: Path, step: int) -> None:
    """Tripped after each of its questions in turn."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            recovery, breakers = bench.execution.recovery, bench.execution.breakers
            told: list[int] = []
            recovery.require("a test")
            await bench.clock.sleep(0.03 * step)
            tripped_ns = bench.clock.now_ns()
            breakers.trip(TripKind.CONTRADICTION, "a test", tripped_ns)
            while breakers.executions.pending is not None:
                assert bench.enter(BTC) is None
                if recovery.report is not None:
                    told.append(recovery.report.begun_ns)
                if step and recovery.has_passed:
                    recovery.ask("again")
                await bench.clock.sleep(0.01)
            assert recovery.report is not None
            assert recovery.report.begun_ns >= tripped_ns

    run(story())


def test_stop_goes_through_an_open_breaker_and_entries_do_not(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            held = bench.enter(ETH)
            assert held is not None
            await bench.clock.sleep(0.5)
            bench.wire.holds_before = {"order"}
            waiting = bench.enter(BTC, offset="1")
            assert waiting is not None
            await bench.held_order()
            await fail_five_queries(bench)
            assert Cause.BREAKER_OPEN in [*bench.execution.causes()]
            bench.kube.edit(killSwitch={"engaged": True, "action": "Flatten", "reason": "drill"})
            bench.look()
            bench.wire.let_go()
            await bench.until("flat", lambda: bench.trading.stop.latch and bench.trading.stop.latch.flat == "True")
            assert venue_state(bench) is VenueState.OPEN, "it was done while the breaker was open"
            assert bench.order(waiting.client_order_id).state is OrderState.DENIED
            sides = [sent.values["side"] for sent in bench.venue.sent if sent.is_order]
            assert sides == ["BUY", "SELL"]

    run(story())


async def buy_and_sell(bench: Bench, times: int, *, first: str) -> None:
    """At most so many buys and sales in turn, until a buy is denied. The venue tells of each fill by the answer and by
    the report, in that order or the other."""
    bench.wire.holds_answers = {"order"} if first == "report" else set()
    bench.reports.is_held = first == "answer"
    for number in range(times):
        if number % 2:
            bench.trading.desk.exit(BTC, "t")
        elif bench.enter(BTC, allocation="0.12") is None:
            return
        call = await bench.held_order()
        await bench.until("accepted", lambda call=call: call.is_answered)  # type: ignore[misc]  # bound now
        await bench.clock.sleep(0.05)
        call.answer()
        await bench.clock.sleep(0.05)
        while bench.reports.waiting:
            bench.reports.say(bench.reports.waiting.pop(0))
        await bench.clock.sleep(1.1)


@pytest.mark.parametrize("first", ["answer", "report"])
def test_repeated_executions_are_counted_whoever_tells_of_a_fill_first(tmp_path: Path, first: str) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            await buy_and_sell(bench, 24, first=first)
            bought = sum(order.side.is_buy for order in bench.venue.account.orders)
            assert bought == 11, "one more than may be: none was counted twice, and none was missed"
            assert bench.execution.breakers.total_trips == 2, "the buys', and then the sales'"
            assert {trip.kind for trip in bench.execution.breakers.trips} == {TripKind.REPEATED_EXECUTION}

    run(story())


@pytest.mark.parametrize("order", list(permutations(range(4)))[::3])
def test_fills_of_one_order_that_arrive_in_any_order_are_one_execution(order: tuple[int, ...]) -> None:
    breakers = Breakers()
    for wave in range(5):
        for piece in order:
            assert breakers.on_fill(BTC, Side.BUY, (wave * 4 + piece) * 10**9, f"order {wave % 2}") is None
    assert breakers.total_trips == 0


def test_late_success_of_a_question_asked_before_the_opening_lets_no_entry_pass(tmp_path: Path) -> None:
    """Through the whole trader: a balance that was asked for before comes while the breaker is open."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            bench.wire.holds_answers = {"query"}
            old = asyncio.ensure_future(bench.execution.gateway.ask(lambda account: account.account()))
            await bench.until("on the wire", lambda: bench.wire.pending("query"))
            (late,) = bench.wire.pending("query")
            fresh = [asyncio.ensure_future(bench.execution.gateway.ask(lambda a: a.account())) for _ in range(5)]
            await bench.until("five on the wire", lambda: sum(c.is_answered for c in bench.wire.pending("query")) == 6)
            for call in bench.wire.pending("query"):
                if call is not late:
                    call.answer(UNAVAILABLE)
            await asyncio.gather(*fresh, return_exceptions=True)
            assert venue_state(bench) is VenueState.OPEN
            late.answer()
            assert (await old).balances["USDT"].total == Decimal(10000)
            assert venue_state(bench) is VenueState.OPEN
            assert bench.enter(BTC) is None
            assert not bench.execution.breakers.may_probe(Operation.QUERY, bench.clock.now_ns())

    run(story())

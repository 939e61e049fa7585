"""Orders of which the answer was lost, late or doubled: they count in full until proved, and are let go once."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from support.bench import BTC, ETH, LIMIT_QUOTE, Bench, Call
from support.virtual import run
from tradingbot_api.conditions import TradingState
from tradingbot_sandbox.venues.faults_rules import HideOrder, LoseAnswer, Operation, Rule, When
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.requests import Request, RequestKind
from tradingbot_trader.control.state import Cause
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, OrderState, Side
from tradingbot_trader.orders.reconcile import Result
from tradingbot_trader.risk.breakers import TripKind
from tradingbot_trader.venues.transport import NoAnswer

LOST = NoAnswer("timeout")


def add_rule(bench: Bench, rule: Rule) -> None:
    bench.venue.faults.script.add(rule, bench.clock.now_ns())


async def place(bench: Bench, symbol: str = BTC) -> tuple[Order, Call]:
    """An entry that the venue has accepted, and whose answer is held."""
    bench.wire.holds_answers = {"order"}
    entry = bench.enter(symbol, offset="1")
    assert entry is not None
    call = await bench.held_order()
    await bench.until("accepted", lambda: call.is_answered)
    return entry, call


STORY = ("answer", "first fill", "second fill", "look", "cut")


ORDERS = list(permutations(STORY))


@pytest.mark.parametrize(("order", "is_lost"), [*((o, False) for o in ORDERS), *((o, True) for o in ORDERS[::5])])
def test_fills_count_once_in_whichever_order_answer_reports_and_looks_come(
    tmp_path: Path, order: tuple[str, ...], *, is_lost: bool
) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            entry, call = await place(bench)
            for step in order:
                if step == "answer":
                    call.answer(LOST if is_lost else None)
                elif step == "look":
                    bench.execution.recovery.doubt(entry.client_order_id)
                    bench.execution.recovery.require("a test")
                elif step == "cut":
                    bench.venue.hang_up()  # reports until the stream is back are lost
                else:
                    bench.fill(quantity="0.2" if step == "first fill" else "100")
                for _ in range(6):
                    bench.check_exposure()
                    await bench.clock.sleep(0.005)
            for _ in range(100):
                bench.check_exposure()
                await bench.clock.sleep(0.04)
            bench.check_books()
            (true,) = bench.venue.account.orders
            ended = bench.order(entry.client_order_id)
            # Without its reports a trader lets no entry rest, so a cancel may be quicker than the second fill.
            assert ended.state.value.upper() in (true.state.value, "CANCELLED" if true.state == "CANCELED" else "")
            assert (ended.filled_base, ended.illegal) == (true.filled_base, frozenset())
            assert bench.exposure_quote == true.filled_quote
            assert bench.venue.account.accepted[entry.client_order_id] == 1
            await bench.until("Active", lambda: bench.trading.verdict.state is TradingState.ACTIVE)

    run(story())


async def settle(bench: Bench, seconds: float = 0.5) -> None:
    await bench.clock.sleep(seconds)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("is_lost", [False, True])
def test_reports_doubled_and_in_any_order_around_the_answer_give_the_same_books(
    tmp_path: Path, seed: int, *, is_lost: bool
) -> None:
    draw = random.Random(seed)  # noqa: S311  a test

    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            bench.reports.is_held = True
            entry, call = await place(bench)
            for quantity in ("0.1", "0.1", "100"):
                bench.fill(quantity=quantity)
            await bench.until("the reports", lambda: len(bench.reports.waiting) == 4)
            said: list[Mapping[str, Any] | None] = [*bench.reports.waiting, *bench.reports.waiting, None]
            draw.shuffle(said)
            for each in said:
                if each is None:
                    call.answer(LOST if is_lost else None)
                else:
                    bench.reports.say(each)
                bench.check_exposure()
                await bench.clock.sleep(draw.choice((0, 0.01)))
            await settle(bench, 4)
            bench.check_books()
            ended = bench.order(entry.client_order_id)
            assert (ended.state, ended.illegal) == (OrderState.FILLED, frozenset())
            assert bench.trading.verdict.state is TradingState.ACTIVE

    run(story())


def test_unresolved_order_counts_in_full_until_proved_and_is_let_go_once(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            add_rule(bench, Rule(when=When(operation=Operation.PLACE, nth=1), what=LoseAnswer(seconds=Decimal(0))))
            bench.wire.holds_answers = {"query"}
            entry = bench.enter(BTC, offset="1")
            assert entry is not None
            await bench.until("doubt", lambda: bench.order(entry.client_order_id).state is OrderState.UNRESOLVED)
            looks = await bench.until("a look", lambda: bench.wire.pending("query"))
            seen = [bench.exposure_quote]
            other = bench.enter(ETH, offset="1")
            assert other is not None
            assert bench.exposure_quote <= LIMIT_QUOTE, "the room that is left, and not the whole"
            await settle(bench)
            # The venue's word comes by the stream and by the late look in the same turn.
            (resting,) = (o for o in bench.venue.account.open_orders() if o.symbol == BTC)
            bench.venue.exchange.desk.cancel(bench.venue.account, resting, bench.clock.now_ns())
            for look in looks:
                look.answer()
            bench.wire.holds_answers.clear()
            await bench.until("the end", lambda: bench.order(entry.client_order_id).state is OrderState.CANCELLED)
            bench.wire.let_go()
            await settle(bench, 3)
            assert seen == [entry.intent.notional_quote]
            assert bench.exposure_quote == other.intent.notional_quote
            ends = [r for r in bench.records(AuditKind.ORDER_EVENT) if '"event":"Cancelled"' in r.data]
            assert len(ends) == 1
            assert bench.order(entry.client_order_id).illegal == frozenset()

    run(story())


@pytest.mark.parametrize("found_by", ["a look", "its report"])
def test_room_of_an_order_presumed_absent_is_given_back_once_and_it_is_taken_down_when_it_appears(
    tmp_path: Path, found_by: str
) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            add_rule(bench, Rule(when=When(operation=Operation.PLACE, nth=1), what=HideOrder(seconds=Decimal(120))))
            bench.reports.is_held = True
            bench.wire.holds_before = {"cancel"}
            entry, call = await place(bench)
            bench.wire.holds_answers.clear()
            bench.trading.desk.cancel([entry.client_order_id])
            call.answer(LOST)
            await bench.until("a doubt", lambda: bench.order(entry.client_order_id).state is OrderState.UNRESOLVED)
            for _ in range(120):
                if bench.order(entry.client_order_id).state is not OrderState.UNRESOLVED:
                    break
                bench.check_exposure()
                await bench.clock.sleep(1)
            assert bench.order(entry.client_order_id).state is OrderState.PRESUMED_ABSENT
            assert bench.exposure_quote == 0
            bench.fill(quantity="0.2")  # and then it is there after all
            bench.wire.let_go()  # the old cancel has waited too long for the venue to take it
            await bench.clock.sleep(60)
            assert len(bench.venue.account.open_orders()) == 1
            if found_by == "a look":
                bench.execution.recovery.ask("a test")
            else:
                bench.reports.say(bench.reports.waiting[0])
            await bench.until(
                "taken down", lambda: bench.order(entry.client_order_id).state is OrderState.CANCELLED, seconds=120
            )
            assert bench.enter(ETH) is None, "no new risk before it has been looked at"
            bench.reports.is_held = False
            await bench.until("Active", lambda: bench.trading.verdict.state is TradingState.ACTIVE)
            await bench.until("no contradiction", lambda: not bench.trading.desk.engine.illegal)
            assert bench.venue.account.open_orders() == []
            bench.check_books()
            assert bench.exposure_quote == Decimal("0.2") * 99
            assert bench.venue.account.accepted[entry.client_order_id] == 1
            assert [trip.kind for trip in bench.execution.breakers.trips] == [TripKind.CONTRADICTION]

    run(story())


def adjust(bench: Bench, amount: str, asset: str = "USDT") -> Request:
    return Request(
        id=secrets.token_hex(16), kind=RequestKind.ADJUST, book=BookName.LIVE, who="a test",
        created_ns=bench.clock.now_ns(), asset=asset, amount=Decimal(amount), reason="a deposit",
    )  # fmt: skip


@pytest.mark.parametrize("turns", range(12))
def test_adjustment_in_the_middle_of_a_reconciliation_is_judged_by_the_next_one(tmp_path: Path, turns: int) -> None:
    """The deposit is at the venue; its record comes before, between or after the questions of one reconciliation."""

    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            bench.venue.exchange.desk.transfer(bench.venue.account, "USDT", Decimal(7), bench.clock.now_ns())
            recovery = bench.execution.recovery
            recovery.require("a test")
            await bench.clock.sleep(0.03 * turns)
            request = adjust(bench, "7")
            given, doubled = await asyncio.gather(bench.execution.handle(request), bench.execution.handle(request))
            assert (given.is_done, doubled.is_done) == (True, True)
            assert not recovery.has_passed, "what was compared before the record proves nothing"
            recorded_ns = bench.clock.now_ns()
            await bench.until("passed", lambda: recovery.has_passed)
            assert recovery.report is not None
            assert (recovery.report.result, recovery.report.begun_ns >= recorded_ns) == (Result.PASSED, True)
            assert bench.store.adjusted(BookName.LIVE) == {"USDT": Decimal(7)}
            assert len(bench.records(AuditKind.ADJUSTED)) == 1
            await bench.until("Active", lambda: bench.trading.verdict.state is TradingState.ACTIVE)

    run(story())


@pytest.mark.parametrize("turns", range(10))
def test_requirement_that_comes_during_a_reconciliation_outlives_it(tmp_path: Path, turns: int) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            recovery = bench.execution.recovery
            recovery.require("the first")
            await bench.clock.sleep(0.02 * turns)
            begun_ns = bench.clock.now_ns()
            recovery.require("the second")
            await bench.until("passed", lambda: recovery.has_passed)
            assert recovery.report is not None
            assert recovery.report.begun_ns >= begun_ns

    run(story())


@pytest.mark.parametrize("fills", [3, 12])
def test_fills_while_the_disk_is_full_are_owed_and_none_is_lost(tmp_path: Path, fills: int) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            entries = [bench.enter(symbol, offset="1") for symbol in (BTC, ETH)]
            assert None not in entries
            await settle(bench)
            bench.wire.holds_before = {"cancel"}  # the fills are quicker
            bench.disk.is_full = True
            for number in range(fills):
                bench.fill((BTC, ETH)[number % 2], quantity="0.02")
                await bench.clock.sleep(0.01)
            await settle(bench)
            assert Cause.STORE_UNWRITABLE in bench.trading.verdict.causes
            assert bench.trading.desk.owes
            assert bench.enter(BTC) is None
            assert bench.trading.desk.engine.ledger.fill_count == fills, "known, though not recorded"
            assert bench.exposure_quote == sum(e.intent.notional_quote for e in entries if e)
            bench.wire.let_go()
            await settle(bench)
            assert bench.exposure_quote == fills * Decimal("0.02") * 99
            cancels = [s for s in bench.venue.sent if s.method == "DELETE"]
            assert len(cancels) == 2, "cancels leave all the same"
            bench.disk.is_full = False
            await bench.until("nothing owed", lambda: not bench.trading.desk.owes)
            await bench.until("Active", lambda: bench.trading.verdict.state is TradingState.ACTIVE)
            bench.check_books()

    run(story())


def test_crash_with_fills_that_the_disk_never_took_finds_them_at_the_venue(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            entry = bench.enter(BTC, offset="1")
            assert entry is not None
            await settle(bench)
            bench.wire.holds_before = {"cancel"}
            bench.disk.is_full = True
            for _ in range(5):
                bench.fill(quantity="0.02")
                await bench.clock.sleep(0.01)
            await settle(bench)
            assert bench.trading.desk.owes
        bench.disk.is_full = False
        async with bench.running():
            bench.check_books()
            assert bench.trading.desk.engine.ledger.position(BTC).cost_quote == Decimal("9.9")

    run(story())


@pytest.mark.parametrize("delay_seconds", [0.0, 0.01, 0.03, 0.05, 0.08, 0.5, 0.6])
def test_reports_while_the_key_is_swapped_are_neither_lost_nor_doubled(tmp_path: Path, delay_seconds: float) -> None:
    """The old stream ends and the new one begins while an order is being filled piece by piece."""

    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            entry = bench.enter(BTC, offset="1")
            assert entry is not None
            await settle(bench)
            bench.wire.holds_before = {"cancel"}  # without reports no entry may rest; here the fills are quicker
            before = bench.execution.news().credentials
            bench.rotate_key()
            await bench.until(
                "the new key", lambda: bench.execution.news().credentials.fingerprint != before.fingerprint, seconds=90
            )
            await bench.clock.sleep(delay_seconds)
            for _ in range(9):
                bench.fill(quantity="0.02")
                bench.check_exposure()
                await bench.clock.sleep(0.1)
            bench.wire.let_go()
            await settle(bench, 10)
            bench.check_books()
            assert bench.order(entry.client_order_id).filled_base == Decimal("0.18")
            assert bench.venue.exchange.user_streams.listeners(bench.venue.account.uid) == 1, "the old one has hung up"
            assert bench.trading.verdict.state is TradingState.ACTIVE

    run(story())


@pytest.mark.parametrize("order", list(permutations(("strategy", "stop-loss", "flatten"))))
@pytest.mark.parametrize("is_answered_between", [False, True])
def test_exits_that_are_asked_for_together_sell_what_is_held_once(
    tmp_path: Path, order: tuple[str, ...], *, is_answered_between: bool
) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, symbols=1)
        async with bench.running():
            desk = bench.trading.desk
            assert bench.enter(BTC) is not None
            await settle(bench)
            held = desk.engine.ledger.position(BTC).quantity_base
            assert held > 0
            bench.wire.holds_answers = {"order"}
            bench.reports.is_held = True
            for why in order:
                desk.exit(BTC, why)
                desk.exit(BTC, why)
                if is_answered_between:
                    for call in bench.wire.pending("order"):
                        call.answer()
                await bench.clock.sleep(1.1)
                pending = [o for o in desk.engine.orders.values() if o.intent.side is Side.SELL]
                assert (
                    sum((o.pending_base for o in pending), Decimal(0)) <= desk.engine.ledger.position(BTC).quantity_base
                )
            bench.wire.let_go()
            for report in bench.reports.waiting:
                bench.reports.say(report)
            await settle(bench)
            sells = [sent for sent in bench.venue.sent if sent.is_order and sent.values["side"] == "SELL"]
            asked = sum((Decimal(sent.values["quantity"]) for sent in sells), Decimal(0))
            assert len(sells) == 1
            assert asked <= held
            bench.check_books()

    run(story())

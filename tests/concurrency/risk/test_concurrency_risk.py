"""Limits while orders, answers, fills, stops and permits overtake each other. The venue's matching is the truth."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest

from support.bench import BTC, ETH, LIMIT_QUOTE, Bench
from support.virtual import run
from tradingbot_api.conditions import TradingState
from tradingbot_api.spec import StopAction
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.control.latch import StopRequest
from tradingbot_trader.orders.order import BookName, OrderState
from tradingbot_trader.risk.breakers import TripKind

SEEDS = range(12)


async def settle(bench: Bench, seconds: float = 0.5) -> None:
    await bench.clock.sleep(seconds)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_reserved_never_exceeds_the_limit_whoever_asks_and_answers_first(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311  a test

    async def story() -> None:
        bench = Bench(tmp_path)
        highest = Decimal(0)
        async with bench.running():
            bench.wire.holds_answers = {"order", "cancel"}

            async def strategy(symbol: str) -> None:
                for _ in range(6):
                    bench.enter(symbol, offset=draw.choice(("0.5", "1")), allocation=draw.choice(("0.4", "1")))
                    assert bench.exposure_quote <= LIMIT_QUOTE
                    await bench.clock.sleep(draw.choice((0, 0.05, 0.3)))

            async def venue() -> None:
                for _ in range(40):
                    waiting = [c for c in bench.wire.calls if not c.is_over and c.kind != "query"]
                    if waiting:
                        draw.choice(waiting).answer()
                    if draw.random() < 0.3:
                        bench.fill(draw.choice((BTC, ETH)), quantity=draw.choice(("0.05", "1")))
                    if draw.random() < 0.2 and (open_orders := bench.trading.desk.open_orders()):
                        bench.trading.desk.cancel([draw.choice(open_orders).client_order_id])
                    nonlocal highest
                    highest = max(highest, bench.exposure_quote)
                    assert bench.exposure_quote <= LIMIT_QUOTE
                    await bench.clock.sleep(draw.choice((0.01, 0.1)))

            await asyncio.gather(*(strategy(symbol) for symbol in (BTC, ETH, BTC)), venue())
            bench.wire.let_go()
            await settle(bench, 5)
            bench.check_books()
        assert highest > LIMIT_QUOTE / 2, "this story has come nowhere near the limit"

    run(story())


@pytest.mark.parametrize("order", list(permutations(("answer", "fill", "entry", "cancel"))))
def test_new_entry_gets_only_the_room_that_is_left_wherever_answer_fill_and_cancel_stand(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            bench.wire.holds_answers = {"order"}
            first = bench.enter(BTC, offset="1")
            assert first is not None
            call = await bench.held_order()
            await bench.until("accepted", lambda: call.is_answered)
            for step in order:
                if step == "answer":
                    call.answer()
                elif step == "fill":
                    bench.fill(quantity="0.2")
                elif step == "cancel":
                    bench.trading.desk.cancel([first.client_order_id])
                else:
                    bench.enter(ETH, offset="1")
                assert bench.exposure_quote <= LIMIT_QUOTE
                await bench.clock.sleep(0.1)
            bench.wire.let_go()
            await settle(bench)
            held = bench.trading.desk.engine.ledger.position(BTC).cost_quote
            true = sum((t.quote_quantity for t in bench.venue.account.trades if t.symbol == BTC), Decimal(0))
            assert held == true
            bench.check_books()

    run(story())


def test_order_decided_before_the_limit_fell_is_the_only_one_above_it(tmp_path: Path) -> None:
    """P3: exposure never exceeds the limits by more than an order accepted before the limit changed."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            bench.wire.holds_before = {"order"}
            first = bench.enter(BTC, offset="1")
            assert first is not None
            call = await bench.held_order()
            bench.kube.edit(permit=False, capital={"stage": "micro"})
            bench.look()
            await bench.until("the limit of 50", lambda: bench.trading.mandate.grant.limit_quote == 50)
            assert bench.enter(ETH, offset="1") is None, "40 are allowed, and 44.9 are on their way"
            assert bench.enter(BTC, offset="1", allocation="1") is None
            bench.wire.holds_before.clear()
            call.leave()
            await settle(bench)
            assert bench.enter(ETH, offset="1") is None
            assert bench.orders_at_venue() == [first.client_order_id]
            bench.trading.desk.cancel([first.client_order_id])
            await settle(bench)
            assert bench.exposure_quote == 0
            assert bench.enter(ETH, offset="1") is not None
            assert bench.exposure_quote <= 40

    run(story())


def stop_by_kill_switch(bench: Bench) -> None:
    bench.kube.edit(killSwitch={"engaged": True, "action": "CancelOrders", "reason": "drill"})
    bench.look()


def stop_by_halt(bench: Bench) -> None:
    bench.kube.halt("night", {"action": "ReduceOnly", "reason": "drill"})
    bench.look()


def lose_permit(bench: Bench) -> None:
    assert bench.kube.bot is not None
    bench.kube.permit_is_revoked = True
    bench.kube.bot["status"].pop("permit")
    bench.look()


def lose_lease(bench: Bench) -> None:
    bench.lease_seconds = 0.0


def shorten_lease(bench: Bench) -> None:
    bench.lease_seconds = 3.0  # held, and shorter than the venue may take the request for


def lose_contact(bench: Bench) -> None:
    bench.contact_seconds = 31.0


def lose_store(bench: Bench) -> None:
    bench.disk.is_full = True


def delete_bot(bench: Bench) -> None:
    bench.trading.look(None, [])


def trip_breaker(bench: Bench) -> None:
    bench.execution.breakers.trip(TripKind.VENUE_API, "a test", bench.clock.now_ns())


def need_reconciliation(bench: Bench) -> None:
    bench.execution.recovery.require("a test")


CLOSERS = (
    stop_by_kill_switch, stop_by_halt, lose_permit, lose_lease, shorten_lease, lose_contact, lose_store, delete_bot,
    trip_breaker, need_reconciliation,
)  # fmt: skip


@pytest.mark.parametrize("close", CLOSERS)
@pytest.mark.parametrize("place", ["connecting", "waiting in its lane", "waiting for the budget"])
def test_entry_that_waits_when_the_gate_closes_never_reaches_the_venue(tmp_path: Path, close, place: str) -> None:  # type: ignore[no-untyped-def]
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            if place == "connecting":
                bench.wire.holds_before = {"order"}
            elif place == "waiting in its lane":
                bench.wire.holds_answers = {"query"}
                busy = [
                    asyncio.ensure_future(bench.execution.gateway.ask(lambda account: account.account()))
                    for _ in range(8)
                ]
            else:
                bench.execution.gateway._budget.pause(1.0, bench.clock.now_ns())
            entry = bench.enter(BTC, offset="1")
            assert entry is not None
            assert bench.exposure_quote > 0
            await bench.clock.sleep(0.2)
            close(bench)
            bench.wire.let_go()
            await settle(bench, 1.2)
            assert bench.orders_at_venue() == []
            assert not any(sent.is_order for sent in bench.venue.sent)
            ended = bench.order(entry.client_order_id)
            # A full disk may show only when the gate has said yes and that is to be recorded.
            ends = {OrderState.DENIED, OrderState.REJECTED} if close is lose_store else {OrderState.DENIED}
            assert ended.state in ends
            assert bench.exposure_quote == 0, "what never left gives its room back"
            if place == "waiting in its lane":
                await asyncio.gather(*busy)
            bench.disk.is_full = False
            await bench.until("nothing owed", lambda: not bench.trading.desk.owes)
            assert bench.store.find_order(BookName.LIVE, entry.client_order_id).state is ended.state  # type: ignore[union-attr]

    run(story())


def test_disk_that_fills_up_between_intent_and_sent_keeps_the_order_here(tmp_path: Path) -> None:
    """The gate records that the order leaves, and asks again: the disk may have refused just then."""

    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            before = bench.store._connection.execute("SELECT count(*) FROM order_events").fetchone()[0]
            bench.wire.holds_before = {"order"}
            entry = bench.enter(BTC, offset="1")
            assert entry is not None
            call = await bench.held_order()
            bench.disk.fail_after = before  # the next event that is to be recorded is Sent
            bench.wire.holds_before.clear()
            call.leave()
            await settle(bench)
            assert bench.disk.is_full
            assert bench.orders_at_venue() == []
            assert bench.order(entry.client_order_id).state in (OrderState.REJECTED, OrderState.INTENT)
            assert bench.exposure_quote == 0
            bench.disk.is_full = False
            await bench.until("Active", lambda: bench.trading.verdict.state is TradingState.ACTIVE)
            assert bench.store.find_order(BookName.LIVE, entry.client_order_id).state is OrderState.REJECTED  # type: ignore[union-attr]

    run(story())


STOPS = ("kill", "halt", "loss")


@pytest.mark.parametrize("order", list(permutations(STOPS)))
@pytest.mark.parametrize("is_one_turn", [True, False])
def test_stops_at_the_same_time_are_one_latch_with_the_strictest_action(
    tmp_path: Path, order: tuple[str, ...], *, is_one_turn: bool
) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, killSwitch={"action": "ReduceOnly"})
        async with bench.running():
            bench.wire.holds_answers = {"cancel"}
            entries = [bench.enter(symbol, offset="1") for symbol in (BTC, ETH)]
            await settle(bench)

            def stop(source: str) -> None:
                if source == "kill":
                    bench.kube.edit(killSwitch={"engaged": True, "action": "CancelOrders", "reason": "drill"})
                    bench.look()
                elif source == "halt":
                    bench.kube.halt("night", {"action": "Flatten", "reason": "drill"})
                    bench.look()
                else:
                    bench.trading.stop.trip(StopRequest("DailyLoss", StopAction.REDUCE_ONLY, "lost"))

            for source in order:
                stop(source)
                if not is_one_turn:
                    await bench.clock.sleep(0.06)
            await settle(bench)
            bench.wire.let_go()
            await bench.until(
                "Stopped", lambda: bench.trading.stop.latch and bench.trading.stop.latch.state == "Stopped"
            )
            latch = bench.trading.stop.latch
            assert latch is not None
            assert latch.action == "Flatten"
            assert latch.flat == "True"
            assert latch.orders_cancelled == len(entries) == 2
            assert len(bench.store._connection.execute("SELECT id FROM latches").fetchall()) == 1
            assert bench.venue.account.open_orders() == []
            assert bench.enter(BTC) is None
            # Letting one of them go releases nothing; the latch's own id does, when all are gone.
            bench.kube.edit(killSwitch={"engaged": False, "rearm": latch.id})
            bench.look()
            assert bench.trading.stop.is_latched
            bench.kube.halt("night", None)
            bench.look()
            assert bench.trading.stop.is_latched, "not before the account was compared"
            await bench.until("the release", lambda: not bench.trading.stop.is_latched)
            assert len(bench.records(AuditKind.REARMED)) == 1

    run(story())


def test_drain_waits_for_answers_under_way_and_a_kill_meanwhile_is_latched(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            resting = bench.enter(BTC, offset="1")
            assert resting is not None
            await settle(bench)
            bench.wire.holds_answers = {"order", "cancel"}
            late = bench.enter(ETH, offset="1")
            assert late is not None
            call = await bench.held_order()
            await bench.until("accepted", lambda: call.is_answered)
            draining = [asyncio.create_task(bench.trading.drain(10.0)) for _ in range(2)]
            await bench.clock.sleep(0.1)
            stop_by_kill_switch(bench)
            await bench.clock.sleep(0.5)
            assert not any(each.done() for each in draining)
            bench.wire.let_go()
            await asyncio.gather(*draining)
            assert {bench.order(o.client_order_id).state for o in (resting, late)} == {OrderState.CANCELLED}
            assert bench.venue.account.open_orders() == []
            assert bench.trading.stop.is_latched
            assert bench.exposure_quote == 0
            cancels = [s.values["origClientOrderId"] for s in bench.venue.sent if s.method == "DELETE"]
            assert sorted(cancels) == sorted({resting.client_order_id, late.client_order_id}), "one cancel for each"

    run(story())


RACES = [
    order
    for order in permutations(("cancel leaves", "fill", "cancel answers"))
    if order.index("cancel leaves") < order.index("cancel answers")
]


@pytest.mark.parametrize("order", RACES)
@pytest.mark.parametrize("size", ["0.2", "100"])
def test_cancel_and_fill_that_race_count_the_fill_once(tmp_path: Path, order: tuple[str, ...], size: str) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        async with bench.running():
            entry = bench.enter(BTC, offset="1")
            assert entry is not None
            await settle(bench)
            bench.wire.holds_before = bench.wire.holds_answers = {"cancel"}
            bench.trading.desk.cancel([entry.client_order_id])
            await bench.until("a cancel on the wire", lambda: bench.wire.pending("cancel"))
            (cancel,) = bench.wire.pending("cancel")
            for step in order:
                if step == "fill":
                    bench.fill(quantity=size)
                elif step == "cancel leaves":
                    cancel.leave()
                    await bench.until("the cancel at the venue", lambda: cancel.is_answered)
                else:
                    cancel.answer()
                assert bench.exposure_quote <= LIMIT_QUOTE
                await bench.clock.sleep(0.05)
            bench.wire.let_go()
            await settle(bench, 3)
            bench.check_books()
            ended = bench.order(entry.client_order_id)
            (true,) = bench.venue.account.orders
            assert ended.filled_base == true.filled_base
            assert ended.state is (OrderState.FILLED if true.remaining == 0 else OrderState.CANCELLED)
            assert not ended.illegal
            assert bench.exposure_quote == ended.filled_base * 99
            assert bench.trading.verdict.state is TradingState.ACTIVE

    run(story())

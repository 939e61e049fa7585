"""What a live pod does before it may go: deletion, suspension, and a spec that asks for paper. In virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from support.bench import BTC, Bench
from support.virtual import run
from tradingbot_api.conditions import TradingState
from tradingbot_api.status import DrainReason, DrainReport
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.control.drain import read_drain
from tradingbot_trader.control.state import Cause
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.orders.protection import PROTECTIVE

DELETED = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


class Stage(Bench):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, risk={"stopLossPercent": "2"})

    def ask(self, patch: dict[str, Any]) -> None:
        assert self.kube.bot is not None
        merge(self.kube.bot, patch)
        self.look()

    @property
    def told(self) -> DrainReport:
        report = self.trading.drain_work.report
        assert report is not None
        return report

    def open_at_venue(self) -> list[Any]:
        return list(self.venue.account.open_orders())


def play(folder: Path, test: Callable[[Stage], Awaitable[None]], *, rests_stops: bool = False) -> None:
    async def story() -> None:
        stage = Stage(folder)
        stage.rests_stops = rests_stops
        async with stage.running():
            await test(stage)
            stage.wire.let_go()
            await stage.clock.sleep(1)
            stage.check_books()
            assert stage.truth.violations == []

    run(story())


@pytest.mark.parametrize(
    ("raw", "book", "reason"),
    [
        ({"spec": {"mode": "Live"}}, BookName.LIVE, None),
        ({"spec": {"mode": "Paper"}}, BookName.LIVE, DrainReason.LEAVING_LIVE),
        ({"spec": {}}, BookName.LIVE, DrainReason.LEAVING_LIVE),
        ({"spec": {"mode": "paper?"}}, BookName.LIVE, None),
        ({"spec": {"mode": "Paper"}}, BookName.PAPER, None),
        ({"spec": {"mode": "Live"}}, BookName.PAPER, None),
        ({"spec": {"mode": "Live", "suspend": True}}, BookName.LIVE, DrainReason.SUSPENDED),
        ({"spec": {"mode": "Live", "suspend": "yes"}}, BookName.LIVE, DrainReason.SUSPENDED),
        ({"spec": {"mode": "Live", "suspend": True}} | DELETED, BookName.LIVE, DrainReason.DELETING),
        ({"spec": {"mode": "Live", "onDelete": "Hold"}} | DELETED, BookName.LIVE, None),
        ({"spec": {"mode": "Live", "onDelete": "hold"}} | DELETED, BookName.LIVE, DrainReason.DELETING),
        ({"spec": {"mode": "Live", "onDelete": "Flatten"}} | DELETED, BookName.LIVE, DrainReason.DELETING),
        ({"spec": None, "metadata": None}, BookName.PAPER, None),
    ],
)
def test_drain_is_asked_for_by_the_raw_object(raw: dict[str, Any], book: BookName, reason: DrainReason | None) -> None:
    assert read_drain(raw, book) is reason


@pytest.mark.parametrize(
    ("patch", "cause"),
    [
        (DELETED, Cause.DELETING),
        ({"spec": {"suspend": True}}, Cause.SUSPENDED),
        ({"spec": {"mode": "Paper"}}, Cause.LEAVING_LIVE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_entry_is_cancelled_and_account_is_compared_before_the_pod_may_go(
    tmp_path: Path, patch: dict[str, Any], cause: Cause
) -> None:
    async def test(stage: Stage) -> None:
        assert stage.enter(offset="1") is not None
        await stage.until("a resting entry", stage.open_at_venue)
        compared_before = stage.execution.recovery.report
        stage.ask(patch)
        assert not stage.told.done
        assert cause in stage.trading.verdict.causes
        assert stage.trading.verdict.state is TradingState.REDUCE_ONLY
        await stage.until("the drain", lambda: stage.told.done)
        assert stage.open_at_venue() == []
        assert [order.result for order in stage.told.orders] == ["Cancelled"]
        assert stage.execution.recovery.report is not compared_before
        assert len(stage.records(AuditKind.DRAINED)) == 1

    play(tmp_path, test)


def test_drain_is_not_done_while_the_venue_does_not_answer_cancels(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        assert stage.enter(offset="1") is not None
        await stage.until("a resting entry", stage.open_at_venue)
        stage.wire.holds_before.add("cancel")
        stage.ask({"spec": {"suspend": True}})
        await stage.clock.sleep(30)
        assert not stage.told.done
        assert [order.result for order in stage.told.orders] == ["Remaining"]
        stage.wire.let_go()
        await stage.until("the drain", lambda: stage.told.done)

    play(tmp_path, test)


def test_protective_stop_stays_and_is_told_with_the_reason(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        assert stage.enter() is not None
        await stage.until("its stop", lambda: [o for o in stage.open_at_venue() if o.type.is_conditional])
        stage.ask(DELETED)
        await stage.until("the drain", lambda: stage.told.done)
        (kept,) = stage.told.orders
        assert (kept.result, kept.reason) == ("Remaining", PROTECTIVE)
        assert len(stage.open_at_venue()) == 1
        assert stage.trading.desk.engine.ledger.position(BTC).quantity_base > 0, "a drain never sells"

    play(tmp_path, test, rests_stops=True)


def test_drain_ends_when_nobody_asks_for_it_any_more(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.ask({"spec": {"suspend": True}})
        await stage.until("the drain", lambda: stage.told.done)
        stage.ask({"spec": {"suspend": False}})
        assert stage.trading.drain_work.report is None
        await stage.until("trading", lambda: stage.trading.verdict.state is TradingState.ACTIVE)

    play(tmp_path, test)


def test_deletion_with_flatten_sells_what_is_held_and_only_then_is_done(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        assert stage.enter() is not None
        await stage.until("its stop", lambda: [o for o in stage.open_at_venue() if o.type.is_conditional])
        stage.ask(DELETED | {"spec": {"onDelete": "Flatten"}})
        assert not stage.told.done
        await stage.until("the drain", lambda: stage.told.done)
        assert not stage.trading.desk.is_tradable(BTC), "but for dust"
        assert stage.open_at_venue() == []

    play(tmp_path, test, rests_stops=True)


def test_flatten_is_for_deletion_alone(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        assert stage.enter() is not None
        await stage.until("a position", lambda: stage.trading.desk.engine.ledger.position(BTC).quantity_base)
        stage.ask({"spec": {"onDelete": "Flatten", "suspend": True}})
        await stage.until("the drain", lambda: stage.told.done)
        await stage.clock.sleep(5)
        assert stage.trading.desk.engine.ledger.position(BTC).quantity_base > 0

    play(tmp_path, test)

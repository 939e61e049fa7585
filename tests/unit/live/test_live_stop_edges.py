"""Stops in situations that are rare and cost money: on a live desk, and in a whole trader. In virtual time."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.account import BTC, BUSY, ETH, LOST, POOR
from support.stops import TICK_SECONDS, Scene, StopBench, play
from support.trader import Trader, build_spec
from support.virtual import run
from tradingbot_api.conditions import LatchState
from tradingbot_api.spec import StopAction
from tradingbot_trader.control.break_glass import FILE_NAME, read_file
from tradingbot_trader.control.drain import Drain
from tradingbot_trader.control.flatten import MOST_UNSOLD
from tradingbot_trader.control.latch import Engage, ReportedLatch, StopRequest, decide
from tradingbot_trader.orders.order import OrderState

D = Decimal
GIVES_UP_SECONDS = MOST_UNSOLD + 30
DELETED: dict[str, Any] = {
    "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"mode": "Live", "onDelete": "Flatten"},
}


class Stage(StopBench):
    """A whole trader whose positions are protected at the venue."""

    def __init__(self, folder: Path, **risk: object) -> None:
        super().__init__(folder, risk={"stopLossPercent": "2"} | risk)
        self.rests_stops = True

    def stops(self, symbol: str = BTC) -> list[Any]:
        """Protective stops that rest at the venue."""
        return [o for o in self.venue.account.open_orders() if o.symbol == symbol and o.type.is_conditional]

    def sells(self) -> list[Any]:
        return [o for o in self.venue.account.orders if not o.side.is_buy and not o.type.is_conditional]

    async def hold(self, symbol: str = BTC) -> Any:
        """A position, and the stop that protects it."""
        assert self.enter(symbol) is not None
        await self.until(
            "its stop",
            lambda: self.stops(symbol) and all(o.state is OrderState.OPEN for o in self.trading.desk.open_orders()),
        )
        (stop,) = self.stops(symbol)
        return stop

    async def give_up(self) -> None:
        """Flatten, while the price that the trader sees is above what anybody at the venue pays."""
        self.prices[BTC] = "104"
        await self.clock.sleep(1)
        self.ask(engaged=True, action="Flatten")
        await self.until("the end", lambda: self.latch.given_up, seconds=GIVES_UP_SECONDS)


def stage(folder: Path, test: Callable[[Stage], Awaitable[None]], **risk: object) -> None:
    async def story() -> None:
        bench = Stage(folder, **risk)
        async with bench.running():
            await test(bench)

    run(story())


# What protects a position


def test_flatten_that_cannot_sell_leaves_the_protective_stop(tmp_path: Path) -> None:
    """The API server is gone for longer than the lease lasts, and a person uses the file: nothing may be sold, so what
    rests at the venue is all that protects."""

    async def test(bench: Stage) -> None:
        stop = await bench.hold()
        bench.contact_seconds, bench.lease_seconds = 600.0, 0.0
        bench.glass.write_text("Flatten the cluster is gone")
        await bench.until("the latch", lambda: bench.is_latched)
        await bench.clock.sleep(60)
        assert bench.sells() == []
        assert bench.stops() == [stop]

    stage(tmp_path, test)


def test_protective_stop_of_what_was_given_up_outlives_a_moment_without_proof(tmp_path: Path) -> None:
    """The account's stream comes back, as it does once a day; the comparison after it takes its time."""

    async def test(bench: Stage) -> None:
        await bench.hold()
        await bench.give_up()
        await bench.until("a stop again", bench.stops, seconds=30)
        await bench.clock.sleep(5)
        before = bench.stops()
        bench.wire.holds_before.add("query")
        bench.execution.on_stream(is_up=False, reason="dropped")
        await bench.clock.sleep(1)
        bench.execution.on_stream(is_up=True, reason="")
        await bench.clock.sleep(20)
        after = bench.stops()
        bench.wire.let_go()
        assert after == before

    stage(tmp_path, test)


def test_what_was_given_up_is_protected_while_another_symbol_waits(tmp_path: Path) -> None:
    async def test(bench: Stage) -> None:
        await bench.hold()
        await bench.hold(ETH)
        del bench.prices[ETH], bench.trading.driver.prices[ETH]  # as after a restart, while no trade of it comes
        await bench.give_up()
        await bench.clock.sleep(60)
        assert len(bench.stops()) == 1

    stage(tmp_path, test)


# A Flatten that does not end, or does not say why


@pytest.mark.parametrize("price", ["95", "94"])
def test_rest_that_the_fallen_price_has_made_too_small_does_not_hold_up_the_stop(tmp_path: Path, price: str) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.rig.account.takes = D("0.148")
        scene.latch(StopAction.FLATTEN)
        await scene.tick(0.5)
        scene.rig.account.takes, scene.rig.price = D(0), D(price)
        await scene.tick(GIVES_UP_SECONDS)
        lowest = scene.rig.price * (1 - D("0.02"))
        assert 0 < scene.rig.held() * lowest < 5
        assert (scene.told.state, bool(scene.told.dust or scene.told.given_up)) == (LatchState.STOPPED, True)

    play(tmp_path, test)


def test_rest_that_the_fallen_price_has_made_too_small_does_not_hold_up_a_deletion(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        rig = scene.rig
        await scene.hold()
        drain = Drain(rig.desk, rig.venue_clock, require_reconciliation=lambda why: None, books_agree=lambda: True)  # noqa: ARG005
        drain.consider(DELETED)
        rig.account.takes = D("0.148")
        for tick in range(round(GIVES_UP_SECONDS / TICK_SECONDS)):
            drain.advance(rig.instruments)
            await rig.clock.sleep(TICK_SECONDS)
            if tick == 10:
                rig.account.takes, rig.price = D(0), D(95)
        assert drain.report is not None
        assert drain.report.done

    play(tmp_path, test)


def test_flatten_whose_orders_the_venue_refuses_says_so(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.rig.account.always("place", POOR)
        scene.latch(StopAction.FLATTEN)
        await scene.tick(5)
        assert "insufficient balance" in scene.told.message
        await scene.tick(GIVES_UP_SECONDS)
        assert scene.rig.account.count("place") == 1 + MOST_UNSOLD
        assert scene.told.state is LatchState.STOPPED
        assert "insufficient balance" in scene.told.given_up[0].reason

    play(tmp_path, test)


def test_flatten_that_waits_for_an_order_whose_fate_is_not_known_says_so(tmp_path: Path) -> None:
    """docs/how-to/stop-a-bot.md names this very case."""

    async def test(scene: Scene) -> None:
        await scene.hold()
        scene.rig.account.will("place", LOST)
        scene.latch(StopAction.FLATTEN)
        await scene.tick(10)
        assert scene.told.state is LatchState.STOPPING
        assert scene.told.message

    play(tmp_path, test)


# Sources


def test_file_that_asks_for_more_than_before_is_obeyed_without_an_api_server(tmp_path: Path) -> None:
    """A shell makes the file empty before it writes the word into it: an early look makes the mild stop of it."""

    async def test(bench: Stage) -> None:
        bench.contact_seconds = 20.0
        bench.glass.write_text("")
        await bench.until("the latch", lambda: bench.is_latched)
        bench.glass.write_text("Flatten")
        await bench.clock.sleep(10)
        assert bench.latch.action is StopAction.FLATTEN

    stage(tmp_path, test)


def test_stop_that_comes_after_the_rearm_is_not_released_by_it(tmp_path: Path) -> None:
    """A re-arm waits for the account; meanwhile somebody halts everything, and later ends that halt: "its end releases
    no bot" (docs/reference/plugin.md)."""

    async def test(bench: Stage) -> None:
        bench.ask(engaged=True)
        await bench.until("the end", lambda: bench.latch.state is LatchState.STOPPED)
        bench.wire.holds_before.add("query")
        bench.ask(engaged=False, rearm=bench.latch.id)
        bench.kube.halt("incident", {"reason": "exchange incident"})
        bench.look()
        bench.wire.let_go()
        await bench.clock.sleep(10)
        assert bench.is_latched
        bench.kube.halt("incident", None)
        bench.look()
        await bench.clock.sleep(10)
        assert bench.is_latched

    stage(tmp_path, test)


def test_what_a_release_has_ended_sells_nothing_more(tmp_path: Path) -> None:
    async def test(bench: Stage) -> None:
        await bench.hold()
        bench.wire.holds_before = {"cancel"}
        bench.ask(engaged=True, action="Flatten")
        await bench.clock.sleep(1)
        bench.ask(engaged=False, rearm=bench.latch.id)
        await bench.until("the release", lambda: not bench.is_latched, seconds=8)
        bench.wire.let_go()
        await bench.clock.sleep(5)
        assert bench.sells() == []

    stage(tmp_path, test)


def test_status_that_remembers_a_stricter_stop_than_what_asks_now_is_taken_at_its_word() -> None:
    """The store is lost in the middle of a Flatten, GitOps has taken the switch back, a milder halt is on."""
    halt = StopRequest("TradingHalt/night", StopAction.CANCEL_ORDERS, "")
    reported = ReportedLatch("id-9", StopAction.FLATTEN, "fire", "KillSwitch")
    decision = decide(None, [halt], rearm="", reported=reported, released_ids=())
    assert isinstance(decision, Engage)
    assert decision.action is StopAction.FLATTEN


def test_more_sources_than_a_status_names_are_no_news_at_each_look(tmp_path: Path) -> None:
    """Each report comes back as an event, and would be answered by another report."""

    async def test(bench: Stage) -> None:
        for number in range(21):
            bench.kube.halt(f"halt-{number}", {"reason": "incident"})
        bench.look()
        await bench.until("the end", lambda: bench.latch.state is LatchState.STOPPED)
        assert bench.kube.bot is not None
        assert not bench.trading.stop.consider(bench.kube.bot, list(bench.kube.halts.values()))

    stage(tmp_path, test)


def test_loss_that_stays_at_its_limit_is_not_written_at_each_tick(tmp_path: Path) -> None:
    async def test(bench: Stage) -> None:
        assert bench.enter() is not None
        await bench.until("a position", lambda: bench.trading.desk.is_tradable(BTC))
        bench.prices[BTC] = "90"
        await bench.until("both", lambda: bench.is_latched and len(bench.latch.sources) == 2)
        await bench.clock.sleep(10)
        written: list[str] = []
        bench.store._connection.set_trace_callback(written.append)
        await bench.clock.sleep(10)
        bench.store._connection.set_trace_callback(None)
        assert sum(text.startswith("INSERT INTO latches") for text in written) <= 10

    limits = {"stopLossPercent": "50", "maxDailyLossPercent": "1", "maxDrawdownPercent": "1"}
    stage(tmp_path, test, **limits)


def test_signal_before_the_first_configuration_does_what_the_spec_says(tmp_path: Path) -> None:
    async def story() -> None:
        trader = Trader(tmp_path, build_spec(killSwitch={"action": "Flatten"}))
        async with trader.running() as session:
            session.stop_by_signal()
            await trader.until("the latch", lambda: trader.kube.trader.get("latch", {}).get("id"))
            await trader.clock.sleep(60)
            assert trader.kube.trader["latch"]["action"] == "Flatten"

    run(story())


# What is told


def test_source_that_asks_for_more_is_told_with_what_it_asks_for_now(tmp_path: Path) -> None:
    async def test(bench: Stage) -> None:
        bench.ask(engaged=True, action="CancelOrders")
        bench.ask(action="Flatten")
        assert (bench.latch.source, bench.latch.action) == ("KillSwitch", StopAction.FLATTEN)
        assert [each.action for each in bench.latch.sources] == [StopAction.FLATTEN]

    stage(tmp_path, test)


def test_reason_is_of_the_source_that_is_named(tmp_path: Path) -> None:
    async def test(bench: Stage) -> None:
        bench.kube.halt("night", {"reason": "nobody on duty"})
        bench.look()
        bench.ask(engaged=True, action="Flatten", reason="keys are stolen")
        assert (bench.latch.source, bench.latch.reason) == ("KillSwitch", "keys are stolen")

    stage(tmp_path, test)


def test_new_stop_does_not_begin_with_what_was_said_of_an_old_release(tmp_path: Path) -> None:
    async def test(bench: Stage) -> None:
        bench.ask(engaged=True)
        bench.ask(engaged=False, rearm=bench.latch.id)
        await bench.until("the release", lambda: not bench.is_latched)
        bench.trading.stop_by_signal()
        await bench.clock.sleep(1)
        assert bench.latch.message == ""

    stage(tmp_path, test)


def test_order_that_remains_is_told_before_fifty_that_were_cancelled(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        rig = scene.rig
        wide = D(100_000)
        rig.limits = dataclasses.replace(rig.limits, granted_quote=wide)
        for _ in range(55):
            rig.enter()
        await rig.settle(60)
        rig.account.will("cancel", None, times=52)
        rig.account.always("cancel", BUSY)
        scene.latch()
        await scene.tick(30)
        assert len(rig.desk.open_orders()) == 3
        assert any(order.result == "Remaining" for order in scene.told.orders)

    play(tmp_path, test, quote="1000000")


def test_file_of_any_size_is_read_as_far_as_it_matters(tmp_path: Path) -> None:
    """It is read twice in each tick: what a person copied there by mistake must not end the trader."""
    with (tmp_path / FILE_NAME).open("wb") as file:
        file.write(b"Flatten ")
        file.truncate(64 * 1024 * 1024)
    tracemalloc.start()
    try:
        text = read_file(tmp_path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text is not None
    assert text.startswith("Flatten")
    assert peak_bytes < 1024 * 1024

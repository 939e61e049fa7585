"""Where a stop comes from besides the API server, what is named, and what a release waits for. In virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from support.stops import StopBench
from support.virtual import run
from tradingbot_api.conditions import LatchState
from tradingbot_api.spec import StopAction
from tradingbot_api.status import Flat
from tradingbot_trader.control.break_glass import FILE_NAME, read_file


class Stage(StopBench):
    @property
    def sources(self) -> dict[str, bool]:
        return {each.source: each.active for each in self.latch.sources}


def play(folder: Path, test: Callable[[Stage], Awaitable[None]], **spec: object) -> None:
    async def story() -> None:
        stage = Stage(folder, **spec)
        async with stage.running():
            await test(stage)

    run(story())


def test_file_in_the_state_folder_stops_and_holds_for_as_long_as_it_is_there(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        assert stage.enter(offset="1") is not None
        await stage.until("a resting entry", stage.venue.account.open_orders)
        stage.glass.write_text("CancelOrders the cluster is gone")
        await stage.until("the end", lambda: stage.is_latched and stage.latch.state is LatchState.STOPPED)
        assert stage.venue.account.open_orders() == []
        assert (stage.latch.source, stage.latch.reason) == ("BreakGlassFile", "the cluster is gone")
        stage.ask(engaged=False, rearm=stage.latch.id)
        await stage.clock.sleep(5)
        assert stage.is_latched
        assert "BreakGlassFile" in stage.latch.message
        stage.glass.unlink()
        await stage.until("the release", lambda: not stage.is_latched)

    play(tmp_path, test)


def test_file_that_cannot_be_read_stops_as_an_empty_one(tmp_path: Path) -> None:
    assert read_file(tmp_path) is None
    (tmp_path / FILE_NAME).mkdir()
    assert read_file(tmp_path) == ""


def test_signal_latches_once_and_is_named_as_one_that_asked(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.trading.stop_by_signal()
        assert stage.latch.acknowledged_at is not None
        assert (stage.latch.source, stage.latch.action) == ("Signal", StopAction.REDUCE_ONLY)
        latch_id = stage.latch.id
        stage.trading.stop_by_signal()
        assert stage.latch.id == latch_id
        assert stage.sources == {"Signal": False}
        stage.ask(rearm=latch_id)
        await stage.until("the release", lambda: not stage.is_latched)

    play(tmp_path, test, killSwitch={"action": "ReduceOnly"})


def test_each_source_is_named_with_its_time_and_whether_it_still_asks(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.ask(engaged=True, reason="drill")
        first = stage.latch.sources[0].since
        await stage.clock.sleep(1)
        stage.kube.halt("night", {"action": "ReduceOnly"})
        stage.look()
        await stage.clock.sleep(1)
        stage.glass.write_text("")
        await stage.until("the third", lambda: len(stage.latch.sources) == 3)
        assert stage.sources == {"KillSwitch": True, "TradingHalt/night": True, "BreakGlassFile": True}
        assert stage.latch.sources[0].since == first
        assert [each.since for each in stage.latch.sources] == sorted(each.since for each in stage.latch.sources)
        stage.ask(engaged=False)
        assert stage.sources == {"KillSwitch": False, "TradingHalt/night": True, "BreakGlassFile": True}

    play(tmp_path, test)


def test_wrong_or_old_id_releases_nothing_and_says_so(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.ask(engaged=True)
        old = stage.latch.id
        stage.ask(engaged=False, rearm="nonsense")
        assert "nonsense" in stage.latch.message
        assert old in stage.latch.message
        stage.ask(rearm=old)
        await stage.until("the release", lambda: not stage.is_latched)
        stage.ask(engaged=True)
        stage.ask(engaged=False)
        await stage.clock.sleep(2)
        assert stage.is_latched, "the id of an earlier latch is no word about this one"
        assert old in stage.latch.message

    play(tmp_path, test)


def test_release_waits_for_a_comparison_that_began_after_it_was_asked_for(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.ask(engaged=True)
        await stage.until("the end", lambda: stage.latch.state is LatchState.STOPPED)
        stage.wire.holds_before.add("query")
        stage.ask(engaged=False, rearm=stage.latch.id)
        await stage.clock.sleep(20)
        assert stage.is_latched
        assert "account" in stage.latch.message
        assert stage.latch.flat is Flat.UNKNOWN
        stage.wire.let_go()
        await stage.until("the release", lambda: not stage.is_latched)

    play(tmp_path, test)


def test_file_works_with_no_api_server_at_all(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        stage.kube.down = True
        await stage.clock.sleep(60)
        assert not stage.is_latched, "lost contact never latches"
        stage.glass.write_text("")
        await stage.until("the latch", lambda: stage.is_latched)

    play(tmp_path, test)

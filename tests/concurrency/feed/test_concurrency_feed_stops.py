"""The feed when somebody stops it, its sink fails, or its symbols change, in any turn of a loop that is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import permutations

import pytest

from support.tape import BTC, ETH, Sink, Stage, Tape
from support.virtual import VirtualClock, run
from tradingbot_trader.market.events import FeedState, Trade
from tradingbot_trader.market.feed import Feed, StreamLost, Tap
from tradingbot_trader.venues.turns import PER_TURN

CONNECTED, LOST = FeedState.CONNECTED, FeedState.LOST


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("dial_seconds", [0.0, 0.5])
def test_stop_in_any_turn_of_a_dial_leaves_no_line_and_says_lost_once(turns: int, dial_seconds: float) -> None:
    async def story() -> None:
        stage = Stage()
        stage.tape.dial_seconds = dial_seconds
        before = asyncio.all_tasks()
        task = asyncio.create_task(stage.feed.run((BTC, ETH), stage.sink))
        await stage.turns(turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before
        assert not any(line.is_up for line in stage.tape.lines)
        if turns:
            assert (stage.sink.changes(BTC), stage.sink.changes(ETH)) == ([LOST], [LOST])
        for line in stage.tape.lines:
            line.turns.put(stage.tape.print(is_heard=False)[0])
        assert stage.sink.ids() == []

    run(story())


@pytest.mark.parametrize("failing", [1, 57, PER_TURN, PER_TURN + 1, 250])
def test_sink_that_fails_while_frames_wait_gets_none_of_them(failing: int) -> None:
    async def story() -> None:
        stage = Stage()

        def fail(trade: Trade) -> None:
            if trade.trade_id == str(failing):
                raise OSError("disk full")

        stage.sink.on_each = fail
        async with stage.running() as task:
            stage.tape.print(count=400)
            with pytest.raises(OSError, match="disk full"):
                await task
        assert stage.sink.ids() == list(range(1, failing))
        counters = stage.feed.counters
        assert (counters.delivered, counters.dropped, counters.received) == (failing - 1, 1, failing)
        assert stage.sink.changes() == [CONNECTED, LOST]

    run(story())


async def fail_and_lose(*, is_sink_first: bool) -> tuple[float, int]:
    """The sink fails in the turn in which the line dies. After how many seconds the error came, and how many dials."""
    stage = Stage()

    def fail(trade: Trade) -> None:
        if trade.trade_id == "2":
            raise OSError("disk full")

    stage.sink.on_each = fail
    async with stage.running() as task:
        stage.tape.print()
        line, began_ns = stage.tape.lines[0], stage.clock.monotonic_ns()
        last = stage.tape.print(is_heard=False)[0]
        if is_sink_first:
            line.tap.trade(last)
            line.lose()
        else:
            line.lose()
            await asyncio.sleep(0)  # its task ends in the turn in which the feed would hear of it
            line.tap.trade(last)
        with pytest.raises(OSError, match="disk full"):
            await task
    assert stage.sink.ids() == [1]
    return (stage.clock.monotonic_ns() - began_ns) / 1e9, stage.tape.dials


@pytest.mark.parametrize("is_sink_first", [True, False])
def test_failing_sink_is_not_hidden_by_a_line_that_dies_in_the_same_turn(*, is_sink_first: bool) -> None:
    after_seconds, dials = run(fail_and_lose(is_sink_first=is_sink_first))
    assert after_seconds <= 0.5
    assert dials <= 2


def test_failing_sink_ends_the_feed_before_another_dial_whatever_else_ended() -> None:
    told, kept = [], []
    for number in range(60):
        kept.append([object() for _ in range(number % 7)])  # other addresses
        told.append(run(fail_and_lose(is_sink_first=False)))
    assert set(told) == {(0.0, 1)}


@pytest.mark.parametrize("who", ["a task", "the sink"])
@pytest.mark.parametrize("at", [1, PER_TURN - 1, PER_TURN, 1_234])
def test_stop_in_the_middle_of_a_burst_ends_it_within_a_turn(who: str, at: int) -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running() as task:

            def watch(trade: Trade) -> None:
                if who == "the sink" and trade.trade_id == str(at):
                    task.cancel()

            stage.sink.on_each = watch
            stage.tape.print(count=20_000)
            while who == "a task" and len(stage.sink.ids()) < at:
                await stage.turns(1)
            if who == "a task":
                task.cancel()
            stopped_at = len(stage.sink.ids())
            with pytest.raises(asyncio.CancelledError):
                await task
            most = max(stopped_at, at) + 4 * PER_TURN
            assert at <= len(stage.sink.ids()) <= most
            ended = len(stage.sink.ids())
            await stage.turns(300)
            assert len(stage.sink.ids()) == ended
            assert stage.sink.changes() == [CONNECTED, LOST]
            assert stage.feed.counters.received == stage.feed.counters.delivered == ended

    run(story())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("turns_between", range(4))
def test_two_feeds_that_are_stopped_together_end_each_its_own_line(order: tuple[int, int], turns_between: int) -> None:
    async def story() -> None:
        clock = VirtualClock()
        tape = Tape(clock)
        sinks = [Sink(), Sink()]
        feeds = [Feed(tape.connect, clock=clock, random=lambda: 1.0) for _ in sinks]
        tasks = [asyncio.create_task(f.run((BTC, ETH), s)) for f, s in zip(feeds, sinks, strict=True)]
        await clock.sleep(0.1)
        tape.print(BTC, count=500)
        tape.print(ETH, count=500)
        for number in order:
            tasks[number].cancel()
            for _ in range(turns_between):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        for feed, sink in zip(feeds, sinks, strict=True):
            ended = len(sink.seen)
            tape.print(BTC, count=10)
            await clock.sleep(60)
            assert len(sink.seen) == ended
            for symbol in (BTC, ETH):
                assert sink.changes(symbol) in ([CONNECTED, LOST], [LOST])
            assert feed.counters.received == feed.counters.delivered
            assert sink.ids(BTC) == list(range(1, len(sink.ids(BTC)) + 1))
        assert tape.dials == 2

    run(story())


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("count", [5, 1_000])
def test_symbols_that_are_changed_while_messages_flow_lose_none_undeclared(turns: int, count: int) -> None:
    """As the intake does it: cancel, wait, run again with others."""

    async def story() -> None:
        stage = Stage()
        async with stage.running((BTC,)) as task:
            stage.tape.print(count=count)
            await stage.turns(turns)
            task.cancel()
            stage.tape.print(count=count)
            await asyncio.wait({task})
            stage.tape.print(count=count)
        async with stage.running((BTC, ETH)):
            await stage.until_up(2)
            stage.tape.print(count=count)
            stage.tape.print(ETH, count=3)
            await stage.turns(40)
            assert stage.sink.ids(ETH) == [1, 2, 3]
            ids = stage.sink.ids(BTC)
            assert ids == sorted(set(ids))
            assert ids[-count:] == list(range(3 * count + 1, 4 * count + 1))
            assert sorted(ids + stage.sink.declared(BTC)) == list(range(1, 4 * count + 1))
            assert len(stage.sink.gaps) == 1
            assert stage.sink.changes(BTC) == [CONNECTED, LOST, CONNECTED]

    run(story())


@pytest.mark.parametrize("order", list(permutations(("up", "lost", "cancel"))))
def test_connection_that_ends_in_the_turn_of_the_stop_is_not_dialled_again(order: tuple[str, ...]) -> None:
    async def story() -> None:
        stage = Stage()
        started = asyncio.Event()
        dials = 0

        async def connect(_symbols: Sequence[str], tap: Tap) -> None:
            nonlocal dials
            dials += 1
            taps.append(tap)
            started.set()
            await ends

        taps: list[Tap] = []
        ends: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        feed = Feed(connect, clock=stage.clock, random=lambda: 1.0)
        task = asyncio.create_task(feed.run((BTC,), stage.sink))
        await started.wait()
        for step in order:
            if step == "up":
                taps[0].trade(stage.tape.print(is_heard=False)[0])
            elif step == "lost":
                ends.set_exception(StreamLost("reset"))
            else:
                task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stage.clock.sleep(60)
        assert dials == 1
        assert stage.sink.changes() == [CONNECTED, LOST]

    run(story())

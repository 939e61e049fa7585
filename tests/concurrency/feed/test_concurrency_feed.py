"""The feed while lines die, messages flow and somebody stops it, in orders that the test enumerates. Virtual time."""

from __future__ import annotations

import asyncio
import random
from itertools import combinations, permutations

import pytest

from support.tape import BTC, ETH, Stage
from support.virtual import run
from tradingbot_trader.market.events import FeedState
from tradingbot_trader.venues.turns import PER_TURN

CONNECTED, LOST = FeedState.CONNECTED, FeedState.LOST


def test_burst_of_twenty_thousand_is_delivered_while_the_loop_turns_between_every_two_hundred() -> None:
    async def story() -> None:
        stage = Stage()
        between: list[int] = []
        async with stage.running():
            stage.tape.print(count=20_000)
            before = 0
            while len(stage.sink.ids()) < 20_000:
                await asyncio.sleep(0)  # what a stop, or an answer, would have to wait for
                between.append(stage.feed.counters.delivered - before)
                before = stage.feed.counters.delivered
            assert (stage.feed.counters.received, stage.feed.counters.dropped) == (20_000, 0)
            stage.check()
        assert max(between) <= 2 * PER_TURN
        assert len(between) >= 20_000 / (2 * PER_TURN)

    run(story())


@pytest.mark.parametrize("max_waiting", [0, 1, 50, 700])
def test_overflow_is_counted_to_the_frame_declared_once_and_the_stream_goes_on(max_waiting: int) -> None:
    async def story() -> None:
        stage = Stage(max_waiting=max_waiting)
        async with stage.running():
            for burst in (1, 1_000, 20, 2_000, 1):
                stage.tape.print(count=burst)
                await stage.turns(burst // PER_TURN + 3)
            counters = stage.feed.counters
            assert counters.received == 3_022
            assert counters.dropped == (1_000 - PER_TURN - max_waiting) + (2_000 - PER_TURN - max_waiting)
            stage.check()
            assert counters.missing == counters.dropped
            assert (stage.feed.counters.connections, stage.sink.changes()) == (1, [CONNECTED])

    run(story())


@pytest.mark.parametrize("late", list(combinations(range(8), 3)))
def test_frames_of_a_line_that_was_given_up_never_reach_the_sink_wherever_they_arrive(late: tuple[int, ...]) -> None:
    """Three late frames of the old line among five of the new one, in each of the 56 orders."""

    async def story() -> None:
        stage = Stage()
        async with stage.running():
            stage.tape.print(count=2)
            await stage.turns()
            old = stage.tape.lines[0]
            stale = stage.tape.print(count=3, is_heard=False)
            old.lose()
            await stage.until_up(2)
            for place in range(8):
                if place in late:
                    old.tap.trade(stale[late.index(place)])
                else:
                    stage.tape.print()
                await stage.turns(1)
            assert stage.sink.ids() == [1, 2, 6, 7, 8, 9, 10]
            assert stage.sink.declared() == [3, 4, 5]
            assert len(stage.sink.gaps) == 1
            assert stage.sink.changes() == [CONNECTED, LOST, CONNECTED]
            stage.check()

    run(story())


@pytest.mark.parametrize("waiting", [1, PER_TURN, 5 * PER_TURN])
@pytest.mark.parametrize("turns", range(4))
def test_line_lost_while_its_frames_wait_loses_none_uncounted(waiting: int, turns: int) -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running():
            stage.tape.print()
            stage.tape.print(count=waiting)
            await stage.turns(turns)
            stage.tape.lines[0].lose()
            await stage.until_up(2)
            stage.tape.print(count=3)
            await stage.turns()
            stage.check()
            assert stage.sink.ids()[-3:] == [waiting + 2, waiting + 3, waiting + 4]

    run(story())


@pytest.mark.parametrize("order", list(permutations(("empty", "late frame", "short", "trade"))))
def test_gap_over_several_lines_is_declared_once_and_whole(order: tuple[str, ...]) -> None:
    """Lines that come up and say nothing, say one trade, or whose predecessor still talks."""

    async def story() -> None:
        stage = Stage()
        async with stage.running():
            stage.tape.print()
            await stage.turns()
            for step in order:
                stage.tape.print(count=2, is_heard=False)
                if step == "late frame":
                    stage.tape.lines[0].tap.trade(stage.tape.trades[BTC][-1])
                elif step == "trade":
                    stage.tape.print()
                else:
                    lines = len(stage.tape.lines)
                    stage.tape.lines[-1].lose()
                    await stage.until_up(lines + 1)
                    if step == "short":
                        stage.tape.print()
                await stage.turns()
            stage.tape.print()
            await stage.turns()
            stage.check()
            is_first_line = order.index("late frame") < min(order.index("empty"), order.index("short"))
            assert len(stage.sink.declared()) == (7 if is_first_line else 8), "the line that stands is no late one"

    run(story())


@pytest.mark.parametrize("lead_ns", [-1_000_000, 0, 1_000_000])
@pytest.mark.parametrize("asks_first", [True, False])
def test_message_in_the_moment_of_the_silence_check_keeps_the_line_or_is_declared(
    lead_ns: int, *, asks_first: bool
) -> None:
    """One symbol talks all the time, the other one speaks up when the watchdog looks, 37.5 s after the line began."""

    async def story() -> None:
        stage = Stage()
        speaking = asyncio.create_task(speak(stage)) if asks_first else None
        async with stage.running((BTC, ETH)):
            stage.tape.print(ETH)
            talking = asyncio.create_task(stage.tape.trade_on(BTC, seconds=0.5))
            await (speaking or speak(stage))
            await stage.clock.sleep(15)
            stage.tape.print(ETH)
            await stage.clock.sleep(5)
            talking.cancel()
            lost = stage.sink.changes(ETH).count(LOST)
            assert lost in {-1: (0,), 0: (0, 1), 1: (1,)}[(lead_ns > 0) - (lead_ns < 0)]
            assert stage.sink.changes(BTC).count(LOST) == lost, "one line carries both"
            for symbol in (BTC, ETH):
                delivered, missing = stage.sink.ids(symbol), stage.sink.declared(symbol)
                assert sorted(delivered + missing) == list(range(1, delivered[-1] + 1))
            assert stage.sink.ids(ETH)[-1] == 3

    async def speak(stage: Stage) -> None:
        await stage.clock.sleep((37_500_000_000 + lead_ns - stage.clock.monotonic_ns()) / 1e9)
        stage.tape.print(ETH)

    run(story())


def test_silence_of_one_symbol_is_found_while_another_pours() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running((BTC, ETH)):
            stage.tape.print(ETH)
            began = stage.clock.monotonic_ns()
            while LOST not in stage.sink.changes(ETH):
                stage.tape.print(BTC, count=300)
                await stage.clock.sleep(0.1)
                assert stage.clock.monotonic_ns() - began < 40e9
            assert stage.clock.monotonic_ns() - began >= 30e9
            assert stage.sink.changes(BTC).count(LOST) == 1

    run(story())


@pytest.mark.parametrize("seed", range(25))
def test_any_story_of_bursts_losses_and_late_frames_is_delivered_or_declared(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311  a test

    async def story() -> None:
        stage = Stage(max_waiting=draw.choice((0, 40, 100_000)))
        async with stage.running():
            stage.tape.print()
            for _ in range(60):
                match draw.randrange(6):
                    case 0:
                        stage.tape.lines[-1].lose()
                    case 1:
                        draw.choice(stage.tape.lines).turns.put(stage.tape.print(is_heard=False)[0])
                    case 2:
                        await stage.clock.sleep(draw.choice((0.3, 2.0)))
                    case 3:
                        await stage.turns(draw.randrange(4))
                    case _:
                        stage.tape.print(count=draw.choice((1, 20, 350)), is_heard=draw.random() < 0.8)
            await stage.clock.sleep(40)
            stage.tape.print(count=2)
            await stage.clock.sleep(1)
            stage.check()
            changes = stage.sink.changes()
            assert changes == [CONNECTED, LOST] * (len(changes) // 2) + [CONNECTED] * (len(changes) % 2)

    run(story())

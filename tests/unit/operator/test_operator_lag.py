from __future__ import annotations

import asyncio

import pytest

from support.virtual import run
from tradingbot_operator.lag import SAMPLE_SECONDS, Lag, measure


def test_loop_that_was_slow_for_long_without_a_break_is_dead() -> None:
    lag = Lag(limit_seconds=1.0, bound_seconds=30.0)
    for second in range(0, 30, 2):
        lag.saw(1.5, 100.0 + second)
        assert lag.why_dead(100.0 + second) == ""
    assert "more than 1 s for 32 s" in lag.why_dead(130.0)


def test_slowness_counts_from_where_it_began() -> None:
    lag = Lag(limit_seconds=1.0, bound_seconds=30.0)
    lag.saw(40.0, 140.0)
    assert lag.why_dead(140.0) != "", "one sample that came 40 s late"


def test_one_quick_turn_ends_it() -> None:
    lag = Lag(limit_seconds=1.0, bound_seconds=30.0)
    lag.saw(1.5, 100.0)
    lag.saw(1.0, 102.0)
    lag.saw(1.5, 104.0)
    assert lag.why_dead(132.0) == ""
    assert lag.why_dead(133.0) != ""


def test_how_late_the_loop_wakes_us_is_measured() -> None:
    lag, seen = Lag(1.0, 30.0), list[float]()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(measure(lag, seen.append, clock=loop.time))
        await asyncio.sleep(SAMPLE_SECONDS * 2.5)
        loop.call_at(loop.time() + SAMPLE_SECONDS / 4, loop.jump, 3.0)  # type: ignore[attr-defined]  # a callback that takes 3 s
        await asyncio.sleep(SAMPLE_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())
    assert seen[:2] == pytest.approx([0.0, 0.0])
    assert max(seen) == pytest.approx(3.0, abs=SAMPLE_SECONDS)

"""How late the event loop is for anything else while 20,000 trades arrive at once. SHELL.

Feed, books, candles, driver and desk of a trader in this process, the simulator in another. A task asks to be woken
each millisecond; a stop of the control plane would wait as long as it does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.composed import SYMBOL, Composed, trading
from bench.figure import Figure, delays_ms, percentile
from bench.setting import Setting
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader import process
from tradingbot_trader.orders.order import BookName

BURSTS = 5
TRADES = 20_000
EVERY_NS = 1_000_000
GOAL_MS = 10.0
DEADLINE_SECONDS = 60.0
BEGUN_TRADES = 50
"""More than the market brings by itself while the burst is asked for."""
NS = 1_000_000_000


@dataclass(slots=True)
class Wakes:
    """When the task was woken, by two clocks: the wall's, and the CPU time that this thread has used."""

    wall_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)

    async def next(self) -> None:
        await asyncio.sleep(EVERY_NS / 1e9)
        self.wall_ns.append(time.monotonic_ns())
        self.cpu_ns.append(time.thread_time_ns())


async def measure(setting: Setting) -> list[Figure]:
    bursts: list[Wakes] = []
    idle: list[Wakes] = []
    with running_venue("binance") as venue:
        async with trading(venue, setting.folder, book=BookName.PAPER) as composed:
            process.settle()  # as __main__ does, when everything is loaded
            before = composed.port.counters
            for _ in range(BURSTS):
                idle.append(await _idle())
                bursts.append(await _burst(composed, venue))
            after = composed.port.counters
    missing, lost = after.missing, BURSTS * TRADES - (after.delivered - before.delivered)
    wall = [each for burst in bursts for each in delays_ms(burst.wall_ns, every_ns=EVERY_NS)]
    cpu = [each for burst in bursts for each in delays_ms(burst.cpu_ns, every_ns=EVERY_NS)]
    quiet = [each for burst in idle for each in delays_ms(burst.wall_ns, every_ns=EVERY_NS)]
    took_s = [(burst.wall_ns[-1] - burst.wall_ns[0]) / 1e9 for burst in bursts]
    detail = {
        "max_ms": round(max(wall), 2),
        "idle_p50_ms": round(percentile(quiet, 50), 2),
        "idle_p99_ms": round(percentile(quiet, 99), 2),
        "burst_p50_s": round(percentile(took_s, 50), 3),
    }
    text = f"p99 of the event loop's delay while {TRADES:,} trades arrive, {BURSTS} times"
    return [
        _delay("burst-delay", f"{text}; waits for a busy machine included", wall, detail),
        _delay("burst-delay-own", f"{text}, in CPU time: on a core of its own", cpu, {"max_ms": round(max(cpu), 2)}),
        Figure(
            name="burst-dropped",
            what=f"trades of these bursts that did not come through; {missing} were missing in the sequence",
            value=max(lost, after.dropped),
            unit="trades",
            goal=0,
            samples=BURSTS * TRADES,
        ),
    ]


def _delay(name: str, what: str, delays: list[float], detail: Mapping[str, object]) -> Figure:
    return Figure(
        name=name,
        what=what,
        value=percentile(delays, 99),
        unit="ms",
        goal=GOAL_MS,
        samples=len(delays),
        p50=percentile(delays, 50),
        p99=percentile(delays, 99),
        detail=detail,
    )


async def _burst(composed: Composed, venue: VenueProcess) -> Wakes:
    """From the first trades of a burst to its last."""
    begin = composed.port.counters.delivered
    asking = asyncio.create_task(asyncio.to_thread(venue.burst, trades=TRADES, symbol=SYMBOL.replace("/", "")))
    wakes = Wakes()
    deadline_ns = time.monotonic_ns() + int(DEADLINE_SECONDS * 1e9)
    while (delivered := composed.port.counters.delivered) < begin + TRADES:
        await wakes.next()
        if delivered < begin + BEGUN_TRADES:
            wakes = Wakes(wakes.wall_ns[-1:], wakes.cpu_ns[-1:])  # before the burst: not what is asked for
        if wakes.wall_ns[-1] > deadline_ns:
            raise TimeoutError(f"{begin + TRADES - delivered} trades of a burst did not come")
    await asking
    return wakes


async def _idle() -> Wakes:
    wakes = Wakes()
    while not wakes.wall_ns or wakes.wall_ns[-1] - wakes.wall_ns[0] < NS:
        await wakes.next()
    return wakes

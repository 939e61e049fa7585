"""How late the event loop is for anything else while 20,000 trades arrive at once. SHELL.

Feed, books, candles, driver and desk of a trader in this process, the simulator in another. A task asks to be woken
each millisecond; a stop of the control plane would wait as long as it does.
"""

from __future__ import annotations

import asyncio
import time

from bench.composed import SYMBOL, Composed, trading, until
from bench.figure import Figure, delays_ms, percentile
from bench.setting import Setting
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.orders.order import BookName

BURSTS = 5
TRADES = 20_000
EVERY_NS = 1_000_000
GOAL_MS = 10.0
DEADLINE_SECONDS = 60.0


async def measure(setting: Setting) -> list[Figure]:
    busy: list[float] = []
    idle: list[float] = []
    took: list[float] = []
    with running_venue("binance") as venue:
        async with trading(venue, setting.folder, book=BookName.PAPER) as composed:
            before = composed.port.counters
            for _ in range(BURSTS):
                idle += delays_ms(await _woken_ns(1.0), every_ns=EVERY_NS)
                woken_ns = await _burst(composed, venue)
                took.append((woken_ns[-1] - woken_ns[0]) / 1e9)
                busy += delays_ms(woken_ns, every_ns=EVERY_NS)
            after = composed.port.counters
    lost = BURSTS * TRADES - (after.delivered - before.delivered)
    return [
        Figure(
            name="burst-delay",
            what=f"p99 of how late the event loop is while {TRADES:,} trades arrive, {BURSTS} times",
            value=percentile(busy, 99),
            unit="ms",
            goal=GOAL_MS,
            samples=len(busy),
            p50=percentile(busy, 50),
            p99=percentile(busy, 99),
            detail={
                "max_ms": round(max(busy), 2),
                "idle_p50_ms": round(percentile(idle, 50), 2),
                "idle_p99_ms": round(percentile(idle, 99), 2),
                "burst_p50_s": round(percentile(took, 50), 3),
            },
        ),
        Figure(
            name="burst-dropped",
            what=f"trades of these bursts that did not reach the desk; {after.missing} were missing in the sequence",
            value=max(lost, after.dropped),
            unit="trades",
            goal=0,
            samples=BURSTS * TRADES,
        ),
    ]


async def _burst(composed: Composed, venue: VenueProcess) -> list[int]:
    """When the task was woken, from the first trade of a burst to its last."""
    begin = composed.port.counters.delivered
    asking = asyncio.create_task(asyncio.to_thread(venue.burst, trades=TRADES, symbol=SYMBOL.replace("/", "")))
    await until("the burst", lambda: composed.port.counters.delivered > begin + 100)
    woken_ns: list[int] = []
    deadline_ns = time.monotonic_ns() + int(DEADLINE_SECONDS * 1e9)
    while composed.port.counters.delivered < begin + TRADES:
        await asyncio.sleep(EVERY_NS / 1e9)
        woken_ns.append(time.monotonic_ns())
        if woken_ns[-1] > deadline_ns:
            raise TimeoutError(f"{begin + TRADES - composed.port.counters.delivered} trades of a burst did not come")
    await asking
    return woken_ns


async def _woken_ns(seconds: float) -> list[int]:
    woken_ns: list[int] = []
    until_ns = time.monotonic_ns() + int(seconds * 1e9)
    while time.monotonic_ns() < until_ns:
        await asyncio.sleep(EVERY_NS / 1e9)
        woken_ns.append(time.monotonic_ns())
    return woken_ns

"""What a trader with one symbol keeps resident, against a bare `import ccxt.pro`. SHELL."""

from __future__ import annotations

import asyncio

from bench.figure import Figure, percentile, ratios
from bench.process import bare_import, running_trader
from bench.setting import Setting
from tradingbot_sandbox.venues.process import running_venue
from tradingbot_trader.orders.order import BookName

SAMPLES = 3
"""Memory hardly varies between runs; what does is the time of a start."""
GOAL = 1.0
LIVED_SECONDS = 5.0
"""After it is Active: candles, ticks, reports and the book of one symbol have all been through once."""


async def measure(setting: Setting) -> list[Figure]:
    with running_venue("binance") as venue:
        figures = []
        for book in BookName:
            ours: list[float] = []
            bare: list[float] = []
            for number in range(SAMPLES):
                async with bare_import() as started:
                    bare.append(started.resident_mb)
                async with running_trader(venue, setting.folder / f"{book}{number}", book=book) as trader:
                    await trader.until_active()
                    await asyncio.sleep(LIVED_SECONDS)
                    ours.append(trader.resident_mb)
            figures.append(_figure(book, ours, bare))
        return figures


def _figure(book: BookName, ours: list[float], bare: list[float]) -> Figure:
    pairs = ratios(ours, bare)
    return Figure(
        name=f"memory-{book}",
        what=f"VmRSS of `tradingbot-trader run --book {book}`, Active, one symbol",
        value=percentile(pairs, 50),
        unit="x",
        relative_to="a bare `import ccxt.pro`",
        goal=GOAL,
        samples=len(pairs),
        p50=percentile(pairs, 50),
        p99=percentile(pairs, 99),
        detail={"ours_mb": round(percentile(ours, 50), 1), "bare_mb": round(percentile(bare, 50), 1)},
    )

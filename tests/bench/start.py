"""From the spawn of a trader to its first message of the market, against a bare `import ccxt.pro`. SHELL.

In it: interpreter, imports, configuration from the API server, lease, store, the venue's rules, connect, subscribe.
"""

from __future__ import annotations

from bench.figure import Figure, percentile, ratios
from bench.process import bare_import, running_trader
from bench.setting import Setting
from tradingbot_sandbox.venues.process import running_venue
from tradingbot_trader.orders.order import BookName

SAMPLES = 7


async def measure(setting: Setting) -> list[Figure]:
    ours: list[float] = []
    bare: list[float] = []
    with running_venue("binance") as venue:
        for number in range(SAMPLES + 1):
            async with bare_import() as started:
                bare.append(started.seconds)
            async with running_trader(venue, setting.folder / str(number), book=BookName.PAPER) as trader:
                ours.append(trader.seconds)
    ours, bare = ours[1:], bare[1:]  # the first of each fills the caches of the disk
    pairs = ratios(ours, bare)
    return [
        Figure(
            name="start",
            what="spawn of `tradingbot-trader run --book paper` to its first message of the market",
            value=percentile(ours, 50),
            unit="s",
            samples=len(ours),
            p50=percentile(ours, 50),
            p99=percentile(ours, 99),
        ),
        Figure(
            name="start-ratio",
            what="the same, pair by pair",
            value=percentile(pairs, 50),
            unit="x",
            relative_to='`python -c "import ccxt.pro"`',
            samples=len(pairs),
            p50=percentile(pairs, 50),
            p99=percentile(pairs, 99),
            detail={"bare_p50_s": round(percentile(bare, 50), 3)},
        ),
    ]

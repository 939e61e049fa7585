"""The candle intervals that Binance names. PURE."""

from __future__ import annotations

from tradingbot_sandbox.market.intervals import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, WEEK_NS, Interval

INTERVALS: dict[str, Interval] = {
    i.name: i
    for i in (
        Interval("1s", SECOND_NS),
        *(Interval(f"{n}m", n * MINUTE_NS) for n in (1, 3, 5, 15, 30)),
        *(Interval(f"{n}h", n * HOUR_NS) for n in (1, 2, 4, 6, 8, 12)),
        Interval("1d", DAY_NS),
        Interval("3d", 3 * DAY_NS),
        Interval("1w", WEEK_NS),
        Interval("1M", 0),
    )
}

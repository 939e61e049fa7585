"""Binance's count of unfilled orders of an account, in ten seconds and in a day of UTC. PURE.

Its page "Spot Unfilled Order Count Rules": +1 for each order that is accepted, -1 when it is first filled as a taker,
-5 (its example) when it is first filled as a maker, never below zero. Cancels and expiries change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_sandbox.market.events import NS_PER_SECOND
from tradingbot_sandbox.venues.binance import errors
from tradingbot_sandbox.venues.binance.rules import ORDERS_1D, ORDERS_10S

TAKER_CREDIT = 1
MAKER_CREDIT = 5


@dataclass(slots=True)
class _Window:
    length_ns: int
    limit: int
    interval: str
    interval_number: int
    number: int = -1
    used: int = 0

    def turn(self, now_ns: int) -> None:
        if self.number != now_ns // self.length_ns:
            self.number, self.used = now_ns // self.length_ns, 0


class OrderCount:
    """One account's two windows."""

    def __init__(self, *, limit_10s: int = ORDERS_10S, limit_1d: int = ORDERS_1D) -> None:
        self._windows = (
            _Window(10 * NS_PER_SECOND, limit_10s, "SECOND", 10),
            _Window(86_400 * NS_PER_SECOND, limit_1d, "DAY", 1),
        )

    def check(self, now_ns: int) -> None:
        """Raises ApiError -1015 when a window is full."""
        for window in self._windows:
            window.turn(now_ns)
            if window.used >= window.limit:
                left_ns = (window.number + 1) * window.length_ns - now_ns
                per = f"{window.interval_number} {window.interval}"
                raise errors.too_many_orders(window.limit, per, -(-left_ns // NS_PER_SECOND))

    def add(self, now_ns: int) -> None:
        for window in self._windows:
            window.turn(now_ns)
            window.used += 1

    def credit(self, orders: int, now_ns: int) -> None:
        for window in self._windows:
            window.turn(now_ns)
            window.used = max(0, window.used - orders)

    def headers(self, now_ns: int) -> dict[str, str]:
        ten_seconds, day = self._windows
        for window in self._windows:
            window.turn(now_ns)
        return {"x-mbx-order-count-10s": str(ten_seconds.used), "x-mbx-order-count-1d": str(day.used)}

    def rows(self, now_ns: int) -> list[dict[str, object]]:
        """As `GET /api/v3/rateLimit/order` tells them."""
        for window in self._windows:
            window.turn(now_ns)
        return [
            {
                "rateLimitType": "ORDERS",
                "interval": window.interval,
                "intervalNum": window.interval_number,
                "limit": window.limit,
                "count": window.used,
            }
            for window in self._windows
        ]

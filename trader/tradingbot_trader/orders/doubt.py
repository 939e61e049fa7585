"""PURE. When an order whose fate is unknown may be presumed absent. Asked by recovery after each complete scan."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tradingbot_trader.orders.machine import Order

SECOND_NS = 1_000_000_000
LONGEST_WAIT_TO_SEND_NS = 2 * SECOND_NS
"""The gateway lets no order leave later than this after its intent was made (MAX_WAIT_SECONDS there)."""
FRESHNESS_NS = 4 * SECOND_NS
"""A venue takes no request older than its recvWindow (3 s), by a clock that may be 1 s from ours."""
ACCEPTABLE_NS = LONGEST_WAIT_TO_SEND_NS + FRESHNESS_NS
"""After its intent: later the venue cannot accept a request any more, whenever in its life it was sent."""
VISIBILITY_NS = 60 * SECOND_NS
"""Binance answers queries from memory first, then from its database, asynchronously (its API FAQ): "not found" proves
nothing before this has passed on top (DESIGN, "Client order id")."""
SCANS = 3
"""Complete scans without a find: the order by its id, all open orders, all trades since."""
_PACE_SECONDS = (0.0, 1.0, 2.0, 5.0, 5.0)
_SLOWEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """When a look at the venue began."""

    at_ns: int
    """The venue's time, by a clock that somebody may set."""
    doubted_ns: int
    """For how long this process had doubted the order, by a clock that nobody sets."""

    def is_after(self, order: Order, wait_ns: int) -> bool:
        """Whether so much time has passed since its request can have left: by the time of its intent, which an earlier
        process may have made; or since we doubt it, where the clock was wrong when it was made."""
        return self.at_ns >= order.intent.created_ns + wait_ns or self.doubted_ns >= wait_ns


@dataclass(frozen=True, slots=True)
class Doubt:
    """One order, and how often we have looked for it."""

    since_ns: int
    """Monotonic."""
    looks: int = 0
    scans: int = 0
    """Complete ones without a find, begun when the venue could no longer take the request."""
    first_scan: Look | None = None

    def scanned(self, order: Order, look: Look) -> Doubt:
        """After a complete scan that did not find it."""
        if not look.is_after(order, ACCEPTABLE_NS):
            return self
        return replace(self, scans=self.scans + 1, first_scan=self.first_scan or look)

    def looked(self) -> Doubt:
        return replace(self, looks=self.looks + 1)

    def is_absent(self, order: Order, look: Look) -> bool:
        """After that scan. What the venue has shown once is never absent."""
        is_known_there = bool(order.venue_order_ids) or order.filled_base > 0
        is_late_enough = look.is_after(order, ACCEPTABLE_NS + VISIBILITY_NS)
        return not is_known_there and self.scans >= SCANS and is_late_enough

    def is_forgotten(self, order: Order, look: Look) -> bool:
        """An order that the venue has shown, and does not have any more: Binance archives what ended long ago, and its
        testnet forgets everything each month. It can fill no further."""
        is_known_there = bool(order.venue_order_ids) or order.filled_base > 0
        first = self.first_scan
        is_late_enough = first is not None and look.doubted_ns >= first.doubted_ns + VISIBILITY_NS
        return is_known_there and self.scans >= SCANS and is_late_enough

    @property
    def pause_seconds(self) -> float:
        """Until the next look."""
        return _PACE_SECONDS[self.looks] if self.looks < len(_PACE_SECONDS) else _SLOWEST_SECONDS

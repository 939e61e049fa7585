"""PURE. Cumulative P&L over time: its peak and its value at 00:00 UTC. No fill tells them, no restart may forget them.

The daily loss and drawdown limits (risk/trips.py) are judged on it; the store keeps its four numbers as counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.book.ledger import utc_day

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PnlTrack:
    """Starts at nothing; the peak is kept across stages, restarts and days."""

    total_quote: Decimal = ZERO
    """Cumulative P&L, realized and unrealized, when it was last looked at."""
    peak_quote: Decimal = ZERO
    """Its highest value ever, at least 0."""
    day: int | None = None
    """The UTC day that `day_opening_quote` belongs to, in days since 1970."""
    day_opening_quote: Decimal = ZERO

    @property
    def day_quote(self) -> Decimal:
        """P&L since 00:00 UTC."""
        return self.total_quote - self.day_opening_quote

    @property
    def drawdown_quote(self) -> Decimal:
        return self.peak_quote - self.total_quote

    def observe(self, total_quote: Decimal, now_ns: int, *, may_open_day: bool = True) -> PnlTrack:
        """After a new look. A new day opens at what was last seen, so a loss over midnight or over a stop of the trader
        counts for the new day; a clock that goes back, or that is not to be believed, opens nothing."""
        track = self
        today = utc_day(now_ns)
        if may_open_day and (self.day is None or today > self.day):
            track = replace(track, day=today, day_opening_quote=self.total_quote)
        return replace(track, total_quote=total_quote, peak_quote=max(self.peak_quote, total_quote))

    def to_counters(self) -> dict[str, str]:
        """For the store."""
        return {
            "pnl.total_quote": format_decimal(self.total_quote),
            "pnl.peak_quote": format_decimal(self.peak_quote),
            "pnl.day": "" if self.day is None else str(self.day),
            "pnl.day_opening_quote": format_decimal(self.day_opening_quote),
        }

    @classmethod
    def from_counters(cls, counters: Mapping[str, str]) -> Self:
        """What `to_counters` wrote; a new track when nothing was written."""
        if "pnl.peak_quote" not in counters:
            return cls()
        return cls(
            total_quote=Decimal(counters["pnl.total_quote"]),
            peak_quote=Decimal(counters["pnl.peak_quote"]),
            day=int(counters["pnl.day"]) if counters["pnl.day"] else None,
            day_opening_quote=Decimal(counters["pnl.day_opening_quote"]),
        )

"""Candle intervals: where each one starts and ends, in UTC. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tradingbot_sandbox.market.events import NS_PER_SECOND

SECOND_NS = NS_PER_SECOND
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
WEEK_NS = 7 * DAY_NS
_FIRST_MONDAY_NS = 4 * DAY_NS  # 1970-01-05; weeks start on Mondays


@dataclass(frozen=True, slots=True)
class Interval:
    """One candle length. `length_ns` zero: calendar months."""

    name: str
    length_ns: int

    def floor(self, time_ns: int) -> int:
        """The start of the candle that `time_ns` falls into."""
        if self.length_ns == 0:
            when = datetime.fromtimestamp(time_ns // NS_PER_SECOND, UTC)
            return _month_ns(when.year, when.month)
        offset = _FIRST_MONDAY_NS if self.length_ns == WEEK_NS else 0
        return (time_ns - offset) // self.length_ns * self.length_ns + offset

    def next(self, open_ns: int) -> int:
        """The start of the candle after the one that starts at `open_ns`."""
        if self.length_ns == 0:
            when = datetime.fromtimestamp(open_ns // NS_PER_SECOND, UTC)
            return _month_ns(when.year + when.month // 12, when.month % 12 + 1)
        return open_ns + self.length_ns

    def previous(self, open_ns: int) -> int:
        """The start of the candle before the one that starts at `open_ns`."""
        return self.floor(open_ns - 1)


def _month_ns(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * NS_PER_SECOND

"""PURE. For how long a breaker stays open: twice as long each time that it opens again too soon. Inside breakers.py."""

from __future__ import annotations

SECOND_NS = 1_000_000_000


class OpenTimes:
    """Until when something is open, and how often it was in a row: each time it is open for twice as long."""

    def __init__(self, first_seconds: int, longest_seconds: int) -> None:
        self._first_ns = first_seconds * SECOND_NS
        self._longest_ns = max(first_seconds, longest_seconds) * SECOND_NS
        self.until_ns: int | None = None
        self.times = 0
        self.ended_ns = 0
        """When it was last closed."""

    @property
    def length_ns(self) -> int:
        doublings = min(max(self.times - 1, 0), 32)
        return min(self._first_ns << doublings, self._longest_ns)

    def open(self, now_ns: int) -> None:
        was_quiet = self.until_ns is None and now_ns - self.ended_ns >= self._longest_ns
        self.times = 1 if was_quiet else self.times + 1
        self.until_ns = now_ns + self.length_ns

    def extend(self, now_ns: int) -> None:
        self.until_ns = max(self.until_ns or 0, now_ns + self.length_ns)

    def close(self, now_ns: int) -> None:
        self.until_ns, self.ended_ns = None, now_ns

    def left_ns(self, now_ns: int) -> int:
        """0 when the time is over, or never began. Never more than it was opened for, wherever the clock went."""
        if self.until_ns is None:
            return 0
        self.until_ns = min(self.until_ns, now_ns + self.length_ns)
        return max(self.until_ns - now_ns, 0)

    def to_data(self) -> list[int | None]:
        return [self.until_ns, self.times, self.ended_ns]

    def restore(self, data: list[int | None]) -> None:
        until_ns, times, ended_ns = data
        self.until_ns = None if until_ns is None else int(until_ns)
        self.times, self.ended_ns = int(times or 0), int(ended_ns or 0)

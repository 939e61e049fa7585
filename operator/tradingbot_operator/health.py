"""PURE state: whether the operator still sees the cluster. Times come from the monotonic clock of the caller.

The answer is given by the event loop that does the work: when that hangs, nobody answers, and the probe fails.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_operator.lag import Lag
from tradingbot_operator.watches import Watches

STANDBY = "standby"


@dataclass(slots=True)
class Health:
    watches: Watches
    lag: Lag
    limit_seconds: float
    """For so long neither a watch event nor a list may come through; for a standby, no answer about the Lease."""
    last_sign_at: float
    """At first, when the process started."""
    is_lease_seen: bool = False
    """The Lease was read once: the API server can be reached, and lets us."""
    is_leading: bool = False
    is_listed: bool = False
    """Everything was listed once."""

    def saw_lease(self, now: float) -> None:
        self.is_lease_seen = True
        if not self.is_leading:  # a leader that renews its Lease and sees nothing else is blind
            self.last_sign_at = now

    def lead(self, now: float) -> None:
        self.is_leading = True
        self.last_sign_at = now

    def saw_event(self, now: float) -> None:
        self.last_sign_at = now

    def saw_list(self, now: float) -> None:
        self.last_sign_at = now
        self.is_listed = True

    def why_dead(self, now: float) -> str:
        """Empty while alive."""
        return "; ".join(filter(None, (self._why_silent(now), self.watches.why_dead(now), self.lag.why_dead(now))))

    def why_not_ready(self, now: float) -> str:
        """Empty when ready."""
        if not self.is_leading:
            return self.why_dead(now) if self.is_lease_seen else "the Lease has not been read yet"
        if not self.is_listed:
            return "not everything has been listed yet"
        if not self.watches.are_open:
            return "not all watches have been opened yet"
        return self.why_dead(now)

    def _why_silent(self, now: float) -> str:
        silent_seconds = now - self.last_sign_at
        if silent_seconds <= self.limit_seconds:
            return ""
        what = "neither a watch event nor a list" if self.is_leading else "no answer about the Lease"
        return f"{what} for {silent_seconds:.0f} s (limit {self.limit_seconds:.0f} s)"

"""PURE state: whether the operator still sees the cluster. Times come from the monotonic clock of the caller.

The answer is given by the event loop that does the work: when that hangs, nobody answers, and the probe fails.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Health:
    limit_seconds: float
    """For so long neither a watch event nor a list may come through."""
    last_sign_at: float
    """At first, when the process started."""
    is_listed: bool = False
    """Everything was listed once."""
    is_watching: bool = False
    """The watches were started."""

    def saw_event(self, now: float) -> None:
        self.last_sign_at = now

    def saw_list(self, now: float) -> None:
        self.last_sign_at = now
        self.is_listed = True

    def why_dead(self, now: float) -> str:
        """Empty while alive."""
        silent_seconds = now - self.last_sign_at
        if silent_seconds <= self.limit_seconds:
            return ""
        return f"neither a watch event nor a list for {silent_seconds:.0f} s (limit {self.limit_seconds:.0f} s)"

    def why_not_ready(self, now: float) -> str:
        """Empty when ready."""
        if not self.is_listed:
            return "not everything has been listed yet"
        if not self.is_watching:
            return "the watches have not started yet"
        return self.why_dead(now)

"""PURE. Whether this trader is provably the only one: the Lease of the bot, judged by the monotonic clock.

A paused process finds its deadline passed when it wakes up and fences itself, whatever the wall clock says. The
holder's time starts when the request was *sent*: the server cannot have written it earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DURATION_SECONDS = 60
"""How long a successor waits for a trader that went silent, and how long a cut-off trader may still take risk off."""
RENEW_SECONDS = 10
"""Six tries within one duration."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What one read of the Lease said, and when we first saw exactly this."""

    holder: str
    renewed_at: str
    transitions: int
    duration_seconds: int
    resource_version: str
    first_seen_ns: int
    """Monotonic."""


def read_lease(raw: Mapping[str, Any], *, previous: LeaseView | None, now_monotonic_ns: int) -> LeaseView:
    """The view of a Lease object. Other holders' times are not compared with our clock: only whether they change."""
    spec = raw.get("spec") or {}
    holder, renewed_at = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
    unchanged = previous is not None and (previous.holder, previous.renewed_at) == (holder, renewed_at)
    return LeaseView(
        holder=holder,
        renewed_at=renewed_at,
        transitions=int(spec.get("leaseTransitions") or 0),
        duration_seconds=int(spec.get("leaseDurationSeconds") or DURATION_SECONDS),
        resource_version=raw["metadata"]["resourceVersion"],
        first_seen_ns=previous.first_seen_ns if unchanged and previous is not None else now_monotonic_ns,
    )


def may_take(view: LeaseView, *, identity: str, now_monotonic_ns: int) -> bool:
    """True when nobody holds it, we do, or its holder was silent for its whole duration while we watched."""
    if view.holder in ("", identity):
        return True
    return now_monotonic_ns - view.first_seen_ns >= view.duration_seconds * 1_000_000_000


def claim(view: LeaseView, *, identity: str, now_rfc3339: str) -> dict[str, Any]:
    """The fields of the Lease's spec to write; the caller guards them with the view's resourceVersion."""
    takes_over = view.holder != identity
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": DURATION_SECONDS,
        "renewTime": now_rfc3339,
        "leaseTransitions": view.transitions + (1 if takes_over else 0),
    }
    return spec | ({"acquireTime": now_rfc3339} if takes_over else {})


@dataclass(frozen=True, slots=True)
class Tenure:
    """Our proof: until when the Lease is ours, on the monotonic clock, and how often it changed hands."""

    until_monotonic_ns: int
    transitions: int

    def covers(self, now_monotonic_ns: int, *, margin_seconds: float = 0.0) -> bool:
        """True while the Lease outlives now by the margin, which is the freshness bound of the request to be sent."""
        return now_monotonic_ns + int(margin_seconds * 1_000_000_000) < self.until_monotonic_ns


def tenure_from(sent_monotonic_ns: int, transitions: int) -> Tenure:
    return Tenure(sent_monotonic_ns + DURATION_SECONDS * 1_000_000_000, transitions)

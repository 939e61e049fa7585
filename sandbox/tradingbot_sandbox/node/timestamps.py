"""PURE. Times of the API: text outside, integer UTC nanoseconds inside."""

from __future__ import annotations

import datetime as dt

NS = 1_000_000_000


def to_rfc3339(time_ns: int) -> str:
    """The form of metav1.Time: whole seconds."""
    return dt.datetime.fromtimestamp(time_ns // NS, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_rfc3339_micro(time_ns: int) -> str:
    """The form of metav1.MicroTime, which Leases carry."""
    seconds, rest = divmod(time_ns, NS)
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def from_rfc3339(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    return int(moment.timestamp()) * NS + moment.microsecond * 1000

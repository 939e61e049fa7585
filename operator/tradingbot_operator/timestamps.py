"""PURE. Times between nanoseconds, which we calculate in, and RFC 3339, which objects carry."""

from __future__ import annotations

from datetime import UTC, datetime

SECOND_NS = 1_000_000_000


def format_time(ns: int) -> str:
    """Whole seconds, as metav1.Time is written."""
    return datetime.fromtimestamp(ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(ns: int) -> str:
    """Microseconds, as metav1.MicroTime is written."""
    whole, rest = divmod(ns, SECOND_NS)
    return f"{format_time(whole * SECOND_NS)[:-1]}.{rest // 1000:06d}Z"


def parse_time_ns(text: object) -> int | None:
    """Nanoseconds of an RFC 3339 time; None for anything else, so that a garbled time is no time."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND_NS + delta.microseconds * 1000

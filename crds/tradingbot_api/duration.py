"""PURE. Durations of the API: Go's notation (`30s`, `1h30m`), kept as integer nanoseconds."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
MAX_LENGTH = 24
MAX_NS = 2**63 - 1
"""What Go's time.Duration, and with it the API server's `duration()`, can hold: about 292 years."""
_WHOLE = re.compile(PATTERN)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_NS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000}


def parse_duration_ns(value: object) -> int:
    """Nanoseconds of a duration string; ValueError, with what to write instead, for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or len(value) > MAX_LENGTH or not _WHOLE.fullmatch(value):
        raise ValueError(f'{value!r} is not a duration like "90s", "15m" or "1h30m" (units: h, m, s, ms)')
    total = sum(Decimal(number) * _NS[unit] for number, unit in _PART.findall(value))
    if total > MAX_NS:
        raise ValueError(f"{value!r} is longer than 292 years")
    return int(total)


def format_duration(nanoseconds: int) -> str:
    """The one way to write a duration: largest units first, none of them zero; `0s` for nothing."""
    rest, text = nanoseconds, ""
    for unit in ("h", "m"):
        count, rest = divmod(rest, _NS[unit])
        text += f"{count}{unit}" if count else ""
    if rest:
        seconds = format(Decimal(rest) / _NS["s"], "f")
        text += f"{seconds.rstrip('0').rstrip('.') if '.' in seconds else seconds}s"
    return text or "0s"


def _schema(*rules: dict[str, str]) -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH}
    rule = {"rule": "duration(self) >= duration('0s')", "message": "is longer than 292 years"}
    return WithJsonSchema(schema | {"x-kubernetes-validations": list(rules) or [rule]})


def _positive(value: object) -> int:
    nanoseconds = parse_duration_ns(value)
    if nanoseconds <= 0:
        raise ValueError("must be longer than 0s")
    return nanoseconds


_WRITE = PlainSerializer(format_duration, return_type=str)
DurationNs = Annotated[int, BeforeValidator(parse_duration_ns), _WRITE, _schema()]
PositiveDurationNs = Annotated[
    int,
    BeforeValidator(_positive),
    _WRITE,
    _schema({"rule": "duration(self) > duration('0s')", "message": 'must be longer than 0s, like "30s"'}),
]

"""PURE. Durations of the API: Go's notation (`30s`, `1h30m`), kept as integer nanoseconds."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

PATTERN = r"^([0-9]{1,6}(\.[0-9]{1,9})?(ms|s|m|h))+$"
MAX_LENGTH = 20
"""Together with six digits a part, nothing of this form is longer than Go can hold: twice 999999h and once 99999h."""
_WHOLE = re.compile(PATTERN)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_NS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000}


def parse_duration_ns(value: object) -> int:
    """Nanoseconds of a duration string; ValueError, with what to write instead, for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or len(value) > MAX_LENGTH or not _WHOLE.fullmatch(value):
        raise ValueError(f'{value!r} is not a duration like "90s", "15m" or "1h30m" (units: h, m, s, ms)')
    return int(sum(Decimal(number) * _NS[unit] for number, unit in _PART.findall(value)))


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
    return WithJsonSchema(schema | ({"x-kubernetes-validations": list(rules)} if rules else {}))


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
    # No duration(): its error on an old value that is none would refuse every patch, a kill included. The schema's
    # pattern sees to the form.
    _schema({"rule": "self.matches('[1-9]')", "message": 'must be longer than 0s, like "30s"'}),
]

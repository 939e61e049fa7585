"""PURE. The fields of Binance's answers, read strictly: a wrong kind is an error, never a guess. For its parsers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from tradingbot_api.decimal import format_decimal

_MS_NS = 1_000_000


def rows(value: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, not {type(value).__name__}")
    return value


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false was expected, not {type(value).__name__}")
    return value


def optional_flag(value: object) -> bool | None:
    return None if value is None else flag(value)


def number_id(value: object) -> str:
    """-1 is Binance's word for none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not an id")
    return str(value)


def time_ns(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a time in milliseconds")
    return value * _MS_NS


def amount(value: object) -> Decimal:
    """Not negative, from a string alone, without trailing zeros."""
    number = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise ValueError(f"{value!r} is not a decimal string")
    return Decimal(format_decimal(number))


def positive(value: object) -> Decimal:
    number = amount(value)
    if not number:
        raise ValueError(f"{value!r} is not positive")
    return number

"""PURE. Arithmetic of the ledger: sums and products to the last digit, and the one division that has to round."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

COST_DECIMALS = Decimal(1).scaleb(-18)
"""Shares of a cost are rounded to 18 decimals, two more than an 8-decimal price times an 8-decimal quantity has."""
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, Overflow])
"""Python's default of 28 digits would round silently. What does not fit into 120 raises: stopped beats wrong."""
_ROUNDING = Context(prec=120, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow, DivisionByZero])


def add(values: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    return total


def subtract(left: Decimal, right: Decimal) -> Decimal:
    return _EXACT.subtract(left, right)


def negate(value: Decimal) -> Decimal:
    """The sign alone: Python's own minus would round to 28 digits."""
    return value.copy_negate()


def multiply(left: Decimal, right: Decimal) -> Decimal:
    return _EXACT.multiply(left, right)


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`amount * part / whole`, rounded half to even at COST_DECIMALS."""
    return _ROUNDING.quantize(_ROUNDING.divide(_EXACT.multiply(amount, part), whole), COST_DECIMALS)

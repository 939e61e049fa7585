"""PURE. Kubernetes' quantities: `1Gi` and `1024Mi` are the same, and the API server may write either."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(
    r"^([+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?)(?:([eE][+-]?[0-9]{1,2})|([KMGTPE]i|[numkMGTPE]))?$", re.ASCII
)
_FACTOR = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(10) ** (3 * power) for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(2) ** (10 * power) for power, unit in enumerate("KMGTPE", start=1)},
}


def parse_quantity(text: object) -> Decimal | None:
    """The value; None for what is no quantity."""
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    digits, exponent, unit = match.groups()
    return Decimal(digits + (exponent or "")) * (_FACTOR[unit] if unit else 1)

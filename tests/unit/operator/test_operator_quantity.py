from __future__ import annotations

from decimal import Decimal

import pytest

from tradingbot_operator.quantity import parse_quantity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1Gi", "1024Mi"),
        ("1", "1000m"),
        ("0.5", "500m"),
        ("1k", "1000"),
        ("1e3", "1k"),
        ("2Ti", "2048Gi"),
        ("1M", "1E6"),
    ],
)
def test_same_amount_in_two_spellings(one: str, other: str) -> None:
    assert parse_quantity(one) == parse_quantity(other) is not None


def test_binary_and_decimal_units_differ() -> None:
    assert parse_quantity("1Gi") == Decimal(2**30)
    assert parse_quantity("1G") == Decimal(10**9)


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1GB", "Gi", "1e999999999", "1\n", None, 5, "--1"])
def test_what_is_no_quantity(text: object) -> None:
    assert parse_quantity(text) is None

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tradingbot_api.decimal import NonNegative, Percent, Positive, Reported, format_decimal

WHOLE = st.integers(min_value=0, max_value=10**15 - 1)
FRACTION = st.text("0123456789", min_size=0, max_size=9)


@given(WHOLE, FRACTION)
def test_written_value_is_read_as_itself(whole: int, fraction: str) -> None:
    text = f"{whole}.{fraction}" if fraction else str(whole)
    adapter = TypeAdapter(NonNegative)
    value = adapter.validate_python(text)
    assert value == Decimal(text)
    written = adapter.dump_python(value, mode="json")
    assert adapter.validate_python(written) == value
    assert "E" not in written
    assert not ("." in written and written.endswith("0"))


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12))
def test_format_keeps_the_value(value: Decimal) -> None:
    assert Decimal(format_decimal(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.50", "1.5"), ("1E+3", "1000"), ("0.000", "0"), ("-0.0", "0"), ("100", "100"), ("1E-9", "0.000000001")],
)
def test_format_knows_one_notation(value: str, text: str) -> None:
    assert format_decimal(Decimal(value)) == text


@pytest.mark.parametrize(
    "value",
    ["-1", "1e3", "1.", ".5", "01", "1.1234567891", "1000000000000000", "", " 1", "1\n", "Inf", "NaN", 5, 0.5, None],
)
def test_spec_refuses_what_the_schema_refuses(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(NonNegative).validate_python(value)


def test_positive_refuses_zero_in_every_notation() -> None:
    for text in ("0", "0.0", "0.000000000"):
        with pytest.raises(ValidationError, match="greater than 0"):
            TypeAdapter(Positive).validate_python(text)


def test_percent_ends_at_a_hundred() -> None:
    assert TypeAdapter(Percent).validate_python("100") == 100
    with pytest.raises(ValidationError, match="at most 100"):
        TypeAdapter(Percent).validate_python("100.000000001")


def test_reported_may_be_negative_and_long() -> None:
    assert TypeAdapter(Reported).validate_python("-0.000000000000000001") == Decimal("-1E-18")
    for bad in ("one", 1.5):
        with pytest.raises(ValidationError):
            TypeAdapter(Reported).validate_python(bad)

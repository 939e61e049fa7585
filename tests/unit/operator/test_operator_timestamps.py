from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_operator.timestamps import SECOND_NS, format_micro_time, format_time, parse_time_ns


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_written_time_is_read_as_itself(seconds: int) -> None:
    assert parse_time_ns(format_time(seconds * SECOND_NS)) == seconds * SECOND_NS


@given(st.integers(min_value=0, max_value=4_000_000_000 * 10**6))
def test_microseconds_are_kept(microseconds: int) -> None:
    assert parse_time_ns(format_micro_time(microseconds * 1000)) == microseconds * 1000


def test_offset_is_understood() -> None:
    assert parse_time_ns("2025-06-15T17:06:40+02:00") == parse_time_ns("2025-06-15T15:06:40Z")


@pytest.mark.parametrize("text", ["", "yesterday", "2025-06-15T15:06:40", "2025-13-01T00:00:00Z", None, 5])
def test_what_is_no_time(text: object) -> None:
    assert parse_time_ns(text) is None

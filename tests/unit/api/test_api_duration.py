from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tradingbot_api.duration import DurationNs, PositiveDurationNs, format_duration, parse_duration_ns

SECOND_NS = 1_000_000_000


@given(st.integers(min_value=0, max_value=10**12).map(lambda ms: ms * 1_000_000))
def test_written_duration_is_read_as_itself(nanoseconds: int) -> None:
    assert parse_duration_ns(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("30s", 30 * SECOND_NS),
        ("1h30m", 5400 * SECOND_NS),
        ("90m", 5400 * SECOND_NS),
        ("1.5h", 5400 * SECOND_NS),
        ("250ms", SECOND_NS // 4),
        ("0s", 0),
    ],
)
def test_duration_is_read_as_go_reads_it(text: str, nanoseconds: int) -> None:
    assert parse_duration_ns(text) == nanoseconds


@pytest.mark.parametrize(("nanoseconds", "text"), [(5400 * SECOND_NS, "1h30m"), (0, "0s"), (90 * SECOND_NS, "1m30s")])
def test_duration_is_written_in_one_way(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@pytest.mark.parametrize(
    "text", ["", "5", "7d", "PT15M", "-1s", "1 h", "1h\n", "1us", "9999999999999h", None, True, 1.5]
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_ns(text)


def test_longest_duration_is_one_that_go_can_hold() -> None:
    assert parse_duration_ns("999999h999999h99999h") < 2**63
    for longer in ("1000000h", "999999h999999h999999h"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration_ns(longer)


def test_positive_duration_refuses_zero() -> None:
    assert TypeAdapter(DurationNs).validate_python("0s") == 0
    with pytest.raises(ValidationError, match="longer than 0s"):
        TypeAdapter(PositiveDurationNs).validate_python("0ms")

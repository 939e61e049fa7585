"""Columns and ages, as kubectl prints them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.plugin import AT, NOW
from tradingbot_plugin.table import format_age, format_table
from tradingbot_plugin.view import parse_time


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_800, "2d"),
        (900_000, "10d"),
    ],
)
def test_age_has_one_unit(seconds: int, age: str) -> None:
    assert format_age(AT, NOW + timedelta(seconds=seconds)) == age


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?", fullmatch=True))
def test_no_time_that_somebody_writes_breaks_the_table(text: str) -> None:
    assert format_age(text, NOW)
    moment = parse_time(text)
    assert moment is None or moment.tzinfo is not None


def test_time_before_all_time_is_none() -> None:
    assert parse_time("0001-01-01T00:00:00+23:00") is None


CELLS = st.text("ab-/", min_size=1, max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_cells_stand_below_their_columns(rows: list[tuple[str, str, str]]) -> None:
    lines = format_table(("A", "B", "C"), rows).splitlines()
    assert [tuple(line.split()) for line in lines] == [("A", "B", "C"), *rows]
    starts = {line.index(row[1], len(row[0])) for line, row in zip(lines[1:], rows, strict=True)}
    assert len(starts) <= 1

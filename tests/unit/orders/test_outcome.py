"""A table of outcomes: the first row decides, nothing that is not named is decided, and no row is dead."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_trader.orders.outcome import (
    EVERY_OPERATION,
    NEVER_LEFT,
    UNKNOWN,
    Action,
    Meaning,
    Outcome,
    OutcomeTable,
    Row,
)
from tradingbot_trader.venues.account import Answer, Operation

REFUSED = range(400, 500)


def row(**changes: Any) -> Row:
    values = {
        "operations": EVERY_OPERATION,
        "http_statuses": REFUSED,
        "outcome": Outcome.REJECTED,
        "source": "a page",
    }
    return Row(**values | changes)


def said(status: int = 400, code: str = "", text: str = "") -> Answer:
    return Answer(is_sent=True, http_status=status, code=code, text=text)


def test_the_first_row_that_matches_decides() -> None:
    special = row(codes=frozenset({"-1"}), text="clock", action=Action.RESYNC_CLOCK)
    general = row(codes=frozenset({"-1"}), action=Action.REFRESH_RULES)
    table = OutcomeTable([special, general])
    assert table.classify(Operation.PLACE, said(code="-1", text="Your Clock is late")).row is special
    assert table.classify(Operation.PLACE, said(code="-1", text="filter")) == Meaning(
        Outcome.REJECTED, Action.REFRESH_RULES, is_venue_fault=False, row=general
    )


@pytest.mark.parametrize(
    "answer",
    [said(code="-2"), said(status=200, code="-1"), said(code="-1", text="something else"), said(), said(status=0)],
    ids=["other code", "other status", "other text", "no code", "no answer"],
)
def test_what_no_row_describes_is_unresolved_and_queried(answer: Answer) -> None:
    table = OutcomeTable([row(codes=frozenset({"-1"}), text="clock")])
    meaning = table.classify(Operation.PLACE, answer)
    assert meaning == UNKNOWN
    assert (meaning.outcome, meaning.action, meaning.is_venue_fault) == (Outcome.UNRESOLVED, Action.QUERY, True)


def test_a_row_speaks_only_of_its_own_operations() -> None:
    table = OutcomeTable([row(operations=frozenset({Operation.CANCEL}))])
    assert table.classify(Operation.CANCEL, said()).outcome is Outcome.REJECTED
    assert table.classify(Operation.PLACE, said()) == UNKNOWN


@pytest.mark.parametrize("operation", Operation)
def test_what_never_left_is_rejected_whatever_the_table_says(operation: Operation) -> None:
    table = OutcomeTable([row(http_statuses=(), outcome=Outcome.UNRESOLVED)])
    meaning = table.classify(operation, Answer(is_sent=False, text="connection refused"))
    assert meaning.outcome is Outcome.REJECTED
    assert meaning.is_venue_fault
    assert meaning.row is NEVER_LEFT


def test_an_answer_that_came_proves_that_something_left() -> None:
    assert OutcomeTable([]).classify(Operation.PLACE, Answer(is_sent=False, http_status=502)) == UNKNOWN


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ([row()], row(codes=frozenset({"-1"}))),
        ([row(codes=frozenset({"-1", "-2"}))], row(codes=frozenset({"-1"}), text="clock")),
        ([row(text="clock")], row(text="the clock is late")),
        ([row(http_statuses={400}), row(http_statuses=range(401, 500))], row()),
        ([row(operations=frozenset({Operation.PLACE}))], row()),
        ([row(codes=frozenset({"-1"}))], row(codes=frozenset({"-1", "-2"}))),
        ([row(http_statuses=(), outcome=Outcome.UNRESOLVED)], row(http_statuses={404})),
    ],
    ids=["any code", "one of codes", "text in text", "two rows together", "one operation", "one code", "any status"],
)
def test_a_row_that_is_never_reached_is_refused(earlier: list[Row], later: Row) -> None:
    OutcomeTable([later])
    with pytest.raises(ValueError, match=f"row {len(earlier) + 1} .* is never reached for"):
        OutcomeTable([*earlier, later])


def test_rows_that_share_a_part_are_both_reached() -> None:
    OutcomeTable(
        [
            row(codes=frozenset({"-1"}), text="clock"),
            row(codes=frozenset({"-1"})),
            row(http_statuses={400}, codes=frozenset({"-2"})),
            row(codes=frozenset({"-2"})),
            row(operations=frozenset({Operation.PLACE}), codes=frozenset({"-3"})),
            row(operations=frozenset({Operation.QUERY}), codes=frozenset({"-3"})),
        ]
    )


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (row(http_statuses=()), "must name HTTP statuses"),
        (row(http_statuses={400, 503}), "must name HTTP statuses"),
        (row(http_statuses={0}, outcome=Outcome.PLACED), "must name HTTP statuses"),
        (row(outcome=Outcome.GONE), "of a new order"),
        (row(operations=frozenset()), "names no operation"),
        (row(source=""), "has no source"),
    ],
)
def test_a_row_that_decides_what_nobody_can_know_is_refused(wrong: Row, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        OutcomeTable([wrong])


CODES = st.sampled_from(["", "-1", "-2", "-3"])
TEXTS = st.sampled_from(["", "clock", "the clock is late", "filter"])
ROWS = st.builds(
    row,
    operations=st.frozensets(st.sampled_from(list(Operation)), min_size=1),
    http_statuses=st.sampled_from([{400}, range(400, 500), {200}, {403, 429}]),
    codes=st.frozensets(CODES),
    text=TEXTS,
    outcome=st.sampled_from([Outcome.REJECTED, Outcome.UNRESOLVED]),
)


@given(
    st.lists(ROWS, max_size=5),
    st.sampled_from(list(Operation)),
    st.builds(said, st.sampled_from([0, 200, 400, 403, 404, 429, 500]), CODES, TEXTS),
)
def test_the_answer_is_that_of_the_first_matching_row_or_unknown(
    rows: list[Row], operation: Operation, answer: Answer
) -> None:
    try:
        table = OutcomeTable(rows)
    except ValueError:
        return
    matching = [one for one in rows if one.matches(operation, answer)]
    meaning = table.classify(operation, answer)
    assert meaning.row is (matching[0] if matching else None)
    assert meaning.outcome is (matching[0].outcome if matching else Outcome.UNRESOLVED)


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_each_row_of_an_accepted_table_can_decide(rows: list[Row]) -> None:
    try:
        OutcomeTable(rows)
    except ValueError:
        return
    for number, one in enumerate(rows):
        answers = [
            said(status, code, one.text) for status in one.http_statuses for code in (one.codes or {"", "-1", "other"})
        ]
        for operation in one.operations:
            assert any(OutcomeTable(rows).classify(operation, answer).row is rows[number] for answer in answers), (
                f"{one} is dead for {operation}"
            )

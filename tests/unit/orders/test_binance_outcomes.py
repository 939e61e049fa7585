"""What Binance's answers mean. A new order is rejected only by a row that says so, and never by silence or by 5xx."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tradingbot_trader.orders.outcome import NEVER_LEFT, UNKNOWN, Action, Outcome
from tradingbot_trader.venues.account import Answer, Operation
from tradingbot_trader.venues.binance_outcomes import TABLE, UNKNOWN_EXECUTION, back_off_seconds, is_order_count

PLACE, CANCEL, QUERY = Operation.PLACE, Operation.CANCEL, Operation.QUERY


def said(status: int, code: str = "", text: str = "", **more: float) -> Answer:
    return Answer(is_sent=True, http_status=status, code=code, text=text, **more)


KNOWN = [
    # exchanges.md, each Binance row of "What an answer to an order means"
    (PLACE, said(400, "-1013", "Filter failure: LOT_SIZE"), Outcome.REJECTED, Action.REFRESH_RULES),
    (PLACE, said(400, "-1013", "Filter failure: PERCENT_PRICE_BY_SIDE"), Outcome.REJECTED, Action.REFRESH_RULES),
    (PLACE, said(400, "-1013", "Filter failure: NOTIONAL"), Outcome.REJECTED, Action.REFRESH_RULES),
    (PLACE, said(400, "-1021", "outside of the recvWindow."), Outcome.REJECTED, Action.RESYNC_CLOCK),
    (
        PLACE,
        said(400, "-2010", "Account has insufficient balance for requested action."),
        Outcome.REJECTED,
        Action.RECONCILE,
    ),
    (PLACE, said(400, "-2010", "Duplicate order sent."), Outcome.PLACED, Action.QUERY),
    (CANCEL, said(400, "-2011", "Unknown order sent."), Outcome.GONE, Action.QUERY),
    (QUERY, said(400, "-2013", "Order does not exist."), Outcome.GONE, Action.QUERY),
    (PLACE, said(401, "-2014", "API-key format invalid."), Outcome.REJECTED, Action.HALT_CREDENTIALS),
    (PLACE, said(401, "-2015", "Invalid API-key, IP, or permissions."), Outcome.REJECTED, Action.HALT_CREDENTIALS),
    (PLACE, said(429, "-1003", "Too much request weight used"), Outcome.REJECTED, Action.BACK_OFF),
    (PLACE, said(429, "-1015", "Too many new orders"), Outcome.REJECTED, Action.BACK_OFF),
    (PLACE, said(418, "-1003", "IP banned until 1"), Outcome.REJECTED, Action.BACK_OFF),
    (PLACE, said(403, text="<html>"), Outcome.REJECTED, Action.BACK_OFF),
    (PLACE, said(503), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(400, "-1006", "Execution status unknown."), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(400, "-1007", "Timeout waiting for response"), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(400, "-1008", "Server is currently overloaded"), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(0, text="TimeoutError"), Outcome.UNRESOLVED, Action.QUERY),
    # the rest of the documentation
    (PLACE, said(400, "-1000"), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(400, "-1001"), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(400, "-1016"), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(401, "-1002"), Outcome.REJECTED, Action.HALT_CREDENTIALS),
    (PLACE, said(400, "-1022"), Outcome.REJECTED, Action.HALT_CREDENTIALS),
    (PLACE, said(401, "-2008"), Outcome.REJECTED, Action.HALT_CREDENTIALS),
    (PLACE, said(400, "-1014"), Outcome.REJECTED, Action.NONE),
    (PLACE, said(400, "-1102"), Outcome.REJECTED, Action.NONE),
    (PLACE, said(400, "-1131"), Outcome.REJECTED, Action.NONE),
    (PLACE, said(400, "-1111"), Outcome.REJECTED, Action.REFRESH_RULES),
    (PLACE, said(400, "-1121"), Outcome.REJECTED, Action.REFRESH_RULES),
    (PLACE, said(400, "-2010", "Order would immediately match and take."), Outcome.REJECTED, Action.NONE),
    (PLACE, said(400, "-2010", "Order would trigger immediately."), Outcome.REJECTED, Action.NONE),
    (PLACE, said(400, "-2010", "Market is closed."), Outcome.REJECTED, Action.WAIT),
    (
        PLACE,
        said(400, "-2010", "Stop loss limit orders are not supported for this symbol."),
        Outcome.REJECTED,
        Action.REFRESH_RULES,
    ),
    (
        PLACE,
        said(400, "-2010", "This account may not place or cancel orders."),
        Outcome.REJECTED,
        Action.HALT_CREDENTIALS,
    ),
    (PLACE, said(400, "-2010", "Rest API trading is not enabled."), Outcome.REJECTED, Action.WAIT),
    (QUERY, said(400, "-2026"), Outcome.GONE, Action.QUERY),
    (QUERY, said(0), Outcome.UNRESOLVED, Action.QUERY),
    (QUERY, said(401, "-2015"), Outcome.REJECTED, Action.HALT_CREDENTIALS),
    (CANCEL, said(502), Outcome.UNRESOLVED, Action.QUERY),
    (CANCEL, said(400, "-2011", "Order was not canceled due to cancel restrictions."), Outcome.REJECTED, Action.QUERY),
    (
        CANCEL,
        said(400, "-2011", "This account may not place or cancel orders."),
        Outcome.REJECTED,
        Action.HALT_CREDENTIALS,
    ),
    # contradictions
    (PLACE, said(502, "-2010", "Account has insufficient balance"), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(403, "-1007"), Outcome.UNRESOLVED, Action.QUERY),
    (PLACE, said(429, "-1007"), Outcome.UNRESOLVED, Action.BACK_OFF),
]
UNKNOWN_TO_ALL = [
    (PLACE, said(200)),
    (PLACE, said(200, "-2010", "Account has insufficient balance")),
    (PLACE, said(400)),
    (PLACE, said(400, "-9999")),
    (PLACE, said(400, "-2010", "Words that Binance has never used.")),
    (PLACE, said(400, "-2013")),
    (PLACE, said(408)),
    (PLACE, said(409, "-2021")),
    (CANCEL, said(400, "-2011", "Words that Binance has never used.")),
    (PLACE, said(403, "-9999")),
    (PLACE, said(451)),
    (QUERY, said(200, text="<html>")),
]


@pytest.mark.parametrize(
    ("operation", "answer", "outcome", "action"), KNOWN, ids=[f"{row[0]} {row[1]}"[:60] for row in KNOWN]
)
def test_an_answer_means_what_the_documentation_says(
    operation: Operation, answer: Answer, outcome: Outcome, action: Action
) -> None:
    meaning = TABLE.classify(operation, answer)
    assert (meaning.outcome, meaning.action) == (outcome, action)
    assert meaning.row in TABLE.rows


@pytest.mark.parametrize(("operation", "answer"), UNKNOWN_TO_ALL, ids=[str(row[1])[:60] for row in UNKNOWN_TO_ALL])
def test_what_the_documentation_does_not_say_is_unresolved(operation: Operation, answer: Answer) -> None:
    assert TABLE.classify(operation, answer) == UNKNOWN


OPERATIONS = st.sampled_from(list(Operation))
STATUSES = st.one_of(
    st.sampled_from([0, 200, 400, 401, 403, 409, 418, 429, 451, 500, 502, 503, 504]), st.integers(0, 699)
)
CODES = st.one_of(
    st.sampled_from(["", "-2010", "-2011", "-2013", *sorted(UNKNOWN_EXECUTION)]), st.integers(-3000, 0).map(str)
)
TEXTS = st.one_of(st.sampled_from(["", *(row.text.upper() for row in TABLE.rows)]), st.text(max_size=20))
ANSWERS = st.builds(Answer, is_sent=st.booleans(), http_status=STATUSES, code=CODES, text=TEXTS)


@given(ANSWERS)
@example(Answer(is_sent=True, http_status=503, code="-2010", text="insufficient balance"))
@example(Answer(is_sent=True, http_status=0, code="-1013"))
def test_a_new_order_is_rejected_only_by_a_row_or_when_it_never_left(answer: Answer) -> None:
    meaning = TABLE.classify(PLACE, answer)
    never_left = not answer.is_sent and answer.http_status == 0
    if never_left:
        assert (meaning.outcome, meaning.row) == (Outcome.REJECTED, NEVER_LEFT)
    elif meaning.outcome is Outcome.REJECTED:
        assert meaning.row in TABLE.rows
        assert 400 <= answer.http_status < 500
        assert answer.code not in UNKNOWN_EXECUTION


@given(OPERATIONS, ANSWERS)
def test_silence_and_errors_of_the_server_decide_nothing_and_count_against_the_venue(
    operation: Operation, answer: Answer
) -> None:
    if (answer.is_sent and answer.http_status == 0) or 500 <= answer.http_status < 600:
        meaning = TABLE.classify(operation, answer)
        assert (meaning.outcome, meaning.is_venue_fault) == (Outcome.UNRESOLVED, True)
        assert meaning.row in TABLE.rows


@given(OPERATIONS, ANSWERS)
def test_a_new_order_is_never_gone_and_nothing_else_is_placed(operation: Operation, answer: Answer) -> None:
    outcome = TABLE.classify(operation, answer).outcome
    assert outcome is not Outcome.CONFIRMED
    assert outcome is not (Outcome.GONE if operation is PLACE else Outcome.PLACED)


@pytest.mark.parametrize("status", [418, 429])
@given(OPERATIONS, CODES, TEXTS)
def test_each_answer_that_asks_for_silence_is_heard(status: int, operation: Operation, code: str, text: str) -> None:
    assert TABLE.classify(operation, said(status, code, text)).action is Action.BACK_OFF


@given(ANSWERS)
def test_the_duplicate_of_an_order_is_never_read_as_its_rejection(answer: Answer) -> None:
    duplicate = said(400, "-2010", f"{answer.text} Duplicate order sent. {answer.text}")
    assert TABLE.classify(PLACE, duplicate).outcome is Outcome.PLACED


def test_our_own_mistakes_do_not_count_against_the_venue() -> None:
    for row in TABLE.rows:
        if row.outcome is not Outcome.UNRESOLVED:
            assert not row.is_venue_fault or "not enabled" in row.text, str(row)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (said(429, "-1003", retry_after_seconds=7.0), 7),
        (said(418, "-1003", retry_after_seconds=600.0), 600),
        (said(418), 120),
        (said(429, "-1015"), 60),
        (said(403), 60),
        (said(429, retry_after_seconds=0.0), 60),
    ],
)
def test_silence_lasts_as_long_as_asked_or_as_documented(answer: Answer, seconds: float) -> None:
    assert back_off_seconds(answer) == seconds


def test_too_many_orders_is_told_from_too_much_weight() -> None:
    assert is_order_count(said(429, "-1015"))
    assert not is_order_count(said(429, "-1003"))
    assert not is_order_count(said(418, "-1015"))

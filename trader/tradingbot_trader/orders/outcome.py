"""PURE. What an answer of a venue means, and what to do about it: a table, read from the top. Before the order machine.

The table is data, one file a venue (venues/*_outcomes.py). It never looks at an exception's class, and what it does not
name is unresolved: the order may exist (decision 0012).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tradingbot_trader.venues.account import Answer, Operation

EVERY_OPERATION = frozenset(Operation)
NO_ANSWER: frozenset[int] = frozenset({0})
"""The HTTP status of an answer that never came."""
SERVER_ERROR = range(500, 600)
_UNKNOWABLE = NO_ANSWER | frozenset(SERVER_ERROR)
_OTHER_STATUS, _OTHER_CODE = -1, "\0"
"""Stand for each status and each code that no row names."""


class Outcome(StrEnum):
    CONFIRMED = "Confirmed"
    """Done as asked."""
    REJECTED = "Rejected"
    """Proved to have changed nothing: the new order does not exist, the cancel did nothing, the query told nothing."""
    UNRESOLVED = "Unresolved"
    """Anything may be true. It is found out with queries, whatever the action says, and never by sending again."""
    GONE = "Gone"
    """Of a cancel or a query: the order has ended, or never was. Read its fills; never assume "cancelled unfilled"."""
    PLACED = "Placed"
    """Proof that an order with this id exists, but not in which state: adopt it."""


class Action(StrEnum):
    """What somebody has to do besides recording the outcome."""

    NONE = "None"
    REFRESH_RULES = "RefreshRules"
    """The market's filters are not those that we know. The same order is never repeated."""
    RESYNC_CLOCK = "ResyncClock"
    RECONCILE = "Reconcile"
    """The venue's balances are not what we think."""
    HALT_CREDENTIALS = "HaltCredentials"
    """The key, or what it may do, is not accepted: cancels only, and a person is told."""
    BACK_OFF = "BackOff"
    """No REST at all until the time that the venue asked for."""
    WAIT = "Wait"
    """The venue or the market is closed. Later, as a new intent."""
    QUERY = "Query"
    """Find out: the order, and if it is not there its fills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One known answer."""

    operations: frozenset[Operation]
    http_statuses: Collection[int] = ()
    """A set or a range; empty: any, no answer (0) included."""
    codes: frozenset[str] = frozenset()
    """Empty: any, none included. "" in it stands for an answer without a code."""
    text: str = ""
    """What must occur in the venue's words, upper and lower case alike; empty: any."""
    outcome: Outcome
    action: Action = Action.NONE
    is_venue_fault: bool = False
    """Counts as a failure of the venue, in the breaker of its API."""
    is_ordinary: bool = False
    """The market moved, and nobody is wrong: no sign of a storm, however often it comes."""
    source: str
    """Where it stands in the venue's documentation, or that it is not verified."""

    def matches(self, operation: Operation, answer: Answer) -> bool:
        return (
            operation in self.operations
            and self._takes(answer.http_status, answer.code)
            and self.text.lower() in answer.text.lower()
        )

    def covers(self, operation: Operation, status: int, code: str, text: str) -> bool:
        """Whether it takes each answer of this status and code that has this text in it."""
        return operation in self.operations and self._takes(status, code) and self.text.lower() in text.lower()

    def _takes(self, status: int, code: str) -> bool:
        return (not self.http_statuses or status in self.http_statuses) and (not self.codes or code in self.codes)

    def __str__(self) -> str:
        parts = (",".join(sorted(self.codes)), self.text, ",".join(sorted(self.operations)), str(self.outcome))
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one answer means."""

    outcome: Outcome
    action: Action
    is_venue_fault: bool
    row: Row | None
    """Where it was read. None: a success, or an answer that nobody has described."""

    @property
    def is_ordinary(self) -> bool:
        return self.row is not None and self.row.is_ordinary


SUCCESS = Meaning(Outcome.CONFIRMED, Action.NONE, is_venue_fault=False, row=None)
"""An answer that the adapter could read, and that is what was asked for: it never reaches a table."""
UNKNOWN = Meaning(Outcome.UNRESOLVED, Action.QUERY, is_venue_fault=True, row=None)
"""An answer that no row describes: an unreadable success, an unknown code, a new text."""
NEVER_LEFT = Row(
    operations=EVERY_OPERATION,
    http_statuses=NO_ANSWER,
    outcome=Outcome.REJECTED,
    is_venue_fault=True,
    source="our own transport: no connection was ever established",
)
"""In front of every table."""


class OutcomeTable:
    """The rows of one venue. The first that matches decides."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """ValueError for a table that cannot be meant as it is written."""
        self.rows = tuple(rows)
        if problems := list(_problems_of(self.rows)):
            raise ValueError("outcome table: " + "; ".join(problems))

    def classify(self, operation: Operation, answer: Answer) -> Meaning:
        # Only without any answer can it be true that nothing left: one that came proves that something did.
        if not answer.is_sent and answer.http_status == 0:
            return _meaning_of(NEVER_LEFT)
        for row in self.rows:
            if row.matches(operation, answer):
                return _meaning_of(row)
        return UNKNOWN


def _meaning_of(row: Row) -> Meaning:
    return Meaning(row.outcome, row.action, row.is_venue_fault, row)


def _problems_of(rows: Sequence[Row]) -> Iterator[str]:
    for number, row in enumerate(rows):
        name = f"row {number + 1} ({row})"
        if not row.operations:
            yield f"{name} names no operation"
        if not row.source:
            yield f"{name} has no source"
        if row.outcome is Outcome.GONE and Operation.PLACE in row.operations:
            yield f"{name} says Gone of a new order, of which it says nothing"
        if row.outcome is not Outcome.UNRESOLVED and (not row.http_statuses or _UNKNOWABLE & set(row.http_statuses)):
            yield f"{name} decides without an answer or in spite of 5xx: it must name HTTP statuses, neither 0 nor 5xx"
        for operation in sorted(row.operations):
            for code in _unreachable_codes(row, operation, rows[:number]):
                yield f"{name} is never reached for {operation}{f' and code {code}' if code != _OTHER_CODE else ''}"


def _unreachable_codes(row: Row, operation: Operation, earlier: Sequence[Row]) -> Iterable[str]:
    """Codes of the row for which the rows before it take each status."""
    for code in sorted(row.codes) or [_OTHER_CODE]:
        statuses = row.http_statuses or [_OTHER_STATUS]
        if all(any(one.covers(operation, status, code, row.text) for one in earlier) for status in statuses):
            yield code

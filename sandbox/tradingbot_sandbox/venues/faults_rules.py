"""What can go wrong at a venue, as rules: WHEN something happens, and WHAT then goes wrong. PURE.

Flow: JSON -> faults_json -> rules -> faults (the script that is asked) -> server, streams, or a simulation.

`when` holds conditions, all of which must be met. Times count from when the rule was given.

| when | meaning |
|---|---|
| operation | any (that the effect can happen to); place, test-order, cancel, cancel-all, query, open-orders, \
all-orders, trades, account, key-permissions, market-data; user-stream, market-stream; venue |
| path | exactly this path of the venue |
| symbol | the venue's name of it (BTCUSDT) |
| client_id | the order's client order id begins with this |
| stream | user-stream: the event's type (executionReport); market-stream: the kind of stream (trade, depth) |
| nth, every | from the n-th match on (once, unless `count` says more); each k-th match |
| count | at most so many hits |
| from_seconds, until_seconds | not before, not from then on |
| probability, seed | each match is a hit with this chance, drawn from the rule's own numbers |

| what.effect | fields | on a request |
|---|---|---|
| lose-request | seconds | the connection dies, after so long, and the venue never sees the request |
| lose-answer | seconds | it is carried out; the connection dies, after so long, without an answer |
| answer-late | seconds | it is carried out at once and answered so much later |
| accept-late | seconds, answered | it is carried out so much later; not answered: the connection dies at once |
| server-error | status, code, text, html, accepted | 5xx, carried out or not: JSON with a code, html, or nothing |
| rate-limited, banned | retry_after_seconds, code | 429, 418: not carried out |
| waf-block | | 403 with an html page: not carried out |
| reject | status, code, text | not carried out |
| truncate-answer | bytes, dies | carried out; the body ends too early, or the connection dies in it |
| empty-answer | status, accepted | no body |
| garbage-answer | status, text, accepted | a body that is no answer |
| crash | | it is carried out, then the process exits before it answers |
| partial-fill | most_base | (place) it takes at most so much from the book at once |
| hide-order | seconds, trades | (place) queries do not know the order for so long, lists leave it out |

| what.effect | fields | on an event of a stream |
|---|---|---|
| duplicate-event | times | it comes so many times more |
| reorder-events | window, seconds | so many hits are shuffled, or what has come of them after so long |
| drop-events | events | it and the next matches do not come: a gap |
| delay-event | seconds | it comes later, and others overtake it |
| silence | seconds, new_connections | sockets stay open, nothing comes, nothing is answered; without nth, every and \
probability it begins by itself |
| disconnect | | sockets die; without nth, every and probability: at `from_seconds` |

| what.effect | fields | on the venue |
|---|---|---|
| clock-skew | milliseconds | its clock is so much ahead (negative: behind), from `from_seconds` until `until_seconds` |
| stale-market | symbol | no trade, a frozen book, for the same time; then all of it comes at once |
| filter-change | symbol, tick, step, min_notional | the symbol's rules are new at `from_seconds` |
| revoke-key | key | keys that begin with this are unknown at `from_seconds` |
| change-permissions | key, reading, trading, withdrawals, internal_transfer, futures, addresses | they may do other \
things at `from_seconds`, or from other client addresses alone |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from tradingbot_sandbox.market.events import NS_PER_SECOND

ZERO = Decimal(0)


class Operation(StrEnum):
    """What a request or an event is about."""

    ANY = "any"
    """Whatever the effect can happen to."""
    PLACE = "place"
    TEST_ORDER = "test-order"
    CANCEL = "cancel"
    CANCEL_ALL = "cancel-all"
    QUERY = "query"
    OPEN_ORDERS = "open-orders"
    ALL_ORDERS = "all-orders"
    TRADES = "trades"
    ACCOUNT = "account"
    KEY_PERMISSIONS = "key-permissions"
    MARKET_DATA = "market-data"
    USER_STREAM = "user-stream"
    MARKET_STREAM = "market-stream"
    VENUE = "venue"
    """Nothing that comes or goes: the venue itself, at a time."""


STREAMS = frozenset({Operation.USER_STREAM, Operation.MARKET_STREAM})
REQUESTS = frozenset(Operation) - STREAMS - {Operation.VENUE}
PLACES = frozenset({Operation.PLACE})
VENUE = frozenset({Operation.VENUE})


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that a field may hold."""

    least: Decimal | int
    most: Decimal | int


Seconds = Annotated[Decimal, Bounds(0, 86_400)]
Count = Annotated[int, Bounds(1, 1_000_000)]
WholeSeconds = Annotated[int, Bounds(0, 86_400)]
AnyStatus = Annotated[int, Bounds(200, 599)]
Amount = Annotated[Decimal, Bounds(0, 10**12)]
Increment = Annotated[Decimal, Bounds(Decimal("1e-8"), 10**6)]
"""A tick or a step: a venue has at most eight decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """The conditions of a rule. Those at their default are met by everything."""

    operation: Operation = Operation.ANY
    path: str = ""
    symbol: str = ""
    client_id: str = ""
    stream: str = ""
    nth: Count | None = None
    every: Count | None = None
    count: Count | None = None
    from_seconds: Seconds = ZERO
    until_seconds: Seconds | None = None
    probability: Annotated[Decimal, Bounds(0, 1)] | None = None
    seed: int = 0

    @property
    def is_counted(self) -> bool:
        """Does it wait for a certain match, instead of for a time?"""
        return self.nth is not None or self.every is not None or self.probability is not None

    @property
    def most_hits(self) -> int | None:
        return 1 if self.count is None and self.nth is not None and self.every is None else self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What goes wrong. `operations`: where it can."""

    name: ClassVar[str]
    operations: ClassVar[frozenset[Operation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnRequest(Effect):
    operations = REQUESTS


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseRequest(_OnRequest):
    name = "lose-request"
    seconds: Seconds = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseAnswer(_OnRequest):
    name = "lose-answer"
    seconds: Seconds = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLate(_OnRequest):
    name = "answer-late"
    seconds: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptLate(_OnRequest):
    name = "accept-late"
    seconds: Seconds
    answered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError(_OnRequest):
    name = "server-error"
    status: Annotated[int, Bounds(500, 599)] = 503
    code: int | None = None
    text: str = ""
    """Empty: the venue's own text for the code."""
    html: bool = False
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimited(_OnRequest):
    name = "rate-limited"
    retry_after_seconds: WholeSeconds | None = None
    """None: the header is not sent."""
    code: int | None = None
    """None: the venue's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Banned(_OnRequest):
    name = "banned"
    retry_after_seconds: WholeSeconds | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WafBlock(_OnRequest):
    name = "waf-block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(_OnRequest):
    name = "reject"
    status: Annotated[int, Bounds(400, 599)] = 400
    code: int
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruncateAnswer(_OnRequest):
    name = "truncate-answer"
    bytes: Count | None = None
    """So many bytes are left. None: half of them."""
    dies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyAnswer(_OnRequest):
    name = "empty-answer"
    status: AnyStatus = 200
    accepted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageAnswer(_OnRequest):
    name = "garbage-answer"
    status: AnyStatus = 200
    text: str = "<html><body>It works!</body></html>"
    accepted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash(_OnRequest):
    name = "crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialFill(Effect):
    name = "partial-fill"
    operations = PLACES
    most_base: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class HideOrder(Effect):
    name = "hide-order"
    operations = PLACES
    seconds: Seconds
    trades: bool = False
    """Its fills are left out of the list of trades, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnEvent(Effect):
    operations = STREAMS


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateEvent(_OnEvent):
    name = "duplicate-event"
    times: Count = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReorderEvents(_OnEvent):
    name = "reorder-events"
    window: Annotated[int, Bounds(2, 1000)] = 3
    seconds: Seconds = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropEvents(_OnEvent):
    name = "drop-events"
    events: Count = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayEvent(_OnEvent):
    name = "delay-event"
    seconds: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence(_OnEvent):
    name = "silence"
    seconds: Seconds | None = None
    """None: until `until_seconds`, or for ever."""
    new_connections: bool = True
    """False: a connection that is opened after it began hears everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect(_OnEvent):
    name = "disconnect"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnVenue(Effect):
    operations = VENUE


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkew(_OnVenue):
    name = "clock-skew"
    milliseconds: Annotated[int, Bounds(-86_400_000, 86_400_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleMarket(_OnVenue):
    name = "stale-market"
    symbol: str = ""
    """Empty: every symbol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment(_OnVenue):
    """It happens once, and what it changes stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterChange(Moment):
    name = "filter-change"
    symbol: str
    tick: Increment | None = None
    step: Increment | None = None
    min_notional: Amount | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey(Moment):
    name = "revoke-key"
    key: str = ""
    """Empty: every key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePermissions(Moment):
    name = "change-permissions"
    key: str = ""
    reading: bool | None = None
    """None: stays as it is."""
    trading: bool | None = None
    withdrawals: bool | None = None
    internal_transfer: bool | None = None
    futures: bool | None = None
    addresses: str | None = None
    """The client addresses from which they are accepted, with commas between; empty: all."""


EFFECTS: dict[str, type[Effect]] = {
    effect.name: effect
    for effect in (
        LoseRequest,
        LoseAnswer,
        AnswerLate,
        AcceptLate,
        ServerError,
        RateLimited,
        Banned,
        WafBlock,
        Reject,
        TruncateAnswer,
        EmptyAnswer,
        GarbageAnswer,
        Crash,
        PartialFill,
        HideOrder,
        DuplicateEvent,
        ReorderEvents,
        DropEvents,
        DelayEvent,
        Silence,
        Disconnect,
        ClockSkew,
        StaleMarket,
        FilterChange,
        RevokeKey,
        ChangePermissions,
    )
}


class FaultRuleError(ValueError):
    """A rule that cannot be: the message names the field and what it may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a fault script."""

    when: When = field(default_factory=When)
    what: Effect

    def __post_init__(self) -> None:
        problem = _find_problem(self.when, self.what)
        if problem:
            raise FaultRuleError(problem)

    def is_about(self, operation: Operation) -> bool:
        return operation in self.what.operations and self.when.operation in (Operation.ANY, operation)


_UNTIMED = ("path", "symbol", "client_id", "stream", "nth", "every", "count", "probability")
"""What nothing that happens at a time can be told by."""


def _find_problem(when: When, what: Effect) -> str | None:
    name, possible = what.name, what.operations | {Operation.ANY}
    if when.operation not in possible:
        return f"when.operation: {name} can happen to {', '.join(sorted(possible))}, not to {when.operation}"
    if when.until_seconds is not None and when.until_seconds <= when.from_seconds:
        return f"when.until_seconds: must be more than from_seconds, {when.from_seconds}"
    blank = When()
    given = [field for field in _UNTIMED if getattr(when, field) != getattr(blank, field)]
    if what.operations == VENUE and given:
        return f"when.{given[0]}: {name} happens at a time; when may hold from_seconds and until_seconds"
    if isinstance(what, Moment) and when.until_seconds is not None:
        return f"when.until_seconds: {name} happens at one moment, from_seconds, and stays"
    if what.operations == STREAMS and when.path:
        return f"when.path: {name} happens to events, which have none; there are symbol, client_id and stream"
    if what.operations != STREAMS and when.stream:
        return f"when.stream: {name} happens to requests; there are operation, path, symbol and client_id"
    if isinstance(what, ServerError) and what.html and what.code is not None:
        return "what.html: an html page has no code; leave one of the two out"
    return None


def as_ns(seconds: Decimal) -> int:
    return int(seconds * NS_PER_SECOND)

"""PURE. What Binance spot's answers mean for an order: the table, in the order in which its documentation is read.

Sources: "HTTP Return Codes" and "LIMITS" of the REST API page, and "Error codes for Binance", each section by its name;
and what is said to be seen, with the real ccxt 4.5.90. "unverified" beside a row: read elsewhere, or never seen by us.
"""

from __future__ import annotations

from tradingbot_trader.orders.outcome import (
    EVERY_OPERATION,
    NO_ANSWER,
    SERVER_ERROR,
    Action,
    Outcome,
    OutcomeTable,
    Row,
)
from tradingbot_trader.venues.account import Answer, Operation

PLACE = frozenset({Operation.PLACE})
CANCEL = frozenset({Operation.CANCEL})
QUERY = frozenset({Operation.QUERY})
CANCEL_OR_QUERY = CANCEL | QUERY

REFUSED = range(400, 500)
"""HTTP 4XX: "malformed requests; the issue is on the sender's side". Only with one of these is anything rejected."""
THROTTLED = frozenset({418, 429})
UNKNOWN_EXECUTION = frozenset({"-1000", "-1001", "-1006", "-1007", "-1008", "-1016"})
"""Execution status unknown. Of -1006 and -1007 the documentation says so. Of -1000, -1001, -1008 (overloaded) and -1016
(shutting down) it does not say how far the request came, so they are taken in the same way."""
MALFORMED = frozenset(
    f"-{number}"
    for number in (
        *range(1100, 1107),
        *(1108, 1112, 1114, 1115, 1116, 1117, 1118, 1119, 1120, 1122, 1125, 1127, 1128, 1130),
        1131,  # recvWindow above 60000; unverified, no longer in the documentation, still in ccxt
        *(1134, 1135, 1139, 1145, 1151),
    )
)
"""Parameters that we should not have sent: our own bug, and a request that was never executed."""
STALE_RULES = frozenset({"-1111", "-1121"})
"""Too much precision; invalid symbol: known from the market's rules, which must have changed."""
PLACING = frozenset({"-1010", "-2010"})
CANCELLING = frozenset({"-1010", "-2011"})
"""-1010 is what the matching engine returned, in the words of -2010 and -2011; not seen by us."""

_HTTP = "REST API, HTTP Return Codes"
_LIMITS = "REST API, LIMITS"
_10XX = "Error codes, 10xx"
_11XX = "Error codes, 11xx"
_20XX = "Error codes, -20xx"
_MESSAGES = "Error codes, Messages for -1010, -2010 and -2011"


def _order_refused(
    text: str,
    action: Action,
    *,
    source: str = _MESSAGES,
    is_venue_fault: bool = False,
    is_ordinary: bool = False,
) -> Row:
    """-2010 says no only together with its words: with "Duplicate order sent." it says yes."""
    return Row(
        operations=PLACE,
        http_statuses=REFUSED,
        codes=PLACING,
        text=text,
        outcome=Outcome.REJECTED,
        action=action,
        is_venue_fault=is_venue_fault,
        is_ordinary=is_ordinary,
        source=source,
    )


def _cancel_refused(text: str, action: Action) -> Row:
    """The order may still rest: only "Unknown order sent." says that it does not."""
    return Row(
        operations=CANCEL,
        http_statuses=REFUSED,
        codes=CANCELLING,
        text=text,
        outcome=Outcome.REJECTED,
        action=action,
        source=_MESSAGES,
    )


def _refused(codes: frozenset[str], action: Action, source: str) -> Row:
    return Row(
        operations=EVERY_OPERATION,
        http_statuses=REFUSED,
        codes=codes,
        outcome=Outcome.REJECTED,
        action=action,
        source=source,
    )


TABLE = OutcomeTable(
    (
        # No answer, and errors of the server. Whatever else they say: "execution status is UNKNOWN".
        Row(
            operations=EVERY_OPERATION,
            http_statuses=NO_ANSWER,
            outcome=Outcome.UNRESOLVED,
            action=Action.QUERY,
            is_venue_fault=True,
            source=f"{_HTTP}: as for 5XX; the request left and nothing came back",
        ),
        Row(
            operations=EVERY_OPERATION,
            http_statuses=SERVER_ERROR,
            outcome=Outcome.UNRESOLVED,
            action=Action.QUERY,
            is_venue_fault=True,
            source=f"{_HTTP}: 5XX",
        ),
        # 429 and 418 silence us even if the code is one that leaves the execution open.
        Row(
            operations=EVERY_OPERATION,
            http_statuses=THROTTLED,
            codes=UNKNOWN_EXECUTION,
            outcome=Outcome.UNRESOLVED,
            action=Action.BACK_OFF,
            source=f"{_10XX}, with a status that contradicts it; unverified",
        ),
        Row(
            operations=EVERY_OPERATION,
            codes=UNKNOWN_EXECUTION,
            outcome=Outcome.UNRESOLVED,
            action=Action.QUERY,
            is_venue_fault=True,
            source=f"{_10XX}: -1000, -1001, -1006, -1007, -1008, -1016",
        ),
        Row(
            operations=EVERY_OPERATION,
            http_statuses=frozenset({403}),
            codes=frozenset({""}),  # the firewall stands in front of the API and speaks no JSON
            outcome=Outcome.REJECTED,
            action=Action.BACK_OFF,
            source=f"{_HTTP}: 403, WAF limit",
        ),
        Row(
            operations=EVERY_OPERATION,
            http_statuses=THROTTLED,
            outcome=Outcome.REJECTED,
            action=Action.BACK_OFF,
            source=f"{_HTTP}: 429, 418; {_LIMITS}: -1003 by weight, -1015 by orders, without Retry-After",
        ),
        # 10xx
        _refused(frozenset({"-1002"}), Action.HALT_CREDENTIALS, f"{_10XX}: -1002"),
        _refused(frozenset({"-1003", "-1015"}), Action.BACK_OFF, f"{_10XX}: -1003, -1015; without 429: unverified"),
        _refused(frozenset({"-1013"}), Action.REFRESH_RULES, f"{_10XX}: -1013, never reached the matching engine"),
        _refused(frozenset({"-1014", "-1020"}), Action.NONE, f"{_10XX}: -1014, -1020"),
        _refused(frozenset({"-1021"}), Action.RESYNC_CLOCK, f"{_10XX}: -1021"),
        _refused(frozenset({"-1022"}), Action.HALT_CREDENTIALS, f"{_10XX}: -1022, the secret is not the key's"),
        # 11xx
        _refused(MALFORMED, Action.NONE, _11XX),
        _refused(STALE_RULES, Action.REFRESH_RULES, f"{_11XX}: -1111, -1121"),
        # 20xx
        _refused(frozenset({"-2008"}), Action.HALT_CREDENTIALS, "unverified: invalid key id; in ccxt's table"),
        _refused(frozenset({"-2014", "-2015"}), Action.HALT_CREDENTIALS, f"{_20XX}: -2014, -2015; key, IP, permission"),
        Row(
            operations=CANCEL_OR_QUERY,
            http_statuses=REFUSED,
            codes=frozenset({"-2013"}),
            outcome=Outcome.GONE,
            action=Action.QUERY,
            source=f"{_20XX}: -2013; for a cancel unverified",
        ),
        Row(
            operations=QUERY,
            http_statuses=REFUSED,
            codes=frozenset({"-2026"}),
            outcome=Outcome.GONE,
            action=Action.QUERY,
            source=f"{_20XX}: -2026, archived; ended unfilled more than 90 days ago",
        ),
        # Messages of the matching engine to a new order
        Row(
            operations=PLACE,
            http_statuses=REFUSED,
            codes=PLACING,
            text="duplicate order sent",
            outcome=Outcome.PLACED,
            action=Action.QUERY,
            source=f"{_MESSAGES}: an open order has this id",
        ),
        _order_refused("market is closed", Action.WAIT),
        _order_refused("insufficient balance", Action.RECONCILE),
        _order_refused("would immediately match and take", Action.NONE, is_ordinary=True),  # post-only, and it crossed
        _order_refused("would trigger immediately", Action.NONE),
        _order_refused("unsupported order combination", Action.NONE),
        _order_refused("order book liquidity is less than", Action.NONE),
        _order_refused("price * qty is zero or less", Action.REFRESH_RULES),
        _order_refused("not supported for this symbol", Action.REFRESH_RULES),
        _order_refused("not permitted for this account", Action.REFRESH_RULES),
        _order_refused("restricted for this account", Action.REFRESH_RULES),
        _order_refused("filter failure", Action.REFRESH_RULES, source="unverified: documented with -1013 alone"),
        _order_refused("this action is disabled on this account", Action.HALT_CREDENTIALS),
        _order_refused("may not place or cancel orders", Action.HALT_CREDENTIALS),
        _order_refused("api trading is not enabled", Action.WAIT, is_venue_fault=True),
        # ... and to a cancel
        Row(
            operations=CANCEL,
            http_statuses=REFUSED,
            codes=CANCELLING,
            text="unknown order sent",
            outcome=Outcome.GONE,
            action=Action.QUERY,
            source=f"{_MESSAGES}: final, or never existed",
        ),
        _cancel_refused("cancel order is invalid", Action.NONE),
        _cancel_refused("not canceled due to cancel restrictions", Action.QUERY),
        _cancel_refused("this action is disabled on this account", Action.HALT_CREDENTIALS),
        _cancel_refused("may not place or cancel orders", Action.HALT_CREDENTIALS),
    )
)
"""What it does not name is unresolved: a success that cannot be read, HTTP 408 or 409, -2010 and -2011 in new words."""

_BAN_SECONDS = 120.0
"""The shortest ban (LIMITS: "from 2 minutes to 3 days")."""
_MINUTE_SECONDS = 60.0
"""The window of the request weight; of the firewall's 403 nothing is documented."""


def back_off_seconds(answer: Answer) -> float:
    """How long an answer with the action BackOff asks for silence. Binance names no time for -1015 and for 403."""
    if answer.retry_after_seconds is not None and answer.retry_after_seconds > 0:
        return answer.retry_after_seconds
    return _BAN_SECONDS if answer.http_status == 418 else _MINUTE_SECONDS


def is_order_count(answer: Answer) -> bool:
    """Whether only new orders are too many: then the rest may go on (budget: `orders_used_up`)."""
    return answer.code == "-1015" and answer.http_status != 418

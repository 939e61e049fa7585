"""PURE. What stops new risk when trading itself goes wrong: the venue's API, our orders, our fills. Beside the engine.

Told of each answer and each fill; asked before each new order. `now_ns` is the trusted time: it outlives a restart with
the state, and a step back of it only keeps a breaker open for longer, by no more than it can be open at all.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from tradingbot_trader.orders.order import Side
from tradingbot_trader.orders.outcome import Meaning, Outcome
from tradingbot_trader.risk.open_times import SECOND_NS, OpenTimes
from tradingbot_trader.venues.account import Operation

KEPT_ANSWERS = 100
"""Of a minute with more answers, the last so many are judged."""
_VENUE, _REJECTS, _FILLS, _TRIPS = "breaker.venue", "breaker.rejects", "breaker.fills", "breaker.trips"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When each breaker trips, and for how long."""

    venue_failures_in_a_row: int = 5
    """So many failures of the venue, one after the other, open its breaker."""
    venue_failure_percent: int = 50
    """Or this share of the answers of `venue_window_seconds`,"""
    venue_least_answers: int = 10
    """if there were at least so many."""
    venue_window_seconds: int = 60
    venue_open_seconds: int = 30
    """How long it stays open at first. Doubled each time that it opens again without having been closed for
    `venue_longest_open_seconds` in between."""
    venue_longest_open_seconds: int = 600
    venue_probe_seconds: int = 10
    """After so long without an answer to the probe, another may be sent: the longest that a request may take."""
    rejects: int = 5
    """So many new orders that the venue refused, those aside of which the table says that the market moved,"""
    reject_window_seconds: int = 60
    """within this time, stop new risk."""
    reject_quiet_seconds: int = 300
    """Until so long after the last refusal. Doubled each time, as above."""
    reject_longest_quiet_seconds: int = 3_600
    executions: int = 10
    """More filled orders of one side of one symbol than this,"""
    execution_window_seconds: int = 60
    """within this time, stop new risk until a reconciliation has passed."""

    def __post_init__(self) -> None:
        if wrong := [each.name for each in fields(self) if getattr(self, each.name) <= 0]:
            raise ValueError(f"{', '.join(wrong)} must be positive: a breaker is not switched off in this way")


DEFAULTS = BreakerSettings()


class TripKind(StrEnum):
    """Why a breaker opened. The last two stay open until a reconciliation has passed."""

    VENUE_API = "VenueApi"
    """The venue's API fails."""
    REJECT_STORM = "RejectStorm"
    """The venue refuses our orders."""
    REPEATED_EXECUTION = "RepeatedExecution"
    """The same thing is bought or sold again and again."""
    CONTRADICTION = "Contradiction"
    """What is known of an order cannot all be true: more filled than ordered, there after it was presumed absent."""


class VenueState(StrEnum):
    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"
    """One query is let through to find out."""


@dataclass(frozen=True, slots=True)
class BreakerTrip:
    """A breaker that opened: for the audit, the status and the metrics."""

    kind: TripKind
    observed: str
    limit: str
    at_ns: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.observed}" + (f" against {self.limit}" if self.limit else "")


class VenueBreaker:
    """Closed, open, half-open. While it is not closed nothing leaves that adds risk; cancels and queries do."""

    def __init__(self, settings: BreakerSettings = DEFAULTS) -> None:
        self._settings = settings
        self._open = OpenTimes(settings.venue_open_seconds, settings.venue_longest_open_seconds)
        self._in_a_row = 0
        self._answers: deque[tuple[int, bool]] = deque(maxlen=KEPT_ANSWERS)
        """When, and whether it was a failure."""
        self._probed_ns: int | None = None

    def state(self, now_ns: int) -> VenueState:
        if self._open.until_ns is None:
            return VenueState.CLOSED
        return VenueState.OPEN if self._open.left_ns(now_ns) else VenueState.HALF_OPEN

    def why_closed_to_risk(self, now_ns: int) -> str:
        state = self.state(now_ns)
        if state is VenueState.OPEN:
            left_seconds = _seconds(self._open.left_ns(now_ns))
            return f"{TripKind.VENUE_API}: the venue's API fails; asked again in {left_seconds} s"
        return f"{TripKind.VENUE_API}: waiting for one query to succeed" if state is VenueState.HALF_OPEN else ""

    def may_probe(self, operation: Operation, now_ns: int) -> bool:
        """True once, then not until the probe is answered or overdue. A new order is never the probe."""
        if operation is Operation.PLACE or self.state(now_ns) is not VenueState.HALF_OPEN:
            return False
        overdue_ns = self._settings.venue_probe_seconds * SECOND_NS
        if self._probed_ns is not None and 0 <= now_ns - self._probed_ns < overdue_ns:
            return False
        self._probed_ns = now_ns
        return True

    def on_answer(self, operation: Operation, *, is_failure: bool, now_ns: int) -> BreakerTrip | None:
        state = self.state(now_ns)
        if state is VenueState.CLOSED:
            return self._count(is_failure=is_failure, now_ns=now_ns)
        # While it is open, answers are late ones. A new order's is late in any case: none is sent before it closes.
        if state is VenueState.OPEN or operation is Operation.PLACE:
            return None
        if is_failure:
            return self.trip("the probe failed", "", now_ns)
        self._forget()
        self._open.close(now_ns)
        return None

    def trip(self, observed: str, limit: str, now_ns: int) -> BreakerTrip:
        self._forget()
        self._open.open(now_ns)
        return BreakerTrip(TripKind.VENUE_API, observed, limit, now_ns)

    def _count(self, *, is_failure: bool, now_ns: int) -> BreakerTrip | None:
        settings = self._settings
        self._answers.append((now_ns, is_failure))
        self._in_a_row = self._in_a_row + 1 if is_failure else 0
        if not is_failure:
            return None
        if self._in_a_row >= settings.venue_failures_in_a_row:
            return self.trip(f"{self._in_a_row} failures in a row", str(settings.venue_failures_in_a_row), now_ns)
        recent = [failed for at_ns, failed in self._answers if _is_within(at_ns, now_ns, settings.venue_window_seconds)]
        if len(recent) < settings.venue_least_answers:
            return None
        if 100 * sum(recent) < settings.venue_failure_percent * len(recent):
            return None
        observed = f"{sum(recent)} of {len(recent)} answers within {settings.venue_window_seconds} s were failures"
        return self.trip(observed, f"{settings.venue_failure_percent} %", now_ns)

    def _forget(self) -> None:
        self._answers.clear()
        self._in_a_row, self._probed_ns = 0, None

    def to_data(self) -> dict[str, Any]:
        return {
            "open": self._open.to_data(),
            "inARow": self._in_a_row,
            "answers": [[at_ns, int(failed)] for at_ns, failed in self._answers],
            "probed": self._probed_ns,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        self._open.restore(data["open"])
        self._in_a_row = int(data["inARow"])
        self._answers.extend((int(at_ns), bool(failed)) for at_ns, failed in data["answers"])
        self._probed_ns = None if data["probed"] is None else int(data["probed"])


class RejectStorm:
    """New orders that the venue refused, too many at once: we have something wrong."""

    def __init__(self, settings: BreakerSettings = DEFAULTS) -> None:
        self._settings = settings
        self._open = OpenTimes(settings.reject_quiet_seconds, settings.reject_longest_quiet_seconds)
        self._rejects: deque[int] = deque(maxlen=settings.rejects)

    def why_closed_to_risk(self, now_ns: int) -> str:
        left_ns = self._left_ns(now_ns)
        return (
            f"{TripKind.REJECT_STORM}: orders were refused; quiet for another {_seconds(left_ns)} s" if left_ns else ""
        )

    def on_reject(self, now_ns: int) -> BreakerTrip | None:
        if self._left_ns(now_ns):
            self._open.extend(now_ns)  # exits may still leave: quiet begins anew with each that is refused
            return None
        self._rejects.append(now_ns)
        window_seconds = self._settings.reject_window_seconds
        recent = sum(_is_within(at_ns, now_ns, window_seconds) for at_ns in self._rejects)
        if recent < self._settings.rejects:
            return None
        return self.trip(f"{recent} orders refused within {window_seconds} s", str(self._settings.rejects), now_ns)

    def trip(self, observed: str, limit: str, now_ns: int) -> BreakerTrip:
        self._left_ns(now_ns)
        self._rejects.clear()
        self._open.open(now_ns)
        return BreakerTrip(TripKind.REJECT_STORM, observed, limit, now_ns)

    def _left_ns(self, now_ns: int) -> int:
        """It closes by itself."""
        left_ns = self._open.left_ns(now_ns)
        if not left_ns and self._open.until_ns is not None:
            self._open.close(self._open.until_ns)
        return left_ns

    def to_data(self) -> dict[str, Any]:
        return {"open": self._open.to_data(), "rejects": list(self._rejects)}

    def restore(self, data: Mapping[str, Any]) -> None:
        self._open.restore(data["open"])
        self._rejects.extend(int(at_ns) for at_ns in data["rejects"])


class RepeatedExecution:
    """Filled again and again, or filled in a way that cannot be: only a fresh look at the venue clears it."""

    def __init__(self, settings: BreakerSettings = DEFAULTS) -> None:
        self._settings = settings
        self._fills: dict[str, deque[tuple[int, str]]] = {}
        """Time and order, by symbol and side."""
        self.pending: BreakerTrip | None = None
        """The last trip that no reconciliation has cleared."""

    def why_closed_to_risk(self) -> str:
        return "" if self.pending is None else f"{self.pending}; cleared by the next reconciliation that passes"

    def on_fill(self, symbol: str, side: Side, now_ns: int, client_order_id: str) -> BreakerTrip | None:
        seconds, most = self._settings.execution_window_seconds, self._settings.executions
        fills = self._fills.setdefault(f"{symbol} {side.value}", deque(maxlen=most + 1))
        if client_order_id and any(order_id == client_order_id for _, order_id in fills):
            return None
        fills.append((now_ns, client_order_id))
        recent = sum(abs(now_ns - at_ns) < seconds * SECOND_NS for at_ns, _ in fills)
        if recent <= most:
            return None
        fills.clear()
        observed = f"{recent} orders to {side.value} {symbol} were filled within {seconds} s"
        return self.trip(TripKind.REPEATED_EXECUTION, observed, str(most), now_ns)

    def trip(self, kind: TripKind, observed: str, limit: str, now_ns: int) -> BreakerTrip:
        self.pending = BreakerTrip(kind, observed, limit, now_ns)
        return self.pending

    def on_reconciled(self, now_ns: int, *, started_ns: int) -> None:
        """A reconciliation that began to look before the trip has not seen what tripped it."""
        if self.pending is not None and started_ns >= self.pending.at_ns:
            self.pending = None
        elif self.pending is not None and self.pending.at_ns > now_ns:
            self.pending = replace(self.pending, at_ns=now_ns)  # the clock stepped back: the next one will have seen it

    def to_data(self) -> dict[str, Any]:
        pending = self.pending
        return {
            "pending": pending and [pending.kind.value, pending.observed, pending.limit, pending.at_ns],
            "fills": {key: [list(fill) for fill in fills] for key, fills in self._fills.items()},
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        if data["pending"] is not None:
            kind, observed, limit, at_ns = data["pending"]
            self.pending = BreakerTrip(TripKind(kind), observed, limit, int(at_ns))
        for key, fills in data["fills"].items():
            pairs = ((int(at_ns), str(order_id)) for at_ns, order_id in fills)
            self._fills[key] = deque(pairs, maxlen=self._settings.executions + 1)


class Breakers:
    """All of them together, for one account at one venue."""

    def __init__(self, settings: BreakerSettings = DEFAULTS) -> None:
        self.venue = VenueBreaker(settings)
        self.rejects = RejectStorm(settings)
        self.executions = RepeatedExecution(settings)
        self._trips: list[BreakerTrip] = []
        self.total_trips = 0
        """Ever, over restarts."""
        self.last_trip_ns: int | None = None

    @property
    def trips(self) -> tuple[BreakerTrip, ...]:
        """Since the start of this process, oldest first. All of them: none may be missing in the audit."""
        return tuple(self._trips)

    def on_answer(self, meaning: Meaning, operation: Operation, now_ns: int) -> BreakerTrip | None:
        """Of each answer, with outcome.SUCCESS for the good ones. The trip that it caused, for the audit."""
        trip = self.venue.on_answer(operation, is_failure=meaning.is_venue_fault, now_ns=now_ns)
        is_refusal = operation is Operation.PLACE and meaning.outcome is Outcome.REJECTED
        if trip is None and is_refusal and not meaning.is_venue_fault and not meaning.is_ordinary:
            trip = self.rejects.on_reject(now_ns)
        return self._record(trip)

    def on_fill(self, symbol: str, side: Side, now_ns: int, client_order_id: str = "") -> BreakerTrip | None:
        """At the fill's own time: fills that recovery finds in one moment were not made in one moment.

        With the order's id its fills count once: one large order is filled in many pieces.
        """
        return self._record(self.executions.on_fill(symbol, side, now_ns, client_order_id))

    def on_reconciled(self, now_ns: int, started_ns: int | None = None) -> None:
        """A reconciliation has passed. `started_ns`: when it began to look; now, if it is not given."""
        self.executions.on_reconciled(now_ns, started_ns=now_ns if started_ns is None else started_ns)

    def trip(self, kind: TripKind, text: str, now_ns: int) -> BreakerTrip:
        """On somebody else's finding, like a contradiction of the order machine."""
        if kind is TripKind.VENUE_API:
            trip = self.venue.trip(text, "", now_ns)
        elif kind is TripKind.REJECT_STORM:
            trip = self.rejects.trip(text, "", now_ns)
        else:
            trip = self.executions.trip(kind, text, "", now_ns)
        self._record(trip)
        return trip

    def allows_new_risk(self, now_ns: int) -> str:
        """Why an entry may not leave now; empty when it may. Exits, cancels and queries are not asked for."""
        reasons = (
            self.executions.why_closed_to_risk(),
            self.venue.why_closed_to_risk(now_ns),
            self.rejects.why_closed_to_risk(now_ns),
        )
        return "; ".join(reason for reason in reasons if reason)

    def open_kinds(self, now_ns: int) -> tuple[TripKind, ...]:
        """Those that do not let new risk pass now: for the status."""
        reasons = {
            TripKind.VENUE_API: self.venue.why_closed_to_risk(now_ns),
            TripKind.REJECT_STORM: self.rejects.why_closed_to_risk(now_ns),
        }
        pending = self.executions.pending
        return (*(kind for kind, reason in reasons.items() if reason), *((pending.kind,) if pending else ()))

    def may_probe(self, operation: Operation, now_ns: int) -> bool:
        """Whether this request is to be sent to find out if the venue is back. Asking takes the place."""
        return self.venue.may_probe(operation, now_ns)

    def to_counters(self) -> dict[str, str]:
        return {
            _VENUE: _dump(self.venue.to_data()),
            _REJECTS: _dump(self.rejects.to_data()),
            _FILLS: _dump(self.executions.to_data()),
            _TRIPS: _dump({"total": self.total_trips, "last": self.last_trip_ns}),
        }

    @classmethod
    def from_counters(cls, counters: Mapping[str, str], settings: BreakerSettings = DEFAULTS) -> Self:
        """What `to_counters` wrote; closed breakers when nothing was written. ValueError for anything else."""
        breakers = cls(settings)
        parts = (
            (_VENUE, breakers.venue.restore),
            (_REJECTS, breakers.rejects.restore),
            (_FILLS, breakers.executions.restore),
            (_TRIPS, breakers._restore_trips),
        )
        for name, restore in parts:
            if name in counters:
                try:
                    restore(json.loads(counters[name]))
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"counter {name} is not what breakers have written") from error
        return breakers

    def _restore_trips(self, data: Mapping[str, Any]) -> None:
        self.total_trips = int(data["total"])
        self.last_trip_ns = None if data["last"] is None else int(data["last"])

    def _record(self, trip: BreakerTrip | None) -> BreakerTrip | None:
        if trip is not None:
            self._trips.append(trip)
            self.total_trips += 1
            self.last_trip_ns = trip.at_ns
        return trip


def _is_within(at_ns: int, now_ns: int, seconds: int) -> bool:
    """What seems to come later than now, after a step back of the clock, was just now."""
    return now_ns - at_ns < seconds * SECOND_NS


def _seconds(left_ns: int) -> int:
    """Rounded up: 0 would say that it is over."""
    return -(-left_ns // SECOND_NS)


def _dump(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))

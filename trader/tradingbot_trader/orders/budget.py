"""PURE. How much may be asked of the venue, and who comes first: cancels, exits, queries, entries. In the gateway.

Windows begin with each minute (10 s, day) of the venue's clock, as at Binance, and the venue's own numbers in its
headers count the other bots behind this address with us. `now_ns` is the trusted time, which may step back a little.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

SECOND_NS = 1_000_000_000


class Lane(StrEnum):
    """In this order."""

    CANCEL = "Cancel"
    EXIT = "Exit"
    """A new order that takes risk off."""
    QUERY = "Query"
    NEW = "New"
    """A new order that adds risk."""


WEIGHT_PERCENT: Mapping[Lane, int] = MappingProxyType({Lane.NEW: 70, Lane.QUERY: 85, Lane.EXIT: 90, Lane.CANCEL: 100})
"""How full a window of weight may get by each lane. The last 10 % are the cancels': at Binance 600 of them in a minute.
The 5 % below are the exits', 300 in a minute: neither entries nor questions keep a stop-loss in. The 15 % below are the
queries': they resolve lost answers, and a flood of new orders must not stop that."""
ORDERS_PERCENT: Mapping[Lane, int] = MappingProxyType({Lane.NEW: 90, Lane.EXIT: 100})
"""The same of a window of orders, in which nothing else is counted: the last tenth is the exits'."""
ARRIVAL_NS = 5 * SECOND_NS
"""A number that arrives so early in a window may still be the one of the window before, so a lower one may follow."""


class Counts(StrEnum):
    """What a window counts, in the words of `exchangeInfo.rateLimits`."""

    WEIGHT = "REQUEST_WEIGHT"
    ORDERS = "ORDERS"
    REQUESTS = "RAW_REQUESTS"


_UNIT_SECONDS = {"S": 1, "M": 60, "H": 3_600, "D": 86_400}
_HEADER = re.compile(r"x-mbx-(used-weight|order-count)-(\d+)([smhd])", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So much in each window of that length."""

    counts: Counts
    window_seconds: int
    limit: int

    def __post_init__(self) -> None:
        if self.window_seconds <= 0 or self.limit <= 0:
            raise ValueError(f"{self} allows nothing")


BINANCE_LIMITS = (
    RateLimit(Counts.WEIGHT, 60, 6_000),
    RateLimit(Counts.ORDERS, 10, 100),
    RateLimit(Counts.ORDERS, 86_400, 200_000),
)
"""Binance spot's `exchangeInfo` in 2025: in force until the venue's own are learned. By address; orders by account."""


@dataclass(slots=True)
class _Window:
    limit: RateLimit
    start_ns: int = 0
    own: int = 0
    others: int = 0
    """What the venue counted beyond our own."""
    others_seen_ns: int = 0
    """Since the window's start."""

    @property
    def used(self) -> int:
        return self.own + self.others

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.limit.window_seconds * SECOND_NS

    def turn(self, now_ns: int) -> None:
        """Into the window of now, if that is a later one: a clock that steps back opens none for the second time."""
        length_ns = self.limit.window_seconds * SECOND_NS
        start_ns = now_ns - now_ns % length_ns
        if start_ns > self.start_ns:
            self.start_ns, self.own, self.others, self.others_seen_ns = start_ns, 0, 0, 0
        elif start_ns < self.start_ns - length_ns:
            self.start_ns = start_ns  # it had jumped far ahead: what was used stays used, but not until that time comes

    def cost_of(self, lane: Lane, weight: int) -> int:
        if self.limit.counts is Counts.WEIGHT:
            return weight
        if self.limit.counts is Counts.ORDERS:
            return 1 if lane in ORDERS_PERCENT else 0
        return 1

    def allowed(self, lane: Lane) -> int:
        percents = ORDERS_PERCENT if self.limit.counts is Counts.ORDERS else WEIGHT_PERCENT
        return self.limit.limit * percents[lane] // 100

    def has_room(self, lane: Lane, cost: int) -> bool:
        if cost == 0 or self.used + cost <= self.allowed(lane):
            return True
        # One request that is larger than its lane's share would wait for ever: it gets a window that nobody has used.
        return self.used == 0 and self.can_ever(lane, cost)

    def can_ever(self, lane: Lane, cost: int) -> bool:
        """Even then it leaves a cancel its place."""
        if self.limit.counts is Counts.ORDERS or lane is Lane.CANCEL:
            return cost <= self.limit.limit
        return cost < self.limit.limit


class RateBudget:
    """`next_allowed_ns` says when, `take` takes it in the moment in which the request leaves."""

    def __init__(self, limits: Iterable[RateLimit] = BINANCE_LIMITS) -> None:
        self._windows: dict[tuple[Counts, int], _Window] = {}
        self._paused_until_ns = self._pause_ns = 0
        self._no_orders_until_ns = self._no_orders_ns = 0
        self._set(limits)

    @property
    def limits(self) -> tuple[RateLimit, ...]:
        return tuple(window.limit for window in self._windows.values())

    def learn_limits(self, rate_limits: Iterable[Mapping[str, Any]]) -> None:
        """From `exchangeInfo.rateLimits`. What was used stays used; kinds that it does not name stay as they are."""
        learned = [limit for each in rate_limits if (limit := _parse_limit(each)) is not None]
        kinds = {limit.counts for limit in learned}
        self._set([*learned, *(limit for limit in self.limits if limit.counts not in kinds)])

    def observe_headers(self, headers: Mapping[str, str], now_ns: int) -> None:
        """Of each answer, errors too. Headers that say nothing about a window of ours are left alone."""
        for name, value in headers.items():
            match, text = _HEADER.fullmatch(name.strip()), str(value).strip()
            if match is None or not _DIGITS.fullmatch(text):
                continue
            counts = Counts.WEIGHT if match[1].lower() == "used-weight" else Counts.ORDERS
            window = self._windows.get((counts, int(match[2]) * _UNIT_SECONDS[match[3].upper()]))
            if window is not None:
                window.turn(now_ns)
                _count_others(window, int(text), now_ns)

    def pause(self, seconds: float, now_ns: int) -> None:
        """After 429 or 418: nothing leaves in any lane until then. A shorter pause never ends a longer."""
        if not math.isfinite(seconds):
            raise ValueError(f"a pause of {seconds} seconds has no end")
        self._paused_until_ns = max(self._paused_until_ns, now_ns + math.ceil(seconds * SECOND_NS))
        self._pause_ns = self._paused_until_ns - now_ns

    def orders_used_up(self, now_ns: int) -> None:
        """After -1015 (too many new orders), which comes without a time: no new order in the shortest window of orders.

        Which window it was, only Binance's text says. If it was the day's, the next try is refused as well.
        """
        for window in self._windows.values():
            window.turn(now_ns)
        ends = [window.end_ns for window in self._windows.values() if window.limit.counts is Counts.ORDERS]
        self._no_orders_until_ns = max(self._no_orders_until_ns, min(ends, default=now_ns + 10 * SECOND_NS))
        self._no_orders_ns = self._no_orders_until_ns - now_ns

    def next_allowed_ns(self, lane: Lane, weight: int, now_ns: int) -> int:
        """When a request may leave; `now_ns` if at once. Nothing is taken. ValueError for one that never may."""
        if weight < 0:
            raise ValueError(f"a request cannot have the weight {weight}")
        # A clock that had jumped far ahead and is right again: no pause is longer than it was when it began.
        self._paused_until_ns = min(self._paused_until_ns, now_ns + self._pause_ns)
        self._no_orders_until_ns = min(self._no_orders_until_ns, now_ns + self._no_orders_ns)
        at_ns = max(now_ns, self._paused_until_ns, self._no_orders_until_ns if lane in ORDERS_PERCENT else 0)
        for window in self._windows.values():
            window.turn(now_ns)
            cost = window.cost_of(lane, weight)
            if not window.can_ever(lane, cost):
                raise ValueError(f"a {lane} request of weight {weight} never fits into {window.limit}")
            if not window.has_room(lane, cost):
                at_ns = max(at_ns, window.end_ns)
        return at_ns

    def take(self, lane: Lane, weight: int, now_ns: int) -> None:
        """The request leaves now. ValueError if it may not: nothing is taken then, and it must not be sent."""
        allowed_ns = self.next_allowed_ns(lane, weight, now_ns)
        if allowed_ns > now_ns:
            raise ValueError(f"a {lane} request may leave in {(allowed_ns - now_ns) / SECOND_NS:.1f} s, not now")
        for window in self._windows.values():
            window.own += window.cost_of(lane, weight)

    def used_percent(self, now_ns: int) -> int:
        """Of the window that is fullest, by us and others. For metrics and status."""
        for window in self._windows.values():
            window.turn(now_ns)
        return max((100 * window.used // window.limit.limit for window in self._windows.values()), default=0)

    def _set(self, limits: Iterable[RateLimit]) -> None:
        before, self._windows = self._windows, {}
        for limit in limits:
            key = (limit.counts, limit.window_seconds)
            window = before.get(key) or self._windows.get(key) or _Window(limit)
            window.limit = limit
            self._windows[key] = window


def _count_others(window: _Window, observed: int, now_ns: int) -> None:
    others, since_start_ns = max(observed - window.own, 0), now_ns - window.start_ns
    # Weight only grows within a window, so a lower number is an older one, unless the higher was of the window before.
    # The count of orders shrinks when they fill: not to believe that costs an order, and never breaks a limit.
    if others >= window.others or window.others_seen_ns < ARRIVAL_NS:
        window.others, window.others_seen_ns = others, since_start_ns


def _parse_limit(each: Mapping[str, Any]) -> RateLimit | None:
    """None for what we do not know: a new kind of limit must not stop a cancel."""
    try:
        unit = _UNIT_SECONDS[str(each["interval"])[:1].upper()]
        return RateLimit(Counts(each["rateLimitType"]), unit * int(each["intervalNum"]), int(each["limit"]))
    except (KeyError, TypeError, ValueError):
        return None

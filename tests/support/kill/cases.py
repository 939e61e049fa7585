"""PURE. What is tried: where the trader is killed, with which order under way, and the fate of the venue's answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

BEFORE_THE_WIRE = (
    "commit:intent:before",
    "commit:intent:after",
    "commit:sent:before",
    "commit:sent:after",
    "order:before-send",
)
"""The order never reaches the venue. From the second on it takes the trader 66 s to be sure (orders/doubt.py)."""
ON_THE_WAY = ("order:after-send", "order:after-accept", "order:after-answer")
IN_THE_BOOKS = (
    "commit:fill:before",
    "commit:fill:after",
    "commit:end:before",
    "commit:end:after",
    "report:before",
    "report:after",
)
CANCELLING = ("cancel:before-send", "cancel:after-accept")
"""Of an order that rests: limit alone."""
RECOVERING = {
    "commit:epoch:after": "order:after-accept",
    "query:after-answer": "order:after-send",
    "commit:adopted:before": "order:after-accept",
}
"""In the second life, and where the first one ended. Before the last one the volume is lost, too: the store is rebuilt
from the venue. A query needs an order of which the first life has seen nothing."""
POINTS = (*BEFORE_THE_WIRE, *ON_THE_WAY, *IN_THE_BOOKS, *CANCELLING, *RECOVERING)
KINDS = ("market", "limit", "ioc")
"""A limit order rests (GTC); of an immediate-or-cancel the venue takes a part, so that it expires."""
FATES = ("kept", "lost", "late")
"""Of the venue's answer to the order, or to the cancel. Where the kill comes on its way, a lost one also means that
queries do not know the order for a while."""


@dataclass(frozen=True, slots=True)
class Life:
    """One run of the process."""

    point: str = ""
    """Where it ends by SIGKILL; empty: it runs until SIGTERM."""
    may_order: bool = False
    loses_volume: bool = False
    """It finds no store where there was one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """For the venue's fault script; about requests of this case alone."""

    operation: str
    effect: str
    fields: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    point: str
    kind: str
    fate: str

    def __str__(self) -> str:
        return f"{self.point}/{self.kind}/{self.fate}"

    @property
    def is_slow(self) -> bool:
        """It has to wait until an order is presumed absent."""
        return self.point in BEFORE_THE_WIRE[1:]

    @property
    def loses_volume(self) -> bool:
        return any(life.loses_volume for life in self.lives)

    @property
    def has_to_fill(self) -> bool:
        """The market has to come to an order that rests."""
        return self.kind == "limit" and self.point.startswith("commit:fill:")

    @property
    def has_to_expire(self) -> bool:
        """An order that rests is given up by its strategy, before or at the point."""
        return self.kind == "limit" and (self.point in CANCELLING or self.point.startswith("commit:end:"))

    @property
    def expires_after_candles(self) -> int:
        """0: never. One that has to fill is tried anew where the market is then."""
        return 5 if self.has_to_fill else 2 if self.has_to_expire else 0

    @property
    def lives(self) -> tuple[Life, ...]:
        """The last one has to trade again."""
        last = Life(may_order=True)
        if self.point in RECOVERING:
            second = Life(self.point, loses_volume=self.point == "commit:adopted:before")
            return Life(RECOVERING[self.point], may_order=True), second, last
        return Life(self.point, may_order=True), last

    @property
    def rules(self) -> tuple[Rule, ...]:
        operation = "cancel" if self.point in CANCELLING else "place"
        answer = _answer_rule(operation, RECOVERING.get(self.point, self.point), self.fate)
        partial = (Rule("place", "partial-fill", (("most_base", "0.0002"),)),) if self.kind == "ioc" else ()
        # The next life cancels what rests, and would know by that answer alone.
        silent = (Rule("cancel", "lose-request"),) if self.point == "query:after-answer" else ()
        # "Not found" proves nothing: Binance answers queries from a memory that is late.
        is_hidden = self.fate == "lost" and self.point in ON_THE_WAY
        hidden = (Rule("place", "hide-order", (("seconds", "6"),)),) if is_hidden else ()
        return (*answer, *partial, *silent, *hidden)


def _answer_rule(operation: str, point: str, fate: str) -> tuple[Rule, ...]:
    """Times in seconds. While an answer is held back there is time to be killed in; all are within recvWindow (3 s)."""
    if point.endswith(":after-send"):
        seconds = {"kept": "1", "lost": "1", "late": "2"}[fate]
        return (Rule(operation, "accept-late", (("seconds", seconds), ("answered", fate != "lost"))),)
    held = point.endswith(":after-accept")
    if fate == "lost":
        return (Rule(operation, "lose-answer", (("seconds", "2" if held else "0"),)),)
    seconds = {"kept": "2" if held else "0", "late": "6" if held else "2"}[fate]
    return (Rule(operation, "answer-late", (("seconds", seconds),)),) if seconds != "0" else ()


def all_cases() -> tuple[Case, ...]:
    return tuple(
        Case(point, kind, fate)
        for point in POINTS
        for kind in KINDS
        for fate in FATES
        if point not in CANCELLING or kind == "limit"
    )


def find_case(text: str) -> Case:
    """As it is printed. ValueError."""
    found = next((case for case in all_cases() if str(case) == text), None)
    if found is None:
        raise ValueError(f"there is no case {text!r}; one is {all_cases()[0]}")
    return found


Pair = tuple[tuple[str, str], tuple[str, str]]


def pairs_of(case: Case) -> frozenset[Pair]:
    """Each two of its three values, by name."""
    named = (("point", case.point), ("kind", case.kind), ("fate", case.fate))
    return frozenset(combinations(named, 2))


def select_pairwise(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Few of these cases, in which every pair of values that occurs in them occurs. The same each time.

    Greedy: the case with the most pairs that are new; of equals the one whose kind and fate were together least often,
    then the first.
    """
    missing = set[Pair]().union(*map(pairs_of, cases))
    together: Counter[tuple[str, str]] = Counter()
    chosen: list[Case] = []
    while missing:
        best = max(cases, key=lambda case: (len(missing & pairs_of(case)), -together[case.kind, case.fate]))
        chosen.append(best)
        together[best.kind, best.fate] += 1
        missing -= pairs_of(best)
    return tuple(case for case in cases if case in chosen)


def slow_first(cases: Iterable[Case]) -> Iterator[Case]:
    """Those that wait for a minute run beside all the others."""
    yield from sorted(cases, key=lambda case: not case.is_slow)

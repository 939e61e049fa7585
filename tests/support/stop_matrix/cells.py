"""PURE. What is tried with real processes: who stops a bot, in which moment, with which action; and what is left out.

Sources, situations and actions have the names of the simulation's cells (simulation/stop_cells.py). Here each source
meets each situation once; the actions are dealt so that each meets each source and each situation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from support.simulation.stop_cells import ACTIONS, LATCHING, SELF_CLEARING, SITUATIONS

NO_ACTION = ""
"""Of a source that clears itself: it holds back, and asks for nothing."""
OPERATOR_DEAD, API_DEAD = "operator-dead", "api-dead"
CONTACT, CLOCK = "lost-contact", "clock-skew"
LEFT_OUT: Mapping[tuple[str, str], str] = {
    ("lost-lease", API_DEAD): "contact is lost 26 s before the Lease: it would be lost-contact once more",
    (CONTACT, API_DEAD): "the dead API server is the source itself: it would be lost-contact/idle once more",
    (CLOCK, API_DEAD): "the venue's clock is everybody's, and would hold all the other cells of that outage back",
}
"""Pairs of source and situation that are not played here, each with its reason. The simulation plays them all."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    source: str
    situation: str
    action: str = NO_ACTION

    def __str__(self) -> str:
        return "/".join(part for part in (self.source, self.situation, self.action) if part)

    @property
    def latches(self) -> bool:
        return self.source in LATCHING


def all_cells() -> tuple[Cell, ...]:
    """In the tables' order, so that the same cell always has the same action."""
    latching = (
        Cell(source, situation, ACTIONS[(row + column) % len(ACTIONS)])
        for row, source in enumerate(LATCHING)
        for column, situation in enumerate(SITUATIONS)
    )
    clearing = (Cell(source, situation) for source in SELF_CLEARING for situation in SITUATIONS)
    return tuple(cell for cell in (*latching, *clearing) if (cell.source, cell.situation) not in LEFT_OUT)


def find_cell(text: str) -> Cell:
    """As it is printed. ValueError."""
    found = next((cell for cell in all_cells() if str(cell) == text), None)
    if found is None:
        raise ValueError(f"there is no cell {text!r}; one is {all_cells()[0]}")
    return found


_SLICE = {
    "cancels-5xx": "kill-switch",
    "partially-filled": "halt",
    "websocket-down": "daily-loss",
    "in-flight": "signal",
    "answer-lost": "break-glass",
    "idle": "disk-full",
    "operator-dead": "drawdown",
    "api-dead": "halt",
}
SLICE = tuple(cell for cell in all_cells() if _SLICE[cell.situation] == cell.source or cell == Cell(CONTACT, "idle"))
"""What `make test` plays: each situation once, and most of the sources."""

Pair = tuple[tuple[str, str], tuple[str, str]]


def pairs_of(cell: Cell) -> frozenset[Pair]:
    """Each two of its values, by name."""
    named = [("source", cell.source), ("situation", cell.situation)]
    named += [("action", cell.action)] if cell.action else []
    return frozenset(combinations(named, 2))


def wanted_pairs() -> frozenset[Pair]:
    """What has to occur: all that the simulation's tables make possible, but what is left out with a reason."""
    every: set[Pair] = set()
    for source in (*LATCHING, *SELF_CLEARING):
        every |= {
            (("source", source), ("situation", situation))
            for situation in SITUATIONS
            if (source, situation) not in LEFT_OUT
        }
    for action in ACTIONS:
        every |= {(("source", source), ("action", action)) for source in LATCHING}
        every |= {(("situation", situation), ("action", action)) for situation in SITUATIONS}
    return frozenset(every)


# Who plays with whom: what takes the operator, the API server or the clock away takes it from everybody.


def is_local(cell: Cell) -> bool:
    """It disturbs one bot alone."""
    return cell.source not in (CONTACT, CLOCK) and cell.situation not in (OPERATOR_DEAD, API_DEAD)


def without_operator(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.situation == OPERATOR_DEAD and cell.source not in (CONTACT, CLOCK)]


def at_the_clock(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.source == CLOCK]


def without_api(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.source == CONTACT or cell.situation == API_DEAD]


def in_halves(cells: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
    """Of an outage that many have to meet: each bot costs the machine something all the time."""
    half = (len(cells) + 1) // 2
    yield cells[:half]
    yield cells[half:]

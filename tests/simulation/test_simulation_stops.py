"""Each source of a stop, in each situation, with each action: nothing leaves, and what is told is what the venue knows.

One process, virtual time, the sandbox's venue; what a cell is made of stands in support/simulation/stop_cells.py and
stop_plays.py.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from support.simulation.stop_cells import ACTIONS, LATCHING, SELF_CLEARING, SITUATIONS
from support.simulation.stop_plays import (
    play_decided,
    play_latching,
    play_nothing_held,
    play_protective_stop_fills,
    play_self_clearing,
)
from support.virtual import run
from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults_rules import Operation, Rule, When

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("source", LATCHING)
def test_stop_lets_nothing_out_and_tells_the_truth(source: str, situation: str, action: str, tmp_path: Path) -> None:
    run(play_latching(tmp_path, source=LATCHING[source], situation=SITUATIONS[situation], action=action, crashes=False))


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("source", SELF_CLEARING)
def test_source_that_clears_itself_sells_nothing_and_trades_again(source: str, situation: str, tmp_path: Path) -> None:
    run(play_self_clearing(tmp_path, source=SELF_CLEARING[source], situation=SITUATIONS[situation]))


@pytest.mark.parametrize("situation", ["idle", "in-flight", "answer-lost", "partially-filled", "cancels-5xx"])
@pytest.mark.parametrize("source", LATCHING)
def test_stop_survives_a_crash_in_the_moment_in_which_it_is_durable(
    source: str, situation: str, tmp_path: Path
) -> None:
    cell = {"source": LATCHING[source], "situation": SITUATIONS[situation]}
    run(play_latching(tmp_path, **cell, action="CancelOrders", crashes=True))


FIRST_ORDER = When(operation=Operation.PLACE, nth=1)
LOST = Rule(when=FIRST_ORDER, what=rules.LoseAnswer())
HIDDEN = Rule(when=FIRST_ORDER, what=rules.HideOrder(seconds=Decimal(10), trades=True))
UNTOLD = Rule(when=When(operation=Operation.USER_STREAM), what=rules.DropEvents(events=1000))
FATES: dict[str, tuple[tuple[Rule, ...], float]] = {
    "late": ((Rule(when=FIRST_ORDER, what=rules.AcceptLate(seconds=Decimal(2))),), 1.5),
    "answer-lost": ((LOST,), 0.0),
    "answer-lost-and-hidden": ((LOST, HIDDEN, UNTOLD), 5.0),
    "request-lost": ((Rule(when=FIRST_ORDER, what=rules.LoseRequest()),), 60.0),
}
"""What becomes of the entry, and how long at least nobody can know. A lost request takes its minute."""


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fate", FATES)
def test_flat_is_unknown_while_an_entry_may_be_filling(fate: str, action: str, tmp_path: Path) -> None:
    faults, seconds = FATES[fate]
    run(play_nothing_held(tmp_path, faults=faults, action=action, least_unknown_seconds=seconds))


@pytest.mark.parametrize("trader", ["running", "dead"])
@pytest.mark.parametrize("action", ["ReduceOnly", "CancelOrders"])
def test_protective_stop_that_fills_under_a_latch_is_told_as_filled(action: str, trader: str, tmp_path: Path) -> None:
    run(play_protective_stop_fills(tmp_path, action=action, crashes=trader == "dead"))


def test_entry_that_was_decided_before_the_stop_does_not_leave_after_it(tmp_path: Path) -> None:
    run(play_decided(tmp_path))

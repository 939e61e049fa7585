"""The matrix of stops finds a real trader that lies about a stop: each mutant is installed, and one cell is played."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from support.simulation.mutant import Edit
from support.stop_matrix.cells import find_cell
from support.stop_matrix.stage import play_cells

pytestmark = [pytest.mark.control_plane, pytest.mark.soak, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Mutant:
    edit: Edit
    cell: str
    found: str
    """What the cell breaks with."""


MUTANTS = {
    "a-latch-holds-nothing-back": Mutant(
        ("control/state.py", "Cause.LATCHED: TradingState.REDUCE_ONLY", "Cause.LATCHED: TradingState.ACTIVE"),
        "signal/idle/CancelOrders",
        "came to the venue",
    ),
    "what-is-held-is-told-as-flat": Mutant(
        ("control/stop.py", "            return Flat.FALSE\n", "            return Flat.TRUE\n"),
        "kill-switch/idle/ReduceOnly",
        "flat is True, and the venue holds",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_real_trader_that_lies_is_found(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    cell = find_cell(mutant.cell)
    results = play_cells(tmp_path, [cell], edits=[mutant.edit])
    assert mutant.found in results.broken.get(cell, "")

"""Stops of real processes, pairwise: each source in each situation, judged by the venue's own log and book.

`make test` plays nine cells, in its second part: ten bots at once would starve its neighbours in the first. `make e2e`
plays all of them. What is tried, and what is left out and why, stands in
support/stop_matrix/cells.py; that nothing else is missing, and that a lie is found, in test_stop_matrix_cells.py.
"""

from __future__ import annotations

import os

import pytest

from support.stop_matrix.cells import SLICE, Cell, all_cells, find_cell
from support.stop_matrix.stage import play_cells
from support.stop_matrix.waves import Results


def _chosen() -> tuple[Cell, ...]:
    """TRADINGBOT_STOP_CELLS: `all`, or names with commas between."""
    wanted = os.environ.get("TRADINGBOT_STOP_CELLS", "")
    if wanted == "all":
        return all_cells()
    return tuple(find_cell(name) for name in wanted.split(",")) if wanted else SLICE


CELLS = _chosen()
pytestmark = [pytest.mark.control_plane, pytest.mark.soak, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return play_cells(tmp_path_factory.mktemp("matrix"), CELLS)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_stop_lets_nothing_out_and_tells_what_the_venue_knows(cell: Cell, results: Results) -> None:
    assert cell in results.played
    assert results.broken.get(cell, "") == ""

"""The harness finds what it is for: edited copies of the trader, each killed where it cannot come back from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.kill.harness import CaseFailed, play
from support.kill.mutants import MUTANTS, Edit, Mutant, NoSuchText, plant
from support.kill.nursery import open_nursery
from tradingbot_sandbox.venues.process import VenueProcess

SETTLE_SECONDS = 30.0
"""A healthy trader needs five in these cases."""

Ask = Callable[[Mutant], str]


@pytest.fixture(scope="module")
def ask(venue: VenueProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """All are played at once. What the harness says of a mutant; empty when it notices nothing."""

    def try_mutant(mutant: Mutant, folder: Path) -> str:
        root = plant(mutant, folder / "root")
        with open_nursery(folder / "log", package_roots=(root,)) as nursery:
            try:
                play(mutant.case, venue, nursery, folder / "case", settle_seconds=SETTLE_SECONDS)
            except CaseFailed as failed:
                return str(failed)
        return ""

    folder = tmp_path_factory.mktemp("mutants")
    with ThreadPoolExecutor(len(MUTANTS)) as pool:
        verdicts = {m: pool.submit(try_mutant, m, folder / str(number)) for number, m in enumerate(MUTANTS)}
        yield lambda mutant: verdicts[mutant].result()


@pytest.mark.soak
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_harness_finds_the_mutant(ask: Ask, mutant: Mutant) -> None:
    assert mutant.found in ask(mutant)


def test_a_mutant_whose_text_is_gone_says_so(tmp_path: Path) -> None:
    mutant = Mutant(name="gone", edits=(Edit("desk.py", "no such line", ""),), case=MUTANTS[0].case, found="")
    with pytest.raises(NoSuchText, match=r"gone: desk\.py holds this 0 times"):
        plant(mutant, tmp_path)

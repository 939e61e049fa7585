"""The real trader, killed by SIGKILL and started again: a pairwise selection of what `make soak` plays whole.

All selected cases are played at once, most of them waiting for the venue or for a minute to pass; the tests only ask
for the verdicts. Alone: `make soak CASE=...`, as the failure says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from support.kill.cases import Case, all_cases, select_pairwise, slow_first
from support.kill.harness import CaseFailed, Played, play
from support.kill.nursery import Nursery
from tradingbot_sandbox.venues.process import VenueProcess

TRADERS_AT_ONCE = 16
"""Each works for a second in all. Twelve of the cases wait until an order is presumed absent."""

pytestmark = pytest.mark.soak
Ask = Callable[[Case], Played]


@pytest.fixture(scope="module")
def ask(
    request: pytest.FixtureRequest, venue: VenueProcess, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ask]:
    folder = tmp_path_factory.mktemp("kill")
    chosen = [
        i.callspec.params["case"] for i in request.session.items if isinstance(i, pytest.Function) and _is_here(i)
    ]
    with ThreadPoolExecutor(TRADERS_AT_ONCE) as pool:
        verdicts: dict[Case, Future[Played]] = {
            case: pool.submit(play, case, venue, nursery, folder / str(number))
            for number, case in enumerate(slow_first(chosen))
        }
        try:
            yield lambda case: verdicts[case].result()
        finally:
            pool.shutdown(cancel_futures=True)


def _is_here(item: pytest.Function) -> bool:
    return item.originalname == test_venue_and_ledger_agree_after_the_kill.__name__


@pytest.mark.parametrize("case", list(slow_first(select_pairwise(all_cases())))[::-1], ids=str)
def test_venue_and_ledger_agree_after_the_kill(ask: Ask, case: Case) -> None:
    try:
        played = ask(case)
    except CaseFailed as failed:
        pytest.fail(f"{failed}\nagain: make soak CASE={case} KEEP=1", pytrace=False)
    assert played.truth["orders"], "the last life has traded"

"""`make soak`: kills the real trader at every point, with every kind of order and every fate of its answer.

One case again: `make soak CASE=order:after-send/ioc/lost`. KEEP=1 leaves its folder: store, logs, points passed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from support.kill.cases import FATES, KINDS, POINTS, Case, all_cases, find_case, select_pairwise, slow_first
from support.kill.harness import VENUE_OPTIONS, Played, play
from support.kill.nursery import open_nursery
from tradingbot_sandbox.venues.process import running_venue


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=find_case, action="append", help="POINT/KIND/FATE; may be given again")
    parser.add_argument("--point", choices=POINTS, help="all cases of one point")
    parser.add_argument("--pairwise", action="store_true", help="the selection that `make test` plays")
    parser.add_argument("--times", type=int, default=1, help="each case so often")
    parser.add_argument("--jobs", type=int, default=16, help="traders at once; most of them wait")
    parser.add_argument("--keep", action="store_true", help="leave the folders")
    options = parser.parse_args()
    cases: tuple[Case, ...] = tuple(options.case or all_cases())
    if options.point:
        cases = tuple(case for case in cases if case.point == options.point)
    if options.pairwise:
        cases = select_pairwise(cases)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        results = _play_all(tuple(slow_first(cases * options.times)), folder, jobs=options.jobs)
    finally:
        if options.keep:
            _say(f"the folders are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if any(problem for _, _, problem in results) else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


Result = tuple[Case, Played | None, str]


def _play_all(cases: tuple[Case, ...], folder: Path, *, jobs: int) -> list[Result]:
    began, results = time.monotonic(), list[Result]()
    with (
        running_venue("binance", VENUE_OPTIONS) as venue,
        open_nursery(folder / "nursery.log") as nursery,
        ThreadPoolExecutor(jobs) as pool,
    ):
        waiting: dict[Future[Played], Case] = {
            pool.submit(play, case, venue, nursery, folder / str(number)): case for number, case in enumerate(cases)
        }
        for done in as_completed(waiting):
            case, error = waiting[done], done.exception()
            played = None if error else done.result()
            results.append((case, played, f"{type(error).__name__}: {error}" if error else ""))
            words = "BROKEN" if error else f"{played.seconds:5.1f} s" if played else ""
            _say(f"{len(results):4} of {len(cases)} {words:>8} {case}")
            if error:
                _say(f"{results[-1][2]}\nagain: make soak CASE={case} KEEP=1")
    _say(_table(results))
    broken = sum(bool(problem) for _, _, problem in results)
    orders = sum(len(played.truth["orders"]) for _, played, _ in results if played)
    trades = sum(len(played.truth["trades"]) for _, played, _ in results if played)
    _say(f"{len(results)} cases in {time.monotonic() - began:.0f} s: {broken} broken, {orders} orders, {trades} trades")
    for case, _, problem in results:
        if problem:
            _say(f"  make soak CASE={case} KEEP=1    {problem.splitlines()[0]}")
    return results


def _table(results: list[Result]) -> str:
    """A line a point, a column for each kind and fate: how many were played, or how many of them broke."""
    columns = [(kind, fate) for kind in KINDS for fate in FATES]
    lines = [
        f"{'':22}" + "".join(f"{kind:>7}" for kind, _ in columns),
        f"{'':22}" + "".join(f"{f:>7}" for _, f in columns),
    ]
    for point in POINTS:
        cells = ""
        for kind, fate in columns:
            found = [problem for case, _, problem in results if case == Case(point, kind, fate)]
            broken = sum(map(bool, found))
            cells += f"{f'{broken} BAD' if broken else 'ok' if found else '-':>7}"
        lines.append(f"{point:22}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

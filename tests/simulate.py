"""`make simulate SEEDS=10000`: plays so many worlds, says how far it is, and prints each seed that breaks a promise.

One world again, exactly: `make simulate SEED=1234`. The hash seed is fixed, so that sets are walked in the same order.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

HASH_SEED = "0"
PROGRESS_SECONDS = 10.0
WORLDS_A_PROCESS = 100
"""Then a new process goes on: what the worlds leave behind in memory would add up over thousands."""


def play(seed: int, *, is_loud: bool = False) -> tuple[int, str, dict[str, int]]:
    """Seed, what broke (empty: nothing), and how much happened."""
    import logging

    import structlog

    from support.simulation.plan import draw_plan
    from support.simulation.truth import Violation
    from support.simulation.world import World
    from support.virtual import run

    logging.disable(logging.CRITICAL)
    if not is_loud:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    plan = draw_plan(seed)
    folder = Path(tempfile.mkdtemp(prefix="world-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:

        async def go() -> dict[str, int]:
            outcome = await World(plan, folder).play()
            return {"orders": outcome.orders, "fills": outcome.fills, "lives": outcome.lives} | outcome.seen

        return seed, "", run(go())
    except Violation as violation:
        return seed, str(violation), {}
    except Exception:  # noqa: BLE001  a world that cannot be played is a finding like any other
        return seed, f"{traceback.format_exc()}\n{plan.describe()}", {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="one world, with the trader's log")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--stop-at", type=int, default=10, help="stop after so many broken worlds")
    parser.add_argument("--json", action="store_true", help="the result as one JSON line at the end")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        environment = os.environ | {"PYTHONHASHSEED": HASH_SEED}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606  this program again
    if options.seed is not None:
        _, broken, totals = play(options.seed, is_loud=True)
        print(broken or f"seed {options.seed}: nothing broke, {totals}")
        return 1 if broken else 0
    return _play_many(options)


def _play_many(options: argparse.Namespace) -> int:
    began, said, failures = time.monotonic(), time.monotonic(), 0
    totals: dict[str, int] = {"worlds": 0, "orders": 0, "fills": 0, "lives": 0}
    seeds = iter(range(options.first, options.first + options.seeds))
    broken_seeds = []
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=fresh, max_tasks_per_child=WORLDS_A_PROCESS) as pool:
        waiting = {pool.submit(play, seed) for _, seed in zip(range(options.jobs * 4), seeds, strict=False)}
        while waiting:
            done = next(as_completed(waiting))
            waiting.discard(done)
            seed, broken, counts = done.result()
            totals["worlds"] += 1
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
            if broken:
                failures += 1
                broken_seeds.append(seed)
                print(f"\nBROKEN in world {seed} (again: make simulate SEED={seed})\n{broken}", flush=True)
            if failures < options.stop_at and (following := next(seeds, None)) is not None:
                waiting.add(pool.submit(play, following))
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                rate = totals["worlds"] / (said - began)
                print(f"{totals['worlds']} of {options.seeds} worlds, {rate:.1f} a second, {totals}", flush=True)
    print(f"{totals['worlds']} worlds in {time.monotonic() - began:.0f} s, {failures} broken, {totals}")
    if options.json:
        print(json.dumps(totals | {"broken": broken_seeds}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

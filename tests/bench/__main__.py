"""`make bench`: measures each figure in a process of its own and prints a table and JSON. Composition root.

A missed goal is told, not failed: speed depends on the machine. Only a figure that cannot be measured fails the run.
"""
# ruff: noqa: T201  a program for the terminal

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import report
from bench.figure import Figure, figure_of
from bench.setting import PROGRESS_VARIABLE, Setting, folder_for_files

FIGURES = {
    "risk-check": "risk_check",
    "commit": "commit",
    "order-path": "order_path",
    "memory": "memory",
    "start": "start",
    "burst": "burst",
    "kill-latency": "kill_latency",
    "cancel-lane": "cancel_lane",
    "contact-cut": "contact_cut",
    "fence": "fence",
    "operator-writes": "operator_writes",
    "operator-scale": "operator_scale",
}
DEADLINE_SECONDS = 300.0
DEADLINES = {
    "kill-latency": 1800.0,
    "cancel-lane": 900.0,
    "contact-cut": 600.0,
    "fence": 600.0,
    "operator-writes": 900.0,
    "operator-scale": 7200.0,
}
"""Of the figures that need a control plane, thousands of objects in it, hundreds of stops, or minutes of silence."""


def main() -> int:
    try:
        names = select(os.environ.get("ONLY", ""))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    figures: list[Figure] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder_for_files()) as name:
        setting = Setting(Path(name))
        for each in names:
            print(f"measuring {each} ...", file=sys.stderr, flush=True)
            try:
                figures += _measure_apart(each, setting.folder / each)
            except (subprocess.SubprocessError, RuntimeError) as error:
                missing[each] = str(error)
        where = f"on {setting.filesystem}, {os.cpu_count()} CPUs"
        data = report.describe(figures, missing, setting)
    report.print_table(figures, missing, where=where)
    report.write_json(data, os.environ.get("BENCH_JSON", ""))
    return 1 if missing else 0


def select(only: str) -> list[str]:
    """All figures, or those that are named. ValueError with the names that there are."""
    names = only.replace(",", " ").split()
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there is {', '.join(FIGURES)}")
    return names or list(FIGURES)


def _measure_apart(name: str, folder: Path) -> list[Figure]:
    """So that what one figure leaves in memory is nothing to the next."""
    folder.mkdir()
    log = folder / "log"
    progress = os.dup(sys.stderr.fileno())
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", name, str(folder)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # so that what it started can be ended with it
            env=os.environ | {PROGRESS_VARIABLE: str(progress)},
            pass_fds=[progress],
        )
        os.close(progress)
        try:
            answer, _ = process.communicate(timeout=DEADLINES.get(name, DEADLINE_SECONDS))
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if process.returncode != 0:
        print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise RuntimeError(f"{name} ended with {process.returncode}; the end of its log stands above")
    return [figure_of(each) for each in json.loads(answer)]


def _measure_here(name: str, folder: Path) -> None:
    module = importlib.import_module(f"bench.{FIGURES[name]}")
    figures = asyncio.run(module.measure(Setting(folder)))
    print(json.dumps([each.to_data() for each in figures]))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _measure_here(sys.argv[1], Path(sys.argv[2]))
    else:
        sys.exit(main())

"""The matrix of stops finds what it is for: each of these edited copies of the trader breaks a guard of the stop.

For each a few cells are played, in a process of their own; the first that fails is enough.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.simulation.mutant import ROOT, Edit, build_mutant

pytestmark = pytest.mark.simulation
MATRIX = "tests/simulation/test_simulation_stops.py"
TICK = "        self.intake.follow_books()\n"
LATCHES = """\
        if Cause.FEED_LOST in self.verdict.causes:
            self.stop.trip(StopRequest("Feed", StopAction.REDUCE_ONLY, ""))
"""
SELLS = """\
        if Cause.CONTROL_PLANE_LOST in self.verdict.causes:
            self.desk.exit("BTC/USDT", "lost")
"""
WRITE = "return self._desk.record(write, must_not_be_lost=True)"
ESCAPE = "        if not self.verdict.passes(adds_risk=intent.purpose is Purpose.ENTRY):\n"
LEFT = "        orders = [order for order in orders if order.intent.purpose is not Purpose.PROTECT]\n"
MUTANTS: dict[str, tuple[Edit, str]] = {
    "acknowledged-before-it-is-durable": (("control/stop.py", WRITE, "return True"), "kill-switch-idle"),
    "latch-does-not-hold-back": (
        ("standing.py", "Cause.LATCHED: self._stop.is_latched", "Cause.LATCHED: False"),
        "signal-idle",
    ),
    "gateway-does-not-ask": (("trading.py", ESCAPE, ESCAPE.replace("if not", "if False and not")), "was_decided"),
    "flat-while-an-entry-is-open": (
        (
            "control/stop.py",
            "return Flat.UNKNOWN if self._desk.open_orders(entries_only=True) else Flat.TRUE",
            "return Flat.TRUE",
        ),
        "flat_is_unknown and late",
    ),
    "flat-while-unresolved": (
        ("control/stop.py", "if not self._books_agree() or is_doubtful:", "if not self._books_agree():"),
        "flat_is_unknown and hidden",
    ),
    "cancel-is-not-asked-again": (
        ("desk.py", "CANCEL_PACE_NS = 5_000_000_000", "CANCEL_PACE_NS = 5_000_000_000_000"),
        "kill-switch-cancels-5xx",
    ),
    "stopped-before-it-is-proved": (
        (
            "control/stop.py",
            "self._report(done=not self._to_cancel() and self._is_flat_enough())",
            "self._report(done=True)",
        ),
        "kill-switch-cancels-5xx",
    ),
    "reduce-only-cancels-nothing": (
        (
            "control/stop.py",
            "orders = self._desk.open_orders(entries_only=action is StopAction.REDUCE_ONLY)",
            "orders = [] if action is StopAction.REDUCE_ONLY else self._desk.open_orders()",
        ),
        "signal and ReduceOnly",
    ),
    "protective-stops-are-cancelled": (("control/stop.py", LEFT, ""), "signal-idle-CancelOrders"),
    "any-rearm-releases": (("control/latch.py", "if rearm == active.id else None", "if rearm else None"), "halt-idle"),
    "released-without-a-look": (
        ("control/stop.py", "        if self._books_agree():\n            return True\n", "        return True\n"),
        "signal-idle",
    ),
    "latch-is-forgotten-at-the-restart": (
        ("control/stop.py", "stored.latch if stored is not None else None", "None"),
        "survives and signal",
    ),
    "lost-feed-latches": (
        ("trading.py", TICK, TICK + LATCHES),
        "feed-lost-idle",
    ),
    "lost-contact-sells": (
        ("trading.py", TICK, TICK + SELLS),
        "lost-contact-idle",
    ),
    "what-was-left-is-forgotten": (
        ("control/stop.py", "        self._touched |= {order_id: order for", "        _ = {order_id: order for"),
        "protective_stop_that and running",
    ),
    "end-of-an-outage-asks-for-no-look": (
        ("standing.py", "        if in_sight_again:\n", "        if in_sight_again and False:\n"),
        "disk-full-idle or lost-lease-idle",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_matrix_of_stops_finds_the_mutant(name: str, tmp_path: Path) -> None:
    edit, cells = MUTANTS[name]
    mutant = build_mutant(tmp_path, [edit])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-k", cells, MATRIX],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(mutant)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, f"{name}: no cell of {cells!r} failed\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
    assert "Violation" in done.stdout, f"{name}: it failed, and no promise was broken\n{done.stdout[-3000:]}"

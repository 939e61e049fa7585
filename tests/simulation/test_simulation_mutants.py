"""The simulation finds what it is for: each of these edited copies of the trader breaks a promise within 500 worlds.

A mutant is an edited copy of the package below a temporary folder; the product is never touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.simulation.mutant import Edit, build_mutant

pytestmark = pytest.mark.simulation
ROOT = Path(__file__).resolve().parents[2]
SEEDS = 500

LOST = "        self._emit(order_id, OrderState.UNRESOLVED, str(answer))\n        self._hooks.on_doubt(order_id)\n"
GONE = """\
            if meaning.outcome is Outcome.GONE:
                self._emit(order_id, OrderState.CANCELLED, "gone")
                return
"""
UNDER_WAY = "whole = self.intent.quantity_base if self.state.is_open else self.filled_base"
MUTANTS: dict[str, tuple[Edit, ...]] = {
    "resend-after-a-lost-answer": (
        ("orders/gateway.py", LOST, "        self._spawn(self._place(intent, self._clock.now_ns()))\n"),
    ),
    "fill-counted-twice": (
        ("orders/machine.py", "new_fill = event.fill if known is None else None", "new_fill = event.fill"),
        ("book/ledger.py", "        if self.has(fill):\n            return False\n", ""),
    ),
    "in-flight-not-reserved": (
        ("orders/machine.py", UNDER_WAY, UNDER_WAY.replace("self.state.is_open", "self.state in _AT_VENUE")),
    ),
    "epoch-reused": (
        (
            "book/store.py",
            "epoch = max(stored + 1, lease_transitions, now_ns // SECOND_NS)",
            "epoch = stored or max(lease_transitions, now_ns // SECOND_NS)",
        ),
    ),
    "peak-forgotten-at-restart": (
        ("book/pnl.py", 'peak_quote=Decimal(counters["pnl.peak_quote"])', "peak_quote=ZERO"),
    ),
    "cancel-taken-as-unfilled": (
        ("orders/gateway.py", "            # Whatever it was, the order's own state decides", GONE + "            # W"),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.timeout(1500)
def test_simulation_finds_the_mutant(name: str, tmp_path: Path) -> None:
    mutant = build_mutant(tmp_path, MUTANTS[name])
    done = subprocess.run(
        [sys.executable, "simulate.py", "--seeds", str(SEEDS), "--jobs", "1", "--stop-at", "1", "--json"],
        cwd=ROOT / "tests",
        env=os.environ | {"PYTHONPATH": str(mutant)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    result = json.loads(lines[-1])
    assert result["broken"], f"{name}: nothing broke in {result['worlds']} worlds\n{done.stdout[-2000:]}"

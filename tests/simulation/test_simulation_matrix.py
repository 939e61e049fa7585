"""Each point at which a life can end, each kind of order, each fate of its answer: nothing doubled, nothing lost.

The same worlds with real processes and SIGKILL: tests/soak.
"""

from __future__ import annotations

import itertools
from decimal import Decimal
from pathlib import Path

import pytest

from support.simulation.plan import Plan
from support.simulation.world import Outcome, World
from support.virtual import run
from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults_rules import Operation, Rule, When

pytestmark = pytest.mark.simulation
POINTS = (
    "commit:intent:before",
    "commit:intent:after",
    "commit:sent:before",
    "commit:sent:after",
    "order:before-send",
    "order:after-send",
    "order:after-accept",
    "order:after-answer",
    "report:before",
    "report:after",
    "commit:fill:before",
    "commit:fill:after",
    "commit:end:before",
    "commit:end:after",
)
KINDS = ("market", "limit", "ioc")
FATES = {
    "kept": (),
    "lost": (Rule(when=When(operation=Operation.PLACE), what=rules.LoseAnswer(seconds=Decimal(0))),),
    "late": (Rule(when=When(operation=Operation.PLACE), what=rules.AnswerLate(seconds=Decimal(4))),),
}
NEVER_SENT = frozenset(POINTS[1:5])
"""Here the order is lost before it left: the world takes its minute until that is presumed, and trades on."""
IMPOSSIBLE = {("order:after-answer", "lost")}
"""There is no answer."""
CASES = [case for case in itertools.product(POINTS, KINDS, FATES) if (case[0], case[2]) not in IMPOSSIBLE]


@pytest.mark.parametrize(("point", "kind", "fate"), CASES, ids=["-".join(case).replace(":", "-") for case in CASES])
def test_life_that_ends_here_doubles_no_order_and_loses_no_fill(
    point: str, kind: str, fate: str, tmp_path: Path
) -> None:
    spec = {
        "strategy": {"name": "restless", "timeframe": "1s", "parameters": {"seed": 7, "kinds": kind, "percent": 70}}
    }
    seconds = 100.0 if point in NEVER_SENT else 40.0
    plan = Plan(seed=7, crashes=((point, 1),), rules=FATES[fate], kinds=kind, seconds=seconds, symbols=1, spec=spec)

    async def play() -> Outcome:
        return await World(plan, tmp_path).play()

    outcome = run(play())  # raises Violation, with the plan, when a promise is broken
    assert outcome.crashes == 1, f"{point} was never passed: this world proves nothing"
    assert outcome.fills > 0

"""PURE. What to apply, delete, write and say, and when to look again. Same observation, empty plan.

No finalizer: children go with their owner reference when the bot is deleted, and the volume is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tradingbot_api.status import Latch
from tradingbot_operator import kinds
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.manifest import Manifest, mapping, sequence, text
from tradingbot_operator.plan.book import decide_book, find_running
from tradingbot_operator.plan.conditions import JUDGED, Situation, build_conditions, find_problem, judge_phase
from tradingbot_operator.plan.events import EventNote, plan_events
from tradingbot_operator.plan.latch import decide_latch, is_set
from tradingbot_operator.plan.permit import decide_permit, is_rolled_out
from tradingbot_operator.plan.trader import judge_trader
from tradingbot_operator.plan.view import read_bot
from tradingbot_operator.plan.workload import Apply, Children, Delete, Problem, plan_workload
from tradingbot_operator.timestamps import SECOND_NS

GOING_RECHECK_SECONDS = 5.0
"""What is being deleted may carry none of our labels, so that no watch tells us when it is gone."""
REMAKE_SECONDS = 1.0
"""What we deleted to make it anew, and the next step of a swap; usually a watch event is faster."""


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a plan depends on, beside the settings and the time."""

    bot: Manifest
    children: Children
    refusals: tuple[Problem, ...] = ()
    """What the API server refused in this very attempt."""


@dataclass(frozen=True, slots=True)
class Plan:
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    status: Manifest | None = None
    """The operator's whole part of the status; None when it is so already."""
    events: tuple[EventNote, ...] = ()
    requeue_after_seconds: float | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.applies or self.deletes or self.status or self.events)


def plan(observation: Observation, platform: Platform, now_ns: int) -> Plan:
    view = read_bot(observation.bot)
    if not view.ref.uid:
        return Plan()  # no object of the API server
    deployment = observation.children.get(kinds.DEPLOYMENT)
    availability = judge_trader(view, deployment, now_ns)
    book = decide_book(view, deployment, platform, trader_reports=availability.reports)
    workload = plan_workload(view, book.pod, observation.children, platform)
    is_replaced = any(apply.kind == kinds.DEPLOYMENT for apply in workload.applies)
    running = find_running(view, deployment)
    if running is not None and running.book is not book.permitted and (not is_replaced or observation.refusals):
        book = replace(book, permitted=None)  # what stands in the way of the other pod keeps this one running
    is_settled = availability.reports and not is_replaced and is_rolled_out(deployment)
    situation = Situation(
        view=view,
        deployment=deployment,
        problem=find_problem(view, workload.problem, observation.refusals),
        going=workload.going,
        availability=availability,
        book=book,
        permit=decide_permit(view, book, is_settled=is_settled, now_ns=now_ns),
        latch=decide_latch(view, trader_reports=availability.reports, now_ns=now_ns),
    )
    status = _build_status(situation, now_ns)
    changed = not _is_same(status, observation.bot)
    return Plan(
        applies=workload.applies,
        deletes=workload.deletes,
        status=status if changed else None,
        events=plan_events(situation, status["conditions"]) if changed else (),
        requeue_after_seconds=_requeue(situation, workload.deletes, now_ns),
    )


def _build_status(situation: Situation, now_ns: int) -> Manifest:
    status: Manifest = {
        "observedGeneration": situation.view.generation,
        "phase": judge_phase(situation),
        "conditions": build_conditions(situation, now_ns),
        "killSwitch": _dump_latch(situation.latch),
    }
    if situation.permit.permit is not None:
        status["permit"] = situation.permit.permit.model_dump(mode="json", by_alias=True, exclude_none=True)
    return status


def _dump_latch(latch: Latch) -> Manifest:
    if not is_set(latch):
        return {"state": latch.state.value}
    dumped: Manifest = latch.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def _is_same(status: Manifest, bot: Manifest) -> bool:
    """Conditions are compared by type: others may have added some of their own."""
    observed = mapping(bot, "status")
    theirs = {text(condition, "type"): condition for condition in sequence(observed, "conditions")}
    ours = {condition["type"]: condition for condition in status["conditions"]}
    return all(observed.get(part) == status.get(part) for part in _PARTS) and all(
        theirs.get(kind) == ours.get(kind) for kind in JUDGED
    )


_PARTS = ("observedGeneration", "phase", "killSwitch", "permit")


def _requeue(situation: Situation, deletes: tuple[Delete, ...], now_ns: int) -> float | None:
    waits = []
    if (at_ns := situation.availability.recheck_at_ns) is not None:
        waits.append((at_ns - now_ns) / SECOND_NS + 0.001)
    if situation.going:
        waits.append(GOING_RECHECK_SECONDS)
    is_withdrawn = situation.view.permit is not None and situation.permit.permit is None
    if deletes or is_withdrawn:
        waits.append(REMAKE_SECONDS)
    return min(waits, default=None)

"""PURE. A drill as the operator sees it: which of its steps a bot's reports show, and what its record says.

A drill is a stop that names its id (`kubectl tradingbot drill`). A bot's reports are looked at as they come, and one of
them may show several steps. What nobody saw is never made up: such a drill is INCONCLUSIVE, and one of which nothing is
left by the time that somebody looks has no record at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tradingbot_api.conditions import LatchState, TradingState
from tradingbot_api.labels import (
    BOT,
    DRILL,
    DRILL_ID_PATTERN,
    MANAGED_BY,
    OPERATOR_MANAGER,
    drill_review_name,
    names_drill,
)
from tradingbot_api.review import DrillStep, ReviewKind, Verdict
from tradingbot_api.status import Latch
from tradingbot_operator import kinds
from tradingbot_operator.manifest import Manifest, mapping, text
from tradingbot_operator.plan.latch import is_set
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.timestamps import SECOND_NS, format_micro_time, parse_time_ns

BOUND_NS = 15 * 60 * SECOND_NS
"""A drill has to come to its end within so much time of its request: what takes longer is no drill any more."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One that is under way, or has ended and is not recorded yet."""

    id: str
    bot_uid: str
    steps: Mapping[DrillStep, int] = field(default_factory=dict)
    """When each was so, in nanoseconds; in the order in which they were seen."""
    latch_id: str = ""
    """The latch that names it, once one was reported."""
    stranger: str = ""
    """What makes it no drill: another stop that joined it, or another drill."""
    is_late: bool = False
    """The bot had stopped already when this operator looked at it for the first time: nobody knows since when."""


def read_drill_id(bot: Manifest) -> str:
    """The id of the bot's last drill; empty when there was none."""
    drill_id = text(bot, "metadata", "annotations", DRILL)
    return drill_id if re.fullmatch(DRILL_ID_PATTERN, drill_id, re.ASCII) else ""


def is_under_way(view: BotView, drill_id: str) -> bool:
    """Spec or latch names it: the annotation alone proves nothing, and stays for ever."""
    latch = _read_latch(view)
    switch = view.kill_switch
    return (switch.engaged and names_drill(switch.reason, drill_id)) or (
        latch is not None and is_set(latch) and _names(latch, drill_id)
    )


def begin(view: BotView, drill_id: str, now_ns: int, *, is_first_look: bool) -> Drill:
    """Of one that is under way. `is_first_look`: of this operator at this bot."""
    latch = _read_latch(view)
    is_late = is_first_look and latch is not None and latch.state is LatchState.STOPPED
    drill = Drill(drill_id, view.ref.uid, {DrillStep.REQUESTED: now_ns}, is_late=is_late)
    return follow(drill, view, now_ns)


def follow(drill: Drill, view: BotView, now_ns: int) -> Drill:
    """With what this report shows."""
    latch = _read_latch(view)
    if latch is None or drill.stranger or DrillStep.ACTIVE in drill.steps:
        return drill
    if not is_set(latch):
        return _follow_release(drill, view, now_ns)
    if not _names(latch, drill.id):
        # Of a latch that was there before the trader heard of ours, its next report tells more.
        return replace(drill, stranger=_tell(latch)) if drill.latch_id else drill
    if drill.latch_id not in ("", latch.id) or DrillStep.RELEASED in drill.steps:
        return replace(drill, stranger=_tell(latch))
    steps = dict(drill.steps)
    if (seen_ns := parse_time_ns(latch.engaged_at)) is not None:
        steps[DrillStep.REQUESTED] = min(steps[DrillStep.REQUESTED], seen_ns)  # neither can be before the request
    if (acknowledged_ns := parse_time_ns(latch.acknowledged_at)) is not None:
        steps[DrillStep.ACKNOWLEDGED] = acknowledged_ns
        if latch.state is LatchState.STOPPED:
            steps.setdefault(DrillStep.STOPPED, now_ns)
    others = [each.source for each in latch.sources if not names_drill(each.reason, drill.id)]
    if not names_drill(latch.reason, drill.id):
        others.append(latch.source or "another stop")
    return replace(drill, steps=steps, latch_id=latch.id, stranger=others[0] if others else "")


def _follow_release(drill: Drill, view: BotView, now_ns: int) -> Drill:
    """No latch: it is gone, or not there yet."""
    trader, switch = view.trader, view.kill_switch
    has_seen_the_spec = trader is not None and trader.config is not None and trader.config.generation >= view.generation
    is_unseen = bool(switch.rearm) and not switch.engaged and has_seen_the_spec  # it came and went between two looks
    is_asked_still = switch.engaged and names_drill(switch.reason, drill.id)  # such a latch is lost, not released
    if trader is None or is_asked_still or not (drill.latch_id or is_unseen):
        return drill
    steps = dict(drill.steps)
    steps.setdefault(DrillStep.RELEASED, now_ns)
    if trader.state == TradingState.ACTIVE:
        steps.setdefault(DrillStep.ACTIVE, now_ns)
    return replace(drill, steps=steps)


def supersede(drill: Drill, other_id: str) -> Drill:
    """Another drill has begun before this one had ended."""
    return drill if DrillStep.ACTIVE in drill.steps or drill.stranger else replace(drill, stranger=f"drill {other_id}")


def judge(drill: Drill, now_ns: int) -> tuple[Verdict, str] | None:
    """What it came to, and why; None while it is under way."""
    if drill.stranger:
        return Verdict.NO_GO, f"{drill.stranger} came in between: this was no drill of this stop alone."
    missing = [step.value for step in DrillStep if step not in drill.steps]
    ended_ns = drill.steps.get(DrillStep.ACTIVE)
    if (now_ns if ended_ns is None else ended_ns) - drill.steps[DrillStep.REQUESTED] >= BOUND_NS:
        what = f"not seen: {', '.join(missing)}" if missing else "it ended later"
        return Verdict.NO_GO, f"It did not come to its end within {BOUND_NS // SECOND_NS} s ({what}): look at the bot."
    if ended_ns is None:
        return None
    if missing:
        return Verdict.INCONCLUSIVE, f"The operator did not see: {', '.join(missing)}. Drill again."
    if drill.is_late:
        return (
            Verdict.INCONCLUSIVE,
            "The operator was started in the middle and does not know when the bot had stopped.",
        )
    return Verdict.GO, "Stopped, released and Active again; every step was seen."


def deadline_ns(drill: Drill) -> int:
    return drill.steps[DrillStep.REQUESTED] + BOUND_NS


def build_review(drill: Drill, view: BotView, verdict: Verdict, message: str, now_ns: int) -> Manifest:
    """Without an owner: the record outlives the bot."""
    requested_ns = drill.steps[DrillStep.REQUESTED]
    digest = view.trader.config.digest if view.trader and view.trader.config else ""
    return {
        "apiVersion": kinds.REVIEW.api_version,
        "kind": kinds.REVIEW.name,
        "metadata": {
            "namespace": view.ref.namespace,
            "name": drill_review_name(view.ref.name, drill.id),
            "labels": {MANAGED_BY: OPERATOR_MANAGER, BOT: view.ref.name},
        },
        "spec": {
            "bot": view.ref.name,
            "digest": digest or view.digest,
            "kind": ReviewKind.DRILL.value,
            "stage": view.permit.stage if view.permit else view.spec.capital.stage if view.spec else "",
            "verdict": verdict.value,
            "windowStart": format_micro_time(requested_ns),
            "windowEnd": format_micro_time(max(drill.steps.get(DrillStep.ACTIVE, now_ns), requested_ns)),
            "steps": [
                {
                    "step": step.value,
                    "at": format_micro_time(drill.steps[step]),
                    "milliseconds": max(drill.steps[step] - requested_ns, 0) // 1_000_000,
                }
                for step in DrillStep
                if step in drill.steps
            ],
            "message": message,
        },
    }


def read_passed_ns(review: Manifest) -> int | None:
    """When the drill ended, of a record that says GO to one; None for any other."""
    spec = mapping(review, "spec")
    is_passed = (text(spec, "kind"), text(spec, "verdict")) == (ReviewKind.DRILL, Verdict.GO)
    return parse_time_ns(spec.get("windowEnd")) if is_passed else None


def is_about(bot: Manifest, passed_ns: int) -> bool:
    """Not about an earlier bot of this name."""
    created_ns = parse_time_ns(mapping(bot, "metadata").get("creationTimestamp"))
    return created_ns is None or passed_ns >= created_ns


def _read_latch(view: BotView) -> Latch | None:
    """What the trader itself reports; None: nothing."""
    return view.trader.latch if view.trader else None


def _names(latch: Latch, drill_id: str) -> bool:
    return any(names_drill(reason, drill_id) for reason in (latch.reason, *(each.reason for each in latch.sources)))


def _tell(latch: Latch) -> str:
    return f"{latch.source or 'another stop'} (latch {latch.id})"

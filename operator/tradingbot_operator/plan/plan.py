"""PURE. What to apply, delete, write and say, and when to look again. Same observation, empty plan.

Children go with their owner reference when the bot is deleted, and the volume is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tradingbot_api.spec import DeleteAction
from tradingbot_api.status import Latch, Permit
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import read_pod_plan
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.manifest import Manifest, mapping, number, sequence, text
from tradingbot_operator.plan.book import decide_book, find_running
from tradingbot_operator.plan.conditions import JUDGED, Situation, build_conditions, find_problem, judge_phase
from tradingbot_operator.plan.credentials import judge_credentials
from tradingbot_operator.plan.departure import decide_departure
from tradingbot_operator.plan.drift import stamp
from tradingbot_operator.plan.events import EventNote, plan_events
from tradingbot_operator.plan.halts import StopRequest, read_halt, read_halts
from tradingbot_operator.plan.latch import decide_latch, is_set
from tradingbot_operator.plan.permit import Clearance, decide_permit, is_rolled_out, speaks_for_template
from tradingbot_operator.plan.rollout import judge_rollout, keep_template
from tradingbot_operator.plan.trader import Availability, judge_trader
from tradingbot_operator.plan.view import BotView, read_bot
from tradingbot_operator.plan.workload import Apply, Children, Delete, Problem, Workload, plan_workload
from tradingbot_operator.timestamps import SECOND_NS

GOING_RECHECK_SECONDS = 5.0
"""What is being deleted may carry none of our labels, so that no watch tells us when it is gone."""
REFUSED_RECHECK_SECONDS = 10.0
"""Nothing tells us that policies are in force now, or that an account is free."""
PATIENCE_NS = 2 * SECOND_NS
"""A running trader looks at a new spec within milliseconds: before we write that we wait for it, we do. A status of an
older generation says as much."""
REMAKE_SECONDS = 1.0
"""What we deleted to make it anew, and the next step of a swap; usually a watch event is faster."""


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a plan depends on, beside the settings and the time."""

    bot: Manifest
    children: Children
    refusals: tuple[Problem, ...] = ()
    """What the API server refused in this very attempt."""
    store_warning: str = ""
    """What External Secrets said last about the bot's ExternalSecret, in an event: only there is the key's name."""
    generation_age_ns: int | None = None
    """For how long we have known this generation of the spec; None: it does not matter."""
    halts: tuple[Manifest, ...] = ()
    """All halts of the cluster that are there now."""
    asked: tuple[Manifest, ...] = ()
    """Halts that have matched this bot since it was looked at last, and had not expired then; they may be gone."""
    clearance: Clearance | None = None
    """Asked for when a plan `asks_clearance`, and for that very attempt alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    status: Manifest | None = None
    """The operator's whole part of the status; None when it is so already."""
    events: tuple[EventNote, ...] = ()
    finalizer: bool | None = None
    """Put our finalizer on the bot (before anything is applied), or take it away (after everything); None: as it is."""
    asks_clearance: bool = False
    """With a clearance this plan may become another one."""
    requeue_after_seconds: float | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.applies or self.deletes or self.status or self.events or self.finalizer is not None)


def plan(observation: Observation, platform: Platform, now_ns: int) -> Plan:
    view = read_bot(observation.bot)
    if not view.ref.uid:
        return Plan()  # no object of the API server
    deployment = observation.children.get(kinds.DEPLOYMENT)
    availability = judge_trader(view, deployment, now_ns)
    credentials = judge_credentials(
        view,
        external_secret=observation.children.get(kinds.EXTERNAL_SECRET),
        is_installed=kinds.EXTERNAL_SECRET in observation.children,
        warning=observation.store_warning,
        now_ns=now_ns,
    )
    book = decide_book(
        view,
        deployment,
        platform,
        trader_reports=availability.reports,
        may_enter_live=credentials is None or credentials.status,
    )
    running = find_running(view, deployment)
    departure = decide_departure(
        view,
        # The pod of a Deployment that is on its way out drains still.
        read_pod_plan(deployment or {}) if view.is_deleting else book.pod,
        deployment,
        availability,
        timeout_seconds=platform.drain_timeout_seconds,
        now_ns=now_ns,
    )
    is_suspended = view.suspended and not departure.keeps_pod
    workload = plan_workload(replace(view, suspended=is_suspended), book.pod, observation.children, platform)
    waiting = judge_rollout(view, _find_deployment(workload), deployment, availability)
    if waiting is not None or departure.keeps_pod:
        workload = replace(workload, applies=tuple(_hold_back(workload.applies, deployment)))
    is_replaced = _find_deployment(workload) is not None and not observation.refusals
    if running is not None and running.is_live and book.pod != running and not is_replaced and not view.is_deleting:
        departure = replace(departure, finalizer=view.on_delete is not DeleteAction.HOLD)  # it runs on
    if running is not None and running.book is not book.permitted and (not is_replaced or observation.refusals):
        book = replace(book, permitted=None)  # what stands in the way of the other pod keeps this one running
    is_settled = not is_replaced and is_rolled_out(deployment) and speaks_for_template(view, availability, deployment)
    permit = decide_permit(
        view,
        book,
        is_settled=is_settled,
        credentials=credentials,
        clearance=observation.clearance,
        now_ns=now_ns,
    )
    situation = Situation(
        view=view,
        deployment=deployment,
        problem=find_problem(view, workload.problem, observation.refusals, permit.refusal),
        going=workload.going,
        availability=availability,
        book=book,
        permit=permit,
        latch=decide_latch(
            view, _read_halts(observation, now_ns), trader_obeys=_obeys(view, availability), now_ns=now_ns
        ),
        credentials=credentials,
        departure=departure,
        waiting=waiting or book.waiting,
    )
    is_untouched = not (workload.applies or workload.deletes or departure.finalizer != view.has_finalizer)
    if is_untouched and (left_ns := _patience_ns(situation, observation.generation_age_ns)) > 0:
        return Plan(requeue_after_seconds=left_ns / SECOND_NS)
    status = _build_status(situation, now_ns)
    changed = not _is_same(status, observation.bot)
    is_leaving = view.is_deleting and view.has_finalizer and not departure.finalizer
    return Plan(
        applies=workload.applies,
        deletes=workload.deletes,
        status=status if changed else None,
        events=plan_events(situation, status["conditions"]) if changed or is_leaving else (),
        finalizer=departure.finalizer if departure.finalizer != view.has_finalizer else None,
        asks_clearance=situation.permit.asks_clearance,
        requeue_after_seconds=_requeue(situation, workload.deletes, now_ns),
    )


def _read_halts(observation: Observation, now_ns: int) -> tuple[StopRequest, ...]:
    there = read_halts(observation.bot, observation.halts, now_ns)
    return (*there, *(read_halt(halt) for halt in observation.asked))


def _patience_ns(situation: Situation, age_ns: int | None) -> int:
    """How much longer a status that only says that a trader has to look may wait; a stop waits for nothing."""
    view = situation.view
    config = view.trader.config if view.trader else None
    is_only_unseen = (
        age_ns is not None
        and config is not None
        and config.generation < view.generation
        and number(view.status, "observedGeneration") < view.generation
        and _obeys(view, situation.availability)
        and situation.problem is None
        and _is_same_mode(view.permit, situation.permit.permit)
        and not (situation.book.swap or situation.waiting or view.kill_switch.engaged or view.suspended)
        and not (view.is_deleting or is_set(situation.latch) or is_set(view.latch))
    )
    return PATIENCE_NS - age_ns if is_only_unseen and age_ns is not None else 0


def _is_same_mode(held: Permit | None, granted: Permit | None) -> bool:
    """Another stage waits as well: to grant it, and then to say that the trader has seen it, would be twice."""
    return held is not None and granted is not None and held.mode is granted.mode


def _hold_back(applies: tuple[Apply, ...], deployment: Manifest | None) -> Iterator[Apply]:
    """Another pod template waits. What somebody changed beside it (a second replica, say) is put back all the same."""
    for apply in applies:
        if apply.kind != kinds.DEPLOYMENT:
            yield apply
        elif (held := keep_template(apply.manifest, deployment or {})) is not None:
            yield replace(apply, manifest=stamp(kinds.DEPLOYMENT, held))


def _obeys(view: BotView, availability: Availability) -> bool:
    return availability.reports and availability.is_available and view.trader is not None and view.trader.has_books


def _find_deployment(workload: Workload) -> Apply | None:
    return next((apply for apply in workload.applies if apply.kind == kinds.DEPLOYMENT), None)


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
    keys = situation.credentials
    moments = (situation.departure.recheck_at_ns, keys.recheck_at_ns if keys is not None else None)
    waits += [max((at_ns - now_ns) / SECOND_NS, 0.0) + 0.001 for at_ns in moments if at_ns is not None]
    if situation.permit.refusal is not None:
        waits.append(REFUSED_RECHECK_SECONDS)
    is_withdrawn = situation.view.permit is not None and situation.permit.permit is None
    if deletes or is_withdrawn:
        waits.append(REMAKE_SECONDS)
    return min(waits, default=None)

"""PURE. From what is so to conditions and phase: all that decides is in `Situation`, each condition has one function.

A condition keeps its `lastTransitionTime` until its status changes. Messages say what to do next, and hold nothing that
changes with each heartbeat: a changed message is a write.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tradingbot_api.conditions import ConditionType, ConfigReason, LatchState, Reason, TradingState
from tradingbot_api.spec import Mode
from tradingbot_api.status import Latch, ReconciliationResult
from tradingbot_operator.kinds import Kind
from tradingbot_operator.manifest import Manifest, mapping, number, sequence, text
from tradingbot_operator.plan.book import BookDecision, judge_eligibility
from tradingbot_operator.plan.credentials import CredentialsVerdict
from tradingbot_operator.plan.departure import Departure
from tradingbot_operator.plan.latch import is_operators, is_set
from tradingbot_operator.plan.permit import PermitDecision, Refusal
from tradingbot_operator.plan.rollout import Waiting
from tradingbot_operator.plan.trader import Availability
from tradingbot_operator.plan.view import BotView, TraderReport
from tradingbot_operator.plan.workload import Problem
from tradingbot_operator.timestamps import format_time

_REASON = re.compile(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
_MAX_MESSAGE = 2048


@dataclass(frozen=True, slots=True)
class Situation:
    view: BotView
    deployment: Manifest | None
    problem: Problem | None
    going: tuple[Kind, ...]
    availability: Availability
    book: BookDecision
    permit: PermitDecision
    latch: Latch
    credentials: CredentialsVerdict | None
    """None: the bot names no keys, or nothing can be said about them."""
    departure: Departure
    waiting: Waiting | None
    """Another pod is asked for and has to wait."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition, without its times."""

    status: bool
    reason: str
    message: str


def find_problem(
    view: BotView, workload_problem: Problem | None, refusals: tuple[Problem, ...], refusal: Refusal | None
) -> Problem | None:
    """What stalls the bot: our own reasons first, then what the trader says about this generation."""
    if workload_problem is not None:
        return workload_problem
    if refusals:
        return refusals[0]
    if refusal is not None and refusal.reason in _FOR_A_PERSON and view.permit is None:
        return Problem(refusal.reason, refusal.message)
    config = view.trader.config if view.trader else None
    if config is not None and config.generation == view.generation and not config.accepted:
        if config.reason in _NO_FAULT:
            return None
        reason = config.reason if _REASON.fullmatch(config.reason) else Reason.INVALID_SPEC
        message = config.message.rstrip(".") or "The trader did not accept the spec"
        return Problem(reason, f"{message}. {_LAST_GOOD if config.digest else _NO_GOOD}")
    return None


_FOR_A_PERSON = frozenset({Reason.ACCOUNT_IN_USE, Reason.CREDENTIALS_TOO_OLD, Reason.POLICIES_NOT_IN_FORCE})
_NO_FAULT = frozenset({ConfigReason.EXCHANGE_CHANGED, ConfigReason.WAITING_FOR_VENUE})
"""Of the spec: the pod is about to be replaced, or the venue does not answer. Both end without an edit."""
_LAST_GOOD = "The trader keeps its last good configuration until the spec is corrected."
_NO_GOOD = "The trader has no good configuration yet: it stays idle until the spec is corrected."


def build_conditions(situation: Situation, now_ns: int) -> list[Manifest]:
    before = {text(old, "type"): mapping(old) for old in sequence(situation.view.status, "conditions")}
    built = []
    for kind, judge in (_JUDGES | (_LIVE_JUDGES if situation.book.is_live else {})).items():
        finding = judge(situation)
        if finding is None:
            continue
        status = "True" if finding.status else "False"
        old = before.get(kind, {})
        kept = text(old, "lastTransitionTime") if old.get("status") == status else ""
        built.append(
            {
                "type": kind.value,
                "status": status,
                "observedGeneration": situation.view.generation,
                "lastTransitionTime": kept or format_time(now_ns),
                "reason": str(finding.reason),
                "message": finding.message[:_MAX_MESSAGE],
            }
        )
    return built


def judge_phase(situation: Situation) -> str:
    """One word for `kubectl get`; nothing decides by it."""
    view = situation.view
    if view.is_deleting:
        return "Deleting"
    if is_set(situation.latch):
        return "Stopped" if situation.latch.state is LatchState.STOPPED else "Stopping"
    if view.suspended:
        return "Suspended"
    if situation.problem is not None:
        return "Stalled"
    return "Running" if _judge_ready(situation).status else "Pending"


def _judge_ready(situation: Situation) -> Finding:
    view, availability = situation.view, situation.availability
    if view.is_deleting:
        return Finding(False, Reason.DELETING, f"The bot is being deleted. {situation.departure.waits_for}".rstrip())
    if is_set(situation.latch) or view.kill_switch.engaged:
        halted = _judge_halted(situation)
        return Finding(False, Reason.KILL_SWITCH, halted.message if halted.status else _UNACKNOWLEDGED)
    if view.suspended:
        if situation.departure.waits_for:
            return Finding(False, Reason.DRAINING, f"{_SUSPENDING} {situation.departure.waits_for}")
        return Finding(False, Reason.SUSPENDED, availability.message)
    if situation.problem is not None:
        return Finding(False, situation.problem.reason, situation.problem.message)
    if not availability.is_available:
        reason = Reason.SILENT if availability.reason == Reason.SILENT else Reason.STARTING
        return Finding(False, reason, availability.message)
    if situation.book.swap:
        return Finding(False, Reason.SWAPPING_POD, situation.book.swap)
    if _is_behind(situation):
        return Finding(False, Reason.WAITING_FOR_TRADER, _WAITING)
    if situation.book.is_live and situation.permit.permit is None:
        return Finding(False, Reason.NOT_TRADING, _unpermitted(situation))
    if view.trader is not None and view.trader.state != TradingState.ACTIVE:
        message = f"The trader is {view.trader.state or 'in an unknown state'}: status.trader.stateReasons says why."
        return Finding(False, Reason.NOT_TRADING, message)
    return Finding(True, Reason.TRADING, f"{_describe_permit(situation)}{_left_behind(situation)}")


_SUSPENDING = "spec.suspend is true: the pod goes when its orders are closed."
_UNACKNOWLEDGED = "A stop is asked for, and the trader has not acknowledged it yet."
_WAITING = "The trader has not looked at this generation of the spec yet."


def _describe_permit(situation: Situation) -> str:
    permit = situation.permit.permit
    if permit is None or situation.view.spec is None:
        return "Nothing is permitted."
    currency = situation.view.spec.capital.currency
    return f"{permit.mode.value} trading at stage {permit.stage}, at most {permit.limit:f} {currency} at risk."


def _left_behind(situation: Situation) -> str:
    """A paper bot is never said to be flat while its live book is not."""
    left = situation.view.trader.left_behind if situation.view.trader else ()
    if not left:
        return ""
    what = ", ".join(left[:5])
    return f" The live book still holds {what}, which nobody manages: sell it yourself, or go back to Live."


def _is_behind(situation: Situation) -> bool:
    """The trader has not answered to the newest spec, or the permit for it is still to come."""
    config = situation.view.trader.config if situation.view.trader else None
    return (
        situation.permit.is_pending
        or config is None
        or config.generation < situation.view.generation
        or (not config.accepted and config.reason in _NO_FAULT)
    )


def _judge_reconciling(situation: Situation) -> Finding:
    view = situation.view
    if view.is_deleting:
        message = f"The bot is being deleted; its volume is kept. {situation.departure.waits_for}{_way_out(situation)}"
        return Finding(True, Reason.DELETING, message.rstrip())
    if situation.going:
        names = ", ".join(f"{kind.name} {view.ref.child_name}" for kind in situation.going)
        return Finding(True, Reason.APPLYING, f"Waiting until {names} is deleted.")
    if situation.problem is not None:
        return Finding(False, situation.problem.reason, "Nothing is under way: the condition Stalled says what to do.")
    if view.suspended:
        if situation.departure.waits_for:
            return Finding(True, Reason.DRAINING, f"{_SUSPENDING} {situation.departure.waits_for}")
        if number(situation.deployment, "status", "replicas") > 0:
            return Finding(True, Reason.APPLYING, "The trader is being stopped.")
        return Finding(False, Reason.SUSPENDED, "Nothing to do while spec.suspend is true.")
    if situation.book.swap:
        return Finding(True, Reason.SWAPPING_POD, situation.book.swap)
    if situation.book.waiting is not None:
        return Finding(True, situation.book.waiting.reason, situation.book.waiting.message)
    if not situation.availability.is_available:
        return Finding(True, Reason.WAITING_FOR_TRADER, situation.availability.message)
    if _is_behind(situation):
        return Finding(True, Reason.WAITING_FOR_TRADER, _WAITING)
    if situation.book.is_live and situation.permit.permit is None:
        is_coming = situation.book.permitted is Mode.LIVE
        reason = Reason.WAITING_FOR_TRADER if is_coming else Reason.NOT_TRADING
        return Finding(is_coming, reason, _unpermitted(situation))
    return Finding(False, Reason.UP_TO_DATE, "The spec has been carried out.")


def _way_out(situation: Situation) -> str:
    if not situation.departure.waits_for:
        return ""
    return " To let the bot go at once, and leave its orders as they are, set spec.onDelete to Hold."


def _judge_stalled(situation: Situation) -> Finding:
    if situation.problem is None or situation.view.is_deleting:
        return Finding(False, Reason.NOT_STALLED, "Nothing waits for a person.")
    return Finding(True, situation.problem.reason, situation.problem.message)


def _judge_trader(situation: Situation) -> Finding:
    availability = situation.availability
    return Finding(availability.is_available, availability.reason, availability.message)


def _judge_live(situation: Situation) -> Finding:
    spec = situation.view.spec
    if spec is None:
        return Finding(False, Reason.INVALID_SPEC, "The spec cannot be read: the condition Stalled says why.")
    found = judge_eligibility(spec)
    keys, refusal = situation.credentials, situation.permit.refusal
    if found.is_eligible and not situation.book.is_live and keys is not None and not keys.status:
        message = f"Missing for live trading: keys. {keys.message} Until then the bot trades on paper."
        return Finding(False, keys.reason, message)
    if found.is_eligible and refusal is not None:
        return Finding(False, refusal.reason, refusal.message)
    return Finding(found.is_eligible, found.reason, found.message)


def _judge_drift(situation: Situation) -> Finding:
    if situation.waiting is not None and not situation.view.is_deleting:
        return Finding(True, situation.waiting.reason, situation.waiting.message)
    return Finding(False, Reason.NO_DRIFT, "The pod is the one that the spec and the operator ask for.")


def _judge_credentials(situation: Situation) -> Finding | None:
    keys, spec = situation.credentials, situation.view.spec
    if situation.book.is_live and keys is None:
        return Finding(False, Reason.WAITING_FOR_TRADER, "The live trader has not reported about its keys yet.")
    is_made = spec is not None and spec.credentials is not None and spec.credentials.external_secret is not None
    if keys is None or not (situation.book.is_live or is_made):
        return None  # on paper the operator knows of an ExternalSecret alone: it reads no Secret
    return Finding(keys.status, keys.reason, keys.message)


def _unpermitted(situation: Situation) -> str:
    if situation.permit.refusal is not None:
        return f"No live permit is granted. {situation.permit.refusal.message}"
    if situation.book.permitted is not Mode.LIVE:
        return "Nothing is permitted: the condition LiveEligible says what is missing. The live pod opens nothing new."
    return f"A live permit is granted when the preflight has passed. {_judge_preflight(situation).message}"


def _find_live_report(situation: Situation) -> TraderReport | None:
    """The report of a live trader; one of the paper pod before it says nothing about keys and account."""
    trader = situation.view.trader
    return trader if trader is not None and trader.mode is Mode.LIVE else None


def _judge_preflight(situation: Situation) -> Finding:
    trader = _find_live_report(situation)
    preflight = trader.preflight if trader else None
    if preflight is None:
        return Finding(False, Reason.WAITING_FOR_TRADER, "The live trader has not reported a preflight yet.")
    if preflight.passed:
        return Finding(True, _word(preflight.reason, Reason.PASSED), preflight.message or "The preflight has passed.")
    message = preflight.message or "The preflight has failed: the trader's log says why."
    return Finding(False, _word(preflight.reason, Reason.FAILED), message)


def _judge_reconciled(situation: Situation) -> Finding:
    trader = _find_live_report(situation)
    report = trader.last_reconciliation if trader else None
    if report is None:
        return Finding(False, Reason.WAITING_FOR_TRADER, "The live trader has not compared ledger and venue yet.")
    if report.result is ReconciliationResult.PASSED:
        return Finding(True, Reason.PASSED, report.message or "Ledger and venue agree.")
    reason = Reason.FAILED if report.result is ReconciliationResult.FAILED else Reason.INCONCLUSIVE
    return Finding(False, reason, report.message or "status.trader.reconciliation says what differs.")


def _word(given: str, otherwise: Reason) -> str:
    """The trader's own word, if it can be a condition's reason."""
    return given if _REASON.fullmatch(given) else otherwise


def _judge_halted(situation: Situation) -> Finding:
    latch = situation.latch
    if not is_set(latch):
        return Finding(False, Reason.NOT_HALTED, "No stop is latched.")
    who = f"{latch.source or 'an unknown source'}{f' ({latch.reason})' if latch.reason else ''}"
    if is_operators(latch):
        proof = "No trader has acknowledged it: none reports. A trader that starts takes it over before it trades"
    elif latch.state is LatchState.STOPPED:
        proof = "The trader has done what its action asks for; status.trader.latch is the proof"
    else:
        proof = "The trader lets no new risk out, and is still at work; status.trader.latch says how far it is"
    off = f"delete {latch.source}, " if latch.source.startswith("TradingHalt/") else ""
    release = f"To release it, {off}set spec.killSwitch.engaged to false and spec.killSwitch.rearm to {latch.id}"
    return Finding(True, Reason.LATCHED, f"Stopped by {who}. {proof}. {release}.")


_Judge = Callable[[Situation], Finding | None]
"""None: there is nothing to say, and no condition."""
_JUDGES: dict[ConditionType, _Judge] = {
    ConditionType.READY: _judge_ready,
    ConditionType.RECONCILING: _judge_reconciling,
    ConditionType.STALLED: _judge_stalled,
    ConditionType.TRADER_AVAILABLE: _judge_trader,
    ConditionType.LIVE_ELIGIBLE: _judge_live,
    ConditionType.HALTED: _judge_halted,
    ConditionType.CONFIG_DRIFT: _judge_drift,
    ConditionType.CREDENTIALS_READY: _judge_credentials,
}
_LIVE_JUDGES: dict[ConditionType, _Judge] = {
    ConditionType.PREFLIGHT_PASSED: _judge_preflight,
    ConditionType.RECONCILED: _judge_reconciled,
}
"""Of live bots alone: on paper there is nothing to say."""
JUDGED = frozenset(_JUDGES | _LIVE_JUDGES)
"""All types that are the operator's."""

"""PURE. Events, on transitions of the status alone: a restarted operator finds the new status, and says nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tradingbot_api import API_VERSION
from tradingbot_api.conditions import ConditionType, Reason
from tradingbot_api.spec import DeleteAction
from tradingbot_operator import kinds
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.manifest import Manifest, mapping, sequence, text
from tradingbot_operator.plan.conditions import Situation
from tradingbot_operator.plan.latch import is_set
from tradingbot_operator.plan.permit import differs
from tradingbot_operator.timestamps import format_micro_time

_MAX_NOTE = 1000
"""events.k8s.io/v1 takes 1 kB."""
CONTROLLER = "tradingbot.dev/operator"


@dataclass(frozen=True, slots=True)
class EventNote:
    type: str
    """Normal or Warning."""
    reason: str
    action: str
    note: str
    occasion: str
    """Tells this transition from another one with the same reason."""


def plan_events(situation: Situation, conditions: list[Manifest]) -> tuple[EventNote, ...]:
    if situation.view.is_deleting:
        return tuple(_departure(situation))
    return (
        *_permit(situation),
        *_turned(situation, conditions, ConditionType.STALLED, "Reconcile"),
        *_turned(situation, conditions, ConditionType.CONFIG_DRIFT, "Update", kind="Normal"),
        *_turned(situation, conditions, ConditionType.CREDENTIALS_READY, "CheckCredentials", bad="False"),
        *_latch(situation),
    )


def _departure(situation: Situation) -> Iterator[EventNote]:
    """Once, as our finalizer goes; the bot is gone a moment later, and its Events stay."""
    view, departure = situation.view, situation.departure
    if not view.has_finalizer or departure.finalizer:
        return
    occasion = f"{view.ref.uid}/deleted"
    if departure.left:
        yield EventNote("Warning", "NotDrained", "Delete", f"The bot goes, {departure.left}", occasion)
    elif view.on_delete is DeleteAction.HOLD:
        yield EventNote("Normal", "Held", "Delete", "onDelete is Hold: its orders stay as they are", occasion)
    elif view.trader is not None and view.trader.drain is not None:
        yield EventNote("Normal", "Drained", "Delete", "Its orders are closed and the account was compared", occasion)


def _permit(situation: Situation) -> Iterator[EventNote]:
    old, new = situation.view.permit, situation.permit.permit
    if new is not None and (old is None or differs(old, new)):
        note = f"{new.mode.value} at stage {new.stage} with limit {new.limit:f} is permitted (digest {new.digest})"
        yield EventNote("Normal", "Permitted", "Permit", note, f"{new.issued_at}/{new.stage}/{new.limit}/{new.digest}")
    if new is None and old is not None:
        why = situation.book.swap or "The condition LiveEligible says why"
        note = f"{old.mode.value} at stage {old.stage} is permitted no more. {why}"
        kind = "Normal" if situation.book.swap else "Warning"
        yield EventNote(kind, "Withdrawn", "Permit", note, f"{old.issued_at}/{old.mode}/{old.stage}/{old.digest}")


def _turned(
    situation: Situation,
    conditions: list[Manifest],
    condition: ConditionType,
    action: str,
    *,
    bad: str = "True",
    kind: str = "Warning",
) -> Iterator[EventNote]:
    """A condition went to its bad status, or found another reason while it is bad. A key that will soon be too old is
    still good, and said so in time."""
    old = _find(sequence(situation.view.status, "conditions"), condition)
    new = _find(conditions, condition)
    is_bad = new.get("status") == bad or new.get("reason") == Reason.CREDENTIALS_EXPIRING
    if new.get("reason") == Reason.WAITING_FOR_SECRET:
        return  # for a second, each time that one is made
    if is_bad and (old.get("status"), old.get("reason")) != (new.get("status"), new.get("reason")):
        occasion = f"{new['lastTransitionTime']}/{new['observedGeneration']}"
        yield EventNote(kind, text(new, "reason"), action, text(new, "message"), occasion)


def _latch(situation: Situation) -> Iterator[EventNote]:
    old, new = situation.view.latch, situation.latch
    if is_set(new) and not is_set(old):
        note = f"Stopped by {new.source or 'an unknown source'}, latch {new.id}"
        yield EventNote("Warning", "Latched", "Stop", note, new.id)
    if is_set(old) and not is_set(new):
        yield EventNote("Normal", "Rearmed", "Rearm", f"Latch {old.id} is released", old.id)


def _find(conditions: Any, kind: ConditionType) -> Mapping[str, Any]:
    return next((mapping(item) for item in conditions if text(item, "type") == kind), {})


def build_event(event: EventNote, bot: BotRef, *, instance: str, now_ns: int) -> Manifest:
    """The name follows from the transition: telling it twice is refused by the API server as already there."""
    identity = hashlib.sha256(f"{bot.uid}/{event.reason}/{event.occasion}".encode()).hexdigest()[:16]
    return {
        "apiVersion": kinds.EVENT.api_version,
        "kind": kinds.EVENT.name,
        "metadata": {"name": f"{bot.name}.{identity}", "namespace": bot.namespace},
        "eventTime": format_micro_time(now_ns),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": kinds.BOT.name,
            "namespace": bot.namespace,
            "name": bot.name,
            "uid": bot.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "action": event.action,
        "note": event.note[:_MAX_NOTE],
    }

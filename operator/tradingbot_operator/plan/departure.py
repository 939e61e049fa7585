"""PURE. A live pod that is to go drains first: when `spec.suspend` may end it, and when a deleted bot may go.

Our finalizer is on a bot only while `onDelete` asks for work: while it has a live pod. It is bounded: what could not be
proved in time is said, and the bot goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_api.conditions import ConditionType, Reason
from tradingbot_api.spec import DeleteAction, Mode
from tradingbot_api.status import DrainReason, StoppedOrder
from tradingbot_operator.children.deployment import PodPlan
from tradingbot_operator.manifest import Manifest, number, sequence, text
from tradingbot_operator.plan.trader import Availability
from tradingbot_operator.plan.view import BotView, TraderReport
from tradingbot_operator.timestamps import SECOND_NS, parse_time_ns


@dataclass(frozen=True, slots=True)
class Departure:
    finalizer: bool
    """Whether our finalizer should be on the bot now."""
    keeps_pod: bool = False
    """The pod stays for the drain, although `spec.suspend` asks for none."""
    waits_for: str = ""
    """What the drain is at; empty when nothing drains."""
    left: str = ""
    """What is let go without proof; empty when all is proved, or nothing was asked for."""
    recheck_at_ns: int | None = None


def decide_departure(
    view: BotView,
    pod: PodPlan | None,
    deployment: Manifest | None,
    availability: Availability,
    *,
    timeout_seconds: float,
    now_ns: int,
) -> Departure:
    """`pod`: what the Deployment makes pods for, or is about to. `timeout_seconds`: longest time that a drain takes."""
    # A book that cannot be read is taken for a live one.
    trader = view.trader if view.trader is not None and view.trader.mode is not Mode.PAPER else None
    is_live = pod is not None and pod.is_live
    timeout_ns = int(timeout_seconds * SECOND_NS)
    if view.is_deleting:
        if not view.has_finalizer:
            return Departure(finalizer=False)
        deadline_ns = view.deleted_ns + timeout_ns
        # Without a Deployment nobody is left who could cancel anything, and nobody will come.
        can_drain = is_live and deployment is not None and not (view.suspended and _is_gone(deployment))
        return _leave(view, trader, availability, can_drain=can_drain, deadline_ns=deadline_ns, now_ns=now_ns)
    if view.suspended and is_live and availability.reports and trader is not None and trader.has_books:
        deadline_ns = _suspended_since_ns(view, now_ns) + timeout_ns
        if not _has_drained(trader) and now_ns < deadline_ns:
            return Departure(
                finalizer=view.on_delete is not DeleteAction.HOLD,
                keeps_pod=True,
                waits_for=_describe(trader),
                recheck_at_ns=deadline_ns,
            )
    has_work = is_live and not (view.suspended and _is_gone(deployment) and _has_drained(trader))
    return Departure(finalizer=has_work and view.on_delete is not DeleteAction.HOLD)


def _leave(
    view: BotView,
    trader: TraderReport | None,
    availability: Availability,
    *,
    can_drain: bool,
    deadline_ns: int,
    now_ns: int,
) -> Departure:
    if view.on_delete is DeleteAction.HOLD or trader is None or _has_left(view, trader, can_drain=can_drain):
        return Departure(finalizer=False)
    if can_drain and now_ns < deadline_ns:
        silent = "" if availability.reports else " Its trader does not report: it is waited for."
        return Departure(finalizer=True, waits_for=f"{_describe(trader)}{silent}", recheck_at_ns=deadline_ns)
    why = "not proved in time" if can_drain else "no trader is left to do it"
    return Departure(finalizer=False, left=f"{why}: {_describe(trader)}")


def _has_left(view: BotView, trader: TraderReport, *, can_drain: bool) -> bool:
    """Another drain (a suspension, say) has not sold what a deletion with Flatten asks for."""
    if can_drain:
        return _has_drained(trader) and trader.drain is not None and trader.drain.reason is DrainReason.DELETING
    is_sold = view.on_delete is not DeleteAction.FLATTEN or trader.open_positions == 0
    return _has_drained(trader) and is_sold


def _is_gone(deployment: Manifest | None) -> bool:
    return number(deployment, "status", "replicas") == 0


def _has_drained(trader: TraderReport | None) -> bool:
    """One that cannot open its books proves nothing about orders that it may have sent before."""
    return trader is None or (trader.has_books and trader.drain is not None and trader.drain.done)


def _suspended_since_ns(view: BotView, now_ns: int) -> int:
    """As our own condition says: a trader that begins anew, again and again, would have all of its time each time."""
    for condition in sequence(view.status, "conditions"):
        if text(condition, "type") == ConditionType.TRADER_AVAILABLE and text(condition, "reason") == Reason.SUSPENDED:
            return parse_time_ns(text(condition, "lastTransitionTime")) or now_ns
    return now_ns


def _describe(trader: TraderReport) -> str:
    if trader.drain is None:
        return "The trader has not seen yet that its pod is to go."
    left = [_name(order) for order in trader.drain.orders if order.result in ("Remaining", "Unresolved")]
    orders = f" ({', '.join(left[:5])})" if left else ""
    counts = f"{trader.open_orders or 0} orders are open{orders}, {trader.open_positions or 0} positions are held"
    return f"Orders are being cancelled, then the account is compared: {counts}."


def _name(order: StoppedOrder) -> str:
    return f"{order.side} {order.symbol} {order.client_order_id}{f': {order.reason}' if order.reason else ''}"

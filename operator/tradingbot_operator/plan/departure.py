"""PURE. A live pod that is to go drains first: when `spec.suspend` may end it, and when a deleted bot may go.

Our finalizer is on a bot only while `onDelete` asks for work: while it has a live pod. It is bounded: what could not be
proved in time is said, and the bot goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_api.spec import DeleteAction, Mode
from tradingbot_api.status import StoppedOrder
from tradingbot_operator.children.deployment import PodPlan
from tradingbot_operator.manifest import Manifest, number
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
    trader = view.trader if view.trader is not None and view.trader.mode is Mode.LIVE else None
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
        drain = trader.drain
        deadline_ns = _since_ns(trader, now_ns) + timeout_ns
        if (drain is None or not drain.done) and now_ns < deadline_ns:
            return Departure(
                finalizer=view.on_delete is not DeleteAction.HOLD,
                keeps_pod=True,
                waits_for=_describe(trader),
                recheck_at_ns=deadline_ns,
            )
    has_work = is_live and not (view.suspended and _is_gone(deployment) and _is_done(trader))
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
    if view.on_delete is DeleteAction.HOLD or trader is None or _is_done(trader):
        return Departure(finalizer=False)
    if can_drain and now_ns < deadline_ns:
        silent = "" if availability.reports else " Its trader does not report: it is waited for."
        return Departure(finalizer=True, waits_for=f"{_describe(trader)}{silent}", recheck_at_ns=deadline_ns)
    why = "not proved in time" if can_drain else "no trader is left to do it"
    return Departure(finalizer=False, left=f"{why}: {_describe(trader)}")


def _is_gone(deployment: Manifest | None) -> bool:
    return number(deployment, "status", "replicas") == 0


def _is_done(trader: TraderReport | None) -> bool:
    """A trader that never opened its books has sent nothing."""
    return trader is None or not trader.has_books or (trader.drain is not None and trader.drain.done)


def _since_ns(trader: TraderReport, now_ns: int) -> int:
    """From when on the drain has its time; a trader that has not seen the request yet has all of it."""
    return (parse_time_ns(trader.drain.since) if trader.drain is not None else None) or now_ns


def _describe(trader: TraderReport) -> str:
    if trader.drain is None:
        return "The trader has not seen yet that its pod is to go."
    left = [_name(order) for order in trader.drain.orders if order.result in ("Remaining", "Unresolved")]
    orders = f" ({', '.join(left[:5])})" if left else ""
    counts = f"{trader.open_orders or 0} orders are open{orders}, {trader.open_positions or 0} positions are held"
    return f"Orders are being cancelled, then the account is compared: {counts}."


def _name(order: StoppedOrder) -> str:
    return f"{order.side} {order.symbol} {order.client_order_id}{f': {order.reason}' if order.reason else ''}"

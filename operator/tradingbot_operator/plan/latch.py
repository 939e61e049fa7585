"""PURE. `status.killSwitch`: the trader's latch, or the operator's own while no trader reports.

The trader's wins. The operator's keeps a stop that was asked for while there was nobody to obey it: a trader that
starts later takes it over under the same id.
"""

from __future__ import annotations

import uuid

from tradingbot_api.conditions import LatchState
from tradingbot_api.status import Latch
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.timestamps import format_time

OPERATOR_ID_PREFIX = "operator-"
KILL_SWITCH = "KillSwitch"


def decide_latch(view: BotView, *, trader_obeys: bool, now_ns: int) -> Latch:
    """`trader_obeys`: a trader is up now, reports, and has a store to latch in. A last report that is still fresh is no
    such trader: one that dies right after it would have heard nothing, and neither would its successor."""
    reported = view.trader.latch if view.trader else None
    if reported is not None and is_set(reported):
        return reported
    if is_operators(view.latch):
        is_released = view.kill_switch.rearm == view.latch.id and not view.kill_switch.engaged
        return Latch() if is_released else view.latch
    if view.kill_switch.engaged and not trader_obeys and not view.is_deleting:
        return _mint(view, now_ns)
    return Latch() if reported is not None else view.latch


def is_set(latch: Latch) -> bool:
    return latch.state is not LatchState.ARMED


def is_operators(latch: Latch) -> bool:
    """Minted here, and no trader has taken it over: that would have acknowledged it."""
    return is_set(latch) and latch.id.startswith(OPERATOR_ID_PREFIX) and latch.acknowledged_at is None


def _mint(view: BotView, now_ns: int) -> Latch:
    """The id follows from bot and generation: a second operator, or a second attempt, mints the same."""
    try:
        namespace = uuid.UUID(view.ref.uid)
    except ValueError:
        namespace = uuid.NAMESPACE_OID
    identity = uuid.uuid5(namespace, f"{view.ref.uid}/{view.generation}")
    return Latch(
        state=LatchState.STOPPING,
        id=f"{OPERATOR_ID_PREFIX}{identity}",
        action=view.kill_switch.action,
        reason=view.kill_switch.reason,
        source=KILL_SWITCH,
        engaged_at=format_time(now_ns),
    )

"""PURE. `status.killSwitch`: the trader's latch, or the operator's own while no trader reports.

The trader's wins. The operator's keeps a stop that was asked for while there was nobody to obey it: a trader that
starts later takes it over under the same id.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from tradingbot_api.conditions import LatchState
from tradingbot_api.status import Latch
from tradingbot_operator.plan.halts import StopRequest, find_strictest, is_stricter
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.timestamps import format_time

OPERATOR_ID_PREFIX = "operator-"
KILL_SWITCH = "KillSwitch"
_MAX_REASON = 4096
_MAX_SOURCE = 256
"""What status takes; a halt's name may be 253 characters long."""


def decide_latch(view: BotView, halts: Sequence[StopRequest] = (), *, trader_obeys: bool, now_ns: int) -> Latch:
    """`trader_obeys`: a trader is up now, reports, and has a store to latch in. A last report that is still fresh is no
    such trader: one that dies right after it would have heard nothing, and neither would its successor. `halts`: what
    the halts ask for that match the bot, or have matched it since it was looked at last."""
    reported = view.trader.latch if view.trader else None
    asked = find_strictest((*_read_kill_switch(view), *halts))
    if reported is not None and is_set(reported):
        return reported
    if is_operators(view.latch):
        if asked is None:
            return Latch() if view.kill_switch.rearm == view.latch.id else view.latch
        if is_stricter(asked.action, view.latch.action):
            # Nobody has sold or cancelled anything for it yet: it becomes what the strictest asks for, under its id.
            return view.latch.model_copy(
                update={
                    "action": asked.action,
                    "source": asked.source[:_MAX_SOURCE],
                    "reason": asked.reason[:_MAX_REASON],
                }
            )
        return view.latch
    if asked is not None and not trader_obeys and not view.is_deleting:
        return _mint(view, asked, now_ns)
    return Latch() if reported is not None else view.latch


def is_set(latch: Latch) -> bool:
    return latch.state is not LatchState.ARMED


def is_operators(latch: Latch) -> bool:
    """Minted here, and no trader has taken it over: that would have acknowledged it."""
    return is_set(latch) and latch.id.startswith(OPERATOR_ID_PREFIX) and latch.acknowledged_at is None


def _read_kill_switch(view: BotView) -> tuple[StopRequest, ...]:
    switch = view.kill_switch
    return (StopRequest(KILL_SWITCH, switch.action, switch.reason),) if switch.engaged else ()


def _mint(view: BotView, asked: StopRequest, now_ns: int) -> Latch:
    """The id follows from bot, generation and source: a second operator, or a second attempt, mints the same. A release
    is a new generation, so that the same halt never brings an id back that was released."""
    try:
        namespace = uuid.UUID(view.ref.uid)
    except ValueError:
        namespace = uuid.NAMESPACE_OID
    source = f"/{asked.source}/{asked.identity}" if asked.source != KILL_SWITCH else ""
    identity = uuid.uuid5(namespace, f"{view.ref.uid}/{view.generation}{source}")
    return Latch(
        state=LatchState.STOPPING,
        id=f"{OPERATOR_ID_PREFIX}{identity}",
        action=asked.action,
        reason=asked.reason[:_MAX_REASON],
        source=asked.source[:_MAX_SOURCE],
        engaged_at=format_time(now_ns),
    )

"""PURE. What is printed: one line a bot for people, the same as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tradingbot_plugin.drill import DrillReport, Step
from tradingbot_plugin.kill import Target
from tradingbot_plugin.rearm import Release
from tradingbot_plugin.view import BotView, LatchView, parse_time

NOTHING = "-"
STATUS_COLUMNS = (
    "NAME", "MODE", "STAGE", "LIMIT", "STATE", "POSITIONS", "ORDERS", "HEARTBEAT", "STOP", "ACTION", "SOURCE", "SINCE",
    "LATCH",
)  # fmt: skip
KILL_COLUMNS = ("BOT", "RESULT", "STOP", "ACTION", "ACKNOWLEDGED", "CANCELLED", "FLAT", "LATCH", "DETAIL")
DRILL_COLUMNS = ("BOT", "RESULT", "ACKNOWLEDGED MS", "STOPPED MS", "RELEASED MS", "ACTIVE MS", "DETAIL")


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As kubectl does: three spaces between, no line, the last column as wide as it likes."""
    lines = [columns, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "   ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def format_age(since: str, now: datetime) -> str:
    """`5s`, `12m`, `3h`, `4d`; never negative, because two clocks are compared here."""
    moment = parse_time(since)
    if moment is None:
        return NOTHING
    seconds = max(0, int((now - moment).total_seconds()))
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86_400}d"


def status_row(bot: BotView, now: datetime) -> list[str]:
    trader, latch = bot.trader, bot.latch
    state = (trader.state or "?") if trader else ("Suspended" if bot.is_suspended else "?")
    reasons = f"({','.join(trader.reasons)})" if trader and trader.reasons else ""
    return [
        bot.ref.name,
        f"{bot.mode}/{bot.permit_mode or NOTHING}",
        f"{bot.stage or NOTHING}/{bot.permit_stage or NOTHING}",
        (trader.limit if trader else "") or bot.permit_limit or NOTHING,
        state + reasons,
        str(trader.open_positions) if trader else "?",
        str(trader.open_orders) if trader else "?",
        format_age(trader.heartbeat_at, now) if trader else NOTHING,
        *_latch_cells(bot, latch, now),
    ]


def _latch_cells(bot: BotView, latch: LatchView, now: datetime) -> list[str]:
    if not latch.is_set:
        return ["Asked" if bot.is_engaged else NOTHING, *[NOTHING] * 4]
    return [
        latch.state if latch.acknowledged_at else f"{latch.state}?",
        latch.action.value if latch.action else "?",
        latch.source or "?",
        format_age(latch.engaged_at, now),
        latch.id,
    ]


def status_json(bot: BotView, now: datetime) -> dict[str, Any]:
    trader, latch = bot.trader, bot.latch
    heard = parse_time(trader.heartbeat_at) if trader else None
    return {
        "namespace": bot.ref.namespace,
        "name": bot.ref.name,
        "uid": bot.uid,
        "mode": {"asked": bot.mode, "granted": bot.permit_mode or None},
        "stage": {"asked": bot.stage or None, "granted": bot.permit_stage or None},
        "limit": {"granted": bot.permit_limit or None, "inForce": (trader.limit or None) if trader else None},
        "suspended": bot.is_suspended,
        "stopAsked": bot.is_engaged,
        "stop": latch_json(latch) if latch.is_set else None,
        "state": (trader.state or None) if trader else None,
        "stateReasons": list(trader.reasons) if trader else [],
        "openPositions": trader.open_positions if trader else None,
        "openOrders": trader.open_orders if trader else None,
        "unresolvedOrders": trader.unresolved_orders if trader else None,
        "heartbeatAt": (trader.heartbeat_at or None) if trader else None,
        "heartbeatAgeSeconds": max(0, int((now - heard).total_seconds())) if heard else None,
    }


def latch_json(latch: LatchView) -> dict[str, Any]:
    return {
        "state": latch.state,
        "id": latch.id,
        "action": latch.action.value if latch.action else None,
        "source": latch.source,
        "reason": latch.reason,
        "sources": [
            {
                "source": each.source,
                "action": each.action.value if each.action else None,
                "reason": each.reason,
                "since": each.since,
                "active": each.is_active,
            }
            for each in latch.sources
        ],
        "message": latch.message,
        "engagedAt": latch.engaged_at or None,
        "acknowledgedAt": latch.acknowledged_at or None,
        "ordersCancelled": latch.orders_cancelled,
        "orders": [
            {
                "clientOrderId": each.client_order_id,
                "symbol": each.symbol,
                "side": each.side,
                "result": each.result,
                "reason": each.reason,
            }
            for each in latch.orders
        ],
        "positionsClosed": latch.positions_closed,
        "positionsLeft": list(latch.positions_left),
        "givenUp": [{"symbol": each.symbol, "reason": each.reason} for each in latch.given_up],
        "dust": list(latch.dust),
        "flat": latch.flat.value,
    }


def kill_row(target: Target) -> list[str]:
    latch = target.bot.trader.latch if target.bot and target.bot.trader else LatchView()
    return [
        str(target.ref),
        target.proof.outcome.value,
        latch.state if latch.is_set else NOTHING,
        latch.action.value if latch.is_set and latch.action else NOTHING,
        latch.acknowledged_at or NOTHING,
        str(latch.orders_cancelled) if latch.is_set else NOTHING,
        latch.flat.value if latch.is_set else NOTHING,
        latch.id or NOTHING,
        "; ".join([target.proof.why, *target.notes]),
    ]


def kill_json(target: Target) -> dict[str, Any]:
    latch = target.bot.trader.latch if target.bot and target.bot.trader else LatchView()
    asked = target.asked
    return {
        "namespace": target.ref.namespace,
        "name": target.ref.name,
        "uid": asked.uid if asked else None,
        "outcome": target.proof.outcome.value,
        "detail": target.proof.why,
        "notes": target.notes,
        "action": asked.action.value if asked else None,
        "halt": (asked.halt or None) if asked else None,
        "latch": latch_json(latch) if latch.is_set else None,
    }


def release_json(release: Release) -> dict[str, Any]:
    return {
        "namespace": release.ref.namespace,
        "name": release.ref.name,
        "latchId": release.latch.id,
        "released": release.is_released,
        "detail": release.why_not,
        "deletedHalts": release.deleted_halts,
        "notes": release.notes,
    }


def drill_table(report: DrillReport) -> str:
    rows = [[each.step.value, str(each.milliseconds), each.at or NOTHING] for each in report.steps]
    return format_table(("STEP", "MILLISECONDS", "TRADER'S TIME"), rows)


def drill_row(bot: str, report: DrillReport | None, why_not: str) -> list[str]:
    """Of many: one line a bot, with the steps that count."""
    steps = {each.step: str(each.milliseconds) for each in report.steps} if report else {}
    result = "NotDrilled" if report is None else "NotPassed" if report.message else "Passed"
    shown = (Step.ACKNOWLEDGED, Step.STOPPED, Step.RELEASED, Step.ACTIVE)
    detail = report.message if report else why_not
    return [bot, result, *(steps.get(step, NOTHING) for step in shown), detail or NOTHING]

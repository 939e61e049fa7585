"""PURE. Whether a trader is up and reports, and until when that can be believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradingbot_api.conditions import Reason
from tradingbot_operator.manifest import Manifest, mapping, number, sequence, text
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.timestamps import SECOND_NS, parse_time_ns

FRESH_NS = 90 * SECOND_NS
"""Three heartbeats of the trader, which writes at least every 30 s."""


@dataclass(frozen=True, slots=True)
class Availability:
    is_available: bool
    reason: str
    message: str
    reports: bool
    """Whether its last report is fresh, its pod ready or not."""
    recheck_at_ns: int | None = None
    """When the answer may change without any event."""


def judge_trader(view: BotView, deployment: Manifest | None, now_ns: int) -> Availability:
    heartbeat_ns = view.trader.heartbeat_ns if view.trader else None
    stale_at_ns = heartbeat_ns + FRESH_NS if heartbeat_ns is not None else 0
    # Nor is a report of the future a sign of life: somebody's clock is wrong, and it would be fresh for ever.
    reports = heartbeat_ns is not None and heartbeat_ns - FRESH_NS <= now_ns < stale_at_ns
    recheck_at_ns = stale_at_ns if reports else None
    if view.suspended:
        message = "spec.suspend is true, so there is no trader. Set it to false to start one."
        if number(deployment, "status", "replicas") > 0:
            message = "spec.suspend is true: the trader is about to end."
        return Availability(False, Reason.SUSPENDED, message, reports, recheck_at_ns)
    if number(deployment, "status", "availableReplicas") < 1:
        return Availability(False, Reason.UNAVAILABLE, _explain(view, deployment), reports, recheck_at_ns)
    if reports:
        return Availability(True, Reason.AVAILABLE, "The trader is up and reports.", reports, recheck_at_ns)
    silent_at_ns = available_since_ns(deployment) + FRESH_NS
    if now_ns < silent_at_ns:
        return Availability(False, Reason.UNAVAILABLE, _starting(view), reports, silent_at_ns)
    last = "never" if heartbeat_ns is None else f"not since {text(view.status, 'trader', 'heartbeatAt')}"
    message = (
        f"The trader's pod is ready but has {last} reported in status.trader. Read its log: "
        f"kubectl -n {view.ref.namespace} logs deployment/{view.ref.child_name}"
    )
    return Availability(False, Reason.SILENT, message, reports)


def _starting(view: BotView) -> str:
    return (
        "The trader's pod is not ready yet. If that lasts, its events say why: "
        f"kubectl -n {view.ref.namespace} describe pod -l tradingbot.dev/bot={view.ref.name}"
    )


def _explain(view: BotView, deployment: Manifest | None) -> str:
    failure = _condition(deployment, "ReplicaFailure")
    if failure.get("status") == "True":
        return f"The trader's pod cannot be made: {_stable(text(failure, 'message'), view.ref.child_name)}"
    return _starting(view)


def _stable(message: str, deployment: str) -> str:
    """Without the random part of a pod's name, or each attempt would be news and a write."""
    return re.sub(rf"{re.escape(deployment)}-[a-z0-9]+-[a-z0-9]+", f"{deployment}-...", message)


def available_since_ns(deployment: Manifest | None) -> int:
    """0: never, or not told."""
    return parse_time_ns(_condition(deployment, "Available").get("lastTransitionTime")) or 0


def _condition(deployment: Manifest | None, kind: str) -> Mapping[str, Any]:
    for condition in sequence(deployment, "status", "conditions"):
        if text(condition, "type") == kind:
            return mapping(condition)
    return {}

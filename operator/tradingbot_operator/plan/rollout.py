"""PURE. `updatePolicy`: when another pod may replace one whose trader may hold positions.

What is no replacement of a running trader never waits: a first pod, a suspended bot, a trader that does not report, and
the undoing of what somebody else changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradingbot_api.conditions import Reason
from tradingbot_api.labels import ROLL_OUT
from tradingbot_api.spec import UpdatePolicy
from tradingbot_operator.children.deployment import TEMPLATE_HASH, describe_change, read_pod_plan, template_hash
from tradingbot_operator.manifest import Manifest, mapping, number
from tradingbot_operator.plan.trader import Availability
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.plan.workload import Apply


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why another pod does not replace the running one yet."""

    reason: str
    message: str


def find_obstacle(view: BotView, *, wanted_hash: str) -> Waiting | None:
    """What `updatePolicy` wants before the trader that reports is replaced by that pod; None: it may go."""
    trader = view.trader
    if view.update_policy is UpdatePolicy.AUTO or trader is None:
        return None
    if view.update_policy is UpdatePolicy.MANUAL:
        if view.roll_out == wanted_hash:
            return None
        name = f"-n {view.ref.namespace} tradingbot {view.ref.name}"
        how = f"kubectl annotate --overwrite {name} {ROLL_OUT}={wanted_hash}"
        return Waiting(Reason.WAITING_FOR_APPROVAL, f"updatePolicy is Manual: {how}, or suspend the bot.")
    if trader.open_positions == 0 and trader.open_orders == 0:
        return None
    how = "wait for the strategy's exits, or set updatePolicy to Auto"
    return Waiting(Reason.WAITING_UNTIL_FLAT, f"updatePolicy is WhenFlat, and positions or orders are open: {how}.")


def judge_rollout(
    view: BotView, apply: Apply | None, deployment: Manifest | None, availability: Availability
) -> Waiting | None:
    """Why this apply of the Deployment has to wait; None: it may go, or there is none."""
    if apply is None or apply.is_new or view.suspended:
        return None
    if not availability.reports and number(deployment, "status", "availableReplicas") < 1:
        return None  # a broken image can always be replaced; a clock that jumped makes nobody broken
    wanted, running = template_hash(apply.manifest), template_hash(deployment)
    if wanted == running or number(deployment, "status", "replicas") == 0:
        return None
    if read_pod_plan(apply.manifest) != read_pod_plan(deployment or {}):
        return None  # another book, venue or key: plan/book.py has asked already
    obstacle = find_obstacle(view, wanted_hash=wanted)
    if obstacle is None:
        return None
    change = describe_change(deployment, apply.manifest)
    return Waiting(obstacle.reason, f"Another pod is ready to run ({change}). {obstacle.message}")


def keep_template(wanted: Manifest, observed: Mapping[str, Any]) -> Manifest | None:
    """The Deployment as it should be, with the pod template that it has; None when nothing else differs."""
    spec, have = wanted["spec"], mapping(observed, "spec")
    if all(have.get(name) == spec[name] for name in ("replicas", "strategy")):
        return None
    annotations = wanted["metadata"]["annotations"] | {TEMPLATE_HASH: template_hash(observed)}
    metadata = wanted["metadata"] | {"annotations": annotations}
    return wanted | {"metadata": metadata, "spec": spec | {"template": have.get("template", spec["template"])}}

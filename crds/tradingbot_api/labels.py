"""PURE. Names, labels and annotations that both programs and the chart agree on."""

from __future__ import annotations

PART_OF = "app.kubernetes.io/part-of"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
BOT = "tradingbot.dev/bot"
"""The name of the bot that an object belongs to; a volume is found again by it."""
REQUESTED_BY = "tradingbot.dev/requested-by"
"""Annotation: who asked for what adds risk. The API server proves it, see the chart's admission policies."""
ROLL_OUT = "tradingbot.dev/roll-out"
"""Annotation, with updatePolicy Manual: the hash of the pod template that may replace the running one."""
FINALIZER = "tradingbot.dev/on-delete"
"""On a bot only while `onDelete` asks for work that is not done."""
APPROVED_BY = "tradingbot.dev/approved-by"
"""Annotation of an approval: who signed, proved by the API server. An approval without it does not count."""

DRILL = "tradingbot.dev/drill"
"""Annotation of a bot: the id of its last drill, written by the patch that stops it."""
DRILL_ID_PATTERN = r"^[a-z0-9]{1,32}$"
"""It becomes part of a record's name; anything else is no drill's id."""

OPERATOR_MANAGER = "tradingbot-operator"
TRADER_MANAGER = "tradingbot-trader"

MAX_BOT_NAME_LENGTH = 40
"""`NAME-trader-<hash>-<suffix>` of a pod has to fit into a label's 63 characters."""
BOT_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"


def child_name(bot: str) -> str:
    """The name of every child of a bot: Deployment, ServiceAccount, Role, RoleBinding, Lease, PVC, Service."""
    return f"{bot}-trader"


def selector_labels(bot: str) -> dict[str, str]:
    """What selects the pods of a bot; frozen, because a Deployment's selector cannot be changed."""
    return {NAME: "tradingbot-trader", INSTANCE: bot}


def child_labels(bot: str) -> dict[str, str]:
    """What every child carries."""
    return selector_labels(bot) | {MANAGED_BY: OPERATOR_MANAGER, PART_OF: "tradingbot", BOT: bot}


def drill_reason(drill_id: str) -> str:
    """`spec.killSwitch.reason` of a drill: by it the latch, and each source of it, names the drill."""
    return f"drill {drill_id} by kubectl tradingbot"


def names_drill(reason: str, drill_id: str) -> bool:
    return reason.startswith(f"drill {drill_id} ")


def is_drill_reason(reason: str) -> bool:
    """Of any drill: such a stop will be released by whoever made it, and nobody else's stop may rest on it."""
    words = reason.split(" ", 2)
    return len(words) == 3 and reason == drill_reason(words[1])


def drill_review_name(bot: str, drill_id: str) -> str:
    """One record for each drill, whoever writes it and however often: the API server takes a name once."""
    return f"{bot}-drill-{drill_id}"

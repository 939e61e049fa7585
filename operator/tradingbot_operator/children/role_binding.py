"""PURE. Gives the trader's Role to the trader's ServiceAccount."""

from __future__ import annotations

from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.kinds import ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from tradingbot_operator.manifest import Manifest


def build_role_binding(bot: BotRef) -> Manifest:
    return build_object(ROLE_BINDING, bot) | {
        "roleRef": {"apiGroup": ROLE.group, "kind": ROLE.name, "name": bot.child_name},
        "subjects": [{"kind": SERVICE_ACCOUNT.name, "name": bot.child_name, "namespace": bot.namespace}],
    }

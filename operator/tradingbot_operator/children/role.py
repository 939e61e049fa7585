"""PURE. What the trader may do: read its own bot, write its status, hold its lease, and nothing else."""

from __future__ import annotations

from tradingbot_api import GROUP
from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.kinds import BOT, LEASE, ROLE
from tradingbot_operator.manifest import Manifest


def build_role(bot: BotRef) -> Manifest:
    return build_object(ROLE, bot) | {
        "rules": [
            # list and watch by name work for requests with the field selector metadata.name=NAME
            _rule(GROUP, BOT.plural, bot.name, "get", "list", "watch"),
            _rule(GROUP, f"{BOT.plural}/status", bot.name, "get", "patch"),
            # we make the Lease, because `create` cannot be restricted to a name
            _rule(LEASE.group, LEASE.plural, bot.child_name, "get", "update"),
        ]
    }


def _rule(group: str, resource: str, name: str, *verbs: str) -> Manifest:
    return {"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": list(verbs)}

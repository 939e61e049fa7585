"""PURE. The ExternalSecret that has the exchange keys made, as External Secrets 0.20.4 was seen to take it."""

from __future__ import annotations

from tradingbot_api.duration import format_duration
from tradingbot_api.spec import ExternalSecretRef, TradingBotSpec
from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.kinds import EXTERNAL_SECRET
from tradingbot_operator.manifest import Manifest


def build_external_secret(bot: BotRef, asked: ExternalSecretRef) -> Manifest:
    return build_object(EXTERNAL_SECRET, bot) | {
        "spec": {
            "refreshInterval": format_duration(asked.refresh_interval),
            "secretStoreRef": {"kind": asked.store_ref.kind, "name": asked.store_ref.name},
            "target": {
                "name": bot.child_name,
                # The Secret goes with the ExternalSecret, and nobody else's of that name is overwritten.
                "creationPolicy": "Owner",
                # A key that vanishes from the store takes no running trader's key away.
                "deletionPolicy": "Retain",
            },
            "dataFrom": [{"extract": {"key": asked.key}}],
        }
    }


def find_keys_secret(spec: TradingBotSpec, bot: BotRef) -> str:
    """The Secret that a live pod mounts: the one that is named, else the one that External Secrets makes."""
    credentials = spec.credentials
    return (credentials.secret_name if credentials else None) or bot.child_name

"""PURE. Where the trader's metrics are found."""

from __future__ import annotations

from tradingbot_api.labels import selector_labels
from tradingbot_operator.children.deployment import HTTP_PORT, HTTP_PORT_NAME
from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.kinds import SERVICE
from tradingbot_operator.manifest import Manifest


def build_service(bot: BotRef) -> Manifest:
    """Headless: there is one pod, and a scraper wants it even while it is not ready."""
    return build_object(SERVICE, bot) | {
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector_labels(bot.name),
            "ports": [
                {"name": HTTP_PORT_NAME, "port": HTTP_PORT, "targetPort": HTTP_PORT_NAME, "protocol": "TCP"},
            ],
        }
    }

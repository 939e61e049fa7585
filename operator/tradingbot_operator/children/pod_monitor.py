"""PURE. How the Prometheus operator finds the trader's metrics, where it is installed."""

from __future__ import annotations

from tradingbot_api.labels import selector_labels
from tradingbot_operator.children.deployment import HTTP_PORT_NAME
from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.children.platform import Platform
from tradingbot_operator.kinds import POD_MONITOR
from tradingbot_operator.manifest import Manifest

METRICS_PATH = "/metrics"


def build_pod_monitor(bot: BotRef, platform: Platform) -> Manifest:
    """Of pods, not of the Service: a trader that is not ready is the one to be watched."""
    head = build_object(POD_MONITOR, bot)
    head["metadata"]["labels"] = dict(platform.monitor.labels) | head["metadata"]["labels"]  # ours win
    return head | {
        "spec": {
            "selector": {"matchLabels": selector_labels(bot.name)},
            "podMetricsEndpoints": [
                {"port": HTTP_PORT_NAME, "path": METRICS_PATH, "interval": platform.monitor.interval}
            ],
        }
    }

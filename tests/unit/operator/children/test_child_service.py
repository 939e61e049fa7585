from __future__ import annotations

from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.service import build_service


def test_service_finds_the_pod_ready_or_not() -> None:
    assert build_service(BotRef("desk-a", "btc", "uid-1"))["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"app.kubernetes.io/name": "tradingbot-trader", "app.kubernetes.io/instance": "btc"},
        "ports": [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}],
    }

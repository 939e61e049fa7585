from __future__ import annotations

from dataclasses import replace

from tradingbot_operator.children.deployment import PodPlan, build_deployment
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.platform import MonitorRules, Platform
from tradingbot_operator.children.pod_monitor import build_pod_monitor

from tradingbot_api.spec import Exchange, ExchangeId  # isort: skip

BOT = BotRef("desk-a", "btc", "uid-1")


def test_monitor_scrapes_the_traders_pod(platform: Platform) -> None:
    given = replace(platform, monitor=MonitorRules(interval="15s"))
    monitor = build_pod_monitor(BOT, given)
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert monitor["spec"] == {
        "selector": {
            "matchLabels": {"app.kubernetes.io/name": "tradingbot-trader", "app.kubernetes.io/instance": "btc"}
        },
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }


def test_monitor_names_the_port_that_the_pod_has(platform: Platform) -> None:
    pod = PodPlan(Exchange(id=ExchangeId.BINANCE))
    deployment = build_deployment(BOT, platform, pod=pod, addresses=None, suspended=False)
    (port,) = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    (endpoint,) = build_pod_monitor(BOT, platform)["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == port["name"]
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    assert build_pod_monitor(BOT, platform)["spec"]["selector"]["matchLabels"].items() <= labels


def test_prometheus_finds_it_by_the_platforms_labels_and_we_by_ours(platform: Platform) -> None:
    labels = {"release": "prometheus", "tradingbot.dev/bot": "somebody-elses"}
    built = build_pod_monitor(BOT, replace(platform, monitor=MonitorRules(labels=labels)))["metadata"]["labels"]
    assert (built["release"], built["tradingbot.dev/bot"]) == ("prometheus", "btc")
    assert labels["tradingbot.dev/bot"] == "somebody-elses"

"""What is exported, and that the reference page lists exactly that."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tradingbot_operator.metrics import Metrics, mode_and_phase

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def build_used() -> Metrics:
    """Each metric has a series."""
    metrics = Metrics()
    metrics.follow(
        queue_depth=lambda: 3,
        queue_oldest_seconds=lambda: 1.5,
        bots=lambda: {("Paper", "Trading"): 2, ("Live", "Halted"): 1},
        leads=lambda: True,
        drill_ages=lambda: {("desk", "btc"): 86400.5},
    )
    metrics.reconciled(0.1)
    metrics.failed("Transient")
    metrics.requested("patch", "roles", 200, 0.004)
    metrics.watched("roles")
    metrics.missed("roles")
    metrics.lagged(0.002)
    metrics.listed(1.0)
    return metrics


def names_of(metrics: Metrics) -> set[str]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {f"{each.name}_total" if each.type == "counter" else each.name for each in families}


def test_each_documented_metric_is_exported_and_each_exported_one_documented() -> None:
    documented = set(
        re.findall(r"^- \*\*`(tradingbot_operator_\w+)`\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert documented == names_of(build_used())


def test_what_is_measured_is_what_is_exported() -> None:
    text = build_used().render().decode()
    for line in (
        "tradingbot_operator_leader 1.0",
        "tradingbot_operator_queue_depth 3.0",
        "tradingbot_operator_queue_oldest_seconds 1.5",
        'tradingbot_operator_bots{mode="Paper",phase="Trading"} 2.0',
        'tradingbot_operator_bots{mode="Live",phase="Halted"} 1.0',
        'tradingbot_operator_reconcile_errors_total{reason="Transient"} 1.0',
        'tradingbot_operator_api_requests_total{code="200",resource="roles",verb="patch"} 1.0',
        'tradingbot_operator_api_request_seconds_bucket{le="0.01",resource="roles",verb="patch"} 1.0',
        'tradingbot_operator_watch_events_total{resource="roles"} 1.0',
        'tradingbot_operator_watch_missed_total{resource="roles"} 1.0',
        'tradingbot_operator_event_loop_lag_seconds_bucket{le="0.01"} 1.0',
        "tradingbot_operator_last_resync_timestamp_seconds 1.0",
        'tradingbot_operator_drill_age_seconds{bot="btc",namespace="desk"} 86400.5',
    ):
        assert f"\n{line}\n" in text, line


def test_bots_that_are_gone_are_counted_no_more() -> None:
    metrics, bots, ages = Metrics(), {("Paper", "Trading"): 2}, {("desk", "btc"): 1.0}
    metrics.follow(
        queue_depth=lambda: 0,
        queue_oldest_seconds=lambda: 0,
        bots=lambda: bots,
        leads=lambda: False,
        drill_ages=lambda: ages,
    )
    assert b'phase="Trading"' in metrics.render()
    assert b'bot="btc"' in metrics.render()
    bots.clear()
    ages.clear()
    assert b'phase="Trading"' not in metrics.render()
    assert b'bot="btc"' not in metrics.render()
    assert b"tradingbot_operator_leader 0.0" in metrics.render()


def test_mode_of_a_bot_is_the_granted_one() -> None:
    bot = {"spec": {"mode": "Live"}, "status": {"phase": "Pending", "permit": {"mode": "Paper"}}}
    assert mode_and_phase(bot) == ("Paper", "Pending")
    assert mode_and_phase({"spec": {"mode": "Live"}}) == ("None", "None")

"""`updatePolicy` on a real API server: an operator with another trader image comes, and meets bots that hold positions.
What happens at once, what waits, for what, and what the conditions say."""

from __future__ import annotations

from typing import Any

import pytest

from tradingbot_api.labels import ROLL_OUT

pytestmark = pytest.mark.control_plane
NEW = "trader:2"
HELD = {"openPositions": 1, "openOrders": 0}
FLAT = {"openPositions": 0, "openOrders": 0}


def image(desk: Any) -> str:
    found: str = desk.get("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def upgrade(desk: Any, start_operator: Any, policy: str) -> Any:
    """A bot that holds a position, and the operator that brings the new image; both run."""
    old = start_operator(f"--namespaces={desk.namespace}", "--trader-image=trader:1").until_ready()
    desk.create_bot({"spec.updatePolicy": policy})
    desk.until_current()
    desk.make_pod_ready()
    desk.report(**HELD)
    desk.until_verdict("Ready", "True", "Trading")
    assert old.stop() == 0
    return start_operator(f"--namespaces={desk.namespace}", f"--trader-image={NEW}").until_ready()


def test_auto_replaces_at_once(desk: Any, start_operator: Any) -> None:
    operator = upgrade(desk, start_operator, "Auto")
    desk.until("the new image", lambda: image(desk) == NEW)
    desk.until_verdict("ConfigDrift", "False", "NoDrift")
    assert operator.stop() == 0


def test_when_flat_waits_and_says_for_what(desk: Any, start_operator: Any) -> None:
    operator = upgrade(desk, start_operator, "WhenFlat")
    desk.until_verdict("ConfigDrift", "True", "WaitingUntilFlat")
    assert f"trader:1 -> {NEW}" in desk.message("ConfigDrift")
    assert desk.verdict("Ready") == ("True", "Trading"), "a wait stops nobody"
    assert image(desk) == "trader:1"
    desk.report(**FLAT)
    desk.until("the new image", lambda: image(desk) == NEW)
    desk.until_verdict("ConfigDrift", "False", "NoDrift")
    assert "WaitingUntilFlat" in desk.events()
    assert operator.stop() == 0


def test_manual_waits_for_a_person_and_undoes_what_others_change(desk: Any, start_operator: Any) -> None:
    operator = upgrade(desk, start_operator, "Manual")
    desk.until_verdict("ConfigDrift", "True", "WaitingForApproval")
    desk.report(**FLAT)
    scaled = desk.admin.merge(desk.path("Deployment", "btc-trader"), {"spec": {"replicas": 2}})
    assert scaled.is_success, scaled.body
    desk.until("one replica again", lambda: desk.get("Deployment")["spec"]["replicas"] == 1)
    assert image(desk) == "trader:1"
    wanted = desk.message("ConfigDrift").split(f"{ROLL_OUT}=")[1].split(",")[0]
    annotation = {"metadata": {"annotations": {ROLL_OUT: wanted}}}
    assert desk.admin.merge(desk.path("TradingBot", "btc"), annotation).is_success
    desk.until("the new image", lambda: image(desk) == NEW)
    assert operator.stop() == 0


def test_limits_stage_and_strategy_touch_no_pod(desk: Any, start_operator: Any) -> None:
    operator = start_operator(f"--namespaces={desk.namespace}").until_ready()
    desk.create_bot()
    desk.until_current()
    before = desk.get("Deployment")["metadata"]["generation"]
    for spec in ({"capital": {"stage": "small"}}, {"risk": {"maxOrderNotional": "9"}}, {"symbols": ["ETH/USDT"]}):
        desk.patch(spec)
        desk.until_current()
    assert desk.get("Deployment")["metadata"]["generation"] == before
    assert operator.stop() == 0

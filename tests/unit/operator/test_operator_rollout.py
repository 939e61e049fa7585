"""`updatePolicy`: when a changed pod template replaces a trader that may hold positions. A row a case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tradingbot_api.labels import ROLL_OUT
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import template_hash

Make = Callable[..., Any]
NEW_IMAGE = "registry.example/tradingbot-trader:2"
HELD = {"openPositions": 1}
ORDER = {"openOrders": 1}
FLAT = {"openPositions": 0, "openOrders": 0}


def image(cluster: Any) -> str:
    found: str = cluster.children[kinds.DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def upgrade(cluster: Any) -> Any:
    cluster.platform = replace(cluster.platform, trader_image=NEW_IMAGE)
    return cluster


@pytest.mark.parametrize(
    ("policy", "report", "drift"),
    [
        ("Auto", HELD, ("False", "NoDrift")),
        ("WhenFlat", HELD, ("True", "WaitingUntilFlat")),
        ("WhenFlat", ORDER, ("True", "WaitingUntilFlat")),
        ("WhenFlat", {"openPositions": None}, ("True", "WaitingUntilFlat")),
        ("WhenFlat", FLAT, ("False", "NoDrift")),
        (None, HELD, ("True", "WaitingUntilFlat")),
        ("Manual", FLAT, ("True", "WaitingForApproval")),
    ],
)
@pytest.mark.parametrize("mode", ["paper", "live"])
def test_new_image_waits_as_the_policy_says(
    make_running: Make, make_live: Make, mode: str, policy: str | None, report: Any, drift: tuple[str, str]
) -> None:
    cluster = (make_live if mode == "live" else make_running)().edit({"spec.updatePolicy": policy})
    tell = cluster.report_live if mode == "live" else cluster.report
    tell(**(FLAT | report)).settle()
    permitted, before = cluster.permitted, image(cluster)
    assert cluster.verdict("ConfigDrift") == ("False", "NoDrift")
    upgrade(cluster).settle()
    assert cluster.verdict("ConfigDrift") == drift
    assert (image(cluster) == NEW_IMAGE) == (drift[0] == "False")
    assert cluster.permitted == permitted, "an update takes no permit"
    if drift[0] == "True":
        message = cluster.condition("ConfigDrift")["message"]
        assert f"{before} -> {NEW_IMAGE}" in message, "what waits is said"
        assert cluster.plan().is_empty, "waiting writes nothing"


def test_wait_ends_when_the_trader_is_flat(make_running: Make) -> None:
    cluster = upgrade(make_running().report(**HELD).settle()).settle()
    assert image(cluster) != NEW_IMAGE
    cluster.report(**FLAT).settle()
    assert image(cluster) == NEW_IMAGE
    assert cluster.verdict("ConfigDrift") == ("False", "NoDrift")


def test_person_lets_in_that_very_template_and_no_other(make_running: Make) -> None:
    cluster = upgrade(make_running({"spec.updatePolicy": "Manual"}).report(**FLAT).settle()).settle()
    message = cluster.condition("ConfigDrift")["message"]
    wanted = message.split(f"{ROLL_OUT}=")[1].split(",")[0]
    cluster.edit({"metadata.annotations": {ROLL_OUT: "000000000000"}}).report(**FLAT).settle()
    assert image(cluster) != NEW_IMAGE
    cluster.edit({"metadata.annotations": {ROLL_OUT: wanted}}).report(**FLAT).settle()
    assert image(cluster) == NEW_IMAGE
    assert template_hash(cluster.children[kinds.DEPLOYMENT]) == wanted
    cluster.platform = replace(cluster.platform, trader_image="registry.example/tradingbot-trader:3")
    cluster.make_available().report(**FLAT).settle()
    assert image(cluster) == NEW_IMAGE, "the word for one template is no word for the next"


@pytest.mark.parametrize("why", ["it does not report", "it is suspended", "no pod is there"])
def test_nobody_is_waited_for_who_is_not_there(make_running: Make, why: str) -> None:
    cluster = make_running({"spec.updatePolicy": "Manual"}).report(**HELD).settle()
    if why == "it does not report":
        cluster.wait(91)
        cluster.children[kinds.DEPLOYMENT]["status"]["availableReplicas"] = 0
    if why == "it is suspended":
        cluster.edit({"spec.suspend": True})
    if why == "no pod is there":
        cluster.children[kinds.DEPLOYMENT]["status"] = {}
    upgrade(cluster).settle()
    assert image(cluster) == NEW_IMAGE


def test_what_somebody_else_changed_is_put_back_whatever_the_policy(make_running: Make) -> None:
    cluster = make_running({"spec.updatePolicy": "Manual"}).report(**HELD).settle()
    container = cluster.children[kinds.DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]
    good = container["image"]
    container["image"] = "evil.example/trader:1"
    cluster.settle()
    assert image(cluster) == good


def test_limits_stage_and_strategy_need_no_other_pod(make_running: Make) -> None:
    cluster = make_running()
    before = cluster.children[kinds.DEPLOYMENT]
    cluster.edit({"spec.capital.stage": "small", "spec.risk": {"maxOrderNotional": "10"}}).report().settle()
    cluster.edit({"spec.symbols": ["ETH/USDT"], "spec.strategy.timeframe": "5m"}).report().settle()
    assert cluster.children[kinds.DEPLOYMENT] == before


def test_other_keys_of_a_live_bot_wait_until_it_is_flat_and_it_trades_on(make_live: Make) -> None:
    cluster = make_live().edit({"spec.credentials": {"secretName": "other-keys"}})
    cluster.report_live(digest=cluster.status["permit"]["digest"], **HELD).settle()
    assert (cluster.permitted, cluster.keys) == ("Live", ["keys"])
    assert cluster.verdict("ConfigDrift") == ("True", "WaitingUntilFlat")
    cluster.report_live(**FLAT).settle().report_live(**FLAT).settle()
    assert cluster.keys == ["other-keys"]


@pytest.mark.parametrize(("policy", "book"), [("Auto", "paper"), ("WhenFlat", "live"), ("Manual", "live")])
def test_live_pod_with_positions_becomes_paper_as_the_policy_says(make_live: Make, policy: str, book: str) -> None:
    cluster = make_live().edit({"spec.mode": "Paper", "spec.updatePolicy": policy}).settle()
    assert cluster.permitted == "", "the permit goes at once, whatever the policy"
    assert cluster.report_live(**HELD).settle().book == book

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Make = Callable[..., Any]
ENGAGED = {"spec.killSwitch": {"engaged": True, "reason": "night", "action": "Flatten"}}
TRADERS = {
    "state": "Stopped",
    "id": "t-1",
    "action": "CancelOrders",
    "reason": "night",
    "source": "KillSwitch",
    "engagedAt": "2025-06-15T15:06:40Z",
    "acknowledgedAt": "2025-06-15T15:06:40Z",
    "ordersCancelled": 1,
    "orders": [{"clientOrderId": "a", "symbol": "BTC/USDT", "side": "buy", "result": "Cancelled"}],
}


def test_bot_without_a_stop_is_armed(make_running: Make) -> None:
    assert make_running().status["killSwitch"] == {"state": "Armed"}


def test_traders_latch_is_mirrored_with_its_proof(make_running: Make) -> None:
    cluster = make_running().edit(ENGAGED).report(latch=TRADERS).settle()
    mirror = cluster.status["killSwitch"]
    assert {key: mirror[key] for key in TRADERS if key != "orders"} == {
        key: value for key, value in TRADERS.items() if key != "orders"
    }
    assert mirror["orders"][0]["result"] == "Cancelled"
    assert cluster.verdict("Halted") == ("True", "Latched")
    assert cluster.verdict("Ready") == ("False", "KillSwitch")
    assert cluster.status["phase"] == "Stopped"
    assert "spec.killSwitch.rearm to t-1" in cluster.condition("Halted")["message"]


def test_stop_that_the_trader_has_not_seen_yet_is_no_latch(make_running: Make) -> None:
    cluster = make_running().edit(ENGAGED).settle()
    assert cluster.status["killSwitch"] == {"state": "Armed"}
    assert cluster.verdict("Halted") == ("False", "NotHalted")
    assert cluster.verdict("Ready") == ("False", "KillSwitch")
    assert "not acknowledged" in cluster.condition("Ready")["message"]


def test_stop_without_a_trader_is_latched_by_the_operator_and_says_that_nobody_has_acknowledged(
    make_cluster: Make,
) -> None:
    cluster = make_cluster(ENGAGED).settle()
    latch = cluster.status["killSwitch"]
    assert latch["id"].startswith("operator-")
    assert latch["state"] == "Stopping"
    assert latch["action"] == "Flatten"
    assert "acknowledgedAt" not in latch
    assert "No trader has acknowledged" in cluster.condition("Halted")["message"]
    assert cluster.status["phase"] == "Stopping"


def test_silent_trader_counts_as_none(make_running: Make) -> None:
    cluster = make_running().edit(ENGAGED).wait(91).settle()
    assert cluster.status["killSwitch"]["id"].startswith("operator-")


def test_latch_of_the_operator_stays_when_the_switch_is_unset(make_cluster: Make) -> None:
    cluster = make_cluster(ENGAGED).settle()
    latch = copy.deepcopy(cluster.status["killSwitch"])
    cluster.edit({"spec.killSwitch": {"engaged": False}}).settle()
    assert cluster.status["killSwitch"] == latch
    cluster.edit({"spec.killSwitch": {"engaged": False, "rearm": "something-else"}}).settle()
    assert cluster.status["killSwitch"] == latch


def test_latch_of_the_operator_is_released_by_its_id_when_the_switch_is_off(make_cluster: Make) -> None:
    cluster = make_cluster(ENGAGED).settle()
    latch_id = cluster.status["killSwitch"]["id"]
    cluster.edit({"spec.killSwitch": {"engaged": True, "rearm": latch_id}}).settle()
    assert cluster.status["killSwitch"]["id"] == latch_id
    cluster.edit({"spec.killSwitch": {"engaged": False, "rearm": latch_id}}).settle()
    assert cluster.status["killSwitch"] == {"state": "Armed"}


def test_next_stop_has_another_id(make_cluster: Make) -> None:
    cluster = make_cluster(ENGAGED).settle()
    first = cluster.status["killSwitch"]["id"]
    cluster.edit({"spec.killSwitch": {"engaged": False, "rearm": first}}).settle()
    cluster.edit({"spec.killSwitch": {"engaged": True, "rearm": first}}).settle()
    assert cluster.status["killSwitch"]["id"] not in {"", first}


def test_traders_latch_wins(make_cluster: Make) -> None:
    cluster = make_cluster(ENGAGED).settle().report(latch=TRADERS).settle()
    assert cluster.status["killSwitch"]["id"] == "t-1"


def test_running_trader_that_has_not_taken_over_does_not_release_the_operators_latch(make_cluster: Make) -> None:
    cluster = make_cluster(ENGAGED).settle()
    latch = copy.deepcopy(cluster.status["killSwitch"])
    cluster.edit({"spec.killSwitch": {"engaged": False}}).report(latch={"state": "Armed"}).settle()
    assert cluster.status["killSwitch"] == latch


def test_latch_that_the_trader_took_over_ends_when_the_trader_says_so(make_cluster: Make) -> None:
    cluster = make_cluster(ENGAGED).settle()
    latch_id = cluster.status["killSwitch"]["id"]
    cluster.report(latch=TRADERS | {"id": latch_id}).settle()
    assert cluster.status["killSwitch"]["acknowledgedAt"]
    cluster.edit({"spec.killSwitch": {"engaged": False}}).report(latch={"state": "Armed"}).settle()
    assert cluster.status["killSwitch"] == {"state": "Armed"}


def test_latch_survives_a_trader_that_dies(make_running: Make) -> None:
    cluster = make_running().edit(ENGAGED).report(latch=TRADERS).settle()
    cluster.wait(3600).edit({"spec.killSwitch": {"engaged": False}}).settle()
    assert cluster.status["killSwitch"]["id"] == "t-1"


def test_latch_survives_that_somebody_wipes_the_traders_report(make_running: Make) -> None:
    cluster = make_running().edit(ENGAGED).report(latch=TRADERS).settle()
    del cluster.status["trader"]
    cluster.edit({"spec.killSwitch": {"engaged": False}}).settle()
    assert cluster.status["killSwitch"]["id"] == "t-1"


def test_anything_but_a_plain_false_is_engaged(make_cluster: Make) -> None:
    assert make_cluster({"spec.killSwitch": {"engaged": "no"}}).settle().verdict("Halted")[0] == "True"


def test_stop_works_in_an_object_that_is_wrong_otherwise(make_cluster: Make) -> None:
    cluster = make_cluster(ENGAGED | {"spec.capital.stage": "none-such"}).settle()
    assert cluster.verdict("Halted")[0] == "True"
    assert cluster.verdict("Stalled") == ("True", "InvalidSpec")


def test_latch_that_cannot_be_read_is_still_a_latch(make_running: Make) -> None:
    cluster = make_running().report(latch={"state": "Melting", "id": "t-2"}).settle()
    assert cluster.verdict("Halted")[0] == "True"
    assert cluster.status["killSwitch"]["id"] == "t-2"

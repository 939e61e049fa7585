from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
LIVE = {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}


def test_paper_is_permitted_at_once(make_cluster: Make) -> None:
    cluster = make_cluster().settle()
    permit = cluster.status["permit"]
    assert permit == {
        "uid": "11111111-2222-3333-4444-555555555555",
        "mode": "Paper",
        "stage": "micro",
        "limit": "50",
        "digest": permit["digest"],
        "specGeneration": 1,
        "issuedAt": "2025-06-15T15:06:40Z",
    }
    assert permit["digest"].startswith("v1:")


def test_stage_is_permitted_at_once_whether_the_trader_has_looked_or_not(make_running: Make) -> None:
    cluster = make_running().wait(60).edit({"spec.capital.stage": "small"}).settle()
    permit = cluster.status["permit"]
    assert (permit["stage"], permit["limit"], permit["specGeneration"]) == ("small", "100", 2)
    assert permit["issuedAt"] == "2025-06-15T15:07:40Z"


def test_same_permission_for_a_newer_spec_is_no_new_permission(make_running: Make) -> None:
    cluster = make_running()
    before = copy.deepcopy(cluster.status["permit"])
    cluster.wait(60).edit({"spec.onDelete": "Hold"}).settle()
    assert cluster.status["permit"] == before | {"specGeneration": 2}


def test_changed_risk_waits_until_the_trader_has_accepted_it(make_running: Make) -> None:
    cluster = make_running()
    old = copy.deepcopy(cluster.status["permit"])
    cluster.edit({"spec.risk.maxOrderNotional": "10"}).settle()
    assert cluster.status["permit"] == old
    assert cluster.verdict("Reconciling") == ("True", "WaitingForTrader")
    cluster.report(digest="v1:new").settle()
    assert cluster.status["permit"]["digest"] != old["digest"]
    assert cluster.verdict("Reconciling") == ("False", "UpToDate")


def test_rejected_spec_keeps_the_old_permit(make_running: Make) -> None:
    cluster = make_running()
    old = copy.deepcopy(cluster.status["permit"])
    cluster.edit({"spec.symbols": ["XYZ/USDT"], "spec.capital.stage": "small"}).settle()
    cluster.report(accepted=False, digest=old["digest"]).settle()
    assert cluster.status["permit"] == old
    assert cluster.verdict("Stalled") == ("True", "UnknownSymbol")
    assert "correct spec.symbols" in cluster.condition("Stalled")["message"]
    assert "last good configuration" in cluster.condition("Stalled")["message"]


def test_rejected_spec_that_asks_for_another_stage_alone_keeps_the_old_permit(make_running: Make) -> None:
    cluster = make_running()
    old = copy.deepcopy(cluster.status["permit"])
    cluster.edit({"spec.capital.stage": "small"}).report(accepted=False, digest=old["digest"]).settle()
    assert cluster.status["permit"] == old
    assert cluster.verdict("Reconciling")[0] == "False"


def test_first_spec_that_is_rejected_has_no_last_good_one(make_cluster: Make) -> None:
    cluster = make_cluster().settle().report(accepted=False, digest="").settle()
    assert cluster.verdict("Stalled") == ("True", "UnknownSymbol")
    assert "idle" in cluster.condition("Stalled")["message"]


def test_edit_before_the_first_report_is_permitted_at_once(make_cluster: Make) -> None:
    cluster = make_cluster().settle().edit({"spec.risk.maxOrderNotional": "10"})
    assert cluster.settle().status["permit"]["specGeneration"] == 2


def test_corrected_spec_is_permitted_again(make_running: Make) -> None:
    cluster = make_running()
    old = copy.deepcopy(cluster.status["permit"])
    cluster.edit({"spec.symbols": ["XYZ/USDT"]}).report(accepted=False, digest=old["digest"]).settle()
    cluster.edit({"spec.symbols": ["BTC/USDT"]}).report(digest=old["digest"]).settle()
    assert cluster.status["permit"] == old | {"specGeneration": 3}
    assert cluster.verdict("Ready") == ("True", "Trading")


def test_live_is_refused_and_the_bot_stays_on_paper(make_running: Make) -> None:
    cluster = make_running(LIVE)
    assert cluster.status["permit"]["mode"] == "Paper"
    assert cluster.verdict("LiveEligible") == ("False", "LiveNotSupported")
    assert "no live order path" in cluster.condition("LiveEligible")["message"]
    assert cluster.verdict("Ready") == ("True", "Trading")


def test_paper_does_not_ask_for_live(make_running: Make) -> None:
    assert make_running().verdict("LiveEligible") == ("False", "NotRequested")


@pytest.mark.parametrize(
    "permit",
    [
        {"uid": "99999999-2222-3333-4444-555555555555"},
        {"mode": "Live"},
        {"limit": "1000"},
        {"limit": "50.0"},
        {"stage": "huge"},
        {"digest": "v1:forged"},
        {"reviewRef": "none"},
        {"limit": 5},
    ],
)
def test_permit_that_somebody_else_wrote_is_written_over(make_running: Make, permit: dict[str, Any]) -> None:
    cluster = make_running()
    granted = copy.deepcopy(cluster.status["permit"])
    cluster.status["permit"] |= permit
    cluster.settle()
    assert cluster.status["permit"] == granted


def test_permit_of_an_earlier_bot_does_not_outlive_a_bad_spec(make_cluster: Make) -> None:
    permit = make_cluster().settle().status["permit"] | {"uid": "99999999-2222-3333-4444-555555555555"}
    cluster = make_cluster({"spec.capital.stage": "none-such", "status.permit": permit}).settle()
    assert "permit" not in cluster.status


def test_report_of_an_earlier_bot_grants_and_takes_nothing(make_running: Make) -> None:
    cluster = make_running().edit({"spec.risk.maxOrderNotional": "10"})
    cluster.report(accepted=False, uid="99999999-2222-3333-4444-555555555555").settle()
    assert cluster.verdict("Stalled") == ("False", "NotStalled")
    assert cluster.status["permit"]["specGeneration"] == 2

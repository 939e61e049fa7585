from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_operator import kinds

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


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"spec.exchange": {"id": "binance", "network": "Mainnet"}}, "MainnetNotSupported", "gates and approvals"),
        (
            {"spec.credentials": {"externalSecret": {"storeRef": {"name": "vault"}, "key": "k"}}},
            "ExternalSecretsNotInstalled",
            "spec.credentials.secretName",
        ),
    ],
    ids=["Mainnet", "ExternalSecret"],
)
def test_live_that_is_not_supported_stays_on_paper(
    make_running: Make, changes: dict[str, Any], reason: str, said: str
) -> None:
    cluster = make_running(LIVE | changes)
    assert cluster.permitted == "Paper"
    assert (cluster.book, cluster.keys) == ("paper", [])
    assert cluster.verdict("LiveEligible") == ("False", reason)
    assert said in cluster.condition("LiveEligible")["message"]
    assert cluster.verdict("Ready") == ("True", "Trading")


def test_live_on_mainnet_is_not_granted_whatever_is_reported(make_cluster: Make) -> None:
    cluster = make_cluster(LIVE | {"spec.exchange": {"id": "binance", "network": "Mainnet"}}).settle()
    cluster.make_available().report_live().settle()
    assert cluster.permitted == ""
    cluster.status["permit"] = make_cluster().settle().status["permit"] | {"mode": "Live"}
    assert cluster.settle().permitted == ""
    assert cluster.book == "paper"


@pytest.mark.parametrize("network", ["Sandbox", "Testnet"])
def test_live_is_permitted_after_the_preflight_of_a_live_pod(make_cluster: Make, network: str) -> None:
    cluster = make_cluster(LIVE | {"spec.exchange": {"id": "binance", "network": network}}).settle()
    assert (cluster.permitted, cluster.book, cluster.keys) == ("", "live", ["keys"])
    assert cluster.verdict("LiveEligible") == ("True", "TestNetwork")
    cluster.make_available().report_live(preflight=None).settle()
    assert cluster.permitted == ""
    assert cluster.verdict("Ready") == ("False", "NotTrading")
    assert cluster.verdict("Reconciling") == ("True", "WaitingForTrader")
    cluster.wait(3).report_live().settle()
    permit = cluster.status["permit"]
    assert permit == {
        "uid": "11111111-2222-3333-4444-555555555555",
        "mode": "Live",
        "stage": "micro",
        "limit": "50",
        "digest": permit["digest"],
        "specGeneration": 1,
        "issuedAt": "2025-06-15T15:06:43Z",
        "account": "0123456789ab",
    }
    cluster.report_live(digest=permit["digest"]).settle()
    assert cluster.verdict("Ready") == ("True", "Trading")
    assert cluster.condition("Ready")["message"] == "Live trading at stage micro, at most 50 USDT at risk."


@pytest.mark.parametrize(
    "report",
    [
        {"mode": "Paper"},
        {"mode": "Unheard-of"},
        {"preflight": None},
        {"preflight": {"passed": False, "at": "2025-06-15T15:06:40Z"}},
        {"preflight": {"passed": "true", "at": 5}},
        {"preflight": "passed"},
        {"uid": "99999999-2222-3333-4444-555555555555"},
        {"accepted": False},
        {"at_ns": 1_749_999_900 * 10**9},
    ],
    ids=str,
)
def test_report_that_proves_no_preflight_of_a_live_trader_gets_no_live_permit(
    make_cluster: Make, report: dict[str, Any]
) -> None:
    cluster = make_cluster(LIVE).settle().make_available().report_live(**report).settle()
    assert cluster.permitted == ""
    assert cluster.report_live().settle().permitted == "Live", "the report alone was in the way"


def test_preflight_of_a_pod_that_is_being_replaced_proves_nothing(make_live: Make) -> None:
    cluster = make_live().edit({"spec.credentials": {"secretName": "other-keys"}})
    cluster.report_live().settle().report_live().settle()
    assert cluster.keys == ["other-keys"]
    assert cluster.report_live().settle().permitted == "", "this is the old pod's"
    cluster.make_available().report_live().settle()
    assert cluster.permitted == "Live"


def test_live_report_gets_no_paper_permit(make_running: Make) -> None:
    cluster = make_running().report_live().settle()
    assert cluster.permitted == ""
    assert cluster.report().settle().permitted == "Paper"


def test_live_permit_does_not_wait_for_its_trader_to_be_up(make_live: Make) -> None:
    cluster = make_live()
    permit = copy.deepcopy(cluster.status["permit"])
    cluster.children[kinds.DEPLOYMENT]["status"] = {}
    cluster.wait(86_400).settle()
    assert cluster.status["permit"] == permit


def test_live_stage_waits_for_a_fresh_report(make_live: Make) -> None:
    cluster = make_live().wait(86_400).edit({"spec.capital.stage": "small"}).settle()
    assert (cluster.permitted, cluster.status["permit"]["stage"]) == ("Live", "micro")
    cluster.report_live(digest=cluster.status["permit"]["digest"]).settle()
    assert (cluster.permitted, cluster.status["permit"]["stage"]) == ("Live", "small")


@pytest.mark.parametrize("preflight", [None, {"passed": False, "at": "2025-06-15T15:06:40Z"}])
def test_live_permit_stays_when_a_later_preflight_fails_and_nothing_new_is_granted(
    make_live: Make, preflight: dict[str, Any] | None
) -> None:
    cluster = make_live()
    permit = copy.deepcopy(cluster.status["permit"])
    report = {"preflight": preflight, "digest": permit["digest"], "state": "ReduceOnly"}
    cluster.report_live(**report).settle()
    assert cluster.status["permit"] == permit
    cluster.edit({"spec.capital.stage": "small"}).report_live(**report).settle()
    assert cluster.status["permit"] == permit
    assert cluster.report_live(digest=permit["digest"]).settle().status["permit"]["stage"] == "small"


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


def swapped(make_live: Make) -> Any:
    """A live bot whose pod was just replaced by one with other keys. Its permit went; the new one has said nothing."""
    cluster = make_live().edit({"spec.credentials": {"secretName": "other-keys"}}).report_live().settle()
    return cluster.report_live().settle().make_available()


def test_live_permit_rests_on_a_report_of_the_newest_template(make_live: Make) -> None:
    cluster = swapped(make_live).wait(200)
    assert cluster.report_live(template="of-the-pod-before").settle().permitted == ""
    assert cluster.report_live().settle().permitted == "Live"


def test_trader_that_does_not_tell_its_template_is_believed_when_no_report_of_the_pod_before_can_be_fresh(
    make_live: Make,
) -> None:
    cluster = swapped(make_live).report_live(template="").settle()
    assert cluster.permitted == ""
    assert cluster.wait(89).report_live(template="").settle().permitted == ""
    assert cluster.wait(1).report_live(template="").settle().permitted == "Live"


def test_held_permit_needs_no_template(make_live: Make) -> None:
    assert make_live().report_live(template="").settle().permitted == "Live"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_operator import kinds
from tradingbot_operator.plan.plan import Observation, plan
from tradingbot_operator.plan.workload import Problem

Make = Callable[..., Any]


def test_new_bot_is_on_its_way(make_cluster: Make) -> None:
    cluster = make_cluster().settle()
    assert cluster.verdict("Ready") == ("False", "Starting")
    assert cluster.verdict("Reconciling") == ("True", "WaitingForTrader")
    assert cluster.verdict("TraderAvailable") == ("False", "Unavailable")
    assert cluster.verdict("Stalled") == ("False", "NotStalled")
    assert cluster.status["phase"] == "Pending"
    assert "kubectl -n desk-a describe pod" in cluster.condition("Ready")["message"]


def test_trading_bot_is_ready(make_running: Make) -> None:
    cluster = make_running()
    assert cluster.verdict("Ready") == ("True", "Trading")
    assert cluster.verdict("Reconciling") == ("False", "UpToDate")
    assert cluster.verdict("TraderAvailable") == ("True", "Available")
    assert cluster.status["phase"] == "Running"
    assert cluster.condition("Ready")["message"] == "Paper trading at stage micro, at most 50 USDT at risk."


def test_conditions_carry_the_generation_that_they_speak_for(make_running: Make) -> None:
    cluster = make_running().edit({"spec.onDelete": "Hold"}).settle()
    assert {condition["observedGeneration"] for condition in cluster.status["conditions"]} == {2}


def test_bot_is_not_ready_until_the_trader_has_looked_at_the_newest_spec(make_running: Make) -> None:
    cluster = make_running().edit({"spec.onDelete": "Hold"}).settle()
    assert cluster.verdict("Ready") == ("False", "WaitingForTrader")
    assert cluster.report().settle().verdict("Ready") == ("True", "Trading")


def test_trader_that_may_not_trade_is_not_ready(make_running: Make) -> None:
    cluster = make_running().report(state="ReduceOnly").settle()
    assert cluster.verdict("Ready") == ("False", "NotTrading")
    assert cluster.verdict("Stalled") == ("False", "NotStalled")


def test_trader_that_falls_silent_is_noticed_by_time_alone(make_running: Make) -> None:
    cluster = make_running()
    again = cluster.plan().requeue_after_seconds
    cluster.wait(again).settle()
    assert cluster.verdict("TraderAvailable") == ("False", "Silent")
    assert cluster.verdict("Ready") == ("False", "Silent")
    assert "logs deployment/btc-trader" in cluster.condition("Ready")["message"]
    assert cluster.plan().requeue_after_seconds is None


def test_pod_that_has_just_become_ready_has_time_for_its_first_report(make_cluster: Make) -> None:
    cluster = make_cluster().settle().make_available()
    before = cluster.writes
    assert cluster.plan().requeue_after_seconds == pytest.approx(90, abs=0.1)
    cluster.settle()
    assert cluster.writes == before
    cluster.wait(91).settle()
    assert cluster.verdict("TraderAvailable") == ("False", "Silent")
    assert "never" in cluster.condition("TraderAvailable")["message"]


def test_pod_that_cannot_be_made_says_why_without_a_random_name(make_cluster: Make) -> None:
    cluster = make_cluster().settle()
    message = 'pods "btc-trader-5f4b98ff88-{}" is forbidden: exceeded quota'
    for suffix in ("abcde", "fghij"):
        cluster.children[kinds.DEPLOYMENT]["status"] = {
            "conditions": [{"type": "ReplicaFailure", "status": "True", "message": message.format(suffix)}]
        }
        cluster.settle()
    assert cluster.condition("TraderAvailable")["message"].endswith(
        'pods "btc-trader-..." is forbidden: exceeded quota'
    )
    assert cluster.writes == len(kinds.BUILT_IN) + 2


def test_status_of_the_deployment_that_decides_nothing_writes_nothing(make_cluster: Make) -> None:
    cluster = make_cluster().settle()
    before = cluster.writes
    for status in ({"observedGeneration": 1}, {"replicas": 1, "unavailableReplicas": 1}, {"conditions": []}):
        cluster.children[kinds.DEPLOYMENT]["status"] = status
        assert cluster.plan().is_empty
    assert cluster.writes == before


def test_refusal_of_the_api_server_is_said(make_cluster: Make) -> None:
    cluster = make_cluster()
    refused = (Problem("ApplyRefused", "cannot create leases"),)
    observation = Observation(cluster.bot, cluster.children, refusals=refused)
    todo = plan(observation, cluster.platform, cluster.now_ns)
    stalled = next(condition for condition in todo.status["conditions"] if condition["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"], stalled["message"]) == (
        "True",
        "ApplyRefused",
        "cannot create leases",
    )


def test_reason_that_is_no_reason_is_not_passed_on(make_running: Make) -> None:
    cluster = make_running().report(accepted=False)
    cluster.status["trader"]["config"]["reason"] = "no reason at all!"
    assert cluster.settle().verdict("Stalled") == ("True", "InvalidSpec")


def test_conditions_of_others_stay_out_of_it(make_running: Make) -> None:
    cluster = make_running()
    cluster.status["conditions"].append({"type": "Theirs", "status": "True"})
    assert cluster.plan().is_empty


def test_condition_that_somebody_changed_is_put_right(make_running: Make) -> None:
    cluster = make_running()
    cluster.condition("Halted")["message"] = "all is well"
    assert cluster.plan().status is not None


LIVE_CONDITIONS = ("CredentialsReady", "PreflightPassed", "Reconciled")
AT = "2025-06-15T15:06:40Z"


def test_paper_bot_has_no_conditions_about_keys(make_running: Make) -> None:
    types = {condition["type"] for condition in make_running().status["conditions"]}
    assert types.isdisjoint(LIVE_CONDITIONS)


@pytest.mark.parametrize("report", [{"mode": "Paper"}, {"mode": "Live"}])
def test_conditions_about_keys_wait_for_a_live_report(make_cluster: Make, report: dict[str, Any]) -> None:
    cluster = make_cluster({"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}).settle()
    cluster.make_available().report_live(**report, preflight=None).settle()
    for kind in LIVE_CONDITIONS:
        assert cluster.verdict(kind) == ("False", "WaitingForTrader")


@pytest.mark.parametrize(
    ("kind", "part", "report", "verdict", "said"),
    [
        ("PreflightPassed", "preflight", {"passed": True, "at": AT}, ("True", "Passed"), "has passed"),
        ("PreflightPassed", "preflight", {"passed": False, "at": AT}, ("False", "Failed"), "log"),
        ("PreflightPassed", "preflight",
         {"passed": False, "reason": "ClockSkewed", "message": "set the clock", "at": AT},
         ("False", "ClockSkewed"), "set the clock"),
        ("PreflightPassed", "preflight", {"passed": False, "reason": "no word!", "at": AT}, ("False", "Failed"), ""),
        ("CredentialsReady", "credentials", {"ready": True, "fingerprint": "0123456789ab"},
         ("True", "Passed"), "0123456789ab"),
        ("CredentialsReady", "credentials",
         {"ready": True, "fingerprint": "0123456789ab", "reason": "NewKeyRefused", "message": "it may withdraw"},
         ("True", "NewKeyRefused"), "it may withdraw"),
        ("CredentialsReady", "credentials",
         {"ready": False, "reason": "CredentialsMissing", "message": "make the Secret"},
         ("False", "CredentialsMissing"), "make the Secret"),
        ("CredentialsReady", "credentials", {"ready": False}, ("False", "Failed"), "log"),
        ("Reconciled", "reconciliation", {"at": AT, "result": "Passed"}, ("True", "Passed"), "agree"),
        ("Reconciled", "reconciliation", {"at": AT, "result": "Failed", "message": "BTC differs"},
         ("False", "Failed"), "BTC differs"),
        ("Reconciled", "reconciliation", {"at": AT, "result": "Inconclusive"}, ("False", "Inconclusive"), "status"),
        ("Reconciled", "reconciliation", {"at": AT, "result": "Unheard-of"}, ("False", "WaitingForTrader"), ""),
    ],
)  # fmt: skip
def test_live_bot_has_its_traders_words_as_conditions(
    make_live: Make, kind: str, part: str, report: dict[str, Any], verdict: tuple[str, str], said: str
) -> None:
    cluster = make_live().report_live(**{part: report}).settle()
    assert cluster.verdict(kind) == verdict
    assert said in cluster.condition(kind)["message"]


def test_new_heartbeat_with_the_same_words_is_no_write(make_live: Make) -> None:
    report = {
        "preflight": {"passed": True, "at": AT},
        "credentials": {"ready": True, "fingerprint": "0123456789ab", "since": AT},
        "reconciliation": {"at": AT, "result": "Passed"},
    }
    cluster = make_live()
    digest = cluster.status["permit"]["digest"]
    cluster.report_live(digest=digest, **report).settle()
    writes = cluster.writes
    later = report | {"reconciliation": {"at": "2025-06-15T16:06:40Z", "result": "Passed"}}
    cluster.wait(30).report_live(digest=digest, **later).settle()
    assert cluster.writes == writes


def test_conditions_about_keys_go_with_the_live_pod(make_live: Make) -> None:
    cluster = make_live().edit({"spec.mode": "Paper"}).settle().report_live().settle()
    types = {condition["type"] for condition in cluster.status["conditions"]}
    assert types.isdisjoint(LIVE_CONDITIONS)


def test_condition_about_keys_that_was_left_on_a_paper_bot_is_taken_away(make_running: Make) -> None:
    cluster = make_running()
    left = {"type": "CredentialsReady", "status": "True", "reason": "Passed", "message": "", "lastTransitionTime": AT}
    cluster.status["conditions"].append(left)
    cluster.settle()
    assert "CredentialsReady" not in {condition["type"] for condition in cluster.status["conditions"]}


def test_paper_bot_says_what_its_live_book_still_holds(make_running: Make) -> None:
    cluster = make_running().report(leftBehind=["0.5 BTC/USDT"]).settle()
    assert cluster.verdict("Ready") == ("True", "Trading")
    assert "live book still holds 0.5 BTC/USDT" in cluster.condition("Ready")["message"]
    cluster.report(leftBehind="garbage").settle()
    assert "still holds" not in cluster.condition("Ready")["message"]

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_operator import kinds
from tradingbot_operator.plan.plan import Observation, plan
from tradingbot_operator.plan.workload import Problem

Make = Callable[..., Any]
LIVE = {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}
PAPER = {"spec.mode": "Paper"}
MAINNET = {"spec.exchange": {"id": "binance", "network": "Mainnet"}}


def swap_to_live(cluster: Any) -> Any:
    """The whole way of a paper bot that is asked for Live."""
    cluster.edit(LIVE).report().settle()
    cluster.make_available().report_live().settle()
    return cluster.report_live(digest=cluster.status["permit"]["digest"]).settle()


def test_paper_permit_is_withdrawn_before_the_pod_is_replaced(make_running: Make) -> None:
    cluster = make_running().edit(LIVE).report()
    first = cluster.plan()
    assert "permit" not in first.status
    assert first.applies == ()
    assert first.requeue_after_seconds == 1.0
    cluster.carry_out(first)
    (apply,) = cluster.plan().applies
    assert apply.kind == kinds.DEPLOYMENT
    cluster.settle()
    assert (cluster.permitted, cluster.book, cluster.keys) == ("", "live", ["keys"])


def test_paper_goes_live_and_back(make_running: Make) -> None:
    cluster = swap_to_live(make_running())
    assert (cluster.permitted, cluster.book) == ("Live", "live")
    cluster.edit(PAPER).settle()
    assert (cluster.permitted, cluster.book) == ("", "live")
    cluster.report_live().settle()
    assert (cluster.permitted, cluster.book, cluster.keys) == ("", "paper", [])
    cluster.make_available().report().settle()
    cluster.report().settle()
    assert cluster.permitted == "Paper"
    assert cluster.verdict("Ready") == ("True", "Trading")


def test_trader_that_reports_looks_before_its_pod_is_replaced_by_a_live_one(make_running: Make) -> None:
    cluster = make_running().edit(LIVE).settle()
    assert (cluster.permitted, cluster.book) == ("Paper", "paper")
    assert cluster.verdict("Reconciling") == ("True", "SwappingPod")
    assert cluster.verdict("Ready") == ("False", "SwappingPod")


def test_trader_that_does_not_report_is_not_waited_for(make_running: Make) -> None:
    cluster = make_running().wait(3600).edit(LIVE).settle()
    assert cluster.book == "live"


def test_bad_edit_replaces_no_paper_pod(make_running: Make) -> None:
    cluster = make_running()
    before = copy.deepcopy(cluster.children[kinds.DEPLOYMENT])
    permit = copy.deepcopy(cluster.status["permit"])
    cluster.edit(LIVE | {"spec.symbols": ["XYZ/USDT"]}).report(accepted=False, digest=permit["digest"]).settle()
    assert cluster.children[kinds.DEPLOYMENT] == before
    assert cluster.status["permit"] == permit
    assert cluster.verdict("Stalled") == ("True", "UnknownSymbol")


@pytest.mark.parametrize("make", ["make_running", "make_live"])
def test_venue_without_an_address_replaces_no_pod_and_takes_no_permit(
    request: pytest.FixtureRequest, make: str
) -> None:
    cluster = request.getfixturevalue(make)()
    before = copy.deepcopy((cluster.children[kinds.DEPLOYMENT], cluster.status["permit"]))
    cluster.edit(LIVE | {"spec.exchange": {"id": "mexc", "network": "Sandbox"}}).settle()
    rejected = {"generation": 2, "accepted": False, "digest": "v1:old", "reason": "ExchangeChanged"}
    (cluster.report if make == "make_running" else cluster.report_live)(config=rejected).settle()
    assert (cluster.children[kinds.DEPLOYMENT], cluster.status["permit"]) == before
    assert cluster.verdict("Stalled") == ("True", "UnsupportedExchange")


def test_live_bot_moves_to_another_test_network_by_a_preflight_there(make_live: Make) -> None:
    cluster = make_live().edit({"spec.exchange": {"id": "binance", "network": "Testnet"}}).settle()
    rejected = {"generation": 2, "accepted": False, "digest": "v1:old", "reason": "ExchangeChanged"}
    cluster.report_live(config=rejected).settle()
    assert "--network=Sandbox" in cluster.arguments, "not before its trader has seen that nothing is permitted"
    cluster.report_live(config=rejected).settle()
    assert (cluster.permitted, cluster.book) == ("", "live")
    assert "--network=Testnet" in cluster.arguments
    assert cluster.make_available().report_live().settle().permitted == "Live"


def test_refused_pod_gets_no_permit(make_cluster: Make) -> None:
    cluster = make_cluster(LIVE).settle().edit(PAPER)
    todo = plan(Observation(cluster.bot, cluster.children, (Problem("ApplyRefused", "quota"),)), cluster.platform, 0)
    assert todo.status is not None
    assert "permit" not in todo.status


def test_refusal_because_another_pod_is_needed_holds_nothing_up(make_running: Make) -> None:
    cluster = make_running().edit(LIVE)
    rejected = {"generation": 2, "accepted": False, "digest": "v1:old", "reason": "ExchangeChanged"}
    cluster.report(config=rejected).settle()
    assert cluster.book == "live"


DRAINS = {"reason": "LeavingLive", "since": "2025-06-15T15:06:40Z", "orders": []}
HELD: list[tuple[str, dict[str, Any], str]] = [
    ("a position", {"openPositions": 1}, "positions or orders are open"),
    ("an order", {"openOrders": 1}, "positions or orders are open"),
    ("an unresolved order", {"unresolvedOrders": 1}, "open or unresolved"),
    ("a drain under way", {"drain": DRAINS | {"done": False}}, "orders have to be closed"),
    ("a drain that nobody began", {"drain": None}, "orders have to be closed"),
    ("a drain that cannot be read", {"drain": {"done": "yes"}}, "orders have to be closed"),
    ("a limit", {"limit": "50"}, "nothing is permitted any more"),
    ("an unknown limit", {"limit": None}, "nothing is permitted any more"),
    ("Active", {"state": "Active"}, "nothing is permitted any more"),
    ("unknown orders", {"openOrders": None}, "positions or orders are open"),
    ("unknown positions", {"openPositions": None}, "positions or orders are open"),
    ("closed books", {"epoch": 0}, "open its books"),
    ("an old report", {"at_ns": 1_749_999_900 * 10**9}, "report again"),
    ("an unknown book", {"mode": "Unheard-of"}, "report again"),
]


@pytest.mark.parametrize(("report", "said"), [row[1:] for row in HELD], ids=[row[0] for row in HELD])
def test_live_pod_stays_until_nothing_is_at_stake(make_live: Make, report: dict[str, Any], said: str) -> None:
    cluster = make_live().edit(PAPER).settle().report_live(**report).settle()
    assert (cluster.permitted, cluster.book, cluster.keys) == ("", "live", ["keys"])
    assert cluster.verdict("Reconciling") == ("True", "SwappingPod")
    assert cluster.verdict("ConfigDrift")[0] == "True"
    assert cluster.verdict("Ready")[0] == "False"
    assert said in cluster.condition("Reconciling")["message"]
    assert said in cluster.condition("ConfigDrift")["message"]
    assert cluster.report_live().settle().book == "paper", "this alone was in the way"


def test_live_permit_is_withdrawn_before_the_pod_is_replaced(make_live: Make) -> None:
    cluster = make_live().edit(PAPER).report_live(limit="0", state="ReduceOnly")
    first = cluster.plan()
    assert first.applies == ()
    assert "permit" not in first.status
    cluster.carry_out(first)
    assert [apply.kind for apply in cluster.plan().applies] == [kinds.DEPLOYMENT]


def test_permit_of_the_other_book_is_not_held_for_a_rejected_spec(make_live: Make) -> None:
    cluster = make_live()
    cluster.status["permit"]["mode"] = "Paper"
    cluster.edit({"spec.symbols": ["XYZ/USDT"]}).report_live(accepted=False).settle()
    assert (cluster.permitted, cluster.book) == ("", "live")


@pytest.mark.parametrize(("report", "book"), [({}, "paper"), ({"openPositions": 1}, "live"), ({"epoch": 0}, "live")])
def test_suspended_live_bot_is_judged_by_its_last_report(make_live: Make, report: dict[str, Any], book: str) -> None:
    cluster = make_live().edit(PAPER | {"spec.suspend": True})
    cluster.report_live(**({"state": "Active", "limit": "50"} | report)).settle().wait(3600).settle()
    assert cluster.book == "live", "its pod is still there"
    cluster.children[kinds.DEPLOYMENT]["status"] = {}
    assert cluster.settle().book == book
    assert cluster.children[kinds.DEPLOYMENT]["spec"]["replicas"] == 0


def test_live_pod_that_never_traded_needs_no_proof(make_cluster: Make) -> None:
    cluster = make_cluster(LIVE).settle()
    assert cluster.book == "live"
    assert cluster.edit(PAPER).settle().book == "paper"


def test_live_bot_that_moves_to_mainnet_is_on_paper_there(make_live: Make) -> None:
    cluster = make_live().edit(MAINNET).settle()
    assert (cluster.permitted, cluster.book) == ("", "live")
    cluster.report_live(openPositions=1).settle()
    assert "--network=Sandbox" in cluster.arguments
    cluster.report_live().settle()
    assert (cluster.book, cluster.keys) == ("paper", [])
    assert "--network=Mainnet" in cluster.arguments


def test_live_pod_on_mainnet_that_somebody_made_is_replaced(make_running: Make) -> None:
    cluster = make_running(LIVE | MAINNET)
    arguments = cluster.arguments
    arguments[arguments.index("--book=paper")] = "--book=live"
    assert cluster.settle().book == "paper"
    assert cluster.permitted == "Paper"


def test_other_keys_are_another_pod_and_another_preflight(make_live: Make) -> None:
    cluster = make_live().edit({"spec.credentials": {"secretName": "other-keys"}}).settle()
    assert (cluster.permitted, cluster.keys) == ("Live", ["keys"]), "its trader has not looked yet"
    cluster.report_live().settle()
    assert (cluster.permitted, cluster.keys) == ("", ["keys"]), "nor that nothing is permitted"
    cluster.report_live().settle()
    assert (cluster.permitted, cluster.keys) == ("", ["other-keys"])


def test_bad_edit_with_other_keys_replaces_nothing(make_live: Make) -> None:
    cluster = make_live()
    permit = copy.deepcopy(cluster.status["permit"])
    cluster.edit({"spec.credentials": {"secretName": "other-keys"}, "spec.symbols": ["XYZ/USDT"]})
    cluster.report_live(accepted=False, digest=permit["digest"]).settle()
    assert (cluster.status["permit"], cluster.keys) == (permit, ["keys"])


def test_spec_that_cannot_be_read_leaves_a_live_pod_and_its_permit(make_live: Make) -> None:
    cluster = make_live()
    permit, deployment = copy.deepcopy(cluster.status["permit"]), copy.deepcopy(cluster.children[kinds.DEPLOYMENT])
    cluster.edit({"spec.capital.stage": "none-such"}).settle()
    assert (cluster.status["permit"], cluster.children[kinds.DEPLOYMENT]) == (permit, deployment)


def test_changed_mind_gives_the_paper_permit_back(make_running: Make) -> None:
    cluster = make_running().edit(LIVE).report()
    cluster.carry_out(cluster.plan())
    assert (cluster.permitted, cluster.book) == ("", "paper")
    assert cluster.edit(PAPER).report().settle().permitted == "Paper"
    assert cluster.book == "paper"


def test_withdrawal_is_told_once(make_live: Make) -> None:
    cluster = make_live().edit(PAPER)
    assert [(event.type, event.reason) for event in cluster.plan().events] == [("Normal", "Withdrawn")]
    cluster.settle()
    told = cluster.report_live(openPositions=1).plan().events
    assert [event.reason for event in told] == ["WaitingUntilFlat"]
    assert cluster.settle().plan().events == ()

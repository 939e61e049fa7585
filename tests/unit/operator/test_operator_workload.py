"""Children that a bot may or may not have, on API servers that may or may not know them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tradingbot_api.spec import Exchange, ExchangeId
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import PodPlan
from tradingbot_operator.children.platform import MonitorRules, NetworkRules
from tradingbot_operator.plan.view import read_bot
from tradingbot_operator.plan.workload import plan_workload

Make = Callable[..., Any]
ASKED = {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}}
INSTALLED = dict.fromkeys(kinds.OPTIONAL)
NO_POLICY = {"network": NetworkRules(is_enabled=False)}
NO_MONITOR = {"monitor": MonitorRules(is_enabled=False)}


def applied(todo: Any) -> list[str]:
    return [apply.kind.name for apply in todo.applies]


def deleted(todo: Any) -> list[tuple[str, str]]:
    return [(delete.kind.name, delete.uid) for delete in todo.deletes]


def uid(cluster: Any, kind: kinds.Kind) -> str:
    found: str = cluster.children[kind]["metadata"]["uid"]
    return found


def says(cluster: Any, status: str) -> None:
    """External Secrets has looked."""
    condition = {"type": "Ready", "status": status, "reason": "R", "message": "m"}
    cluster.children[kinds.EXTERNAL_SECRET]["status"] = {"conditions": [condition]}


def test_kind_that_the_api_server_does_not_have_is_not_asked_for(make_cluster: Make) -> None:
    cluster = make_cluster({"spec.credentials": ASKED})
    assert not {"PodMonitor", "ExternalSecret"} & set(applied(cluster.plan()))
    assert cluster.settle().verdict("Stalled") == ("False", "NotStalled")


def test_kind_that_comes_later_is_taken_up_and_that_goes_is_let_go(make_running: Make) -> None:
    cluster = make_running({"spec.credentials": ASKED})
    cluster.children |= INSTALLED
    assert applied(cluster.plan()) == ["PodMonitor", "ExternalSecret"]
    cluster.settle()
    for kind in kinds.OPTIONAL:
        del cluster.children[kind]
    assert cluster.plan().applies == cluster.plan().deletes == ()


def test_nothing_waits_for_the_optional_children(make_cluster: Make) -> None:
    cluster = make_cluster({"spec.credentials": ASKED}, children=INSTALLED)
    assert applied(cluster.plan())[-3:] == ["Deployment", "PodMonitor", "ExternalSecret"]


@pytest.mark.parametrize("kind", kinds.OPTIONAL, ids=lambda kind: kind.name)
@pytest.mark.parametrize("fate", ["foreign", "going"])
def test_pod_starts_beside_an_optional_child_that_is_not_ours_yet(
    make_cluster: Make, kind: kinds.Kind, fate: str
) -> None:
    theirs: dict[str, Any] = {"metadata": {"name": "btc-trader", "uid": "theirs"}}
    if fate == "going":
        theirs["metadata"]["deletionTimestamp"] = "2025-06-15T00:00:00Z"
    cluster = make_cluster({"spec.credentials": ASKED}, children=INSTALLED | {kind: theirs})
    assert "Deployment" in applied(cluster.plan())
    assert kind.name not in applied(cluster.plan())
    assert cluster.settle().verdict("Stalled")[1] == ("OwnershipConflict" if fate == "foreign" else "NotStalled")


def test_pod_does_not_start_beside_a_policy_that_is_not_ours(make_cluster: Make) -> None:
    theirs = {"metadata": {"name": "btc-trader", "uid": "theirs"}}
    cluster = make_cluster(children={kinds.NETWORK_POLICY: theirs})
    assert "Deployment" not in applied(cluster.plan())


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(kinds.NETWORK_POLICY, NO_POLICY), (kinds.POD_MONITOR, NO_MONITOR)],
    ids=["policy", "monitor"],
)
class TestTurnedOff:
    def test_new_bot_does_not_get_it(self, make_cluster: Make, kind: kinds.Kind, settings: Any) -> None:
        cluster = make_cluster(children=INSTALLED, settings=settings)
        assert kind.name not in applied(cluster.plan())
        assert "Deployment" in applied(cluster.plan())

    def test_old_bot_loses_it(self, make_running: Make, make_cluster: Make, kind: kinds.Kind, settings: Any) -> None:
        cluster = make_running(children=dict(INSTALLED))
        before = uid(cluster, kind)
        cluster.platform = make_cluster(settings=settings).platform
        assert (applied(cluster.plan()), deleted(cluster.plan())) == ([], [(kind.name, before)])
        assert cluster.settle().children[kind] is None

    def test_what_is_not_ours_disturbs_nobody(self, make_cluster: Make, kind: kinds.Kind, settings: Any) -> None:
        theirs = {"metadata": {"name": "btc-trader", "uid": "theirs"}}
        cluster = make_cluster(children=INSTALLED | {kind: copy.deepcopy(theirs)}, settings=settings).settle()
        assert cluster.children[kind] == theirs
        assert cluster.verdict("Stalled") == ("False", "NotStalled")
        assert cluster.children[kinds.DEPLOYMENT] is not None

    def test_what_goes_already_is_not_deleted_again(
        self, make_running: Make, make_cluster: Make, kind: kinds.Kind, settings: Any
    ) -> None:
        cluster = make_running(children=dict(INSTALLED))
        cluster.children[kind]["metadata"]["deletionTimestamp"] = "2025-06-15T00:00:00Z"
        cluster.platform = make_cluster(settings=settings).platform
        assert cluster.plan().is_empty


def test_paper_bot_that_asks_for_an_external_secret_has_one(make_cluster: Make) -> None:
    cluster = make_cluster({"spec.credentials": ASKED}, children=INSTALLED).settle()
    assert cluster.children[kinds.EXTERNAL_SECRET]["spec"]["dataFrom"][0]["extract"]["key"] == "trading/binance"
    assert cluster.keys == []


def test_external_secret_follows_the_spec(make_cluster: Make) -> None:
    cluster = make_cluster({"spec.credentials": ASKED}, children=INSTALLED).settle()
    cluster.edit({"spec.credentials.externalSecret.key": "trading/other"})
    assert applied(cluster.plan()) == ["ExternalSecret"]
    cluster.settle().edit({"spec.credentials": {"secretName": "keys"}})
    assert deleted(cluster.plan()) == [("ExternalSecret", uid(cluster, kinds.EXTERNAL_SECRET))]
    assert cluster.settle().children[kinds.EXTERNAL_SECRET] is None


def test_spec_that_cannot_be_read_takes_nothing_away(make_running: Make) -> None:
    cluster = make_running({"spec.credentials": ASKED}, children=dict(INSTALLED))
    before = copy.deepcopy(cluster.children)
    cluster.edit({"spec.symbols": 5}).settle()
    assert cluster.children == before


def test_pod_is_protected_though_the_spec_cannot_be_read(make_running: Make) -> None:
    cluster = make_running().edit({"spec.symbols": 5}).settle()
    cluster.children[kinds.NETWORK_POLICY] = None
    assert applied(cluster.plan()) == ["NetworkPolicy"]


def test_venue_that_is_known_no_more_cuts_no_running_pod_off(make_running: Make, make_cluster: Make) -> None:
    cluster = make_running()
    cluster.platform = make_cluster(settings={"addresses": {}}).platform
    assert applied(cluster.plan()) == []


@pytest.fixture
def live(make_cluster: Make) -> Any:
    """Trades live with the Secret that External Secrets made."""
    cluster = make_cluster({"spec.mode": "Live", "spec.credentials": ASKED}, children=dict(INSTALLED)).settle()
    says(cluster, "True")
    cluster.make_available().report().settle()
    cluster.make_available().report_live().settle()
    cluster.report_live(digest=cluster.status["permit"]["digest"]).settle()
    assert (cluster.book, cluster.keys, cluster.permitted) == ("live", ["btc-trader"], "Live")
    return cluster


def test_secret_is_not_taken_from_a_live_pod(live: Any) -> None:
    live.edit({"spec.mode": "Paper", "spec.credentials": None}).report_live(openPositions=1).settle()
    assert live.book == "live"
    assert live.children[kinds.EXTERNAL_SECRET] is not None
    live.report_live().settle(rounds=6)
    assert live.book == "paper"
    assert live.children[kinds.EXTERNAL_SECRET] is None


def test_secret_goes_after_the_pod_and_not_with_it(live: Any) -> None:
    live.edit({"spec.mode": "Paper", "spec.credentials": None}).report_live()
    while live.book == "live":
        todo = live.plan()
        assert "ExternalSecret" not in [delete.kind.name for delete in todo.deletes]
        assert not todo.is_empty
        live.carry_out(todo)
        live.report_live()
    assert [delete.kind.name for delete in live.plan().deletes] == ["ExternalSecret"]


def test_live_pod_that_closes_its_orders_still_reaches_its_venue(live: Any) -> None:
    before = copy.deepcopy(live.children[kinds.NETWORK_POLICY]["spec"]["egress"])
    live.edit({"spec.mode": "Paper", "spec.exchange": {"id": "binance", "network": "Testnet"}})
    live.report_live(openPositions=1).settle(rounds=6)
    assert live.book == "live"
    assert live.children[kinds.NETWORK_POLICY]["spec"]["egress"] == before


def test_policy_reaches_the_old_venue_while_a_live_pod_stands_in_the_way_of_the_next(live: Any) -> None:
    """Whoever asks for the next pod may have to keep the one that runs, and leaves the Deployment out of the plan."""
    mainnet = PodPlan(Exchange(id=ExchangeId.BINANCE))
    planned = plan_workload(read_bot(live.bot), mainnet, live.children, live.platform)
    (policy,) = (apply.manifest for apply in planned.applies if apply.kind == kinds.NETWORK_POLICY)
    old_venue = live.children[kinds.NETWORK_POLICY]["spec"]["egress"][-1]
    assert old_venue in policy["spec"]["egress"]
    assert policy["spec"]["egress"][-2]["to"][0]["ipBlock"]["cidr"] == "0.0.0.0/0"


def test_policy_follows_the_pod_to_another_venue(make_running: Make) -> None:
    cluster = make_running()
    cluster.edit({"spec.exchange": {"id": "binance", "network": "Mainnet"}})
    assert applied(cluster.plan()) == ["NetworkPolicy", "Deployment"]
    cluster.settle()
    assert cluster.children[kinds.NETWORK_POLICY]["spec"]["egress"][-1]["to"][0]["ipBlock"]["cidr"] == "0.0.0.0/0"

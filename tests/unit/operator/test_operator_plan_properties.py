"""From any mixture of present, missing, changed and foreign children, through any history, the plan comes to rest."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tradingbot_operator import kinds
from tradingbot_operator.children.platform import MonitorRules, NetworkRules

Make = Callable[..., Any]
FATES = ("missing", "ours", "stripped", "changed", "foreign", "leftover", "going", "extended")


def suffer(cluster: Any, kind: kinds.Kind, fate: str) -> None:
    child = cluster.children[kind]
    if fate == "missing" or child is None:
        cluster.children[kind] = None
    elif fate == "stripped":
        child["metadata"].pop("annotations")
    elif fate == "changed":
        child["metadata"]["labels"]["app.kubernetes.io/name"] = "x"
    elif fate == "foreign":
        cluster.children[kind] = {"metadata": {"name": "btc-trader", "uid": "theirs"}, "data": "precious"}
    elif fate == "leftover" and kind != kinds.VOLUME:
        child["metadata"]["ownerReferences"][0]["uid"] = "an earlier bot"
    elif fate == "going":
        child["metadata"]["deletionTimestamp"] = "2025-06-15T00:00:00Z"
    elif fate == "extended":
        child["metadata"]["labels"]["somebody.else/label"] = "theirs"
        child["metadata"]["managedFields"] = [{"manager": "kubectl"}]


ASKED = {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}}
UNKNOWN = "unknown"
"""The API server does not have the kind."""
WISHES = st.fixed_dictionaries({kind: st.booleans() for kind in (kinds.NETWORK_POLICY, *kinds.OPTIONAL)})


def fates_from(fates: tuple[str, ...]) -> st.SearchStrategy[dict[kinds.Kind, str]]:
    """One for each child; only an optional kind may be unknown."""
    return st.fixed_dictionaries(
        {kind: st.sampled_from((*fates, UNKNOWN) if kind in kinds.OPTIONAL else fates) for kind in kinds.CHILDREN}
    )


def make_full(make_running: Make) -> Any:
    """A bot with each child that there can be."""
    return make_running({"spec.credentials": ASKED}, children=dict.fromkeys(kinds.OPTIONAL))


def suffer_all(cluster: Any, fates: dict[kinds.Kind, str]) -> None:
    for kind, fate in fates.items():
        if fate == UNKNOWN:
            del cluster.children[kind]
        else:
            suffer(cluster, kind, fate)


def wish(cluster: Any, wishes: dict[kinds.Kind, bool]) -> None:
    """What the platform engineer turns off, and what the spec asks for no more."""
    cluster.platform = replace(
        cluster.platform,
        network=NetworkRules(is_enabled=wishes[kinds.NETWORK_POLICY]),
        monitor=MonitorRules(is_enabled=wishes[kinds.POD_MONITOR]),
    )
    if not wishes[kinds.EXTERNAL_SECRET]:
        cluster.edit({"spec.credentials": None})


@given(fates=fates_from(FATES), wishes=WISHES)
@settings(deadline=None, max_examples=120)
def test_any_mixture_converges_and_what_is_not_ours_is_untouched(
    make_running: Make, fates: dict[kinds.Kind, str], wishes: dict[kinds.Kind, bool]
) -> None:
    cluster = make_full(make_running)
    suffer_all(cluster, fates)
    untouchable = {
        kind: copy.deepcopy(cluster.children[kind])
        for kind, fate in fates.items()
        if fate in {"foreign", "going"} or (fate == "leftover" and kind != kinds.VOLUME)
    }
    wish(cluster, wishes)
    cluster.settle()
    assert cluster.plan().is_empty
    for kind, before in untouchable.items():
        assert cluster.children[kind] == before
    wanted = {kind for kind in cluster.children if wishes.get(kind, True)}
    is_conflict = any(fates[kind] == "foreign" for kind in wanted)
    assert (cluster.verdict("Stalled")[1] == "OwnershipConflict") == is_conflict
    for kind in set(cluster.children) - wanted - set(untouchable):
        assert cluster.children[kind] is None
    if not any(kind in kinds.NEEDED_BY_PODS for kind in untouchable if kind in wanted):
        assert all(cluster.children[kind] for kind in wanted)


@given(fates=fates_from(("missing", "ours", "changed", "stripped", "extended")))
@settings(deadline=None, max_examples=30)
def test_repaired_children_are_as_they_were(make_running: Make, fates: dict[kinds.Kind, str]) -> None:
    cluster, fresh = make_full(make_running), make_full(make_running)
    suffer_all(cluster, fates)
    cluster.settle()
    for kind, repaired in cluster.children.items():
        original = fresh.children[kind]
        assert repaired["metadata"]["annotations"] == original["metadata"]["annotations"]
        assert {**repaired.get("spec", {})} == {**original.get("spec", {})}


@given(
    history=st.lists(
        st.one_of(
            WISHES.map(lambda wishes: ("wish", wishes)),
            st.tuples(st.just("learn"), st.sampled_from(kinds.OPTIONAL)),
            st.tuples(st.just("forget"), st.sampled_from(kinds.OPTIONAL)),
            st.tuples(st.just("ask"), st.just(None)),
        ),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=60)
def test_kinds_and_wishes_come_and_go_and_what_is_there_follows(
    make_running: Make, history: list[tuple[str, Any]]
) -> None:
    cluster = make_running()
    wishes = {kinds.NETWORK_POLICY: True, kinds.POD_MONITOR: True, kinds.EXTERNAL_SECRET: False}
    for what, given_with in history:
        match what:
            case "wish":
                wishes = given_with | {
                    kinds.EXTERNAL_SECRET: wishes[kinds.EXTERNAL_SECRET] and given_with[kinds.EXTERNAL_SECRET]
                }
                wish(cluster, wishes)
            case "learn":
                cluster.children.setdefault(given_with, None)
            case "forget":
                cluster.children.pop(given_with, None)
            case "ask":
                wishes |= {kinds.EXTERNAL_SECRET: True}
                cluster.edit({"spec.credentials": copy.deepcopy(ASKED)})
        cluster.settle()
        for kind, child in cluster.children.items():
            assert (child is not None) == wishes.get(kind, True), kind


EDITS = st.sampled_from(
    [
        {"spec.capital.stage": "small"},
        {"spec.capital.stage": "micro"},
        {"spec.capital.stage": "none-such"},
        {"spec.suspend": True},
        {"spec.suspend": False},
        {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}},
        {"spec.mode": "Paper"},
        {"spec.mode": "Live", "spec.credentials": {"secretName": "other-keys"}},
        {"spec.credentials": {"externalSecret": {"storeRef": {"name": "vault"}, "key": "k"}}},
        {"spec.exchange": {"id": "binance", "network": "Testnet"}},
        {"spec.killSwitch": {"engaged": True, "reason": "night"}},
        {"spec.killSwitch": {"engaged": False}},
        {"spec.exchange": {"id": "binance", "network": "Mainnet"}},
        {"spec.exchange": {"id": "mexc", "network": "Sandbox"}},
        {"spec.symbols": ["ETH/USDT"]},
        {"spec.symbols": 5},
        {"spec.storage": {"size": "3Gi"}},
        {"spec.risk": {"maxOrderNotional": "1"}},
    ]
)
PASSED = {"passed": True, "at": "2025-06-15T15:06:40Z"}
STEPS = st.lists(
    st.one_of(
        EDITS.map(lambda changes: ("edit", changes)),
        st.tuples(st.just("report"), st.booleans()),
        st.fixed_dictionaries(
            {
                "openPositions": st.integers(0, 1),
                "limit": st.sampled_from(["0", "50"]),
                "preflight": st.sampled_from([None, {"passed": False, "at": "2025-06-15T15:06:40Z"}, PASSED]),
                "accepted": st.booleans(),
            }
        ).map(lambda report: ("report live", report)),
        st.tuples(st.just("wait"), st.sampled_from([1, 31, 89, 91, 3600])),
        st.tuples(st.just("available"), st.just(None)),
        st.tuples(st.just("delete"), st.sampled_from(kinds.BUILT_IN)),
    ),
    max_size=12,
)


def live_through(cluster: Any, step: tuple[str, Any]) -> None:
    match step:
        case ("edit", changes):
            cluster.edit(copy.deepcopy(changes))
        case ("report", accepted):
            cluster.report(accepted=accepted)
        case ("report live", report):
            cluster.report_live(**report)
        case ("wait", seconds):
            cluster.wait(seconds)
        case ("available", _) if cluster.children[kinds.DEPLOYMENT]:
            cluster.make_available()
        case ("delete", kind):
            cluster.children[kind] = None


@given(steps=STEPS)
@settings(deadline=None, max_examples=60)
def test_plan_comes_to_rest_through_any_history(make_cluster: Make, steps: list[tuple[str, Any]]) -> None:
    cluster = make_cluster()
    for step in steps:
        live_through(cluster, step)
        cluster.settle()
        assert cluster.plan().is_empty
        status = cluster.status
        assert status["observedGeneration"] == cluster.bot["metadata"]["generation"]
        ready, reconciling, stalled = (cluster.verdict(kind)[0] for kind in ("Ready", "Reconciling", "Stalled"))
        assert not (ready == "True" and stalled == "True")
        assert not (ready == "True" and cluster.verdict("Halted")[0] == "True")
        assert not (stalled == "True" and reconciling == "True")


@given(steps=STEPS, plans_a_step=st.sampled_from([1, 6]))
@settings(deadline=None, max_examples=300)
def test_permit_and_pod_are_of_one_book_through_any_history(
    make_cluster: Make, steps: list[tuple[str, Any]], plans_a_step: int
) -> None:
    """Mainnet is never live; a live permit rests on a live report; no pod starts beside a permit of the other book."""
    cluster = make_cluster({"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}})
    for step in steps:
        live_through(cluster, step)
        for _ in range(plans_a_step):
            before = cluster.book if cluster.children[kinds.DEPLOYMENT] else None
            beside = cluster.permitted
            cluster.carry_out(cluster.plan())
            book = cluster.book if cluster.children[kinds.DEPLOYMENT] else None
            trader = cluster.status.get("trader") or {}
            if before and book != before:
                assert beside in ("", book.capitalize())
            if cluster.permitted == "Live":
                assert book in (None, "live")
                assert trader["mode"] == "Live"
                assert beside == "Live" or trader["preflight"]["passed"]
            if cluster.permitted == "Paper":
                assert book in (None, "paper")
                assert trader.get("mode") != "Live"
            if book == "live":
                assert "--network=Mainnet" not in cluster.arguments
            if cluster.bot["spec"]["exchange"]["network"] == "Mainnet":
                assert cluster.permitted != "Live" or cluster.verdict("Stalled") == ("True", "InvalidSpec")
            if book == "paper":
                assert cluster.keys == []
            if before == "live" and book == "paper" and trader.get("mode") == "Live":
                assert trader["openPositions"] == trader["openOrders"] == 0
                assert trader["limit"] == "0" or cluster.bot["spec"].get("suspend")


@given(steps=STEPS)
@settings(deadline=None, max_examples=30)
def test_same_observation_same_plan(make_cluster: Make, steps: list[tuple[str, Any]]) -> None:
    cluster = make_cluster()
    for step in steps:
        live_through(cluster, step)
        before = json.dumps([cluster.bot, [*cluster.children.values()]], sort_keys=True)
        assert cluster.plan() == cluster.plan()
        assert json.dumps([cluster.bot, [*cluster.children.values()]], sort_keys=True) == before
        cluster.settle()


@given(steps=STEPS)
@settings(deadline=None, max_examples=30)
def test_transition_time_moves_with_the_status_alone(make_cluster: Make, steps: list[tuple[str, Any]]) -> None:
    cluster = make_cluster().settle()
    for step in steps:
        before = {condition["type"]: condition for condition in cluster.status["conditions"]}
        live_through(cluster, step)
        cluster.wait(1).settle()
        for condition in cluster.status["conditions"]:
            old = before.get(condition["type"])
            if old is None:
                continue  # conditions of live bots come and go
            same_status = old["status"] == condition["status"]
            assert same_status == (old["lastTransitionTime"] == condition["lastTransitionTime"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        ["spec", "spec.exchange", "spec.capital", "spec.capital.stages", "spec.symbols", "spec.killSwitch",
         "spec.suspend", "spec.strategy", "spec.strategy.parameters", "spec.storage", "spec.risk", "status",
         "status.permit", "status.trader", "status.killSwitch", "status.conditions", "metadata.generation",
         "metadata.labels"]
    ),
)  # fmt: skip
@settings(deadline=None, max_examples=100)
def test_no_garbage_breaks_the_plan(make_running: Make, garbage: Any, path: str) -> None:
    cluster = make_running()
    *parents, last = path.split(".")
    place = cluster.bot
    for key in parents:
        place = place[key]
    place[last] = garbage
    cluster.plan()

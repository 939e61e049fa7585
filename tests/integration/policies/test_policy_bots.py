"""Who may change what of a bot: Secrets, verbs of our own, who asked, deletion, and the operator itself."""

from __future__ import annotations

from typing import Any

import pytest

from support.policies import LIVE, Raw, build_bot, install, is_denied, path_of

EXTERNAL: Raw = {"externalSecret": {"storeRef": {"name": "vault"}, "key": "trading/binance"}}


def until_checked(desk: Any, name: str) -> Raw:
    """What the API server's type checker has found."""
    path = path_of("ValidatingAdmissionPolicy", name)

    def look() -> Raw | None:
        found = desk.admin.get(path).body
        status = found.get("status", {})
        return status if status.get("observedGeneration") == found["metadata"]["generation"] else None

    checked: Raw = desk.until(f"{name} was checked", look)["typeChecking"]
    return checked


def test_policies_have_no_warning_of_the_type_checker(desk: Any) -> None:
    for item in desk.objects:
        if item["kind"] == "ValidatingAdmissionPolicy":
            assert until_checked(desk, item["metadata"]["name"]) == {}, item["metadata"]["name"]


def test_type_checker_finds_a_misspelled_field(desk: Any) -> None:
    """Else the test above would prove nothing."""
    (bots,) = (
        item
        for item in desk.objects
        if item["kind"] == "ValidatingAdmissionPolicy" and item["metadata"]["name"].startswith("bots.")
    )
    spelled = bots["spec"] | {"validations": [{"expression": "object.spec.mood == 'Live'"}], "variables": []}
    install(desk.admin, bots | {"metadata": {"name": "typo.policies"}, "spec": spelled})
    try:
        assert "mood" in str(until_checked(desk, "typo.policies"))
    finally:
        desk.admin.delete(path_of("ValidatingAdmissionPolicy", "typo.policies"))


# --- Secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("spec.credentials.secretName", {"credentials": {"secretName": "keys"}}),
        ("spec.notifications.secretName", {"notifications": {"secretName": "keys"}}),
    ],
)
def test_owner_cannot_name_a_secret_that_they_may_not_read(desk: Any, field: str, spec: Raw) -> None:
    owner, keeper = desk.person("owner"), desk.person("keeper")
    made = owner.create(build_bot({f"spec.{key}": value for key, value in spec.items()}))
    assert is_denied(made, "bots", field, "the Secret keys", "you may not read"), made.body
    desk.create_bot()
    assert is_denied(owner.patch_bot(spec), "bots", field)
    assert keeper.patch_bot(spec).is_success
    other = {key: {"secretName": "others"} for key in spec}
    assert is_denied(keeper.patch_bot(other), "bots", "the Secret others"), "may read keys alone"


def test_owner_who_may_not_read_the_secret_changes_everything_else(desk: Any) -> None:
    desk.create_bot({"spec.credentials": {"secretName": "keys"}, "spec.notifications": {"secretName": "alerts"}})
    owner = desk.person("owner")
    assert owner.patch_bot({"risk": {"maxOrderNotional": "10"}}).is_success
    assert owner.patch_bot({"credentials": None, "notifications": None}).is_success


def test_external_secret_needs_the_right_to_make_one(desk: Any) -> None:
    owner, storekeeper = desk.person("owner"), desk.person("storekeeper")
    denied = owner.create(build_bot({"spec.credentials": EXTERNAL}))
    assert is_denied(denied, "bots", "may not create externalsecrets.external-secrets.io"), denied.body
    assert storekeeper.create(build_bot({"spec.credentials": EXTERNAL})).is_success
    for change in ({"key": "trading/other"}, {"storeRef": {"name": "other"}}):
        assert is_denied(owner.patch_bot({"credentials": {"externalSecret": change}}), "bots", "external")
        assert storekeeper.patch_bot({"credentials": {"externalSecret": change}}).is_success
    assert owner.patch_bot({"credentials": {"externalSecret": {"refreshInterval": "2h"}}}).is_success


# --- golive, promote, rearm --------------------------------------------------------------------------------------


def test_only_golive_goes_live(desk: Any) -> None:
    desk.create_bot({"spec.credentials": {"secretName": "keys"}})
    denied = desk.person("owner").patch_bot({"mode": "Live"}, asks=True)
    assert is_denied(denied, "bots", "needs the verb golive"), denied.body
    assert desk.person("starter").patch_bot({"mode": "Live"}, asks=True).is_success
    assert desk.person("owner").patch_bot({"mode": "Paper"}).is_success, "going back needs nothing"


def test_bot_that_is_made_live_needs_golive(desk: Any) -> None:
    for user, is_refused in (("keeper", True), ("starter", False)):
        mark = {"metadata.annotations": {"tradingbot.dev/requested-by": user}}
        answer = desk.person(user).create(build_bot(LIVE | mark))
        assert is_denied(answer, "bots", "golive") if is_refused else answer.is_success, answer.body


STAGES = [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}]
GROWS: list[tuple[str, Raw]] = [
    ("a higher stage", {"stage": "small"}),
    ("a larger limit of the stage", {"stages": [{"name": "micro", "limit": "60"}, STAGES[1]]}),
    ("a larger limit of another stage", {"stages": [STAGES[0], {"name": "small", "limit": "100.000000001"}]}),
    ("a stage more", {"stages": [*STAGES, {"name": "large", "limit": "500"}]}),
    ("a lower rung gone", {"stages": [STAGES[1]], "stage": "small"}),
    ("another gate", {"stages": [STAGES[0], STAGES[1] | {"gate": {"minOrders": 1}}]}),
    ("fewer approvals", {"approvals": {"required": 0}}),
    ("no demotion any more", {"demotion": None}),
    ("a later demotion", {"demotion": {"maxDrawdownPercent": "6"}}),
]
SHRINKS: list[tuple[str, Raw]] = [
    ("a lower limit", {"stages": [{"name": "micro", "limit": "49"}, STAGES[1]]}),
    ("more approvals", {"approvals": {"required": 2}}),
    ("an earlier demotion", {"demotion": {"maxDrawdownPercent": "4"}}),
    ("the same in other words", {"stages": [{"name": "micro", "limit": "50.0"}, STAGES[1]]}),
]
DEMOTED: Raw = {"spec.capital.demotion": {"maxDrawdownPercent": "5"}}


@pytest.mark.parametrize("capital", [row[1] for row in GROWS], ids=[row[0] for row in GROWS])
def test_more_capital_of_a_live_bot_needs_promote(desk: Any, capital: Raw) -> None:
    desk.create_live(DEMOTED)
    for user in ("owner", "starter"):
        denied = desk.person(user).patch_bot({"capital": capital}, asks=True)
        assert is_denied(denied, "bots", "need the verb promote"), denied.body
    assert desk.person("promoter").patch_bot({"capital": capital}, asks=True).is_success


@pytest.mark.parametrize("capital", [row[1] for row in SHRINKS], ids=[row[0] for row in SHRINKS])
def test_less_capital_needs_nothing(desk: Any, capital: Raw) -> None:
    desk.create_live(DEMOTED)
    answer = desk.person("owner").patch_bot({"capital": capital})
    assert answer.is_success, answer.body


def test_lower_stage_needs_nothing(desk: Any) -> None:
    desk.create_live({"spec.capital.stage": "small"})
    assert desk.person("killer").patch_bot({"capital": {"stage": "micro"}}).is_success


def test_stage_on_paper_needs_nothing_but_together_with_live_it_needs_promote(desk: Any) -> None:
    desk.create_bot({"spec.credentials": {"secretName": "keys"}})
    both = {"mode": "Live", "capital": {"stage": "small"}}
    assert is_denied(desk.person("starter").patch_bot(both, asks=True), "bots", "promote")
    assert desk.person("owner").patch_bot({"capital": {"stage": "small"}}).is_success


def test_stage_that_rises_on_the_way_back_to_paper_needs_promote(desk: Any) -> None:
    desk.create_live()
    back = {"mode": "Paper", "capital": {"stage": "small"}}
    assert is_denied(desk.person("starter").patch_bot(back, asks=True), "bots", "promote")


def test_only_rearm_rearms(desk: Any) -> None:
    desk.create_bot()
    denied = desk.person("owner").patch_bot({"killSwitch": {"rearm": "t-1"}})
    assert is_denied(denied, "bots", "needs the verb rearm"), denied.body
    assert desk.person("duty").patch_bot({"killSwitch": {"rearm": "t-1"}}).is_success
    assert desk.person("owner").patch_bot({"killSwitch": {"rearm": "t-1", "engaged": False}}).is_success, "no change"
    assert desk.person("owner").patch_bot({"killSwitch": {"rearm": ""}}).is_success
    made = desk.person("owner").create(build_bot({"metadata.name": "new", "spec.killSwitch": {"rearm": "t-1"}}))
    assert is_denied(made, "bots", "rearm"), "a volume that was kept may hold that latch"


# --- who asked ---------------------------------------------------------------------------------------------------

ASKS: list[tuple[str, Raw]] = [
    ("a looser limit", {"risk": {"maxOrderNotional": "21"}}),
    ("a limit less", {"risk": {"maxDailyNotional": None}}),
    ("a shorter pause", {"risk": {"cooldownAfterLoss": "14m59s"}}),
    ("older prices", {"risk": {"maxPriceAge": "61s"}}),
    ("more positions", {"risk": {"maxOpenPositions": 4}}),
    ("one looser, one tighter", {"risk": {"maxOrderNotional": "19", "maxExposurePercent": "81"}}),
    ("another market", {"symbols": ["ETH/USDT"]}),
    ("another parameter", {"strategy": {"parameters": {"fast": 6}}}),
    ("a larger tolerance", {"reconciliation": {"tolerance": "0.1"}}),
    ("a higher stage", {"capital": {"stage": "small"}}),
]
TIGHTENS: list[tuple[str, Raw]] = [
    ("a tighter limit", {"risk": {"maxOrderNotional": "19.999999999"}}),
    ("all tighter", {"risk": {
        "maxOrderNotional": "1", "maxOpenPositions": 1, "maxOrdersPerMinute": 1, "maxPriceAge": "1000ms",
        "maxClockSkew": "0.5s", "cooldownAfterLoss": "1h", "stopLossPercent": "1", "maxDailyNotional": "1",
    }}),
    ("the same in other words", {"risk": {"maxOrderNotional": "20.0", "maxPriceAge": "1m"}}),
    ("suspended", {"suspend": True}),
    ("another stop", {"killSwitch": {"action": "Flatten", "controlPlaneTimeout": "1m"}}),
    ("back to paper, without keys", {"mode": "Paper", "credentials": None}),
]  # fmt: skip


@pytest.mark.parametrize("spec", [row[1] for row in ASKS], ids=[row[0] for row in ASKS])
def test_more_risk_of_a_live_bot_says_who_asks(desk: Any, spec: Raw) -> None:
    desk.create_live({"spec.risk.maxDailyNotional": "1000"})
    promoter = desk.person("promoter")
    denied = promoter.patch_bot(spec)
    command = "annotate tradingbots.tradingbot.dev btc --overwrite tradingbot.dev/requested-by=promoter"
    assert is_denied(denied, "bots", f"kubectl -n {desk.namespace} {command}"), denied.body
    for_another = {"spec": spec, "metadata": {"annotations": {"tradingbot.dev/requested-by": "owner"}}}
    assert is_denied(promoter.patch("TradingBot", "btc", for_another), "bots", "write your own name, promoter")
    assert promoter.patch_bot(spec, asks=True).is_success


@pytest.mark.parametrize("spec", [row[1] for row in TIGHTENS], ids=[row[0] for row in TIGHTENS])
def test_less_risk_asks_for_no_name(desk: Any, spec: Raw) -> None:
    desk.create_live()
    answer = desk.person("killer").patch_bot(spec)
    assert answer.is_success, answer.body
    assert answer.body["metadata"]["annotations"] == {"tradingbot.dev/requested-by": "sandbox-admin"}


def test_name_that_was_written_before_counts(desk: Any) -> None:
    """What the message says to run."""
    desk.create_live()
    promoter = desk.person("promoter")
    assert promoter.patch_bot({}, asks=True).is_success
    assert promoter.patch_bot({"capital": {"stage": "small"}}).is_success


def test_nobody_writes_the_name_of_another_nor_takes_it_away_from_a_live_bot(desk: Any) -> None:
    desk.create_live()
    for name in ("promoter", None):
        body = {"metadata": {"annotations": {"tradingbot.dev/requested-by": name}}}
        assert is_denied(desk.person("owner").patch("TradingBot", "btc", body), "bots", "names who asked")
    made = build_bot({"metadata.name": "new", "metadata.annotations": {"tradingbot.dev/requested-by": "promoter"}})
    assert is_denied(desk.person("owner").create(made), "bots", "names who asked")


def test_paper_bot_asks_for_no_name(desk: Any) -> None:
    owner = desk.person("owner")
    assert owner.create(build_bot()).is_success
    assert owner.patch_bot({"risk": {"maxOrderNotional": "1000"}, "symbols": ["ETH/USDT"]}).is_success


# --- deletion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["trader", "operator"])
def test_bot_that_is_stopped_is_deleted_with_rearm_alone(desk: Any, place: str) -> None:
    desk.create_bot()
    if place == "trader":
        desk.report(latch={"state": "Stopped", "id": "t-1"})
    else:
        part = {"status": {"killSwitch": {"state": "Stopping", "id": "o-1"}}}
        assert desk.operator.patch("TradingBot", "btc", part, sub="status").is_success
    denied = desk.person("owner").delete("TradingBot", "btc")
    assert is_denied(denied, "bots", "deleting it needs the verb rearm"), denied.body
    everything = desk.person("owner").request(
        "DELETE", f"/apis/tradingbot.dev/v1alpha1/namespaces/{desk.namespace}/tradingbots"
    )
    assert not everything.is_success, "one by one or all at once"
    assert desk.bot()
    assert desk.person("duty").delete("TradingBot", "btc").is_success


def test_namespace_controller_deletes_a_stopped_bot(desk: Any) -> None:
    desk.create_bot()
    desk.report(latch={"state": "Stopped", "id": "t-1"})
    controller = desk.person("system:serviceaccount:kube-system:namespace-controller")
    assert controller.delete("TradingBot", "btc").is_success


def test_bot_that_is_armed_is_deleted_by_its_owner(desk: Any) -> None:
    desk.create_bot()
    desk.report(latch={"state": "Armed"})
    assert desk.person("owner").delete("TradingBot", "btc").is_success


# --- the operator ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"spec": {"mode": "Live"}},
        {"spec": {"killSwitch": {"rearm": "t-1"}}},
        {"spec": {"suspend": True}},
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"annotations": {"tradingbot.dev/requested-by": "sandbox-admin2"}}},
        {"metadata": {"finalizers": ["example.com/other"]}},
    ],
    ids=str,
)
def test_operator_changes_nothing_of_a_bot(desk: Any, body: Raw) -> None:
    desk.create_bot({"spec.credentials": {"secretName": "keys"}})
    denied = desk.operator.patch("TradingBot", "btc", body)
    assert is_denied(denied, "bots", "the operator changes nothing of a bot"), denied.body


def test_operator_sets_and_takes_away_its_finalizer_and_leaves_others(desk: Any) -> None:
    desk.create_bot({"metadata.finalizers": ["example.com/other"]})
    for finalizers in (["example.com/other", "tradingbot.dev/on-delete"], ["example.com/other"]):
        assert desk.operator.patch("TradingBot", "btc", {"metadata": {"finalizers": finalizers}}).is_success
    assert is_denied(desk.operator.patch("TradingBot", "btc", {"metadata": {"finalizers": None}}), "bots", "operator")

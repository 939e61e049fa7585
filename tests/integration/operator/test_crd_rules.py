"""What the API server itself refuses, with a message that says what to do; and that a kill always gets through."""

from __future__ import annotations

from typing import Any

import pytest

from support import crd_sins
from tradingbot_trader.report import find_unknown, leave_out

pytestmark = pytest.mark.control_plane
Raw = dict[str, Any]
DRY_RUN = "?dryRun=All&fieldValidation=Strict"
KILL = {"spec": {"killSwitch": {"engaged": True, "reason": "night"}}}

REFUSED: list[tuple[str, Raw, str]] = [
    ("negative limit", {"spec.capital.stages.0.limit": "-50"}, "must be greater than 0: a decimal string without"),
    ("no limit", {"spec.capital.stages.0.limit": "0.00"}, "must be greater than 0"),
    ("number for money", {"spec.capital.stages.0.limit": 50}, "must be of type string"),
    ("ten decimals", {"spec.risk.maxOrderNotional": "1.0000000001"}, "should match"),
    ("exponent", {"spec.risk.maxOrderNotional": "1e3"}, "should match"),
    ("unknown exchange", {"spec.exchange.id": "ftx"}, 'supported values: "binance", "mexc", "kraken", "coinbase"'),
    ("unknown network", {"spec.exchange.network": "Devnet"}, 'supported values: "Mainnet", "Testnet", "Sandbox"'),
    ("stage not in the list", {"spec.capital.stage": "large"}, "add that stage, or name one of the list"),
    ("stages in disorder", {"spec.capital.stages.1.limit": "40"}, "from the smallest limit to the largest"),
    ("stages alike", {"spec.capital.stages.1.limit": "50.0"}, "from the smallest limit to the largest"),
    ("stage twice", {"spec.capital.stages.1.name": "micro"}, "Duplicate value"),
    ("no stage", {"spec.capital.stages": []}, "at least 1 items"),
    ("another quote currency", {"spec.symbols": ["BTC/EUR"]}, "must be quoted in capital.currency, like BTC/USDT"),
    ("one of two symbols", {"spec.symbols": ["BTC/USDT", "ETH/BTC"]}, "must be quoted in capital.currency"),
    ("symbol twice", {"spec.symbols": ["BTC/USDT", "BTC/USDT"]}, "Duplicate value"),
    ("no symbol", {"spec.symbols": []}, "at least 1 items"),
    ("symbol in another notation", {"spec.symbols": ["BTCUSDT"]}, "should match"),
    ("Live without keys", {"spec.mode": "Live"}, "mode Live needs credentials: set credentials.secretName"),
    ("keys from nowhere", {"spec.credentials": {"maxAge": "1h"}}, "set exactly one of"),
    ("keys from two places",
     {"spec.credentials": {"secretName": "a", "externalSecret": {"storeRef": {"name": "v"}, "key": "k"}}},
     "set exactly one of"),
    ("more than all", {"spec.risk.maxPositionPercent": "100.1"}, "at most 100: a percentage without the sign"),
    ("negative percentage", {"spec.risk.maxDailyLossPercent": "-5"}, "must be greater than 0 and at most 100"),
    ("leverage", {"spec.risk.maxLeverage": "3"}, "only spot trading is supported"),
    ("no time", {"spec.killSwitch": {"controlPlaneTimeout": "0s"}}, 'must be longer than 0s, like "30s"'),
    ("days", {"spec.risk.cooldownAfterLoss": "7d"}, "should match"),
    ("unknown timeframe", {"spec.strategy.timeframe": "7m"}, 'supported values: "1s", "1m"'),
    ("nested parameter", {"spec.strategy.parameters": {"a": [1]}}, "must be of type integer,string"),
    ("fraction as parameter", {"spec.strategy.parameters": {"a": 0.5}}, "must be of type integer,string"),
    ("no size", {"spec.storage": {"size": "0Gi"}}, "should match"),
    ("name that is too long for a pod", {"metadata.name": "a" * 41}, "may not be more than 40"),
    ("misspelled field", {"spec.killSwitch": {"engagd": True}}, 'unknown field "spec.killSwitch.engagd"'),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_mistake_is_refused_with_what_to_do(desk: Any, make_bot: Any, changes: Raw, message: str) -> None:
    answer = desk.admin.create(desk.path("TradingBot") + DRY_RUN, make_bot(changes))
    assert answer.status in {400, 422}, answer.body
    assert message in answer.body["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}},
        {"spec.capital.stages.1.limit": "50.000000001"},
        {"spec.risk.maxPositionPercent": "0.000000001"},
        {"spec.strategy.parameters": {"a": 1, "b": "0.5"}},
        {"spec.killSwitch": {"controlPlaneTimeout": "1h30m0.5s"}},
    ],
    ids=str,
)
def test_good_bot_is_taken_and_its_defaults_are_filled_in(desk: Any, make_bot: Any, changes: Raw) -> None:
    answer = desk.admin.create(desk.path("TradingBot") + DRY_RUN, make_bot(changes))
    assert answer.status == 201, answer.body
    spec = answer.body["spec"]
    assert spec["risk"]["cooldownAfterLoss"] == "15m"
    assert spec["killSwitch"]["action"] == "CancelOrders"
    assert spec["capital"]["approvals"] == {"required": 1}
    assert spec["storage"] == {"size": "1Gi"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mode": "Live"}, "needs credentials"),
        ({"symbols": ["BTC/EUR"]}, "must be quoted in"),
        ({"capital": {"stage": "large"}}, "name one of the list"),
    ],
    ids=str,
)
def test_mistake_in_a_patch_is_refused_too(desk: Any, spec: Raw, message: str) -> None:
    desk.create_bot()
    answer = desk.admin.merge(desk.path("TradingBot", "btc"), {"spec": spec})
    assert answer.status == 422
    assert message in answer.body["message"]
    assert desk.admin.merge(desk.path("TradingBot", "btc"), KILL).status == 200


def test_growth_that_the_storage_class_refuses_can_be_taken_back(desk: Any) -> None:
    desk.create_bot()
    for size in ("1024Mi", "2Gi", "1Gi"):
        desk.patch({"storage": {"size": size}})


LOADED = [{"openPositions": 1}, {"openOrders": 1}, {"unresolvedOrders": 1}]
NOTHING = {"openPositions": 0, "openOrders": 0, "unresolvedOrders": 0}
EXTERNAL = {"storeRef": {"name": "vault"}, "key": "trading/binance"}


@pytest.mark.parametrize("loaded", LOADED, ids=str)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exchange": {"id": "kraken"}}, "exchange cannot change while the bot has open positions or orders"),
        ({"exchange": {"network": "Testnet"}}, "exchange cannot change"),
        ({"capital": {"currency": "USDC"}, "symbols": ["BTC/USDC"]}, "capital.currency cannot change"),
        ({"credentials": {"secretName": "others"}}, "put a new key into the same Secret"),
        ({"credentials": {"secretName": None, "externalSecret": EXTERNAL}}, "put a new key into the same Secret"),
        ({"credentials": None, "mode": "Paper"}, "put a new key into the same Secret"),
    ],
    ids=str,
)
def test_what_makes_another_book_waits_until_nothing_is_open(desk: Any, loaded: Raw, change: Raw, message: str) -> None:
    desk.create_bot({"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}})
    path = desk.path("TradingBot", "btc")
    desk.report(mode="Live", **NOTHING | loaded)
    answer = desk.admin.merge(path, {"spec": change})
    assert answer.status == 422, answer.body
    assert message in answer.body["message"]
    assert desk.admin.merge(path, KILL).status == 200
    desk.report(mode="Live", **NOTHING)
    assert desk.admin.merge(path, {"spec": change}).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "Paper"},
        {"suspend": True},
        {"credentials": {"maxAge": "1h"}},
        {"credentials": {"externalSecret": {"refreshInterval": "5m"}}},
        {"risk": {"maxOrderNotional": "1"}},
        {"symbols": ["ETH/USDT"]},
        {"onDelete": "Hold", "updatePolicy": "Manual"},
    ],
    ids=str,
)
def test_all_else_may_change_while_something_is_open(desk: Any, change: Raw) -> None:
    desk.create_bot({"spec.mode": "Live", "spec.credentials": {"externalSecret": EXTERNAL}})
    desk.report(mode="Live", openPositions=1, openOrders=1)
    desk.patch(change)


@pytest.mark.parametrize(
    "change", [{"secretName": "keys", "externalSecret": None}, {"externalSecret": {"key": "other"}},
               {"externalSecret": {"storeRef": {"name": "other"}}},
               {"externalSecret": {"storeRef": {"kind": "ClusterSecretStore"}}}], ids=str,
)  # fmt: skip
def test_other_keys_are_another_account_for_a_live_bot_alone(desk: Any, change: Raw) -> None:
    desk.create_bot({"spec.credentials": {"externalSecret": EXTERNAL}})
    path = desk.path("TradingBot", "btc")
    desk.report(mode="Live", openPositions=1, openOrders=0)
    assert desk.admin.merge(path, {"spec": {"credentials": change}}).status == 422
    desk.report(mode="Paper", openPositions=1, openOrders=0)
    assert desk.admin.merge(path, {"spec": {"credentials": change}}).status == 200


def test_exchange_stays_while_nobody_says_what_is_open(desk: Any) -> None:
    desk.create_bot()
    desk.report()
    assert desk.admin.merge(desk.path("TradingBot", "btc"), {"spec": {"exchange": {"id": "kraken"}}}).status == 422


def test_exchange_of_a_bot_that_never_traded_may_change(desk: Any) -> None:
    desk.create_bot()
    desk.patch({"exchange": {"id": "kraken"}})


@pytest.mark.parametrize("kind", ["TradingApproval", "TradingReview"])
@pytest.mark.parametrize("begin", ["with its optional fields", "without its optional fields"])
def test_what_was_signed_or_judged_cannot_be_changed(desk: Any, kind: str, begin: str) -> None:
    has_optional = begin == "with its optional fields"
    optional = {"comment", "approvedBy", "message"} & set(crd_sins.FULL[kind])
    whole = crd_sins.build(kind, "a")
    bare = {name: value for name, value in whole["spec"].items() if name not in optional}
    path = f"/apis/tradingbot.dev/v1alpha1/namespaces/{desk.namespace}/{kind.lower()}s"
    assert desk.admin.create(path, whole if has_optional else whole | {"spec": bare}).is_success
    changes = [{name: None if has_optional else whole["spec"][name]} for name in optional]
    for change in [*changes, {"stage": "large"}, {"bot": "eth"}]:
        answer = desk.admin.merge(f"{path}/a", {"spec": change})
        assert answer.status == 422, (change, answer.body)
        assert "cannot be changed" in answer.body["message"]
    assert desk.admin.merge(f"{path}/a", {"spec": None}).status == 422
    assert desk.admin.merge(f"{path}/a", {"metadata": {"labels": {"a": "b"}}}).status == 200


def make_halt(desk: Any, spec: Raw, query: str = "?dryRun=All&fieldValidation=Strict") -> Any:
    body = {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingHalt", "metadata": {"name": desk.namespace}}
    return desk.admin.create(f"/apis/tradingbot.dev/v1alpha1/tradinghalts{query}", body | {"spec": spec})


def test_halt_without_a_word_stops_all(desk: Any) -> None:
    answer = make_halt(desk, {})
    assert answer.status == 201, answer.body
    assert answer.body["spec"] == {
        "action": "CancelOrders", "bots": [], "namespaces": [], "reason": "", "selector": {"matchLabels": {}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"expiresAt": "tomorrow"}, "must be a time like"),
        ({"expiresAt": "2026-01-01"}, "must be a time like"),
        ({"selector": {"matchLabels": {"team": "a b"}}}, "should match"),
        ({"action": "Sell"}, 'supported values: "ReduceOnly", "CancelOrders", "Flatten"'),
        ({"bots": ["BTC"]}, "should match"),
        ({"namespace": ["desk-a"]}, 'unknown field "spec.namespace"'),
    ],
    ids=str,
)
def test_halt_that_would_stop_nobody_is_refused(desk: Any, spec: Raw, message: str) -> None:
    answer = make_halt(desk, spec)
    assert answer.status in {400, 422}, answer.body
    assert message in answer.body["message"]


def test_halt_may_be_changed_later(desk: Any) -> None:
    assert make_halt(desk, {"bots": ["btc"], "expiresAt": "2030-01-01T00:00:00Z"}, "").status == 201
    path = f"/apis/tradingbot.dev/v1alpha1/tradinghalts/{desk.namespace}"
    try:
        for change in ({"action": "Flatten"}, {"expiresAt": None}, {"bots": ["btc", "eth"]}, {"bots": []}):
            assert desk.admin.merge(path, {"spec": change}).status == 200, change
    finally:
        desk.admin.delete(path)


AT = "2026-01-02T03:04:05Z"
LIVE_PARTS: Raw = {
    "preflight": {"passed": False, "reason": "ClockSkewed", "message": "set the clock", "at": AT},
    "credentials": {"ready": True, "fingerprint": "0123456789ab", "since": AT, "reason": "", "message": ""},
    "account": {"fingerprint": "ba9876543210"},
    "reconciliation": {
        "at": AT,
        "result": "Failed",
        "message": "BTC differs",
        "deltas": [{"asset": "BTC", "venue": "0.5", "local": "0.4", "delta": "0.1"}],
        "orphans": 2,
    },
    "breakers": {"open": ["venue-api"], "trips": 3, "lastTripAt": AT},
    "unresolvedOrders": 1,
}


def write_report(desk: Any, parts: Raw) -> Any:
    trader = {
        "uid": "u", "pod": "p", "version": "0", "mode": "Live", "state": "ReduceOnly", "startedAt": AT,
        "heartbeatAt": AT, "epoch": 1, "config": {"generation": 1, "accepted": True, "reason": "Accepted"},
    }  # fmt: skip
    path = f"{desk.path('TradingBot', 'btc')}/status?fieldValidation=Strict"
    return desk.admin.merge(path, {"status": {"trader": trader | parts}})


def test_what_a_live_trader_reports_is_kept_as_it_was_written(desk: Any) -> None:
    desk.create_bot()
    answer = write_report(desk, LIVE_PARTS)
    assert answer.status == 200, answer.body
    written = answer.body["status"]["trader"]
    assert {part: written[part] for part in LIVE_PARTS} == LIVE_PARTS


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("credentials", {"ready": True, "fingerprint": "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zv"}, "fingerprint"),
        ("credentials", {"ready": True, "fingerprint": "vmPUZE6mv9SD"}, "should match"),
        ("credentials", {"fingerprint": "0123456789ab"}, "ready: Required value"),
        ("account", {"fingerprint": "123456789"}, "should match"),
        ("preflight", {"at": AT}, "passed: Required value"),
        ("reconciliation", {"at": AT, "result": "Perhaps"}, 'supported values: "Passed", "Failed", "Inconclusive"'),
        ("reconciliation", {"at": AT, "result": "Failed", "deltas": LIVE_PARTS["reconciliation"]["deltas"] * 21},
         "at most 20 items"),
        ("unresolvedOrders", -1, "greater than or equal to 0"),
        ("breakers", {"trip": 1}, "unknown field"),
    ],
)  # fmt: skip
def test_report_that_would_tell_a_key_or_makes_no_sense_is_refused(
    desk: Any, part: str, value: Any, message: str
) -> None:
    desk.create_bot()
    answer = write_report(desk, {part: value})
    assert answer.status in {400, 422}, answer.body
    assert message in answer.body["message"]


def test_words_that_this_crd_does_not_know_are_named_by_their_path(desk: Any) -> None:
    """After a rollback an older CRD meets a newer trader, which then leaves out what is named here (report.py)."""
    desk.create_bot()
    latch = {"state": "Stopped", "id": "l1", "newInLatch": {"a": 1}, "orders": [{"clientOrderId": "o", "symbol": "s",
             "side": "buy", "result": "Cancelled", "newInOrder": "x"}]}  # fmt: skip
    trader = {
        "uid": "u", "pod": "p", "version": "9", "mode": "Live", "state": "ReduceOnly", "startedAt": AT,
        "heartbeatAt": AT, "epoch": 1, "config": {"generation": 1, "accepted": True, "reason": "Accepted"},
        "latch": latch, "newInTrader": ["x"],
    }  # fmt: skip

    def write(report: Raw) -> Any:
        body = {
            "apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingBot", "metadata": {"name": "btc"},
            "status": {"trader": report},
        }  # fmt: skip
        path = f"{desk.path('TradingBot', 'btc')}/status?fieldManager=tradingbot-trader&force=true"
        return desk.admin.request("PATCH", path, body, content_type="application/apply-patch+yaml")

    unknown: set[str] = set()
    for _ in range(5):
        answer = write(leave_out(trader, unknown))
        if answer.status == 200:
            break
        found = find_unknown(answer.body["message"])
        assert found, answer.body
        unknown |= found
    assert unknown == {"newInTrader", "latch.newInLatch", "latch.orders.newInOrder"}
    assert answer.body["status"]["trader"]["latch"]["state"] == "Stopped"

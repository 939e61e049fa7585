"""What the API server itself refuses, with a message that says what to do; and that a kill always gets through."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tradingbot_sandbox.control_plane.control_plane import ControlPlane

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
        ({"storage": {"size": "500Mi"}}, "a volume cannot shrink"),
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


def test_same_size_in_other_words_is_no_shrinking(desk: Any) -> None:
    desk.create_bot()
    for size in ("1024Mi", "1Gi", "2Gi"):
        desk.patch({"storage": {"size": size}})


@pytest.mark.parametrize(("positions", "orders"), [(1, 0), (0, 1)])
def test_exchange_stays_while_something_is_open(desk: Any, positions: int, orders: int) -> None:
    desk.create_bot()
    desk.report(openPositions=positions, openOrders=orders)
    move = {"spec": {"exchange": {"id": "kraken"}}}
    answer = desk.admin.merge(desk.path("TradingBot", "btc"), move)
    assert answer.status == 422
    assert "or make another bot" in answer.body["message"]
    assert desk.admin.merge(desk.path("TradingBot", "btc"), KILL).status == 200
    desk.report(openPositions=0, openOrders=0)
    assert desk.admin.merge(desk.path("TradingBot", "btc"), move).status == 200


def test_exchange_stays_while_nobody_says_what_is_open(desk: Any) -> None:
    desk.create_bot()
    desk.report()
    assert desk.admin.merge(desk.path("TradingBot", "btc"), {"spec": {"exchange": {"id": "kraken"}}}).status == 422


def test_exchange_of_a_bot_that_never_traded_may_change(desk: Any) -> None:
    desk.create_bot()
    desk.patch({"exchange": {"id": "kraken"}})


def test_signature_cannot_be_changed(desk: Any) -> None:
    path = f"/apis/tradingbot.dev/v1alpha1/namespaces/{desk.namespace}/tradingapprovals"
    spec = {"bot": "btc", "digest": f"v1:{'0' * 64}", "stage": "small", "expiresAt": "2030-01-01T00:00:00Z"}
    body = {"apiVersion": "tradingbot.dev/v1alpha1", "kind": "TradingApproval", "metadata": {"name": "a"}, "spec": spec}
    assert desk.admin.create(path, body).is_success
    answer = desk.admin.merge(f"{path}/a", {"spec": {"stage": "large"}})
    assert answer.status == 422
    assert "delete it and make a new one" in answer.body["message"]


# What an older or looser API may have let in, and what today's rules say about each.
OLD_SINS: list[tuple[str, Raw]] = [
    ("negative limit", {"spec.capital.stages.0.limit": "-50"}),
    ("stage not in the list", {"spec.capital.stage": "large"}),
    ("stages in disorder", {"spec.capital.stages.1.limit": "40"}),
    ("stage twice", {"spec.capital.stages.1.name": "micro"}),
    ("another quote currency", {"spec.symbols": ["BTC/EUR"]}),
    ("symbol in another notation", {"spec.symbols": ["BTCUSDT"]}),
    ("symbol twice", {"spec.symbols": ["BTC/USDT", "BTC/USDT"]}),
    ("unknown exchange", {"spec.exchange.id": "ftx"}),
    ("Live without keys", {"spec.mode": "Live"}),
    ("keys from nowhere", {"spec.credentials": {"maxAge": "1h"}}),
    ("more than all", {"spec.risk.maxPositionPercent": "500"}),
    ("leverage", {"spec.risk.maxLeverage": "3"}),
    ("days", {"spec.risk.cooldownAfterLoss": "7d"}),
    ("unknown timeframe", {"spec.strategy.timeframe": "7m"}),
    ("unknown mode", {"spec.mode": "Yolo"}),
    ("no size", {"spec.storage": {"size": "lots"}}),
    ("no decimal as limit", {"spec.capital.stages.0.limit": "some1"}),
    ("no decimal as percentage", {"spec.risk.maxPositionPercent": "1O0"}),
    ("no decimal as leverage", {"spec.risk.maxLeverage": "none1"}),
    ("no duration", {"spec.killSwitch": {"controlPlaneTimeout": "soon1"}}),
    ("no finite duration", {"spec.reconciliation": {"interval": "99999999999999h"}}),
    ("everything at once", {
        "spec.capital.stages.0.limit": "-50", "spec.symbols": ["BTCUSDT"], "spec.exchange.id": "ftx",
        "spec.mode": "Live", "spec.risk.maxLeverage": "3", "spec.strategy.timeframe": "7m",
    }),
]  # fmt: skip


@pytest.fixture(scope="module")
def old_bots(
    control_plane: ControlPlane, crds: list[Raw], make_bot: Any, apply_crd: Any
) -> Iterator[Callable[[str], str]]:
    """The same API in another group, first without its rules, then with them; bots from before, each with a sin."""
    group = "old.tradingbot.test"
    strict = copy.deepcopy(next(manifest for manifest in crds if manifest["spec"]["names"]["kind"] == "TradingBot"))
    strict["metadata"]["name"] = f"tradingbots.{group}"
    strict["spec"]["group"] = group
    loose = copy.deepcopy(strict)
    _loosen(loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    apply_crd(loose)
    path = f"/apis/{group}/v1alpha1/namespaces/default/tradingbots"
    for number, (_, changes) in enumerate(OLD_SINS):
        bot = make_bot({"apiVersion": f"{group}/v1alpha1", "metadata.name": f"old-{number}"} | changes)
        answer = control_plane.admin.create(path, bot)
        assert answer.is_success, answer.body
    apply_crd(strict)
    names = {sin: f"{path}/old-{number}" for number, (sin, _) in enumerate(OLD_SINS)}
    yield names.__getitem__
    control_plane.admin.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{strict['metadata']['name']}")


def _loosen(node: Any) -> None:
    """Keeps the types, and takes all rules away."""
    if isinstance(node, list):
        for item in node:
            _loosen(item)
    if isinstance(node, dict):
        for key in ("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"):
            node.pop(key, None)
        if isinstance(node.get("type"), str):
            for key in ("pattern", "enum", "maxLength", "minLength", "maximum", "minimum", "maxItems", "minItems"):
                node.pop(key, None)
        for value in node.values():
            _loosen(value)


@pytest.mark.parametrize("sin", [row[0] for row in OLD_SINS])
def test_kill_passes_whatever_else_is_wrong_with_the_object(
    control_plane: ControlPlane, old_bots: Callable[[str], str], make_bot: Any, desk: Any, sin: str
) -> None:
    path = old_bots(sin)
    changes = dict(OLD_SINS)[sin]
    today = desk.admin.create(desk.path("TradingBot") + DRY_RUN, make_bot(changes))
    assert today.status in {400, 422}, f"no sin any more: {today.body}"
    desk.until(
        "the rules are in force",
        lambda: (
            control_plane.admin.create(
                f"{path.rpartition('/')[0]}?dryRun=All",
                make_bot(changes | {"apiVersion": "old.tradingbot.test/v1alpha1", "metadata.name": "new"}),
            ).status
            == 422
        ),
    )
    answer = control_plane.admin.merge(path, KILL)
    assert answer.status == 200, answer.body
    assert answer.body["spec"]["killSwitch"]["engaged"] is True
    status = {"status": {"phase": "Stalled"}}
    assert control_plane.admin.merge(f"{path}/status", status).status == 200
    rearm = {"spec": {"killSwitch": {"engaged": False, "rearm": "t-1"}}}
    assert control_plane.admin.merge(path, rearm).status == 200


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


def test_explain_says_what_the_live_parts_mean(crds: list[Raw]) -> None:
    """`kubectl explain` prints these descriptions."""
    (bot,) = (crd for crd in crds if crd["spec"]["names"]["kind"] == "TradingBot")
    schema = bot["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    trader = schema["properties"]["status"]["properties"]["trader"]["properties"]
    for part in LIVE_PARTS:
        assert trader[part]["description"], part
    assert "Never the key" in trader["credentials"]["description"]

"""Random edits of a running bot: each is refused with a message, or applied, or waits visibly; no trader crash-loops.

An example is one edit; the bot goes on from what the edits before made of it. `make e2e` makes 200 of them.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from support.stack import CommandFailed, Stack, build_bot

EDITS = int(os.environ.get("TRADINGBOT_EDITS", "40"))
Patch = dict[str, Any]

DECIMALS = st.sampled_from(
    ["20", "10", "5.5", "100", "49", "1", "0", "-1", "1e3", "abc", "", "999999999999999.9", 5, None]
)
PERCENTS = st.sampled_from(["40", "80", "100", "100.1", "0.01", "0", "-5", "5", "ten", 7, None])
DURATIONS = st.sampled_from(["30s", "1m", "1h", "0s", "-1s", "7d", "PT15M", "soon", 30, None])
LIMITS_IN_PERCENT = (
    "maxPositionPercent", "maxExposurePercent", "maxDailyLossPercent", "stopLossPercent", "maxTradeLossPercent",
)  # fmt: skip
SYMBOLS = st.sampled_from([["BTC/USDT"], ["BTC/USDT", "ETH/USDT"], ["NOPE/USDT"], ["BTC/EUR"], [], ["btc"], None])
PARAMETERS = st.sampled_from([{"fast": 2, "slow": 5}, {"fast": 9, "slow": 3}, {"fats": 3}, {"fast": "two"}, []])
COUNTS = st.sampled_from([1, 3, 10, 0, -1, 100, 101, "3", None])
STAGES = [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}]


def at(path: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Patch]:
    def wrap(value: Any) -> Patch:
        for key in reversed(path.split(".")):
            value = {key: value}
        return value  # type: ignore[no-any-return]  # a path has at least one part

    return values.map(wrap)


CHEAP = st.one_of(
    at("risk.maxOrderNotional", DECIMALS),
    at("risk.maxDailyNotional", DECIMALS),
    *(
        at(f"risk.{name}", PERCENTS)
        for name in LIMITS_IN_PERCENT
    ),
    at("risk.maxOpenPositions", COUNTS),
    at("risk.maxOrdersPerMinute", COUNTS),
    at("risk.maxPriceAge", DURATIONS),
    at("risk.maxLeverage", DECIMALS),
    at("killSwitch.controlPlaneTimeout", DURATIONS),
    at("killSwitch.rearm", st.sampled_from(["", "nonsense", "not an id!", "x" * 65])),
    at("reconciliation.interval", DURATIONS),
    at("reconciliation.tolerance", DECIMALS),
    at("symbols", SYMBOLS),
    at("strategy.name", st.sampled_from(["sma-cross", "moonshot", "Sma Cross", "", None])),
    at("strategy.timeframe", st.sampled_from(["1s", "1m", "9m", "", 1])),
    at("strategy.parameters", PARAMETERS),
    at("capital.stage", st.sampled_from(["micro", "small", "huge", "", None])),
    at("capital.stages", st.sampled_from([STAGES, STAGES[:1], STAGES[::-1], [], [{"name": "micro", "limit": "0"}]])),
    at("storage.size", st.sampled_from(["1Gi", "2Gi", "512Mi", "0Gi", "big"])),
    at("updatePolicy", st.sampled_from(["Auto", "WhenFlat", "Manual", "Never"])),
    at("onDelete", st.sampled_from(["Hold", "CancelOrders", "Flatten", "Sell"])),
    at("notifications", st.sampled_from([None, {"secretName": "alerts"}, {"secretName": "No Name"}])),
    at("unheardOf", st.just(True)),
)  # fmt: skip
COSTLY = st.one_of(
    at("suspend", st.sampled_from([True, False, "yes"])),
    at("killSwitch.engaged", st.booleans()),
    st.sampled_from(
        [
            {"mode": "Live"},
            {"mode": "Paper"},
            {"mode": "Live", "credentials": {"secretName": "no-such-keys"}},
            {"mode": "Paper", "credentials": None},
            {"credentials": {"externalSecret": {"storeRef": {"name": "vault"}, "key": "k"}}},
            {"exchange": {"id": "kraken", "network": "Sandbox"}},
            {"exchange": {"id": "binance", "network": "Sandbox"}},
        ]
    ),
)
EDIT = st.one_of(CHEAP, CHEAP, CHEAP, CHEAP, COSTLY)
"""One in five may need another pod."""
seen: Counter[str] = Counter()


@pytest.fixture(scope="module")
def edited(stack: Stack) -> Iterator[tuple[Stack, str]]:
    desk = f"edits-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", desk)
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    yield stack, desk
    stack.kubectl("delete", "namespace", desk, "--wait=false")


def find_refusal(stack: Stack, desk: str, body: str) -> str:
    """What the API server says against it; empty when it takes it."""
    try:
        stack.kubectl("-n", desk, "patch", "tb", "btc", "--type", "merge", "-p", body)
    except CommandFailed as refused:
        return str(refused)
    return ""


def judge(stack: Stack, desk: str, generation: int) -> str:
    """What became of the edit; empty while that is open."""
    bot = stack.get("tb", "btc", desk)
    status, spec = bot["status"], bot["spec"]
    conditions = {each["type"]: each for each in status["conditions"]}
    config = status.get("trader", {}).get("config", {})
    if status.get("observedGeneration") != generation:
        return ""
    for kind in ("Stalled", "ConfigDrift"):
        if conditions[kind]["status"] == "True" and conditions[kind]["message"]:
            return f"waits: {conditions[kind]['reason']}"
    if spec.get("suspend"):
        return "applied: suspended" if not stack.pods(desk, "btc") else ""
    if config.get("generation") != generation or not config.get("accepted"):
        return ""
    ready = conditions["Ready"]
    if ready["status"] == "True" or ready["reason"] == "KillSwitch":
        return "applied"
    keys = conditions.get("CredentialsReady", {})
    if keys.get("status") == "False" and keys.get("message") and ready["message"]:
        return f"waits: {keys['reason']}"
    return ""


def check_no_crash(stack: Stack, desk: str) -> None:
    for pod in stack.pods(desk, "btc"):
        for container in pod["status"].get("containerStatuses", []):
            assert container["restartCount"] == 0, container


@settings(
    max_examples=EDITS, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(edit=EDIT)
def test_edit_is_refused_or_applied_or_waits_visibly(edited: tuple[Stack, str], edit: Patch) -> None:
    stack, desk = edited
    body = json.dumps({"spec": edit})
    if refusal := find_refusal(stack, desk, body):
        assert "spec" in refusal, "the message names the field"
        seen["refused"] += 1
        return
    generation = stack.get("tb", "btc", desk)["metadata"]["generation"]
    became = stack.wait(f"an end of {body}", lambda: judge(stack, desk, generation), seconds=90)
    seen[became] += 1
    check_no_crash(stack, desk)


def test_bot_trades_again_after_all_that(edited: tuple[Stack, str]) -> None:
    stack, desk = edited
    waited = [became for became in seen if became.startswith("waits")]
    assert seen["refused"], seen
    assert seen["applied"], seen
    assert waited, seen
    good = build_bot("btc", desk)["spec"] | {
        "storage": {"size": "1Gi"},
        "mode": "Paper", "suspend": False, "credentials": None, "updatePolicy": "Auto",
        "notifications": None,
    }  # fmt: skip
    switch = {"engaged": False, "rearm": ""}
    risk = dict.fromkeys(stack.get("tb", "btc", desk)["spec"]["risk"]) | good["risk"]
    latch = stack.get("tb", "btc", desk)["status"]["killSwitch"].get("id", "")
    stack.patch(desk, "btc", good | {"risk": risk, "killSwitch": switch | {"rearm": latch}})
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True", seconds=120)
    check_no_crash(stack, desk)

"""Bad input: refused where it can first be known, with words that say what to do, and never at a running bot's cost."""

from __future__ import annotations

from typing import Any

import pytest

from support.stack import CommandFailed, Stack, build_bot

STAGES = [{"name": "micro", "limit": "50"}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"risk": {"maxOrderNotional": "-20"}}, "spec.risk.maxOrderNotional"),
        ({"risk": {"maxOrderNotional": "0"}}, "must be greater than 0"),
        ({"risk": {"maxOrderNotional": 20}}, "spec.risk.maxOrderNotional"),
        ({"exchange": {"id": "mtgox"}}, "spec.exchange.id: Unsupported value"),
        (
            {"capital": {"currency": "USDT", "stage": "huge", "stages": STAGES}},
            "capital.stage must be the name of one of capital.stages",
        ),
        ({"symbols": ["BTC/EUR"]}, "every symbol must be quoted in capital.currency"),
        ({"mode": "Live"}, "mode Live needs credentials"),
        (
            {
                "capital": {
                    "currency": "USDT",
                    "stage": "b",
                    "stages": [{"name": "b", "limit": "9"}, {"name": "a", "limit": "8"}],
                }
            },
            "from the smallest limit to the largest",
        ),
        ({"risk": {"maxOrderNotional": "20", "maxLeverage": "3"}}, "only spot trading is supported"),
        ({"killSwitch": {"controlPlaneTimeout": "soon"}}, "spec.killSwitch.controlPlaneTimeout"),
    ],
)
def test_refused_by_the_api_server_with_a_message(stack: Stack, desk: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandFailed, match=r".") as refused:
        stack.apply(build_bot("btc", desk, **changes))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"symbols": ["BTC/USDT", "NOPE/USDT"]}, "UnknownSymbol", "NOPE/USDT"),
        ({"strategy": {"name": "moonshot"}}, "UnknownStrategy", "sma-cross"),
        (
            {"strategy": {"name": "sma-cross", "parameters": {"fast": 2, "slow": 5, "fats": 3}}},
            "InvalidStrategyParameters",
            "did you mean fast",
        ),
        ({"risk": {"maxOrderNotional": "1"}}, "LimitsBelowVenueMinimum", "raise risk.maxOrderNotional"),
        ({"exchange": {"id": "kraken"}}, "UnsupportedExchange", "this version trades on binance"),
    ],
)
def test_stalled_with_a_reason_and_no_crash_loop(
    stack: Stack, desk: str, changes: dict[str, Any], reason: str, words: str
) -> None:
    stack.apply(build_bot("btc", desk, **changes))
    stalled = stack.wait(
        "Stalled", lambda: (c := stack.condition(desk, "btc", "Stalled")).get("status") == "True" and c
    )
    assert stalled["reason"] == reason
    assert words in stalled["message"]
    status = stack.pods(desk, "btc")[0]["status"]["containerStatuses"][0]
    assert status["restartCount"] == 0
    assert status["state"].get("running"), status
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready")["status"] == "True")


def test_wrong_edit_leaves_the_bot_on_its_last_good_configuration(stack: Stack, desk: str) -> None:
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    before = stack.trader(desk, "btc")
    candles = stack.wait("candles", lambda: stack.metrics(desk, "btc").get("market_candles_total"))

    stack.patch(desk, "btc", {"strategy": {"parameters": {"fast": 9, "slow": 3}}})
    stack.wait("Stalled", lambda: stack.condition(desk, "btc", "Stalled")["status"] == "True")
    after = stack.trader(desk, "btc")
    assert after["config"]["digest"] == before["config"]["digest"]
    assert after["config"]["accepted"] is False
    assert after["pod"] == before["pod"]
    assert after["state"] == "Active"
    stack.wait("more candles", lambda: stack.metrics(desk, "btc")["market_candles_total"] > candles)

    stack.patch(desk, "btc", {"strategy": {"parameters": {"fast": 2, "slow": 5}}})
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready")["status"] == "True")


def test_live_on_mainnet_is_refused_and_says_what_is_missing(stack: Stack, desk: str) -> None:
    """Suspended, because a pod of it would ask the real venue for its market: no test leaves the machine."""
    live = {"mode": "Live", "exchange": {"id": "binance", "network": "Mainnet"}, "credentials": {"secretName": "keys"}}
    stack.apply(build_bot("btc", desk, suspend=True, **live))
    eligible = stack.wait("an answer", lambda: stack.condition(desk, "btc", "LiveEligible"))
    assert (eligible["status"], eligible["reason"]) == ("False", "MainnetNotSupported")
    assert "Sandbox or Testnet" in eligible["message"]
    stack.wait(
        "a paper permit", lambda: stack.get("tb", "btc", desk)["status"].get("permit", {}).get("mode") == "Paper"
    )
    deployment = stack.get("deployment", "btc-trader", desk)["spec"]["template"]["spec"]
    assert "--book=paper" in deployment["containers"][0]["args"]
    assert not [volume for volume in deployment["volumes"] if "secret" in volume]

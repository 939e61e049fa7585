"""A drill by the plugin leaves a record with each step's time, and the operator tells its age; on real traders."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from datetime import datetime
from typing import Any

from support.live_bots import build_live, open_account
from support.stack import SYSTEM, Stack, build_bot

STEPS = ["Requested", "Acknowledged", "Stopped", "Released", "Active"]


def drill(stack: Stack, desk: str, name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tradingbot_plugin", "drill", name, "-n", desk, "--timeout", "120s", "-o", "json"],
        env=stack.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + stack.describe()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def record(stack: Stack, desk: str, name: str, drill_id: str) -> dict[str, Any]:
    review = stack.wait("a record", lambda: stack.get("tradingreview", f"{name}-drill-{drill_id}", desk))
    spec: dict[str, Any] = review["spec"]
    return spec


def ages(stack: Stack, desk: str) -> dict[str, float]:
    """By the bot's name, from the operator that leads."""
    (pod,) = stack.pods(SYSTEM)
    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/metrics", timeout=5) as answer:
        text = answer.read().decode()
    line = rf'^tradingbot_operator_drill_age_seconds{{bot="([^"]+)",namespace="{desk}"}} (\S+)$'
    return {bot: float(age) for bot, age in re.findall(line, text, re.MULTILINE)}


def check(stack: Stack, desk: str, told: dict[str, Any], spec: dict[str, Any]) -> None:
    """What the operator saw is what the plugin saw."""
    name, steps = told["name"], spec["steps"]
    assert (spec["kind"], spec["verdict"], spec["bot"], spec["stage"]) == ("Drill", "GO", name, "micro"), spec
    assert [each["step"] for each in steps] == STEPS
    assert spec["digest"] == stack.trader(desk, name)["config"]["digest"]
    times = [datetime.fromisoformat(each["at"]) for each in steps]
    assert times == sorted(times)
    since = [round((each - times[0]).total_seconds() * 1000) for each in times]
    assert all(abs(each["milliseconds"] - ms) <= 1 for each, ms in zip(steps, since, strict=True)), (steps, since)
    acknowledged = next(each["at"] for each in told["steps"] if each["step"] == "Acknowledged")
    assert steps[1]["at"] == acknowledged
    assert ages(stack, desk)[name] < 60


def test_paper_bots_drills_are_recorded_and_their_age_told(stack: Stack, desk: str) -> None:
    stack.apply(build_bot("btc", desk))
    stack.wait("a ready bot", lambda: stack.condition(desk, "btc", "Ready").get("status") == "True")
    assert ages(stack, desk) == {}
    ids = []
    for _ in range(2):
        told = drill(stack, desk, "btc")
        assert told["notes"] == [], "the operator has seen the bot stopped"
        check(stack, desk, told, record(stack, desk, "btc", told["drillId"]))
        ids.append(told["drillId"])
    found = json.loads(stack.kubectl("-n", desk, "get", "tbr", "-l", "tradingbot.dev/bot=btc", "-o", "json"))["items"]
    assert {each["metadata"]["name"] for each in found} == {f"btc-drill-{each}" for each in ids}
    assert len(found) == 2
    stack.kubectl("-n", desk, "delete", "tb", "btc", "--timeout=60s")
    stack.wait("no age of a bot that is gone", lambda: ages(stack, desk) == {})


def test_live_bot_of_the_sandbox_is_drilled_and_recorded(stack: Stack, desk: str) -> None:
    bot = open_account(stack, desk, "live")
    stack.put_keys(desk, "live-keys", bot.keys)
    stack.apply(build_live("live", desk))
    bot.wait_trading()
    told = drill(stack, desk, "live")
    check(stack, desk, told, record(stack, desk, "live", told["drillId"]))
    assert told["mode"] == "Live"
    bot.wait_trading()

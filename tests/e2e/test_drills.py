"""Drills by the clock: the chart's CronJob as a real Job, with its account's own token, on a bot that really trades."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from support.chart import CHART, NEWEST_KUBERNETES, Chart, chart_tool
from support.stack import SYSTEM, Stack, build_bot

RELEASE = "drills"
NAME = "drills-tradingbot-operator-drill"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:{NAME}"


@dataclass
class Drills:
    stack: Stack
    desk: str

    def run(self) -> tuple[dict[str, Any], str]:
        """A Job from the CronJob, as soon as it has ended: its status, and what the program said."""
        job = f"now-{self.desk}"
        self.stack.kubectl("-n", SYSTEM, "create", "job", job, f"--from=cronjob/{NAME}")

        def end() -> dict[str, Any] | None:
            status: dict[str, Any] = self.stack.get("job", job, SYSTEM).get("status", {})
            return status if status.get("succeeded") or status.get("failed") else None

        status = self.stack.wait("the end of the job", end, seconds=240)
        return status, self.stack.kubectl("-n", SYSTEM, "logs", f"job/{job}")

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        done = subprocess.run(
            [
                f"{self.stack.state}/bin/kubectl", "auth", "can-i", verb, resource, "-n", namespace, f"--as={ACCOUNT}",
            ],
            env=self.stack.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.strip() == "yes"


@pytest.fixture
def drills(stack: Stack, desk: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drills]:
    """What the chart makes for drills in this desk alone, beside the operator that is there."""
    chart = Chart(chart_tool("helm"), tmp_path_factory.mktemp("helm"))
    drill = {"enabled": True, "schedule": "0 0 29 2 *", "namespaces": [desk], "timeoutSeconds": 90}
    objects = chart.run(
        "template", RELEASE, CHART, "--namespace", SYSTEM, "--kube-version", NEWEST_KUBERNETES,
        "--show-only", "templates/drill.yaml", "-f", "-", values=yaml.safe_dump({"drill": drill}),
    )  # fmt: skip
    stack.kubectl("apply", "-f", "-", stdin=objects)
    yield Drills(stack, desk)
    stack.kubectl("delete", "--wait=false", "-f", "-", stdin=objects)


def ready(stack: Stack, desk: str, *names: str) -> None:
    for name in names:
        stack.apply(build_bot(name, desk))
    for name in names:
        stack.wait("an active bot", lambda name=name: stack.trader(desk, name).get("state") == "Active", seconds=120)


def test_job_stops_and_rearms_each_bot_and_leaves_out_what_does_not_trade(
    stack: Stack, desk: str, drills: Drills
) -> None:
    ready(stack, desk, "btc", "eth")
    stack.apply(build_bot("idle", desk, suspend=True))
    before = {name: stack.get("tb", name, desk)["metadata"]["generation"] for name in ("btc", "eth", "idle")}
    status, said = drills.run()
    assert status.get("succeeded") == 1, f"{said}\n{stack.describe()}"
    for name in ("btc", "eth"):
        bot = stack.get("tb", name, desk)
        switch, trader = bot["spec"]["killSwitch"], bot["status"]["trader"]
        assert (trader["state"], trader["latch"]["state"]) == ("Active", "Armed")
        assert bot["metadata"]["generation"] == before[name] + 2, "one patch to stop it, one to release it"
        assert switch["engaged"] is False
        assert switch["rearm"], "the latch that was released"
        assert f"{desk}/{name}: Acknowledged after" in said
        assert f"{desk}/{name}: drill passed" in said
    assert f"{desk}/idle: left out" in said
    assert stack.get("tb", "idle", desk)["metadata"]["generation"] == before["idle"]
    halts = json.loads(stack.kubectl("get", "tradinghalts", "-o", "json"))["items"]
    assert [halt for halt in halts if desk in halt["spec"].get("namespaces", [])] == []

    def records() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(stack.kubectl("-n", desk, "get", "tbr", "-o", "json"))["items"]
        return [each["spec"] for each in found]

    stack.wait("a record of each", lambda: len(records()) == 2)
    told = {each["bot"]: (each["kind"], each["verdict"], len(each["steps"])) for each in records()}
    assert told == {"btc": ("Drill", "GO", 5), "eth": ("Drill", "GO", 5)}


def test_job_whose_account_may_not_rearm_fails_and_leaves_one_bot_stopped(
    stack: Stack, desk: str, drills: Drills
) -> None:
    """The admission policy asks for the verb; the second bot trades on."""
    ready(stack, desk, "btc", "eth")
    role = next(each for each in drills_roles(stack, desk) if each["metadata"]["name"].endswith(":drill"))
    role["rules"][0]["verbs"].remove("rearm")
    stack.apply(role)
    stack.wait("the verb is gone", lambda: not drills.may("rearm", "tradingbots.tradingbot.dev", desk))
    status, said = drills.run()
    assert status.get("failed") == 1, said
    assert "verb rearm" in said
    assert stack.trader(desk, "btc")["latch"]["state"] == "Stopped"
    assert stack.trader(desk, "eth")["state"] == "Active"
    assert f"{desk}/eth: left out: not begun" in said


def drills_roles(stack: Stack, desk: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.kubectl("-n", desk, "get", "roles", "-o", "json"))["items"]
    return found


@pytest.mark.parametrize("verb", ["create", "update", "delete", "golive", "promote", "grant", "patch"])
def test_account_may_stop_and_rearm_in_its_namespace_and_nothing_else(
    stack: Stack, desk: str, drills: Drills, verb: str
) -> None:
    bots = "tradingbots.tradingbot.dev"
    stack.wait("the role is there", lambda: drills.may("rearm", bots, desk))
    assert drills.may(verb, bots, desk) == (verb == "patch")
    assert not drills.may(verb, bots, "default")
    assert not drills.may(verb, "tradinghalts.tradingbot.dev", desk)
    assert not drills.may(verb, "secrets", desk)

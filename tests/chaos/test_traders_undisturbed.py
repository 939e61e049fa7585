"""Two operators of the chart, real traders on the process node: the leading operator is killed, the traders are not."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import urllib.request
from itertools import pairwise
from typing import Any

import pytest

from support.stack import SYSTEM, CommandFailed, Stack, build_bot
from tradingbot_operator.timestamps import parse_time_ns

pytestmark = [pytest.mark.control_plane, pytest.mark.soak, pytest.mark.timeout(900)]
Raw = dict[str, Any]
BOTS = ("btc", "eth", "sol")
KILLS = 3
TAKEOVER_SECONDS = 120.0
"""15 s of the Lease, and a start on a busy machine."""


def leads(pod: Raw) -> bool:
    try:
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/metrics", timeout=5) as answer:
            return bool(re.search(r"^tradingbot_operator_leader 1\.0$", answer.read().decode(), re.MULTILINE))
    except (OSError, KeyError):
        return False


def find_leader(stack: Stack) -> Raw | None:
    return next((pod for pod in stack.pods(SYSTEM) if leads(pod)), None)


def is_ready(pod: Raw) -> bool:
    return all(each["ready"] for each in pod["status"].get("containerStatuses", [{"ready": False}]))


def kill(stack: Stack, pod: Raw) -> None:
    """By the process id that the node has recorded for it."""
    for file in (stack.state / "node").rglob("*.json"):
        record = json.loads(file.read_text())
        if (record.get("namespace"), record.get("name")) == (SYSTEM, pod["metadata"]["name"]):
            os.kill(int(record["containers"][0]["running"]["pid"]), signal.SIGKILL)
            return
    raise AssertionError(f"the node has no record of {pod['metadata']['name']}")


class LeaseHistories:
    """Of the bots' Leases: each different spec that was seen, in order."""

    def __init__(self, stack: Stack, namespace: str) -> None:
        self.seen: dict[str, list[Raw]] = {}
        self._stack, self._namespace = stack, namespace
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> LeaseHistories:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(90)

    def _look(self) -> None:
        while not self._is_over.wait(0.5):
            try:
                leases = json.loads(self._stack.kubectl("-n", self._namespace, "get", "leases", "-o", "json"))["items"]
            except CommandFailed:
                continue
            for lease in leases:
                history = self.seen.setdefault(lease["metadata"]["name"], [])
                if not history or history[-1] != lease["spec"]:
                    history.append(lease["spec"])

    def two_holders(self) -> list[str]:
        """Leases that another one took before the holder had given it back or its duration was over."""
        found = []
        for name, history in self.seen.items():
            for before, after in pairwise(history):
                holders = before.get("holderIdentity"), after.get("holderIdentity")
                if all(holders) and holders[0] != holders[1]:
                    pause_ns = (parse_time_ns(after["renewTime"]) or 0) - (parse_time_ns(before["renewTime"]) or 0)
                    if pause_ns < before["leaseDurationSeconds"] * 1_000_000_000:
                        found.append(f"{name}: {before} -> {after}")
        return found


def test_traders_keep_pod_and_lease_while_operators_die(stack: Stack, desk: str) -> None:
    stack.kubectl("-n", SYSTEM, "scale", "deployment", "tradingbot-operator", "--replicas=2")
    for bot in BOTS:
        stack.apply(build_bot(bot, desk))
    for bot in BOTS:
        stack.wait(
            "a ready bot", lambda bot=bot: stack.condition(desk, bot, "Ready").get("status") == "True", seconds=180.0
        )
    pods = {bot: [pod["metadata"]["uid"] for pod in stack.pods(desk, bot)] for bot in BOTS}
    leases = {bot: stack.get("lease", f"{bot}-trader", desk)["spec"] for bot in BOTS}
    with LeaseHistories(stack, desk) as histories:
        for number in range(KILLS):
            stack.wait(
                "a leader and a standby, both ready",
                lambda: find_leader(stack) and [is_ready(pod) for pod in stack.pods(SYSTEM)] == [True, True],
                seconds=TAKEOVER_SECONDS,
            )
            leader = stack.wait("a leader", lambda: find_leader(stack))
            stack.patch(desk, BOTS[number], {"risk": {"maxOrderNotional": str(10 + number)}})
            kill(stack, leader)
            stack.kubectl("-n", desk, "delete", "service", f"{BOTS[number]}-trader", "--ignore-not-found")
            stack.patch(desk, BOTS[number], {"capital": {"stage": "small"}})
            stack.wait(
                "the successor reconciles",
                lambda number=number: (
                    stack.get("tb", BOTS[number], desk)["status"]["permit"]["stage"] == "small"
                    and stack.get("service", f"{BOTS[number]}-trader", desk)
                ),
                seconds=TAKEOVER_SECONDS,
            )
    for bot in BOTS:
        now = stack.pods(desk, bot)
        assert [pod["metadata"]["uid"] for pod in now] == pods[bot], f"{bot} got another pod"
        assert [each["restartCount"] for pod in now for each in pod["status"]["containerStatuses"]] == [0]
        lease = stack.get("lease", f"{bot}-trader", desk)["spec"]
        for field in ("holderIdentity", "leaseTransitions", "acquireTime"):
            assert lease.get(field) == leases[bot].get(field), f"{bot}: its Lease changed hands"
    assert set(histories.seen) == {f"{bot}-trader" for bot in BOTS}
    assert histories.two_holders() == []

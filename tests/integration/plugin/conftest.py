"""The plugin as a process against a real API server without any operator. Traders are played: each writes
`status.trader` as the trader's own field manager, as soon as it has looked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.plugin import Ended
from support.polling import until
from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

Raw = dict[str, Any]
ROOT = Path(__file__).parents[3]
APPLY = "application/apply-patch+yaml"
API = "/apis/tradingbot.dev/v1alpha1"
HALTS = f"{API}/tradinghalts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def build_bot(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Raw:
    return {
        "apiVersion": "tradingbot.dev/v1alpha1",
        "kind": "TradingBot",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "exchange": {"id": "binance", "network": "Sandbox"},
            "symbols": ["BTC/USDT"],
            "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": 5, "slow": "20"}},
            "capital": {"currency": "USDT", "stage": "micro", "stages": [{"name": "micro", "limit": "50"}]},
            "risk": {"maxOrderNotional": "20"},
        }
        | spec,
    }


@dataclass
class Desk:
    """One namespace, with the administrator's eyes."""

    admin: ApiClient
    namespace: str

    def path(self, name: str = "") -> str:
        return f"{API}/namespaces/{self.namespace}/tradingbots" + (f"/{name}" if name else "")

    def create(self, name: str = "btc", labels: dict[str, str] | None = None, **spec: Any) -> Raw:
        answer = self.admin.create(self.path() + "?fieldValidation=Strict", build_bot(name, labels, **spec))
        assert answer.is_success, answer.body
        return answer.body

    def bot(self, name: str = "btc") -> Raw:
        answer = self.admin.get(self.path(name))
        assert answer.is_success, answer.body
        return answer.body

    def latch(self, name: str = "btc") -> Raw:
        latch: Raw = self.bot(name).get("status", {}).get("trader", {}).get("latch", {})
        return latch

    def patch(self, switch: Raw, name: str = "btc") -> Raw:
        answer = self.admin.merge(self.path(name), {"spec": {"killSwitch": switch}})
        assert answer.is_success, answer.body
        return answer.body

    def halts(self) -> list[Raw]:
        """For this namespace."""
        items = self.admin.get(HALTS).body["items"]
        return [halt for halt in items if self.namespace in (halt["spec"].get("namespaces") or [])]

    def report(self, bot: Raw, latch: Raw, *, uid: str = "", generation: int | None = None) -> None:
        """What its trader says."""
        trader = {
            "uid": uid or bot["metadata"]["uid"],
            "pod": "pod-1",
            "version": "0.1.0",
            "mode": "Paper",
            "state": "ReduceOnly" if latch["state"] != "Armed" else "Active",
            "startedAt": now(),
            "heartbeatAt": now(),
            "epoch": 1,
            "config": {
                "generation": bot["metadata"]["generation"] if generation is None else generation,
                "accepted": True,
                "reason": "Accepted",
            },
            "latch": {key: value for key, value in latch.items() if value is not None},
        }
        answer = self.admin.request(
            "PATCH",
            f"{self.path(bot['metadata']['name'])}/status?fieldManager=tradingbot-trader&force=true",
            {"apiVersion": bot["apiVersion"], "kind": "TradingBot", "status": {"trader": trader}},
            content_type=APPLY,
        )
        assert answer.is_success or answer.status == 404, answer.body


class Trader(threading.Thread):
    """Plays the trader of one bot: latches what it sees, keeps it, releases it by its id when nobody asks any more."""

    def __init__(self, desk: Desk, name: str = "btc", *, looks_every_seconds: float = 0.02, **report: Any) -> None:
        """`report`: what its latch says besides, or instead."""
        super().__init__(daemon=True)
        self.desk, self.bot_name, self.every, self.more = desk, name, looks_every_seconds, report
        self.history: list[tuple[str, str]] = []
        """latched or released, and the id."""
        self.error: BaseException | None = None
        self._latch: Raw = {"state": "Armed"}
        self._told: tuple[Any, ...] = ()
        self._end = threading.Event()

    def run(self) -> None:
        try:
            while not self._end.wait(self.every):
                self._look()
        except BaseException as error:  # noqa: BLE001  a thread's error is raised by `end`
            self.error = error

    def end(self) -> None:
        self._end.set()
        self.join()
        if self.error is not None:
            raise self.error

    def _look(self) -> None:
        answer = self.desk.admin.get(self.desk.path(self.bot_name))
        if not answer.is_success:
            return
        bot, switch = answer.body, answer.body["spec"]["killSwitch"]
        asking = [("KillSwitch", switch["action"])] if switch["engaged"] else []
        asking += [
            (f"TradingHalt/{halt['metadata']['name']}", halt["spec"]["action"])
            for halt in self.desk.halts()
            if self.bot_name in (halt["spec"]["bots"] or [self.bot_name])
        ]
        is_set = self._latch["state"] != "Armed"
        if asking and not is_set:
            self._latch = {"state": "Stopped", "id": str(uuid.uuid4()), "action": asking[0][1]}
            self._latch |= {"source": asking[0][0], "engagedAt": now(), "acknowledgedAt": now(), "flat": "True"}
            self.history.append(("latched", self._latch["id"]))
        elif not asking and is_set and switch["rearm"] == self._latch["id"]:
            self.history.append(("released", self._latch["id"]))
            self._latch = {"state": "Armed"}
        if self._latch["state"] != "Armed":
            if "Flatten" in {action for _, action in asking}:
                self._latch |= {"action": "Flatten"}
            self._latch |= self.more | {
                "sources": [
                    {"source": each, "action": action, "since": now(), "active": True} for each, action in asking
                ]
            }
        told = (
            bot["metadata"]["generation"],
            self._latch["state"],
            self._latch.get("id"),
            self._latch.get("action"),
            asking,
        )
        if told != self._told:
            self.desk.report(bot, self._latch)
            self._told = told


@dataclass
class Plugin:
    """Runs `kubectl tradingbot` as a process."""

    kubeconfig: Path
    namespace: str
    traders: list[Trader] = field(default_factory=list)

    def command(self, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "tradingbot_plugin", "--kubeconfig", str(self.kubeconfig)]
        return [*command, "-n", self.namespace, *arguments]

    def run(self, *arguments: str, environ: dict[str, str] | None = None, stdin: str = "") -> Ended:
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=120, check=False,
            env=os.environ | (environ or {}),
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)


def is_established(admin: ApiClient, place: str) -> bool:
    conditions = admin.get(place).body.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def is_listed(admin: ApiClient, kind: str) -> bool:
    try:
        return admin.get(f"{API}/{kind}").is_success
    except ValueError:  # a plain "404 page not found", until the API server serves the group
        return False


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane) -> ApiClient:
    """With the CRDs."""
    admin = control_plane.admin
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        place = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{manifest['metadata']['name']}"
        answer = admin.request("PATCH", f"{place}?fieldManager=plugin-tests&force=true", manifest, content_type=APPLY)
        assert answer.is_success, answer.body
        until(f"{manifest['metadata']['name']} is established", lambda place=place: is_established(admin, place))  # type: ignore[misc]
    for kind in ("tradingbots", "tradinghalts"):
        until(f"{kind} can be listed", lambda kind=kind: is_listed(admin, kind))  # type: ignore[misc]
    return admin


@pytest.fixture
def desk(api: ApiClient, namespace: str) -> Iterator[Desk]:
    desk = Desk(api, namespace)
    yield desk
    for halt in desk.halts():
        api.delete(f"{HALTS}/{halt['metadata']['name']}")


@pytest.fixture
def plugin(control_plane: ControlPlane, desk: Desk) -> Plugin:
    return Plugin(control_plane.kubeconfig, desk.namespace)


@pytest.fixture
def play(desk: Desk) -> Iterator[Callable[..., Trader]]:
    """Starts the trader of a bot, which ends with the test."""
    traders: list[Trader] = []

    def start(name: str = "btc", **how: Any) -> Trader:
        trader = Trader(desk, name, **how)
        trader.start()
        traders.append(trader)
        until(f"{name} reports", lambda: desk.latch(name))
        return trader

    yield start
    for trader in traders:
        trader.end()


@pytest.fixture
def allow(api: ApiClient) -> Iterator[Callable[[str, Sequence[Raw]], str]]:
    """Gives a new user these rights in the whole cluster; its name."""
    names: list[str] = []

    def make(what: str, rules: Sequence[Raw]) -> str:
        user = f"{what}-{uuid.uuid4().hex[:6]}"
        names.append(user)
        role = {"metadata": {"name": user}, "rules": list(rules)}
        assert api.create(f"{RBAC}/clusterroles", role).is_success
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
        binding = {"metadata": {"name": user}, "roleRef": reference, "subjects": subjects}
        assert api.create(f"{RBAC}/clusterrolebindings", binding).is_success
        return user

    yield make
    for name in names:
        api.delete(f"{RBAC}/clusterrolebindings/{name}")
        api.delete(f"{RBAC}/clusterroles/{name}")


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return until

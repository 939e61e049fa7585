"""Builders of bots, reports and children, with defaults that are valid, and a cluster in memory for plans."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from support.changes import changed
from tradingbot_api.labels import FINALIZER
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_operator import kinds
from tradingbot_operator.children.deployment import TEMPLATE_HASH
from tradingbot_operator.children.platform import Addresses, Platform
from tradingbot_operator.plan.guard import GuardReport
from tradingbot_operator.plan.permit import Clearance
from tradingbot_operator.plan.plan import Observation, Plan, plan
from tradingbot_operator.timestamps import SECOND_NS, format_time

Raw = dict[str, Any]
NOW_NS = 1_750_000_000 * SECOND_NS
UID = "11111111-2222-3333-4444-555555555555"
PASSED = {"passed": True, "at": format_time(NOW_NS)}
LIVE = {"spec.mode": "Live", "spec.credentials": {"secretName": "keys"}}
_CLEAR = Clearance(GuardReport(()))
_PLATFORM = Platform(
    installation="prod-1",
    trader_image="registry.example/tradingbot-trader:1.2.3",
    trader_image_pull_policy="IfNotPresent",
    trader_requests={"cpu": "50m", "memory": "192Mi"},
    trader_limits={"memory": "512Mi"},
    storage_class="",
    storage_access_mode="ReadWriteOnce",
    addresses={
        (ExchangeId.BINANCE, Network.SANDBOX): Addresses(rest="http://venue:8080", stream="ws://venue:8080/ws"),
        (ExchangeId.BINANCE, Network.TESTNET): Addresses(rest="http://test:8080", stream="ws://test:8080/ws"),
    },
)
_BOT: Raw = {
    "apiVersion": "tradingbot.dev/v1alpha1",
    "kind": "TradingBot",
    "metadata": {"name": "btc", "namespace": "desk-a", "uid": UID, "generation": 1, "resourceVersion": "10"},
    "spec": {
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": ["BTC/USDT"],
        "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": 5, "slow": 20}},
        "capital": {
            "currency": "USDT",
            "stage": "micro",
            "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
        },
        "risk": {"maxOrderNotional": "20"},
    },
}


def build_bot(changes: Raw | None = None) -> Raw:
    return changed(_BOT, changes)


def build_report(
    *,
    generation: int = 1,
    accepted: bool = True,
    digest: str = "",
    at_ns: int = NOW_NS,
    state: str = "Active",
    uid: str = UID,
    **more: Any,
) -> Raw:
    config = {"generation": generation, "accepted": accepted, "digest": digest, "reason": "Accepted"}
    if not accepted:
        config |= {"reason": "UnknownSymbol", "message": "BTC/XYZ is not traded at binance: correct spec.symbols"}
    return {
        "uid": uid,
        "pod": "btc-trader-1",
        "version": "0.1.0",
        "mode": "Paper",
        "state": state,
        "startedAt": format_time(at_ns),
        "heartbeatAt": format_time(at_ns),
        "epoch": 1,
        "openPositions": 0,
        "openOrders": 0,
        "config": config,
        **more,
    }


def as_stored(kind: kinds.Kind, manifest: Raw, before: Raw | None) -> Raw:
    """What the API server makes of an apply: defaults, other spellings, fields of its own, fields of others kept."""
    stored = _merge(copy.deepcopy(before or {}), copy.deepcopy(manifest))
    metadata = stored["metadata"]
    metadata.setdefault("uid", str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind.name}/{metadata['name']}")))
    metadata["creationTimestamp"] = "2025-06-15T00:00:00Z"
    if kind == kinds.DEPLOYMENT:
        metadata["generation"] = (before or {}).get("metadata", {}).get("generation", 0) + 1
        stored["spec"].setdefault("progressDeadlineSeconds", 600)
        pod = stored["spec"]["template"]["spec"]
        pod |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"}
        pod["containers"][0].setdefault("terminationMessagePath", "/dev/termination-log")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            pod["containers"][0][probe] |= {"successThreshold": 1}
            pod["containers"][0][probe]["httpGet"] |= {"scheme": "HTTP"}
        for variable in pod["containers"][0]["env"]:
            if "valueFrom" not in variable:
                continue
            variable["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    if kind == kinds.SERVICE:
        stored["spec"] |= {"type": "ClusterIP", "sessionAffinity": "None", "clusterIPs": ["None"]}
    if kind == kinds.NETWORK_POLICY:
        stored["spec"] = {part: value for part, value in stored["spec"].items() if value != []}
    if kind == kinds.EXTERNAL_SECRET:
        extract = stored["spec"]["dataFrom"][0]["extract"]
        extract |= {"conversionStrategy": "Default", "decodingStrategy": "None", "metadataPolicy": "None"}
    if kind == kinds.VOLUME:
        requests = stored["spec"]["resources"]["requests"]
        requests["storage"] = {"1024Mi": "1Gi"}.get(requests["storage"], requests["storage"])
        stored["spec"] |= {"volumeMode": "Filesystem"}
    return stored


def _merge(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merge(old.get(key), value) for key, value in new.items()}
    return new


@dataclass
class Cluster:
    """One bot and what is around it."""

    bot: Raw
    platform: Platform = _PLATFORM
    now_ns: int = NOW_NS
    children: dict[kinds.Kind, Raw | None] = field(default_factory=dict)
    """Of the optional kinds those that are given: the API server has no others."""
    writes: int = 0
    clearance: Clearance = _CLEAR
    halts: list[Raw] = field(default_factory=list)
    asked: list[Raw] = field(default_factory=list)
    """Halts that have matched the bot since its last plan; a test takes them away."""
    pod_template: str = ""
    """Of the pod that is up, and told by its trader; empty: an older trader."""

    def __post_init__(self) -> None:
        self.children = dict.fromkeys(kinds.BUILT_IN) | self.children

    def plan(self) -> Plan:
        """As the reconciler asks: with a clearance where one is wanted."""
        observation = Observation(self.bot, self.children, halts=tuple(self.halts), asked=tuple(self.asked))
        todo = plan(observation, self.platform, self.now_ns)
        if not todo.asks_clearance:
            return todo
        return plan(replace(observation, clearance=self.clearance), self.platform, self.now_ns)

    def carry_out(self, todo: Plan) -> None:
        if todo.finalizer is not None:
            self.bot["metadata"]["finalizers"] = [FINALIZER] if todo.finalizer else []
        for delete in todo.deletes:
            self.children[delete.kind] = None
        for apply in todo.applies:
            before = self.children[apply.kind]
            assert (before is None) == apply.is_new
            self.children[apply.kind] = as_stored(apply.kind, apply.manifest, before)
        if todo.status is not None:
            status = dict(self.bot.get("status") or {})
            for part in ("observedGeneration", "phase", "conditions", "killSwitch", "permit"):
                status.pop(part, None)
            self.bot["status"] = status | copy.deepcopy(todo.status)
        self.writes += len(todo.applies) + len(todo.deletes) + (todo.status is not None) + (todo.finalizer is not None)

    def settle(self, rounds: int = 4) -> Cluster:
        for _ in range(rounds):
            todo = self.plan()
            if todo.is_empty:
                return self
            self.carry_out(todo)
        raise AssertionError(f"the plan does not converge: {self.plan()}")

    def edit(self, changes: Raw) -> Cluster:
        """A person's patch: the generation moves on."""
        for path, value in changes.items():
            place: Any = self.bot
            *parents, last = path.split(".")
            for key in parents:
                place = place.setdefault(key, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        self.bot["metadata"]["generation"] += 1
        return self

    def report(self, **report: Any) -> Cluster:
        """The trader's own part of the status."""
        digest = report.pop("digest", None)
        if digest is None:
            digest = (self.status.get("permit") or {}).get("digest", "")
        report.setdefault("at_ns", self.now_ns)
        report.setdefault("template", self.pod_template)
        report.setdefault("generation", self.bot["metadata"]["generation"])
        self.bot.setdefault("status", {})["trader"] = build_report(digest=digest, **report)
        return self

    def report_live(self, **report: Any) -> Cluster:
        """What a live trader reports that holds nothing and has passed its preflight."""
        permit = self.status.get("permit") or {}
        live = {
            "mode": "Live",
            "limit": permit.get("limit", "0") if permit.get("mode") == "Live" else "0",
            "state": "Active" if permit.get("mode") == "Live" else "ReduceOnly",
            "openPositions": 0,
            "openOrders": 0,
            "unresolvedOrders": 0,
            "digest": "v1:live",
            "preflight": PASSED,
            "account": {"fingerprint": "0123456789ab"},
        }
        if (reason := self._drains_for()) and "drain" not in report:
            live["drain"] = {"reason": reason, "since": format_time(self.now_ns), "done": True, "orders": []}
        return self.report(**(live | report))

    def _drains_for(self) -> str:
        if self.bot["metadata"].get("deletionTimestamp"):
            return "Deleting"
        if self.bot["spec"].get("suspend"):
            return "Suspended"
        return "LeavingLive" if self.bot["spec"].get("mode", "Paper") == "Paper" else ""

    @property
    def arguments(self) -> list[str]:
        """Of the trader's container, as it stands in the Deployment."""
        deployment = self.children[kinds.DEPLOYMENT]
        assert deployment is not None
        arguments: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        return arguments

    @property
    def book(self) -> str:
        """Which book the pod trades."""
        (book,) = (each.removeprefix("--book=") for each in self.arguments if each.startswith("--book="))
        return book

    @property
    def keys(self) -> list[str]:
        """Secrets that the pod mounts."""
        deployment = self.children[kinds.DEPLOYMENT]
        assert deployment is not None
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        return [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]

    @property
    def permitted(self) -> str:
        """Mode of the permit; empty when there is none."""
        mode: str = (self.status.get("permit") or {}).get("mode", "")
        return mode

    def make_available(self) -> Cluster:
        deployment = self.children[kinds.DEPLOYMENT]
        assert deployment is not None
        self.pod_template = deployment["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH]
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": 1,
            "conditions": [
                {"type": "Available", "status": "True", "lastTransitionTime": format_time(self.now_ns)},
            ],
        }
        return self

    def wait(self, seconds: float) -> Cluster:
        self.now_ns += int(seconds * SECOND_NS)
        return self

    @property
    def status(self) -> Raw:
        return self.bot.get("status") or {}

    def condition(self, kind: str) -> Raw:
        return next(item for item in self.status["conditions"] if item["type"] == kind)

    def verdict(self, kind: str) -> tuple[str, str]:
        condition = self.condition(kind)
        return condition["status"], condition["reason"]


@pytest.fixture(scope="session")
def make_bot() -> Callable[..., Raw]:
    return build_bot


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Raw]:
    return build_report


@pytest.fixture(scope="session")
def store_as() -> Callable[..., Raw]:
    return as_stored


@pytest.fixture(scope="session")
def platform() -> Platform:
    return _PLATFORM


@pytest.fixture(scope="session")
def make_cluster() -> Callable[..., Cluster]:
    """A cluster with one bot; `changes` as in `make_bot`, the rest as fields of the cluster or of its platform."""

    def build(changes: Raw | None = None, *, settings: Raw | None = None, **fields: Any) -> Cluster:
        return Cluster(build_bot(changes), platform=replace(_PLATFORM, **(settings or {})), **fields)

    return build


@pytest.fixture(scope="session")
def make_running(make_cluster: Callable[..., Cluster]) -> Callable[..., Cluster]:
    """A cluster whose bot trades."""

    def build(changes: Raw | None = None, **fields: Any) -> Cluster:
        cluster = make_cluster(changes, **fields).settle()
        return cluster.make_available().report().settle()

    return build


@pytest.fixture(scope="session")
def make_live(make_cluster: Callable[..., Cluster]) -> Callable[..., Cluster]:
    """A cluster whose bot trades live on the sandbox."""

    def build(changes: Raw | None = None, **fields: Any) -> Cluster:
        cluster = make_cluster(LIVE | (changes or {}), **fields).settle()
        cluster.make_available().report_live().settle()
        return cluster.report_live(digest=cluster.status["permit"]["digest"]).settle()

    return build

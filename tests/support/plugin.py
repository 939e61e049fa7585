"""For tests of the kubectl plugin: bots as the API server gives them, an API server in memory, a clock, and traders."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tradingbot_plugin.errors import AlreadyThere, ApiError, Invalid, NotFound
from tradingbot_plugin.kube import Listing
from tradingbot_plugin.view import Raw, Ref

BTC = Ref("desk", "btc")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AT = "2026-01-02T03:04:05.000000Z"
LATCH = "0b6e5f3c-0000-4000-8000-000000000001"


def build_latch(**changes: Any) -> Raw:
    """A stop that is proved."""
    return {
        "state": "Stopped",
        "id": LATCH,
        "action": "CancelOrders",
        "source": "KillSwitch",
        "reason": "drill",
        "engagedAt": AT,
        "acknowledgedAt": AT,
        "ordersCancelled": 1,
        "flat": "False",
    } | changes


def build_trader(uid: str = "u-1", *, latch: Raw | None = None, **changes: Any) -> Raw:
    return {
        "uid": uid,
        "mode": "Paper",
        "state": "Active",
        "heartbeatAt": AT,
        "config": {"generation": 1, "accepted": True, "reason": "Accepted"},
        "limit": "50",
        "stage": "micro",
        "openPositions": 0,
        "openOrders": 0,
        "latch": latch or {"state": "Armed"},
    } | changes


def build_bot(ref: Ref = BTC, *, trader: Raw | None = None, switch: Raw | None = None, **spec: Any) -> Raw:
    """A paper bot on the sandbox whose trader reports."""
    uid = f"u-{ref.name}" if ref != BTC else "u-1"
    return {
        "apiVersion": "tradingbot.dev/v1alpha1",
        "kind": "TradingBot",
        "metadata": {"namespace": ref.namespace, "name": ref.name, "uid": uid, "generation": 1, "resourceVersion": "7"},
        "spec": {
            "mode": "Paper",
            "exchange": {"id": "binance", "network": "Sandbox"},
            "capital": {"currency": "USDT", "stage": "micro"},
            "killSwitch": {"engaged": False, "action": "CancelOrders", "reason": "", "rearm": ""} | (switch or {}),
        }
        | spec,
        "status": {
            "permit": {"uid": uid, "mode": "Paper", "stage": "micro", "limit": "50"},
            "trader": build_trader(uid) if trader is None else trader,
        },
    }


class Time:
    """Stands still until somebody sleeps; then the world does what it does meanwhile."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.meanwhile: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    def monotonic(self) -> float:
        return self.passed

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.passed += seconds
            for each in self.meanwhile:
                each()


class Server:
    """The API server, as far as the plugin asks it: merge and JSON patches, generations, names that are taken."""

    namespace = BTC.namespace

    def __init__(self, *bots: Raw) -> None:
        self.bots: dict[Ref, Raw] = {}
        self.halts: dict[str, Raw] = {}
        self.refusals: dict[str, list[ApiError] | ApiError] = {}
        """By method: always that error, or these, one a call."""
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}
        """By method: what somebody else does just before that call, once."""
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        for bot in bots:
            self.put(bot)

    def put(self, bot: Raw) -> None:
        self.bots[Ref(bot["metadata"]["namespace"], bot["metadata"]["name"])] = bot

    def switch(self, ref: Ref = BTC) -> Raw:
        switch: Raw = self.bots[ref]["spec"]["killSwitch"]
        return switch

    def get_bot(self, ref: Ref) -> Raw:
        with self._call("get_bot"):
            return copy.deepcopy(self._bot(ref))

    def list_bots(self, namespace: str | None, selector: str = "") -> Listing:
        with self._call("list_bots"):
            wanted = dict(part.split("=") for part in selector.split(",") if part)
            found = [
                copy.deepcopy(bot)
                for ref, bot in self.bots.items()
                if namespace in (None, ref.namespace)
                and all(bot["metadata"].get("labels", {}).get(key) == value for key, value in wanted.items())
            ]
            return Listing(found, "7")

    def watch_bots(self, *_: object) -> Iterator[Raw]:
        raise AssertionError("watches are tried on a real API server")

    def merge_bot(self, ref: Ref, patch: Raw) -> Raw:
        with self._call("merge_bot"):
            bot = self._bot(ref)
            before = copy.deepcopy(bot["spec"])
            for field, value in patch["spec"].items():
                bot["spec"][field] = bot["spec"].get(field, {}) | value
            bot["metadata"]["generation"] += bot["spec"] != before
            annotations = patch.get("metadata", {}).get("annotations", {})
            bot["metadata"]["annotations"] = bot["metadata"].get("annotations", {}) | annotations
            return copy.deepcopy(bot)

    def patch_bot(self, ref: Ref, operations: Sequence[Raw]) -> Raw:
        with self._call("patch_bot"):
            bot = self._bot(ref)
            before = copy.deepcopy(bot["spec"])
            for operation in operations:
                *parents, last = operation["path"].strip("/").split("/")
                place = bot
                for key in parents:
                    place = place[key]
                if operation["op"] == "test" and place.get(last) != operation["value"]:
                    raise Invalid("patch", "the test failed")
            for operation in operations:
                *parents, last = operation["path"].strip("/").split("/")
                place = bot
                for key in parents:
                    place = place[key]
                if operation["op"] == "add":
                    place[last] = operation["value"]
            bot["metadata"]["generation"] += bot["spec"] != before
            return copy.deepcopy(bot)

    def create_halt(self, halt: Raw) -> Raw:
        with self._call("create_halt"):
            made = copy.deepcopy(halt)
            number = next(self._numbers)
            name = made["metadata"].setdefault("name", f"{made['metadata'].pop('generateName', '')}x{number}")
            if name in self.halts:
                raise AlreadyThere("create", "it exists")
            made["metadata"]["uid"] = f"h-{number}"
            self.halts[name] = made
            return copy.deepcopy(made)

    def get_halt(self, name: str) -> Raw:
        with self._call("get_halt"):
            if name not in self.halts:
                raise NotFound("get", "not found")
            return copy.deepcopy(self.halts[name])

    def list_halts(self) -> list[Raw]:
        with self._call("list_halts"):
            return copy.deepcopy(list(self.halts.values()))

    def delete_halt(self, name: str, uid: str) -> None:
        with self._call("delete_halt"):
            if self.halts.get(name, {}).get("metadata", {}).get("uid") != uid:
                raise NotFound("delete", "not found")
            del self.halts[name]

    def close(self) -> None:
        self.calls.append("close")

    def _bot(self, ref: Ref) -> Raw:
        if ref not in self.bots:
            raise NotFound(f"get bot {ref}", "not found")
        return self.bots[ref]

    def _call(self, method: str) -> threading.RLock:
        self.calls.append(method)
        if meanwhile := self.before.pop(method, None):
            meanwhile()
        refusal = self.refusals.get(method)
        if isinstance(refusal, list):
            refusal = refusal.pop(0) if refusal else None
        if refusal is not None:
            raise refusal
        return self._lock


class Trader:
    """A bot's own trader as far as its status goes: latches, escalates, stops at once, releases by its id."""

    def __init__(self, server: Server, ref: Ref = BTC) -> None:
        self._server, self._ref = server, ref
        self.latches = 0
        self.report: Raw = {}
        """What its latch is to say besides."""

    def __call__(self) -> None:
        bot = self._server.bots.get(self._ref)
        if bot is None:
            return
        switch, generation = bot["spec"]["killSwitch"], bot["metadata"]["generation"]
        asking = [("KillSwitch", switch["action"])] if switch["engaged"] else []
        asking += [
            (f"TradingHalt/{name}", halt["spec"]["action"])
            for name, halt in self._server.halts.items()
            if self._ref.name in (halt["spec"].get("bots") or [self._ref.name])
            and self._ref.namespace in (halt["spec"].get("namespaces") or [self._ref.namespace])
        ]
        trader = bot["status"]["trader"]
        latch = trader.get("latch", {})
        is_set = latch.get("state") != "Armed"
        if asking:
            if not is_set:
                self.latches += 1
                latch = build_latch(id=f"{LATCH[:-1]}{self.latches}", source=asking[0][0], flat="False")
            if "Flatten" in [latch["action"], *(action for _, action in asking)]:
                latch |= {"action": "Flatten", "flat": "True"}
            sources = [{"source": source, "action": a, "since": AT, "active": True} for source, a in asking]
            latch |= {"sources": sources} | self.report
        elif is_set and switch["rearm"] == latch["id"]:
            latch = {"state": "Armed"}
        elif is_set:
            latch |= {"sources": [each | {"active": False} for each in latch.get("sources", [])]}
        state = "Active" if latch["state"] == "Armed" else "ReduceOnly"
        bot["status"]["trader"] = trader | {
            "uid": bot["metadata"]["uid"],
            "state": state,
            "latch": latch,
            "config": {"generation": generation},
        }


@dataclass(frozen=True, slots=True)
class Ended:
    """A process of the plugin that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def outcomes(self) -> dict[str, str]:
        """Of `kill -o json`, by the bot's name."""
        return {bot["name"]: bot["outcome"] for bot in self.json["bots"]}


def run_plugin(environ: Mapping[str, str], *arguments: str, seconds: float = 300) -> Ended:
    """The plugin as a process of its own; `environ` names the kubeconfig."""
    done = subprocess.run(
        [sys.executable, "-m", "tradingbot_plugin", *arguments],
        env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)

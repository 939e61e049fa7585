"""The whole product: operator from the chart on a real control plane, pods on the process node, a simulated venue."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tradingbot_sandbox.supervisor.plan import VENUE_BINANCE
from tradingbot_sandbox.supervisor.process import Child, ProcessId
from tradingbot_sandbox.supervisor.state import StateFolder
from tradingbot_sandbox.venues.process import VenueProcess

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "tradingbot-system"
DEADLINE_SECONDS = 60.0


class CommandFailed(AssertionError):  # noqa: N818  named by consequence (STYLE)
    """A command said no; its words are the message."""


@dataclass
class Stack:
    """What a test can do to the running product. `network: Sandbox` is the synthetic market of the whole run;
    `network: Testnet` is whatever the test itself starts on `testnet_port`."""

    state: Path
    environment: dict[str, str]
    testnet_port: int
    logs: list[Path] = field(default_factory=list)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [f"{self.state}/bin/kubectl", *arguments],
            env=self.environment, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CommandFailed(done.stderr.strip())
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, resource: str, name: str, namespace: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("-n", namespace, "get", resource, name, "-o", "json"))
        return found

    def patch(self, namespace: str, name: str, spec: dict[str, Any]) -> None:
        body = json.dumps({"spec": spec})
        self.kubectl("-n", namespace, "patch", "tb", name, "--type", "merge", "-p", body)

    def trader(self, namespace: str, name: str) -> dict[str, Any]:
        part: dict[str, Any] = self.get("tb", name, namespace).get("status", {}).get("trader", {})
        return part

    def condition(self, namespace: str, name: str, kind: str) -> dict[str, Any]:
        conditions = self.get("tb", name, namespace).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == kind), {})

    def pods(self, namespace: str, bot: str | None = None) -> list[dict[str, Any]]:
        selector = f"tradingbot.dev/bot={bot}" if bot else "app.kubernetes.io/name=tradingbot-operator"
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("-n", namespace, "get", "pods", "-l", selector, "-o", "json")
        )["items"]
        return found

    @property
    def venue(self) -> VenueProcess:
        """The simulated Binance: its accounts are the ground truth of every live bot on `network: Sandbox`."""
        folder = StateFolder(self.state)
        log = folder.logs / f"{VENUE_BINANCE}.log"
        return VenueProcess(f"127.0.0.1:{folder.ports()[VENUE_BINANCE]}", folder.processes()[VENUE_BINANCE].pid, log)

    @property
    def api_server(self) -> ProcessId:
        return StateFolder(self.state).processes()["kube-apiserver"]

    @contextlib.contextmanager
    def api_server_gone(self, seconds: float) -> Iterator[None]:
        """For so long it takes connections and answers nobody, which looks to a client like a cut line; then it dies,
        and the supervisor starts it again with the same data. The body runs within that time."""
        old = self.api_server
        back_at = time.monotonic() + seconds
        os.kill(old.pid, signal.SIGSTOP)
        try:
            yield
            while (left := back_at - time.monotonic()) > 0:
                time.sleep(left)
        finally:
            os.kill(old.pid, signal.SIGKILL)
        self.wait("another API server", lambda: self.api_server != old and self.kubectl("get", "--raw", "/readyz"))

    def put_keys(self, namespace: str, name: str, keys: tuple[str, str]) -> None:
        """Make the Secret, or change what it holds."""
        data = dict(zip(("apiKey", "apiSecret"), keys, strict=True))
        metadata = {"name": name, "namespace": namespace}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def trader_pid(self, namespace: str, bot: str) -> int:
        """The process of the pod, from the node's own record."""
        name = self.pods(namespace, bot)[0]["metadata"]["name"]
        for file in (self.state / "node").rglob("*.json"):
            record = json.loads(file.read_text())
            if record.get("namespace") == namespace and record.get("name") == name:
                return int(record["containers"][0]["running"]["pid"])
        raise AssertionError(f"the node has no record of {namespace}/{name}")

    def store(self, namespace: str, bot: str) -> Path:
        """The folder of the bot's volume."""
        volume = self.get("pvc", f"{bot}-trader", namespace)["spec"]["volumeName"]
        return Path(json.loads(self.kubectl("get", "pv", volume, "-o", "json"))["spec"]["local"]["path"])

    def metrics(self, namespace: str, bot: str) -> dict[str, float]:
        """Sums over labels, by name without the prefix."""
        address = self.pods(namespace, bot)[0]["status"]["podIP"]
        with urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for name, value in re.findall(r"^tradingbot_trader_(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
            found[name] = found.get(name, 0.0) + float(value)
        return found

    def wait(self, what: str, look: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS) -> Any:
        """Until `look` answers with something; a failure prints what a person needs to act."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = look()
            except (CommandFailed, OSError, IndexError, KeyError) as error:
                found, problem = None, repr(error)
            else:
                problem = ""
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come within {seconds:g} s. {problem}\n{self.describe()}")
            time.sleep(0.1)

    def describe(self) -> str:
        """Everything that a person would look at first."""
        parts = [
            self.kubectl("get", "tb,deploy,pods,pvc", "-A"),
            self.kubectl("get", "tb", "-A", "-o", "jsonpath={range .items[*]}{.metadata.name}: {.status}{'\\n'}{end}"),
            self.kubectl("get", "events", "-A", "--field-selector=type=Warning"),
        ]
        logs = sorted((self.state / "node").rglob("*.log"))
        tails = [f"== {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in logs]
        return "\n".join([*parts, *tails])


def build_bot(name: str, namespace: str, **changes: Any) -> dict[str, Any]:
    """A valid bot that trades the sandbox's market on 1 s candles."""
    spec: dict[str, Any] = {
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": ["BTC/USDT"],
        "strategy": {
            "name": "sma-cross",
            "timeframe": "1s",
            "parameters": {"fast": 2, "slow": 5, "rsiPeriod": 0},
        },
        "capital": {
            "currency": "USDT",
            "stage": "micro",
            "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
        },
        "risk": {"maxOrderNotional": "20", "cooldownAfterLoss": "0s", "maxOrdersPerMinute": 600},
    }
    return {
        "apiVersion": "tradingbot.dev/v1alpha1",
        "kind": "TradingBot",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec | changes,
    }


@contextlib.contextmanager
def started(folder: Path, *, python: Path | str = sys.executable) -> Iterator[tuple[Stack, dict[str, str]]]:
    """A sandbox without the operator, and what it printed about its venues. Up in about ten seconds; gone with the test
    process, however that ends. Its pods run from beside `python`."""
    state = folder / "state"
    command = [str(python), "-m", "tradingbot_sandbox", "up", "--foreground", "--state", str(state)]
    child = Child(command, environ=dict(os.environ), directory=folder, log=folder / "up.log", guarded=True)
    try:
        until(lambda: is_healthy(state), folder / "up.log", child)
        values = dict(re.findall(r"^export (\w+)=(.*)$", sandbox("env", state), re.MULTILINE))
        environment = {
            "KUBECONFIG": values["KUBECONFIG"], "PATH": f"{state}/bin:/usr/bin:/bin", "HOME": str(folder)
        }  # fmt: skip
        yield Stack(state, environment, free_port()), values
    finally:
        child.send(signal.SIGTERM)
        child.wait(60)


def install(stack: Stack, values: dict[str, str]) -> None:
    chart = chart_values(stack, values)
    file = stack.state / "values.yaml"
    file.write_text(yaml.safe_dump(chart))
    done = subprocess.run(
        [
            f"{stack.state}/bin/helm", "install", "tradingbot-operator", str(ROOT / "charts" / "tradingbot-operator"),
            "--namespace", SYSTEM, "--create-namespace", "--values", str(file), "--wait", "--timeout", "90s",
        ],
        env=stack.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stderr}\n{stack.describe()}"
    # Helm waits for Deployments, not until the API server takes what a CRD has just defined. A live bot has to wait
    # longest, because the stamps match it (docs/reference/admission-policies.md).
    probe = yaml.safe_dump(build_bot("probe", "default", mode="Live", credentials={"secretName": "probe"}))
    stack.wait("bots can be made", lambda: stack.kubectl("apply", "--dry-run=server", "-f", "-", stdin=probe))


def chart_values(stack: Stack, values: dict[str, str]) -> dict[str, Any]:
    """What the chart has to know of the sandbox's venues."""
    return {
        "resyncIntervalSeconds": 5,
        "exchanges": {
            "binance": {
                "sandbox": {
                    "restUrl": values["TRADINGBOT_BINANCE_REST_URL"],
                    "streamUrl": values["TRADINGBOT_BINANCE_STREAM_URL"],
                    "accountUrl": values["TRADINGBOT_BINANCE_ACCOUNT_URL"],
                },
                "testnet": {
                    "restUrl": f"http://127.0.0.1:{stack.testnet_port}/api/v3",
                    "streamUrl": f"ws://127.0.0.1:{stack.testnet_port}/ws",
                },
            }
        },
    }


def sandbox(command: str, state: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tradingbot_sandbox", command, "--state", str(state)],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip


def is_healthy(state: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "tradingbot_sandbox", "status", "--state", str(state)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode == 0


def until(condition: Callable[[], bool], log: Path, child: Child) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        said = log.read_text(errors="replace") if log.exists() else ""
        assert child.exit_status() is None, f"the sandbox ended: {said}"
        assert time.monotonic() < deadline, f"the sandbox did not come up: {said}"
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def kill_operator(stack: Stack) -> None:
    for pod in stack.pods(SYSTEM):
        name = pod["metadata"]["name"]
        stack.kubectl("-n", SYSTEM, "delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")

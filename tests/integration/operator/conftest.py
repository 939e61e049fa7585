"""The API on a real API server, bots on it, and the operator as a real process with the rights that it lists."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.changes import changed
from support.polling import until
from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.audit import AuditEvent, AuditLog
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

Raw = dict[str, Any]
ROOT = Path(__file__).parents[3]
APPLY = "application/apply-patch+yaml"
OPERATORS = "operator-test"
"""Namespace of the operators' accounts, and of the Leases by which they lead."""
TRADER = "tradingbot-trader"
"""The field manager of a trader."""

# What the operator may do: the table in tradingbot_operator/kube.py, as a ClusterRole.
_CHILD = ["get", "list", "watch", "create", "patch"]
_UNWATCHED = ["get", "list", "create", "patch", "delete"]
RULES: list[Raw] = [
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots"], "verbs": ["grant"]},
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots/status"], "verbs": ["get", "patch"]},
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots/finalizers"], "verbs": ["update"]},
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingreviews"], "verbs": ["list", "create"]},
    {"apiGroups": [""], "resources": ["serviceaccounts", "services", "persistentvolumeclaims"], "verbs": _CHILD},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": _CHILD},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": _CHILD},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"], "verbs": [*_CHILD, "delete"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": [*_CHILD, "delete"]},
    {"apiGroups": ["monitoring.coreos.com"], "resources": ["podmonitors"], "verbs": _UNWATCHED},
    {"apiGroups": ["external-secrets.io"], "resources": ["externalsecrets"], "verbs": _UNWATCHED},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "list", "create", "patch", "update"],
    },
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "list"]},
]
CLUSTER_RULES: list[Raw] = [
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradinghalts"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["list", "watch"]},
]

PATHS = {
    "TradingBot": "/apis/tradingbot.dev/v1alpha1/namespaces/{}/tradingbots",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
CHILDREN = tuple(kind for kind in PATHS if kind != "TradingBot")
_BOT: Raw = {
    "apiVersion": "tradingbot.dev/v1alpha1",
    "kind": "TradingBot",
    "metadata": {"name": "btc"},
    "spec": {
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": ["BTC/USDT"],
        "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": 5, "slow": "20"}},
        "capital": {
            "currency": "USDT",
            "stage": "micro",
            "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
        },
        "risk": {"maxOrderNotional": "20"},
    },
}


def build_bot(changes: Raw | None = None) -> Raw:
    """A valid bot; `changes` are dotted paths and values, None takes the field away."""
    return changed(_BOT, changes)


@dataclass
class Desk:
    """One namespace, seen with the administrator's eyes."""

    admin: ApiClient
    namespace: str
    until = staticmethod(until)

    def path(self, kind: str, name: str = "") -> str:
        return PATHS[kind].format(self.namespace) + (f"/{name}" if name else "")

    def create_bot(self, changes: Raw | None = None) -> Raw:
        answer = self.admin.create(self.path("TradingBot") + "?fieldValidation=Strict", build_bot(changes))
        assert answer.is_success, answer.body
        return answer.body

    def patch(self, spec: Raw, name: str = "btc") -> Raw:
        answer = self.admin.merge(self.path("TradingBot", name), {"spec": spec})
        assert answer.is_success, answer.body
        return answer.body

    def get(self, kind: str, name: str = "btc-trader") -> Raw | None:
        answer = self.admin.get(self.path(kind, name))
        return answer.body if answer.is_success else None

    def bot(self, name: str = "btc") -> Raw:
        found = self.get("TradingBot", name)
        assert found is not None, name
        return found

    def status(self, name: str = "btc") -> Raw:
        found: Raw = self.bot(name).get("status", {})
        return found

    def verdict(self, condition: str, name: str = "btc") -> tuple[str, str]:
        for item in self.status(name).get("conditions", []):
            if item["type"] == condition:
                return item["status"], item["reason"]
        return "", ""

    def message(self, condition: str, name: str = "btc") -> str:
        return next(item["message"] for item in self.status(name)["conditions"] if item["type"] == condition)

    def until_verdict(self, condition: str, status: str, reason: str, name: str = "btc") -> None:
        try:
            until(
                f"{name}: {condition}={status}/{reason}",
                lambda: self.verdict(condition, name) == (status, reason) and self.is_current(name),
            )
        except AssertionError as error:
            raise AssertionError(f"{error}; status is {json.dumps(self.status(name), indent=1)}") from None

    def is_current(self, name: str = "btc") -> bool:
        bot = self.bot(name)
        return bool(bot.get("status", {}).get("observedGeneration") == bot["metadata"]["generation"])

    def until_current(self, name: str = "btc") -> Raw:
        """The operator has looked at the newest spec."""
        until(f"{name} is reconciled", lambda: self.is_current(name))
        return self.status(name)

    def until_children(self, kinds: tuple[str, ...] = CHILDREN) -> dict[str, Raw]:
        return {kind: until(f"{kind} exists", lambda kind=kind: self.get(kind)) for kind in kinds}

    def report(self, name: str = "btc", **more: Any) -> None:
        """What a trader would write, as its own field manager."""
        bot = self.bot(name)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        config = {
            "generation": bot["metadata"]["generation"],
            "accepted": True,
            "reason": "Accepted",
            "digest": bot.get("status", {}).get("permit", {}).get("digest", ""),
        } | more.pop("config", {})
        deployment = self.get("Deployment", f"{name}-trader") or {"metadata": {}}
        trader = {
            "template": deployment["metadata"].get("annotations", {}).get("tradingbot.dev/template-hash", ""),
            "uid": bot["metadata"]["uid"],
            "pod": "btc-trader-1",
            "version": "0.1.0",
            "mode": "Paper",
            "state": "Active",
            "startedAt": now,
            "heartbeatAt": now,
            "epoch": 1,
            "config": config,
        } | more
        answer = self.admin.request(
            "PATCH",
            f"{self.path('TradingBot', name)}/status?fieldManager={TRADER}&force=true",
            {"apiVersion": bot["apiVersion"], "kind": "TradingBot", "status": {"trader": trader}},
            content_type=APPLY,
        )
        assert answer.is_success, answer.body

    def make_pod_ready(self) -> None:
        """There is no node: the pod is said to be ready, and the real Deployment controller believes it."""
        pods = f"/api/v1/namespaces/{self.namespace}/pods"

        def find() -> Raw | None:
            items = self.admin.get(f"{pods}?labelSelector=tradingbot.dev/bot%3Dbtc").body["items"]
            return items[0] if items else None

        pod = until("a pod exists", find)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": now}]
        answer = self.admin.merge(
            f"{pods}/{pod['metadata']['name']}/status", {"status": {"phase": "Running", "conditions": conditions}}
        )
        assert answer.is_success, answer.body

    def events(self) -> list[str]:
        listed = self.admin.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events").body["items"]
        return sorted(item["reason"] for item in listed if item["regarding"]["kind"] == "TradingBot")


@dataclass
class Operator:
    """One run of `python -m tradingbot_operator`."""

    process: subprocess.Popen[bytes]
    address: str
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def http(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.http("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until_ready(self) -> Operator:
        def look() -> bool:
            assert self.process.poll() is None, f"the operator ended: {self.log}"
            return self.http("/readyz")[0] == 200

        until("the operator is ready", look)
        return self

    def until_resynced(self, times: int = 2) -> None:
        """So many whole re-lists from now on, and nothing left to do."""
        for _ in range(times):
            before = self.metric("tradingbot_operator_last_resync_timestamp_seconds")
            until("a re-list", lambda: self.metric("tradingbot_operator_last_resync_timestamp_seconds") > before)  # noqa: B023  called at once
        until("an empty queue", lambda: self.metric("tradingbot_operator_queue_depth") == 0)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """It sees nothing of what happens meanwhile until it wakes."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self, *, seconds: float = 25.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


Start = Callable[..., Operator]


@dataclass
class Account:
    """A service account for an operator: the folder that a pod would have."""

    folder: Path
    user: str


def create_account(
    admin: ApiClient, ca: Path, folder: Path, name: str, rules: list[Raw], *, only_in: str = ""
) -> Account:
    """`only_in`: a namespace; empty: its rights are the cluster's."""
    namespace = OPERATORS
    admin.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    admin.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    role, full_name = {"metadata": {"name": f"{namespace}-{name}"}, "rules": rules}, f"{namespace}-{name}"
    assert admin.create(f"{rbac}/clusterroles", role).status in {201, 409}
    binding = {
        "metadata": {"name": full_name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": full_name},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
    }
    where = f"namespaces/{only_in}/rolebindings" if only_in else "clusterrolebindings"
    assert admin.create(f"{rbac}/{where}", binding).status in {201, 409}
    election = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}]
    binding = {
        "metadata": {"name": full_name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": full_name},
        "subjects": binding["subjects"],
    }
    for kind, manifest in (("roles", {"metadata": {"name": full_name}, "rules": election}), ("rolebindings", binding)):
        assert admin.create(f"{rbac}/namespaces/{namespace}/{kind}", manifest).status in {201, 409}
    token = admin.create(
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
    )
    assert token.is_success, token.body
    folder.mkdir()
    (folder / "token").write_text(token.body["status"]["token"], encoding="ascii")
    (folder / "ca.crt").write_bytes(ca.read_bytes())
    (folder / "namespace").write_text(namespace, encoding="ascii")
    return Account(folder, f"system:serviceaccount:{namespace}:{name}")


class Relay:
    """Passes bytes on to the API server, until it is cut."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("https://").partition(":")
        self._target = (host, int(port))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._port = 0
        self._listener: socket.socket | None = None
        self.join()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def join(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Ends all connections, and takes no new ones until `join`."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def install_crd(admin: ApiClient, manifest: Raw) -> None:
    name = manifest["metadata"]["name"]
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    query = "?fieldManager=operator-tests&force=true&fieldValidation=Strict"
    answer = admin.request("PATCH", path + query, manifest, content_type=APPLY)
    assert answer.is_success, answer.body

    def is_established() -> bool:
        conditions = admin.get(path).body.get("status", {}).get("conditions") or []
        return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)

    until(f"{name} is established", is_established)


def read_crds() -> list[Raw]:
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "crds").glob("*.yaml"))]


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> list[Raw]:
    """The API, installed."""
    manifests = read_crds()
    for manifest in manifests:
        install_crd(control_plane.admin, manifest)
    until(
        "bots can be listed",
        lambda: control_plane.admin.get("/apis/tradingbot.dev/v1alpha1/tradingbots").is_success,
    )
    return manifests


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def make_bot() -> Callable[..., Raw]:
    return build_bot


@pytest.fixture(scope="session")
def apply_crd(control_plane: ControlPlane) -> Callable[[Raw], None]:
    return lambda manifest: install_crd(control_plane.admin, manifest)


@pytest.fixture
def change_crd(control_plane: ControlPlane) -> Callable[[Raw, Raw], Any]:
    """For a while the API server has another CRD."""

    @contextmanager
    def change(other: Raw, usual: Raw) -> Iterator[None]:
        install_crd(control_plane.admin, other)
        try:
            yield
        finally:
            install_crd(control_plane.admin, usual)

    return change


@pytest.fixture
def relay(control_plane: ControlPlane) -> Iterator[Relay]:
    """A way to the API server that a test can cut."""
    between = Relay(control_plane.url)
    yield between
    between.cut()


@pytest.fixture
def desk(control_plane: ControlPlane, namespace: str, crds: list[Raw]) -> Desk:
    assert crds
    return Desk(control_plane.admin, namespace)


@pytest.fixture(scope="session")
def account(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Account:
    folder = tmp_path_factory.mktemp("operator-account") / "serviceaccount"
    return create_account(control_plane.admin, control_plane.ca, folder, "operator", RULES + CLUSTER_RULES)


@pytest.fixture(scope="session")
def make_account(control_plane: ControlPlane) -> Callable[..., Account]:
    """An account with all rights of the operator, but for some verbs on one resource, or in one namespace alone."""

    def make(name: str, *, folder: Path, without: str = "", verbs: tuple[str, ...] = (), only_in: str = "") -> Account:
        rules = [
            rule | {"verbs": [verb for verb in rule["verbs"] if verb not in verbs]}
            if without in rule["resources"]
            else rule
            for rule in (RULES if only_in else RULES + CLUSTER_RULES)
        ]
        rules = [rule for rule in rules if rule["verbs"]]  # the API server takes none without
        return create_account(control_plane.admin, control_plane.ca, folder, name, rules, only_in=only_in)

    return make


@pytest.fixture(scope="module")
def start_operator(
    control_plane: ControlPlane, account: Account, crds: list[Raw], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts operators; those that still run at the module's end are stopped."""
    assert crds
    folder = tmp_path_factory.mktemp("operators")
    with ExitStack() as stack:

        def start(*arguments: str, given: Account = account, server: str = control_plane.url) -> Operator:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port_of_ours = probe.getsockname()[1]
            address = f"127.0.0.1:{port_of_ours}"
            venue = {"binance": {"Sandbox": {"rest": "http://127.0.0.1:9", "stream": "ws://127.0.0.1:9/ws"}}}
            host, _, port = server.removeprefix("https://").partition(":")
            # Each leads, unless a test has several compete for one Lease.
            lease = [] if any("--lease-name=" in each for each in arguments) else [f"--lease-name=alone-{port_of_ours}"]
            log_path = folder / f"{address}.log"
            with log_path.open("wb") as log:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "tradingbot_operator",
                        f"--listen={address}",
                        f"--service-account-dir={given.folder}",
                        f"--exchange-addresses={json.dumps(venue)}",
                        "--resync-interval-seconds=0.5",
                        *lease,
                        *arguments,
                    ],
                    env=os.environ | {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            stack.callback(_end, process)
            return Operator(process, address, log_path)

        yield start


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(25)
        process.kill()
        process.wait()


@dataclass
class Audit:
    """What an operator asked of the API server, from the server's own audit log."""

    admin: ApiClient
    log: AuditLog
    user: str

    def events(self) -> list[AuditEvent]:
        """All since the mark but those about the Lease by which it leads; a request of ours was logged after them."""
        marker = f"/api/v1/namespaces/audit-marker-{time.monotonic_ns()}"
        self.admin.get(marker)
        events = until("the marker is logged", lambda: self._with(marker))
        return [event for event in events if event.user == self.user and event.namespace != OPERATORS]

    def rights_used(self) -> set[tuple[str, str]]:
        """Resource and verb of each request; discovery, which everybody may, is about no resource."""
        return {(event.resource, event.verb) for event in self.events() if event.resource}

    def writes(self) -> list[AuditEvent]:
        return [event for event in self.events() if event.is_write]

    def _with(self, marker: str) -> list[AuditEvent] | None:
        events = self.log.events()
        return events if any(event.uri == marker for event in events) else None


@pytest.fixture(scope="session")
def rights() -> set[tuple[str, str]]:
    """Resource and verb of all that the operator may."""
    return {
        (resource, verb) for rule in RULES + CLUSTER_RULES for resource in rule["resources"] for verb in rule["verbs"]
    }


@pytest.fixture(scope="module")
def audit_of_module(control_plane: ControlPlane, account: Account) -> Audit:
    """A reader that begins with the module."""
    return Audit(control_plane.admin, control_plane.audit(), account.user)


@pytest.fixture
def audit(control_plane: ControlPlane, account: Account) -> Audit:
    """A reader that begins here."""
    return Audit(control_plane.admin, control_plane.audit(), account.user)

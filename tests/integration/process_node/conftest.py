"""A process node beside the real control plane, and what tests say about pods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tradingbot_sandbox.control_plane.binaries import find_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

Json = dict[str, Any]
T = TypeVar("T")
PATIENCE_SECONDS = 60.0
"""Only a broken node takes so long; a busy machine may take half of it."""

PROGRAM = f"""#!{sys.executable} -IS
import sys
code = sys.argv.pop(1)
exec(compile(code, "test", "exec"))
"""
"""Runs the Python text that is its first argument; -IS makes it start in a few milliseconds."""


def wait_for(what: str, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """The first answer that is not None, False or empty."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def is_alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@dataclass
class RunningNode:
    """`python -m tradingbot_sandbox.node`, under a name of its own, so that several can share one API server."""

    name: str
    state: Path
    control_plane: ControlPlane
    programs: Mapping[str, Path]
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        images = [f"--image={name}={path}" for name, path in self.programs.items()]
        return [
            sys.executable,
            "-m",
            "tradingbot_sandbox.node",
            f"--kubeconfig={self.control_plane.kubeconfig}",
            f"--state={self.state}",
            f"--name={self.name}",
            f"--client-ca={self.control_plane.ca}",
            "--backoff-base-seconds=0.3",
            "--backoff-cap-seconds=2",
            "--start-retry-seconds=30",
            "--token-renewal-fraction=0.003",
            "--shutdown-grace-seconds=60",
            *images,
            *self.options,
        ]

    @property
    def log_file(self) -> Path:
        return self.state.with_name(f"{self.name}.log")

    def start(self) -> RunningNode:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.environment}
        passed = {name: value for name, value in os.environ.items() if name.startswith(("COV", "PYTHONPATH"))}
        environment |= passed
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=environment, cwd="/")
        wait_for(f"node {self.name} is Ready", self.is_ready)
        return self

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log_file.read_text()[-3000:]
        answer = self.control_plane.admin.get(f"/api/v1/nodes/{self.name}")
        if not answer.is_success:
            return False
        node = answer.body
        conditions = {item["type"]: item for item in node.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {})
        return ready.get("status") == "True" and not node["spec"].get("taints")

    def kill(self) -> None:
        """SIGKILL: nothing of it gets to run."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=90)

    def log_lines(self) -> list[Json]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]


@dataclass
class Cluster:
    """One namespace, and pods that are bound to one node."""

    control_plane: ControlPlane
    namespace: str
    node: RunningNode
    kubectl_path: Path
    # Tests cannot import from here, so what they need comes with the fixture.
    wait_for = staticmethod(wait_for)
    is_alive = staticmethod(is_alive)

    def path(self, resource: str, name: str = "") -> str:
        group = {"deployments": "/apis/apps/v1", "jobs": "/apis/batch/v1"}.get(resource, "/api/v1")
        return f"{group}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    def create(self, resource: str, body: Json) -> Json:
        answer = self.control_plane.admin.create(self.path(resource), body)
        assert answer.is_success, answer.body
        return answer.body

    def get(self, resource: str, name: str) -> Json | None:
        answer = self.control_plane.admin.get(self.path(resource, name))
        return answer.body if answer.is_success else None

    def merge(self, resource: str, name: str, body: Json) -> None:
        answer = self.control_plane.admin.merge(self.path(resource, name), body)
        assert answer.is_success, answer.body

    def delete(self, resource: str, name: str, grace_seconds: int | None = None) -> None:
        query = "" if grace_seconds is None else f"?gracePeriodSeconds={grace_seconds}"
        answer = self.control_plane.admin.delete(self.path(resource, name) + query)
        assert answer.is_success, answer.body

    def spec(self, *words: str, container: Json | None = None, **spec: Any) -> Json:
        """A pod spec that runs the Python text `words[0]` with the other words as its arguments."""
        main = {"name": "main", "image": "test/program:1", "args": list(words), **(container or {})}
        return {
            "automountServiceAccountToken": False,
            "nodeSelector": {"kubernetes.io/hostname": self.node.name},
            "terminationGracePeriodSeconds": 60,
            "containers": [main],
            **spec,
        }

    def run(self, name: str, *words: str, container: Json | None = None, **spec: Any) -> Json:
        pod = {"metadata": {"name": name}, "spec": self.spec(*words, container=container, **spec)}
        return self.create("pods", pod)

    def deploy(self, name: str, spec: Json) -> None:
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": spec}
        body = {"selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"}, "template": template}
        self.create("deployments", {"metadata": {"name": name}, "spec": body})

    def pods(self) -> list[Json]:
        items: list[Json] = self.control_plane.admin.get(self.path("pods")).body["items"]
        return items

    def status(self, name: str) -> Json:
        pod = self.get("pods", name)
        return (pod or {}).get("status", {})

    def container(self, name: str, container: str = "main") -> Json:
        status = self.status(name)
        statuses = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
        return next((item for item in statuses if item["name"] == container), {})

    def conditions(self, name: str) -> dict[str, str]:
        return {item["type"]: item["status"] for item in self.status(name).get("conditions", [])}

    def is_ready(self, name: str) -> bool:
        return self.conditions(name).get("Ready") == "True"

    def wait_ready(self, name: str) -> None:
        wait_for(f"pod {name} is Ready", lambda: self.is_ready(name))

    def wait_gone(self, name: str) -> None:
        wait_for(f"pod {name} is gone", lambda: self.get("pods", name) is None)

    def wait_running(self, name: str) -> None:
        wait_for(f"pod {name} runs", lambda: "running" in self.container(name).get("state", {}))

    def log(self, name: str, container: str = "main", run: int = 0) -> str:
        """What the program wrote, from the node's folder."""
        logs = list((self.node.state / "pods").glob(f"{self.namespace}_{name}_*/{container}/{run}.log"))
        return logs[-1].read_text() if logs else ""

    def wait_log(self, name: str, text: str, container: str = "main", run: int = 0) -> str:
        def look() -> str | None:
            log = self.log(name, container, run)
            return log if text in log else None

        return wait_for(f"{name} says {text!r}", look)

    def pid(self, name: str, container: str = "main") -> int | None:
        for path in (self.node.state / "pods").glob(f"{self.namespace}_{name}_*/pod.json"):
            for item in json.loads(path.read_text())["containers"]:
                if item["name"] == container and "running" in item:
                    return int(item["running"]["pid"])
        return None

    def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of everything that was told about an object of this name."""
        query = f"?fieldSelector=involvedObject.name={name}"
        items = self.control_plane.admin.get(self.path("events") + query).body["items"]
        return [(item["reason"], item["message"]) for item in items]

    def wait_event(self, name: str, reason: str, text: str = "") -> str:
        def look() -> str | None:
            found = [message for kind, message in self.events(name) if kind == reason and text in message]
            return found[0] if found else None

        return wait_for(f"event {reason} about {name} with {text!r}", look)

    def kubectl(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [self.kubectl_path, f"--kubeconfig={self.control_plane.kubeconfig}", "-n", self.namespace, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("programs")
    path = folder / "program"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return {"program": path}


@pytest.fixture(scope="module")
def make_node(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory, programs: Mapping[str, Path]
) -> Iterator[Callable[..., RunningNode]]:
    """Makes nodes that are not started yet; all of them end with the tests, and their Nodes are deleted."""
    made: list[RunningNode] = []

    def make(**fields: Any) -> RunningNode:
        name = f"node-{uuid.uuid4().hex[:6]}"
        node = RunningNode(name, tmp_path_factory.mktemp(name) / "state", control_plane, programs, **fields)
        made.append(node)
        return node

    yield make
    for node in made:
        if node.process is not None and node.process.poll() is None:
            node.stop()
        control_plane.admin.delete(f"/api/v1/nodes/{node.name}")


@pytest.fixture(
    scope="module"
)  # not longer: it would take the pods that other tests on this control plane leave Pending
def node(make_node: Callable[..., RunningNode]) -> RunningNode:
    """The node that most tests share; its own environment holds something that no container may see."""
    return make_node(environment={"CALLERS_SECRET": "must-not-leak"}).start()


@pytest.fixture
def make_cluster(control_plane: ControlPlane, namespace: str) -> Callable[[RunningNode], Cluster]:
    def make(node: RunningNode) -> Cluster:
        cluster = Cluster(control_plane, namespace, node, find_binaries().kubectl)
        wait_for("the namespace has its service account", lambda: cluster.get("serviceaccounts", "default"))
        return cluster

    return make


@pytest.fixture
def cluster(make_cluster: Callable[[RunningNode], Cluster], node: RunningNode) -> Cluster:
    return make_cluster(node)

"""`tradingbot-sandbox up`, `status`, `env` and `down` as a user meets them, and what a SIGKILL leaves behind: nothing.

One sandbox for the whole file, without a node and a venue, which have tests of their own; the last test has one with.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.binaries import find_binaries
from tradingbot_sandbox.control_plane.components import Layout
from tradingbot_sandbox.control_plane.pins import BINARIES
from tradingbot_sandbox.supervisor.process import ProcessId, read_stat
from tradingbot_sandbox.supervisor.state import StateFolder

DEADLINE_SECONDS = 30.0
COMMAND = (sys.executable, "-m", "tradingbot_sandbox")
UP = ("up", "--no-node", "--no-venue")
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"

pytestmark = pytest.mark.control_plane


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Sandbox:
    """A sandbox by its command line and its state folder."""

    def __init__(self, root: Path) -> None:
        self.state = StateFolder(root)
        self.environ = {**os.environ, "TRADINGBOT_SANDBOX_STATE": str(root)}

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], env={**self.environ, **environ}, capture_output=True, text=True, check=False
        )

    def up(self) -> None:
        done = self.run(*UP)
        assert done.returncode == 0, done.stderr
        assert self.state.supervisor() is not None

    @property
    def supervisor(self) -> ProcessId:
        supervisor = self.state.supervisor()
        assert supervisor is not None
        return supervisor

    @property
    def processes(self) -> dict[str, ProcessId]:
        return self.state.processes()

    @property
    def admin(self) -> ApiClient:
        layout = Layout(self.state.root, self.state.ports())
        return ApiClient(layout.server, layout.pki.client("admin"))

    def component(self, name: str) -> dict[str, object]:
        status = json.loads(self.run("status", "--json").stdout)
        return next(c for c in status["components"] if c["name"] == name)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox of this file, running or not."""
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox") / "state")
    yield sandbox
    sandbox.run("down", "--clean")
    assert not sandbox.state.root.exists()


@pytest.fixture
def sandbox(stopped: Sandbox) -> Sandbox:
    """The same, running."""
    if stopped.state.supervisor() is None:
        stopped.up()
    return stopped


def test_up_returns_when_everything_is_ready_and_says_what_to_try(stopped: Sandbox) -> None:
    done = stopped.run(*UP)
    assert done.returncode == 0, done.stderr
    for component in ("etcd", "kube-apiserver", "kube-controller-manager"):
        assert f"{component} " in done.stdout
    assert f"kubeconfig  {stopped.state.kubeconfig}" in done.stdout
    assert 'eval "$(tradingbot-sandbox env)"' in done.stdout
    assert stopped.admin.get("/api/v1/namespaces/default/serviceaccounts/default").is_success


def test_status_is_zero_only_when_all_is_healthy(sandbox: Sandbox) -> None:
    done = sandbox.run("status")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Sandbox: ready (supervisor {sandbox.supervisor.pid})")
    hung = sandbox.processes["kube-controller-manager"]
    hung.send(signal.SIGSTOP)
    try:
        done = sandbox.run("status")
        assert done.returncode == 1
        assert "kube-controller-manager: does not answer" in done.stdout
    finally:
        hung.send(signal.SIGCONT)
    wait_for(lambda: sandbox.run("status").returncode == 0)


def test_second_up_says_that_it_runs_and_changes_nothing(sandbox: Sandbox) -> None:
    before = (sandbox.supervisor, sandbox.processes)
    done = sandbox.run("up")
    assert done.returncode == 0
    assert "already running" in done.stdout
    assert (sandbox.supervisor, sandbox.processes) == before


def test_up_with_other_options_is_refused_while_it_runs(sandbox: Sandbox) -> None:
    done = sandbox.run("up", "--node")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: the sandbox runs otherwise (node is False, not True). Stop it first: tradingbot-sandbox down\n"
    )


def test_env_makes_kubectl_work(sandbox: Sandbox) -> None:
    script = f'eval "$({" ".join(COMMAND)} env)" && kubectl get namespaces -o name'
    done = subprocess.run(["/bin/sh", "-c", script], env=sandbox.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "namespace/kube-system" in done.stdout


def test_logs_are_those_of_the_component(sandbox: Sandbox) -> None:
    done = sandbox.run("logs", "kube-apiserver", "--tail", "1000")
    assert done.returncode == 0
    assert "server.go" in done.stdout


def test_component_that_dies_is_started_again_and_the_status_says_so(sandbox: Sandbox) -> None:
    before = sandbox.processes["kube-controller-manager"]
    before.send(signal.SIGKILL)
    wait_for(lambda: sandbox.component("kube-controller-manager")["restarts"] == 1)
    wait_for(lambda: sandbox.run("status").returncode == 0)
    assert "restarted 1 times; the last time it was killed by signal 9" in sandbox.run("status").stdout
    assert sandbox.processes["kube-controller-manager"] != before


def test_nothing_survives_a_killed_supervisor_and_up_goes_on_with_the_data(sandbox: Sandbox) -> None:
    assert sandbox.admin.create(CONFIG_MAPS, {"metadata": {"name": "kept"}}).is_success
    server, processes = sandbox.admin.url, sandbox.processes
    assert len(processes) == 3
    assert all(process.is_alive() for process in processes.values())
    sandbox.supervisor.send(signal.SIGKILL)
    assert all(process.wait_gone(DEADLINE_SECONDS) for process in processes.values())
    done = sandbox.run("status")
    assert done.returncode == 1
    assert "the supervisor was killed" in done.stdout
    sandbox.up()
    assert sandbox.admin.url == server
    assert sandbox.admin.get(f"{CONFIG_MAPS}/kept").is_success


def test_down_leaves_no_process_and_fresh_forgets_the_data(sandbox: Sandbox) -> None:
    sandbox.admin.create(CONFIG_MAPS, {"metadata": {"name": "forgotten"}})
    processes = [sandbox.supervisor, *sandbox.processes.values()]
    done = sandbox.run("down")
    assert done.returncode == 0, done.stderr
    assert [process for process in processes if process.is_alive()] == []
    stopped = [line.split()[0] for line in done.stdout.splitlines() if line.endswith(" stopped")]
    assert stopped == ["kube-controller-manager", "kube-apiserver", "etcd"]
    assert sandbox.run("status").stdout.startswith("Sandbox: stopped\n")
    assert sandbox.run("down").stdout == "The sandbox was not running.\n"
    done = sandbox.run(*UP, "--fresh")
    assert done.returncode == 0, done.stderr
    assert sandbox.admin.get(f"{CONFIG_MAPS}/forgotten").status == 404


def test_foreground_stops_everything_on_ctrl_c(stopped: Sandbox) -> None:
    stopped.run("down")
    foreground = subprocess.Popen(
        [*COMMAND, *UP, "--foreground"],
        env=stopped.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: stopped.run("status").returncode == 0)
    processes = stopped.processes
    foreground.send_signal(signal.SIGINT)
    output, _ = foreground.communicate(timeout=DEADLINE_SECONDS)
    assert foreground.returncode == 0, output
    assert "Ready after" in output
    assert len(processes) == 3
    assert [name for name, process in processes.items() if process.is_alive()] == []


def test_start_that_fails_says_why_and_leaves_nothing(stopped: Sandbox, tmp_path: Path) -> None:
    stopped.run("down")
    real = find_binaries().as_mapping()
    for name in BINARIES:
        (tmp_path / name).symlink_to(real[name])
    (tmp_path / "kube-apiserver").unlink()
    (tmp_path / "kube-apiserver").write_text("#!/bin/sh\necho 'error: unknown flag: --nonsense' >&2\nexit 1\n")
    (tmp_path / "kube-apiserver").chmod(0o755)
    done = stopped.run(*UP, KUBEBUILDER_ASSETS=str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "kube-apiserver ended with status 1 before it was ready. It said: error: unknown flag: --nonsense." in line
    assert stopped.state.supervisor() is None
    assert [name for name, process in stopped.processes.items() if process.is_alive()] == []


def descendants(pid: int) -> list[ProcessId]:
    """All processes below this one."""
    parents = {int(p.name): stat.parent for p in Path("/proc").glob("[0-9]*") if (stat := read_stat(int(p.name)))}
    found = [pid]
    for above in found:
        found += [child for child, parent in parents.items() if parent == above]
    return [process for child in found[1:] if (process := ProcessId.of(child))]


def test_pods_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "state")
    done = sandbox.run("up", "--seed", "7")
    try:
        assert done.returncode == 0, done.stderr
        container = {
            "name": "venue",
            "image": "tradingbot-sandbox",
            "args": ["venue", "binance", "--listen=$(POD_IP):8080"],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"path": "/api/v3/ping", "port": 8080}, "periodSeconds": 1},
        }
        pods = "/api/v1/namespaces/default/pods"
        created = sandbox.admin.create(pods, {"metadata": {"name": "p"}, "spec": {"containers": [container]}})
        assert created.is_success, created.body

        def is_ready() -> bool:
            conditions = sandbox.admin.get(f"{pods}/p").body.get("status", {}).get("conditions", [])
            return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)

        wait_for(is_ready)
        below = descendants(sandbox.supervisor.pid)
        assert any(b":8080" in command_line(process) for process in below)
        sandbox.supervisor.send(signal.SIGKILL)
        assert all(process.wait_gone(DEADLINE_SECONDS) for process in below)
    finally:
        sandbox.run("down", "--clean")


def command_line(process: ProcessId) -> bytes:
    return Path(f"/proc/{process.pid}/cmdline").read_bytes()

"""SHELL. The real operator as a process, on a control plane of its own, and what it costs that machine.

The rights that it gets, the CRDs and the ways to look at a bot are those of its integration tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.operator import conftest as parts

from bench.setting import Setting
from tradingbot_sandbox.control_plane.binaries import Search
from tradingbot_sandbox.control_plane.build import provide_binaries
from tradingbot_sandbox.control_plane.control_plane import ControlPlane
from tradingbot_sandbox.control_plane.progress import build_progress

CONTROLLER_MANAGER = "kube-controller-manager"
STOP_SECONDS = 40.0
VENUE = {"binance": {"Sandbox": {"rest": "http://127.0.0.1:9", "stream": "ws://127.0.0.1:9/ws"}}}
"""Nobody listens there: no pod ever runs."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A control plane with the API installed, and the account of an operator."""

    control_plane: ControlPlane
    account: parts.Account
    folder: Path

    @property
    def version(self) -> str:
        version: str = self.control_plane.admin.get("/version").body["gitVersion"]
        return version

    def create_namespace(self, name: str) -> parts.Desk:
        answer = self.control_plane.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
        if not answer.is_success:
            raise RuntimeError(f"namespace {name}: {answer.body}")
        return parts.Desk(self.control_plane.admin, name)

    def audit(self) -> parts.Audit:
        """What the operator asks from now on."""
        return parts.Audit(self.control_plane.admin, self.control_plane.audit(), self.account.user)

    @contextmanager
    def operator(self, *arguments: str) -> Iterator[Process]:
        """Running and ready; SIGTERM at the end."""
        process = self.spawn(*arguments)
        try:
            process.until_ready()
            yield process
        finally:
            process.end()

    def spawn(self, *arguments: str) -> Process:
        address = f"127.0.0.1:{_free_port()}"
        host, _, port = self.control_plane.url.removeprefix("https://").partition(":")
        log = self.folder / f"operator-{address.rpartition(':')[2]}.log"
        command = [
            sys.executable, "-m", "tradingbot_operator", f"--listen={address}",
            f"--service-account-dir={self.account.folder}", f"--exchange-addresses={json.dumps(VENUE)}", *arguments,
        ]  # fmt: skip
        spawned_at = time.time()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return Process(process, address, log, spawned_at)


class Process(parts.Operator):
    """One run of the operator."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log_path: Path, spawned_at: float) -> None:
        super().__init__(process, address, log_path)
        self.spawned_at = spawned_at
        """Unix seconds, as the audit log counts."""

    @property
    def cpu_seconds(self) -> float:
        """User and system time since its start."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def peak_mb(self) -> float:
        """VmHWM, in MB of 1,000,000 bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
        if found is None:
            raise ProcessLookupError(f"process {self.process.pid} has ended")
        return int(found[1]) * 1024 / 1e6

    def require_alive(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the operator ended with {self.process.returncode}: {self.log[-2000:]}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def running_cluster(setting: Setting, name: str, *, controllers: bool) -> Iterator[Cluster]:
    """`controllers` False: without the controller manager nothing but the operator and the bench writes."""
    with build_progress() as progress:
        binaries = provide_binaries(Search.here(), progress)
    folder = setting.folder / name
    folder.mkdir()
    with ControlPlane.start(folder / "state", binaries) as control_plane:
        for manifest in parts.read_crds():
            parts.install_crd(control_plane.admin, manifest)
        rules = parts.RULES + parts.CLUSTER_RULES
        account = parts.create_account(
            control_plane.admin, control_plane.ca, folder / "serviceaccount", "operator", rules
        )
        if not controllers:
            control_plane.kill(CONTROLLER_MANAGER)
        yield Cluster(control_plane, account, folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

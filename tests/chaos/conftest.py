"""Several real operators on a real control plane, each with an account of its own, and somebody who kills them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import desk, stack
from integration.operator import conftest as parts
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

__all__ = ["crds", "desk", "fleet", "stack"]  # fixtures
DURATION_SECONDS = 3
TIMES = (
    f"--lease-duration-seconds={DURATION_SECONDS}",
    "--lease-renew-deadline-seconds=2",
    "--lease-retry-seconds=0.4",
    "--resync-interval-seconds=2",
    "--graceful-exit-seconds=5",
)
VENUE = {"binance": {"Sandbox": {"rest": "http://127.0.0.1:9", "stream": "ws://127.0.0.1:9/ws"}}}
"""Nobody listens there: no pod runs."""
START_SECONDS = 90.0
TAKEOVER_SECONDS = 60.0
LEADER = "tradingbot_operator_leader"
LEASE = "chaos"


@dataclass
class Fleet:
    """Operators that want the same Lease, and the record of who they were."""

    control_plane: ControlPlane
    desk: parts.Desk
    folder: Path
    arguments: tuple[str, ...]
    running: list[parts.Operator] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)
    """The account of each process there ever was, by its address."""
    surprises: list[str] = field(default_factory=list)
    """Exit codes of processes that nobody had killed."""

    def start(self) -> parts.Operator:
        number = len(self.users)
        plane, name = self.control_plane, f"chaos-{self.desk.namespace}-{number}"
        rules = parts.RULES + parts.CLUSTER_RULES
        account = parts.create_account(plane.admin, plane.ca, self.folder / f"account-{number}", name, rules)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        host, _, port = plane.url.removeprefix("https://").partition(":")
        log_path = self.folder / f"operator-{number}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "tradingbot_operator", f"--listen={address}",
                    f"--service-account-dir={account.folder}", *self.arguments,
                ],
                env=os.environ | {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        operator = parts.Operator(process, address, log_path)
        self.users[address] = account.user
        self.running.append(operator)
        return operator

    def leader(self) -> parts.Operator | None:
        return next((each for each in self.running if each.metric(LEADER) == 1.0), None)

    def until_leader_and_standby(self) -> parts.Operator:
        """Both ready. A process that ended by itself (its Lease lost on a slow machine, say) is made up for."""

        def look() -> parts.Operator | None:
            for each in [each for each in self.running if each.process.poll() is not None]:
                self.surprises.append(f"{each.process.returncode}: {each.log[-300:]}")
                self.running.remove(each)
            while len(self.running) < 2:
                self.start()
            is_ready = all(each.http("/readyz")[0] == 200 for each in self.running)
            return self.leader() if is_ready else None

        return parts.until("a leader and a standby", look, seconds=START_SECONDS)

    def kill(self, operator: parts.Operator) -> None:
        """SIGKILL, by the id of the process that we started."""
        self.running.remove(operator)
        operator.kill()

    def until_taken_over(self) -> float:
        """Seconds until another one leads."""
        began_at = time.monotonic()
        parts.until("another leader", self.leader, seconds=TAKEOVER_SECONDS)
        return time.monotonic() - began_at

    def lease(self) -> dict[str, Any]:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{parts.OPERATORS}/leases/{LEASE}-{self.desk.namespace}"
        found: dict[str, Any] = self.control_plane.admin.get(path).body.get("spec", {})
        return found

    def stop(self) -> None:
        for each in self.running:
            if each.process.poll() is None:
                each.process.terminate()
        for each in self.running:
            try:
                each.process.wait(40)
            except subprocess.TimeoutExpired:
                each.kill()


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> None:
    for manifest in parts.read_crds():
        parts.install_crd(control_plane.admin, manifest)
    bots = "/apis/tradingbot.dev/v1alpha1/tradingbots"
    parts.until("bots can be listed", lambda: control_plane.admin.get(bots).is_success)


@pytest.fixture
def fleet(control_plane: ControlPlane, namespace: str, crds: None, tmp_path: Path) -> Iterator[Fleet]:
    assert crds is None
    desk = parts.Desk(control_plane.admin, namespace)
    venue = f"--exchange-addresses={json.dumps(VENUE)}"
    lease = f"--lease-name={LEASE}-{namespace}"
    fleet = Fleet(control_plane, desk, tmp_path, (lease, f"--namespaces={namespace}", venue, *TIMES))
    yield fleet
    fleet.stop()

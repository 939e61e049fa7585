"""SHELL: one control plane: writes its files, starts its processes, stops them. For tests, and within the supervisor.

Blocking and not async on purpose: a fixture of any scope can use it under any event loop, and processes must be
started, watched and stopped by code that does not hang on a loop that a test may close.

    with ControlPlane.start(folder, find_binaries()) as control_plane:
        control_plane.admin.get("/api/v1/nodes")

Its processes die with the process that started them, whatever ends it, SIGKILL included.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.audit import POLICY, AuditLog
from tradingbot_sandbox.control_plane.binaries import Binaries
from tradingbot_sandbox.control_plane.components import PORTS, Layout, control_plane
from tradingbot_sandbox.control_plane.ports import Ports
from tradingbot_sandbox.supervisor.component import ComponentStatus
from tradingbot_sandbox.supervisor.errors import AddressInUse
from tradingbot_sandbox.supervisor.group import ComponentGroup, SystemClock
from tradingbot_sandbox.supervisor.health import HttpProber
from tradingbot_sandbox.supervisor.state import StateFolder, write_atomic

START_SECONDS = 90.0
"""A start takes about five seconds; a busy CI machine may need many times that."""
PORT_ATTEMPTS = 4

KEPT_ENVIRONMENT = ("HOME", "PATH", "LANG", "TZ", "TMPDIR", "GOMAXPROCS", "GOMEMLIMIT", "GOGC")
"""All that the servers get of our environment: etcd would take each ETCD_* in it for a setting."""


class ControlPlane:
    """A running control plane. What dies in it stays dead: restarting is the supervisor's business, or the test's."""

    def __init__(self, layout: Layout, group: ComponentGroup, ports: Ports, kubeconfig: Path) -> None:
        self._layout = layout
        self._group = group
        self._ports = ports
        self.kubeconfig = kubeconfig
        """For the user `sandbox-admin`, a member of system:masters."""
        self.url = layout.server
        self.ca = layout.pki.ca
        """The file with the certificate that signed the API server's."""
        self.audit_log = layout.audit_log
        """One JSON event a line, level Metadata, when the response is complete."""
        self.admin = ApiClient(layout.server, layout.pki.client("admin"))

    @classmethod
    def start(
        cls,
        folder: Path,
        binaries: Binaries,
        *,
        environ: Mapping[str, str] | None = None,
        timeout_seconds: float = START_SECONDS,
    ) -> ControlPlane:
        """Starts a control plane on this state folder, new or used, and returns when it is ready."""
        state = StateFolder(folder)
        state.create()
        ports = Ports(state.ports_file)

        def make() -> tuple[Layout, ComponentGroup]:
            layout = prepare(state, ports)
            components = control_plane(layout, binaries, server_environ(os.environ if environ is None else environ))
            group = ComponentGroup(
                components, logs=state.logs, directory=folder, prober=HttpProber(), clock=SystemClock()
            )
            return layout, group

        try:
            layout, group = start_on_free_ports(make, ports, timeout_seconds=timeout_seconds)
        except BaseException:
            ports.close()
            raise
        return cls(layout, group, ports, state.kubeconfig)

    def stop(self) -> None:
        """Stops everything in order; the folder stays, and can be started again."""
        self._group.stop()
        self._ports.close()

    def kill(self, component: str) -> None:
        """SIGKILL for `etcd`, `kube-apiserver` or `kube-controller-manager`; it stays down until `resume`."""
        self._group.kill(component)

    def resume(self, *components: str, timeout_seconds: float = START_SECONDS) -> None:
        """Starts killed components again, with their old addresses and data, and waits until all is healthy."""
        for component in components:
            self._group.resume(component)
        self._group.wait_healthy(timeout_seconds=timeout_seconds)

    def statuses(self) -> tuple[ComponentStatus, ...]:
        """As they were when somebody last waited for them."""
        return self._group.statuses()

    def pids(self) -> dict[str, int]:
        return self._group.pids()

    def client(self, token: str) -> ApiClient:
        """The API server with another identity than the administrator's."""
        return replace(self.admin, token=token)

    def audit(self) -> AuditLog:
        """A reader of the audit log that begins here."""
        log = AuditLog(self.audit_log)
        log.mark()
        return log

    def __enter__(self) -> ControlPlane:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def prepare(state: StateFolder, ports: Ports) -> Layout:
    """Writes all that the servers read: certificates, kubeconfigs, the audit policy. Keeps authorities that exist."""
    layout = Layout(state.root, ports.take(PORTS))
    layout.pki.prepare()
    (state.root / "etcd").mkdir(mode=0o700, exist_ok=True)  # etcd warns of any other mode
    layout.audit_policy.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(layout.audit_policy, json.dumps(POLICY, indent=1))
    kubeconfigs = {
        "controller-manager": layout.controller_manager_kubeconfig,
        "node": layout.node_kubeconfig,
        "admin": state.kubeconfig,
    }
    for client, path in kubeconfigs.items():
        write_atomic(path, layout.pki.kubeconfig(client, server=layout.server))
    return layout


def start_on_free_ports(
    make: Callable[[], tuple[Layout, ComponentGroup]],
    ports: Ports,
    *,
    timeout_seconds: float = START_SECONDS,
    wait: Callable[[float], None] = time.sleep,
) -> tuple[Layout, ComponentGroup]:
    """Makes a group of components and waits until it is healthy. When somebody was faster at one of its ports, the
    group is made again: the ports that are taken by then are replaced."""
    for attempt in range(1, PORT_ATTEMPTS + 1):
        layout, group = make()
        try:
            group.wait_healthy(timeout_seconds=timeout_seconds, wait=wait)
        except AddressInUse:
            group.stop()
            ports.close()
            if attempt == PORT_ATTEMPTS:
                raise
        except BaseException:
            group.stop()
            raise
        else:
            return layout, group
    raise AssertionError("unreachable: the last attempt returns or raises")


def server_environ(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in KEPT_ENVIRONMENT if name in environ}

"""SHELL. Makes the Node known and keeps it alive: its object, its conditions, its Lease."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog

from .clock import Clock
from .errors import ApiError, ApiUnreachable, Conflict, NotFound
from .kube import STRATEGIC_PATCH, KubeApi, core_path
from .node_object import LEASE_NAMESPACE, Machine, build_lease, build_node, build_node_status
from .process import read_boot_id
from .reflector import Change, Reflector
from .settings import Settings

Json = dict[str, Any]
log = structlog.get_logger()
RETRY_SECONDS = 1.0
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases"
GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def read_machine(state: Path) -> Machine:
    try:
        machine_id = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine_id = ""  # minimal images have none
    kernel = platform.uname()
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk_bytes=shutil.disk_usage(state).total,
        architecture=GO_ARCHITECTURES.get(kernel.machine, kernel.machine),
        kernel=kernel.release,
        system=f"{kernel.system} with Python {platform.python_version()}",
        boot_id=read_boot_id(),
        machine_id=machine_id,
    )


def own_version() -> str:
    try:
        return version("tradingbot-operator")
    except PackageNotFoundError:
        return "0.0.0"


class Registration:
    def __init__(
        self, api: KubeApi, clock: Clock, settings: Settings, port: int | None, on_change: Callable[[], None]
    ) -> None:
        self._api = api
        self._clock = clock
        self._settings = settings
        self._port = port
        self._on_change = on_change
        self._machine = read_machine(settings.state)
        self._path = core_path("nodes", name=settings.name)
        self._lost = asyncio.Event()
        self.reflector = Reflector(
            api, core_path("nodes"), self._on_node, field_selector=f"metadata.name={settings.name}"
        )

    def node(self) -> Json | None:
        return next(iter(self.reflector.objects.values()), None)

    async def keep(self) -> None:
        """Writes the Node again and again, and anew if somebody deletes it."""
        while True:
            self._lost.clear()
            try:
                await self._write()
                pause = self._settings.node_status_seconds
            except (ApiError, ApiUnreachable) as error:
                log.warning("node_not_written", error=str(error))
                pause = RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._lost.wait()
            except TimeoutError:
                continue

    async def keep_lease(self) -> None:
        while True:
            pause = RETRY_SECONDS
            try:
                if (node := self.node()) is not None:
                    await self._renew(node["metadata"]["uid"])
                    pause = self._settings.lease_seconds / 4
            except (ApiError, ApiUnreachable) as error:
                log.warning("lease_not_renewed", error=str(error))
            await asyncio.sleep(pause)

    async def _write(self) -> None:
        body = build_node(self._settings.name, self._machine)
        try:
            node = await self._api.create(core_path("nodes"), body)
            log.info("node_registered", name=self._settings.name, logs_port=self._port)
        except Conflict:
            node = await self._api.patch(self._path, {"metadata": {"labels": body["metadata"]["labels"]}})
        now = self._clock.now_ns()
        status = build_node_status(
            self._settings.name, self._machine, own_version(), self._port, node.get("status") or {}, now
        )
        await self._api.patch(f"{self._path}/status", {"status": status}, STRATEGIC_PATCH)

    async def _renew(self, uid: str) -> None:
        lease = build_lease(self._settings.name, uid, self._settings.lease_seconds, self._clock.now_ns())
        try:
            await self._api.patch(f"{LEASES}/{self._settings.name}", lease)
        except NotFound:
            await self._api.create(LEASES, lease)

    def _on_node(self, change: Change, _node: Json) -> None:
        if change == "gone":
            log.warning("node_deleted", name=self._settings.name)
            self._lost.set()
        self._on_change()

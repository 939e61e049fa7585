"""SHELL. Gives pods that no node has yet to this one, and has the volumes made that they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from .claims import Claims
from .errors import ApiError, ApiUnreachable
from .events import Events
from .kube import STRATEGIC_PATCH, KubeApi, core_path
from .placement import claim_names, is_once_per_pod, place
from .reflector import Change, Reflector
from .spec_check import check_pod

Json = dict[str, Any]
log = structlog.get_logger()
AGAIN_SECONDS = 5.0
"""How often pods that wait are looked at when nothing has changed: a storage class may have appeared, for example."""


class Binder:
    def __init__(
        self,
        api: KubeApi,
        events: Events,
        claims: Claims,
        *,
        node: Callable[[], Json | None],
        claims_in_use: Callable[[], set[tuple[str, str]]],
    ) -> None:
        """`node`: this node's object. `claims_in_use`: (namespace, name) of every claim that a pod of it uses."""
        self._api = api
        self._events = events
        self._claims = claims
        self._node = node
        self._claims_in_use = claims_in_use
        self._wake = asyncio.Event()
        self._told: dict[str, str] = {}
        self.pods = Reflector(
            api, core_path("pods"), self._on_pod, field_selector="spec.nodeName=,status.phase=Pending"
        )

    def look_again(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(AGAIN_SECONDS if self.pods.objects else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            for pod in list(self.pods.objects.values()):
                try:
                    await self._consider(pod)
                except (ApiError, ApiUnreachable) as error:
                    # Somebody else bound or deleted it, or the server is away: the watch or the next round tells.
                    log.info("not_bound", pod=pod["metadata"]["name"], error=str(error))

    def _on_pod(self, change: Change, pod: Json) -> None:
        if change == "gone":
            self._told.pop(pod["metadata"]["uid"], None)
        self._wake.set()

    async def _consider(self, pod: Json) -> None:
        node = self._node()
        if node is None or pod["metadata"].get("deletionTimestamp"):
            return
        namespace = pod["metadata"]["namespace"]
        # A pod that will be refused needs no volumes, and its refusal is written by the node that has it.
        names = [] if check_pod(pod["spec"]).unsupported else claim_names(pod["spec"])
        claims = {name: self._claims.find(namespace, name) for name in names}
        in_use = self._claims_in_use()
        exclusive = [name for name, claim in claims.items() if claim and is_once_per_pod(claim)]
        busy = frozenset(name for name in exclusive if (namespace, name) in in_use)
        decision = place(pod, node, claims, busy)
        if decision.wants_volumes:
            unbound = [claim for claim in claims.values() if claim and not claim["spec"].get("volumeName")]
            if all([await self._claims.provision(claim) for claim in unbound]):
                return  # its claims' next change brings it here again
        if decision.bind:
            await self._bind(pod, node)
        elif decision.reason and self._told.get(pod["metadata"]["uid"]) != decision.reason:
            await self._explain(pod, decision.reason)

    async def _bind(self, pod: Json, node: Json) -> None:
        metadata, name = pod["metadata"], node["metadata"]["name"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": name},
        }
        await self._api.create(core_path("pods", metadata["namespace"], metadata["name"], "binding"), body)
        self.pods.objects.pop(metadata["uid"], None)
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {name}"
        self._events.tell(pod, "Normal", "Scheduled", message)

    async def _explain(self, pod: Json, reason: str) -> None:
        metadata = pod["metadata"]
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason}
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [condition]}}
        path = core_path("pods", metadata["namespace"], metadata["name"], "status")
        await self._api.patch(path, body, STRATEGIC_PATCH)
        self._events.tell(pod, "Warning", "FailedScheduling", reason)
        self._told[metadata["uid"]] = reason

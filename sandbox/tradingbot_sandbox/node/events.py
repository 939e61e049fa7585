"""SHELL. Events about pods, claims and the node, as a kubelet records them: one object a cause, counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import Any, Literal

import structlog

from .clock import Clock
from .errors import ApiError, ApiUnreachable, NotFound
from .kube import KubeApi, core_path
from .timestamps import to_rfc3339

Json = dict[str, Any]
log = structlog.get_logger()
COMPONENT = "process-node"
QUEUE_LIMIT = 1000
"""Events wait here while the API server does not answer; further ones are dropped, and the log says so."""
REMEMBERED = 2000
"""Causes whose event is counted up instead of repeated."""
MESSAGE_LIMIT = 1024

Cause = tuple[str, str, str, str]


class Events:
    def __init__(self, api: KubeApi, clock: Clock, node_name: str) -> None:
        self._api = api
        self._clock = clock
        self._node_name = node_name
        self._queue: asyncio.Queue[tuple[Cause, Json]] = asyncio.Queue(QUEUE_LIMIT)
        self._known: OrderedDict[Cause, tuple[str, int]] = OrderedDict()
        self._serial = 0

    def tell(
        self,
        item: Json,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        container: str = "",
    ) -> None:
        """About an object of the API; `container` names one of a pod's containers."""
        metadata = item["metadata"]
        message = message if len(message) <= MESSAGE_LIMIT else f"{message[: MESSAGE_LIMIT - 3]}..."
        about = {
            "apiVersion": item.get("apiVersion", "v1"),
            "kind": item["kind"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
        if metadata.get("namespace"):
            about["namespace"] = metadata["namespace"]
        if container:
            about["fieldPath"] = f"spec.containers{{{container}}}"
        now = to_rfc3339(self._clock.now_ns())
        self._serial += 1
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name'][:200]}.{self._clock.now_ns():x}{self._serial:x}",
                "namespace": metadata.get("namespace", "default"),
            },
            "involvedObject": about,
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": COMPONENT, "host": self._node_name},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node_name,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        log.info(
            "event", object=f"{item['kind']}/{metadata['name']}", reason=reason, container=container, message=message
        )
        try:
            self._queue.put_nowait(((metadata["uid"], container, reason, message), body))
        except asyncio.QueueFull:
            log.warning("event_dropped", object=metadata["name"], reason=reason)

    async def run(self) -> None:
        while True:
            cause, body = await self._queue.get()
            try:
                await self._send(cause, body)
            except ApiUnreachable as error:
                log.info("event_not_sent", reason=body["reason"], error=str(error))
                await asyncio.sleep(1)  # it is not sent again: an event tells, it does not keep a promise
            except ApiError as error:
                # 403 in a namespace that is going away, 404 in one that is gone.
                log.info("event_refused", reason=body["reason"], error=str(error))
            finally:
                self._queue.task_done()

    async def flush(self, timeout: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._queue.join()

    async def _send(self, cause: Cause, body: Json) -> None:
        namespace = body["metadata"]["namespace"]
        known = self._known.get(cause)
        if known:
            name, count = known
            patch = {"count": count + 1, "lastTimestamp": body["lastTimestamp"]}
            try:
                await self._api.patch(core_path("events", namespace, name), patch)
            except NotFound:
                del self._known[cause]  # the API server keeps events for an hour
            else:
                self._known[cause] = (name, count + 1)
                self._known.move_to_end(cause)
                return
        await self._api.create(core_path("events", namespace), body)
        self._known[cause] = (body["metadata"]["name"], 1)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

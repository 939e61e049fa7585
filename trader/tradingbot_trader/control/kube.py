"""SHELL. The only import of the Kubernetes client: our TradingBot, the halts, our Lease. A list of verbs, no rule.

Needs: tradingbots get/list/watch of our name, tradingbots/status patch, leases get/update of our name (the Role that
the operator makes), tradinghalts list/watch (the chart's ClusterRole).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from tradingbot_api import API_VERSION, GROUP, VERSION, labels

WATCH_SECONDS = 300
"""The server ends a watch after so long; the client gives up a little later, in case the server's end was lost."""
REQUEST_SECONDS = 8.0
"""Deadline of everything but a watch: three tries fit into the shortest sensible controlPlaneTimeout."""

Raw = dict[str, Any]


class KubeError(Exception):
    """The API server could not be asked, or said no. `status` is 0 when there was no answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Listing:
    items: list[Raw]
    resource_version: str


class KubeApi(Protocol):
    """What the trader asks of the API server. Every call may raise KubeError."""

    async def get_bot(self) -> Raw | None:
        """A consistent read of our own object; None when there is none."""
        ...

    async def list_bot(self) -> Listing:
        """Our own object, or nothing, with the version to watch from."""
        ...

    async def list_halts(self) -> Listing: ...
    def watch_bot(self, resource_version: str) -> AsyncIterator[Raw]:
        """Events of our own object after that version, until the server ends the watch."""
        ...

    def watch_halts(self, resource_version: str) -> AsyncIterator[Raw]: ...
    async def apply_status(self, trader: Mapping[str, Any]) -> None:
        """Server-side apply of `status.trader`, whole."""
        ...

    async def get_lease(self) -> Raw | None: ...
    async def replace_lease(self, body: Mapping[str, Any], *, resource_version: str) -> Raw:
        """The new Lease; KubeError 409 when somebody else wrote it meanwhile."""
        ...

    async def close(self) -> None: ...


class KubernetesApi:
    """KubeApi over the service account of the pod. The token is read again every minute, as it is rotated."""

    def __init__(
        self, *, namespace: str, name: str, service_account_dir: Path, environ: Mapping[str, str] = os.environ
    ) -> None:
        """`environ` names the API server, as the kubelet does for each container."""
        self._namespace, self._name = namespace, name
        configuration = client.Configuration()
        InClusterConfigLoader(
            token_filename=str(service_account_dir / "token"),
            cert_filename=str(service_account_dir / "ca.crt"),
            environ=environ,
        ).load_and_set(configuration)
        configuration.retries = None  # the callers' loops decide when to ask again; 0 would mean without end
        self._client = client.ApiClient(configuration)
        self._objects = client.CustomObjectsApi(self._client)
        self._leases = client.CoordinationV1Api(self._client)

    async def get_bot(self) -> Raw | None:
        try:
            bot: Raw = await self._call(
                self._objects.get_namespaced_custom_object(
                    GROUP, VERSION, self._namespace, "tradingbots", self._name, _request_timeout=REQUEST_SECONDS
                )
            )
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return bot

    async def list_bot(self) -> Listing:
        raw = await self._call(
            self._objects.list_namespaced_custom_object(
                GROUP,
                VERSION,
                self._namespace,
                "tradingbots",
                field_selector=f"metadata.name={self._name}",
                _request_timeout=REQUEST_SECONDS,
            )
        )
        return Listing(raw.get("items") or [], raw["metadata"]["resourceVersion"])

    async def list_halts(self) -> Listing:
        raw = await self._call(
            self._objects.list_cluster_custom_object(GROUP, VERSION, "tradinghalts", _request_timeout=REQUEST_SECONDS)
        )
        return Listing(raw.get("items") or [], raw["metadata"]["resourceVersion"])

    async def watch_bot(self, resource_version: str) -> AsyncIterator[Raw]:
        response = await self._call(
            self._objects.list_namespaced_custom_object_without_preload_content(
                GROUP,
                VERSION,
                self._namespace,
                "tradingbots",
                field_selector=f"metadata.name={self._name}",
                **self._watch_options(resource_version),
            )
        )
        async for event in self._events(response):
            yield event

    async def watch_halts(self, resource_version: str) -> AsyncIterator[Raw]:
        response = await self._call(
            self._objects.list_cluster_custom_object_without_preload_content(
                GROUP, VERSION, "tradinghalts", **self._watch_options(resource_version)
            )
        )
        async for event in self._events(response):
            yield event

    async def apply_status(self, trader: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": "TradingBot",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "status": {"trader": trader},
        }
        await self._call(
            self._objects.patch_namespaced_custom_object_status(
                GROUP,
                VERSION,
                self._namespace,
                "tradingbots",
                self._name,
                body,
                field_manager=labels.TRADER_MANAGER,
                force=True,
                _content_type="application/apply-patch+yaml",
                _request_timeout=REQUEST_SECONDS,
            )
        )

    async def get_lease(self) -> Raw | None:
        try:
            lease = await self._call(
                self._leases.read_namespaced_lease(
                    labels.child_name(self._name), self._namespace, _request_timeout=REQUEST_SECONDS
                )
            )
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return self._plain(lease)

    async def replace_lease(self, body: Mapping[str, Any], *, resource_version: str) -> Raw:
        name = labels.child_name(self._name)
        lease = await self._call(
            self._leases.replace_namespaced_lease(
                name,
                self._namespace,
                {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    **body,
                    "metadata": {**body.get("metadata", {}), "name": name, "resourceVersion": resource_version},
                },
                field_manager=labels.TRADER_MANAGER,
                _request_timeout=REQUEST_SECONDS,
            )
        )
        return self._plain(lease)

    async def close(self) -> None:
        await self._client.close()

    def _plain(self, model: Any) -> Raw:
        plain: Raw = self._client.sanitize_for_serialization(model)
        return plain

    @staticmethod
    def _watch_options(resource_version: str) -> dict[str, Any]:
        return {
            "watch": True,
            "resource_version": resource_version,
            "allow_watch_bookmarks": True,
            "timeout_seconds": WATCH_SECONDS,
            "_request_timeout": WATCH_SECONDS + 10.0,
        }

    @staticmethod
    async def _call(request: Any) -> Any:
        try:
            return await request
        except client.ApiException as error:
            raise KubeError(_summary(error), status=error.status or 0) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(f"no answer from the API server: {type(error).__name__}") from error

    @staticmethod
    async def _events(response: Any) -> AsyncIterator[Raw]:
        """Lines of any length: a reader with a line limit would end the watch of a large object for ever."""
        rest = b""
        try:
            if response.status != 200:
                raise KubeError(f"watch refused with {response.status}", status=response.status)
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        event = json.loads(line)
                        if event.get("type") == "ERROR":
                            code = int((event.get("object") or {}).get("code") or 0)
                            raise KubeError("the watch has expired", status=code)
                        yield event
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
            raise KubeError(f"the watch broke: {type(error).__name__}") from error
        except asyncio.CancelledError:
            raise
        finally:
            response.close()


def _summary(error: client.ApiException) -> str:
    """One line of what the API server said, without headers."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"

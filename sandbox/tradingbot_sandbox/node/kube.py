"""SHELL. The API server, as plain JSON: typed models would drop the fields that this node must refuse."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio import client, config

from .errors import ApiError, ApiUnreachable, Conflict, Expired, NodeUnusable, NotFound

Json = dict[str, Any]
REQUEST_SECONDS = 15.0
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_ERRORS: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Expired}


def core_path(resource: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """`/api/v1/namespaces/NS/pods/NAME/status`; parts that are empty are left out."""
    parts = ["/api/v1"]
    if namespace:
        parts += ["namespaces", namespace]
    parts += [part for part in (resource, name, subresource) if part]
    return "/".join(parts)


class KubeApi(Protocol):
    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json: ...
    async def create(self, path: str, body: Json) -> Json: ...
    async def patch(self, path: str, body: Json, content_type: str = MERGE_PATCH) -> Json: ...
    async def delete(self, path: str, body: Json | None = None) -> Json: ...
    def watch(self, path: str, query: Mapping[str, str], seconds: float) -> AsyncGenerator[Json, None]: ...


class Api:
    def __init__(self, api_client: Any) -> None:
        self._client = api_client

    @staticmethod
    async def connect(kubeconfig: Path, scratch: Path) -> Api:
        """`scratch` takes the key files that the client writes for what the kubeconfig holds inline."""
        settings = client.Configuration()
        try:
            await config.load_kube_config(
                config_file=str(kubeconfig), client_configuration=settings, temp_file_path=str(scratch)
            )
        except (config.ConfigException, OSError) as error:
            raise NodeUnusable(f"cannot use the kubeconfig {kubeconfig}: {error}") from error
        settings.connection_pool_maxsize = 0  # each watch holds a connection, and nobody knows how many there will be
        settings.client_session_kwargs = {"trust_env": False}  # a proxy of the caller's shell is not for the loopback
        api_client = client.ApiClient(settings)
        api_client.user_agent = "tradingbot-process-node"  # the audit log tells who asked
        return Api(api_client)

    async def close(self) -> None:
        await self._client.close()

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self._client.configuration.host)
        return parts.hostname or "127.0.0.1", parts.port or 443

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        return await self._request("GET", path, query=query)

    async def create(self, path: str, body: Json) -> Json:
        return await self._request("POST", path, body=body)

    async def patch(self, path: str, body: Json, content_type: str = MERGE_PATCH) -> Json:
        return await self._request("PATCH", path, body=body, content_type=content_type)

    async def delete(self, path: str, body: Json | None = None) -> Json:
        return await self._request("DELETE", path, body=body)

    async def watch(self, path: str, query: Mapping[str, str], seconds: float) -> AsyncGenerator[Json, None]:
        """The events of one watch request, which the server ends after `seconds`; Expired if its place is too old."""
        whole = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(int(seconds))}
        # A server that has died without a word must not hold the watch much longer than a living one would.
        response = await self._send("GET", path, whole, None, None, aiohttp.ClientTimeout(total=seconds + 10))
        try:
            if response.status != 200:
                raise _error(response.status, await response.read())
            while line := await _answer(response.response.content.readline()):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(event["object"].get("code", 500), line, event["object"])
                yield event
        finally:
            response.response.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str | None = None,
    ) -> Json:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        response = await self._send(method, path, query, body, content_type, timeout)
        data = await _answer(response.read())
        if not 200 <= response.status < 300:
            raise _error(response.status, data)
        answer: Json = json.loads(data)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | None,
        content_type: str | None,
        timeout: aiohttp.ClientTimeout,
    ) -> Any:
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content_type else {})
        request = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        return await _answer(self._client.call_api(*request, _request_timeout=timeout))


async def _answer(call: Any) -> Any:
    try:
        return await call
    except TimeoutError as error:
        raise ApiUnreachable("the API server did not answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ApiUnreachable(f"the API server cannot be reached: {error}") from error


def _error(status: int, data: bytes, body: Json | None = None) -> ApiError:
    if body is None:
        try:
            body = json.loads(data)
        except ValueError:
            body = {}
    kind = _ERRORS.get(status, ApiError)
    details = body if isinstance(body, dict) else {}
    return kind(
        status, details.get("reason") or "Unknown", details.get("message") or data[:300].decode(errors="replace")
    )

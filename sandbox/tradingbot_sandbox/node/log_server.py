"""SHELL. The kubelet's HTTPS endpoint, as far as `kubectl logs` needs it.

Whoever asks is known by a client certificate of the cluster's CA, and the API server is asked whether that user may get
`nodes/proxy`, as a kubelet with webhook authorization does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from aiohttp import web

from .downward import HOST_IP
from .errors import ApiError, ApiUnreachable
from .kube import KubeApi
from .log_query import BadQuery, LogQuery, parse_query, tail_offset

Json = dict[str, Any]
log = structlog.get_logger()
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CHUNK_BYTES = 64 * 1024
FOLLOW_SECONDS = 0.1
"""How often a log that is followed is looked at: it is a plain file, which its program writes without the node."""
NOT_HERE = "{} is not supported on a process node: its containers are processes of this machine"


@dataclass(frozen=True, slots=True)
class LogSource:
    path: Path | None
    """None: there is no such run; `missing` says why."""
    missing: str = ""
    is_open: Callable[[], bool] = lambda: False
    """Whether more may be written to it."""


FindLog = Callable[[str, str, str, bool], LogSource | None]
"""(namespace, pod, container, previous run?) -> its log; None if there is no such container here."""


class LogServer:
    def __init__(self, api: KubeApi, node_name: str, find_log: FindLog, context: ssl.SSLContext) -> None:
        self._api = api
        self._node_name = node_name
        self._find_log = find_log
        self._context = context
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Serves on a free port of 127.0.0.1, which is returned."""
        application = web.Application(middlewares=[self._authorize])
        application.router.add_get("/healthz", _healthz)
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for name in ("exec", "attach", "portForward", "run"):
            application.router.add_route("*", f"/{name}/{{rest:.*}}", _not_here)
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST_IP, 0, ssl_context=self._context, shutdown_timeout=1.0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        user, groups = identity(certificate or {})
        spec = {
            "user": user,
            "groups": [*groups, "system:authenticated"],
            "resourceAttributes": {
                "verb": "get",
                "resource": "nodes",
                "subresource": "proxy",
                "name": self._node_name,
            },
        }
        try:
            review = await self._api.create(
                REVIEWS, {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
            )
        except (ApiError, ApiUnreachable) as error:
            return web.Response(status=503, text=f"the API server could not be asked about {user}: {error}\n")
        if not (review.get("status") or {}).get("allowed"):
            log.warning("request_forbidden", user=user, path=request.path)
            return web.Response(status=403, text=f"{user} may not get nodes/proxy of {self._node_name}\n")
        response: web.StreamResponse = await handler(request)
        return response

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        try:
            query = parse_query(request.query)
        except BadQuery as problem:
            return web.Response(status=400, text=f"{problem}\n")
        where = request.match_info
        source = self._find_log(where["namespace"], where["pod"], where["container"], query.previous)
        if source is None:
            text = f"no container {where['container']} of pod {where['namespace']}/{where['pod']} on this node\n"
            return web.Response(status=404, text=text)
        if source.path is None:
            return web.Response(status=400, text=f"{source.missing}\n")
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        with source.path.open("rb") as stream, contextlib.suppress(ConnectionResetError):  # who follows may go any time
            await _send(response, stream, query, source.is_open)
            await response.write_eof()
        return response


async def _send(response: web.StreamResponse, stream: BinaryIO, query: LogQuery, is_open: Callable[[], bool]) -> None:
    if query.tail_lines is not None:
        stream.seek(find_tail(stream, query.tail_lines))
    left = query.limit_bytes
    while left is None or left > 0:
        more = is_open()  # before reading: what is written until the end of the program is then not missed
        chunk = stream.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
        if chunk:
            await response.write(chunk)
            left = None if left is None else left - len(chunk)
        elif query.follow and more:
            if os.fstat(stream.fileno()).st_size < stream.tell():
                stream.seek(0)  # it was too long and has begun anew
            await asyncio.sleep(FOLLOW_SECONDS)
        else:
            return


def find_tail(stream: BinaryIO, lines: int) -> int:
    """The offset at which the last `lines` lines of a file begin."""
    end = stream.seek(0, 2)
    size = CHUNK_BYTES
    while True:
        start = max(end - size, 0)
        stream.seek(start)
        offset = tail_offset(stream.read(end - start), lines)
        if offset is not None:
            return start + offset
        if start == 0:
            return 0
        size *= 2


def identity(certificate: Json) -> tuple[str, list[str]]:
    """User (common name) and groups (organisations) of a verified client certificate, as the API server reads it."""
    fields = [pair for name in certificate.get("subject") or () for pair in name]
    user = next((value for key, value in fields if key == "commonName"), "system:anonymous")
    return user, [value for key, value in fields if key == "organizationName"]


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _not_here(request: web.Request) -> web.Response:
    action = request.path.split("/")[1]
    return web.Response(status=501, text=NOT_HERE.format(action) + "\n")

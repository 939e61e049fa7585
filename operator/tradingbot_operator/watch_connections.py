"""SHELL. The connections of the watches: opened for kopf, told of to `Watches`, and cut when a watch is proved dead.

Cut, kopf asks again at once, from the last version that it saw: nothing is listed anew, and nothing is lost between.
"""

from __future__ import annotations

import socket
import ssl
import weakref
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tradingbot_operator import kinds
from tradingbot_operator.kube import Connection
from tradingbot_operator.watches import Watches, WatchId


class WatchConnections:
    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def open_session(self, connection: Connection) -> aiohttp.ClientSession:
        """Its owner closes it."""
        headers = {} if connection.token is None else {"Authorization": f"Bearer {connection.token}"}
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._note_answer)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=_trust(connection), socket_factory=self._open_socket),
            headers=headers,
            trace_configs=[trace],
        )

    def cut(self) -> int:
        """All of them, also those that look alive: their watches are resumed too. The answer is how many."""
        cut = 0
        for each in list(self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed already
                continue
            cut += 1
        return cut

    def _open_socket(self, address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        self._sockets.add(opened)
        return opened

    async def _note_answer(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        is_watch = params.response.status == 200 and "watch" in params.url.query
        if not is_watch:
            return
        found = next((each for each in self._watches.ids if _path(each) == params.url.path), None)
        if found is not None:
            self._watches.opened(found)


def _path(watch_id: WatchId) -> str:
    (kind,) = (kind for kind in (*kinds.WATCHED, kinds.HALT) if kind.plural == watch_id.plural)
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{watch_id.namespace}/{kind.plural}" if watch_id.namespace else f"{root}/{kind.plural}"


def _trust(connection: Connection) -> ssl.SSLContext | bool:
    """True: no TLS at all, or the system's authorities."""
    if urlsplit(connection.server).scheme != "https":
        return True
    context = ssl.create_default_context(cafile=connection.ca_path)
    if connection.certificate_path is not None:
        context.load_cert_chain(connection.certificate_path, connection.key_path)
    return context

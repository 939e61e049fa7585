"""SHELL. One HTTP request on the wire, at most once, and what is proved about it. Account adapter -> here -> venue.

Whether a request may leave is asked in the moment in which a connection stands and its first byte would be written:
a stop that came during a slow handshake still holds it back.
"""
# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import yarl
from aiohttp.connector import Connection

TIMEOUT_SECONDS = 10.0
"""Of one request, from the first attempt to connect to the last byte of the reply."""
CONNECT_SECONDS = 5.0
"""Of these, for connecting. A signed request is stale after recvWindow anyway."""


class NotSent(Exception):
    """It is proved that no byte of the request left: no connection was ever established for it."""


class NoAnswer(Exception):
    """The request, or a part of it, may have arrived. The message is the kind of failure, nothing of the request."""


def always() -> None:
    """May leave at any time."""


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest:
    """Its query, headers and body carry keys and signatures, so none of them is ever shown."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str = ""
    leave: Callable[[], None] = always
    """The transport calls it exactly once, when the first byte is about to leave. Its exception ends the request
    unsent, and comes out of `send` as it is."""

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.url.partition('?')[0]})"


@dataclass(frozen=True, slots=True)
class HttpReply:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    text: str = field(repr=False)


class Transport(Protocol):
    """The seam of a simulation: it stands where the network would be."""

    async def send(self, request: HttpRequest) -> HttpReply:
        """At most one request on the wire for one call. Raises NotSent, NoAnswer, or what `request.leave` raised."""
        ...

    async def close(self) -> None: ...


class AiohttpTransport:
    """Transport over keep-alive connections: no proxy, no redirect, no cookie, no repetition."""

    def __init__(
        self,
        *,
        cafile: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self._cafile = cafile
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=connect_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: HttpRequest) -> HttpReply:
        flight = _Flight(request.leave)
        token = _FLIGHT.set(flight)
        try:
            return await self._exchange(request)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure, was_connecting = _kind(error), isinstance(error, _CONNECTING)
        finally:
            _FLIGHT.reset(token)
        # Raised outside of the handler: aiohttp's errors carry the URL, and would hang on to ours as its context.
        raise NotSent(failure) if was_connecting and not flight.has_left else NoAnswer(failure)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(self, request: HttpRequest) -> HttpReply:
        async with self._open().request(
            request.method,
            yarl.URL(request.url, encoded=True),  # a signature is over these very characters
            headers=dict(request.headers),
            data=request.body.encode() or None,
            allow_redirects=False,  # a redirect is another request
        ) as response:
            text = await response.text(encoding="utf-8", errors="replace")
            return HttpReply(response.status, dict(response.headers), text)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=self._cafile)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context),
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_GatedRequest,
                timeout=self._timeout,
                trust_env=False,  # whoever sets a proxy reads, and could answer, what is meant for the venue
            )
            # aiohttp (seen in 3.14.5) sends GET and DELETE again when the connection dies before the reply. The flight
            # refuses that too, should this switch be renamed.
            self._session._retry_connection = False
        return self._session


_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Names that cannot be resolved, refusals, TLS, and time-outs before a connection stood (aiohttp 3.14.5). Asked for
beside our own mark: one of the two alone proves nothing, should aiohttp change."""


class _Flight:
    """One request's way out. `has_left` is set before the first byte is written, never after."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self.has_left = False

    def take_off(self) -> None:
        if self.has_left:
            raise aiohttp.ClientPayloadError("the connection was lost before the reply")
        self._leave()
        self.has_left = True


_FLIGHT: ContextVar[_Flight] = ContextVar("flight")


class _GatedRequest(aiohttp.ClientRequest):
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """aiohttp calls this when the connection stands. Nothing of the request is written before."""
        _FLIGHT.get().take_off()
        return await super().send(conn)


def _kind(error: Exception) -> str:
    """What failed, in words that hold nothing of the request."""
    if isinstance(error, asyncio.TimeoutError):
        return "timeout"
    number = getattr(error, "errno", None)
    words = os.strerror(number) if isinstance(number, int) and number > 0 else ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__

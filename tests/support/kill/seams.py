"""The trader's own seams, with points at which the process may be killed: disk, transport, the account's stream."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from tradingbot_trader.book.disk import SqliteDisk
from tradingbot_trader.venues.account_stream import AccountTap
from tradingbot_trader.venues.transport import HttpReply, HttpRequest, NoAnswer, Transport

Hook = Callable[[str], None]
"""Told of each point that is passed. It may not come back."""
POLL_SECONDS = 0.02
_ENDS = ("Filled", "Cancelled", "Expired", "Rejected", "Denied")
_REQUESTS = {
    ("POST", "/api/v3/order"): "order",
    ("DELETE", "/api/v3/order"): "cancel",
    ("GET", "/api/v3/order"): "query",
}


class KillingDisk(SqliteDisk):
    """The real disk. A point is named by what the very transaction records; one that records more passes several."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._sequence = 0
        self._epoch = ""

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = super().connect(path)
        self._sequence, self._epoch = _newest(connection), _epoch(connection)
        return connection

    def commit(self, connection: sqlite3.Connection) -> None:
        names = self._names(connection)
        for name in names:
            self._hook(f"commit:{name}:before")
        super().commit(connection)
        self._sequence, self._epoch = _newest(connection), _epoch(connection)
        for name in names:
            self._hook(f"commit:{name}:after")

    def _names(self, connection: sqlite3.Connection) -> list[str]:
        names = ["epoch"] if _epoch(connection) != self._epoch else []
        if _has(connection, "audit"):
            sql = "SELECT kind, data FROM audit WHERE sequence > ? ORDER BY sequence"
            for kind, data in connection.execute(sql, (self._sequence,)):
                names += _names_of(kind, json.loads(data))
        return list(dict.fromkeys(names))


def _names_of(kind: str, data: Mapping[str, Any]) -> list[str]:
    match kind:
        case "OrderApproved":
            # The stop that protects what was bought comes by itself, and is no order of the strategy's.
            return ["intent" if data["purpose"] == "Entry" else "protection"]
        case "Adopted":
            return ["adopted"]
        case "Fill":
            return ["fill"]
        case "OrderEvent" if data["event"] == "Sent":
            return ["sent"]
        case "OrderEvent" if data["state"] in _ENDS:
            return ["end"]
    return []


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone() is not None


def _newest(connection: sqlite3.Connection) -> int:
    if not _has(connection, "audit"):
        return 0
    return int(connection.execute("SELECT coalesce(max(sequence), 0) FROM audit").fetchone()[0])


def _epoch(connection: sqlite3.Connection) -> str:
    if not _has(connection, "meta"):
        return ""
    row = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    return "" if row is None else str(row[0])


Seen = Callable[[str, str], Awaitable[bool]]
"""Whether the venue has come so far with an order: ("order:after-accept", its client id)."""


class KillingTransport:
    """The real transport. `before-send`: all gates have been asked, the first byte is about to be written.

    `after-send` and `after-accept` are what the venue says of itself: it has the bytes, it has carried them out. The
    fault script holds its answer back meanwhile.
    """

    def __init__(self, inner: Transport, hook: Hook, *, watched: str, has_seen: Seen) -> None:
        """`watched`: the one point that the venue is asked about."""
        self._inner, self._hook = inner, hook
        self._watched, self._has_seen = watched, has_seen

    async def send(self, request: HttpRequest) -> HttpReply:
        what = _REQUESTS.get((request.method, urlsplit(request.url).path))
        if what is None:
            return _own_weight(await self._inner.send(request))
        watching: list[asyncio.Task[None]] = []

        def leave() -> None:
            request.leave()
            self._hook(f"{what}:before-send")
            if self._watched in (f"{what}:after-send", f"{what}:after-accept"):
                watching.append(asyncio.create_task(self._watch(_client_id(request))))

        try:
            reply = await self._inner.send(replace(request, leave=leave))
        except NoAnswer:
            if self._watched == f"{what}:after-send":
                self._hook(self._watched)  # the venue was not asked in time; that the bytes have left is proved, too
            self._hook(f"{what}:after-answer")
            raise
        finally:
            for task in watching:
                task.cancel()
        self._hook(f"{what}:after-answer")
        return _own_weight(reply)

    async def close(self) -> None:
        await self._inner.close()

    async def _watch(self, client_id: str) -> None:
        while not await self._has_seen(self._watched, client_id):  # noqa: ASYNC110  it happens in another process
            await asyncio.sleep(POLL_SECONDS)
        self._hook(self._watched)


def _own_weight(reply: HttpReply) -> HttpReply:
    """The venue counts by address, and all traders of a run have the same: each would wait for the others' minute."""
    kept = {name: value for name, value in reply.headers.items() if "used-weight" not in name.lower()}
    return replace(reply, headers=kept)


def _client_id(request: HttpRequest) -> str:
    values = dict(parse_qsl(f"{urlsplit(request.url).query}&{request.body}"))
    return values.get("newClientOrderId") or values.get("origClientOrderId") or ""


class KillingTap:
    """An AccountTap: what the real stream hands over passes through here."""

    def __init__(self, inner: AccountTap, hook: Hook) -> None:
        self._inner, self._hook = inner, hook

    @classmethod
    def around(cls, inner: AccountTap, hook: Hook) -> AccountTap:
        return cast("AccountTap", cls(inner, hook))

    def report(self, message: Mapping[str, Any]) -> None:
        self._hook("report:before")
        self._inner.report(message)
        self._hook("report:after")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

"""Ends a life of the trader at a named point: at the wire, at the disk, or at a report. The seams are the trader's own.

The same points end a real process by SIGKILL in tests/soak: there `end` never comes back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from tradingbot_trader.book.store import SqliteDisk

POINTS = (
    "commit:intent:before",
    "commit:intent:after",
    "commit:sent:before",
    "commit:sent:after",
    "order:before-send",
    "order:after-send",
    "order:after-accept",
    "order:after-answer",
    "commit:fill:before",
    "commit:fill:after",
    "commit:end:before",
    "commit:end:after",
    "report:before",
    "report:after",
    "cancel:before-send",
    "cancel:after-accept",
    "query:after-answer",
    "commit:adopted:before",
    "commit:epoch:after",
)
"""Where a life may end. `commit:X` is the transaction that records X, before or after it is durable."""
_ENDS = ("Filled", "Cancelled", "Expired", "Rejected")


class LifeEnded(BaseException):
    """The process is gone, as by SIGKILL. What was not durable never was."""


class Crash:
    """Ends the life at the n-th time that a point is passed."""

    def __init__(self, point: str = "", nth: int = 1, *, end: Callable[[], None]) -> None:
        self.point, self._left, self._end = point, nth, end
        self.has_come = False

    def __call__(self, point: str) -> None:
        if self.has_come:
            raise LifeEnded(self.point)
        if point == self.point:
            self._left -= 1
            if self._left == 0:
                self.has_come = True
                self._end()
                raise LifeEnded(point)


class CrashingDisk(SqliteDisk):
    """The fsync boundary: what a life had not made durable when it ended is lost. It may be full, too."""

    def __init__(self, hook: Callable[[str], None]) -> None:
        self._hook = hook
        self.is_full = False

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = super().connect(path)
        # The simulation ends lives at this boundary itself, so what SQLite does below it may be cheap.
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def commit(self, connection: sqlite3.Connection) -> None:
        what = _what(connection)
        self._hook(f"commit:{what}:before")
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().commit(connection)
        self._hook(f"commit:{what}:after")


def _what(connection: sqlite3.Connection) -> str:
    """What the open transaction records, by the newest record of the audit in it."""
    try:
        row = connection.execute("SELECT kind, data FROM audit ORDER BY sequence DESC LIMIT 1").fetchone()
    except sqlite3.Error:
        return "schema"
    if row is None:
        return "epoch"
    kind, data = str(row[0]), str(row[1])
    if kind == "OrderApproved":
        return "intent"
    if kind == "Adopted":
        return "adopted"
    if kind == "OrderEvent":
        if '"event":"Sent"' in data:
            return "sent"
        if any(f'"state":"{state}"' in data for state in _ENDS):
            newest_fill = connection.execute(
                "SELECT sequence FROM audit WHERE kind = 'Fill' ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            newest = connection.execute("SELECT max(sequence) FROM audit").fetchone()
            if newest_fill is not None and newest_fill[0] == newest[0] - 1:
                return "fill"
            return "end"
        if '"event":"PartiallyFilled"' in data:
            return "fill"
        return "event"
    return kind.lower()

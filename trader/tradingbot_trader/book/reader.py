"""SHELL. Reads the store: the trader at start, `audit` and `account` at any time beside a running trader."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tradingbot_api.status import AuditHead, Latch, Permit
from tradingbot_trader.book import rows
from tradingbot_trader.book.audit import GENESIS, AuditKind, AuditRecord
from tradingbot_trader.book.schema import APPLICATION_ID, SCHEMA_VERSION
from tradingbot_trader.errors import StoreMismatch, StoreTooNew, StoreUnwritable
from tradingbot_trader.orders import machine
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, Fill, Intent, OrderEvent

FILE_NAME = "store.db"


@dataclass(frozen=True, slots=True)
class StoredLatch:
    latch: Latch
    is_active: bool
    created_ns: int
    updated_ns: int


@dataclass(frozen=True, slots=True)
class StoredConfig:
    """A spec that was accepted. Its text is validated again by whoever reads it: the models may have changed since."""

    uid: str
    generation: int
    digest: str
    spec_json: str
    accepted_ns: int


class StoreReader:
    """Everything that can be asked. Sees what is committed at each call; `snapshot` holds one moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.row_factory = sqlite3.Row

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one moment, however long they take. Not inside a transaction of the writer."""
        with translate_errors("read"):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def read_meta(self, key: str) -> str | None:
        row = self._first("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row["value"])

    def find_order(self, book: BookName, client_order_id: str) -> Order | None:
        """The order as its recorded events leave it."""
        row = self._first("SELECT * FROM orders WHERE book = ? AND client_order_id = ?", book, client_order_id)
        return None if row is None else self._replay(row)

    def open_orders(self, book: BookName) -> list[Order]:
        """Orders that are open, or ended with a fill that is not known yet; oldest first."""
        found = self._all("SELECT * FROM orders WHERE book = ? AND is_settled = 0 ORDER BY created_ns, rowid", book)
        return [self._replay(row) for row in found]

    def intents_since(self, book: BookName, since_ns: int) -> list[Intent]:
        """Intents made at or after that time, oldest first: what the orders-a-minute limit starts with."""
        sql = "SELECT * FROM orders WHERE book = ? AND created_ns >= ? ORDER BY created_ns, rowid"
        return [rows.read_intent(row) for row in self._all(sql, book, since_ns)]

    def events(self, book: BookName, client_order_id: str) -> list[OrderEvent]:
        """What was recorded of one order, in that order."""
        sql = "SELECT * FROM order_events WHERE book = ? AND client_order_id = ? ORDER BY sequence"
        return [rows.read_event(row, self._fill(row["fill_sequence"])) for row in self._all(sql, book, client_order_id)]

    def fills(self, book: BookName) -> list[Fill]:
        """All of the book, in the order in which they were recorded: what the ledger is rebuilt from."""
        return [rows.read_fill(row) for row in self._all("SELECT * FROM fills WHERE book = ? ORDER BY sequence", book)]

    def count_orders(self, book: BookName) -> int:
        return self._count("SELECT count(*) FROM orders WHERE book = ?", book)

    def count_audit(self, kind: AuditKind, book: BookName) -> int:
        return self._count("SELECT count(*) FROM audit WHERE kind = ? AND book = ?", kind, book)

    def current_latch(self) -> StoredLatch | None:
        """The stop in force, of whichever book it was engaged in; None when there is none."""
        row = self._first("SELECT * FROM latches WHERE is_active = 1 ORDER BY created_ns DESC, rowid DESC LIMIT 1")
        return None if row is None else _read_latch(row)

    def latches(self) -> list[StoredLatch]:
        """All stops that there ever were, oldest first."""
        return [_read_latch(row) for row in self._all("SELECT * FROM latches ORDER BY created_ns, rowid")]

    def released_latch_ids(self) -> list[str]:
        return [latch.latch.id for latch in self.latches() if not latch.is_active]

    def last_config(self) -> StoredConfig | None:
        """The last good configuration, of whichever uid."""
        row = self._first("SELECT * FROM configs ORDER BY sequence DESC LIMIT 1")
        return None if row is None else _read_config(row)

    def find_config(self, digest: str) -> StoredConfig | None:
        """The newest accepted configuration of that digest."""
        row = self._first("SELECT * FROM configs WHERE digest = ? ORDER BY sequence DESC LIMIT 1", digest)
        return None if row is None else _read_config(row)

    def last_permit(self) -> Permit | None:
        row = self._first("SELECT permit FROM permits ORDER BY sequence DESC LIMIT 1")
        return None if row is None else Permit.model_validate_json(row["permit"])

    def counters(self, book: BookName) -> Mapping[str, str]:
        found = self._all("SELECT name, value FROM counters WHERE book = ?", book)
        return {row["name"]: row["value"] for row in found}

    @property
    def audit_head(self) -> AuditHead:
        row = self._first("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")
        return GENESIS if row is None else AuditHead(sequence=row["sequence"], hash=row["hash"])

    def audit_records(self, *, since_sequence: int = 1) -> Iterator[AuditRecord]:
        """In order; read as they are taken, so hold a `snapshot` around a long walk."""
        with translate_errors("read"):
            sql = "SELECT * FROM audit WHERE sequence >= ? ORDER BY sequence"
            for row in self._connection.execute(sql, (since_sequence,)):
                yield rows.read_audit(row)

    def newest_audit_records(self, *, kind: AuditKind | None = None) -> Iterator[AuditRecord]:
        """From the last one back."""
        with translate_errors("read"):
            sql = "SELECT * FROM audit WHERE ? IS NULL OR kind = ? ORDER BY sequence DESC"
            for row in self._connection.execute(sql, (kind, kind)):
                yield rows.read_audit(row)

    def _replay(self, row: sqlite3.Row) -> Order:
        intent = rows.read_intent(row)
        return machine.replay(intent, self.events(intent.book, intent.client_order_id))

    def _fill(self, sequence: int | None) -> Fill | None:
        row = None if sequence is None else self._first("SELECT * FROM fills WHERE sequence = ?", sequence)
        return None if row is None else rows.read_fill(row)

    def _first(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with translate_errors("read"):
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def _all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with translate_errors("read"):
            return self._connection.execute(sql, values).fetchall()

    def _count(self, sql: str, *values: Any) -> int:
        row = self._first(sql, *values)
        return 0 if row is None else int(row[0])


def open_reader(folder: Path) -> StoreReader:
    """Read-only, without the writer's lock. StoreUnwritable when there is no store that can be read."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreUnwritable(f"there is no store in {folder}")
    with translate_errors("read"):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            check_header(connection)
        except BaseException:
            connection.close()
            raise
    return StoreReader(connection)


@contextmanager
def translate_errors(action: str, *also: type[Exception]) -> Iterator[None]:
    """Whatever SQLite cannot do (disk full, read-only, torn, locked) has one consequence: stop trading."""
    kinds: tuple[type[Exception], ...] = (sqlite3.Error, *also)
    try:
        yield
    except kinds as error:
        raise StoreUnwritable(f"the store cannot {action}: {error}") from error


def read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_header(connection: sqlite3.Connection) -> None:
    """Refuse what is not ours, or newer than this program."""
    version = read_version(connection)
    if version and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreMismatch(f"{FILE_NAME} is a database of another program: give the bot a volume of its own")
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"{FILE_NAME} has schema version {version}, this trader knows versions up to {SCHEMA_VERSION}: "
            "run the version that wrote it, or a newer one"
        )


def _read_latch(row: sqlite3.Row) -> StoredLatch:
    latch = Latch.model_validate_json(row["latch"])
    return StoredLatch(latch, bool(row["is_active"]), row["created_ns"], row["updated_ns"])


def _read_config(row: sqlite3.Row) -> StoredConfig:
    return StoredConfig(row["uid"], row["generation"], row["digest"], row["spec"], row["accepted_ns"])

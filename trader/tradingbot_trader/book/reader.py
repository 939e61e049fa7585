"""SHELL. Reads the store: the trader at start, `audit` and `account` at any time beside a running trader."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tradingbot_api.status import AuditHead, Latch, Permit
from tradingbot_trader.book import archive, rows
from tradingbot_trader.book.account import Adjustment, sum_by_asset
from tradingbot_trader.book.archive import Archive, ArchiveKind
from tradingbot_trader.book.archiver import read_checkpoint
from tradingbot_trader.book.audit import GENESIS, AuditKind, AuditRecord
from tradingbot_trader.book.checkpoint import fill_digest, order_mark
from tradingbot_trader.book.ledger import FillKey, Ledger
from tradingbot_trader.book.schema import APPLICATION_ID, SCHEMA_VERSION
from tradingbot_trader.errors import StoreMismatch, StoreTooNew, StoreUnwritable
from tradingbot_trader.orders import machine
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, Fill, Intent, OrderEvent, OrderState

FILE_NAME = "store.db"
WATCH_NS = 24 * 3600 * 1_000_000_000
"""An order that is presumed absent is looked for so much longer (DESIGN, "Client order id")."""
_WITH_ARCHIVES = 2
"""The schema version from which on there are archives, baselines and adjustments. A reader may come before the trader
that brings an older file up to date."""


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

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._connection.row_factory = sqlite3.Row
        self._folder = folder

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

    def orders_in_state(self, book: BookName, states: Collection[OrderState], since_ns: int = 0) -> list[Order]:
        """Orders that are in one of these states now and last changed at or after that time; oldest first."""
        marks = ", ".join("?" * len(states))
        sql = (
            f"SELECT * FROM orders WHERE book = ? AND state IN ({marks}) AND updated_ns >= ? "  # noqa: S608  only marks
            "ORDER BY created_ns, rowid"
        )
        return [self._replay(row) for row in self._all(sql, book, *states, since_ns)]

    def watched(self, book: BookName, now_ns: int) -> list[Order]:
        """Orders that were presumed absent less than 24 h ago: if one appears, adopt it, cancel it, trip."""
        return self.orders_in_state(book, (OrderState.PRESUMED_ABSENT,), now_ns - WATCH_NS)

    def find_by_venue_order_id(self, book: BookName, symbol: str, venue_order_id: str) -> Order | None:
        """The order that the venue calls so; None when there is none, or it is archived."""
        row = self._first(
            "SELECT orders.* FROM order_events JOIN orders USING (book, client_order_id) "
            "WHERE book = ? AND venue_order_id = ? AND venue_order_id <> '' AND symbol = ? LIMIT 1",
            book,
            venue_order_id,
            symbol,
        )
        return None if row is None else self._replay(row)

    def is_archived_order(self, book: BookName, client_order_id: str) -> bool:
        """Whether an id of our own is of an order that ended long ago and was moved into an archive: no orphan."""
        checkpoint = read_checkpoint(self._connection, book) if self._has_archives() else None
        mark = order_mark(client_order_id)
        if checkpoint is None or not mark or mark > checkpoint.last_order:
            return False
        sql = "SELECT 1 FROM orders WHERE book = ? AND client_order_id = ?"
        return self._first(sql, book, client_order_id) is None

    def has_fill(self, book: BookName, key: FillKey) -> bool:
        """Whether it was ever recorded; archives included."""
        sql = "SELECT 1 FROM fills WHERE book = ? AND venue = ? AND account = ? AND symbol = ? AND trade_id = ?"
        return self._first(sql, book, *key) is not None or self._is_archived(book, key)

    def last_trade_id(self, book: BookName, venue: str, account: str, symbol: str) -> str | None:
        """The highest number among the trade ids of recorded fills, archives included. None: there is none, or the
        venue's ids are no numbers. A fill below it may still be missing: it is where a search begins, not a proof."""
        place = (book, venue, account, symbol)
        where = "WHERE book = ? AND venue = ? AND account = ? AND symbol = ?"
        sql = f"SELECT trade_id FROM fills {where} AND trade_id NOT GLOB '*[^0-9]*' AND trade_id <> ''"  # noqa: S608  ours
        found = [str(row["trade_id"]) for row in self._all(sql, *place)]
        if self._has_archives():
            sql = f"SELECT last_trade_id FROM archived_trades {where}"  # noqa: S608  ours
            found += [str(row["last_trade_id"]) for row in self._all(sql, *place)]
        return max(found, key=int, default=None)

    def intents_since(self, book: BookName, since_ns: int) -> list[Intent]:
        """Intents made at or after that time, oldest first: what the orders-a-minute limit starts with."""
        sql = "SELECT * FROM orders WHERE book = ? AND created_ns >= ? ORDER BY created_ns, rowid"
        return [rows.read_intent(row) for row in self._all(sql, book, since_ns)]

    def events(self, book: BookName, client_order_id: str) -> list[OrderEvent]:
        """What was recorded of one order, in that order."""
        sql = "SELECT * FROM order_events WHERE book = ? AND client_order_id = ? ORDER BY sequence"
        return [rows.read_event(row, self._fill(row["fill_sequence"])) for row in self._all(sql, book, client_order_id)]

    def fills(self, book: BookName) -> list[Fill]:
        """All that there ever were, in the order in which they were recorded; opens every archive. ArchiveDamaged."""
        return [rows.read_fill(row) for row in self._all_fills(book)]

    def ledger(self, book: BookName) -> Ledger:
        """That of all fills, from the checkpoint of those that were archived and the ones after it."""
        checkpoint = read_checkpoint(self._connection, book) if self._has_archives() else None
        sql = "SELECT * FROM fills WHERE book = ? AND sequence > ? ORDER BY sequence"
        counted_to = 0 if checkpoint is None else checkpoint.fill_sequence
        fills = (rows.read_fill(row) for row in self._all(sql, book, counted_to))
        if checkpoint is None:
            return Ledger.rebuild(book, fills)
        ledger = Ledger.restore(checkpoint.ledger, _CountedFills(self, book, counted_to))
        for fill in fills:
            ledger.apply(fill)
        return ledger

    def count_orders(self, book: BookName) -> int:
        """Of all times; archives included."""
        return self._count("SELECT count(*) FROM orders WHERE book = ?", book) + self._count_archived(book, "orders")

    def count_audit(self, kind: AuditKind, book: BookName) -> int:
        """Of all times; archives included."""
        here = self._count("SELECT count(*) FROM audit WHERE kind = ? AND book = ?", kind, book)
        return here + self._count_archived(book, f"audit/{kind}")

    def baseline(self, book: BookName) -> Mapping[str, Decimal] | None:
        """What the account held before the bot's first order; None when nobody has recorded it yet."""
        if self.read_meta(f"baseline/{book}") is None:
            return None
        found = self._all("SELECT asset, amount FROM baselines WHERE book = ? ORDER BY asset", book)
        return {row["asset"]: Decimal(row["amount"]) for row in found}

    def adjustments(self, book: BookName) -> list[Adjustment]:
        """What people moved, oldest first; those that are not applied yet, too."""
        if not self._has_archives():
            return []
        found = self._all("SELECT * FROM adjustments WHERE book = ? ORDER BY recorded_ns, rowid", book)
        return [rows.read_adjustment(row) for row in found]

    def adjusted(self, book: BookName) -> Mapping[str, Decimal]:
        """Sum of the applied adjustments by asset."""
        return sum_by_asset(self.adjustments(book))

    def find_adjustment(self, adjustment_id: str) -> Adjustment | None:
        row = self._first("SELECT * FROM adjustments WHERE id = ?", adjustment_id)
        return None if row is None else rows.read_adjustment(row)

    def archives(self) -> list[Archive]:
        """In the order in which they were made."""
        if not self._has_archives():
            return []
        return [rows.read_archive(row) for row in self._all("SELECT * FROM archives ORDER BY number")]

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
        if row is not None:
            return AuditHead(sequence=row["sequence"], hash=row["hash"])
        archived = self._audit_archives()
        return AuditHead(sequence=archived[-1].last_sequence, hash=archived[-1].last_hash) if archived else GENESIS

    def audit_records(self, *, since_sequence: int = 1) -> Iterator[AuditRecord]:
        """In order, archives first, as one chain; ArchiveDamaged where a file is not what was written.

        Read as they are taken, so hold a `snapshot` around a long walk.
        """
        for each in self._audit_archives():
            if each.last_sequence >= since_sequence:
                for record in archive.read_audit(self._folder, each):
                    if record.sequence >= since_sequence:
                        yield record
        with translate_errors("read"):
            sql = "SELECT * FROM audit WHERE sequence >= ? ORDER BY sequence"
            for row in self._connection.execute(sql, (since_sequence,)):
                yield rows.read_audit(row)

    def newest_audit_records(self, *, kind: AuditKind | None = None) -> Iterator[AuditRecord]:
        """From the last one back, through the archives."""
        with translate_errors("read"):
            sql = "SELECT * FROM audit WHERE ? IS NULL OR kind = ? ORDER BY sequence DESC"
            for row in self._connection.execute(sql, (kind, kind)):
                yield rows.read_audit(row)
        for each in reversed(self._audit_archives()):
            records = list(archive.read_audit(self._folder, each))
            yield from (record for record in reversed(records) if kind is None or record.kind == kind)

    def _has_archives(self) -> bool:
        with translate_errors("read"):
            return read_version(self._connection) >= _WITH_ARCHIVES

    def _audit_archives(self) -> list[Archive]:
        return [each for each in self.archives() if each.kind is ArchiveKind.AUDIT]

    def _is_archived(self, book: BookName, key: FillKey) -> bool:
        sql = "SELECT 1 FROM archived_fills WHERE key = ?"
        return self._has_archives() and self._first(sql, fill_digest(book, key)) is not None

    def _is_counted(self, book: BookName, key: FillKey, counted_to: int) -> bool:
        sql = (
            "SELECT 1 FROM fills WHERE book = ? AND venue = ? AND account = ? AND symbol = ? AND trade_id = ? "
            "AND sequence <= ?"
        )
        return self._is_archived(book, key) or self._first(sql, book, *key, counted_to) is not None

    def _all_fills(self, book: BookName) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = [
            dict(row) for row in self._all("SELECT * FROM fills WHERE book = ? ORDER BY sequence", book)
        ]
        for each in self.archives():
            if each.kind is ArchiveKind.BOOK and each.book == book:
                lines = archive.read_book(self._folder, each)
                found += [line["row"] for line in lines if line["kind"] == "fill"]
        return sorted(found, key=lambda row: int(row["sequence"]))

    def _count_archived(self, book: BookName, name: str) -> int:
        if not self._has_archives():
            return 0
        return self._count(
            "SELECT coalesce(sum(number), 0) FROM archived_counts WHERE book = ? AND name = ?", book, name
        )

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


class _CountedFills:
    """The fills that a restored ledger has counted, as a container; asked in the store's index, held nowhere."""

    def __init__(self, reader: StoreReader, book: BookName, counted_to: int) -> None:
        self._reader, self._book, self._counted_to = reader, book, counted_to

    def __contains__(self, key: object) -> bool:
        return isinstance(key, FillKey) and self._reader._is_counted(self._book, key, self._counted_to)


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
    return StoreReader(connection, folder)


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

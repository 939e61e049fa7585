"""SHELL. Writes the store: state and the audit record that explains it in one transaction and fsync. One writer a bot.

SQLite in WAL mode with synchronous=FULL, called directly: a commit takes a fifth of a millisecond (DESIGN, "Time"). The
writer holds an flock on a sibling file; each transaction checks that the file still carries this run's epoch.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tradingbot_api.decimal import format_decimal
from tradingbot_api.status import Latch, Permit
from tradingbot_trader.book import audit, rows
from tradingbot_trader.book.audit import AuditKind, AuditRecord
from tradingbot_trader.book.reader import FILE_NAME, StoreReader, check_header, read_version, translate_errors
from tradingbot_trader.book.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from tradingbot_trader.errors import StaleEpoch, StoreLocked, StoreMismatch
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, Fill, Intent, OrderEvent, OrderState

LOCK_NAME = f"{FILE_NAME}.lock"
BUSY_TIMEOUT_SECONDS = 0.25
"""Only a person's own tool can hold SQLite's lock; waiting longer would stop the event loop."""
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose ledger it is. A volume that was kept is used again only by the same bot on the same venue."""

    installation: str
    namespace: str
    name: str
    venue: str
    network: str


class Disk(Protocol):
    """The boundary to what survives a crash. A simulation passes its own."""

    def connect(self, path: Path) -> sqlite3.Connection: ...
    def commit(self, connection: sqlite3.Connection) -> None:
        """Durable when it returns; unknown when it raises."""
        ...


class SqliteDisk:
    def connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_SECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def commit(self, connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")


class Transaction:
    """What one commit will hold. Made by `Store.transaction`, dead after it."""

    def __init__(self, store: Store, connection: sqlite3.Connection, *, now_ns: int) -> None:
        self._store = store
        self._connection = connection
        self._now_ns = now_ns

    def put_intent(self, intent: Intent) -> None:
        """Before the order may leave. A client order id that was used before cannot be recorded again."""
        self._check_book(intent.book)
        progress = {"state": OrderState.INTENT.value, "filled_base": "0", "is_settled": 0}
        times = {"updated_ns": intent.created_ns, "epoch": self._store.epoch}
        self._insert("orders", rows.intent_row(intent) | progress | times)

    def put_event(self, event: OrderEvent, order: Order) -> None:
        """An event, its fill, and the order as the machine left it after the event."""
        self._check_book(order.intent.book)
        book, order_id = order.intent.book.value, order.client_order_id
        fill_sequence = None
        if event.fill is not None and event.fill.trade_id in order.fills:
            self.put_fill(event.fill)
            fill_sequence = self._fill_sequence(event.fill)
        sql = "SELECT coalesce(max(sequence), 0) + 1 FROM order_events WHERE book = ? AND client_order_id = ?"
        sequence = self._connection.execute(sql, (book, order_id)).fetchone()[0]
        place = {"book": book, "sequence": sequence, "fill_sequence": fill_sequence}
        self._insert("order_events", rows.event_row(event) | place)
        self._connection.execute(
            "UPDATE orders SET state = ?, filled_base = ?, is_settled = ?, updated_ns = ? "
            "WHERE book = ? AND client_order_id = ?",
            (
                order.state.value,
                format_decimal(order.filled_base),
                int(order.is_settled),
                order.updated_ns,
                book,
                order_id,
            ),
        )

    def put_fill(self, fill: Fill) -> bool:
        """False: the store has it, and nothing changes."""
        self._check_book(fill.book)
        if self._fill_sequence(fill) is not None:
            return False
        self._insert("fills", rows.fill_row(fill))
        return True

    def put_audit(self, kind: AuditKind, data: Mapping[str, object]) -> AuditRecord:
        """The next record of the chain, in the order of the calls."""
        record = audit.build_record(
            self._store.audit_head,
            kind=kind,
            book=self._store.book.value,
            epoch=self._store.epoch,
            time_ns=self._now_ns,
            data=data,
        )
        self._insert("audit", rows.audit_row(record))
        return record

    def put_latch(self, latch: Latch, *, is_active: bool) -> None:
        """A stop, or how far it has come, or (not active) its release; by the latch's id."""
        if not latch.id:
            raise ValueError("a latch needs an id to be recorded")
        self._connection.execute(
            "INSERT INTO latches (id, book, is_active, latch, created_ns, updated_ns) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET is_active = excluded.is_active, latch = excluded.latch, "
            "updated_ns = excluded.updated_ns",
            (
                latch.id,
                self._store.book.value,
                int(is_active),
                latch.model_dump_json(by_alias=True),
                self._now_ns,
                self._now_ns,
            ),
        )

    def put_config(self, *, uid: str, generation: int, digest: str, spec_json: str) -> None:
        """An accepted configuration: from now on the last good one."""
        place = {"uid": uid, "generation": generation, "digest": digest}
        self._insert("configs", place | {"spec": spec_json, "accepted_ns": self._now_ns})

    def put_permit(self, permit: Permit) -> None:
        self._insert("permits", {"permit": permit.model_dump_json(by_alias=True), "accepted_ns": self._now_ns})

    def put_counters(self, counters: Mapping[str, str]) -> None:
        """Small facts by name, like the peak of the P&L."""
        self._connection.executemany(
            "INSERT INTO counters (book, name, value) VALUES (?, ?, ?) "
            "ON CONFLICT (book, name) DO UPDATE SET value = excluded.value",
            [(self._store.book.value, name, value) for name, value in counters.items()],
        )

    def _fill_sequence(self, fill: Fill) -> int | None:
        row = self._connection.execute(
            "SELECT sequence FROM fills WHERE book = ? AND venue = ? AND account = ? AND symbol = ? AND trade_id = ?",
            (fill.book.value, fill.venue, fill.account, fill.symbol, fill.trade_id),
        ).fetchone()
        return None if row is None else int(row[0])

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608  our own names

    def _check_book(self, book: BookName) -> None:
        if book is not self._store.book:
            raise ValueError(f"book {book} is not written by the trader of {self._store.book}")


class Store(StoreReader):
    """The one writer. `open`, then `begin_epoch`, then transactions."""

    def __init__(self, connection: sqlite3.Connection, *, book: BookName, disk: Disk, lock_fd: int) -> None:
        super().__init__(connection)
        self.book = book
        self._disk = disk
        self._lock_fd = lock_fd
        self._epoch: int | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        identity: Identity,
        *,
        book: BookName,
        account: str | None,
        now_ns: int,
        disk: Disk | None = None,
    ) -> Store:
        """Lock, migrate and check the store; make it when there is none.

        Raises StoreLocked, StoreTooNew, StoreMismatch, StoreUnwritable. `account` None: not known yet, it is bound
        later by `claim_account`.
        """
        disk = disk or SqliteDisk()
        with translate_errors("be opened", OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock_fd = _lock(folder)
            connection = None
            try:
                connection = disk.connect(folder / FILE_NAME)
                _sync_folder(folder)
                _migrate(connection, disk)
                store = cls(connection, book=book, disk=disk, lock_fd=lock_fd)
                store._claim(identity, account, now_ns)
            except BaseException:
                if connection is not None:
                    connection.close()
                os.close(lock_fd)
                raise
        return store

    @property
    def epoch(self) -> int:
        """The number of this run."""
        if self._epoch is None:
            raise RuntimeError("begin_epoch has not been called")
        return self._epoch

    def begin_epoch(self, lease_transitions: int, now_ns: int) -> int:
        """The number of this run, larger than that of any run before; durable when this returns.

        Unix seconds stand in for the epochs that an empty store has forgotten, the Lease's transitions for a clock that
        went back.
        """
        with self._commit():
            stored = int(self.read_meta("epoch") or 0)
            epoch = max(stored + 1, lease_transitions, now_ns // SECOND_NS)
            self._put_meta("epoch", str(epoch))
        self._epoch = epoch
        return epoch

    def claim_account(self, account: str, now_ns: int) -> None:
        """Bind this book to a venue account, once it is known; StoreMismatch when it is bound to another one."""
        with self._commit():
            self._claim_meta(f"account/{self.book}", account)
            self._claim_meta(f"account/{self.book}/claimed_ns", str(now_ns), is_checked=False)

    @contextmanager
    def transaction(self, now_ns: int) -> Iterator[Transaction]:
        """All or nothing, durable when the block has ended. Raises StaleEpoch, StoreUnwritable.

        An exception inside the block rolls it back and goes on to the caller.
        """
        epoch = self.epoch
        with self._commit():
            stored = int(self.read_meta("epoch") or 0)
            if stored != epoch:
                raise StaleEpoch(f"the store is at epoch {stored}, this trader runs as {epoch}: another one has begun")
            yield Transaction(self, self._connection, now_ns=now_ns)

    def close(self) -> None:
        """Also releases the lock."""
        super().close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    @contextmanager
    def _commit(self) -> Iterator[None]:
        if self._connection.in_transaction:
            raise RuntimeError("a transaction of the store is open already")
        with translate_errors("record"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                with translate_errors("record", OSError):
                    self._disk.commit(self._connection)
            except BaseException:
                with suppress(sqlite3.Error):  # a failed commit may have rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def _claim(self, identity: Identity, account: str | None, now_ns: int) -> None:
        with self._commit():
            for key, value in asdict(identity).items():
                self._claim_meta(key, value)
            if account is not None:
                self._claim_meta(f"account/{self.book}", account)
            self._claim_meta("created_ns", str(now_ns), is_checked=False)

    def _claim_meta(self, key: str, value: str, *, is_checked: bool = True) -> None:
        known = self.read_meta(key)
        if known is None:
            self._put_meta(key, value)
        elif is_checked and known != value:
            raise StoreMismatch(
                f"this volume holds the ledger of another bot or account: its {key} is {known!r}, ours is {value!r}. "
                "Give this bot a new name, or keep a copy of the volume and delete its PersistentVolumeClaim"
            )

    def _put_meta(self, key: str, value: str) -> None:
        sql = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._connection.execute(sql, (key, value))


def _lock(folder: Path) -> int:
    fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StoreLocked(
            f"another process writes {folder / FILE_NAME}: stop it, or wait until it has ended"
        ) from error
    return fd


def _sync_folder(folder: Path) -> None:
    """The name of a new file is as durable as its content only after this."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _migrate(connection: sqlite3.Connection, disk: Disk) -> None:
    """Each version in a transaction of its own, so that a crash leaves a version and nothing between two."""
    check_header(connection)
    version = read_version(connection)
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreMismatch(f"{FILE_NAME} is a database of another program: give the bot a volume of its own")
    connection.execute("PRAGMA journal_mode = WAL")
    for number in range(version, SCHEMA_VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            disk.commit(connection)
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

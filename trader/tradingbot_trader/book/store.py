"""SHELL. Writes the store: state and the audit record that explains it in one transaction and fsync. One writer a bot.

SQLite in WAL mode with synchronous=FULL, called directly: a commit takes a fifth of a millisecond (DESIGN, "Time"). The
writer holds an flock on a sibling file; each transaction checks that the file still carries this run's epoch.
A full volume frees the reserve (book/reserve.py) for what has happened; what is old moves away (book/archiver.py).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from tradingbot_trader.book import archive, archiver
from tradingbot_trader.book.archiver import Retention
from tradingbot_trader.book.disk import Disk, SqliteDisk, is_full, sync_folder
from tradingbot_trader.book.reader import FILE_NAME, StoreReader, check_header, read_version, translate_errors
from tradingbot_trader.book.reserve import RESERVE_BYTES, Reserve
from tradingbot_trader.book.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from tradingbot_trader.book.transaction import Transaction
from tradingbot_trader.errors import StaleEpoch, StoreLocked, StoreMismatch, StoreUnwritable
from tradingbot_trader.orders.order import BookName

__all__ = ["Disk", "Identity", "Retention", "SqliteDisk", "Store", "Transaction"]

LOCK_NAME = f"{FILE_NAME}.lock"
SECOND_NS = 1_000_000_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose ledger it is. A volume that was kept is used again only by the same bot on the same venue."""

    installation: str
    namespace: str
    name: str
    venue: str
    network: str


class Store(StoreReader):
    """The one writer. `open`, then `begin_epoch`, then transactions."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: Path,
        *,
        book: BookName,
        disk: Disk,
        lock_fd: int,
        reserve: Reserve,
        retention: Retention,
    ) -> None:
        super().__init__(connection, folder)
        self.book = book
        self._disk = disk
        self._lock_fd = lock_fd
        self._reserve, self._retention = reserve, retention
        self._epoch: int | None = None
        self._is_swept = False

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
        reserve_bytes: int = RESERVE_BYTES,
        retention: Retention | None = None,
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
                reserve = Reserve(folder, disk, size_bytes=reserve_bytes)
                connection = disk.connect(folder / FILE_NAME)
                sync_folder(folder)
                store = cls(
                    connection,
                    folder,
                    book=book,
                    disk=disk,
                    lock_fd=lock_fd,
                    reserve=reserve,
                    retention=retention or Retention(),
                )
                store._insist(lambda: store._prepare(identity, account, now_ns))
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

        def begin() -> int:
            with self._commit():
                stored = int(self.read_meta("epoch") or 0)
                epoch = max(stored + 1, lease_transitions, now_ns // SECOND_NS)
                self._put_meta("epoch", str(epoch))
            return epoch

        self._epoch = self._insist(begin)
        return self._epoch

    def claim_account(self, account: str, now_ns: int) -> None:
        """Bind this book to a venue account, once it is known; StoreMismatch when it is bound to another one."""

        def claim() -> None:
            with self._commit():
                self._claim_meta(f"account/{self.book}", account)
                self._claim_meta(f"account/{self.book}/claimed_ns", str(now_ns), is_checked=False)

        self._insist(claim)

    @contextmanager
    def transaction(self, now_ns: int) -> Iterator[Transaction]:
        """All or nothing, durable when the block has ended. Raises StaleEpoch, StoreUnwritable.

        An exception inside the block rolls it back and goes on to the caller. A full volume is StoreUnwritable, too;
        the next transaction has the reserve's room then, so what has happened is best recorded again at once.
        """
        epoch = self.epoch
        self._reserve.refill()
        with self._commit():
            stored = int(self.read_meta("epoch") or 0)
            if stored != epoch:
                raise StaleEpoch(f"the store is at epoch {stored}, this trader runs as {epoch}: another one has begun")
            yield Transaction(self, self._connection, now_ns=now_ns)

    @property
    def is_reserve_spent(self) -> bool:
        """The volume is, or just was, full: no new risk. Tried again with each transaction."""
        return self._reserve.is_spent

    def archive_due(self, now_ns: int) -> bool:
        """One bounded piece of what is older than the retention. True: something was done, and there may be more.

        Raises StaleEpoch, StoreUnwritable; then nothing has left the store.
        """
        with translate_errors("be archived", OSError):
            if not self._is_swept:
                archiver.sweep(self._connection, self._folder, self._disk)
                self._is_swept = True
            move = archiver.plan(self._connection, self._retention, now_ns)
            if move is None:
                return False
            if move.archive is not None:
                place = self._folder / archive.FOLDER_NAME
                if not place.is_dir():
                    place.mkdir()
                    sync_folder(self._folder)
                self._disk.save(place / move.archive.name, move.content)
        try:
            with self.transaction(now_ns) as tx:
                tx.put_archive(move)
        except BaseException:
            self._is_swept = False
            raise
        return True

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
        try:
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
        except StoreUnwritable as error:
            if is_full(error):
                self._reserve.release()
            raise

    def _insist(self, action: Callable[[], T]) -> T:
        """Once more with the reserve's room: a trader that starts on a full volume still has to cancel."""
        try:
            return action()
        except (sqlite3.Error, OSError, StoreUnwritable) as error:
            if not is_full(error):
                raise
            self._reserve.release()
            return action()

    def _prepare(self, identity: Identity, account: str | None, now_ns: int) -> None:
        _migrate(self._connection, self._disk)
        self._reserve.refill()
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

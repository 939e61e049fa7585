"""A full volume: nothing new is risked, and what has happened is still recorded."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.book.conftest import IDENTITY
from tests.unit.orders.builders import NOW_NS, event, intent

from tradingbot_trader.book import audit
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.disk import SqliteDisk, is_full
from tradingbot_trader.book.reserve import RESERVE_NAME, Reserve
from tradingbot_trader.book.store import Store
from tradingbot_trader.errors import StoreLocked, StoreUnwritable
from tradingbot_trader.orders.machine import Order, apply
from tradingbot_trader.orders.order import BookName, OrderState, Purpose

PAPER = BookName.PAPER
RESERVE_BYTES = 100_000
COMMIT_BYTES = 10_000
Open = Callable[..., Store]


class QuotaDisk(SqliteDisk):
    """A volume of which so much is free; each commit takes a part of it. Says that it is full as SQLite does, or as
    the kernel does."""

    def __init__(self, room_bytes: int, *, says: Exception | None = None) -> None:
        self.room_bytes = room_bytes
        self.says = says or sqlite3.OperationalError("database or disk is full")

    def commit(self, connection: sqlite3.Connection) -> None:
        if self.room_bytes < COMMIT_BYTES:
            raise self.says
        super().commit(connection)
        self.room_bytes -= COMMIT_BYTES

    def allocate(self, path: Path, size_bytes: int) -> None:
        if self.room_bytes < size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(b"")
        os.truncate(path, size_bytes)
        self.room_bytes -= size_bytes

    def remove(self, path: Path) -> None:
        self.room_bytes += path.stat().st_size if path.exists() else 0
        super().remove(path)

    def free_bytes(self, folder: Path) -> int:
        assert folder.is_dir()
        return self.room_bytes


def place(store: Store, name: str, purpose: Purpose = Purpose.ENTRY, *, is_adopted: bool = False) -> Order:
    order = Order(intent(name * 32, purpose=purpose))
    with store.transaction(NOW_NS) as tx:
        tx.put_intent(order.intent, is_adopted=is_adopted)
        tx.put_audit(AuditKind.ORDER_APPROVED, {"id": name})
    return order


def cancel(store: Store, order: Order) -> None:
    one = event(OrderState.CANCELLED, client_order_id=order.client_order_id)
    with store.transaction(NOW_NS) as tx:
        tx.put_event(one, apply(order, one).order)
        tx.put_audit(AuditKind.ORDER_EVENT, {"event": one})


@pytest.fixture
def disk() -> QuotaDisk:
    return QuotaDisk(1_000_000)


@pytest.fixture
def bounded(open_store: Open, disk: QuotaDisk) -> Store:
    store = open_store(disk=disk, reserve_bytes=RESERVE_BYTES)
    store.begin_epoch(0, NOW_NS)
    return store


def test_new_store_has_its_reserve(bounded: Store, folder: Path) -> None:
    assert not bounded.is_reserve_spent
    assert (folder / RESERVE_NAME).stat().st_size == RESERVE_BYTES


@pytest.mark.parametrize(
    "says",
    [
        sqlite3.OperationalError("database or disk is full"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
    ids=str,
)
def test_full_volume_refuses_the_entry_and_frees_the_reserve_for_what_has_happened(
    bounded: Store, disk: QuotaDisk, folder: Path, says: Exception
) -> None:
    resting = place(bounded, "a")
    disk.room_bytes, disk.says = 0, says
    with pytest.raises(StoreUnwritable):
        place(bounded, "b")
    assert bounded.is_reserve_spent
    assert not (folder / RESERVE_NAME).exists()
    cancel(bounded, resting)
    place(bounded, "c", Purpose.EXIT)
    place(bounded, "d", Purpose.PROTECT)
    place(bounded, "e", is_adopted=True)
    with pytest.raises(StoreUnwritable, match="volume is full"):
        place(bounded, "f")
    assert [order.client_order_id[0] for order in bounded.open_orders(PAPER)] == ["c", "d", "e"]
    assert audit.verify(bounded.audit_records(), expected_head=bounded.audit_head).is_sound


def test_reserve_is_made_again_only_when_there_is_room_for_more_than_it(
    bounded: Store, disk: QuotaDisk, folder: Path
) -> None:
    disk.room_bytes = 0
    with pytest.raises(StoreUnwritable):
        place(bounded, "a")
    disk.room_bytes = 2 * RESERVE_BYTES - 1
    place(bounded, "b", Purpose.EXIT)
    assert bounded.is_reserve_spent
    disk.room_bytes = 2 * RESERVE_BYTES
    place(bounded, "c")
    assert not bounded.is_reserve_spent
    assert (folder / RESERVE_NAME).stat().st_size == RESERVE_BYTES


def test_failure_that_is_not_about_room_keeps_the_reserve(bounded: Store, disk: QuotaDisk) -> None:
    disk.room_bytes, disk.says = 0, sqlite3.OperationalError("disk I/O error")
    with pytest.raises(StoreUnwritable):
        place(bounded, "a")
    assert not bounded.is_reserve_spent


def test_trader_that_starts_on_a_full_volume_can_still_cancel(
    open_store: Open, bounded: Store, disk: QuotaDisk
) -> None:
    resting = place(bounded, "a")
    bounded.close()
    disk.room_bytes = 0
    again = open_store(disk=disk, reserve_bytes=RESERVE_BYTES)
    again.begin_epoch(0, NOW_NS)
    again.claim_account("paper", NOW_NS)
    assert again.is_reserve_spent
    cancel(again, resting)
    again.close()
    third = open_store(disk=disk, reserve_bytes=RESERVE_BYTES)
    assert third.is_reserve_spent
    assert third.open_orders(PAPER) == []


def test_full_volume_without_a_reserve_cannot_be_opened_and_leaves_no_lock(open_store: Open, disk: QuotaDisk) -> None:
    disk.room_bytes = 0
    for _ in range(2):
        with pytest.raises(StoreUnwritable):
            open_store(disk=disk, reserve_bytes=RESERVE_BYTES)
    disk.room_bytes = 1_000_000
    try:
        assert not open_store(disk=disk, reserve_bytes=RESERVE_BYTES).is_reserve_spent
    except StoreLocked:
        pytest.fail("the lock was kept")


def test_reserve_that_was_only_half_made_is_made_again(folder: Path, disk: QuotaDisk) -> None:
    folder.mkdir()
    (folder / RESERVE_NAME).write_bytes(b"half")
    reserve = Reserve(folder, disk, size_bytes=RESERVE_BYTES)
    assert reserve.is_spent
    reserve.refill()
    assert not reserve.is_spent
    assert not Reserve(folder, disk, size_bytes=RESERVE_BYTES).is_spent


def test_reserve_is_of_blocks_that_are_really_there(folder: Path) -> None:
    folder.mkdir()
    SqliteDisk().allocate(folder / RESERVE_NAME, RESERVE_BYTES)
    found = (folder / RESERVE_NAME).stat()
    assert found.st_size == RESERVE_BYTES
    assert found.st_blocks * 512 >= RESERVE_BYTES


def test_full_is_told_from_other_failures_by_code_and_cause() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x)")
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(sqlite3.OperationalError) as full:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    wrapped = StoreUnwritable("the store cannot record")
    wrapped.__cause__ = full.value
    assert is_full(full.value)
    assert is_full(wrapped)
    assert not is_full(StoreUnwritable("the store cannot record: disk is full"))  # words of our own prove nothing
    assert not is_full(OSError(errno.EIO, "Input/output error"))
    assert not is_full(None)
    connection.close()


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 8 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount program here")
    if done.returncode:
        pytest.skip(f"a file system of its own cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill_up(file: io.FileIO) -> None:
    while file.write(b"x" * 4096):
        pass


def test_really_full_volume_records_what_has_happened_and_recovers(small_volume: Path) -> None:
    """The kernel's own ENOSPC, in SQLite's log."""
    size = 1024 * 1024
    store = Store.open(small_volume, IDENTITY, book=PAPER, account="paper", now_ns=NOW_NS, reserve_bytes=size)
    try:
        store.begin_epoch(0, NOW_NS)
        assert not store.is_reserve_spent
        resting = [place(store, name) for name in "abc"]
        filler = small_volume / "somebody-elses-data"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            fill_up(file)
        entered, refusal = 0, ""
        for number in range(1000):
            order = intent(f"{number:032x}")
            try:
                with store.transaction(NOW_NS) as tx:
                    tx.put_intent(order)
            except StoreUnwritable as error:
                refusal = str(error)
                break
            entered += 1
        assert "full" in refusal
        assert store.is_reserve_spent
        for order in resting:
            cancel(store, order)
        for number in range(20):
            place(store, "defghijklmnopqrstuvw"[number], Purpose.EXIT)
        with pytest.raises(StoreUnwritable, match="volume is full"):
            place(store, "x")
        assert len(store.open_orders(PAPER)) == entered + 20
        assert audit.verify(store.audit_records(), expected_head=store.audit_head).is_sound
        filler.unlink()
        place(store, "y")
        assert not store.is_reserve_spent
    finally:
        store.close()

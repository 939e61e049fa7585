"""Retention: what is old moves into files, and everything that was true of it stays true."""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.book.conftest import IDENTITY
from tests.unit.book.history import EAGER, LATER_NS, Crash, CrashingDisk, archive_all, order_id, trade
from tests.unit.orders.builders import BTC, DAY_NS, ETH, NOW_NS, fill

from tradingbot_trader.book import audit
from tradingbot_trader.book.archive import FOLDER_NAME, ArchiveDamaged, ArchiveKind
from tradingbot_trader.book.archiver import Retention
from tradingbot_trader.book.audit import GENESIS, AuditKind
from tradingbot_trader.book.ledger import FillKey, Ledger
from tradingbot_trader.book.reader import open_reader
from tradingbot_trader.book.store import Store
from tradingbot_trader.errors import StoreUnwritable
from tradingbot_trader.orders.order import BookName, Fill, OrderState, Side

PAPER, LIVE = BookName.PAPER, BookName.LIVE
Open = Callable[..., Store]
CRASH_POINTS = ["before-save", "after-temporary", "after-save", "before-commit", "after-commit"]


@pytest.fixture
def eager(open_store: Open) -> Store:
    store = open_store(retention=EAGER)
    store.begin_epoch(0, NOW_NS)
    return store


def numbers(ledger: Ledger) -> object:
    """All that a ledger says, but not how it knows its fills."""
    return ledger.state()


def key(trade_id: str, symbol: str = BTC) -> FillKey:
    return FillKey("binance", "paper", symbol, trade_id)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER_NAME).iterdir())


def test_nothing_is_archived_before_its_time(eager: Store, folder: Path) -> None:
    trade(eager, 1)
    assert not eager.archive_due(NOW_NS + 90 * DAY_NS)
    assert not (folder / FOLDER_NAME).exists()
    assert eager.archive_due(NOW_NS + 90 * DAY_NS + 1)
    assert eager.count_audit(AuditKind.ARCHIVED, PAPER) == 1
    assert [each.kind for each in eager.archives()] == [ArchiveKind.BOOK]  # 52 weeks are not over


def test_few_old_records_wait_until_a_file_is_worth_it(open_store: Open) -> None:
    store = open_store(retention=Retention(records=100))
    store.begin_epoch(0, NOW_NS)
    trade(store, 1)
    after_ns = NOW_NS + 90 * DAY_NS
    assert not store.archive_due(after_ns + 7 * DAY_NS)
    assert store.archive_due(after_ns + 7 * DAY_NS + 1)


def test_one_call_is_one_bounded_piece_and_one_audit_record(eager: Store) -> None:
    for number in range(1, 9):
        trade(eager, number)
    before = eager.audit_head.sequence
    assert eager.archive_due(LATER_NS)
    assert [each.records for each in eager.archives()] == [10]
    assert eager.audit_head.sequence == before + 1
    pieces = 1 + archive_all(eager)
    assert len(eager.archives()) == pieces
    assert all(each.records <= 10 for each in eager.archives())
    assert not eager.archive_due(LATER_NS)


def test_order_with_more_lines_than_a_file_takes_moves_whole(eager: Store) -> None:
    trade(eager, 1, parts=["0.01"] * 25)
    trade(eager, 2)
    whole = numbers(eager.ledger(PAPER))
    archive_all(eager)
    assert eager.count_orders(PAPER) == 2
    assert eager.find_order(PAPER, order_id(1)) is None
    assert eager.find_order(PAPER, order_id(2)) is None
    assert numbers(eager.ledger(PAPER)) == whole


def test_archive_is_lines_of_json_with_the_digest_that_the_audit_tells(eager: Store, folder: Path) -> None:
    trade(eager, 1)
    archive_all(eager, NOW_NS + 91 * DAY_NS)
    (archive,) = eager.archives()
    path = folder / FOLDER_NAME / archive.name
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert [line["kind"] for line in lines] == ["order", "event", "event", "event", "event", "fill", "fill"]
    (told,) = eager.newest_audit_records(kind=AuditKind.ARCHIVED)
    data = json.loads(told.data)
    assert data["archive"] == archive.name
    assert data["sha256"] == archive.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert data["records"] == len(lines)


def test_what_counts_of_all_times_forgets_nothing(eager: Store) -> None:
    for number in range(1, 6):
        trade(eager, number)
    fills = eager.count_audit(AuditKind.FILL, PAPER)
    archive_all(eager)
    assert eager.count_orders(PAPER) == 5
    assert eager.count_audit(AuditKind.FILL, PAPER) == fills == 10
    assert len(eager.fills(PAPER)) == 10
    assert eager.last_trade_id(PAPER, "binance", "paper", BTC) == "5002"
    trade(eager, 3000, symbol=ETH, at_ns=LATER_NS)
    assert eager.last_trade_id(PAPER, "binance", "paper", BTC) == "5002"
    assert eager.last_trade_id(PAPER, "binance", "paper", ETH) == "3000002"


def test_highest_trade_id_is_the_largest_number_and_not_the_last_text(eager: Store) -> None:
    with eager.transaction(NOW_NS) as tx:
        for trade_id in ("1000", "999", "T-5", ""):
            tx.put_fill(fill(trade_id))
    assert eager.last_trade_id(PAPER, "binance", "paper", BTC) == "1000"
    archive_all(eager)
    with eager.transaction(LATER_NS) as tx:
        tx.put_fill(fill("998", event_time_ns=LATER_NS))
    assert eager.last_trade_id(PAPER, "binance", "paper", BTC) == "1000"
    archive_all(eager, LATER_NS + 91 * DAY_NS)
    assert eager.last_trade_id(PAPER, "binance", "paper", BTC) == "1000"


def test_archived_fill_is_known_and_never_counted_again(eager: Store) -> None:
    trade(eager, 1)
    whole = eager.fills(PAPER)
    archive_all(eager)
    ledger = eager.ledger(PAPER)
    before = numbers(ledger)
    assert eager.has_fill(PAPER, key("1001"))
    assert not eager.has_fill(PAPER, key("1003"))
    assert not eager.has_fill(LIVE, key("1001"))
    for one in whole:
        assert ledger.has(one)
        assert not ledger.apply(one)
        with eager.transaction(LATER_NS) as tx:
            assert not tx.put_fill(one)
    assert numbers(ledger) == numbers(eager.ledger(PAPER)) == before


def test_fill_after_an_archive_is_counted_although_the_table_is_empty(eager: Store) -> None:
    """SQLite would number it as the first again, and a fill below the checkpoint counts as counted."""
    trade(eager, 1)
    archive_all(eager)
    assert eager._connection.execute("SELECT count(*) FROM fills").fetchone()[0] == 0
    trade(eager, 2, at_ns=LATER_NS)
    assert eager.ledger(PAPER).fill_count == 4
    assert numbers(eager.ledger(PAPER)) == numbers(Ledger.rebuild(PAPER, eager.fills(PAPER)))


def test_order_that_is_not_over_stays_with_its_fills(eager: Store) -> None:
    opened = trade(eager, 1, end=None)
    ended = trade(eager, 2)
    unknown_fill = trade(eager, 3, parts=["0.05"], end=OrderState.CANCELLED)
    whole = numbers(eager.ledger(PAPER))
    archive_all(eager)
    assert eager.find_order(PAPER, opened.client_order_id) == opened
    assert eager.open_orders(PAPER) == [opened]
    assert eager.find_order(PAPER, ended.client_order_id) is None
    assert eager.find_order(PAPER, unknown_fill.client_order_id) is None
    assert eager.has_fill(PAPER, key("1001"))
    ledger = eager.ledger(PAPER)
    assert numbers(ledger) == whole
    assert not ledger.apply(fill("1001", quantity_base=Decimal("0.04")))


def test_many_fills_of_an_order_that_is_not_over_do_not_stop_the_archive(eager: Store) -> None:
    opened = trade(eager, 1, parts=["0.01"] * 25, end=None)
    trade(eager, 2)
    whole = numbers(eager.ledger(PAPER))
    archive_all(eager)
    assert eager.open_orders(PAPER) == [opened]
    assert eager.find_order(PAPER, order_id(2)) is None
    assert numbers(eager.ledger(PAPER)) == whole


def test_own_order_that_was_archived_is_no_orphan(eager: Store) -> None:
    trade(eager, 4, end=None)
    trade(eager, 5)
    trade(eager, 6, end=None)
    archive_all(eager)
    assert eager.is_archived_order(PAPER, order_id(5))
    for number in (4, 6, 7):
        assert not eager.is_archived_order(PAPER, order_id(number))
    assert not eager.is_archived_order(LIVE, order_id(5))
    assert not eager.is_archived_order(PAPER, "somebody's")


def test_books_are_archived_apart(open_store: Open) -> None:
    paper = open_store(retention=EAGER)
    paper.begin_epoch(0, NOW_NS)
    trade(paper, 1)
    paper.close()
    live = open_store(book=LIVE, account="a", retention=EAGER)
    live.begin_epoch(0, NOW_NS)
    trade(live, 2, side=Side.SELL)
    expected = {book: numbers(live.ledger(book)) for book in BookName}
    archive_all(live)
    assert {book: numbers(live.ledger(book)) for book in BookName} == expected
    assert {each.book for each in live.archives()} == {"", "paper", "live"}
    assert [len(live.fills(book)) for book in BookName] == [2, 2]


STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["0.01", "0.037", "1.5"]), max_size=4),
        st.sampled_from([BTC, ETH]),
        st.sampled_from(Side),
        st.sampled_from(["99.37", "100", "61234.01"]),
        st.sampled_from([OrderState.FILLED, OrderState.CANCELLED, None]),
        st.integers(0, 200),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(steps=STEPS, data=st.data())
def test_ledger_from_checkpoint_and_remaining_fills_is_that_of_all_fills(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]], data: st.DataObject
) -> None:
    """Whatever was archived when: the same numbers, the same fills, and each fill offered again is not counted."""
    folder = tmp_path_factory.mktemp("property") / "volume"
    retention = Retention(
        book_ns=30 * DAY_NS, audit_ns=60 * DAY_NS, records=data.draw(st.integers(1, 12)), patience_ns=0
    )
    store = Store.open(folder, IDENTITY, book=PAPER, account="paper", now_ns=NOW_NS, retention=retention)
    try:
        store.begin_epoch(0, NOW_NS)
        kept, recorded = Ledger(PAPER), 0
        now_ns = NOW_NS
        for number, (parts, symbol, side, price, end, days, archives) in enumerate(steps, start=1):
            now_ns += int(days) * DAY_NS  # type: ignore[call-overload]  drawn as an integer
            if end is OrderState.FILLED and not parts:
                continue
            trade(
                store,
                number,
                at_ns=now_ns,
                parts=parts,
                symbol=symbol,
                side=side,
                price=price,
                end=end,  # type: ignore[arg-type]  drawn
            )
            everything: list[Fill] = store.fills(PAPER)
            for one in everything[recorded:]:
                kept.apply(one)
            recorded = len(everything)
            if archives:
                archive_all(store, now_ns)
        again = store.ledger(PAPER)
        assert numbers(again) == numbers(kept) == numbers(Ledger.rebuild(PAPER, store.fills(PAPER)))
        for one in store.fills(PAPER):
            assert again.has(one)
            assert not again.apply(one)
            assert store.has_fill(PAPER, FillKey.of(one))
            assert not again.has(replace(one, trade_id=f"{one.trade_id}0"))
        assert numbers(again) == numbers(kept)
        verdict = audit.verify(store.audit_records(), expected_head=store.audit_head)
        assert (verdict.finding, verdict.records) == (None, store.audit_head.sequence)
    finally:
        store.close()


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_crash_at_any_step_loses_and_doubles_nothing(open_store: Open, folder: Path, point: str) -> None:
    disk = CrashingDisk()
    store = open_store(retention=EAGER, disk=disk)
    store.begin_epoch(0, NOW_NS)
    for number in range(1, 5):
        trade(store, number)
    ledger, fills, head = numbers(store.ledger(PAPER)), store.fills(PAPER), store.audit_head.sequence
    crashes, more = 0, True
    while more:
        disk.point = point
        try:
            more = store.archive_due(LATER_NS)
        except Crash:
            crashes += 1
        disk.point = ""
        store.close()
        store = open_store(retention=EAGER, disk=disk)
        store.begin_epoch(0, NOW_NS)
        assert numbers(store.ledger(PAPER)) == ledger
        assert store.fills(PAPER) == fills
        assert audit.verify(store.audit_records(), expected_head=store.audit_head).is_sound
        more = more and store.archive_due(LATER_NS)
        if more:
            assert names(folder) == sorted(each.name for each in store.archives())
    assert crashes >= 2
    archive_all(store)
    assert names(folder) == sorted(each.name for each in store.archives())
    assert numbers(store.ledger(PAPER)) == ledger
    assert store.fills(PAPER) == fills
    assert store.count_orders(PAPER) == 4
    assert store.audit_head.sequence == head + len(store.archives())
    assert audit.verify(store.audit_records(), expected_head=store.audit_head).is_sound


@pytest.mark.parametrize("point", ["after-temporary", "after-save", "before-commit"])
def test_file_of_a_crash_is_removed_when_the_next_one_is_another(open_store: Open, folder: Path, point: str) -> None:
    disk = CrashingDisk()
    store = open_store(retention=EAGER, disk=disk)
    store.begin_epoch(0, NOW_NS)
    for number in range(1, 5):
        trade(store, number)
    for now_ns in (LATER_NS, NOW_NS + 91 * DAY_NS):  # the audit's file, then one of orders
        disk.point = point
        with pytest.raises(Crash):
            store.archive_due(now_ns)
    assert names(folder)
    store.close()
    disk.point = ""
    again = open_store(retention=replace(EAGER, records=7), disk=disk)
    again.begin_epoch(0, NOW_NS)
    archive_all(again)
    assert names(folder) == sorted(each.name for each in again.archives())
    assert again.ledger(PAPER).fill_count == 8


def test_commit_that_failed_leaves_no_file_behind_either(open_store: Open, folder: Path) -> None:
    class Refusing(CrashingDisk):
        def commit(self, connection: sqlite3.Connection) -> None:
            if self.point:
                raise sqlite3.OperationalError("disk I/O error")
            super().commit(connection)

    disk = Refusing()
    store = open_store(retention=EAGER, disk=disk)
    store.begin_epoch(0, NOW_NS)
    trade(store, 1)
    disk.point = "refuse"
    with pytest.raises(StoreUnwritable):
        store.archive_due(NOW_NS + 91 * DAY_NS)
    assert len(names(folder)) == 1
    disk.point = ""
    trade(store, 2)  # so that the next file is another
    archive_all(store)
    assert names(folder) == sorted(each.name for each in store.archives())
    assert store.ledger(PAPER).fill_count == 4


def test_file_that_no_store_names_is_kept_when_it_holds_what_the_store_does_not(open_store: Open, folder: Path) -> None:
    """An older copy of the store was put back beside newer archives: they are the only copy of what they hold."""
    store = open_store(retention=EAGER)
    store.begin_epoch(0, NOW_NS)
    trade(store, 1)
    archive_all(store)
    saved = names(folder)
    with store.transaction(LATER_NS):
        store._connection.execute("DELETE FROM archives")
    store.close()
    again = open_store(retention=EAGER)
    again.begin_epoch(0, NOW_NS)
    archive_all(again)
    assert set(saved) <= set(names(folder))


def test_foreign_file_among_the_archives_is_left_alone(eager: Store, folder: Path) -> None:
    (folder / FOLDER_NAME).mkdir()
    foreign = folder / FOLDER_NAME / "notes.tmp"
    foreign.write_text("a person's")
    trade(eager, 1)
    archive_all(eager)
    assert foreign.read_text() == "a person's"


def test_archive_that_is_changed_or_gone_is_never_read_as_if_it_were_whole(eager: Store, folder: Path) -> None:
    trade(eager, 1)
    archive_all(eager)
    (archive,) = [each for each in eager.archives() if each.kind is ArchiveKind.BOOK]
    path = folder / FOLDER_NAME / archive.name
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"0.04"', b'"0.05"'), mtime=0))
    with pytest.raises(ArchiveDamaged, match="digest"):
        eager.fills(PAPER)
    path.unlink()
    with pytest.raises(ArchiveDamaged, match=archive.name):
        eager.fills(PAPER)
    assert eager.ledger(PAPER).fill_count == 2  # the checkpoint needs no file


def test_disk_that_refuses_the_file_takes_nothing_from_the_store(open_store: Open) -> None:
    class FullDisk(CrashingDisk):
        def save(self, path: Path, content: bytes) -> None:
            raise OSError(28, "No space left on device", str(path), None, str(len(content)))

    store = open_store(retention=EAGER, disk=FullDisk())
    store.begin_epoch(0, NOW_NS)
    trade(store, 1)
    head = store.audit_head
    with pytest.raises(StoreUnwritable, match="archived"):
        store.archive_due(LATER_NS)
    assert (store.audit_head, store.archives(), len(store.fills(PAPER))) == (head, [], 2)


def test_a_thousand_decisions_are_a_thousand_records_wherever_they_are(open_store: Open, folder: Path) -> None:
    store = open_store(retention=Retention(records=90, patience_ns=0))
    store.begin_epoch(0, NOW_NS)
    for number in range(1000):
        with store.transaction(NOW_NS + number) as tx:
            tx.put_audit(AuditKind.ORDER_APPROVED if number % 3 else AuditKind.ORDER_DENIED, {"number": number})
    pieces = archive_all(store)
    kinds = (AuditKind.ORDER_APPROVED, AuditKind.ORDER_DENIED)
    assert sum(store.count_audit(kind, PAPER) for kind in kinds) == 1000
    assert sum(1 for record in store.audit_records() if record.kind in kinds) == 1000
    verdict = audit.verify(store.audit_records(), expected_head=store.audit_head)
    assert (verdict.finding, verdict.records) == (None, 1000 + pieces)
    assert len(names(folder)) == pieces == 12


def test_head_is_known_when_every_record_is_archived(eager: Store) -> None:
    assert eager.audit_head == GENESIS
    trade(eager, 1)
    archive_all(eager)
    head = eager.audit_head
    with eager.transaction(LATER_NS):
        eager._connection.execute("DELETE FROM audit")  # as if the newest were in a file, too
    last = [each for each in eager.archives() if each.kind is ArchiveKind.AUDIT][-1]
    assert (eager.audit_head.sequence, eager.audit_head.hash) == (last.last_sequence, last.last_hash)
    assert eager.audit_head != head


def test_reader_sees_archives_and_store_as_one_moment(eager: Store, folder: Path) -> None:
    for number in range(1, 5):
        trade(eager, number)
    with open_reader(folder) as reader, reader.snapshot():
        before = [record.sequence for record in reader.audit_records()]
        archive_all(eager)
        assert [record.sequence for record in reader.audit_records()] == before
        assert len(reader.fills(PAPER)) == 8
    with open_reader(folder) as reader, reader.snapshot():
        assert [record.sequence for record in reader.audit_records()][: len(before)] == before
        assert [record.sequence for record in reader.audit_records(since_sequence=7)][:3] == [7, 8, 9]
        assert len(reader.fills(PAPER)) == 8

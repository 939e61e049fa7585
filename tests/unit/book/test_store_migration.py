"""Files of every released schema are brought up to date, with all that is in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.book.conftest import IDENTITY
from tests.unit.book.history import CrashingDisk
from tests.unit.orders.builders import BTC, NOW_NS, intent

from tradingbot_trader.account_cli import account
from tradingbot_trader.audit_cli import audit
from tradingbot_trader.book import audit as trail
from tradingbot_trader.book.ledger import FillKey
from tradingbot_trader.book.reader import FILE_NAME, open_reader
from tradingbot_trader.book.schema import SCHEMA_VERSION
from tradingbot_trader.book.store import Store
from tradingbot_trader.orders.order import BookName, OrderState, OrderType, Purpose

PAPER = BookName.PAPER
VERSION_1 = Path(__file__).with_name("store_v1.sql")
"""Dumped from a file that the trader of schema version 1 wrote, its own statements included."""
HEAD_1 = "99b2a1f47af8e4e1fff25aa9d6b62e413650ff56252f7a15c4f3d2ed2c5a66f8"
Open = Callable[..., Store]


@pytest.fixture
def old(folder: Path) -> Path:
    folder.mkdir()
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript(VERSION_1.read_text(encoding="ascii"))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return folder


def version(folder: Path) -> int:
    connection = sqlite3.connect(folder / FILE_NAME)
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.close()
    return found


def test_store_of_version_1_is_brought_up_to_date_with_all_that_is_in_it(old: Path, open_store: Open) -> None:
    assert version(old) == 1
    store = open_store()
    assert version(old) == SCHEMA_VERSION
    assert [order.state for order in store.orders_in_state(PAPER, list(OrderState))] == [
        OrderState.FILLED,
        OrderState.PARTIALLY_FILLED,
    ]
    (order,) = store.open_orders(PAPER)
    assert (order.filled_base, order.venue_order_id, order.intent.stop_price) == (Decimal("0.04"), "71", None)
    assert store.ledger(PAPER).position(BTC).quantity_base == Decimal("0.14")
    assert store.ledger(PAPER).fees == {"BNB": Decimal("0.003")}
    assert (store.audit_head.sequence, store.audit_head.hash) == (10, HEAD_1)
    assert trail.verify(store.audit_records(), expected_head=store.audit_head).is_sound
    latch, config, permit = store.current_latch(), store.last_config(), store.last_permit()
    assert latch is not None
    assert latch.latch.id == "L1"
    assert config is not None
    assert config.generation == 3
    assert permit is not None
    assert permit.limit == Decimal("50.5")
    assert store.counters(PAPER) == {"pnl.peak_quote": "1.5"}
    assert store.begin_epoch(0, NOW_NS) == NOW_NS // 1_000_000_000 + 1


def test_store_that_was_brought_up_to_date_takes_what_is_new(old: Path, open_store: Open) -> None:
    assert version(old) == 1
    store = open_store()
    store.begin_epoch(0, NOW_NS)
    stop = intent(
        "f" * 32, purpose=Purpose.PROTECT, type=OrderType.STOP_LOSS, price=Decimal(95), stop_price=Decimal("95.5")
    )
    with store.transaction(NOW_NS) as tx:
        tx.put_intent(stop)
    found = store.find_order(PAPER, "f" * 32)
    assert found is not None
    assert found.intent == stop
    assert store.find_by_venue_order_id(PAPER, BTC, "70") is not None
    assert store.has_fill(PAPER, FillKey("binance", "paper", BTC, f"T-{'0' * 32}-1"))


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
def test_crash_in_a_migration_leaves_a_version_and_nothing_between_two(old: Path, open_store: Open, point: str) -> None:
    disk = CrashingDisk()
    disk.point = point
    with pytest.raises(BaseException, match=point):
        open_store(disk=disk)
    assert version(old) == (1 if point == "before-commit" else 2)
    store = open_store()
    assert version(old) == SCHEMA_VERSION
    assert len(store.fills(PAPER)) == 3


def test_reader_takes_an_old_file_that_no_trader_has_opened_yet(old: Path) -> None:
    with open_reader(old) as reader:
        assert reader.audit_head.sequence == 10
        assert reader.ledger(PAPER).fill_count == 3
        assert (reader.baseline(PAPER), reader.adjustments(PAPER), reader.archives()) == (None, [], [])
        assert not reader.has_fill(PAPER, FillKey("binance", "paper", BTC, "1"))
        assert reader.last_trade_id(PAPER, "binance", "paper", BTC) is None
        assert not reader.is_archived_order(PAPER, "a" * 32)
        assert (reader.count_orders(PAPER), reader.count_audit(trail.AuditKind.LATCHED, PAPER)) == (2, 1)
    result = CliRunner().invoke(audit, ["verify", "--store", str(old), "--head", f"10:{HEAD_1}"])
    assert result.exit_code == 0, result.output
    assert CliRunner().invoke(account, ["show", "--store", str(old), "--book", "paper"]).exit_code == 0
    assert version(old) == 1


def test_new_store_and_migrated_store_have_the_same_tables(
    old: Path, open_store: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    open_store().close()
    fresh = tmp_path_factory.mktemp("fresh")
    Store.open(fresh, IDENTITY, book=PAPER, account="paper", now_ns=NOW_NS).close()

    def tables(folder: Path) -> list[tuple[str, str]]:
        connection = sqlite3.connect(folder / FILE_NAME)
        found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
        connection.close()
        return [(name, " ".join(sql.split())) for name, sql in found]

    assert tables(old) == tables(fresh)

"""The store: all or nothing, one writer, one bot, and what was written is read back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.orders.builders import BTC, NOW_NS, SECOND_NS, conditions, engine, event, fill, fill_of, intent, limits

from tradingbot_api.conditions import LatchState
from tradingbot_api.spec import Mode, StopAction
from tradingbot_api.status import Latch, Permit
from tradingbot_trader.book import audit
from tradingbot_trader.book.audit import GENESIS, AuditKind
from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.book.reader import FILE_NAME, open_reader
from tradingbot_trader.book.schema import SCHEMA_VERSION
from tradingbot_trader.book.store import Identity, SqliteDisk, Store
from tradingbot_trader.errors import (
    StaleEpoch,
    StoreLocked,
    StoreMismatch,
    StoreTooNew,
    StoreUnwritable,
)
from tradingbot_trader.orders.machine import Order, Transition, apply
from tradingbot_trader.orders.order import BookName, OrderEvent, OrderState, Purpose

S = OrderState
PAPER = BookName.PAPER
Open = Callable[..., Store]


def record(store: Store, order: Order, one: OrderEvent) -> Transition:
    """As the session does: the machine's step, then its record."""
    step = apply(order, one)
    with store.transaction(NOW_NS) as tx:
        tx.put_event(one, step.order)
        tx.put_audit(AuditKind.ORDER_EVENT, {"event": one})
    return step


def place(store: Store, client_order_id: str = "a" * 32, **changes: object) -> Order:
    order = Order(intent(client_order_id, **changes))
    with store.transaction(NOW_NS) as tx:
        tx.put_intent(order.intent)
        tx.put_audit(AuditKind.ORDER_APPROVED, {"clientOrderId": client_order_id})
    return order


def test_order_is_read_back_as_its_events_left_it(store: Store) -> None:
    order = place(store)
    events = [
        event(S.SENT),
        event(S.OPEN, venue_order_id="77"),
        event(S.PARTIALLY_FILLED, "0.04", fill=fill_of(order.intent, Decimal("0.04"), number=1)),
    ]
    for one in events:
        order = record(store, order, one).order
    assert store.find_order(PAPER, "a" * 32) == order
    assert store.open_orders(PAPER) == [order]
    assert store.events(PAPER, "a" * 32) == events
    order = record(store, order, event(S.CANCELLED, "0.04")).order
    assert store.find_order(PAPER, "a" * 32) == order
    assert store.open_orders(PAPER) == []


def test_ended_order_with_an_unknown_fill_is_still_open_business(store: Store) -> None:
    order = record(store, place(store), event(S.CANCELLED, "0.04")).order
    assert store.open_orders(PAPER) == [order]


def test_unknown_order_is_none(store: Store) -> None:
    assert store.find_order(PAPER, "b" * 32) is None


def test_client_order_id_is_recorded_once(store: Store) -> None:
    place(store)
    with pytest.raises(StoreUnwritable, match="UNIQUE"):
        place(store)
    assert store.count_orders(PAPER) == 1


def test_event_of_an_order_that_was_never_recorded_is_refused(store: Store) -> None:
    with pytest.raises(StoreUnwritable, match="FOREIGN KEY"):
        record(store, Order(intent()), event(S.OPEN))
    assert store.audit_head == GENESIS


def test_doubled_fill_is_stored_once(store: Store) -> None:
    order = place(store)
    bought = fill_of(order.intent, Decimal("0.1"), number=1)
    for state in (S.PARTIALLY_FILLED, S.FILLED):
        record(store, order, event(state, "0.1", fill=bought))
    with store.transaction(NOW_NS) as tx:
        assert not tx.put_fill(bought)
        assert tx.put_fill(replace(bought, account="other"))
    assert len(store.fills(PAPER)) == 2


def test_foreign_fill_is_not_stored_with_the_order_that_it_was_told_of(store: Store) -> None:
    step = record(store, place(store), event(S.OPEN, fill=fill("9", symbol="ETH/USDT")))
    assert step.illegal is not None
    assert store.fills(PAPER) == []


def test_nonsense_of_a_venue_is_recorded_as_it_was_said(store: Store) -> None:
    order = record(store, place(store), event(S.OPEN, "NaN")).order
    found = store.find_order(PAPER, "a" * 32)
    assert found is not None
    assert found.illegal == order.illegal
    assert found.illegal


def test_amounts_are_text_in_one_form(store: Store, folder: Path) -> None:
    place(store, quantity_base=Decimal("1E-8"), price=Decimal("1.2300E+3"))
    rows = sqlite3.connect(folder / FILE_NAME)
    assert rows.execute("SELECT quantity_base, price, typeof(created_ns) FROM orders").fetchall() == [
        ("0.00000001", "1230", "integer")
    ]
    rows.close()


def test_state_and_audit_are_written_together_or_not_at_all(store: Store) -> None:
    def fail_halfway() -> None:
        with store.transaction(NOW_NS) as tx:
            tx.put_intent(intent())
            tx.put_audit(AuditKind.ORDER_APPROVED, {})
            raise LookupError

    with pytest.raises(LookupError):
        fail_halfway()
    assert (store.count_orders(PAPER), store.audit_head) == (0, GENESIS)
    place(store)
    assert (store.count_orders(PAPER), store.audit_head.sequence) == (1, 1)


def test_audit_records_of_one_transaction_are_chained_in_the_order_of_the_calls(store: Store) -> None:
    with store.transaction(NOW_NS) as tx:
        first = tx.put_audit(AuditKind.STARTED, {"version": "0.1.0"})
        second = tx.put_audit(AuditKind.CONFIG_ACCEPTED, {"generation": 1})
    assert (first.sequence, second.sequence, second.previous) == (1, 2, first.hash)
    assert store.audit_head == second.head
    assert (first.epoch, first.book) == (store.epoch, "paper")
    assert audit.verify(store.audit_records()).is_sound


def test_a_thousand_decisions_give_a_thousand_records_and_a_sound_chain(store: Store) -> None:
    desk = engine()
    given_now = conditions(limits=limits(maxOrderNotional="30", maxExposurePercent="60"))
    for number in range(1000):
        order = intent(f"{number:032x}", quantity_base=Decimal(number % 500).scaleb(-3))
        decision = desk.decide(order, given_now)
        with store.transaction(NOW_NS) as tx:
            if decision.is_approved:
                tx.put_intent(order)
            kind = AuditKind.ORDER_APPROVED if decision.is_approved else AuditKind.ORDER_DENIED
            tx.put_audit(kind, decision.to_data())
        if decision.is_approved and number % 2:
            desk.apply(event(S.CANCELLED, client_order_id=order.client_order_id))
    approved = store.count_audit(AuditKind.ORDER_APPROVED, PAPER)
    assert approved == store.count_orders(PAPER)
    assert 0 < approved < 1000
    assert approved + store.count_audit(AuditKind.ORDER_DENIED, PAPER) == 1000
    verdict = audit.verify(store.audit_records(), expected_head=store.audit_head)
    assert (verdict.is_sound, verdict.records) == (True, 1000)


QUANTITIES = st.lists(st.integers(1, 400), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.tuples(QUANTITIES, st.sampled_from(["99.37", "100", "61234.01"])), min_size=1, max_size=4))
def test_position_and_cash_rebuilt_from_the_store_are_those_that_were_kept(
    store: Store, orders: list[tuple[list[int], str]]
) -> None:
    ledger = Ledger.rebuild(PAPER, store.fills(PAPER))
    for quantities, price in orders:
        number = store.count_orders(PAPER)
        order = place(store, f"{number:032x}", quantity_base=sum(quantities), price=Decimal(price))
        total = 0
        for index, quantity in enumerate(quantities):
            total += quantity
            bought = fill_of(order.intent, Decimal(quantity), number=index, fee_amount=Decimal(quantity).scaleb(-9))
            one = event(S.PARTIALLY_FILLED, str(total), client_order_id=order.client_order_id, fill=bought)
            order = record(store, order, one).order
            ledger.apply(bought)
    again = Ledger.rebuild(PAPER, store.fills(PAPER))
    assert vars(again) == vars(ledger)
    assert str(again.cash_quote) == str(ledger.cash_quote)


def test_intents_of_the_last_minute_are_found_for_the_rate_limit(store: Store) -> None:
    for number, age_seconds in enumerate((61, 60, 1)):
        place(store, f"{number:032x}", created_ns=NOW_NS - age_seconds * SECOND_NS)
    place(store, "e" * 32, purpose=Purpose.EXIT)
    found = store.intents_since(PAPER, NOW_NS - 60 * SECOND_NS)
    assert [one.client_order_id[-1] for one in found] == ["1", "2", "e"]


def test_books_do_not_see_each_other(open_store: Open) -> None:
    first = open_store()
    first.begin_epoch(0, NOW_NS)
    place(first)
    first.close()
    live = open_store(book=BookName.LIVE, account="fingerprint")
    live.begin_epoch(0, NOW_NS)
    assert live.open_orders(BookName.LIVE) == []
    place(live, book=BookName.LIVE)
    assert len(live.open_orders(BookName.LIVE)) == len(live.open_orders(PAPER)) == 1
    with pytest.raises(ValueError, match="book paper"), live.transaction(NOW_NS) as tx:
        tx.put_intent(intent("b" * 32))


def test_latch_survives_a_restart_and_is_found_by_either_book(open_store: Open) -> None:
    first = open_store()
    first.begin_epoch(0, NOW_NS)
    latch = Latch(state=LatchState.STOPPING, id="L1", action=StopAction.CANCEL_ORDERS, source="KillSwitch")
    with first.transaction(NOW_NS) as tx:
        tx.put_latch(latch, is_active=True)
    with first.transaction(NOW_NS + 1) as tx:
        tx.put_latch(latch.model_copy(update={"state": LatchState.STOPPED, "orders_cancelled": 2}), is_active=True)
    first.close()
    live = open_store(book=BookName.LIVE, account="fingerprint")
    found = live.current_latch()
    assert found is not None
    assert (found.latch.state, found.latch.orders_cancelled) == (LatchState.STOPPED, 2)
    assert (found.created_ns, found.updated_ns) == (NOW_NS, NOW_NS + 1)


def test_released_latch_is_kept_and_no_longer_current(store: Store) -> None:
    for number in (1, 2):
        with store.transaction(NOW_NS + number) as tx:
            tx.put_latch(Latch(state=LatchState.STOPPED, id=f"L{number}"), is_active=True)
        with store.transaction(NOW_NS + number) as tx:
            tx.put_latch(Latch(id=f"L{number}"), is_active=False)
    assert store.current_latch() is None
    assert store.released_latch_ids() == ["L1", "L2"]
    with store.transaction(NOW_NS + 3) as tx:
        tx.put_latch(Latch(state=LatchState.STOPPING, id="L3"), is_active=True)
    current = store.current_latch()
    assert current is not None
    assert current.latch.id == "L3"
    with store.transaction(NOW_NS + 4) as tx:
        tx.put_latch(Latch(state=LatchState.STOPPING, id="A4"), is_active=True)
    newest = store.current_latch()
    assert newest is not None
    assert newest.latch.id == "A4"
    assert [latch.latch.id for latch in store.latches()] == ["L1", "L2", "L3", "A4"]


def test_latch_without_an_id_is_a_bug(store: Store) -> None:
    with pytest.raises(ValueError, match="id"), store.transaction(NOW_NS) as tx:
        tx.put_latch(Latch(), is_active=True)


def test_last_config_permit_and_counters_are_read_back(store: Store) -> None:
    assert (store.last_config(), store.last_permit(), store.counters(PAPER)) == (None, None, {})
    permit = Permit(
        uid="u", mode=Mode.PAPER, stage="micro", limit=Decimal("50.5"), digest="v1:x", spec_generation=2, issued_at="t"
    )
    for generation in (1, 2):
        with store.transaction(NOW_NS) as tx:
            tx.put_config(uid="u", generation=generation, digest="v1:x", spec_json='{"mode":"Paper"}')
            tx.put_permit(permit.model_copy(update={"stage": f"stage-{generation}"}))
            tx.put_counters({"pnl.peak_quote": str(generation), "rearm": "L1"})
    config = store.last_config()
    assert config is not None
    assert (config.generation, config.spec_json, config.accepted_ns) == (2, '{"mode":"Paper"}', NOW_NS)
    assert store.last_permit() == permit.model_copy(update={"stage": "stage-2"})
    assert store.counters(PAPER) == {"pnl.peak_quote": "2", "rearm": "L1"}
    assert store.counters(BookName.LIVE) == {}


def test_epoch_is_larger_than_any_before_and_at_least_the_lease_and_the_clock(open_store: Open) -> None:
    seconds = NOW_NS // SECOND_NS
    store = open_store()
    assert store.begin_epoch(3, NOW_NS) == seconds
    assert store.begin_epoch(3, NOW_NS) == seconds + 1
    assert store.begin_epoch(3, 0) == seconds + 2
    assert store.begin_epoch(seconds + 90, NOW_NS) == seconds + 90
    store.close()
    again = open_store()
    assert again.begin_epoch(0, NOW_NS) == seconds + 91
    assert again.epoch == seconds + 91


def test_nothing_is_written_before_the_epoch_is_begun(open_store: Open) -> None:
    with pytest.raises(RuntimeError, match="begin_epoch"), open_store().transaction(NOW_NS):
        pass


def test_writer_whose_epoch_is_over_writes_nothing_more(store: Store, folder: Path) -> None:
    thief = sqlite3.connect(folder / FILE_NAME)
    thief.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
    thief.commit()
    thief.close()
    with pytest.raises(StaleEpoch, match="another one has begun"), store.transaction(NOW_NS) as tx:
        tx.put_intent(intent())
    assert store.count_orders(PAPER) == 0


def test_second_writer_is_refused_until_the_first_has_closed(open_store: Open) -> None:
    first = open_store()
    with pytest.raises(StoreLocked, match="another process"):
        open_store()
    first.close()
    open_store()


def test_refused_open_leaves_no_lock_behind(open_store: Open) -> None:
    open_store().close()
    for _ in range(2):
        with pytest.raises(StoreMismatch):
            open_store(account="other")
    open_store()


@pytest.mark.parametrize("field", ["installation", "namespace", "name", "venue", "network"])
def test_volume_of_another_bot_is_refused_with_what_to_do(open_store: Open, field: str) -> None:
    open_store().close()
    ours = Identity(installation="i-1", namespace="desk-a", name="btc-trend", venue="binance", network="Sandbox")
    with pytest.raises(StoreMismatch, match=f"{field}.*PersistentVolumeClaim"):
        open_store(identity=replace(ours, **{field: "another"}))


def test_each_book_is_bound_to_its_own_account(open_store: Open) -> None:
    open_store(account="paper").close()
    live = open_store(book=BookName.LIVE, account=None)
    live.claim_account("fingerprint-1", NOW_NS)
    live.claim_account("fingerprint-1", NOW_NS)
    with pytest.raises(StoreMismatch, match="account"):
        live.claim_account("fingerprint-2", NOW_NS)


def test_newer_schema_is_refused_by_writer_and_reader(open_store: Open, folder: Path) -> None:
    open_store().close()
    newer = sqlite3.connect(folder / FILE_NAME)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(StoreTooNew, match=f"version {SCHEMA_VERSION + 1}"):
        open_store()
    with pytest.raises(StoreTooNew):
        open_reader(folder)


@pytest.mark.parametrize("version", [0, 1])
def test_database_of_another_program_is_refused_and_left_alone(open_store: Open, folder: Path, version: int) -> None:
    folder.mkdir()
    other = sqlite3.connect(folder / FILE_NAME)
    other.execute("CREATE TABLE theirs (x)")
    other.execute(f"PRAGMA user_version = {version}")
    other.commit()
    with pytest.raises(StoreMismatch, match="another program"):
        open_store()
    assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    other.close()


def test_file_that_is_no_database_is_unusable(open_store: Open, folder: Path) -> None:
    folder.mkdir()
    (folder / FILE_NAME).write_text("not a database " * 100)
    with pytest.raises(StoreUnwritable, match="cannot be opened"):
        open_store()


def test_folder_that_cannot_be_made_is_unusable(open_store: Open, folder: Path) -> None:
    folder.write_text("a file where the volume should be")
    with pytest.raises(StoreUnwritable, match="cannot be opened"):
        open_store()


def test_connection_is_durable_at_each_commit(store: Store) -> None:
    pragmas = {
        name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


class FailingDisk(SqliteDisk):
    """A disk that is full when it is told to be."""

    def __init__(self) -> None:
        self.is_full = False
        self.commits = 0

    def commit(self, connection: sqlite3.Connection) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        self.commits += 1
        super().commit(connection)


def test_full_disk_stops_trading_and_what_was_written_before_stays(open_store: Open) -> None:
    disk = FailingDisk()
    store = open_store(disk=disk)
    store.begin_epoch(0, NOW_NS)
    place(store)
    disk.is_full = True
    with pytest.raises(StoreUnwritable, match=r"cannot record.*full"):
        place(store, "b" * 32)
    disk.is_full = False
    place(store, "c" * 32)
    assert [order.client_order_id[0] for order in store.open_orders(PAPER)] == ["a", "c"]
    assert audit.verify(store.audit_records(), expected_head=store.audit_head).is_sound


def test_really_full_database_is_unwritable_and_recovers(store: Store) -> None:
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnwritable, match="full"):
        place(store, reason="x" * 100_000)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    place(store)
    assert store.count_orders(PAPER) == 1


def test_one_transaction_is_one_commit(open_store: Open) -> None:
    disk = FailingDisk()
    store = open_store(disk=disk)
    store.begin_epoch(0, NOW_NS)
    before = disk.commits
    place(store)
    assert disk.commits == before + 1


def test_transactions_do_not_nest(store: Store) -> None:
    with store.transaction(NOW_NS), pytest.raises(RuntimeError, match="open already"), store.transaction(NOW_NS):
        pass


def test_error_of_the_caller_inside_a_transaction_stays_what_it_is(store: Store) -> None:
    with pytest.raises(ConnectionError), store.transaction(NOW_NS):
        raise ConnectionError


def test_reader_sees_what_is_committed_beside_the_writer_and_cannot_write(store: Store, folder: Path) -> None:
    with open_reader(folder) as reader:
        assert reader.count_orders(PAPER) == 0
        place(store)
        assert reader.count_orders(PAPER) == 1
        with reader.snapshot():
            assert reader.count_orders(PAPER) == 1
            place(store, "b" * 32)
            assert reader.count_orders(PAPER) == 1
        assert reader.count_orders(PAPER) == 2
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM audit")


def test_reader_without_a_store_says_so(folder: Path) -> None:
    with pytest.raises(StoreUnwritable, match="no store"):
        open_reader(folder)


def test_positions_of_a_symbol_are_those_of_its_fills(store: Store) -> None:
    order = place(store)
    record(store, order, event(S.FILLED, "0.1", fill=fill_of(order.intent, Decimal("0.1"), number=1)))
    assert Ledger.rebuild(PAPER, store.fills(PAPER)).position(BTC).quantity_base == Decimal("0.1")

"""SHELL. What one commit of the store holds: made by book/store.py, dead after it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tradingbot_api.decimal import format_decimal
from tradingbot_api.status import Latch, Permit
from tradingbot_trader.book import archiver, audit, rows
from tradingbot_trader.book.account import Adjustment
from tradingbot_trader.book.archiver import Move
from tradingbot_trader.book.audit import AuditKind, AuditRecord
from tradingbot_trader.book.ledger import FillKey
from tradingbot_trader.errors import StoreUnwritable
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, Fill, Intent, OrderEvent, OrderState, Purpose

if TYPE_CHECKING:
    from tradingbot_trader.book.store import Store


class Transaction:
    """All of it, or nothing."""

    def __init__(self, store: Store, connection: sqlite3.Connection, *, now_ns: int) -> None:
        self._store = store
        self._connection = connection
        self._now_ns = now_ns

    def put_intent(self, intent: Intent, *, is_adopted: bool = False) -> None:
        """Before the order may leave. A client order id that was used before cannot be recorded again.

        StoreUnwritable for an entry while the reserve is spent: what is left of the volume is for what has happened.
        One that was adopted from the venue has happened.
        """
        self._check_book(intent.book)
        if intent.purpose is Purpose.ENTRY and self._store.is_reserve_spent and not is_adopted:
            raise StoreUnwritable("the store cannot record: its volume is full, and what is left is for exits")
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
        """False: the store or one of its archives has it, and nothing changes."""
        self._check_book(fill.book)
        if self._store.has_fill(fill.book, FillKey.of(fill)):
            return False
        # Not left to SQLite: it would use a number again after the fills with the highest ones went into an archive,
        # and a fill with a number below the checkpoint's counts as counted.
        self._insert("fills", rows.fill_row(fill) | {"sequence": archiver.next_fill_sequence(self._connection)})
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

    def put_baseline(self, balances: Mapping[str, Decimal]) -> None:
        """What the account held before the bot's first order, by asset. Once for a book; ValueError after that.

        The audit record (BaselineRecorded) is the caller's, as with everything but archives.
        """
        book = self._store.book
        if self._store.baseline(book) is not None:
            raise ValueError(f"the opening baseline of book {book} is recorded already: record an adjustment instead")
        for asset, amount in balances.items():
            place = {"book": book.value, "asset": asset, "recorded_ns": self._now_ns}
            self._insert("baselines", place | {"amount": _finite(amount)})
        self._insert("meta", {"key": f"baseline/{book}", "value": str(self._now_ns)})

    def put_adjustment(self, adjustment: Adjustment) -> bool:
        """False: an adjustment of that id was applied before, and nothing changes. So a request that is taken twice
        counts once. One that was recorded and not applied is applied by recording it again as applied.

        ValueError when another one has that id. The audit record (Adjusted) is the caller's, only after True.
        """
        self._check_book(adjustment.book)
        known = self._store.find_adjustment(adjustment.id)
        if known is None:
            _finite(adjustment.amount)
            self._insert("adjustments", rows.adjustment_row(replace(adjustment, recorded_ns=self._now_ns)))
            return True
        if known.content != adjustment.content:
            raise ValueError(f"adjustment {adjustment.id} is recorded already, with other content")
        if known.is_applied or not adjustment.is_applied:
            return False
        self._connection.execute("UPDATE adjustments SET is_applied = 1 WHERE id = ?", (adjustment.id,))
        return True

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

    def put_archive(self, move: Move) -> None:
        """The file is durable: name it in the store, take its records away, and say so in the audit."""
        archiver.apply(self._connection, move, now_ns=self._now_ns)
        if move.archive is not None:
            self.put_audit(AuditKind.ARCHIVED, move.archive.to_data())

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


def _finite(amount: Decimal) -> str:
    if not amount.is_finite():
        raise ValueError(f"{amount} is no amount")
    return format_decimal(amount)

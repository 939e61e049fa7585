"""PURE. Our words as rows of the store, and back. Between book/store.py, book/reader.py and SQLite."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Protocol

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.book.account import Adjustment
from tradingbot_trader.book.archive import Archive, ArchiveKind
from tradingbot_trader.book.audit import AuditRecord
from tradingbot_trader.orders.order import (
    BookName,
    Fill,
    Intent,
    OrderEvent,
    OrderState,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
)


class Row(Protocol):
    """sqlite3.Row, as far as it is read here."""

    def __getitem__(self, key: str, /) -> Any: ...


def intent_row(intent: Intent) -> dict[str, Any]:
    return {
        "book": intent.book.value,
        "client_order_id": intent.client_order_id,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "type": intent.type.value,
        "time_in_force": intent.time_in_force.value,
        "purpose": intent.purpose.value,
        "quantity_base": format_decimal(intent.quantity_base),
        "price": format_decimal(intent.price),
        "created_ns": intent.created_ns,
        "reason": intent.reason,
        "stop_price": None if intent.stop_price is None else format_decimal(intent.stop_price),
    }


def read_intent(row: Row) -> Intent:
    return Intent(
        client_order_id=row["client_order_id"],
        book=BookName(row["book"]),
        symbol=row["symbol"],
        side=Side(row["side"]),
        type=OrderType(row["type"]),
        time_in_force=TimeInForce(row["time_in_force"]),
        purpose=Purpose(row["purpose"]),
        quantity_base=Decimal(row["quantity_base"]),
        price=Decimal(row["price"]),
        created_ns=row["created_ns"],
        reason=row["reason"],
        stop_price=None if row["stop_price"] is None else Decimal(row["stop_price"]),
    )


def fill_row(fill: Fill) -> dict[str, Any]:
    return {
        "book": fill.book.value,
        "venue": fill.venue,
        "account": fill.account,
        "symbol": fill.symbol,
        "trade_id": fill.trade_id,
        "client_order_id": fill.client_order_id,
        "side": fill.side.value,
        "price": format_decimal(fill.price),
        "quantity_base": format_decimal(fill.quantity_base),
        "fee_asset": fill.fee_asset,
        "fee_amount": format_decimal(fill.fee_amount),
        "event_time_ns": fill.event_time_ns,
        "is_maker": int(fill.is_maker),
    }


def read_fill(row: Row) -> Fill:
    return Fill(
        venue=row["venue"],
        account=row["account"],
        book=BookName(row["book"]),
        symbol=row["symbol"],
        trade_id=row["trade_id"],
        client_order_id=row["client_order_id"],
        side=Side(row["side"]),
        price=Decimal(row["price"]),
        quantity_base=Decimal(row["quantity_base"]),
        fee_asset=row["fee_asset"],
        fee_amount=Decimal(row["fee_amount"]),
        event_time_ns=row["event_time_ns"],
        is_maker=bool(row["is_maker"]),
    )


def event_row(event: OrderEvent) -> dict[str, Any]:
    return {
        "client_order_id": event.client_order_id,
        "state": event.state.value,
        "at_ns": event.at_ns,
        "venue_order_id": event.venue_order_id,
        "filled_base": _text(event.filled_base),
        "reason": event.reason,
    }


def read_event(row: Row, fill: Fill | None) -> OrderEvent:
    return OrderEvent(
        client_order_id=row["client_order_id"],
        state=OrderState(row["state"]),
        at_ns=row["at_ns"],
        venue_order_id=row["venue_order_id"],
        filled_base=Decimal(row["filled_base"]),
        fill=fill,
        reason=row["reason"],
    )


def audit_row(record: AuditRecord) -> dict[str, Any]:
    return {
        "sequence": record.sequence,
        "time_ns": record.time_ns,
        "kind": record.kind,
        "book": record.book,
        "epoch": record.epoch,
        "data": record.data,
        "previous": record.previous,
        "hash": record.hash,
    }


def read_audit(row: Row) -> AuditRecord:
    return AuditRecord(**{name: row[name] for name in AuditRecord.__slots__})


def adjustment_row(adjustment: Adjustment) -> dict[str, Any]:
    return {
        "id": adjustment.id,
        "book": adjustment.book.value,
        "asset": adjustment.asset,
        "amount": format_decimal(adjustment.amount),
        "reason": adjustment.reason,
        "who": adjustment.who,
        "recorded_ns": adjustment.recorded_ns,
        "is_applied": int(adjustment.is_applied),
    }


def read_adjustment(row: Row) -> Adjustment:
    return Adjustment(
        id=row["id"],
        book=BookName(row["book"]),
        asset=row["asset"],
        amount=Decimal(row["amount"]),
        reason=row["reason"],
        who=row["who"],
        recorded_ns=row["recorded_ns"],
        is_applied=bool(row["is_applied"]),
    )


def archive_row(archive: Archive) -> dict[str, Any]:
    return {name: getattr(archive, name) for name in Archive.__slots__}


def read_archive(row: Row) -> Archive:
    values = {name: row[name] for name in Archive.__slots__}
    return Archive(**values | {"kind": ArchiveKind(row["kind"])})


def _text(value: Decimal) -> str:
    """A venue may say NaN; the machine reports it, and what was said is kept."""
    return format_decimal(value) if value.is_finite() else str(value)

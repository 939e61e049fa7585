"""Builders of a store with a past: orders, their fills and their audit, at the times that a test wants."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from tests.unit.orders.builders import BTC, DAY_NS, NOW_NS, event, fill, intent

from tradingbot_trader.book.archiver import Retention
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.disk import SqliteDisk
from tradingbot_trader.book.store import Store
from tradingbot_trader.orders.client_id import build_client_order_id
from tradingbot_trader.orders.machine import Order, apply
from tradingbot_trader.orders.order import OrderState, Side

LATER_NS = NOW_NS + 400 * DAY_NS
"""When everything of NOW_NS is older than any retention."""
EAGER = Retention(audit_ns=52 * 7 * DAY_NS, book_ns=90 * DAY_NS, records=10, patience_ns=0)
"""Archives what is old at once, ten lines a file."""


def order_id(number: int) -> str:
    """One of ours; ids grow with their numbers, as in one run."""
    return build_client_order_id("0123456789", 7, number)


def trade(
    store: Store,
    number: int,
    *,
    at_ns: int = NOW_NS,
    parts: Sequence[str] = ("0.04", "0.06"),
    symbol: str = BTC,
    side: Side = Side.BUY,
    price: str = "100",
    end: OrderState | None = OrderState.FILLED,
) -> Order:
    """An order that is filled in these parts; trade ids of order 1 are 1001, 1002, ... `end` None: it stays open."""
    quantity = sum((Decimal(part) for part in parts), Decimal(0)) + (0 if end is OrderState.FILLED else 1)
    order = Order(
        intent(
            order_id(number),
            symbol=symbol,
            side=side,
            quantity_base=quantity,
            price=Decimal(price),
            created_ns=at_ns,
            book=store.book,
        )
    )
    with store.transaction(at_ns) as tx:
        tx.put_intent(order.intent)
        tx.put_audit(AuditKind.ORDER_APPROVED, {"intent": order.intent})
    steps = [event(OrderState.OPEN, client_order_id=order.client_order_id, at_ns=at_ns, venue_order_id=str(number))]
    filled = Decimal(0)
    for index, part in enumerate(parts, start=1):
        filled += Decimal(part)
        one = fill(
            str(1000 * number + index),
            client_order_id=order.client_order_id,
            symbol=symbol,
            side=side,
            price=Decimal(price),
            quantity_base=Decimal(part),
            event_time_ns=at_ns,
            book=store.book,
            fee_asset="BNB" if index % 2 else "USDT",
            fee_amount=Decimal("0.0001"),
        )
        state = OrderState.PARTIALLY_FILLED
        steps.append(event(state, str(filled), client_order_id=order.client_order_id, at_ns=at_ns, fill=one))
    if end is not None:
        steps.append(event(end, str(filled), client_order_id=order.client_order_id, at_ns=at_ns))
    for step in steps:
        order = apply(order, step).order
        with store.transaction(at_ns) as tx:
            tx.put_event(step, order)
            tx.put_audit(AuditKind.FILL if step.fill else AuditKind.ORDER_EVENT, {"event": step})
    return order


def archive_all(store: Store, now_ns: int = LATER_NS) -> int:
    """Until nothing more is due; how many pieces of work that were."""
    pieces = 0
    while store.archive_due(now_ns):
        pieces += 1
        assert pieces < 10_000
    return pieces


class Crash(BaseException):
    """The process ends here: nothing behind it cleans up."""


class CrashingDisk(SqliteDisk):
    """Ends the process at one named point: before-save, after-temporary, after-save, before-commit, after-commit."""

    def __init__(self) -> None:
        self.point = ""

    def save(self, path: Path, content: bytes) -> None:
        self._reach("before-save")
        if self.point == "after-temporary":
            path.with_name(f"{path.name}.tmp").write_bytes(content[: len(content) // 2])
        self._reach("after-temporary")
        super().save(path, content)
        self._reach("after-save")

    def commit(self, connection: sqlite3.Connection) -> None:
        self._reach("before-commit")
        super().commit(connection)
        self._reach("after-commit")

    def _reach(self, point: str) -> None:
        if self.point == point:
            raise Crash(point)

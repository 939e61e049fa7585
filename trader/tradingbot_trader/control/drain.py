"""SHELL. What this pod has to do before it may go: nothing new, every order closed or explained, the account compared.

Unlike a stop it is no latch: it ends when nobody asks for it any more. It sells only for a bot that is deleted with
`onDelete: Flatten`. The rule is `read_drain`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog

from tradingbot_api.spec import DeleteAction, Mode
from tradingbot_api.status import DrainReason, DrainReport
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.clock import Clock
from tradingbot_trader.control.flatten import Flatten
from tradingbot_trader.control.latch import is_suspended
from tradingbot_trader.control.stopped_orders import cut, describe_kept, describe_order, sells_at_once
from tradingbot_trader.control.timestamps import rfc3339
from tradingbot_trader.desk import Desk
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, Purpose

_log = structlog.get_logger("drain")


def read_drain(raw: Mapping[str, Any], book: BookName) -> DrainReason | None:
    """PURE. Why this pod is to go, from the raw object: it does not wait for a valid spec.

    `onDelete` other than a plain Hold asks for the drain. A mode other than a plain Paper leaves a live book alone.
    """
    spec, metadata = _mapping(raw.get("spec")), _mapping(raw.get("metadata"))
    if metadata.get("deletionTimestamp") and spec.get("onDelete") != DeleteAction.HOLD:
        return DrainReason.DELETING
    if is_suspended(raw):
        return DrainReason.SUSPENDED
    if book is BookName.LIVE and spec.get("mode", Mode.PAPER.value) == Mode.PAPER.value:
        return DrainReason.LEAVING_LIVE
    return None


class Drain:
    """`consider` with each look at the object, `advance` with each tick, `report` for the status."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        *,
        require_reconciliation: Callable[[str], None],
        books_agree: Callable[[], bool],
    ) -> None:
        """`books_agree`: whether a reconciliation that began after the last `require_reconciliation` has passed."""
        self._desk, self._clock = desk, clock
        self._require_reconciliation, self._books_agree = require_reconciliation, books_agree
        self.report: DrainReport | None = None
        self._touched: dict[str, Order] = {}
        self._has_asked = False
        self._sells = False
        self._sale = Flatten(desk)

    @property
    def reason(self) -> DrainReason | None:
        return self.report.reason if self.report is not None else None

    def consider(self, raw: Mapping[str, Any]) -> bool:
        """True when something else is asked for than before."""
        reason = read_drain(raw, self._desk.store.book)
        is_flatten = _mapping(raw.get("spec")).get("onDelete") == DeleteAction.FLATTEN
        self._sells = is_flatten and reason is DrainReason.DELETING
        if reason is self.reason:
            return False
        _log.info("drain", reason=reason, before=self.reason)
        self._touched, self._has_asked, self._sale = {}, False, Flatten(self._desk)
        if reason is None:
            self.report = None
        else:
            self.report = DrainReport(reason=reason, since=rfc3339(self._clock.now_ns()))
        return True

    def advance(self, symbols: Collection[str]) -> bool:
        """Do what is left to do; True when the report changed. `symbols`: those whose market rules are known."""
        if self.report is None:
            return False
        if self._sells:
            self._sale.advance(symbols)  # it takes protective stops away itself, when the exit could leave
        leaving = [order for order in self._desk.open_orders() if not _may_stay(order)]
        for order in leaving:
            self._touched.setdefault(order.client_order_id, order)
        self._desk.cancel([order.client_order_id for order in leaving])
        is_closed = all(order.intent.purpose is Purpose.PROTECT for order in self._desk.open_orders())
        if is_closed and not self._has_asked:
            self._require_reconciliation("the pod is about to go")
        self._has_asked = is_closed
        held = [symbol for symbol in self._desk.engine.ledger.positions if self._desk.is_tradable(symbol)]
        is_flat = not self._sells or self._sale.is_done(held)
        return self._tell(is_done=is_closed and is_flat and self._books_agree())

    def _tell(self, *, is_done: bool) -> bool:
        if self.report is None:
            return False
        kept = [describe_kept(order) for order in self._desk.open_orders() if order.intent.purpose is Purpose.PROTECT]
        touched = [describe_order(self._desk.find(order_id) or order) for order_id, order in self._touched.items()]
        orders = cut([*kept, *touched])
        told = self.report.model_copy(update={"done": is_done, "orders": orders, "given_up": self._sale.given_up})
        if told == self.report:
            return False
        if is_done and not self.report.done:
            self._desk.record(lambda tx: tx.put_audit(AuditKind.DRAINED, {"drain": told}))
            _log.info("drained", reason=told.reason, orders=len(orders))
        self.report = told
        return True


def _may_stay(order: Order) -> bool:
    """Protective stops take risk off while no trader runs; an exit that cannot rest ends by itself."""
    return order.intent.purpose is Purpose.PROTECT or sells_at_once(order)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

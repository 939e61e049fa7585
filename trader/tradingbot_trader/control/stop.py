"""SHELL. Carries a stop out: latches it durably, cancels, flattens, and says what came of it. Rules are in latch.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from tradingbot_api.conditions import LatchState
from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import StopAction
from tradingbot_api.status import MAX_REPORTED_ORDERS, Latch, StoppedOrder
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.store import Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.control import latch as rules
from tradingbot_trader.control.latch import ActiveLatch, Engage, Escalate, Release, StopRequest
from tradingbot_trader.control.timestamps import rfc3339
from tradingbot_trader.desk import Desk
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderState, OrderType, Purpose, TimeInForce
from tradingbot_trader.orders.protection import PROTECTIVE

_log = structlog.get_logger("stop")
_RESULT = {
    OrderState.CANCELLED: "Cancelled",
    OrderState.EXPIRED: "Cancelled",
    OrderState.FILLED: "Filled",
    OrderState.REJECTED: "Rejected",
    OrderState.UNRESOLVED: "Unresolved",
    OrderState.DENIED: "Denied",
    OrderState.PRESUMED_ABSENT: "PresumedAbsent",
}
"""What has none of these names is open, and remains."""
FLATTEN = "flatten"


class Stop:
    """The latch of one bot and the work that it asks for."""

    def __init__(self, desk: Desk, clock: Clock, *, new_id: Callable[[], str] | None = None) -> None:
        self._desk, self._clock = desk, clock
        self._new_id = new_id or (lambda: str(uuid.uuid4()))
        stored = desk.store.current_latch()
        self.latch: Latch | None = stored.latch if stored is not None else None
        self._released: set[str] = set(desk.store.released_latch_ids())
        self._touched: dict[str, Order] = {}
        self._sold: set[str] = set()
        self._ended: dict[tuple[str, int], StoppedOrder] = {}
        """By order and how often it was revived. The store is read once for each, not at each tick."""
        if self.latch is not None:
            self._recall(self.latch)

    @property
    def is_latched(self) -> bool:
        return self.latch is not None

    def consider(self, raw: Mapping[str, Any], halts: Sequence[Mapping[str, Any]] | None) -> bool:
        """Look at what is asked for now; True when the latch changed. Unknown halts (None) release nothing."""
        seen_ns = self._clock.now_ns()
        own = rules.read_kill_switch(raw)
        requests = ([own] if own else []) + rules.read_halts(raw, halts or [])
        decision = rules.decide(
            ActiveLatch(self.latch.id, self.latch.action or StopAction.CANCEL_ORDERS) if self.latch else None,
            requests,
            rearm=rules.read_rearm(raw),
            reported=rules.read_reported(raw),
            released_ids=self._released,
        )
        match decision:
            case Engage():
                self._engage(decision, seen_ns)
            case Escalate():
                self._escalate(decision)
            case Release() if halts is not None:
                return self._release(decision)
            case _:
                return False
        return True

    def trip(self, request: StopRequest) -> bool:
        """A limit of loss asks for a stop; it latches as a person's does. True when it was not latched before."""
        if self.latch is not None:
            return False
        self._engage(Engage("", request.source, request.action, request.reason), self._clock.now_ns())
        return True

    def advance(self, symbols: Collection[str]) -> bool:
        """Do what is left to do, and write down when it is done; True when the latch changed."""
        if self.latch is None:
            return False
        wanted = self._to_cancel()
        for order in wanted:
            self._touched.setdefault(order.client_order_id, order)
        self._desk.cancel([order.client_order_id for order in wanted])
        if self.latch.action is StopAction.FLATTEN:
            self._flatten(symbols)
        return self._report(done=not self._to_cancel() and self._is_flat_enough())

    def _recall(self, latch: Latch) -> None:
        """After a restart: the stop goes on where its record says it was."""
        if latch.acknowledged_at is None:
            self.latch = latch.model_copy(update={"acknowledged_at": rfc3339(self._clock.now_ns())})
        for reported in latch.orders:
            order = self._desk.store.find_order(self._desk.store.book, reported.client_order_id)
            if order is not None and reported.reason != PROTECTIVE:
                self._touched[order.client_order_id] = order

    def _to_cancel(self) -> list[Order]:
        action = self.latch.action if self.latch else None
        if self.latch is not None and self.latch.state is LatchState.STOPPED:
            return self._desk.open_orders(entries_only=True)  # an exit that came after the stop is not its business
        orders = self._desk.open_orders(entries_only=action is StopAction.REDUCE_ONLY)
        if action is StopAction.FLATTEN:
            return [order for order in orders if not _sells_at_once(order)]
        return [order for order in orders if order.intent.purpose is not Purpose.PROTECT]

    def _kept(self) -> list[Order]:
        """Protective stops, unless everything is to be sold: they take risk off when nobody is there to do it."""
        if self.latch is None or self.latch.action is StopAction.FLATTEN:
            return []
        return [order for order in self._desk.open_orders() if order.intent.purpose is Purpose.PROTECT]

    def _is_flat_enough(self) -> bool:
        return self.latch is None or self.latch.action is not StopAction.FLATTEN or self._is_flat()

    def _is_flat(self) -> bool:
        ledger = self._desk.engine.ledger
        return not any(self._desk.is_tradable(symbol) for symbol in ledger.positions)

    def _flatten(self, symbols: Collection[str]) -> None:
        for symbol, position in self._desk.engine.ledger.positions.items():
            if position.quantity_base > 0 and symbol in symbols and self._desk.is_tradable(symbol):
                self._sold.add(symbol)
                self._desk.exit(symbol, FLATTEN)

    def _engage(self, decision: Engage, seen_ns: int) -> None:
        latch = Latch(
            state=LatchState.STOPPING,
            id=decision.id or self._new_id(),
            action=decision.action,
            reason=decision.reason,
            source=decision.source,
            engaged_at=rfc3339(seen_ns),
        )
        self.latch = latch  # from here on nothing adds risk, recorded or not
        self._touched, self._sold, self._ended = {}, set(), {}
        if self._write(latch, AuditKind.LATCHED):
            self.latch = latch.model_copy(update={"acknowledged_at": rfc3339(self._clock.now_ns())})
        _log.warning("latched", id=latch.id, source=latch.source, action=latch.action, reason=latch.reason)

    def _escalate(self, decision: Escalate) -> None:
        if self.latch is None:
            return
        update = {"action": decision.action, "source": decision.source, "state": LatchState.STOPPING}
        self.latch = self.latch.model_copy(update=update)
        self._write(self.latch, AuditKind.LATCHED)
        _log.warning("stop_escalated", id=self.latch.id, action=decision.action, source=decision.source)

    def _release(self, decision: Release) -> bool:
        if self.latch is None:
            return False
        latch = self.latch

        def write(tx: Transaction) -> None:
            tx.put_latch(latch, is_active=False)
            tx.put_audit(AuditKind.REARMED, {"id": latch.id, "source": latch.source})

        if not self._desk.record(write):
            return False  # a release that is not recorded would come back as a stop: stay stopped
        self._released.add(decision.id)
        self.latch = None
        _log.warning("rearmed", id=decision.id)
        return True

    def _report(self, *, done: bool) -> bool:
        if self.latch is None:
            return False
        kept = {order.client_order_id: order for order in self._kept()}
        results = [_kept_result(order) for order in kept.values()]
        results += [self._result(order) for order_id, order in self._touched.items() if order_id not in kept]
        ledger = self._desk.engine.ledger
        update = {
            "orders": results[:MAX_REPORTED_ORDERS],
            # Never less than was reported: after a restart only the orders that are listed are known again.
            "orders_cancelled": max(
                self.latch.orders_cancelled, sum(result.result == "Cancelled" for result in results)
            ),
            "positions_closed": max(
                self.latch.positions_closed, sum(not self._desk.is_tradable(symbol) for symbol in self._sold)
            ),
            "dust": [
                f"{format_decimal(position.quantity_base)} {symbol.partition('/')[0]}"
                for symbol, position in sorted(ledger.positions.items())
                if position.quantity_base > 0 and not self._desk.is_tradable(symbol)
            ],
            "flat": self._is_flat(),
            "state": LatchState.STOPPED if done else LatchState.STOPPING,
        }
        if self.latch.acknowledged_at is None and not self._desk.owes:
            update["acknowledged_at"] = rfc3339(self._clock.now_ns())  # the disk has taken it after all
        changed = self.latch.model_copy(update=update)
        if changed == self.latch:
            return False
        completed = done and self.latch.state is not LatchState.STOPPED
        self.latch = changed
        self._write(changed, AuditKind.STOP_COMPLETED if completed else None)
        if completed:
            _log.warning("stopped", id=changed.id, orders_cancelled=changed.orders_cancelled, flat=changed.flat)
        return True

    def _result(self, order: Order) -> StoppedOrder:
        order_id = order.client_order_id
        is_settled = order_id not in self._desk.engine.orders
        key = order_id, self._desk.revived[order_id]
        if is_settled and key in self._ended:
            return self._ended[key]
        now = self._desk.find(order_id) or order
        result = StoppedOrder(
            client_order_id=order_id,
            symbol=order.intent.symbol,
            side=order.intent.side.value,
            result=_RESULT.get(now.state, "Remaining"),
            reason=now.reason,
        )
        if is_settled and not now.state.is_open:
            self._ended[key] = result
        return result

    def _write(self, latch: Latch, kind: AuditKind | None) -> bool:
        def write(tx: Transaction) -> None:
            tx.put_latch(latch, is_active=True)
            if kind is not None:
                tx.put_audit(kind, {"latch": latch})

        return self._desk.record(write, must_not_be_lost=True)


def _sells_at_once(order: Order) -> bool:
    """An exit that cannot rest: it does what Flatten is for, and ends by itself."""
    at_once = order.intent.type is OrderType.MARKET or order.intent.time_in_force is TimeInForce.IOC
    return order.intent.purpose is Purpose.EXIT and at_once


def _kept_result(order: Order) -> StoppedOrder:
    return StoppedOrder(
        client_order_id=order.client_order_id,
        symbol=order.intent.symbol,
        side=order.intent.side.value,
        result="Remaining",
        reason=PROTECTIVE,
    )

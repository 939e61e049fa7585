"""SHELL. Carries a stop out: latches it durably, cancels, flattens, and says what came of it. Rules are in latch.py.

Sources come three ways: the control plane (`consider`), the process itself (`trip`: losses, a signal), and a file in
the state folder (read with each `advance`, so that it needs no API server).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from tradingbot_api.conditions import LatchState
from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import StopAction
from tradingbot_api.status import Flat, Latch, StoppedOrder
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.ledger import Position
from tradingbot_trader.book.store import Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.control import latch as rules
from tradingbot_trader.control.flatten import FLATTEN, Flatten
from tradingbot_trader.control.latch import (
    ActiveLatch,
    Engage,
    Escalate,
    Release,
    ReportedLatch,
    StopRequest,
)
from tradingbot_trader.control.stopped_orders import cut, describe_kept, describe_order, sells_at_once
from tradingbot_trader.control.timestamps import rfc3339
from tradingbot_trader.desk import Desk
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderState, Purpose

_log = structlog.get_logger("stop")
MAX_REPORTED_POSITIONS = 20


class Stop:
    """The latch of one bot and the work that it asks for."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        *,
        require_reconciliation: Callable[[str], None] = lambda why: None,  # noqa: ARG005  paper has nothing to compare
        books_agree: Callable[[], bool] = lambda: True,
        read_break_glass: Callable[[], str | None] = lambda: None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """`books_agree`: whether a reconciliation that began after the last `require_reconciliation` has passed.
        `read_break_glass`: what the file in the state folder says; None while there is none."""
        self._desk, self._clock = desk, clock
        self._require_reconciliation, self._books_agree = require_reconciliation, books_agree
        self._read_break_glass = read_break_glass
        self._new_id = new_id or (lambda: str(uuid.uuid4()))
        self._requests: list[StopRequest] = []
        """What the control plane asks for, as it was last seen."""
        self._knows_halts = False
        self._rearm = ""
        self._reported: ReportedLatch | None = None
        self._clears_for = ""
        """The latch that is released when the reconciliation, which was asked for, has passed."""
        self._glass: str | None = None
        """What the file said when it was last decided upon."""
        self.asked_action = StopAction.CANCEL_ORDERS
        """`killSwitch.action` of the spec as it was last seen, whatever else is wrong with it."""
        stored = desk.store.current_latch()
        self.latch: Latch | None = stored.latch if stored is not None else None
        self._released: set[str] = set(desk.store.released_latch_ids())
        self._release_says = ""
        self._touched: dict[str, Order] = {}
        self._sale = Flatten(desk)
        self._ended: dict[tuple[str, int], StoppedOrder] = {}
        """By order and how often it was revived. The store is read once for each, not at each tick."""
        if self.latch is not None:
            self._recall(self.latch)

    @property
    def is_latched(self) -> bool:
        return self.latch is not None

    def consider(self, raw: Mapping[str, Any], halts: Sequence[Mapping[str, Any]] | None) -> bool:
        """Look at what is asked for now; True when the latch changed. Unknown halts (None) release nothing."""
        own, self.asked_action = rules.read_kill_switch(raw), rules.read_action(raw)
        self._requests = ([own] if own else []) + rules.read_halts(raw, halts or [], self._clock.now_ns())
        self._knows_halts = halts is not None
        self._rearm, self._reported = rules.read_rearm(raw), rules.read_reported(raw)
        return self._decide()

    def trip(self, request: StopRequest) -> bool:
        """The process itself asks for a stop: a limit of loss, a signal. True when the latch changed."""
        before = self.latch
        self._engage_or_escalate(rules.decide(self._active(), [request], rearm="", reported=None, released_ids=()))
        self._name_sources([request], are_active=False)
        return self.latch != before

    def advance(self, symbols: Collection[str]) -> bool:
        """Look for the file, do what is left to do, and write down when it is done; True when the latch changed."""
        changed = self._decide() if self._has_local_news() else False
        if self.latch is None:
            return changed
        wanted = self._to_cancel()
        for order in wanted:
            self._touched.setdefault(order.client_order_id, order)
        self._desk.cancel([order.client_order_id for order in wanted])
        if self.latch.action is StopAction.FLATTEN:
            self._sale.advance(symbols)
        return self._report(done=not self._to_cancel() and self._is_flat_enough()) or changed

    def _has_local_news(self) -> bool:
        """Whether what no look at the object brings is to be decided upon: the file, or a release that is under way."""
        return self._read_break_glass() != self._glass or bool(self._clears_for)

    def _active(self) -> ActiveLatch | None:
        return ActiveLatch(self.latch.id, self.latch.action or StopAction.CANCEL_ORDERS) if self.latch else None

    def _decide(self) -> bool:
        before = self.latch
        self._glass = glass = self._read_break_glass()
        requests = [*self._requests, *([rules.read_glass_words(glass)] if glass is not None else [])]
        if self._clears_for and requests:
            self._latch_anew(requests)
        decision = rules.decide(
            self._active(), requests, rearm=self._rearm, reported=self._reported, released_ids=self._released
        )
        self._engage_or_escalate(decision)
        self._name_sources(requests, are_active=True)
        if not isinstance(decision, Release):
            self._clears_for = ""
            self._say(self._why_not_released(requests))
        elif not self._knows_halts:
            self._say("Not released: the TradingHalts cannot be read, and one of them may ask for this stop.")
        elif self._is_clear(decision.id):
            self._release(decision)
        return self.latch != before

    def _engage_or_escalate(self, decision: Engage | Escalate | Release | None) -> None:
        if isinstance(decision, Engage):
            self._engage(decision, self._clock.now_ns())
        elif isinstance(decision, Escalate):
            self._escalate(decision)

    def _latch_anew(self, requests: Sequence[StopRequest]) -> None:
        """A stop that comes while a re-arm waits is another stop: it has an id of its own, which the re-arm does not
        name, and does what it asks for itself."""
        latch, decision = self.latch, rules.decide(None, requests, rearm="", reported=None, released_ids=())
        if latch is not None and isinstance(decision, Engage):
            self._clears_for = ""
            self._released.add(latch.id)
            self._engage(decision, self._clock.now_ns(), instead_of=latch)

    def _is_clear(self, latch_id: str) -> bool:
        """A release needs a comparison with the account that began after it was asked for."""
        if self._clears_for != latch_id:
            self._clears_for = latch_id
            self._require_reconciliation("a latch is to be released")
        if self._books_agree():
            return True
        self._say("Not released yet: the account has to agree with the books first.")
        return False

    def _why_not_released(self, requests: Sequence[StopRequest]) -> str:
        if self.latch is None or not self._rearm:
            return ""
        if self._rearm != self.latch.id:
            return f"killSwitch.rearm names {self._rearm}, which releases nothing: this latch is {self.latch.id}."
        names = ", ".join(request.source for request in requests)
        return f"Not released: {names} still asks for the stop."

    def _name_sources(self, requests: Sequence[StopRequest], *, are_active: bool) -> None:
        if self.latch is None:
            return
        now = rfc3339(self._clock.now_ns())
        told = rules.name_sources(self.latch.sources, requests, now, are_active=are_active)
        if told != self.latch.sources:
            self.latch = self.latch.model_copy(update={"sources": told})
            self._write(self.latch, None)

    def _say(self, message: str) -> None:
        """What stands in the way of a release; while nobody asks for one, of the end of the stop."""
        if self.latch is None:
            return
        if message and message != self._release_says:
            _log.warning("latch_not_released", id=self.latch.id, message=message)
        self._release_says = message
        self.latch = self.latch.model_copy(update={"message": message or self._sale.message})

    def _recall(self, latch: Latch) -> None:
        """After a restart: the stop goes on where its record says it was."""
        self._sale = Flatten(self._desk, given_up=latch.given_up)
        if latch.acknowledged_at is None:
            self.latch = latch.model_copy(update={"acknowledged_at": rfc3339(self._clock.now_ns())})
        for reported in latch.orders:
            order = self._desk.store.find_order(self._desk.store.book, reported.client_order_id)
            if order is not None:
                self._touched[order.client_order_id] = order

    def _to_cancel(self) -> list[Order]:
        action = self.latch.action if self.latch else None
        if self.latch is not None and self.latch.state is LatchState.STOPPED:
            return self._desk.open_orders(entries_only=True)  # an exit that came after the stop is not its business
        orders = self._desk.open_orders(entries_only=action is StopAction.REDUCE_ONLY)
        # A protective stop is taken away by the sale itself, when that could leave: until then it is all that protects.
        orders = [order for order in orders if order.intent.purpose is not Purpose.PROTECT]
        return [order for order in orders if action is not StopAction.FLATTEN or not sells_at_once(order)]

    def _is_flat_enough(self) -> bool:
        if self.latch is None or self.latch.action is not StopAction.FLATTEN:
            return True
        flat = self._flat()
        return flat is Flat.TRUE or (flat is Flat.FALSE and self._sale.is_done(each.symbol for each in self._held()))

    def _is_flat(self) -> bool:
        return not self._held()

    def _held(self) -> list[Position]:
        positions = self._desk.engine.ledger.positions
        return [each for symbol, each in sorted(positions.items()) if self._desk.is_tradable(symbol)]

    def _flat(self) -> Flat:
        """What an unresolved order may have moved is not known, nor what was missed since the last comparison, nor what
        an entry that has not ended is buying just now."""
        orders = self._desk.engine.orders.values()
        is_doubtful = any(o.state is OrderState.UNRESOLVED or o.filled_base > o.fills_base for o in orders)
        if not self._books_agree() or is_doubtful:
            return Flat.UNKNOWN
        if not self._is_flat():
            return Flat.FALSE
        return Flat.UNKNOWN if self._desk.open_orders(entries_only=True) else Flat.TRUE

    def _engage(self, decision: Engage, seen_ns: int, *, instead_of: Latch | None = None) -> None:
        latch = Latch(
            state=LatchState.STOPPING,
            id=decision.id or self._new_id(),
            action=decision.action,
            reason=decision.reason,
            source=decision.source,
            engaged_at=rfc3339(seen_ns),
        )
        self.latch = latch  # from here on nothing adds risk, recorded or not
        self._touched, self._ended, self._sale, self._release_says = {}, {}, Flatten(self._desk), ""
        if self._write(latch, AuditKind.LATCHED, instead_of=instead_of):
            self.latch = latch.model_copy(update={"acknowledged_at": rfc3339(self._clock.now_ns())})
        _log.warning("latched", id=latch.id, source=latch.source, action=latch.action, reason=latch.reason)

    def _escalate(self, decision: Escalate) -> None:
        if self.latch is None:
            return
        self.latch = self.latch.model_copy(
            update={
                "action": decision.action,
                "source": decision.source,
                "reason": decision.reason,
                "state": LatchState.STOPPING,
            }
        )
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
        self.latch, self._clears_for = None, ""
        self._desk.stay(FLATTEN)
        _log.warning("rearmed", id=decision.id)
        return True

    def _report(self, *, done: bool) -> bool:
        if self.latch is None:
            return False
        open_orders = self._desk.open_orders()
        kept = {each.client_order_id: each for each in open_orders if each.intent.purpose is Purpose.PROTECT}
        self._touched |= {order_id: order for order_id, order in kept.items() if order_id not in self._touched}
        results = [describe_kept(order) for order in kept.values()]
        results += [self._result(order) for order_id, order in self._touched.items() if order_id not in kept]
        ledger = self._desk.engine.ledger
        update = {
            "orders": cut(results),
            # Never less than was reported: after a restart only the orders that are listed are known again.
            "orders_cancelled": max(
                self.latch.orders_cancelled, sum(self._is_cancelled_by_us(result) for result in results)
            ),
            "positions_closed": max(
                self.latch.positions_closed, sum(not self._desk.is_tradable(symbol) for symbol in self._sale.asked)
            ),
            "dust": [
                f"{format_decimal(position.quantity_base)} {symbol.partition('/')[0]}"
                for symbol, position in sorted(ledger.positions.items())
                if position.quantity_base > 0 and not self._desk.is_tradable(symbol)
            ],
            "positions_left": [
                f"{format_decimal(each.quantity_base)} {each.symbol}" for each in self._held()[:MAX_REPORTED_POSITIONS]
            ],
            "given_up": self._sale.given_up[:MAX_REPORTED_POSITIONS],
            "message": self._release_says or self._sale.message,
            "flat": self._flat(),
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
        result = describe_order(now)
        if is_settled and not now.state.is_open:
            self._ended[key] = result
        return result

    def _is_cancelled_by_us(self, result: StoppedOrder) -> bool:
        """A protective stop that was kept is taken away by others alone: for an exit, or for a better one."""
        intent = self._touched[result.client_order_id].intent
        was_kept = intent.purpose is Purpose.PROTECT and self.latch and self.latch.action is not StopAction.FLATTEN
        return result.result == "Cancelled" and not was_kept

    def _write(self, latch: Latch, kind: AuditKind | None, *, instead_of: Latch | None = None) -> bool:
        def write(tx: Transaction) -> None:
            if instead_of is not None:
                tx.put_latch(instead_of, is_active=False)
            tx.put_latch(latch, is_active=True)
            if kind is not None:
                tx.put_audit(kind, {"latch": latch})

        return self._desk.record(write, must_not_be_lost=True)

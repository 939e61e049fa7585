"""SHELL. The only way from a wish to an order, and from an event back into the books. Between strategy and gateway.

size -> decide (and reserve) -> record durably -> send; event -> engine and ledger -> record durably. It holds no rule:
sizing, limits and the state machine are pure and stand in orders/ and risk/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

import structlog

from tradingbot_api.conditions import TradingState
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.pnl import PnlTrack
from tradingbot_trader.book.store import Store, Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.errors import StopTrading, UnknownOrder
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.client_id import ClientOrderIds
from tradingbot_trader.orders.machine import Order, Transition
from tradingbot_trader.orders.order import Intent, OrderEvent, OrderState, Purpose
from tradingbot_trader.orders.protection import resting_stops
from tradingbot_trader.orders.sizing import (
    Draft,
    Exit,
    NoOrder,
    NoOrderReason,
    entries_to_cancel,
    size_exit,
    size_order,
)
from tradingbot_trader.risk.engine import Conditions, Decision, RiskEngine
from tradingbot_trader.strategy.base import Style, Target

_log = structlog.get_logger("desk")
EXIT_PACE_NS = 1_000_000_000
"""An exit that the market did not take is tried again this much later, not in a storm of orders."""
CANCEL_PACE_NS = 5_000_000_000
"""A cancel that was not answered is asked for again this much later."""
LEAVING_NS = 10_000_000_000
"""An exit is wanted for so long after it was asked for: a protective stop in between would hold what it sells."""
COUNTERS_PACE_NS = 30_000_000_000
"""The day's opening after a restart is the last P&L that was written: at most this old."""


class Gateway(Protocol):
    """Where orders go: the paper gateway, or a venue's. Answers by OrderEvents, never by a return value."""

    def submit(self, intent: Intent, now_ns: int) -> None: ...
    def cancel(self, client_order_id: str, now_ns: int) -> bool: ...


class Desk:
    """One book of one bot. Synchronous: between a decision and its record nothing else can happen."""

    def __init__(
        self,
        *,
        engine: RiskEngine,
        store: Store,
        ids: ClientOrderIds,
        clock: Clock,
        metrics: Metrics,
        conditions: Callable[[str], Conditions],
        on_store_failure: Callable[[StopTrading], None],
        on_change: Callable[[], None],
    ) -> None:
        """`conditions` is asked for a symbol at each decision; `on_change` is told after each event of an order."""
        self.engine = engine
        self.store = store
        self._ids, self._clock, self._metrics = ids, clock, metrics
        self._conditions, self._on_store_failure, self._on_change = conditions, on_store_failure, on_change
        self._gateway: Gateway | None = None
        self._owed: list[Callable[[Transaction], object]] = []
        self._unsaved: dict[str, Order] = {}
        """Orders as they are now, of which the disk owes us a part."""
        self._counters_ns = clock.monotonic_ns()
        self._exit_asked_ns: dict[str, int] = {}
        self._exits: dict[str, tuple[Exit, int]] = {}
        """By symbol: what was asked for, to be asked again when nothing is in its way any more, and when."""
        self._cancel_asked_ns: dict[str, int] = {}
        """Orders that are to end, and when that was asked for last. A wish stays until its order has ended."""
        self.revived: Counter[str] = Counter()
        """How often something new came about an order that had ended: what was read of it before is out of date."""
        self.pnl = PnlTrack.from_counters(store.counters(store.book))
        self.orders_sent = store.count_orders(store.book)
        self.denials = store.count_audit(AuditKind.ORDER_DENIED, store.book)

    def connect(self, gateway: Gateway) -> None:
        """The gateway is made after the desk, because it reports to it."""
        self._gateway = gateway

    @property
    def owes(self) -> bool:
        """Something has happened that the disk has not taken yet."""
        return bool(self._owed)

    def pursue(self, symbol: str, target: Target) -> Decision | NoOrder:
        """One step towards the target. Open entries that the target no longer wants are cancelled first."""
        self.cancel(entries_to_cancel(target, symbol, self.engine.orders.values()))
        if target.allocation == 0:
            return self._leave(symbol, Exit(target.reason, is_market=target.style is Style.MARKET))
        self._exits.pop(symbol, None)
        conditions = self._conditions(symbol)
        return self.place(size_order(target, self.engine.observe(symbol, conditions), conditions.limits), conditions)

    def exit(
        self, symbol: str, reason: str, *, slippage_steps: int = 1, is_sliced: bool = False
    ) -> Decision | NoOrder | None:
        """Sell what is held of the symbol, as far as the market takes it. None: it was tried a moment ago."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._exit_asked_ns.get(symbol, -EXIT_PACE_NS) < EXIT_PACE_NS:
            return None
        self._exit_asked_ns[symbol] = now_ns
        return self._leave(symbol, Exit(reason, slippage_steps=slippage_steps, is_sliced=is_sliced))

    def stay(self, reason: str) -> None:
        """Whoever asked for exits for this reason wants no more of them, not even one that waits for a cancel."""
        self._exits = {symbol: asked for symbol, asked in self._exits.items() if asked[0].reason != reason}

    def is_leaving(self, symbol: str) -> bool:
        """Whether an exit of the symbol was asked for a moment ago."""
        _, asked_ns = self._exits.get(symbol, (None, -LEAVING_NS))
        return self._clock.monotonic_ns() - asked_ns < LEAVING_NS

    def _leave(self, symbol: str, how: Exit) -> Decision | NoOrder:
        """Sell. What a protective stop holds is free when its cancel is proved; then this goes on by itself, and not
        before it is known that the exit could leave: a stop that rests is all that protects while nothing may leave."""
        conditions = self._conditions(symbol)
        seen = self.engine.observe(symbol, conditions)
        stops = resting_stops(self.engine.orders.values(), symbol)
        freed = replace(seen, selling_base=seen.selling_base - seen.protecting_base, protecting_base=Decimal(0))
        sized = size_exit(freed, conditions.limits, how)
        if isinstance(sized, Draft) and conditions.state is not TradingState.HALTED:
            self._exits[symbol] = how, self._clock.monotonic_ns()
            if stops:
                self.cancel([stop.client_order_id for stop in stops])
                return NoOrder(NoOrderReason.EXIT_OPEN, "its protective stop is being taken away")
        return self.place(size_exit(seen, conditions.limits, how), conditions)

    def place(self, sized: Draft | NoOrder, conditions: Conditions) -> Decision | NoOrder:
        """Decide, record, send; or say why there is no order. `conditions` are those that it was sized by."""
        if isinstance(sized, NoOrder):
            if sized.reason not in (NoOrderReason.ON_TARGET, NoOrderReason.NOTHING_HELD):
                self._metrics.decisions.labels("none", sized.reason.value).inc()
            return sized
        intent = sized.to_intent(self._ids.take(), book=self.store.book, now_ns=conditions.now_ns)
        decision = self.engine.decide(intent, conditions)
        if decision.is_approved:
            self._send(decision)
        else:
            self.denials += 1
            reasons = [denial.reason.value for denial in decision.denials]
            self._metrics.decisions.labels("denied", reasons[0]).inc()
            _log.info("order_denied", symbol=intent.symbol, purpose=intent.purpose, reasons=reasons)
            self.record(lambda tx: tx.put_audit(AuditKind.ORDER_DENIED, decision.to_data()))
        return decision

    def cancel(self, client_order_ids: Iterable[str]) -> None:
        """Ask for the end of these orders, and again until they have ended (`cancel_again`)."""
        now_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        for order_id in client_order_ids:
            if monotonic_ns - self._cancel_asked_ns.get(order_id, -CANCEL_PACE_NS) >= CANCEL_PACE_NS:
                self._cancel_asked_ns[order_id] = monotonic_ns
                self._required_gateway.cancel(order_id, now_ns)

    def cancel_again(self) -> None:
        """Told often: a cancel may be lost, refused, or wait for keys, and its order would rest for ever."""
        orders = self.engine.orders
        for order_id in [each for each in self._cancel_asked_ns if each not in orders]:
            del self._cancel_asked_ns[order_id]
        self.cancel([each for each in self._cancel_asked_ns if orders[each].state.is_open])

    def open_orders(self, *, entries_only: bool = False) -> list[Order]:
        return [
            order
            for order in self.engine.orders.values()
            if order.state.is_open and (not entries_only or order.intent.purpose is Purpose.ENTRY)
        ]

    def is_tradable(self, symbol: str) -> bool:
        """Whether what is held of the symbol is large enough to be sold."""
        return symbol in self.engine.held_symbols and self.engine.ledger.position(symbol).quantity_base > 0

    def find(self, client_order_id: str) -> Order | None:
        """An order of this book, open or long ended."""
        return self.engine.orders.get(client_order_id) or self._find_ended(client_order_id)

    def find_by_venue_id(self, symbol: str, venue_order_id: str) -> Order | None:
        for order in self.engine.orders.values():
            if venue_order_id in order.venue_order_ids and order.intent.symbol == symbol:
                return order
        return self.store.find_by_venue_order_id(self.store.book, symbol, venue_order_id)

    def adopt(self, intent: Intent) -> bool:
        """Take an order that no store of ours remembers into the books; False: the disk refused, ask again later."""

        def write(tx: Transaction) -> None:
            tx.put_intent(intent, is_adopted=True)
            tx.put_audit(AuditKind.ADOPTED, {"intent": intent})

        if not self.record(write):
            return False
        self.engine.adopt(Order(intent))
        return True

    def on_event(self, event: OrderEvent) -> None:
        """Called by the gateway. The books change in memory and on disk; what the disk refuses stops trading."""
        try:
            transition = self.engine.apply(event)
        except UnknownOrder:
            ended = self._find_ended(event.client_order_id)
            if ended is None:
                _log.error("event_of_unknown_order", client_order_id=event.client_order_id, state=event.state)
                return
            self.engine.adopt(ended)  # it has ended; what comes now may still be news
            transition = self.engine.apply(event)
            self.revived[event.client_order_id] += transition.is_changed
        if transition.is_changed:
            self._record(transition, event)
            self._metrics.orders.labels(event.state.value).inc()
            if not transition.order.state.is_open:
                self._end(transition.order.intent)
            if transition.new_fill is not None:
                fill = transition.new_fill
                self._metrics.fills.labels(fill.symbol, fill.side.value).inc()
                _log.info("fill", symbol=fill.symbol, side=fill.side, quantity=fill.quantity_base, price=fill.price)
            self._on_change()

    def _end(self, intent: Intent) -> None:
        self._cancel_asked_ns.pop(intent.client_order_id, None)
        if intent.purpose is Purpose.PROTECT and self.is_leaving(intent.symbol):
            how, _ = self._exits[intent.symbol]
            self._leave(intent.symbol, how)

    def _find_ended(self, client_order_id: str) -> Order | None:
        """What the disk has not taken yet is not what the store says."""
        unsaved = self._unsaved.get(client_order_id)
        return unsaved or self.store.find_order(self.store.book, client_order_id)

    def mark(self, prices: Mapping[str, Decimal], now_ns: int, *, may_open_day: bool = True) -> None:
        """Follow the P&L at these prices. A new peak or day is made durable at once: no restart may forget them."""
        total_quote = self.engine.ledger.total_quote(prices)
        before, self.pnl = self.pnl, self.pnl.observe(total_quote, now_ns, may_open_day=may_open_day)
        is_due = self._clock.monotonic_ns() - self._counters_ns >= COUNTERS_PACE_NS and self.pnl != before
        if is_due or (self.pnl.peak_quote, self.pnl.day) != (before.peak_quote, before.day):
            self._counters_ns = self._clock.monotonic_ns()
            self.record(self.put_counters)

    def put_counters(self, tx: Transaction) -> None:
        tx.put_counters(self.pnl.to_counters())

    def record(self, write: Callable[[Transaction], object], *, must_not_be_lost: bool = False) -> bool:
        """One transaction. False: the disk refused, and whoever listens has been told to stop trading.

        What must not be lost, because it has happened, is kept and written first with the next transaction.
        """
        had_reserve = not self.store.is_reserve_spent
        try:
            self._commit(write)
        except StopTrading as error:
            failure = error
            if must_not_be_lost and had_reserve and self.store.is_reserve_spent:  # its room is free now
                try:
                    self._commit(write)
                except StopTrading as again:
                    failure = again
                else:
                    return True
            if must_not_be_lost:
                self._owed.append(write)
            self._on_store_failure(failure)
            return False
        return True

    def _commit(self, write: Callable[[Transaction], object]) -> None:
        with self.store.transaction(self._clock.now_ns()) as tx:
            for owed in self._owed:
                owed(tx)
            write(tx)
        self._owed.clear()
        self._unsaved.clear()

    def _send(self, decision: Decision) -> None:
        intent = decision.intent

        def write(tx: Transaction) -> None:
            tx.put_intent(intent)
            tx.put_audit(AuditKind.ORDER_APPROVED, decision.to_data())

        if not self.record(write):
            # Not recorded, so not sent. The engine gives its room back.
            self.engine.apply(OrderEvent(intent.client_order_id, OrderState.DENIED, intent.created_ns, reason="store"))
            return
        self.orders_sent += 1
        self._metrics.decisions.labels("approved", intent.purpose.value).inc()
        _log.info(
            "order_sent",
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity_base,
            price=intent.price,
            client_order_id=intent.client_order_id,
            reason=intent.reason,
        )
        self._required_gateway.submit(intent, self._clock.now_ns())

    def _record(self, transition: Transition, event: OrderEvent) -> None:
        def write(tx: Transaction) -> None:
            tx.put_event(event, transition.order)
            if transition.new_fill is not None:
                tx.put_audit(AuditKind.FILL, {"fill": transition.new_fill})
                self.put_counters(tx)
            tx.put_audit(
                AuditKind.ORDER_EVENT,
                {
                    "clientOrderId": event.client_order_id,
                    "event": event.state,
                    "state": transition.order.state,
                    "filledBase": transition.order.filled_base,
                    "reason": event.reason,
                },
            )
            if transition.illegal is not None:
                tx.put_audit(AuditKind.ILLEGAL_TRANSITION, {"message": str(transition.illegal)})

        if not self.record(write, must_not_be_lost=True):
            self._unsaved[event.client_order_id] = transition.order

    @property
    def _required_gateway(self) -> Gateway:
        if self._gateway is None:
            raise RuntimeError("the desk was used before its gateway was connected")
        return self._gateway

"""PURE. The paper gateway: the venue's side of an order, played from the real market. Stands where the REST one does.

An order reaches this venue after its latency and sees the book of that moment. What it takes is gone until the next
book update. What rests fills only when the market trades through it: a trade at its very price may have been somebody
else's, who stood before it in the queue. Everything follows from the calls and their times; there is no clock in here.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal

from tradingbot_trader.market.events import Book, FeedChange, FeedState, Level, Trade
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import Fill, Intent, OrderEvent, OrderState, OrderType, Side, TimeInForce
from tradingbot_trader.risk.observed import HUNDRED, Costs

ZERO = Decimal(0)
DEFAULT_LATENCY_NS = 50_000_000
"""One way to the venue, its own work included. A cautious guess, not a measurement."""
FEE_DECIMALS = Decimal(1).scaleb(-8)
"""Binance's exchangeInfo gives baseCommissionPrecision and quoteCommissionPrecision as 8. It does not say which way it
rounds; up, so that paper is never better than real."""


@dataclass(slots=True)
class _Working:
    """An order that is on its way to the venue, or rests there."""

    intent: Intent
    number: int
    """Order of arrival: among equal prices the earlier one is filled first."""
    filled_base: Decimal = ZERO
    fills: int = 0
    """How many trade ids were given out."""
    rests_since_ns: int | None = None
    """None: it has not arrived yet."""

    @property
    def remaining_base(self) -> Decimal:
        return self.intent.quantity_base - self.filled_base


@dataclass(slots=True)
class _Side:
    """One side of the book, with what our own orders took since its last update."""

    levels: tuple[Level, ...] = ()
    taken_base: list[Decimal] = field(default_factory=list)


@dataclass(order=True, frozen=True, slots=True)
class _Due:
    at_ns: int
    number: int
    client_order_id: str
    cancel_reason: str
    """Empty: the order itself arrives."""


class PaperGateway:
    """Calls `emit` for each event, after its own state is whole; `emit` may call back into it, and must not raise.

    Call `advance` before each `on_book` and `on_trade`, and at `next_due_ns`: what was due is then served by the book
    of that time, not by a later one.
    """

    def __init__(
        self,
        emit: Callable[[OrderEvent], None],
        *,
        costs: Costs,
        venue: str,
        account: str = "paper",
        latency_ns: int = DEFAULT_LATENCY_NS,
        open_orders: Iterable[Order] = (),
    ) -> None:
        self._emit = emit
        self._costs = costs
        self._venue = venue
        self._account = account
        self._latency_ns = latency_ns
        self._orders: dict[str, _Working] = {}
        self._due: list[_Due] = []
        self._asks: dict[str, _Side] = {}
        self._bids: dict[str, _Side] = {}
        self._number = 0
        for order in open_orders:
            self._rebuild(order)

    @property
    def open_order_ids(self) -> tuple[str, ...]:
        """What this venue would show as open or in flight, oldest first."""
        return tuple(self._orders)

    def next_due_ns(self) -> int | None:
        """When `advance` has something to do; None when nothing is on its way."""
        return self._due[0].at_ns if self._due else None

    def submit(self, intent: Intent, now_ns: int) -> None:
        """The order leaves now and arrives after the latency. ValueError for an id that is already open: a bug."""
        if intent.client_order_id in self._orders:
            raise ValueError(f"order {intent.client_order_id} was submitted before")
        self._orders[intent.client_order_id] = _Working(intent, self._take_number())
        self._schedule(intent.client_order_id, now_ns)
        self._emit(OrderEvent(intent.client_order_id, OrderState.SENT, now_ns))

    def cancel(self, client_order_id: str, now_ns: int) -> bool:
        """The request leaves now. False: no such order is open, so no event will come."""
        if client_order_id not in self._orders:
            return False
        self._schedule(client_order_id, now_ns, cancel_reason="cancelled on request")
        return True

    def advance(self, now_ns: int) -> None:
        """Serve what has arrived at the venue by now, in the order of arrival."""
        while self._due and self._due[0].at_ns <= now_ns:
            due = heapq.heappop(self._due)
            working = self._orders.get(due.client_order_id)
            if working is None:
                continue  # filled or cancelled while this was on its way
            if due.cancel_reason:
                self._publish(self._end(working, now_ns, reason=due.cancel_reason))
            else:
                self._publish(self._arrive(working, now_ns))

    def on_book(self, book: Book) -> None:
        self._asks[book.symbol] = _Side(book.asks, [ZERO] * len(book.asks))
        self._bids[book.symbol] = _Side(book.bids, [ZERO] * len(book.bids))

    def on_feed(self, change: FeedChange) -> None:
        """A lost stream leaves no book to take from."""
        if change.state is FeedState.LOST:
            self._asks.pop(change.symbol, None)
            self._bids.pop(change.symbol, None)

    def on_trade(self, trade: Trade) -> None:
        """Resting orders that the trade went through share its quantity, best price first."""
        left_base, events = trade.quantity_base, []
        for working in self._traded_through(trade):
            quantity = min(left_base, working.remaining_base)
            if quantity <= 0:
                break
            left_base -= quantity
            events.append(self._fill(working, working.intent.price, quantity, at_ns=trade.event_time_ns, is_maker=True))
        self._publish(events)

    def _arrive(self, working: _Working, now_ns: int) -> list[OrderEvent]:
        intent = working.intent
        side = self._opposite(intent)
        if intent.time_in_force is TimeInForce.POST_ONLY and side.levels and _reaches(intent, side.levels[0].price):
            del self._orders[intent.client_order_id]
            reason = "post-only order would have taken from the book"
            return [OrderEvent(intent.client_order_id, OrderState.REJECTED, now_ns, reason=reason)]
        events = [self._event(working, OrderState.OPEN, now_ns)]
        if intent.time_in_force is not TimeInForce.POST_ONLY:
            events += self._take(working, side, now_ns)
        if working.remaining_base == 0:
            return events
        if _must_end(intent):
            reason = "the rest could not be filled at once" if side.levels else "there is no order book"
            return events + self._end(working, now_ns, reason=reason)
        working.rests_since_ns = now_ns
        return events

    def _take(self, working: _Working, side: _Side, now_ns: int) -> list[OrderEvent]:
        """One fill a level, best first, each level only once until the next update."""
        events = []
        for index, level in enumerate(side.levels):
            if working.remaining_base == 0 or not _reaches(working.intent, level.price):
                break
            quantity = min(working.remaining_base, level.quantity_base - side.taken_base[index])
            if quantity > 0:
                side.taken_base[index] += quantity
                events.append(self._fill(working, level.price, quantity, at_ns=now_ns, is_maker=False))
        return events

    def _fill(
        self, working: _Working, price: Decimal, quantity_base: Decimal, *, at_ns: int, is_maker: bool
    ) -> OrderEvent:
        intent = working.intent
        working.filled_base += quantity_base
        working.fills += 1
        base, _, quote = intent.symbol.partition("/")
        is_buy = intent.side is Side.BUY
        percent = self._costs.maker_fee_percent if is_maker else self._costs.taker_fee_percent
        in_quote = not is_buy or self._costs.buy_fee_in_quote
        charged = quantity_base * price if in_quote else quantity_base
        fill = Fill(
            venue=self._venue,
            account=self._account,
            book=intent.book,
            symbol=intent.symbol,
            trade_id=f"P-{intent.client_order_id}-{working.fills}",
            client_order_id=intent.client_order_id,
            side=intent.side,
            price=price,
            quantity_base=quantity_base,
            fee_asset=quote if in_quote else base,
            fee_amount=(charged * percent / HUNDRED).quantize(FEE_DECIMALS, rounding=ROUND_UP),
            event_time_ns=at_ns,
            is_maker=is_maker,
        )
        is_whole = working.remaining_base == 0
        if is_whole:
            del self._orders[intent.client_order_id]
        return self._event(working, OrderState.FILLED if is_whole else OrderState.PARTIALLY_FILLED, at_ns, fill=fill)

    def _end(self, working: _Working, now_ns: int, *, reason: str) -> list[OrderEvent]:
        del self._orders[working.intent.client_order_id]
        return [self._event(working, OrderState.CANCELLED, now_ns, reason=reason)]

    def _traded_through(self, trade: Trade) -> list[_Working]:
        """Resting orders that would have been served before this trade, in the order in which a venue serves them."""
        found = [
            working
            for working in self._orders.values()
            if working.intent.symbol == trade.symbol
            and working.rests_since_ns is not None
            and trade.event_time_ns >= working.rests_since_ns
            and _is_through(working.intent, trade.price)
        ]
        return sorted(found, key=lambda working: (_eagerness(working.intent), working.number))

    def _opposite(self, intent: Intent) -> _Side:
        sides: Mapping[str, _Side] = self._asks if intent.side is Side.BUY else self._bids
        return sides.get(intent.symbol) or _Side()

    def _rebuild(self, order: Order) -> None:
        """After a restart the store is this venue's memory: what was open rests again, with the quantity that is left.

        What was on its way arrives with the first `advance`. An order that never rests is cancelled then: the market
        that it was meant for is gone, and the strategy asks again if it still wants it.
        """
        if not order.state.is_open:
            return
        working = _Working(order.intent, self._take_number(), filled_base=order.fills_base)
        working.fills = max((_trade_number(trade_id) for trade_id in order.fills), default=0)
        self._orders[order.client_order_id] = working
        reason = "the trader restarted while it was on its way" if _must_end(order.intent) else ""
        if reason or order.state in (OrderState.INTENT, OrderState.SENT, OrderState.UNRESOLVED):
            self._due.append(_Due(0, self._take_number(), order.client_order_id, reason))
        else:
            working.rests_since_ns = order.updated_ns
        heapq.heapify(self._due)

    def _schedule(self, client_order_id: str, now_ns: int, *, cancel_reason: str = "") -> None:
        due = _Due(now_ns + self._latency_ns, self._take_number(), client_order_id, cancel_reason)
        heapq.heappush(self._due, due)

    def _event(
        self, working: _Working, state: OrderState, at_ns: int, *, fill: Fill | None = None, reason: str = ""
    ) -> OrderEvent:
        return OrderEvent(
            client_order_id=working.intent.client_order_id,
            state=state,
            at_ns=at_ns,
            venue_order_id=f"P-{working.intent.client_order_id}",
            filled_base=working.filled_base,
            fill=fill,
            reason=reason,
        )

    def _publish(self, events: Iterable[OrderEvent]) -> None:
        for event in events:
            self._emit(event)

    def _take_number(self) -> int:
        self._number += 1
        return self._number


def _reaches(intent: Intent, price: Decimal) -> bool:
    """Whether the order accepts that price of the other side."""
    if intent.type is OrderType.MARKET:
        return True
    return intent.price >= price if intent.side is Side.BUY else intent.price <= price


def _must_end(intent: Intent) -> bool:
    """Takes what it can, and never rests."""
    return intent.type is OrderType.MARKET or intent.time_in_force is TimeInForce.IOC


def _is_through(intent: Intent, price: Decimal) -> bool:
    return price < intent.price if intent.side is Side.BUY else price > intent.price


def _eagerness(intent: Intent) -> Decimal:
    return -intent.price if intent.side is Side.BUY else intent.price


def _trade_number(trade_id: str) -> int:
    number = trade_id.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0

"""PURE. The order state machine: what is known of an order after each event. Between the gateway and the ledger.

An order is the sum of what was ever said about it (which states, the largest cumulative quantity, which fills), and its
state is worked out from that sum. So doubled events change nothing, and any order of events gives the same end.
Statements that cannot all be true are reported and stay on the order; none of them makes a known fill go away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from tradingbot_trader.orders.order import Fill, Intent, OrderEvent, OrderState, Side

ZERO = Decimal(0)

RANK: Mapping[OrderState, int] = {
    state: rank
    for rank, state in enumerate(
        (
            OrderState.INTENT,
            OrderState.DENIED,  # below Sent: if it left after all, it counts as an order
            OrderState.SENT,
            OrderState.UNRESOLVED,
            OrderState.PRESUMED_ABSENT,
            OrderState.REJECTED,  # below Open: what the venue shows is stronger than an answer that says no
            OrderState.OPEN,
            OrderState.PARTIALLY_FILLED,
            OrderState.EXPIRED,
            OrderState.CANCELLED,
            OrderState.FILLED,
        )
    )
}
"""Of two things that are said about an order, the one that decides."""
_AT_VENUE = frozenset(state for state in OrderState if RANK[state] >= RANK[OrderState.OPEN])
_LEFT = _AT_VENUE | {OrderState.SENT, OrderState.UNRESOLVED, OrderState.PRESUMED_ABSENT, OrderState.REJECTED}


class Illegal(StrEnum):
    """What cannot be true of one order. Each stops new risk until a person or a reconciliation has looked."""

    OVERFILLED = "Overfilled"
    """More was filled than was ordered."""
    FILLED_SHORT = "FilledShort"
    """Said to be filled, with less than was ordered."""
    FILLED_AFTER_END = "FilledAfterEnd"
    """Cancelled or expired at one quantity, and filled to a larger one."""
    DENIED_BUT_SENT = "DeniedButSent"
    """We refused it ourselves, and it left."""
    ABSENT_BUT_SEEN = "AbsentButSeen"
    """Rejected or presumed absent, and the venue has it. Adopt it, cancel it."""
    TWO_VENUE_ORDERS = "TwoVenueOrders"
    """One intent, two orders at the venue."""
    FILL_CHANGED = "FillChanged"
    """One trade id, two quantities."""
    FOREIGN_FILL = "ForeignFill"
    """A fill of another order, symbol or side."""
    MALFORMED = "Malformed"
    """A quantity that is no quantity; it was not taken."""


@dataclass(frozen=True, slots=True)
class Order:
    """An intent and all that is known of it. Made by `Order(intent)`, changed by `apply` alone."""

    intent: Intent
    state: OrderState = OrderState.INTENT
    filled_base: Decimal = ZERO
    """The largest quantity that anybody said is filled."""
    fills: Mapping[str, Decimal] = field(default_factory=dict)
    """Quantity by trade id: the part of `filled_base` that the ledger has."""
    reason: str = ""
    updated_ns: int = 0
    illegal: frozenset[Illegal] = frozenset()
    seen: frozenset[OrderState] = frozenset({OrderState.INTENT})
    venue_order_ids: frozenset[str] = frozenset()
    lowest_end_base: Decimal | None = None
    """Smallest cumulative quantity with which an end (cancelled, expired) was reported."""
    decided: tuple[int, int, str] = (0, 0, "")
    """Rank, time and reason of the strongest statement, so that the reason does not depend on the order of events."""

    @property
    def client_order_id(self) -> str:
        return self.intent.client_order_id

    @property
    def venue_order_id(self) -> str:
        return min(self.venue_order_ids, default="")

    @property
    def fills_base(self) -> Decimal:
        """What is filled by fills that we have seen."""
        return sum(self.fills.values(), ZERO)

    @property
    def remaining_base(self) -> Decimal:
        """What can still be filled."""
        return max(self.intent.quantity_base - self.filled_base, ZERO) if self.state.is_open else ZERO

    @property
    def pending_base(self) -> Decimal:
        """What may move the position and is not in the ledger: what is open, and what is filled by unknown fills."""
        whole = self.intent.quantity_base if self.state.is_open else self.filled_base
        return max(whole - self.fills_base, ZERO)

    @property
    def pending_quote(self) -> Decimal:
        return self.pending_base * self.intent.price

    @property
    def is_settled(self) -> bool:
        """Nothing more can come of it: it has ended, and each fill is known."""
        return not self.state.is_open and self.fills_base >= self.filled_base


@dataclass(frozen=True, slots=True)
class IllegalTransition:
    """Statements about an order that exclude each other. Reported, never ignored: new risk stops."""

    client_order_id: str
    kinds: tuple[Illegal, ...]
    before: OrderState
    event: OrderEvent

    def __str__(self) -> str:
        kinds = ", ".join(self.kinds)
        return f"order {self.client_order_id} was {self.before} when it was reported {self.event.state}: {kinds}"


@dataclass(frozen=True, slots=True)
class Transition:
    """One step."""

    order: Order
    is_changed: bool
    """False: the event said nothing new; nothing needs to be recorded."""
    new_fill: Fill | None = None
    """The event's fill, if it was not known."""
    illegal: IllegalTransition | None = None
    """Set when this event made the order contradictory."""


def apply(order: Order, event: OrderEvent) -> Transition:
    """The order after one more event. ValueError if the event is of another order: that is a bug of the caller."""
    if event.client_order_id != order.client_order_id:
        raise ValueError(f"event of order {event.client_order_id} given to order {order.client_order_id}")
    faults = set(_faults_of(order, event))
    fills, new_fill = order.fills, None
    if event.fill is not None and not faults & {Illegal.FOREIGN_FILL, Illegal.MALFORMED}:
        known = order.fills.get(event.fill.trade_id)
        fills = {**order.fills, event.fill.trade_id: max(known or ZERO, event.fill.quantity_base)}
        new_fill = event.fill if known is None else None
    cumulative = ZERO if Illegal.MALFORMED in faults else event.filled_base
    seen = order.seen | {event.state}
    filled = max(order.filled_base, cumulative, sum(fills.values(), ZERO))
    if OrderState.FILLED in seen:
        filled = max(filled, order.intent.quantity_base)  # even if reported short: what may be filled counts in full
    lowest_end = order.lowest_end_base
    if event.state in (OrderState.CANCELLED, OrderState.EXPIRED) and Illegal.MALFORMED not in faults:
        lowest_end = cumulative if lowest_end is None else min(lowest_end, cumulative)
    decided = max(order.decided, (RANK[event.state], event.at_ns, event.reason))
    venue_ids = order.venue_order_ids | {event.venue_order_id} if event.venue_order_id else order.venue_order_ids
    after = replace(
        order,
        state=_state_of(seen, filled, order.intent.quantity_base),
        filled_base=filled,
        fills=fills,
        reason=decided[2],
        updated_ns=max(order.updated_ns, event.at_ns),
        seen=seen,
        venue_order_ids=venue_ids,
        lowest_end_base=lowest_end,
        decided=decided,
    )
    after = replace(after, illegal=order.illegal | faults | _contradictions_of(after))
    new_kinds = after.illegal - order.illegal
    return Transition(
        order=after,
        is_changed=replace(after, updated_ns=order.updated_ns, decided=order.decided) != order,
        new_fill=new_fill,
        illegal=IllegalTransition(order.client_order_id, tuple(sorted(new_kinds)), order.state, event)
        if new_kinds
        else None,
    )


def replay(intent: Intent, events: Iterable[OrderEvent]) -> Order:
    """The order as its recorded events leave it."""
    order = Order(intent)
    for event in events:
        order = apply(order, event).order
    return order


def _state_of(seen: frozenset[OrderState], filled_base: Decimal, quantity_base: Decimal) -> OrderState:
    """The strongest statement, corrected by what is filled: a lost race of a cancel is Filled, not Cancelled."""
    if filled_base >= quantity_base:
        return OrderState.FILLED
    strongest = max(seen, key=RANK.__getitem__)
    if filled_base > 0 and RANK[strongest] < RANK[OrderState.PARTIALLY_FILLED]:
        return OrderState.PARTIALLY_FILLED
    return strongest


def _faults_of(order: Order, event: OrderEvent) -> Iterable[Illegal]:
    """What is wrong with one event by itself."""
    quantities = [event.filled_base] + ([event.fill.quantity_base] if event.fill else [])
    if not all(quantity.is_finite() and quantity >= 0 for quantity in quantities):
        yield Illegal.MALFORMED
        return
    if event.state is OrderState.FILLED and event.filled_base < order.intent.quantity_base:
        yield Illegal.FILLED_SHORT
    if event.fill is None:
        return
    if not _belongs(event.fill, order.intent):
        yield Illegal.FOREIGN_FILL
    elif order.fills.get(event.fill.trade_id, event.fill.quantity_base) != event.fill.quantity_base:
        yield Illegal.FILL_CHANGED


def _belongs(fill: Fill, intent: Intent) -> bool:
    mine: tuple[str, str, str, Side] = (intent.client_order_id, intent.book, intent.symbol, intent.side)
    return mine == (fill.client_order_id, fill.book, fill.symbol, fill.side)


def _contradictions_of(order: Order) -> frozenset[Illegal]:
    """What of everything that was said cannot be true together."""
    found = set()
    is_at_venue = bool(order.seen & _AT_VENUE) or order.filled_base > 0
    if order.filled_base > order.intent.quantity_base:
        found.add(Illegal.OVERFILLED)
    if order.lowest_end_base is not None and order.filled_base > order.lowest_end_base:
        found.add(Illegal.FILLED_AFTER_END)
    if OrderState.DENIED in order.seen and (order.seen & _LEFT or is_at_venue):
        found.add(Illegal.DENIED_BUT_SENT)
    if order.seen & {OrderState.REJECTED, OrderState.PRESUMED_ABSENT} and is_at_venue:
        found.add(Illegal.ABSENT_BUT_SEEN)
    if len(order.venue_order_ids) > 1:
        found.add(Illegal.TWO_VENUE_ORDERS)
    return frozenset(found)

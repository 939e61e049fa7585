"""PURE. The risk engine: says yes or no to an intent, and counts it from then on. Between sizing and the gateway.

It owns what a decision depends on, the open orders and the ledger, and changes both in one step: an approved intent is
reserved before anything else can ask, and a fill moves from its order to its position without a moment in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from tradingbot_api.conditions import TradingState
from tradingbot_api.decimal import format_decimal
from tradingbot_trader.book.ledger import Ledger, Position
from tradingbot_trader.errors import UnknownOrder
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders import machine
from tradingbot_trader.orders.machine import IllegalTransition, Order, Transition
from tradingbot_trader.orders.order import Intent, OrderEvent, Purpose, Side
from tradingbot_trader.risk.limits import FOR_ENTRIES, FOR_EXITS, FOR_PROTECTION, MINUTE_NS, Denial, Limit, Limits
from tradingbot_trader.risk.observed import Costs, Observed, TrustedPrice

ZERO = Decimal(0)
TABLE: Mapping[Purpose, tuple[Limit, ...]] = {
    Purpose.ENTRY: FOR_ENTRIES,
    Purpose.EXIT: FOR_EXITS,
    Purpose.PROTECT: FOR_PROTECTION,
}
MAX_ENTRIES_REMEMBERED = 600
"""The largest `maxOrdersPerMinute` that a spec can ask for. Kept by number, so that a clock that jumps forgets none."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the engine is told of the moment; the rest it knows."""

    now_ns: int
    state: TradingState
    limits: Limits
    price: TrustedPrice | None
    """Last trusted price of the symbol in question."""
    clock_skew_ns: int = 0
    available_base: Decimal | None = None
    """Live: what the account should have of the symbol's base asset. None: whatever the ledger holds."""
    opening_cash_quote: Decimal | None = None
    """Paper: the limit that the book trades on. None: the venue's balance decides."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one intent, with everything that it was decided on."""

    intent: Intent
    denials: tuple[Denial, ...]
    observed: Observed
    limits: Limits
    decided_ns: int

    @property
    def is_approved(self) -> bool:
        return not self.denials

    def to_data(self) -> Mapping[str, object]:
        """For the audit: one record a decision."""
        intent = self.intent
        return {
            "clientOrderId": intent.client_order_id,
            "symbol": intent.symbol,
            "side": intent.side.value,
            "type": intent.type.value,
            "timeInForce": intent.time_in_force.value,
            "purpose": intent.purpose.value,
            "quantityBase": format_decimal(intent.quantity_base),
            "price": format_decimal(intent.price),
            "reason": intent.reason,
            "denials": [{"reason": d.reason.value, "observed": d.observed, "limit": d.limit} for d in self.denials],
            "observed": self.observed.to_data(),
            "limits": self.limits.to_data(),
        }


class RiskEngine:
    """Synchronous, one a book. `instruments` is read at each decision, so the caller may refresh it."""

    def __init__(
        self,
        ledger: Ledger,
        instruments: Mapping[str, Instrument],
        *,
        costs: Costs,
        orders: Iterable[Order] = (),
        entry_times_ns: Iterable[int] = (),
    ) -> None:
        self.ledger = ledger
        self.costs = costs
        self._instruments = instruments
        self._orders = {order.client_order_id: order for order in orders}
        self._entries = deque(sorted(entry_times_ns), maxlen=MAX_ENTRIES_REMEMBERED)
        self._illegal: list[IllegalTransition] = []

    @property
    def orders(self) -> Mapping[str, Order]:
        """Orders that may still change anything, by client order id."""
        return self._orders

    @property
    def illegal(self) -> tuple[IllegalTransition, ...]:
        """Contradictions since they were last accepted; entries are denied while there are any."""
        return tuple(self._illegal)

    def accept_contradictions(self) -> None:
        """After a reconciliation or a person has looked at them."""
        self._illegal.clear()

    def decide(self, intent: Intent, conditions: Conditions) -> Decision:
        """Approved: the order counts in full from now on, as an open intent. Denied: nothing has changed."""
        if intent.client_order_id in self._orders:
            raise ValueError(f"intent {intent.client_order_id} was decided before")
        if intent.book is not self.ledger.book:
            raise ValueError(f"intent of book {intent.book} given to the engine of {self.ledger.book}")
        observed = self.observe(intent.symbol, conditions)
        answers = (limit(intent, observed, conditions.limits) for limit in TABLE[intent.purpose])
        denials = tuple(denial for denial in answers if denial is not None)
        if not denials:
            self._orders[intent.client_order_id] = Order(intent)
            if intent.purpose is Purpose.ENTRY:
                self._entries.append(conditions.now_ns)
        return Decision(intent, denials, observed, conditions.limits, conditions.now_ns)

    def apply(self, event: OrderEvent) -> Transition:
        """Carry an event into the order and, with its fill, into the ledger; both or neither. Raises UnknownOrder."""
        order = self._orders.get(event.client_order_id)
        if order is None:
            raise UnknownOrder(event.client_order_id)
        transition = machine.apply(order, event)
        if transition.new_fill is not None:
            self.ledger.apply(transition.new_fill)
        if transition.illegal is not None:
            self._illegal.append(transition.illegal)
        if transition.order.is_settled:
            del self._orders[event.client_order_id]
        else:
            self._orders[event.client_order_id] = transition.order
        return transition

    def adopt(self, order: Order) -> None:
        """Count an order that this engine did not approve, or has settled before."""
        self._orders[order.client_order_id] = order

    def observe(self, symbol: str, conditions: Conditions) -> Observed:
        """The numbers of this moment, for sizing and for the decision. KeyError for a symbol without an instrument."""
        now_ns, price = conditions.now_ns, conditions.price
        held = self.ledger.position(symbol).quantity_base
        last_loss_ns = self.ledger.last_loss_ns
        return Observed(
            now_ns=now_ns,
            instrument=self._instruments[symbol],
            costs=self.costs,
            state=conditions.state,
            price=price.price if price else None,
            price_age_ns=now_ns - price.at_ns if price else None,
            clock_skew_ns=conditions.clock_skew_ns,
            held_base=held,
            selling_base=sum((o.pending_base for o in self._open(Side.SELL, symbol)), ZERO),
            available_base=conditions.available_base,
            protecting_base=sum(
                (o.pending_base for o in self._open(Side.SELL, symbol) if o.intent.purpose is Purpose.PROTECT), ZERO
            ),
            position_quote=self.position_quote(symbol),
            exposure_quote=self.exposure_quote,
            held_symbols=self.held_symbols,
            entries_last_minute=sum(1 for at_ns in self._entries if at_ns > now_ns - MINUTE_NS),
            day_turnover_quote=self.ledger.day_turnover_quote(now_ns)
            + sum((order.pending_quote for order in self._orders.values()), ZERO),
            since_loss_ns=None if last_loss_ns is None else now_ns - last_loss_ns,
            cash_quote=None
            if conditions.opening_cash_quote is None
            else conditions.opening_cash_quote + self.ledger.cash_quote - self._buying_quote(),
            illegal=len(self._illegal),
        )

    def position_quote(self, symbol: str) -> Decimal:
        """Cost of the position, with open and unresolved buys at the most that they can cost."""
        return abs(self.ledger.position(symbol).cost_quote) + self._buying_quote(symbol)

    @property
    def exposure_quote(self) -> Decimal:
        """Nothing nets: a position that should not be (short on spot) counts with what it brought."""
        held_quote = sum((abs(position.cost_quote) for position in self.ledger.positions.values()), ZERO)
        return held_quote + self._buying_quote()

    @property
    def held_symbols(self) -> frozenset[str]:
        held = {position.symbol for position in self.ledger.positions.values() if self._is_tradable(position)}
        return frozenset(held | {order.intent.symbol for order in self._open(Side.BUY)})

    def _is_tradable(self, position: Position) -> bool:
        """Judged at cost, so that no missing or crazy price opens or closes a position."""
        instrument = self._instruments.get(position.symbol)
        if instrument is None or position.quantity_base <= 0:
            return position.quantity_base != 0
        tradable_base = instrument.round_quantity_down(position.quantity_base)
        return tradable_base >= instrument.min_quantity_base and position.cost_quote >= instrument.min_notional_quote

    def _buying_quote(self, symbol: str | None = None) -> Decimal:
        return sum((o.pending_quote for o in self._open(Side.BUY, symbol)), ZERO) * self.costs.reserve_factor

    def _open(self, side: Side, symbol: str | None = None) -> Iterable[Order]:
        return (
            order
            for order in self._orders.values()
            if order.intent.side is side
            and (symbol is None or order.intent.symbol == symbol)
            and order.pending_base > 0
        )

"""PURE. The stop-loss that rests at the venue for a position: place it, replace it, take it away. Beside sizing.

It sells when no trader runs. A replacement is a cancel now and a new order once that cancel is proved: there is never
more on sale than is held, and never a second stop of one symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderState, OrderType, Purpose, Side, TimeInForce
from tradingbot_trader.orders.sizing import Draft
from tradingbot_trader.risk.limits import Limits
from tradingbot_trader.risk.observed import HUNDRED, ONE, Observed

ZERO = Decimal(0)
PROTECTIVE = "protective stop"
"""Why the order is there, and why a stop of the bot leaves it."""
PRICE_DRIFT_PERCENT = Decimal("0.1")
"""A stop price that is off by less is left: fees and rounding move the average price by that much."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now about one symbol; nothing at all when both are empty."""

    cancel: tuple[str, ...] = ()
    """Client order ids."""
    place: Draft | None = None
    can_wait: bool = False
    """What rests is too small or a little off: the cancel makes room for a better one, and takes nothing wrong away."""


def resting_stops(orders: Iterable[Order], symbol: str) -> list[Order]:
    """Protective stops of the symbol that may still sell, the oldest first: one, unless something went wrong."""
    found = (o for o in orders if o.intent.purpose is Purpose.PROTECT and o.intent.symbol == symbol)
    return sorted((o for o in found if o.state.is_open), key=lambda o: (o.intent.created_ns, o.client_order_id))


def plan_stop(
    seen: Observed, resting: Sequence[Order], *, average_price: Decimal | None, limits: Limits, is_leaving: bool
) -> Step:
    """`seen` and `resting` are of one moment. Leaving: an exit is wanted, and what the stop holds is to be sold."""
    if is_leaving:
        return Step(cancel=tuple(order.client_order_id for order in resting))
    wanted = _wanted(seen, average_price, limits)
    if resting:
        stop, *others = resting
        is_too_large = stop.pending_base > _sellable(seen)
        wrong = [stop] if is_too_large or not _may_stay(stop, wanted, seen) else []
        names = tuple(order.client_order_id for order in (*wrong, *others))
        return Step(cancel=names, can_wait=bool(names) and not is_too_large and not others)
    if wanted is None or seen.price is None or seen.price <= _stop_price_of(wanted):
        return Step()  # below its stop price the venue would refuse it, and the position is sold from here
    return Step(place=wanted)


def covers(position_base: Decimal, price: Decimal, seen_step_base: Decimal, resting: Sequence[Order]) -> bool:
    """Whether the venue is selling the whole position by itself, so that nobody has to. Below its limit price a stop
    that has woken rests in the book, and sells nothing."""
    if len(resting) != 1 or resting[0].state not in (OrderState.OPEN, OrderState.PARTIALLY_FILLED):
        return False
    (stop,) = resting
    return position_base - stop.pending_base < seen_step_base and price >= stop.intent.price


def _wanted(seen: Observed, average_price: Decimal | None, limits: Limits) -> Draft | None:
    """None: nothing is held that could be sold."""
    if average_price is None or seen.held_base <= 0:
        return None
    rules = seen.instrument
    quantity = _quantity(seen)
    stop_price = rules.round_price_up(average_price * (ONE - limits.stop_loss_percent / HUNDRED))
    price = rules.round_price_up(stop_price * (ONE - seen.costs.slippage_percent / HUNDRED))
    if quantity <= 0 or quantity < rules.min_quantity_base or price <= 0:
        return None
    if quantity * price < rules.min_notional_quote:
        return None
    return Draft(
        symbol=seen.symbol,
        side=Side.SELL,
        purpose=Purpose.PROTECT,
        time_in_force=TimeInForce.GTC,
        quantity_base=quantity,
        price=price,
        reason=PROTECTIVE,
        type=OrderType.STOP_LOSS,
        stop_price=stop_price,
    )


def _quantity(seen: Observed) -> Decimal:
    rules = seen.instrument
    quantity = _sellable(seen)
    if rules.max_quantity_base is not None:
        quantity = min(quantity, rules.max_quantity_base)
    return rules.round_quantity_down(quantity)


def _sellable(seen: Observed) -> Decimal:
    """All that no other order sells. The stop itself does not count: too much of it is never left at the venue."""
    return max(seen.sellable_base + seen.protecting_base, ZERO)


def _may_stay(stop: Order, wanted: Draft | None, seen: Observed) -> bool:
    """One that is too small may stay as long as it is a step, and prices within their drift."""
    if seen.price is not None and seen.price <= (stop.intent.stop_price or ZERO):
        return True  # it has woken, or is about to
    if wanted is None:
        return False
    missing = wanted.quantity_base - stop.pending_base
    drift = abs((stop.intent.stop_price or ZERO) - _stop_price_of(wanted))
    allowed = max(_stop_price_of(wanted) * PRICE_DRIFT_PERCENT / HUNDRED, seen.instrument.price_tick)
    return missing <= seen.instrument.quantity_step and drift <= allowed


def _stop_price_of(draft: Draft) -> Decimal:
    return draft.stop_price or ZERO

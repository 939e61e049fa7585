"""PURE. From what a strategy wants to hold to the order that gets there, or why there is none. Before the risk engine.

Level-triggered: a target is asked for again at each candle, and what is held or on its way already counts. A position
above a target that is not 0 is left alone, because a limit that was lowered never sells (DESIGN, "Permit").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from enum import StrEnum

from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, Intent, OrderType, Purpose, Side, TimeInForce
from tradingbot_trader.risk.limits import Limits, required_entry_quote
from tradingbot_trader.risk.observed import HUNDRED, ONE, Observed
from tradingbot_trader.strategy.base import Style, Target

ZERO = Decimal(0)
_DOWN = Context(prec=28, rounding=ROUND_DOWN)
"""A quotient that was rounded up would be one step too many at the very edge of a limit."""


class NoOrderReason(StrEnum):
    ON_TARGET = "OnTarget"
    NOTHING_HELD = "NothingHeld"
    EXIT_OPEN = "ExitOpen"
    """A sell of the symbol is on its way."""
    DUST = "Dust"
    """What is held is too small to sell."""
    NO_PRICE = "NoPrice"
    NO_ROOM = "NoRoom"
    """The limits leave less now than the venue takes."""
    OUTSIDE_COLLAR = "OutsideCollar"
    """The strategy's offset is larger than `risk.priceCollarPercent`."""
    LIMITS_BELOW_VENUE_MINIMUM = "LimitsBelowVenueMinimum"


@dataclass(frozen=True, slots=True)
class NoOrder:
    reason: NoOrderReason
    message: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """An intent that has no id yet."""

    symbol: str
    side: Side
    purpose: Purpose
    time_in_force: TimeInForce
    quantity_base: Decimal
    price: Decimal
    reason: str
    type: OrderType = OrderType.LIMIT
    stop_price: Decimal | None = None

    def to_intent(self, client_order_id: str, *, book: BookName, now_ns: int) -> Intent:
        return Intent(
            client_order_id=client_order_id,
            book=book,
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            time_in_force=self.time_in_force,
            purpose=self.purpose,
            quantity_base=self.quantity_base,
            price=self.price,
            created_ns=now_ns,
            reason=self.reason,
            stop_price=self.stop_price,
        )


@dataclass(frozen=True, slots=True)
class Exit:
    """How all that is held of a symbol is to be sold."""

    reason: str
    is_market: bool = False
    slippage_steps: int = 1
    """The slippage bound so many times, and never more than the collar: for one that found no buyer before."""
    is_sliced: bool = False
    """In orders of at most `maxOrderNotional`."""


def size_order(target: Target, seen: Observed, limits: Limits) -> Draft | NoOrder:
    """The next order on the way to the target. `seen` is `RiskEngine.observe` of the same moment."""
    if target.allocation == 0:
        return size_exit(seen, limits, Exit(target.reason, is_market=target.style is Style.MARKET))
    return size_entry(target, seen, limits)


def size_exit(seen: Observed, limits: Limits, how: Exit) -> Draft | NoOrder:
    """Sell what is held and not being sold yet, at once or not at all, at the last price less the slippage.

    At market it is counted, and checked, at the far end of the collar: the worst price at which it is still meant.
    """
    if seen.held_base <= 0:
        return NoOrder(NoOrderReason.NOTHING_HELD)
    if not seen.price:
        return NoOrder(NoOrderReason.NO_PRICE)
    rules = seen.instrument
    percent = limits.price_collar_percent if how.is_market else _slippage_percent(seen, limits, how.slippage_steps)
    price = rules.round_price_up(seen.price * (ONE - percent / HUNDRED))
    quantity = _tradable(seen.sellable_base, seen)
    if how.is_sliced:
        quantity = _slice(quantity, price, limits, seen)
    if quantity <= 0 or quantity < rules.min_quantity_base or quantity * price < rules.min_notional_quote:
        if seen.selling_base > 0:
            return NoOrder(NoOrderReason.EXIT_OPEN)
        return NoOrder(NoOrderReason.DUST, f"{seen.held_base:f} {rules.base} is less than {rules.symbol} can trade")
    order_type = OrderType.MARKET if how.is_market else OrderType.LIMIT
    return Draft(seen.symbol, Side.SELL, Purpose.EXIT, TimeInForce.IOC, quantity, price, how.reason, order_type)


def size_entry(target: Target, seen: Observed, limits: Limits) -> Draft | NoOrder:
    """Buy what is missing to the target, as far as every limit that depends on size has room now."""
    if not seen.price:
        return NoOrder(NoOrderReason.NO_PRICE)
    if seen.selling_base > seen.protecting_base:
        return NoOrder(NoOrderReason.EXIT_OPEN)
    price = _entry_price(target, seen, limits)
    if price is None:
        asked, collar = target.limit_offset_percent, limits.price_collar_percent
        return NoOrder(NoOrderReason.OUTSIDE_COLLAR, f"offset {asked} percent, collar {collar} percent")
    most = min(limits.max_position_quote, limits.max_exposure_quote, limits.max_leveraged_quote)
    missing = target.allocation * most - seen.position_quote
    required = required_entry_quote(seen.instrument, limits, seen.costs, price)
    if limits.largest_entry_quote < required:
        text = f"the limits allow entries of {limits.largest_entry_quote:f}, {seen.symbol} needs {required:f}"
        return NoOrder(NoOrderReason.LIMITS_BELOW_VENUE_MINIMUM, text)
    if missing <= 0:
        return NoOrder(NoOrderReason.ON_TARGET)
    quantity = _tradable(_DOWN.divide(min(missing, _room_quote(seen, limits)), price * seen.costs.reserve_factor), seen)
    if _is_large_enough(quantity, price, required, seen):
        order_type = OrderType.MARKET if target.style is Style.MARKET else OrderType.LIMIT
        return Draft(
            seen.symbol, Side.BUY, Purpose.ENTRY, _time_in_force(target), quantity, price, target.reason, order_type
        )
    if missing < required:
        return NoOrder(NoOrderReason.ON_TARGET, f"{missing:f} is missing, less than an order needs")
    return NoOrder(NoOrderReason.NO_ROOM, f"the limits leave {quantity * price:f}, {seen.symbol} needs {required:f}")


def entries_to_cancel(target: Target, symbol: str, orders: Iterable[Order]) -> list[str]:
    """Client order ids of open entries that a target of 0 no longer wants: they would fill after the exit."""
    if target.allocation > 0:
        return []
    return [
        order.client_order_id
        for order in orders
        if order.intent.symbol == symbol and order.intent.purpose is Purpose.ENTRY and order.state.is_open
    ]


def _slippage_percent(seen: Observed, limits: Limits, steps: int = 1) -> Decimal:
    return min(seen.costs.slippage_percent * steps, limits.price_collar_percent)


def _time_in_force(target: Target) -> TimeInForce:
    if target.limit_offset_percent is None:
        return TimeInForce.IOC
    return TimeInForce.POST_ONLY if target.style is Style.POST_ONLY else TimeInForce.GTC


def _entry_price(target: Target, seen: Observed, limits: Limits) -> Decimal | None:
    """Rounded so that it stays inside its bound; None when the asked offset lies outside the collar."""
    rules, last = seen.instrument, seen.price or ZERO
    if target.limit_offset_percent is None:
        percent = limits.price_collar_percent if target.style is Style.MARKET else _slippage_percent(seen, limits)
        return rules.round_price_down(last * (ONE + percent / HUNDRED))
    if target.limit_offset_percent > limits.price_collar_percent:
        return None
    wanted = last * (ONE - target.limit_offset_percent / HUNDRED)
    price = rules.round_price_down(wanted)
    lowest = last * (ONE - limits.price_collar_percent / HUNDRED)
    return price if price >= lowest else rules.round_price_up(wanted)


def _room_quote(seen: Observed, limits: Limits) -> Decimal:
    """What the limits other than the symbol's own leave; the order's own limit is on its bare notional."""
    rooms = [
        limits.max_order_notional_quote * seen.costs.reserve_factor,
        limits.max_exposure_quote - seen.exposure_quote,
        limits.max_leveraged_quote - seen.exposure_quote,
    ]
    if limits.max_daily_notional_quote is not None:
        rooms.append(limits.max_daily_notional_quote - seen.day_turnover_quote)
    if seen.cash_quote is not None:
        rooms.append(seen.cash_quote)
    return max(min(rooms), ZERO)


def _tradable(quantity_base: Decimal, seen: Observed) -> Decimal:
    """Rounded down to the step, and not above the venue's largest order."""
    rules = seen.instrument
    if rules.max_quantity_base is not None:
        quantity_base = min(quantity_base, rules.max_quantity_base)
    return rules.round_quantity_down(max(quantity_base, ZERO))


def _slice(quantity_base: Decimal, price: Decimal, limits: Limits, seen: Observed) -> Decimal:
    """As much of it as one order may be worth; all of it, where the rest would be too small to sell."""
    rules = seen.instrument
    part = _tradable(_DOWN.divide(limits.max_order_notional_quote, price), seen)
    least = min(part, quantity_base - part)
    if least <= 0 or least < rules.min_quantity_base or least * price < rules.min_notional_quote:
        return quantity_base
    return part


def _is_large_enough(quantity_base: Decimal, price: Decimal, required_quote: Decimal, seen: Observed) -> bool:
    rules = seen.instrument
    whole = (quantity_base + max(seen.held_base, ZERO)) * price
    return (
        quantity_base > 0
        and quantity_base >= rules.min_quantity_base
        and quantity_base * price >= rules.min_notional_quote
        and whole >= required_quote
    )

"""PURE. The limits in force, and one small function for each that says whether an order breaks it. The engine's table.

Entries have to pass all of them; exits only those that protect from a mistaken order: state, holdings, collar, venue.
"""
# ruff: noqa: ARG001  all limits have one signature, because they stand in one table

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from typing import Any

from tradingbot_api.conditions import TradingState
from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import Risk
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.order import Intent, OrderType, Purpose, Side
from tradingbot_trader.risk.observed import HUNDRED, ONE, Costs, Observed

ZERO = Decimal(0)
MINUTE_NS = 60 * 1_000_000_000
LEAST_LEFT_AFTER_STOP = Decimal("0.5")
"""A stop-loss of more than half is none: no entry is asked to be large enough for what it would leave."""
QUOTE_DECIMALS = Decimal(1).scaleb(-8)


class DenialReason(StrEnum):
    """Why an order was refused by ourselves; the words of the audit, the metrics and the status."""

    TRADING_STATE = "TradingState"
    NOT_REDUCING = "NotReducing"
    ILLEGAL_TRANSITION = "IllegalTransition"
    NO_PRICE = "NoPrice"
    PRICE_AGE = "PriceAge"
    PRICE_COLLAR = "PriceCollar"
    CLOCK_SKEW = "ClockSkew"
    VENUE_FILTER = "VenueFilter"
    VENUE_MINIMUM = "VenueMinimum"
    VENUE_MAXIMUM = "VenueMaximum"
    LIMITS_BELOW_VENUE_MINIMUM = "LimitsBelowVenueMinimum"
    ORDER_NOTIONAL = "OrderNotional"
    POSITION = "Position"
    EXPOSURE = "Exposure"
    LEVERAGE = "Leverage"
    OPEN_POSITIONS = "OpenPositions"
    ORDERS_PER_MINUTE = "OrdersPerMinute"
    DAILY_NOTIONAL = "DailyNotional"
    COOLDOWN = "Cooldown"
    CASH = "Cash"


@dataclass(frozen=True, slots=True)
class Denial:
    """One broken limit. `observed` is what would be so with the order, `limit` what may be; texts, for the audit."""

    reason: DenialReason
    observed: str
    limit: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.observed} against {self.limit}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the trader enforces; percentages are of `granted_quote`. What each one means: tradingbot_api.spec.Risk."""

    granted_quote: Decimal
    max_order_notional_quote: Decimal
    max_position_percent: Decimal
    max_exposure_percent: Decimal
    max_open_positions: int
    max_daily_loss_percent: Decimal
    max_drawdown_percent: Decimal
    max_trade_loss_percent: Decimal
    max_daily_notional_quote: Decimal | None
    max_orders_per_minute: int
    cooldown_after_loss_ns: int
    stop_loss_percent: Decimal
    price_collar_percent: Decimal
    max_price_age_ns: int
    max_clock_skew_ns: int
    max_leverage: Decimal

    @property
    def max_position_quote(self) -> Decimal:
        return self.percent_of_granted(self.max_position_percent)

    @property
    def max_exposure_quote(self) -> Decimal:
        return self.percent_of_granted(self.max_exposure_percent)

    @property
    def max_leveraged_quote(self) -> Decimal:
        return self.granted_quote * self.max_leverage

    @property
    def largest_entry_quote(self) -> Decimal:
        """The largest single entry that these limits could ever take."""
        return min(
            self.max_order_notional_quote, self.max_position_quote, self.max_exposure_quote, self.max_leveraged_quote
        )

    def percent_of_granted(self, percent: Decimal) -> Decimal:
        return self.granted_quote * percent / HUNDRED

    def to_data(self) -> Mapping[str, object]:
        """For the audit."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: format_decimal(v) if isinstance(v, Decimal) else v for name, v in values.items()}


def build_limits(risk: Risk, *, granted_quote: Decimal, stage_quote: Decimal) -> Limits:
    """The limits of one spec, on the smaller of what the permit grants and what the spec's stage asks for."""
    return Limits(
        granted_quote=min(granted_quote, stage_quote),
        max_order_notional_quote=risk.max_order_notional,
        max_position_percent=risk.max_position_percent,
        max_exposure_percent=risk.max_exposure_percent,
        max_open_positions=risk.max_open_positions,
        max_daily_loss_percent=risk.max_daily_loss_percent,
        max_drawdown_percent=risk.max_drawdown_percent,
        max_trade_loss_percent=risk.max_trade_loss_percent,
        max_daily_notional_quote=risk.max_daily_notional,
        max_orders_per_minute=risk.max_orders_per_minute,
        cooldown_after_loss_ns=risk.cooldown_after_loss,
        stop_loss_percent=risk.stop_loss_percent,
        price_collar_percent=risk.price_collar_percent,
        max_price_age_ns=risk.max_price_age,
        max_clock_skew_ns=risk.max_clock_skew,
        max_leverage=risk.max_leverage,
    )


_LARGER_IS_STRICTER = frozenset({"cooldown_after_loss_ns"})


def stricter_of(permitted: Limits, asked: Limits) -> Limits:
    """Field by field: a tighter limit of the spec applies at once, a looser one waits for a permit that covers it."""
    chosen: dict[str, Any] = {}
    for field in fields(Limits):
        values = [v for v in (getattr(permitted, field.name), getattr(asked, field.name)) if v is not None]
        pick = max if field.name in _LARGER_IS_STRICTER else min
        chosen[field.name] = pick(values) if values else None
    return Limits(**chosen)


def cost_of(intent: Intent, costs: Costs) -> Decimal:
    """What an entry may cost at most."""
    return intent.notional_quote * costs.reserve_factor


def required_entry_quote(instrument: Instrument, limits: Limits, costs: Costs, price: Decimal | None) -> Decimal:
    """Smallest entry that still leaves something sellable after a stop-loss.

    DESIGN's minimum x (1 + stop + fees + step), as the product that it stands for: after a fall of 20 % it takes 25 %
    more, not 20. An entry is counted at its limit price and its exit priced below the market, so the slippage bound of
    both sides is part of it; `step` is the lot that rounding may cost. Without a price, neither it nor the smallest
    quantity can be counted.
    """
    minimum = instrument.min_notional_quote
    step_quote = ZERO
    if price is not None:
        minimum = max(minimum, instrument.min_quantity_base * price)
        step_quote = instrument.quantity_step * price
    slippage, fee = costs.slippage_percent / HUNDRED, costs.taker_fee_percent / HUNDRED
    left_after_stop = max(ONE - limits.stop_loss_percent / HUNDRED, LEAST_LEFT_AFTER_STOP)
    kept = left_after_stop * (ONE - fee) ** 2 * (ONE - slippage)
    required = minimum * (ONE + slippage) / kept + step_quote
    return required.quantize(QUOTE_DECIMALS, rounding=ROUND_UP)


def limits_below_venue_minimum(
    limits: Limits, instrument: Instrument, costs: Costs, price: Decimal | None = None
) -> Denial | None:
    """Whether no entry could ever be made under these limits: asked when a spec is accepted, before any order."""
    required = required_entry_quote(instrument, limits, costs, price)
    return _above(DenialReason.LIMITS_BELOW_VENUE_MINIMUM, required, limits.largest_entry_quote)


# One function a limit: (intent, what is seen, limits) -> the denial, or None.


def trading_state(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    allowed = TradingState.ACTIVE if intent.purpose is Purpose.ENTRY else TradingState.REDUCE_ONLY
    passes = seen.state is TradingState.ACTIVE or seen.state is allowed
    return None if passes else Denial(DenialReason.TRADING_STATE, seen.state.value, allowed.value)


def reducing(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    """Spot, long only: an entry buys, an exit sells what is held. On a shared account the rest is somebody else's."""
    if intent.purpose is Purpose.ENTRY:
        is_entry = intent.side is Side.BUY and intent.type is not OrderType.STOP_LOSS
        what = "entry by a stop-loss" if intent.side is Side.BUY else "entry by a sell"
        return None if is_entry else Denial(DenialReason.NOT_REDUCING, what, "0")
    if intent.side is not Side.SELL:
        return Denial(DenialReason.NOT_REDUCING, "exit by a buy", "0")
    return _above(DenialReason.NOT_REDUCING, intent.quantity_base, seen.sellable_base)


def contradictions(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    return Denial(DenialReason.ILLEGAL_TRANSITION, str(seen.illegal), "0") if seen.illegal else None


def price_age(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    if seen.price_age_ns is None:
        return Denial(DenialReason.NO_PRICE, "none", _ns(limits.max_price_age_ns))
    if seen.price_age_ns <= limits.max_price_age_ns:
        return None
    return Denial(DenialReason.PRICE_AGE, _ns(seen.price_age_ns), _ns(limits.max_price_age_ns))


def clock_skew(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    if abs(seen.clock_skew_ns) <= limits.max_clock_skew_ns:
        return None
    return Denial(DenialReason.CLOCK_SKEW, _ns(seen.clock_skew_ns), _ns(limits.max_clock_skew_ns))


def price_collar(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    """Both ways, and for exits too: a sale far below the market is as wrong as a buy far above it."""
    if seen.price is None:
        return None
    allowed = seen.price * limits.price_collar_percent / HUNDRED
    return _above(DenialReason.PRICE_COLLAR, abs(intent.price - seen.price), allowed)


def venue_filters(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    """What the venue would refuse (Binance -1013) is refused here."""
    rules, quantity = seen.instrument, intent.quantity_base
    if quantity <= 0 or intent.price <= 0:
        return Denial(DenialReason.VENUE_FILTER, f"{quantity} at {intent.price}", "above 0")
    if quantity % rules.quantity_step:
        return Denial(DenialReason.VENUE_FILTER, f"quantity {quantity}", f"steps of {rules.quantity_step}")
    for price in (intent.price, intent.stop_price):
        if price is not None and price % rules.price_tick:
            return Denial(DenialReason.VENUE_FILTER, f"price {price}", f"ticks of {rules.price_tick}")
    if (intent.stop_price is not None) is not (intent.type is OrderType.STOP_LOSS):
        return Denial(DenialReason.VENUE_FILTER, f"stop price {intent.stop_price}", "of a stop-loss, and of it alone")
    if rules.max_quantity_base is not None and quantity > rules.max_quantity_base:
        return _above(DenialReason.VENUE_MAXIMUM, quantity, rules.max_quantity_base)
    if quantity < rules.min_quantity_base:
        return Denial(DenialReason.VENUE_MINIMUM, format_decimal(quantity), format_decimal(rules.min_quantity_base))
    if intent.notional_quote < rules.min_notional_quote:
        minimum = format_decimal(rules.min_notional_quote)
        return Denial(DenialReason.VENUE_MINIMUM, format_decimal(intent.notional_quote), minimum)
    if rules.max_notional_quote is not None and intent.notional_quote > rules.max_notional_quote:
        return _above(DenialReason.VENUE_MAXIMUM, intent.notional_quote, rules.max_notional_quote)
    return None


def venue_prices(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    """The venue's own band around the market. It takes an average of minutes; the last price is what is known here."""
    rules = seen.instrument
    if rules.max_price is not None and intent.price > rules.max_price:
        return _above(DenialReason.VENUE_FILTER, intent.price, rules.max_price)
    band = rules.buy_band if intent.side is Side.BUY else rules.sell_band
    if band is None or seen.price is None or intent.type is OrderType.MARKET:
        return None
    lowest, highest = seen.price * band.lowest, seen.price * band.highest
    if lowest <= intent.price <= highest:
        return None
    allowed = f"{lowest.normalize():f} to {highest.normalize():f}"
    return Denial(DenialReason.VENUE_FILTER, f"price {intent.price}", allowed)


def sellable_entry(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    """An entry must leave something that can be sold, or a stop-loss would be left with dust."""
    required = required_entry_quote(seen.instrument, limits, seen.costs, intent.price)
    # What adds to a position may be smaller: the whole is what will be sold. Open buys may never fill.
    whole = (intent.quantity_base + max(seen.held_base, ZERO)) * intent.price
    if whole >= required:
        return None
    return Denial(DenialReason.LIMITS_BELOW_VENUE_MINIMUM, format_decimal(whole), format_decimal(required))


def order_notional(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    return _above(DenialReason.ORDER_NOTIONAL, intent.notional_quote, limits.max_order_notional_quote)


def position(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    return _above(DenialReason.POSITION, seen.position_quote + cost_of(intent, seen.costs), limits.max_position_quote)


def exposure(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    return _above(DenialReason.EXPOSURE, seen.exposure_quote + cost_of(intent, seen.costs), limits.max_exposure_quote)


def leverage(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    return _above(DenialReason.LEVERAGE, seen.exposure_quote + cost_of(intent, seen.costs), limits.max_leveraged_quote)


def open_positions(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    count = len(seen.held_symbols | {intent.symbol})
    if count <= limits.max_open_positions or intent.symbol in seen.held_symbols:
        return None
    return Denial(DenialReason.OPEN_POSITIONS, str(count), str(limits.max_open_positions))


def orders_per_minute(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    count = seen.entries_last_minute + 1
    if count <= limits.max_orders_per_minute:
        return None
    return Denial(DenialReason.ORDERS_PER_MINUTE, str(count), str(limits.max_orders_per_minute))


def daily_notional(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    if limits.max_daily_notional_quote is None:
        return None
    after = seen.day_turnover_quote + intent.notional_quote
    return _above(DenialReason.DAILY_NOTIONAL, after, limits.max_daily_notional_quote)


def cooldown(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    if seen.since_loss_ns is None or seen.since_loss_ns >= limits.cooldown_after_loss_ns:
        return None
    return Denial(DenialReason.COOLDOWN, _ns(seen.since_loss_ns), _ns(limits.cooldown_after_loss_ns))


def cash(intent: Intent, seen: Observed, limits: Limits) -> Denial | None:
    if seen.cash_quote is None:
        return None
    return _above(DenialReason.CASH, cost_of(intent, seen.costs), seen.cash_quote)


Limit = Callable[[Intent, Observed, Limits], Denial | None]

FOR_EXITS: tuple[Limit, ...] = (trading_state, reducing, price_collar, venue_filters, venue_prices)
"""What protects from a mistaken order. Nothing here keeps a bot in a position that it wants to leave."""
FOR_PROTECTION: tuple[Limit, ...] = (trading_state, reducing, venue_filters, venue_prices)
"""A stop-loss rests far from the market on purpose, so the collar does not ask about it."""
FOR_ENTRIES: tuple[Limit, ...] = (
    *FOR_EXITS,
    contradictions,
    price_age,
    clock_skew,
    order_notional,
    sellable_entry,
    position,
    exposure,
    leverage,
    open_positions,
    orders_per_minute,
    daily_notional,
    cooldown,
    cash,
)


def _above(reason: DenialReason, observed: Decimal, limit: Decimal) -> Denial | None:
    return Denial(reason, format_decimal(observed), format_decimal(limit)) if observed > limit else None


def _ns(nanoseconds: int) -> str:
    return f"{nanoseconds}ns"

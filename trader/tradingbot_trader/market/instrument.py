"""PURE. One market's rules: what sizes and prices the venue takes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal


@dataclass(frozen=True, slots=True)
class PriceBand:
    """Multiples of the average price of the last minutes (Binance PERCENT_PRICE_BY_SIDE)."""

    lowest: Decimal
    highest: Decimal


@dataclass(frozen=True, slots=True)
class Instrument:
    """A spot market. Quantities are in the base currency, notionals in the quote currency."""

    symbol: str
    """Unified, like BTC/USDT."""
    venue_symbol: str
    """As the venue writes it, like BTCUSDT."""
    base: str
    quote: str
    price_tick: Decimal
    quantity_step: Decimal
    min_quantity_base: Decimal
    max_quantity_base: Decimal | None
    min_notional_quote: Decimal
    max_notional_quote: Decimal | None = None
    max_price: Decimal | None = None
    buy_band: PriceBand | None = None
    sell_band: PriceBand | None = None
    """How far an order's price may lie from the market, by its side."""

    def round_quantity_down(self, quantity_base: Decimal) -> Decimal:
        """The largest tradable quantity that is not more; the venue refuses other steps (Binance -1013 LOT_SIZE)."""
        return _to_multiple(quantity_base, self.quantity_step, ROUND_DOWN)

    def round_price_down(self, price: Decimal) -> Decimal:
        return _to_multiple(price, self.price_tick, ROUND_DOWN)

    def round_price_up(self, price: Decimal) -> Decimal:
        return _to_multiple(price, self.price_tick, ROUND_UP)


def _to_multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (value / step).to_integral_value(rounding=rounding) * step

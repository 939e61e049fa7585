"""PURE. What a risk decision looks at: one moment of prices, positions, open orders. Sizing reads the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from tradingbot_api.conditions import TradingState
from tradingbot_api.decimal import format_decimal
from tradingbot_trader.market.instrument import Instrument

ONE = Decimal(1)
HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class TrustedPrice:
    """The last price that passed the feed's checks."""

    price: Decimal
    at_ns: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs at the venue; percentages of the notional."""

    taker_fee_percent: Decimal = Decimal("0.1")
    """Binance spot, regular user (https://www.binance.com/en/fee/trading)."""
    maker_fee_percent: Decimal = Decimal("0.1")
    buy_fee_in_quote: bool = False
    """True where a buy's fee comes on top of its price (Kraken, Coinbase); Binance takes it from what was bought."""
    slippage_percent: Decimal = Decimal("0.5")
    """How far beyond the last price an order that takes may reach."""

    @property
    def reserve_factor(self) -> Decimal:
        """What a buy can cost at most, in multiples of its notional."""
        return ONE + self.taker_fee_percent / HUNDRED if self.buy_fee_in_quote else ONE


@dataclass(frozen=True, slots=True)
class Observed:
    """All inputs of one decision about one symbol, none of them counted twice."""

    now_ns: int
    instrument: Instrument
    costs: Costs
    state: TradingState
    """What may leave at all."""
    price: Decimal | None
    """Last trusted price; None when there never was one."""
    price_age_ns: int | None
    clock_skew_ns: int
    """How far our clock is from the venue's, either way."""
    held_base: Decimal
    """What the ledger holds of the symbol."""
    selling_base: Decimal
    """What open and unresolved sells of the symbol may still sell, protective stops included."""
    position_quote: Decimal
    """Cost of the symbol's position, with its open and unresolved buys."""
    exposure_quote: Decimal
    """Cost of all positions, with all open and unresolved buys. Not marked to market (DESIGN, "Capital")."""
    held_symbols: frozenset[str]
    """Symbols that are held, or being bought; less than can be traded does not count as held."""
    entries_last_minute: int
    day_turnover_quote: Decimal
    """What was bought and sold since 00:00 UTC, and what open orders may still trade."""
    since_loss_ns: int | None
    """Time since a sale last closed something at a loss."""
    cash_quote: Decimal | None
    """What may be spent, less open and unresolved buys; None where the venue's balance decides."""
    illegal: int = 0
    """Contradictions of orders that nobody has looked at."""
    available_base: Decimal | None = None
    """What the account should have of the base asset, by its opening balance, adjustments and fills; None on paper."""
    protecting_base: Decimal = Decimal(0)
    """The part of `selling_base` that protective stops hold at the venue."""

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def sellable_base(self) -> Decimal:
        """What is held and not being sold yet. What a person, or fees elsewhere, took of it cannot be sold again."""
        there = self.held_base if self.available_base is None else min(self.held_base, self.available_base)
        return there - self.selling_base

    def to_data(self) -> Mapping[str, object]:
        """For the audit: the numbers, as text where they are decimals."""
        return {
            "state": self.state.value,
            "price": _text(self.price),
            "priceAgeNs": self.price_age_ns,
            "clockSkewNs": self.clock_skew_ns,
            "heldBase": _text(self.held_base),
            "sellingBase": _text(self.selling_base),
            "availableBase": _text(self.available_base),
            "protectingBase": _text(self.protecting_base),
            "positionQuote": _text(self.position_quote),
            "exposureQuote": _text(self.exposure_quote),
            "heldSymbols": sorted(self.held_symbols),
            "entriesLastMinute": self.entries_last_minute,
            "dayTurnoverQuote": _text(self.day_turnover_quote),
            "sinceLossNs": self.since_loss_ns,
            "cashQuote": _text(self.cash_quote),
            "illegal": self.illegal,
        }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format_decimal(value)

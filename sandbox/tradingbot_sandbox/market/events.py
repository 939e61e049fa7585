"""The words in which every market tells a venue simulator what happened. PURE.

Flow: recording or synthetic market -> events -> boards (what a venue shows) -> a venue's own protocol.
Symbols are in the unified form (`BTC/USDT`); times are integer UTC nanoseconds; prices and quantities are decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

NS_PER_MS = 1_000_000
NS_PER_SECOND = 1_000_000_000

Level = tuple[Decimal, Decimal]
"""Price and the quantity that rests at it now. Quantity zero in a `BookDelta`: the level is gone."""


@dataclass(frozen=True, slots=True)
class Trade:
    """Two orders met."""

    symbol: str
    trade_id: int
    price: Decimal
    quantity: Decimal
    time_ns: int
    """When the orders met. Candles are made of this time."""
    event_time_ns: int
    """When the venue told it. Up to 0.2 s later in a burst of a recorded market."""
    buyer_is_maker: bool
    """True: the buyer's order was resting, so the taker sold."""


@dataclass(frozen=True, slots=True)
class BookDelta:
    """The levels that changed, each with its new quantity. Consecutive deltas have contiguous update ids."""

    symbol: str
    first_update_id: int
    final_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    event_time_ns: int


@dataclass(frozen=True, slots=True)
class BookTicker:
    """The top of the book. It may be ahead of the last delta, never behind it for longer than one delta."""

    symbol: str
    update_id: int
    bid_price: Decimal
    bid_quantity: Decimal
    ask_price: Decimal
    ask_quantity: Decimal
    event_time_ns: int


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """A whole book: bids from the highest price down, asks from the lowest up."""

    symbol: str
    update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


MarketEvent = Trade | BookDelta | BookTicker

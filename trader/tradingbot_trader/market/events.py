"""PURE. What the market tells the trader, in our own words; every venue's messages become these."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade of the public tape."""

    symbol: str
    trade_id: str
    price: Decimal
    quantity_base: Decimal
    event_time_ns: int
    """When it happened by the venue's clock, UTC."""
    buyer_is_maker: bool | None = None


@dataclass(frozen=True, slots=True)
class Level:
    price: Decimal
    quantity_base: Decimal


@dataclass(frozen=True, slots=True)
class Book:
    """The order book after one update, best prices first."""

    symbol: str
    event_time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Candle:
    """Trades of one span by event time: [open_time_ns, open_time_ns + timeframe_ns)."""

    symbol: str
    open_time_ns: int
    timeframe_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume_base: Decimal
    trades: int = 0
    """0 for a span in which nothing traded: flat at the last close."""

    @property
    def close_time_ns(self) -> int:
        return self.open_time_ns + self.timeframe_ns


class FeedState(StrEnum):
    CONNECTED = "Connected"
    LOST = "Lost"


@dataclass(frozen=True, slots=True)
class FeedChange:
    """The stream of a symbol came or went."""

    symbol: str
    state: FeedState
    at_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FeedGap:
    """Trades that the venue numbered and we did not see."""

    symbol: str
    first_missing_id: str
    missing: int
    at_ns: int


class MarketSink(Protocol):
    """Takes each message in the loop iteration in which it was handled; must not block and must not raise."""

    def on_trade(self, trade: Trade) -> None: ...
    def on_book(self, book: Book) -> None: ...
    def on_feed(self, change: FeedChange) -> None: ...
    def on_gap(self, gap: FeedGap) -> None: ...

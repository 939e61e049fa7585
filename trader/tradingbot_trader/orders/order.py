"""PURE. The words of the order path: intent, fill, and the events that carry an order from one state to the next."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP_LOSS = "stop-loss"
    """Rests out of the book until the market trades at `stop_price`, then becomes a limit order at `price`."""


class TimeInForce(StrEnum):
    GTC = "GTC"
    """Rests until filled or cancelled."""
    IOC = "IOC"
    """Fills what it can at once, the rest is cancelled."""
    POST_ONLY = "PostOnly"
    """Rests or is refused; never takes."""


class Purpose(StrEnum):
    ENTRY = "Entry"
    """Adds risk."""
    EXIT = "Exit"
    """Takes risk off."""
    PROTECT = "Protect"
    """A stop-loss that rests at the venue: takes risk off when nobody is there to ask for it."""


class BookName(StrEnum):
    """Paper and live money never meet: the name is part of every key in the store."""

    PAPER = "paper"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Intent:
    """An order that we mean to send. Durable before the first byte leaves."""

    client_order_id: str
    book: BookName
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    purpose: Purpose
    quantity_base: Decimal
    price: Decimal
    """Limit price; of a market order the price at which it is counted: the last trusted one, moved by the collar."""
    created_ns: int
    reason: str
    """Why the strategy or the person asked for it."""
    stop_price: Decimal | None = None
    """Of a stop-loss alone: the price that wakes it."""

    @property
    def notional_quote(self) -> Decimal:
        return self.quantity_base * self.price


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution at the venue. Unique by (venue, account, symbol, trade id)."""

    venue: str
    account: str
    book: BookName
    symbol: str
    trade_id: str
    client_order_id: str
    side: Side
    price: Decimal
    quantity_base: Decimal
    fee_asset: str
    fee_amount: Decimal
    event_time_ns: int
    is_maker: bool

    @property
    def notional_quote(self) -> Decimal:
        return self.quantity_base * self.price


class OrderState(StrEnum):
    """From intent to an end. `is_open` states count against the limits in full."""

    INTENT = "Intent"
    SENT = "Sent"
    OPEN = "Open"
    PARTIALLY_FILLED = "PartiallyFilled"
    UNRESOLVED = "Unresolved"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    REJECTED = "Rejected"
    DENIED = "Denied"
    """Refused by ourselves: it never left."""
    PRESUMED_ABSENT = "PresumedAbsent"

    @property
    def is_open(self) -> bool:
        return self in _OPEN


_OPEN = frozenset(
    {OrderState.INTENT, OrderState.SENT, OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.UNRESOLVED}
)


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """What became known about an order. `filled_base` is cumulative: a doubled or late event changes nothing."""

    client_order_id: str
    state: OrderState
    at_ns: int
    venue_order_id: str = ""
    filled_base: Decimal = Decimal(0)
    fill: Fill | None = None
    reason: str = ""

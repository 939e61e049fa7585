"""PURE. What the trader asks of its account at a venue, in our own words. Between gateway, recovery and an adapter.

A call comes back with what the venue shows, or raises VenueSaid with the raw answer. Nobody in here says what an answer
means: that stands in the venue's outcome table (orders/outcome.py), and never depends on an exception's class.
"""
# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from tradingbot_trader.errors import TradingError
from tradingbot_trader.orders.order import Intent, OrderState, OrderType, Side, TimeInForce

ZERO = Decimal(0)


class Operation(StrEnum):
    """What was asked. The same answer means different things to a new order and to a query."""

    PLACE = "Place"
    CANCEL = "Cancel"
    QUERY = "Query"
    """Everything that reads: one order, open orders, trades, balances, permissions."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request, before anybody says what it means. Without secrets and queries of URLs."""

    is_sent: bool
    """False: it is proved that no byte of the request left this process (no connection was ever established)."""
    http_status: int = 0
    """0: no answer came."""
    code: str = ""
    """The venue's own code, as text; empty when it gave none."""
    text: str = ""
    """The venue's own words, or the kind of the network's failure; at most 300 characters."""
    retry_after_seconds: float | None = None
    """What the venue asked for, if it did."""

    def __str__(self) -> str:
        if not self.http_status:
            return f"{'no answer' if self.is_sent else 'not sent'}: {self.text}"
        return f"HTTP {self.http_status} {self.code} {self.text}".strip()


class VenueSaid(TradingError):
    """Anything but a success. What it means, the outcome table says."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


class NotAllowed(TradingError):
    """Our own gate closed before the first byte left: the request was never sent."""


Gate = Callable[[], str]
"""Asked in the moment in which the bytes leave. Why they may not, in one line; empty when they may."""


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One execution of ours, or of whoever else trades on this account."""

    symbol: str
    trade_id: str
    venue_order_id: str
    side: Side
    price: Decimal
    quantity_base: Decimal
    fee_asset: str
    fee_amount: Decimal
    event_time_ns: int
    is_maker: bool


@dataclass(frozen=True, slots=True)
class OrderSnapshot:
    """An order as the venue shows it, at one moment."""

    symbol: str
    client_order_id: str
    """As it was placed: a cancel's own id is not this."""
    venue_order_id: str
    state: OrderState
    """Open, PartiallyFilled, Filled, Cancelled, Expired or Rejected."""
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    quantity_base: Decimal
    price: Decimal
    """Of a market order what it paid on average; 0 while that is not known."""
    stop_price: Decimal | None
    filled_base: Decimal
    """Cumulative."""
    created_ns: int
    updated_ns: int
    trades: tuple[VenueTrade, ...] = ()
    """Those that came with the answer; not necessarily all."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    asset: str
    free: Decimal
    locked: Decimal

    @property
    def total(self) -> Decimal:
        return self.free + self.locked


@dataclass(frozen=True, slots=True)
class AccountView:
    account_id: str
    """Names the account itself, not a key of it."""
    can_trade: bool
    balances: Mapping[str, Balance]


@dataclass(frozen=True, slots=True)
class KeyPermissions:
    """What a key may do beyond reading. None: the venue does not tell (Binance's testnet has no such endpoint)."""

    can_trade: bool
    can_withdraw: bool | None
    can_transfer: bool | None
    is_ip_restricted: bool | None = None


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """One message of the account's stream about one order."""

    order: OrderSnapshot
    """With the trade of this message, if it has one."""


class AccountSink(Protocol):
    """Takes each message in the loop iteration in which it was handled; must not block and must not raise."""

    def on_report(self, report: ExecutionReport) -> None: ...
    def on_stream(self, *, is_up: bool, reason: str) -> None:
        """The stream came, or went: between the two, reports were missed."""
        ...


class AccountPort(Protocol):
    """One account at one venue, with one key. Any call may raise VenueSaid. Nothing is ever sent twice by it."""

    async def place(self, intent: Intent, *, gate: Gate) -> OrderSnapshot:
        """NotAllowed when the gate closed. Raises nothing else but VenueSaid."""
        ...

    async def cancel(self, symbol: str, client_order_id: str, *, gate: Gate) -> OrderSnapshot: ...
    async def find_order(self, symbol: str, client_order_id: str) -> OrderSnapshot: ...
    async def find_order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderSnapshot: ...
    async def open_orders(self, symbol: str | None = None) -> tuple[OrderSnapshot, ...]:
        """Of one symbol, or of the whole account."""
        ...

    async def orders_since(self, symbol: str, venue_order_id: str) -> tuple[OrderSnapshot, ...]:
        """Of any state, by whomever, from that id on, oldest first; one page. "0" is the beginning."""
        ...

    async def trades_since(self, symbol: str, trade_id: str) -> tuple[VenueTrade, ...]:
        """From that id on, oldest first; one page. "0" is the beginning."""
        ...

    async def trades_of(self, symbol: str, venue_order_id: str, trade_id: str) -> tuple[VenueTrade, ...]:
        """Of one order, from that trade on, oldest first; one page."""
        ...

    async def account(self) -> AccountView: ...
    async def key_permissions(self) -> KeyPermissions: ...
    async def run_stream(self, sink: AccountSink) -> None:
        """Keeps the account's stream up until cancelled."""
        ...

    async def close(self) -> None: ...

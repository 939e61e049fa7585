"""PURE. What `killall` asks of an account, and as little of an order as it must be able to read. Beside account.py.

The trader refuses to guess at an order that it cannot read whole; whoever has to take everything away may not be
stopped by one exotic order of somebody else. So only the two names of an order are required here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.order import Intent
from tradingbot_trader.venues.account import AccountView, OrderSnapshot


class Ending(StrEnum):
    """How an order ended, by the venue's word about that very order."""

    CANCELLED = "Cancelled"
    FILLED = "Filled"
    EXPIRED = "Expired"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestingOrder:
    """An order at one moment. What could not be read is None."""

    symbol: str
    """The venue's own name of the market."""
    venue_order_id: str
    client_order_id: str = ""
    kind: str = ""
    """The venue's words for side and type, for people."""
    is_stop_sell: bool = False
    """Sells when the market falls to its stop price."""
    quantity_base: Decimal | None = None
    filled_base: Decimal | None = None
    price: Decimal | None = None
    ending: Ending | None = None
    """None: open, or in a state that nobody has described."""

    @property
    def key(self) -> tuple[str, str]:
        return self.symbol, self.venue_order_id


class KillerPort(Protocol):
    """One account, one key. Each call is at most one request, and raises VenueSaid for anything but a success."""

    async def sync_clock(self) -> None:
        """Requests carry the venue's time from now on."""
        ...

    async def resting(self, symbol: str | None) -> tuple[RestingOrder, ...]:
        """All open orders of one market (the venue's name), or of the whole account."""
        ...

    async def cancel_resting(self, order: RestingOrder) -> tuple[RestingOrder, ...]:
        """What the answer shows: an order of a list takes the whole list with it."""
        ...

    async def cancel_market(self, symbol: str) -> tuple[RestingOrder, ...]:
        """All open orders of one market at once."""
        ...

    async def look_up(self, order: RestingOrder) -> RestingOrder: ...
    async def account(self) -> AccountView: ...
    async def rules(self, symbol: str) -> Instrument:
        """Of a market by our own name, like BTC/USDT."""
        ...

    async def last_price(self, symbol: str) -> Decimal: ...
    async def sell(self, intent: Intent) -> OrderSnapshot: ...
    async def find_sell(self, intent: Intent) -> OrderSnapshot: ...
    async def close(self) -> None: ...

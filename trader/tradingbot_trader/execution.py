"""SHELL. What stands behind the desk: a venue that is played, or a real account. One of the two, for a whole run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from tradingbot_trader.book.requests import Answer, Request
from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control.configuration import Configuration
from tradingbot_trader.control.state import Cause
from tradingbot_trader.desk import Desk, Gateway
from tradingbot_trader.driver import Follower
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import Intent
from tradingbot_trader.risk.limits import Limits
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.status import AccountNews
from tradingbot_trader.venues.paper import PaperGateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an execution may look at and tell. Callables are asked anew each time."""

    desk: Desk
    clock: VenueClock
    costs: Costs
    venue: str
    bot: str
    """Hash that our client order ids begin with."""
    instruments: Mapping[str, Instrument]
    configuration: Callable[[], Configuration | None]
    may_place: Callable[[Intent], str]
    """Why this order may not leave now; empty when it may."""
    refresh_rules: Callable[[], None]
    resync_clock: Callable[[], None]
    on_change: Callable[[], None]
    """Causes or the report have changed."""


class Execution(Protocol):
    @property
    def gateway(self) -> Gateway: ...
    @property
    def follower(self) -> Follower: ...
    @property
    def rests_stops(self) -> bool:
        """Whether a stop-loss can rest at this venue, and sell while no trader runs."""
        ...

    def causes(self) -> Iterable[Cause]:
        """What holds the trading state above Active from this side."""
        ...

    def opening_cash_quote(self, limits: Limits) -> Decimal | None:
        """What the book may spend before its own fills; None: not known, then no cash check is made."""
        ...

    def available_base(self, symbol: str) -> Decimal | None:
        """What the account should have of the symbol's base asset; None where the ledger is all that there is."""
        ...

    def require_reconciliation(self, why: str) -> None:
        """Something was out of our sight: new risk only after a look at the venue."""
        ...

    @property
    def books_agree(self) -> bool:
        """Whether what `require_reconciliation` asked for last has been met, or there is nothing that could differ."""
        ...

    def news(self) -> AccountNews | None:
        """For the status; None on paper."""
        ...

    async def handle(self, request: Request) -> Answer:
        """What a person's tool asks for (`tradingbot-trader account`)."""
        ...

    async def run(self) -> None:
        """Until cancelled."""
        ...

    async def drain(self) -> None:
        """Until every request that is under way was answered."""
        ...


class PaperExecution:
    """A venue played from the real market, and only while it runs: a stop that rests here would protect nothing."""

    rests_stops = False

    def __init__(self, around: Surroundings, *, open_orders: Iterable[Order]) -> None:
        gateway = PaperGateway(around.desk.on_event, costs=around.costs, venue=around.venue, open_orders=open_orders)
        self.gateway = gateway
        self.follower = gateway

    def causes(self) -> Iterable[Cause]:
        return ()

    def opening_cash_quote(self, limits: Limits) -> Decimal | None:
        return limits.granted_quote

    def available_base(self, symbol: str) -> Decimal | None:  # noqa: ARG002  the account's
        return None

    def require_reconciliation(self, why: str) -> None:
        """There is nothing to compare with: the store is this venue's memory."""

    @property
    def books_agree(self) -> bool:
        return True

    def news(self) -> AccountNews | None:
        return None

    async def handle(self, request: Request) -> Answer:
        return Answer(is_done=False, message=f"a paper book has no account at a venue: {request.kind} changes nothing")

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def drain(self) -> None:
        return

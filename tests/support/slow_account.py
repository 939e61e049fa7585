"""The gateway alone, on an account whose every answer the test gives, in the order that it wants. Virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

from support.virtual import VirtualClock
from tradingbot_trader.orders.budget import RateBudget
from tradingbot_trader.orders.gateway import AnswerPolicy, Hooks, LiveGateway, Refusal
from tradingbot_trader.orders.order import (
    BookName,
    Intent,
    OrderEvent,
    OrderState,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
)
from tradingbot_trader.orders.outcome import Action
from tradingbot_trader.orders.snapshot import Place
from tradingbot_trader.risk.breakers import Breakers, BreakerSettings
from tradingbot_trader.venues.account import AccountView, Answer, Gate, NotAllowed, OrderSnapshot, VenueSaid
from tradingbot_trader.venues.binance_outcomes import TABLE, back_off_seconds, is_order_count

FAILURE = Answer(is_sent=True, http_status=503, text="Service Unavailable")
REFUSAL = Answer(is_sent=True, http_status=400, code="-1102", text="Mandatory parameter was not sent.")
PATIENCE = Answer(is_sent=True, http_status=429, code="-1003", text="Too many requests", retry_after_seconds=7)


@dataclass(eq=False)
class Asked:
    """One request that has left."""

    what: str
    """place, cancel or query."""
    order_id: str
    at_ns: int
    answer: asyncio.Future[Answer | None]

    def say(self, answer: Answer | None = None) -> None:
        """None: done as asked."""
        self.answer.set_result(answer)


class SlowAccount:
    """As much of AccountPort as the gateway uses."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.asked: list[Asked] = []
        """All requests, in the order in which they left."""

    @property
    def waiting(self) -> list[Asked]:
        return [each for each in self.asked if not each.answer.done()]

    async def place(self, intent: Intent, *, gate: Gate) -> OrderSnapshot:
        if reason := gate():
            raise NotAllowed(reason)
        await self._answered("place", intent.client_order_id)
        return snapshot(intent, OrderState.OPEN, self._clock.now_ns())

    async def cancel(self, symbol: str, client_order_id: str, *, gate: Gate) -> OrderSnapshot:  # noqa: ARG002  the port's form
        await self._answered("cancel", client_order_id)
        return snapshot(entry(client_order_id), OrderState.CANCELLED, self._clock.now_ns())

    async def account(self) -> AccountView:
        await self._answered("query", "")
        return AccountView("1", can_trade=True, balances={})

    async def _answered(self, what: str, order_id: str) -> None:
        asked = Asked(what, order_id, self._clock.now_ns(), asyncio.get_running_loop().create_future())
        self.asked.append(asked)
        answer = await asked.answer
        if answer is not None:
            raise VenueSaid(answer)


def entry(order_id: str, *, purpose: Purpose = Purpose.ENTRY) -> Intent:
    return Intent(
        client_order_id=order_id, book=BookName.LIVE, symbol="BTC/USDT",
        side=Side.BUY if purpose is Purpose.ENTRY else Side.SELL, type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC, purpose=purpose, quantity_base=Decimal("0.1"), price=Decimal(100),
        created_ns=0, reason="a test",
    )  # fmt: skip


def snapshot(intent: Intent, state: OrderState, at_ns: int) -> OrderSnapshot:
    return OrderSnapshot(
        symbol=intent.symbol, client_order_id=intent.client_order_id, venue_order_id=f"v{intent.client_order_id}",
        state=state, side=intent.side, type=intent.type, time_in_force=intent.time_in_force,
        quantity_base=intent.quantity_base, price=intent.price, stop_price=None, filled_base=Decimal(0),
        created_ns=at_ns, updated_ns=at_ns,
    )  # fmt: skip


@dataclass
class GatewayBench:
    """Entries ask the breakers at the gate, as the trading does; exits are not asked."""

    settings: BreakerSettings = field(default_factory=BreakerSettings)
    budget: RateBudget = field(default_factory=RateBudget)
    clock: VirtualClock = field(default_factory=VirtualClock)
    events: list[OrderEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.breakers = Breakers(self.settings)
        self.account = SlowAccount(self.clock)
        self.actions: list[Action] = []
        self.doubts: list[str] = []
        self.intents: dict[str, Intent] = {}
        self.gateway = LiveGateway(
            account=lambda: self.account,  # type: ignore[arg-type,return-value]  as much of it as is used
            place=lambda: Place("binance", "1", BookName.LIVE),
            policy=AnswerPolicy(table=TABLE, back_off_seconds=back_off_seconds, is_order_count=is_order_count),
            budget=self.budget,
            breakers=self.breakers,
            clock=self.clock,
            find_intent=self.intents.get,
            hooks=Hooks(
                may_place=self._may_place,
                emit=self.events.append,
                on_action=lambda action, _symbol, _answer: self.actions.append(action),
                on_doubt=self.doubts.append,
            ),
        )

    def _may_place(self, intent: Intent) -> str:
        return self.breakers.allows_new_risk(self.clock.now_ns()) if intent.purpose is Purpose.ENTRY else ""

    def place(self, order_id: str, *, purpose: Purpose = Purpose.ENTRY) -> None:
        self.intents[order_id] = entry(order_id, purpose=purpose)
        self.gateway.submit(self.intents[order_id], self.clock.now_ns())

    def cancel(self, order_id: str) -> None:
        self.intents.setdefault(order_id, entry(order_id))
        assert self.gateway.cancel(order_id, self.clock.now_ns())

    def query(self, *, weight: int = 1) -> asyncio.Task[str]:
        """Its task ends with what was said."""

        async def ask() -> str:
            try:
                await self.gateway.ask(lambda account: account.account(), weight=weight)
            except Refusal as refusal:
                return str(refusal.answer)
            return "done"

        return asyncio.create_task(ask())

    async def turn(self) -> None:
        """Everything that can go on without time has gone on."""
        for _ in range(12):
            await asyncio.sleep(0)

    def states(self, order_id: str) -> list[OrderState]:
        return [event.state for event in self.events if event.client_order_id == order_id]

    @property
    def kinds(self) -> list[str]:
        return [trip.kind.value for trip in self.breakers.trips]

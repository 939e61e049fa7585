"""SHELL. Keeps one stop-loss at the venue for each position. Beside the desk; its rules are in orders/protection.py.

It is slow on purpose: losses are watched at each tick, whether a stop rests or not. This one is for the time in which
nobody watches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal

from tradingbot_trader.clock import Clock
from tradingbot_trader.desk import Desk
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.order import Purpose
from tradingbot_trader.orders.protection import Step, covers, plan_stop, resting_stops
from tradingbot_trader.risk.engine import Conditions

LOOK_NS = 250_000_000
PLACE_PACE_NS = 5_000_000_000
"""A position that grows fill by fill does not get a new stop for each of them, and a stop that the venue refuses is no
storm of orders."""


class Protector:
    """`advance` is told often."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        instruments: dict[str, Instrument],
        *,
        conditions: Callable[[str], Conditions],
        may_change: Callable[[], bool],
    ) -> None:
        """`may_change` is asked each time: False while what rests stays as it is, and nothing new is placed."""
        self._desk, self._clock, self._instruments = desk, clock, instruments
        self._conditions, self._may_change = conditions, may_change
        self._looked_ns = clock.monotonic_ns() - LOOK_NS
        self._placed_ns: dict[str, int] = {}

    def advance(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns < LOOK_NS or not self._may_change():
            return
        self._looked_ns = now_ns
        for symbol in sorted(self._symbols()):
            self._keep(symbol, now_ns)

    def covers(self, symbol: str, price: Decimal) -> bool:
        """Whether the venue is selling the position by itself at this price."""
        resting = resting_stops(self._desk.engine.orders.values(), symbol)
        if not resting or symbol not in self._instruments:
            return False
        held_base = self._desk.engine.ledger.position(symbol).quantity_base
        return covers(held_base, price, self._instruments[symbol].quantity_step, resting)

    def _symbols(self) -> Collection[str]:
        engine = self._desk.engine
        held = {symbol for symbol, position in engine.ledger.positions.items() if position.quantity_base > 0}
        orders = engine.orders.values()
        stopped = {order.intent.symbol for order in orders if order.intent.purpose is Purpose.PROTECT}
        return self._instruments.keys() & (held | stopped)

    def _keep(self, symbol: str, now_ns: int) -> None:
        engine, conditions = self._desk.engine, self._conditions(symbol)
        step: Step = plan_stop(
            engine.observe(symbol, conditions),
            resting_stops(engine.orders.values(), symbol),
            average_price=engine.ledger.position(symbol).average_price,
            limits=conditions.limits,
            is_leaving=self._desk.is_leaving(symbol),
        )
        is_fresh = now_ns - self._placed_ns.get(symbol, -PLACE_PACE_NS) < PLACE_PACE_NS
        if step.cancel and not (step.can_wait and is_fresh):
            self._desk.cancel(step.cancel)
        if step.place is not None and not is_fresh:
            self._placed_ns[symbol] = now_ns
            self._desk.place(step.place, conditions)

"""SHELL. Sells what is held, for a stop or a deletion that asks for it. Between stop, drain and desk.

In slices, inside the collar, less what other sells may still take; and not for ever: what nobody buys at a price that
is still meant is left and told, rather than sold at any price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import structlog

from tradingbot_api.status import GivenUp
from tradingbot_trader.desk import Desk
from tradingbot_trader.orders.order import OrderState, Purpose
from tradingbot_trader.orders.sizing import NoOrder, NoOrderReason

_log = structlog.get_logger("flatten")
FLATTEN = "flatten"
"""Why an order is there that this sends."""
MOST_UNSOLD = 30
"""So many orders in a row that found no buyer, the later ones at the far end of the collar: half a minute at their pace
(EXIT_PACE_NS), longer than a book takes to come back after a large order."""
_UNSOLD = frozenset({OrderState.EXPIRED, OrderState.CANCELLED, OrderState.REJECTED})


class Flatten:
    """`advance` is told often."""

    def __init__(self, desk: Desk, *, given_up: Iterable[GivenUp] = ()) -> None:
        """`given_up`: what an earlier life has found nobody for."""
        self._desk = desk
        self._reasons = {each.symbol: each.reason for each in given_up}
        self._watched: dict[str, str] = {}
        """Symbols by the orders whose end has not been counted."""
        self._unsold: Counter[str] = Counter()
        self._refused: dict[str, str] = {}
        """By symbol: what the venue said of the last order, when it refused it."""
        self._waits: dict[str, str] = {}
        """By symbol: why nothing can be sold just now."""
        self.asked: set[str] = set()
        """Symbols of which something was to be sold."""

    @property
    def given_up(self) -> list[GivenUp]:
        return [GivenUp(symbol=symbol, reason=reason) for symbol, reason in sorted(self._reasons.items())]

    @property
    def message(self) -> str:
        """What stands in the way, for a person; empty when nothing does."""
        told = [f"{symbol}: {why}" for symbol, why in sorted(self._waits.items())]
        return f"Flatten waits: {'; '.join(told)}." if told else ""

    def is_done(self, held: Iterable[str]) -> bool:
        """Nothing is held that could still be sold."""
        return self._reasons.keys() >= set(held)

    def advance(self, symbols: Collection[str]) -> None:
        """Sell some more. `symbols`: those whose market rules are known."""
        self._count()
        held = [symbol for symbol in self._desk.engine.ledger.positions if self._desk.is_tradable(symbol)]
        self._waits = {symbol: why for symbol, why in self._waits.items() if symbol in held}
        for symbol in held:
            if symbol not in symbols:
                self._waits[symbol] = "its market is not known yet"
            elif symbol not in self._reasons:
                self._sell(symbol)

    def _sell(self, symbol: str) -> None:
        if self._unsold[symbol] >= MOST_UNSOLD:
            why = f"{MOST_UNSOLD} orders in a row found no buyer within risk.priceCollarPercent of the last price"
            refused = self._refused.get(symbol)
            self._give_up(symbol, f"{why}; the venue refused the last one: {refused}" if refused else why)
            return
        self.asked.add(symbol)
        said = self._desk.exit(symbol, FLATTEN, slippage_steps=1 + self._unsold[symbol], is_sliced=True)
        if said is None:
            return  # tried a moment ago: what was said then still holds
        if not isinstance(said, NoOrder):
            if said.is_approved:
                self._watched[said.intent.client_order_id] = symbol
            self._wait(
                symbol, ", ".join(denial.reason.value for denial in said.denials) or self._refused.get(symbol, "")
            )
        elif said.reason is NoOrderReason.DUST:
            self._give_up(symbol, said.message)  # enough at what it cost, too little at what it is worth now
        elif said.reason is NoOrderReason.EXIT_OPEN:
            orders = self._desk.engine.orders.values()
            is_unknown = any(o.intent.symbol == symbol and o.state is OrderState.UNRESOLVED for o in orders)
            self._wait(symbol, "an order of it is not resolved" if is_unknown else "")
        else:
            self._wait(symbol, said.reason.value)

    def _wait(self, symbol: str, why: str) -> None:
        if why:
            self._waits[symbol] = why
        else:
            self._waits.pop(symbol, None)

    def _give_up(self, symbol: str, why: str) -> None:
        self._reasons[symbol] = why
        self._waits.pop(symbol, None)
        _log.error("flatten_gave_up", symbol=symbol, reason=why, action="sell it by hand, or re-arm and kill again")

    def _count(self) -> None:
        """How many have found no buyer since the last that did. One that did not reach the market was no attempt."""
        orders = self._desk.engine.orders
        for order_id, order in orders.items():
            if order.intent.reason == FLATTEN and order.intent.purpose is Purpose.EXIT:
                self._watched[order_id] = order.intent.symbol
        for order_id, symbol in list(self._watched.items()):
            if order_id in orders:
                continue
            del self._watched[order_id]
            ended = self._desk.find(order_id)
            if ended is None:
                continue
            self._refused.pop(symbol, None)
            if ended.filled_base > 0:
                self._unsold[symbol] = 0
            elif ended.state in _UNSOLD:
                self._unsold[symbol] += 1
            if ended.state is OrderState.REJECTED:
                self._refused[symbol] = ended.reason

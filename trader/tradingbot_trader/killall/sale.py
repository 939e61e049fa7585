"""SHELL. Sells what `killall` was told to sell: slices of limit orders that never rest. run -> this -> asker.

The lowest price is fixed once, at the beginning: a falling market is not followed down. An order that may have sold
counts in full and is looked for, never sent again; if it is not found, the sale ends there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.killall.asker import LONGEST_PAUSE_SECONDS, Asker, NotNow
from tradingbot_trader.killall.plan import ZERO, Sale, floor_price, is_final, next_slice
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.gateway import Refusal
from tradingbot_trader.orders.order import BookName, Intent, OrderState, OrderType, Purpose, Side, TimeInForce
from tradingbot_trader.orders.outcome import Outcome
from tradingbot_trader.venues.account import Balance, Operation, OrderSnapshot

_PAUSE_SECONDS = 0.5
"""Between two slices: other people's orders need a moment to come back."""
_FRUITLESS = 5
"""So many slices in a row that sold nothing, and there is no buyer above the floor."""
_ENDED = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """How it is sold."""

    collar_percent: Decimal
    """How far below the last price, at most."""
    slice_quote: Decimal
    """About how much one order is worth."""
    take_id: Callable[[], str]
    """A client order id that was never used."""


class _Step(Enum):
    SOLD = auto()
    NOTHING = auto()
    """The venue took the order, and nobody bought."""
    AGAIN = auto()
    """It was not placed, for a reason that passes."""
    END = auto()
    """Nothing more is to be sold, and the sale's reason says why."""


class Seller:
    def __init__(self, asker: Asker, market: Market) -> None:
        self._asker, self._market = asker, market

    async def prepare(self, sale: Sale, end_ns: int, *, counts_held: bool = False) -> tuple[Instrument, Decimal] | None:
        """The market's rules, and how much is there to be sold. None: nothing can be, and `sale.reason` says why.

        `counts_held`: what open orders hold counts, because they will be gone by then.
        """
        asked = sale.asked
        rules = await self._asker.insist(lambda: self._asker.venue.rules(asked.symbol), end_ns)
        price = account = None
        if rules is not None:
            price = await self._asker.insist(lambda: self._asker.venue.last_price(asked.symbol), end_ns)
            account = await self._asker.insist(self._asker.venue.account, end_ns)
        if rules is None or price is None or account is None:
            self._give_up(sale, f"{asked.symbol} or the balances cannot be read")
            return None
        sale.step_base = rules.quantity_step
        sale.reference_price, sale.floor_price = price, floor_price(price, self._market.collar_percent, rules)
        balance = account.balances.get(asked.asset, Balance(asked.asset, ZERO, ZERO))
        free = balance.total if counts_held else balance.free
        reasons = []
        if free < asked.quantity_base:
            held = f", {format_decimal(balance.locked)} more are held by open orders" if balance.locked > 0 else ""
            reasons.append(f"only {format_decimal(balance.free)} {asked.asset} are free{held}")
        available = min(free, asked.quantity_base)
        can_sell = self._slice(available, sale, rules) is not None
        if not can_sell:
            reasons.append(f"{format_decimal(available)} {asked.asset} are too little for an order on {asked.symbol}")
        sale.reason = "; ".join(reasons)
        return (rules, available) if can_sell else None

    async def sell(self, sale: Sale, end_ns: int) -> None:
        found = await self.prepare(sale, end_ns)
        if found is None:
            return
        rules, available = found
        fruitless = 0
        while not self._asker.is_over(end_ns):
            rest = available - sale.sold_base
            size = self._slice(rest, sale, rules)
            if size is None:
                if not sale.is_done and not sale.reason:
                    sale.reason = f"{format_decimal(rest)} {sale.asked.asset} are too little for an order"
                return
            step = await self._sell_slice(sale, size, end_ns)
            if step is _Step.END:
                return
            fruitless = {_Step.SOLD: 0, _Step.NOTHING: fruitless + 1}.get(step, fruitless)
            if fruitless >= _FRUITLESS:
                floor = format_decimal(sale.floor_price or ZERO)
                sale.reason = sale.reason or f"nobody buys at {floor} or more: raise --collar-percent to sell lower"
                return
            has_more = self._slice(available - sale.sold_base, sale, rules) is not None
            if has_more and not await self._asker.wait(_PAUSE_SECONDS, end_ns):
                break
        if not sale.is_done:
            self._give_up(sale, "the time is over")

    async def _sell_slice(self, sale: Sale, size: Decimal, end_ns: int) -> _Step:
        intent = self._build(sale, size)
        # Taken for sold until the venue says what it was: whatever happens in between, it is not sold twice.
        sale.unresolved_base = size
        order: OrderSnapshot | None = None
        try:
            order = await self._asker.ask(Operation.PLACE, lambda: self._asker.venue.sell(intent))
        except NotNow:
            sale.unresolved_base = ZERO
            return _Step.AGAIN
        except Refusal as refusal:
            if refusal.meaning.outcome is Outcome.REJECTED:
                sale.unresolved_base = ZERO
                if not is_final(refusal.answer, refusal.meaning):
                    return _Step.AGAIN
                sale.reason = f"the venue refuses the order: {refusal.answer}"
                return _Step.END
        sale.orders.append(intent.client_order_id)
        if order is None or order.state not in _ENDED:
            order = await self._find_out(intent, end_ns)
        if order is None:
            sale.reason = (
                f"it is not known whether order {intent.client_order_id} sold {format_decimal(size)}: "
                f"look at the venue's order history before you sell more ({self._asker.problem})"
            )
            return _Step.END
        sale.unresolved_base = ZERO
        sale.sold_base += order.filled_base
        sale.received_quote += _received(order, intent)
        return _Step.SOLD if order.filled_base else _Step.NOTHING

    async def _find_out(self, intent: Intent, end_ns: int) -> OrderSnapshot | None:
        """Until the venue shows the order ended. That it does not know it proves nothing so soon (decision 0012)."""
        pause_seconds = _PAUSE_SECONDS
        while True:
            found = await self._asker.insist(lambda: self._asker.venue.find_sell(intent), end_ns)
            if found is not None and found.state in _ENDED:
                return found
            if self._asker.is_over(end_ns) or not await self._asker.wait(pause_seconds, end_ns):
                return None
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    def _slice(self, remaining_base: Decimal, sale: Sale, rules: Instrument) -> Decimal | None:
        floor = sale.floor_price or ZERO
        return next_slice(remaining_base, floor=floor, slice_quote=self._market.slice_quote, rules=rules)

    def _build(self, sale: Sale, size: Decimal) -> Intent:
        return Intent(
            client_order_id=self._market.take_id(),
            book=BookName.LIVE,
            symbol=sale.asked.symbol,
            side=Side.SELL,
            type=OrderType.LIMIT,
            time_in_force=TimeInForce.IOC,
            purpose=Purpose.EXIT,
            quantity_base=size,
            price=sale.floor_price or ZERO,
            created_ns=self._asker.clock.now_ns(),
            reason="killall",
        )

    def _give_up(self, sale: Sale, reason: str) -> None:
        problem = self._asker.explain()
        sale.reason = sale.reason or (f"{reason}: {problem}" if problem else reason)


def _received(order: OrderSnapshot, intent: Intent) -> Decimal:
    """What the trades of the answer say; of what they do not cover, the least that it can be."""
    known = sum((trade.quantity_base for trade in order.trades), ZERO)
    told = sum((trade.quantity_base * trade.price for trade in order.trades), ZERO)
    return told + max(order.filled_base - known, ZERO) * intent.price

"""Matches our accounts' orders against the market that is played. PURE, and of no venue's words.

Flow: a venue's trading desk -> `accept` / `cancel`; the market's events -> `on_event`; both -> the `Listener`.

The market does not know of our orders. A taker order eats the levels that are displayed, and what it took is gone
until that level is told anew. A resting order fills when the market trades through its price, for as much as was
traded: a trade at its very price may have been somebody else's, who stood before it in the queue. Our accounts do not
trade with each other, and their resting orders are in no book that is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from tradingbot_sandbox.market.events import BookDelta, BookTicker, Level, MarketEvent, Trade
from tradingbot_sandbox.market.world import Board

ZERO = Decimal(0)
_FIRST_LEVELS = 16
"""So many levels are looked at first; four times as many whenever that was not enough."""


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def is_buy(self) -> bool:
        return self is Side.BUY


class TimeInForce(StrEnum):
    GTC = "GTC"
    """Until it is cancelled."""
    IOC = "IOC"
    """What can be filled at once; the rest expires."""
    FOK = "FOK"
    """All at once, or nothing."""


class OrderType(StrEnum):
    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    MARKET = "MARKET"
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"

    @property
    def is_conditional(self) -> bool:
        """It waits for the price of a trade before it works."""
        return self in _CONDITIONAL

    @property
    def has_price(self) -> bool:
        return self not in (OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT)


_CONDITIONAL = frozenset(
    {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
)


class OrderState(StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"

    @property
    def is_open(self) -> bool:
        return self in (OrderState.NEW, OrderState.PARTIALLY_FILLED)


class Expiry(StrEnum):
    """Why an order ended without anybody asking for it."""

    NO_LIQUIDITY = "INSUFFICIENT_LIQUIDITY"
    IOC = "UNFILLED_IOC_QUANTITY_EXPIRED"
    FOK = "UNFILLED_FOK_ORDER_EXPIRED"
    NO_FUNDS = "REJECTED"
    """Its condition was met, and the account could not pay for it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """One order of one of our accounts, for ever: it is kept when it has ended."""

    symbol: str
    order_id: int
    client_id: str
    account: int
    side: Side
    type: OrderType
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: Decimal
    """Of the base asset. An order by `quote_quantity` gets it when it is matched."""
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    quote_quantity: Decimal = ZERO
    """Spend, or receive, so much of the quote asset. Zero: the order is by `quantity`."""
    created_ns: int
    updated_ns: int = 0
    working_ns: int | None = None
    """Since when it can be filled. None: its condition is not met yet."""
    state: OrderState = OrderState.NEW
    expiry: Expiry | None = None
    filled_base: Decimal = ZERO
    filled_quote: Decimal = ZERO
    locked: Decimal = ZERO
    """What the account has put aside for it: quote asset for a buy, base asset for a sell."""

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled_base

    @property
    def is_working(self) -> bool:
        return self.working_ns is not None


@dataclass(frozen=True, slots=True)
class Match:
    """One fill, before anybody is paid."""

    order: Order
    price: Decimal
    quantity: Decimal
    is_maker: bool
    time_ns: int


class Listener(Protocol):
    """Keeps the accounts. Each call is made in the order in which things happened."""

    def on_triggered(self, order: Order, planned: list[Level], now_ns: int) -> bool:
        """The condition was met: it works now, and would take `planned`. False: it cannot be paid for and expires."""
        ...

    def on_match(self, match: Match) -> None:
        """The order's filled quantity and state are those after the fill."""
        ...

    def on_end(self, order: Order, now_ns: int) -> None:
        """It expired. A cancel has no call: whoever asked for it knows."""
        ...


TakerCap = Callable[[Order, Decimal], Decimal]
"""Given an order and what it could take at once, how much it may take."""


class _Side:
    """One side of a symbol's book: what our takers took of it since each level was told."""

    __slots__ = ("shown_top", "taken")

    def __init__(self) -> None:
        self.taken: dict[Decimal, Decimal] = {}
        self.shown_top: Level | None = None


class Matching:
    """Every open order, and the rule by which it is filled."""

    def __init__(self, boards: Mapping[str, Board], listener: Listener, *, taker_cap: TakerCap | None = None) -> None:
        self.taker_cap = taker_cap
        """A fault script's hook: less than the whole makes a partial fill."""
        self._boards = boards
        self._listener = listener
        self._asks = {symbol: _Side() for symbol in boards}
        self._bids = {symbol: _Side() for symbol in boards}
        self._resting: dict[str, list[Order]] = {symbol: [] for symbol in boards}
        self._waiting: dict[str, list[Order]] = {symbol: [] for symbol in boards}

    def would_take(self, symbol: str, side: Side, price: Decimal) -> bool:
        """Does an order at this price meet what is displayed?"""
        level = next(self._displayed(symbol, side), None)
        return level is not None and not _is_worse(side, level[0], price)

    def would_trigger(self, order_type: OrderType, side: Side, symbol: str, stop_price: Decimal) -> bool:
        return _is_met(order_type, side, stop_price, self._boards[symbol].last_price)

    def plan(self, order: Order) -> list[Level]:
        """What the order would take now, if nothing capped it: price and quantity, best first."""
        return list(self._plan(order))

    def accept(self, order: Order, now_ns: int) -> None:
        """Take an order in: it waits for its condition, or is filled as far as it goes and rests or expires."""
        order.updated_ns = now_ns
        if order.type.is_conditional:
            self._waiting[order.symbol].append(order)
        else:
            self._work(order, now_ns)
        self._trigger(order.symbol, now_ns)

    def cancel(self, order: Order, now_ns: int) -> None:
        """Take an open order out."""
        self._remove(order)
        order.state, order.updated_ns = OrderState.CANCELED, now_ns

    def on_event(self, event: MarketEvent) -> None:
        """The market moved; the boards show it already."""
        symbol = event.symbol
        if isinstance(event, Trade):
            if self._resting[symbol]:
                self._fill_resting(event)
            if self._waiting[symbol]:
                self._trigger(symbol, event.event_time_ns)
        elif isinstance(event, BookDelta):
            for side, levels in ((self._bids[symbol], event.bids), (self._asks[symbol], event.asks)):
                if side.taken:
                    for price, _ in levels:
                        side.taken.pop(price, None)
        else:
            self._see_top(event)

    def _see_top(self, top: BookTicker) -> None:
        """A top level is told anew when it is shown with another quantity, or after another price."""
        tops = (top.bid_price, top.bid_quantity), (top.ask_price, top.ask_quantity)
        for side, level in zip((self._bids[top.symbol], self._asks[top.symbol]), tops, strict=True):
            if side.shown_top != level:
                side.shown_top = level
                side.taken.pop(level[0], None)

    def _displayed(self, symbol: str, taker: Side) -> Iterator[Level]:
        """What a taker of that side sees, best first, less what our takers took already.

        The top may be newer than the book: it then hides the better levels, which are gone.
        """
        board = self._boards[symbol]
        top, book = board.top, board.book
        taken = (self._asks if taker.is_buy else self._bids)[symbol].taken
        best, quantity = (top.ask_price, top.ask_quantity) if taker.is_buy else (top.bid_price, top.bid_quantity)
        left = quantity - taken.get(best, ZERO)
        if left > 0:
            yield best, left
        seen, limit = 0, _FIRST_LEVELS
        while True:
            levels = book.asks(limit) if taker.is_buy else book.bids(limit)
            for price, shown in levels[seen:]:
                left = shown - taken.get(price, ZERO)
                if _is_worse(taker, price, best) and left > 0:
                    yield price, left
            if len(levels) < limit:
                return
            seen, limit = limit, limit * 4

    def _plan(self, order: Order) -> Iterator[Level]:
        step = self._boards[order.symbol].instrument.step
        left, quote_left = order.remaining, order.quote_quantity
        for price, shown in self._displayed(order.symbol, order.side):
            if order.type.has_price and _is_worse(order.side, price, order.price):
                return
            if order.quote_quantity:
                quantity = min(shown, quote_left / price // step * step)
                quote_left -= quantity * price
            else:
                quantity = min(shown, left)
                left -= quantity
            if quantity <= 0:
                return
            yield price, quantity

    def _work(self, order: Order, now_ns: int) -> None:
        order.working_ns = now_ns
        planned = self._capped(order, self.plan(order))
        is_fok = order.time_in_force is TimeInForce.FOK and order.type.has_price
        if is_fok and sum((quantity for _, quantity in planned), ZERO) < order.quantity:
            self._expire(order, Expiry.FOK, now_ns)
            return
        side = (self._asks if order.side.is_buy else self._bids)[order.symbol]
        for price, quantity in planned:
            side.taken[price] = side.taken.get(price, ZERO) + quantity
            self._fill(order, price, quantity, is_maker=False, now_ns=now_ns)
        if order.state is OrderState.FILLED:
            return
        if not order.type.has_price:
            self._expire(order, Expiry.NO_LIQUIDITY, now_ns)
        elif order.time_in_force is TimeInForce.IOC:
            self._expire(order, Expiry.IOC, now_ns)
        else:
            self._resting[order.symbol].append(order)

    def _capped(self, order: Order, planned: list[Level]) -> list[Level]:
        if self.taker_cap is None or not planned:
            return planned
        step = self._boards[order.symbol].instrument.step
        left = self.taker_cap(order, sum((quantity for _, quantity in planned), ZERO)) // step * step
        capped: list[Level] = []
        for price, quantity in planned:
            if left <= 0:
                break
            capped.append((price, min(left, quantity)))
            left -= quantity
        return capped

    def _fill_resting(self, trade: Trade) -> None:
        """The orders that the trade went through share its quantity: best price first, the older one first."""
        through = [o for o in self._resting[trade.symbol] if _is_through(o, trade.price)]
        # buys from the highest price down, sells from the lowest up; the sort is stable, and the list is by age
        through.sort(key=lambda order: (order.side, -order.price if order.side.is_buy else order.price))
        left = trade.quantity
        for order in through:
            quantity = min(left, order.remaining)
            if quantity <= 0:
                return
            left -= quantity
            if quantity == order.remaining:
                self._remove(order)
            now_ns = max(trade.event_time_ns, order.working_ns or 0)
            self._fill(order, order.price, quantity, is_maker=True, now_ns=now_ns)

    def _trigger(self, symbol: str, now_ns: int) -> None:
        """Set every order to work whose condition the last price meets; what they trade may meet the next one's."""
        while True:
            price = self._boards[symbol].last_price
            met = next((o for o in self._waiting[symbol] if _is_met(o.type, o.side, o.stop_price, price)), None)
            if met is None:
                return
            self._waiting[symbol].remove(met)
            at_ns = max(now_ns, met.created_ns)
            met.updated_ns = met.working_ns = at_ns
            if self._listener.on_triggered(met, self.plan(met), at_ns):
                self._work(met, at_ns)
            else:
                self._expire(met, Expiry.NO_FUNDS, at_ns)

    def _fill(self, order: Order, price: Decimal, quantity: Decimal, *, is_maker: bool, now_ns: int) -> None:
        order.filled_base += quantity
        order.updated_ns = now_ns
        order.state = OrderState.FILLED if order.remaining <= 0 else OrderState.PARTIALLY_FILLED
        self._listener.on_match(Match(order, price, quantity, is_maker, now_ns))

    def _expire(self, order: Order, why: Expiry, now_ns: int) -> None:
        order.state, order.expiry, order.updated_ns = OrderState.EXPIRED, why, now_ns
        self._listener.on_end(order, now_ns)

    def _remove(self, order: Order) -> None:
        for orders in (self._resting[order.symbol], self._waiting[order.symbol]):
            if order in orders:
                orders.remove(order)


def _is_worse(taker: Side, price: Decimal, limit: Decimal) -> bool:
    """Would a taker of that side rather have `limit`?"""
    return price > limit if taker.is_buy else price < limit


def _is_through(order: Order, price: Decimal) -> bool:
    return price < order.price if order.side.is_buy else price > order.price


def _is_met(order_type: OrderType, side: Side, stop_price: Decimal, last_price: Decimal) -> bool:
    """A stop-loss sells below the market and buys above it; a take-profit the other way round."""
    is_stop_loss = order_type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    waits_for_rise = side.is_buy == is_stop_loss
    return last_price >= stop_price if waits_for_rise else last_price <= stop_price

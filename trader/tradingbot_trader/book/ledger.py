"""PURE. The ledger: positions and cash as the sum of the fills, and nothing else. After the order machine, before P&L.

Quantities and cash are sums of exact products. The cost of a position is kept by the average-cost method: a sale takes
its share of the cost with it, rounded to 18 decimals (book/exact.py), and the rounding stays in the cost that is left.
Realized P&L is defined as cash + cost, so that realized + unrealized = cash + quantity * price holds to the last digit.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, Self

from tradingbot_trader.book import exact
from tradingbot_trader.orders.order import BookName, Fill, Side

ZERO = Decimal(0)
ELSEWHERE_PERCENT = Decimal("0.1")
"""Binance's regular fee, which paying in BNB makes lower (https://www.binance.com/en/fee/trading): never too little."""
DAY_NS = 86_400 * 1_000_000_000


def utc_day(at_ns: int) -> int:
    """Days since 1970-01-01 UTC: what "since 00:00 UTC" means everywhere."""
    return at_ns // DAY_NS


class FillKey(NamedTuple):
    """What makes a fill the same fill."""

    venue: str
    account: str
    symbol: str
    trade_id: str

    @classmethod
    def of(cls, fill: Fill) -> Self:
        return cls(fill.venue, fill.account, fill.symbol, fill.trade_id)


@dataclass(frozen=True, slots=True)
class Position:
    """One symbol. The quantity is what can be sold: a fee in the base asset has been taken off."""

    symbol: str
    quantity_base: Decimal = ZERO
    cost_quote: Decimal = ZERO
    """What the quantity cost, fees included. Of a short position (spot has none on purpose) what it brought, as a
    negative number."""
    cash_quote: Decimal = ZERO
    """Sum of all that was received less all that was paid for this symbol, ever."""

    @property
    def average_price(self) -> Decimal | None:
        """Cost of one unit, at 28 digits; None when nothing is held."""
        return self.cost_quote / self.quantity_base if self.quantity_base else None

    @property
    def realized_quote(self) -> Decimal:
        return exact.add((self.cash_quote, self.cost_quote))

    def value_quote(self, price: Decimal | None) -> Decimal:
        """At that price; at cost when no price is known."""
        return self.cost_quote if price is None else exact.multiply(self.quantity_base, price)

    def unrealized_quote(self, price: Decimal | None) -> Decimal:
        return exact.subtract(self.value_quote(price), self.cost_quote)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """All numbers of a ledger at one moment: what a rebuild may start from instead of the fills before it."""

    book: BookName
    positions: Mapping[str, Position] = field(default_factory=dict)
    fees: Mapping[str, Decimal] = field(default_factory=dict)
    fees_elsewhere: Mapping[str, Decimal] = field(default_factory=dict)
    fees_elsewhere_quote: Decimal = ZERO
    fees_quote: Decimal = ZERO
    turnover_quote: Decimal = ZERO
    last_loss_ns: int | None = None
    day: int = 0
    day_turnover_quote: Decimal = ZERO
    fill_count: int = 0


class Ledger:
    """All fills of one book. `apply` is the only way in, so a rebuild from the stored fills is the same ledger."""

    def __init__(self, book: BookName) -> None:
        self.book = book
        self.fees: dict[str, Decimal] = {}
        """What was paid in fees, by asset."""
        self.fees_elsewhere: dict[str, Decimal] = {}
        """The part of `fees` that was paid in neither asset of its fill's symbol, and so moved no position."""
        self.fees_elsewhere_quote = ZERO
        """What that part counts as a loss. No price of that asset is known here: ELSEWHERE_PERCENT of the notional."""
        self.fees_quote = ZERO
        """Fees in quote and base assets together, the latter at the price of their fill."""
        self.turnover_quote = ZERO
        """All that was bought and sold."""
        self.last_loss_ns: int | None = None
        """When a sale last brought less than its share of the cost."""
        self._positions: dict[str, Position] = {}
        self._known: set[FillKey] = set()
        self._counted: Container[FillKey] = frozenset()
        """Fills of the state that it was restored from: counted, and not to be counted again."""
        self._counted_number = 0
        self._day = 0
        self._day_turnover_quote = ZERO

    @classmethod
    def rebuild(cls, book: BookName, fills: Iterable[Fill]) -> Self:
        """The ledger of these fills, in the order in which they were recorded."""
        ledger = cls(book)
        for fill in fills:
            ledger.apply(fill)
        return ledger

    @classmethod
    def restore(cls, state: LedgerState, counted: Container[FillKey] = frozenset()) -> Self:
        """The ledger as `state()` left it. `counted` knows each fill that is in the state and none that is still to be
        applied; it is asked, not copied: the store answers from its index."""
        ledger = cls(state.book)
        ledger.fees, ledger.fees_elsewhere = dict(state.fees), dict(state.fees_elsewhere)
        ledger.fees_elsewhere_quote = state.fees_elsewhere_quote
        ledger.fees_quote, ledger.turnover_quote = state.fees_quote, state.turnover_quote
        ledger.last_loss_ns = state.last_loss_ns
        ledger._positions = dict(state.positions)
        ledger._day, ledger._day_turnover_quote = state.day, state.day_turnover_quote
        ledger._counted, ledger._counted_number = counted, state.fill_count
        return ledger

    def state(self) -> LedgerState:
        return LedgerState(
            book=self.book,
            positions=dict(self._positions),
            fees=dict(self.fees),
            fees_elsewhere=dict(self.fees_elsewhere),
            fees_elsewhere_quote=self.fees_elsewhere_quote,
            fees_quote=self.fees_quote,
            turnover_quote=self.turnover_quote,
            last_loss_ns=self.last_loss_ns,
            day=self._day,
            day_turnover_quote=self._day_turnover_quote,
            fill_count=self.fill_count,
        )

    @property
    def positions(self) -> Mapping[str, Position]:
        """By symbol; a symbol that was ever traded stays, with its realized P&L."""
        return self._positions

    @property
    def fill_count(self) -> int:
        return self._counted_number + len(self._known)

    @property
    def cash_quote(self) -> Decimal:
        """Net flow of the quote currency since the book was opened; the opening cash is not the ledger's business."""
        return exact.add(position.cash_quote for position in self._positions.values())

    @property
    def cost_quote(self) -> Decimal:
        return exact.add(position.cost_quote for position in self._positions.values())

    @property
    def realized_quote(self) -> Decimal:
        return exact.add(position.realized_quote for position in self._positions.values())

    def unrealized_quote(self, prices: Mapping[str, Decimal]) -> Decimal:
        return exact.add(p.unrealized_quote(prices.get(p.symbol)) for p in self._positions.values())

    def total_quote(self, prices: Mapping[str, Decimal]) -> Decimal:
        """Cumulative P&L: realized and unrealized since the book was opened, less fees that moved no position."""
        fees_quote = exact.negate(self.fees_elsewhere_quote)
        return exact.add((self.realized_quote, self.unrealized_quote(prices), fees_quote))

    def day_turnover_quote(self, now_ns: int) -> Decimal:
        """What was bought and sold since 00:00 UTC. A clock that went back a day still sees the later day's sum."""
        return self._day_turnover_quote if utc_day(now_ns) <= self._day else ZERO

    def position(self, symbol: str) -> Position:
        return self._positions.get(symbol) or Position(symbol)

    def has(self, fill: Fill) -> bool:
        key = FillKey.of(fill)
        return key in self._known or key in self._counted

    def apply(self, fill: Fill) -> bool:
        """Count a fill. False: it was counted before, and nothing changes."""
        if fill.book is not self.book:
            raise ValueError(f"fill {fill.trade_id} of book {fill.book} given to the ledger of {self.book}")
        if self.has(fill):
            return False
        before = self.position(fill.symbol)
        after, is_loss = _after_fill(before, fill)
        self._positions[fill.symbol] = after
        self._known.add(FillKey.of(fill))
        self._count(fill)
        if is_loss:
            self.last_loss_ns = max(self.last_loss_ns or 0, fill.event_time_ns)
        return True

    def _count(self, fill: Fill) -> None:
        base, _, quote = fill.symbol.partition("/")
        notional = exact.multiply(fill.quantity_base, fill.price)
        self.fees[fill.fee_asset] = exact.add((self.fees.get(fill.fee_asset, ZERO), fill.fee_amount))
        if fill.fee_asset == quote:
            self.fees_quote = exact.add((self.fees_quote, fill.fee_amount))
        elif fill.fee_asset == base:
            self.fees_quote = exact.add((self.fees_quote, exact.multiply(fill.fee_amount, fill.price)))
        else:
            elsewhere = self.fees_elsewhere.get(fill.fee_asset, ZERO)
            self.fees_elsewhere[fill.fee_asset] = exact.add((elsewhere, fill.fee_amount))
            cost = exact.multiply(notional, ELSEWHERE_PERCENT / 100)
            self.fees_elsewhere_quote = exact.add((self.fees_elsewhere_quote, cost))
        self.turnover_quote = exact.add((self.turnover_quote, notional))
        day = utc_day(fill.event_time_ns)
        if day > self._day:
            self._day, self._day_turnover_quote = day, notional
        elif day == self._day:
            self._day_turnover_quote = exact.add((self._day_turnover_quote, notional))


def _after_fill(before: Position, fill: Fill) -> tuple[Position, bool]:
    """The position after the fill, and whether the fill closed something at a loss."""
    base, _, quote = fill.symbol.partition("/")
    notional = exact.multiply(fill.quantity_base, fill.price)
    is_buy = fill.side is Side.BUY
    moved = fill.quantity_base if is_buy else exact.negate(fill.quantity_base)
    received = exact.negate(notional) if is_buy else notional
    if fill.fee_asset == base:
        moved = exact.subtract(moved, fill.fee_amount)
    elif fill.fee_asset == quote:
        received = exact.subtract(received, fill.fee_amount)
    cost = _cost_after(before, moved, received)
    after = Position(
        symbol=before.symbol,
        quantity_base=exact.add((before.quantity_base, moved)),
        cost_quote=cost,
        cash_quote=exact.add((before.cash_quote, received)),
    )
    return after, after.realized_quote < before.realized_quote


def _cost_after(before: Position, moved: Decimal, received: Decimal) -> Decimal:
    """Average cost: what adds to a position adds its price, what takes from it takes its share of the cost."""
    held = before.quantity_base
    if held * moved >= 0:
        return exact.subtract(before.cost_quote, received) if moved else before.cost_quote
    left = exact.add((held, moved))
    if not left:
        return ZERO
    if held * left > 0:
        return exact.add((before.cost_quote, exact.share(before.cost_quote, moved, held)))
    # Through zero: the old position is closed whole, the rest of the fill opens the other side.
    return exact.negate(exact.share(received, left, moved))

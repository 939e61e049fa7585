"""PURE. The rules of `killall`: which orders it takes, how it sells what was named, and what it may call proved.

run.py and sale.py ask the venue; this says before what is meant, and after what became of it. text.py shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_UP, Decimal
from enum import StrEnum

from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.client_id import is_own, parse_client_order_id
from tradingbot_trader.orders.outcome import Action, Meaning, Outcome
from tradingbot_trader.venues.account import Answer
from tradingbot_trader.venues.killer import Ending, RestingOrder

ZERO = Decimal(0)
HUNDRED = Decimal(100)
PROVED, LEFT, NOT_TRIED = 0, 2, 1
"""Exit codes: all that was asked is proved; something is left; nothing could be tried."""


class Verdict(StrEnum):
    TAKE = "Take"
    KEEP = "Keep"
    """In scope, and left on purpose."""
    IGNORE = "Ignore"
    """Somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which open orders of the account are meant."""

    own_only: bool = False
    bot: str = ""
    """Only orders of the bot with this hash; empty: of any bot of ours."""
    keep_protective: bool = False
    symbols: tuple[str, ...] = ()
    """The venue's names of the markets; empty: all."""

    def judge(self, order: RestingOrder) -> Verdict:
        is_ours = is_of(order.client_order_id, self.bot)
        if self.symbols and order.symbol not in self.symbols:
            return Verdict.IGNORE
        if self.own_only and not is_ours:
            return Verdict.IGNORE
        return Verdict.KEEP if self.keep_protective and is_ours and order.is_stop_sell else Verdict.TAKE

    @property
    def takes_whole_markets(self) -> bool:
        """Whether every order of a market is meant, those that nobody has seen yet included."""
        return not self.own_only and not self.keep_protective


def is_of(client_order_id: str, bot: str = "") -> bool:
    """Whether the id is one of ours: of that bot, or of any."""
    if bot:
        return is_own(client_order_id, bot)
    try:
        parse_client_order_id(client_order_id)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class Target:
    """One order on its way out."""

    order: RestingOrder
    is_listed: bool = True
    """By the venue's newest list of open orders."""
    ending: Ending | None = None
    """By the venue's word about this very order."""
    attempts: int = 0
    reason: str = ""
    """Why it is not proved closed: the last thing that the venue said about it."""

    @property
    def is_closed(self) -> bool:
        """Two words of the venue, and neither alone will do: a list may be late, an order's answer may be lost."""
        return self.ending is not None and not self.is_listed

    def show(self, seen: RestingOrder) -> None:
        """What the venue showed of it. What has ended does not come back; what was filled does not shrink."""
        self.ending = self.ending or seen.ending
        if seen.filled_base is not None:
            filled_base = max(seen.filled_base, self.order.filled_base or ZERO)
            self.order = replace(self.order, filled_base=filled_base)


@dataclass(frozen=True, slots=True)
class SaleAsked:
    """`--sell BTC=0.01`: this much, and no more."""

    asset: str
    quantity_base: Decimal
    symbol: str
    """Our own name of the market that it is sold on, like BTC/USDT."""


@dataclass(slots=True)
class Sale:
    """What became of it."""

    asked: SaleAsked
    reference_price: Decimal | None = None
    floor_price: Decimal | None = None
    """No order of ours sells below."""
    step_base: Decimal = ZERO
    sold_base: Decimal = ZERO
    received_quote: Decimal = ZERO
    """Before fees, by the trades that came with the answers; the least that it can be."""
    unresolved_base: Decimal = ZERO
    """Of an order whose fate is not known: it may have sold so much."""
    orders: list[str] = field(default_factory=list)
    """Client order ids."""
    reason: str = ""

    @property
    def remaining_base(self) -> Decimal:
        """What may still be sold, when the worst is true of what is not known."""
        return self.asked.quantity_base - self.sold_base - self.unresolved_base

    @property
    def is_done(self) -> bool:
        """All but what is less than a step of the venue, and cannot be sold at all."""
        is_known = self.step_base > 0 and self.sold_base > 0 and not self.unresolved_base
        return is_known and ZERO <= self.remaining_base < self.step_base


def floor_price(reference: Decimal, collar_percent: Decimal, rules: Instrument) -> Decimal:
    """Rounded up, so that it stays inside the collar."""
    return rules.round_price_up(reference * (HUNDRED - collar_percent) / HUNDRED)


def next_slice(remaining_base: Decimal, *, floor: Decimal, slice_quote: Decimal, rules: Instrument) -> Decimal | None:
    """How much the next order sells; None: what remains is too small for an order of its own.

    A slice is as large as the venue's minimum asks for, and takes a rest with it that could not be sold after it.
    """
    if floor <= 0:
        return None
    smallest = max(rules.min_quantity_base, _up(rules.min_notional_quote / floor, rules.quantity_step))
    smallest = max(_up(smallest, rules.quantity_step), rules.quantity_step)
    whole = rules.round_quantity_down(remaining_base)
    if whole < smallest:
        return None
    most = rules.round_quantity_down(min(whole, rules.max_quantity_base or whole))
    if rules.max_notional_quote is not None:
        most = min(most, rules.round_quantity_down(rules.max_notional_quote / floor))
    if most < smallest:
        return None
    size = max(min(rules.round_quantity_down(slice_quote / floor), most), smallest)
    if whole - size < smallest:
        if whole <= most:
            return whole
        if whole - smallest >= smallest:
            return min(size, whole - smallest)
    return size


def _up(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(rounding=ROUND_UP) * step


def is_final(answer: Answer, meaning: Meaning) -> bool:
    """Whether the same request would be refused again. One that never left, or came at a bad time, may be repeated."""
    is_refused = meaning.outcome is Outcome.REJECTED and answer.http_status != 0
    return is_refused and meaning.action not in (Action.BACK_OFF, Action.RESYNC_CLOCK, Action.WAIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a person has to know afterwards."""

    targets: Sequence[Target]
    kept: Collection[RestingOrder]
    sales: Sequence[Sale]
    was_listed: bool
    """The venue has shown the open orders at least once."""
    is_proved: bool
    """No order of the scope was open at the end, by two lists of the venue."""
    notes: Sequence[str] = ()
    problem: str = ""
    """Why it ended before its time."""

    @property
    def left(self) -> list[Target]:
        return [each for each in self.targets if not each.is_closed]

    @property
    def exit_code(self) -> int:
        if not self.was_listed:
            return NOT_TRIED
        is_done = self.is_proved and not self.left and all(sale.is_done for sale in self.sales)
        return PROVED if is_done else LEFT

"""SHELL. Takes what the venue shows into our books: orders, trades, others' too. Recovery, stream -> here -> desk.

An own order that no store remembers is adopted and, because nobody knows what it was for, cancelled. What is not ours
is reported once, and never corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.ledger import FillKey
from tradingbot_trader.book.transaction import Transaction
from tradingbot_trader.desk import Desk
from tradingbot_trader.errors import TradingError
from tradingbot_trader.orders.client_id import is_own
from tradingbot_trader.orders.doubt import FRESHNESS_NS, VISIBILITY_NS
from tradingbot_trader.orders.gateway import LiveGateway, Refusal
from tradingbot_trader.orders.machine import Illegal, Order
from tradingbot_trader.orders.order import OrderEvent, OrderState
from tradingbot_trader.orders.outcome import Outcome
from tradingbot_trader.orders.snapshot import Place, to_events, to_fill, to_intent, trade_event
from tradingbot_trader.venues.account import OrderSnapshot, VenueTrade

_log = structlog.get_logger("recovery")
MOST_PAGES = 1_000
"""Of an account's history: a million trades of one symbol at Binance's thousand a page."""
OPEN_ORDERS_WEIGHT, ONE_SYMBOL_WEIGHT, PAGE_WEIGHT, QUERY_WEIGHT = 80, 6, 20, 4
"""Binance's request weights: openOrders without and with a symbol, myTrades and allOrders, one order."""
MOST_FOREIGN_REMEMBERED = 10_000
"""Other people's orders that were told of; beyond that the oldest may be told of again."""
_REFUSED = frozenset({OrderState.REJECTED, OrderState.DENIED})


class NotRecorded(TradingError):  # noqa: N818  named by consequence (STYLE)
    """The disk did not take what the venue showed: the look is made again."""


@dataclass(slots=True)
class Findings:
    """What was found since the last report."""

    orphans: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Whom it tells of what it sees."""

    emit: Callable[[OrderEvent], None]
    """Takes what became known of an own order, as the gateway's."""
    doubt: Callable[[str], None]
    """An order of which something is not known."""
    appeared: Callable[[str], None]
    """An order is there that was taken for absent; the text is for a person."""
    foreign_trade: Callable[[], None]
    """Somebody else traded on this account."""


class Sighting:
    """`take_*` what is seen; the others ask the venue, and raise Refusal when it does not answer."""

    def __init__(
        self,
        desk: Desk,
        gateway: LiveGateway,
        *,
        bot: str,
        place: Callable[[], Place],
        tell: Tell,
        now_ns: Callable[[], int],
    ) -> None:
        """`bot` is the hash that our client order ids begin with, `now_ns` the venue's time."""
        self._now_ns = now_ns
        self._desk, self._gateway, self._bot, self._place, self._tell = desk, gateway, bot, place, tell
        self._foreign: dict[tuple[str, str], None] = {}
        self.found = Findings()

    def take_report(self, snapshot: OrderSnapshot) -> None:
        """A message of the account's stream."""
        if is_own(snapshot.client_order_id, self._bot):
            self.take(snapshot)
            return
        self._take_foreign(snapshot)
        if snapshot.trades:
            self._tell.foreign_trade()

    def take(self, snapshot: OrderSnapshot) -> bool:
        """An own order as the venue shows it. False: it could not be adopted, because the disk refused; ask again."""
        order_id = snapshot.client_order_id
        known = self._desk.find(order_id)
        if known is None:
            if self._desk.store.is_archived_order(self._desk.store.book, order_id):
                return True  # it ended long ago, and everything of it is known
            if not self._adopt(snapshot):
                return False
        is_surprise = known is None or _is_surprise(known, snapshot)
        if known is not None and is_surprise and Illegal.ABSENT_BUT_SEEN not in known.illegal:
            text = f"order {order_id} of {snapshot.symbol} was {known.state.value} here, and the venue shows it"
            _log.error("absent_order_appeared", client_order_id=order_id, was=known.state)
            self._tell.appeared(text)
        for event in to_events(snapshot, order_id, self._place()):
            self._tell.emit(event)
        now = self._desk.engine.orders.get(order_id)
        if now is not None and now.filled_base > now.fills_base:
            self._tell.doubt(order_id)
        if now is not None and now.state.is_open and is_surprise:
            self._desk.cancel([order_id])  # nobody here knows what it was for
        return True

    async def ask_for(self, order: Order) -> bool:
        """One order, by its id; False: the venue says that it does not have it."""
        symbol, order_id = order.intent.symbol, order.client_order_id
        try:
            snapshot = await self._gateway.ask(lambda a: a.find_order(symbol, order_id), weight=QUERY_WEIGHT)
        except Refusal as refusal:
            if refusal.meaning.outcome is Outcome.GONE:
                return False
            raise
        self.take(snapshot)
        return True

    async def ask_for_open_orders(self, symbol: str | None = None) -> frozenset[str]:
        """Of one symbol, or of the account: ours are taken, others reported. The client order ids that are shown."""
        weight = OPEN_ORDERS_WEIGHT if symbol is None else ONE_SYMBOL_WEIGHT
        found = await self._gateway.ask(lambda a: a.open_orders(symbol), weight=weight)
        for snapshot in found:
            if is_own(snapshot.client_order_id, self._bot):
                self.take(snapshot)
            else:
                self._take_foreign(snapshot)
        return frozenset(snapshot.client_order_id for snapshot in found)

    async def ask_for_fills(self, order_id: str) -> None:
        """Of an order that is filled further than we know trades: they may show after later ones, so by the order."""
        order = self._desk.engine.orders.get(order_id)
        if order is None or order.filled_base <= order.fills_base:
            return
        for venue_order_id in sorted(order.venue_order_ids):
            since = "0"
            for _ in range(MOST_PAGES):
                page = await self._order_trades(order.intent.symbol, venue_order_id, since)
                fresh = [trade for trade in page if int(trade.trade_id) >= int(since)]
                for trade in fresh:
                    self._tell.emit(trade_event(trade, order_id, self._place()))
                if not fresh:
                    break
                since = _after(fresh)

    async def catch_up(self, symbol: str) -> int:
        """Every trade of the symbol that the venue has and we have not looked at; how many there were."""
        name = _counter(symbol)
        taken = 0
        for _ in range(MOST_PAGES):
            last = self._desk.store.counters(self._desk.store.book).get(name)
            if last is None:
                await self.read_history(symbol)
                continue
            page = await self._trades_page(symbol, str(int(last) + 1))
            for trade in page:
                if not await self._take_trade(trade):
                    return taken  # the same page again, when the disk takes it
            taken += len(page)
            if not page or not self._advance(name, page):
                return taken
        raise RuntimeError(f"the trades of {symbol} do not end")

    async def read_history(self, symbol: str) -> None:
        """All that the venue has of a symbol, as at the first look. Whatever own orders it remembers are ours again,
        with their fills; what other people did before is no news."""
        since, listed = "0", set[str]()
        for _ in range(MOST_PAGES):
            page = await self._orders_page(symbol, since)
            listed.update(snapshot.venue_order_id for snapshot in page)
            own = [snapshot for snapshot in page if is_own(snapshot.client_order_id, self._bot)]
            missed = [snapshot for snapshot in own if not self.take(snapshot)]
            if missed:
                raise NotRecorded("the store cannot record the orders that the venue remembers")
            if not page:
                break
            since = str(max(int(snapshot.venue_order_id) for snapshot in page) + 1)
        last = "-1"
        for _ in range(MOST_PAGES):
            trades = await self._trades_page(symbol, str(int(last) + 1))
            for trade in trades:
                order = self._desk.find_by_venue_id(symbol, trade.venue_order_id)
                if order is None and trade.venue_order_id not in listed and self._is_young(trade):
                    order = await self._find_unlisted(trade)
                if order is not None:
                    self._tell.emit(trade_event(trade, order.client_order_id, self._place()))
            if not trades:
                break
            last = max(trades, key=lambda trade: int(trade.trade_id)).trade_id
        if not self._desk.record(partial(_put_counter, name=_counter(symbol), value=last)):
            raise NotRecorded("the store cannot record how far the trades were read")

    def _is_young(self, trade: VenueTrade) -> bool:
        """A list need not show its order yet."""
        return trade.event_time_ns > self._now_ns() - FRESHNESS_NS - VISIBILITY_NS

    async def _find_unlisted(self, trade: VenueTrade) -> Order | None:
        """The own order of a young trade that the venue's list has not shown: lists may be late, and a trade that is
        passed over here is never looked at again. Raises Refusal while the venue does not know the order."""
        snapshot = await self._gateway.ask(
            lambda a: a.find_order_by_venue_id(trade.symbol, trade.venue_order_id), weight=QUERY_WEIGHT
        )
        if not is_own(snapshot.client_order_id, self._bot):
            return None
        if not self.take(snapshot):
            raise NotRecorded("the store cannot record an order that the venue remembers")
        return self._desk.find(snapshot.client_order_id)

    async def _take_trade(self, trade: VenueTrade) -> bool:
        """False: it is ours, and could not be taken."""
        order = self._desk.find_by_venue_id(trade.symbol, trade.venue_order_id)
        if order is not None and self._has(order, trade):
            return True
        if order is None or order.client_order_id not in self._desk.engine.orders:
            # Not known, or ended as we thought: a venue that was reset gives its numbers out again.
            snapshot = await self._gateway.ask(
                lambda a: a.find_order_by_venue_id(trade.symbol, trade.venue_order_id), weight=QUERY_WEIGHT
            )
            if not is_own(snapshot.client_order_id, self._bot):
                what = f"{trade.side.value} {trade.quantity_base:f} at {trade.price:f}"
                self._report_orphan(f"trade {trade.trade_id} of {trade.symbol}: {what}")
                return True
            if not self.take(snapshot):
                return False
            order = self._desk.find(snapshot.client_order_id)
        if order is not None:
            self._tell.emit(trade_event(trade, order.client_order_id, self._place()))
        return True

    def _has(self, order: Order, trade: VenueTrade) -> bool:
        fill = to_fill(trade, order.client_order_id, self._place())
        ledger, store = self._desk.engine.ledger, self._desk.store
        return ledger.has(fill) or store.has_fill(store.book, FillKey.of(fill))

    def _adopt(self, snapshot: OrderSnapshot) -> bool:
        intent = to_intent(snapshot, self._desk.store.book)
        if not self._desk.adopt(intent):
            return False
        self.found.adopted.append(intent.client_order_id)
        _log.warning("order_adopted", client_order_id=intent.client_order_id, symbol=intent.symbol)
        return True

    def _take_foreign(self, snapshot: OrderSnapshot) -> None:
        key = (snapshot.symbol, snapshot.venue_order_id)
        if key in self._foreign:
            return
        self._foreign[key] = None
        if len(self._foreign) > MOST_FOREIGN_REMEMBERED:
            del self._foreign[next(iter(self._foreign))]
        what = f"{snapshot.side.value} {snapshot.quantity_base:f} at {snapshot.price:f}, {snapshot.state.value}"
        self._report_orphan(f"order {snapshot.venue_order_id} of {snapshot.symbol}: {what}")

    def _report_orphan(self, text: str) -> None:
        self.found.orphans.append(text)
        _log.warning("orphan", what=text, action="reported, not corrected: `tradingbot-trader account adjust`")
        self._desk.record(lambda tx: tx.put_audit(AuditKind.ORPHAN, {"what": text}))

    def _advance(self, name: str, page: tuple[VenueTrade, ...]) -> bool:
        last = max(page, key=lambda trade: int(trade.trade_id)).trade_id
        return self._desk.record(partial(_put_counter, name=name, value=last))

    async def _trades_page(self, symbol: str, since: str) -> tuple[VenueTrade, ...]:
        return await self._gateway.ask(lambda a: a.trades_since(symbol, since), weight=PAGE_WEIGHT)

    async def _order_trades(self, symbol: str, venue_order_id: str, since: str) -> tuple[VenueTrade, ...]:
        return await self._gateway.ask(lambda a: a.trades_of(symbol, venue_order_id, since), weight=PAGE_WEIGHT)

    async def _orders_page(self, symbol: str, since: str) -> tuple[OrderSnapshot, ...]:
        return await self._gateway.ask(lambda a: a.orders_since(symbol, since), weight=PAGE_WEIGHT)


def _is_surprise(known: Order, snapshot: OrderSnapshot) -> bool:
    """Whether it was taken for absent, and was not. A venue may well show an order that it refused as refused."""
    if known.state is OrderState.PRESUMED_ABSENT:
        return True
    return known.state in _REFUSED and (snapshot.state.is_open or snapshot.filled_base > 0)


def _after(page: list[VenueTrade]) -> str:
    return str(max(int(trade.trade_id) for trade in page) + 1)


def _counter(symbol: str) -> str:
    """How far the trades of a symbol have been looked at: the last trade id."""
    return f"trades.{symbol}"


def _put_counter(tx: Transaction, *, name: str, value: str) -> None:
    counters: Mapping[str, str] = {name: value}
    tx.put_counters(counters)

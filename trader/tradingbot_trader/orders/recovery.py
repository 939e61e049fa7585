"""SHELL. Makes our books agree with the venue: orders in doubt, missed fills, balances. Beside the gateway.

It asks and applies; what an answer means stands in the outcome table, when an order is presumed absent in doubt.py,
whether balances agree in reconcile.py. What belongs to nobody here (a person's trade) is reported and never corrected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

import structlog

from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.store import Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.desk import Desk
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.client_id import is_own
from tradingbot_trader.orders.doubt import Doubt
from tradingbot_trader.orders.gateway import LiveGateway, Refusal
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderEvent, OrderState
from tradingbot_trader.orders.outcome import Outcome
from tradingbot_trader.orders.reconcile import Delta, Report, Result, compare, ledger_effect
from tradingbot_trader.orders.snapshot import Place, to_events, to_intent, trade_event
from tradingbot_trader.risk.breakers import TripKind
from tradingbot_trader.venues.account import AccountView, ExecutionReport, OrderSnapshot, VenueTrade

_log = structlog.get_logger("recovery")
TICK_SECONDS = 0.25
RETRY_SECONDS = 5.0
"""After a reconciliation that failed or proved nothing."""
QUIET_TRIES = 5
"""How often balances are read again because something traded while they were read."""
MOST_PAGES = 1_000
"""Of an account's history: a million trades of one symbol at Binance's thousand a page."""
OPEN_ORDERS_WEIGHT, PAGE_WEIGHT, ACCOUNT_WEIGHT, QUERY_WEIGHT = 80, 20, 20, 4
"""Binance's request weights: openOrders without a symbol, myTrades and allOrders, account, order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is compared; asked anew for each reconciliation, because specs change."""

    symbols: Collection[str]
    instruments: Mapping[str, Instrument]
    tolerance: Decimal


@dataclass(slots=True)
class _Findings:
    """Of one reconciliation, and of everything that came since the one before."""

    orphans: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)


class Recovery:
    """`run` until cancelled. Until `has_passed`, and after `require`, nothing that adds risk may leave."""

    def __init__(
        self,
        desk: Desk,
        gateway: LiveGateway,
        clock: Clock,
        *,
        bot: str,
        emit: Callable[[OrderEvent], None],
        place: Callable[[], Place],
        scope: Callable[[], Scope],
        interval_seconds: Callable[[], float],
        on_report: Callable[[Report], None],
        on_trip: Callable[[TripKind, str], None],
    ) -> None:
        """`bot` is the hash that our client order ids begin with; `emit` takes what became known, as the gateway's."""
        self._desk, self._gateway, self._clock, self._bot = desk, gateway, clock, bot
        self._emit, self._place = emit, place
        self._scope, self._interval_seconds = scope, interval_seconds
        self._on_report, self._on_trip = on_report, on_trip
        self._doubts: dict[str, tuple[Doubt, int]] = {}
        self._wanted = "start"
        self._due_ns: int | None = None
        self._requirements = 1
        self._met = 0
        self._begun_ns = 0
        self._found = _Findings()
        self._waiters: list[asyncio.Future[Report]] = []
        self._foreign_orders: set[str] = set()
        self.report: Report | None = None
        """The last one."""

    @property
    def has_passed(self) -> bool:
        """A reconciliation that began after the last requirement has passed."""
        return self._met == self._requirements

    @property
    def in_doubt(self) -> int:
        return len(self._doubts)

    def require(self, why: str) -> None:
        """No new risk until a reconciliation that begins from now on has passed."""
        self._requirements += 1
        self.ask(why)

    def ask(self, why: str) -> None:
        """Reconcile as soon as can be; what was proved before holds meanwhile."""
        self._wanted = why

    async def reconcile(self, why: str) -> Report:
        """The report of a reconciliation that begins from now on."""
        waiter: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.ask(why)
        return await waiter

    def doubt(self, client_order_id: str) -> None:
        """Look at this order at the venue, until nothing about it is unknown."""
        self._doubts.setdefault(client_order_id, (Doubt(), self._clock.monotonic_ns()))

    def on_report(self, report: ExecutionReport) -> None:
        """A message of the account's stream."""
        snapshot = report.order
        if not is_own(snapshot.client_order_id, self._bot):
            self._find_foreign(snapshot)
            return
        self._take(snapshot)

    async def run(self) -> None:
        self._recall()
        while True:
            await self._look_at_doubts()
            if self._is_due():
                await self._reconcile_once()
            self._look_for_silence()
            await self._clock.sleep(TICK_SECONDS)

    def _recall(self) -> None:
        """After a restart: what was on its way then may or may not have left."""
        for order in list(self._desk.engine.orders.values()):
            if order.state in (OrderState.INTENT, OrderState.SENT):
                reason = "the trader ended while it was on its way"
                event = OrderEvent(order.client_order_id, OrderState.UNRESOLVED, order.updated_ns, reason=reason)
                self._emit(event)
            self.doubt(order.client_order_id)

    def _look_for_silence(self) -> None:
        """Whatever is unresolved, or has fills that nobody has seen, is in doubt, whoever left it so."""
        for order_id, order in self._desk.engine.orders.items():
            is_short = order.filled_base > order.fills_base
            if (order.state is OrderState.UNRESOLVED or is_short) and order_id not in self._gateway.in_flight:
                self.doubt(order_id)

    def _is_due(self) -> bool:
        return bool(self._wanted) or (self._due_ns is not None and self._clock.monotonic_ns() >= self._due_ns)

    # Orders in doubt

    async def _look_at_doubts(self) -> None:
        for order_id, (doubt, due_ns) in list(self._doubts.items()):
            if self._clock.monotonic_ns() < due_ns or order_id in self._gateway.in_flight:
                continue
            order = self._desk.engine.orders.get(order_id)
            if order is None:
                del self._doubts[order_id]
                continue
            try:
                after = await self._look(order, doubt.looked())
            except Refusal as refusal:
                _log.info("order_still_in_doubt", client_order_id=order_id, answer=str(refusal.answer))
                after = doubt.looked()
            if after is None or self._is_clear(order_id):
                self._doubts.pop(order_id, None)
            else:
                self._doubts[order_id] = (after, self._clock.monotonic_ns() + int(after.pause_seconds * 1e9))

    def _is_clear(self, order_id: str) -> bool:
        """Everything is known, and nothing is expected: an order that rests is no doubt."""
        order = self._desk.engine.orders.get(order_id)
        return order is None or (
            order.filled_base <= order.fills_base and order.state in (OrderState.OPEN, OrderState.PARTIALLY_FILLED)
        )

    async def _look(self, order: Order, doubt: Doubt) -> Doubt | None:
        """One look at the venue. None: nothing is left to look for. Raises Refusal."""
        begun_ns = self._clock.now_ns()
        symbol, order_id = order.intent.symbol, order.client_order_id
        if await self._query(symbol, order_id):
            await self._fetch_fills(order_id)
            return doubt
        await self._catch_up(symbol)
        is_shown = any(each.client_order_id == order_id for each in await self._open_orders())
        now = self._desk.engine.orders.get(order_id)
        if now is None or is_shown:
            return None if now is None else doubt
        doubt = doubt.scanned(now, begun_ns)
        if not doubt.is_absent(now, begun_ns):
            return doubt
        reason = f"{doubt.scans} complete scans since {begun_ns} ns have not found it"
        self._emit(OrderEvent(order_id, OrderState.PRESUMED_ABSENT, self._clock.now_ns(), reason=reason))
        _log.warning("order_presumed_absent", client_order_id=order_id, symbol=symbol, scans=doubt.scans)
        return None

    async def _fetch_fills(self, order_id: str) -> None:
        """Of an order that is filled further than we know trades: they may show after later ones, so by the order."""
        order = self._desk.engine.orders.get(order_id)
        if order is None or order.filled_base <= order.fills_base:
            return
        for venue_order_id in sorted(order.venue_order_ids):
            for trade in await self._order_trades(order.intent.symbol, venue_order_id):
                self._emit(trade_event(trade, order_id, self._place()))

    async def _query(self, symbol: str, order_id: str) -> bool:
        """Ask for one order and take what comes; False: the venue says that it does not have it."""
        try:
            snapshot = await self._gateway.ask(lambda a: a.find_order(symbol, order_id), weight=QUERY_WEIGHT)
        except Refusal as refusal:
            if refusal.meaning.outcome is Outcome.GONE:
                return False
            raise
        self._take(snapshot)
        return True

    # What the venue shows

    def _take(self, snapshot: OrderSnapshot) -> None:
        """An own order as the venue shows it. An order that no store remembers is adopted."""
        order_id = snapshot.client_order_id
        known = self._desk.find(order_id)
        if known is None:
            if self._desk.store.is_archived_order(self._desk.store.book, order_id):
                return  # it ended long ago, and everything of it is known
            self._adopt(snapshot)
        elif known.state is OrderState.PRESUMED_ABSENT:
            self._reappear(snapshot)
        for event in to_events(snapshot, order_id, self._place()):
            self._emit(event)
        now = self._desk.engine.orders.get(order_id)
        if now is not None and now.filled_base > now.fills_base:
            self.doubt(order_id)
        if now is not None and now.state.is_open and (known is None or known.state is OrderState.PRESUMED_ABSENT):
            self._desk.cancel([order_id])  # nobody here knows what it was for

    def _adopt(self, snapshot: OrderSnapshot) -> None:
        intent = to_intent(snapshot, self._desk.store.book)
        if self._desk.adopt(intent):
            self._found.adopted.append(intent.client_order_id)
            _log.warning("order_adopted", client_order_id=intent.client_order_id, symbol=intent.symbol)

    def _reappear(self, snapshot: OrderSnapshot) -> None:
        text = f"order {snapshot.client_order_id} of {snapshot.symbol} was presumed absent, and the venue shows it"
        _log.error("presumed_absent_order_appeared", client_order_id=snapshot.client_order_id)
        self._on_trip(TripKind.CONTRADICTION, text)
        self.require("an order that was presumed absent has appeared")

    def _find_foreign(self, snapshot: OrderSnapshot) -> None:
        if snapshot.venue_order_id not in self._foreign_orders:
            self._foreign_orders.add(snapshot.venue_order_id)
            what = f"{snapshot.side.value} {snapshot.quantity_base:f} at {snapshot.price:f}, {snapshot.state.value}"
            self._report_orphan(f"order {snapshot.venue_order_id} of {snapshot.symbol}: {what}")
        if snapshot.trades:
            self.ask("somebody else traded on this account")

    def _report_orphan(self, text: str) -> None:
        self._found.orphans.append(text)
        _log.warning("orphan", what=text, action="reported, not corrected: `tradingbot-trader account adjust`")
        self._desk.record(lambda tx: tx.put_audit(AuditKind.ORPHAN, {"what": text}))

    async def _open_orders(self) -> tuple[OrderSnapshot, ...]:
        """All of the account, ours taken, others reported."""
        found = await self._gateway.ask(lambda a: a.open_orders(), weight=OPEN_ORDERS_WEIGHT)
        for snapshot in found:
            if is_own(snapshot.client_order_id, self._bot):
                self._take(snapshot)
            else:
                self._find_foreign(snapshot)
        return found

    async def _catch_up(self, symbol: str, *, is_history: bool = False) -> int:
        """Every trade of the symbol that the venue has and we have not looked at; how many there were.

        History: the account's past before our opening balances, in which other people's trades are no news.
        """
        name = f"trades.{symbol}"
        taken = 0
        for _ in range(MOST_PAGES):
            since = str(int(self._desk.store.counters(self._desk.store.book).get(name, "-1")) + 1)
            page = await self._trades_page(symbol, since)
            if not page:
                return taken
            for trade in page:
                await self._take_trade(trade, is_history=is_history)
            taken += len(page)
            last = max(page, key=lambda trade: int(trade.trade_id)).trade_id
            if not self._desk.record(partial(_put_counter, name=name, value=last)):
                return taken  # the same page again, when the disk takes it
        raise RuntimeError(f"the trades of {symbol} do not end")

    async def _trades_page(self, symbol: str, since: str) -> tuple[VenueTrade, ...]:
        return await self._gateway.ask(lambda a: a.trades_since(symbol, since), weight=PAGE_WEIGHT)

    async def _order_trades(self, symbol: str, venue_order_id: str) -> tuple[VenueTrade, ...]:
        return await self._gateway.ask(lambda a: a.trades_of(symbol, venue_order_id), weight=PAGE_WEIGHT)

    async def _orders_page(self, symbol: str, since: str) -> tuple[OrderSnapshot, ...]:
        return await self._gateway.ask(lambda a: a.orders_since(symbol, since), weight=PAGE_WEIGHT)

    async def _take_trade(self, trade: VenueTrade, *, is_history: bool) -> None:
        order = self._desk.find_by_venue_id(trade.symbol, trade.venue_order_id)
        if order is None and is_history:
            return
        if order is None:
            snapshot = await self._gateway.ask(
                lambda a: a.find_order_by_venue_id(trade.symbol, trade.venue_order_id), weight=QUERY_WEIGHT
            )
            if not is_own(snapshot.client_order_id, self._bot):
                what = f"{trade.side.value} {trade.quantity_base:f} at {trade.price:f}"
                self._report_orphan(f"trade {trade.trade_id} of {trade.symbol}: {what}")
                return
            self._take(snapshot)
            order_id = snapshot.client_order_id
        else:
            order_id = order.client_order_id
        self._emit(trade_event(trade, order_id, self._place()))

    # Reconciliation

    async def _reconcile_once(self) -> None:
        why, self._wanted = self._wanted or "interval", ""
        goal, self._begun_ns = self._requirements, self._clock.now_ns()
        waiters, self._waiters = self._waiters, []
        try:
            report = await self._reconcile(why, self._scope())
        except Refusal as refusal:
            report = self._conclude(why, Result.INCONCLUSIVE, f"{refusal.answer}")
        if report.result is Result.PASSED:
            self._met = goal
            self._desk.engine.accept_contradictions()
        is_settled = report.result is Result.PASSED or (report.result is Result.FAILED and self.has_passed)
        seconds = self._interval_seconds() if is_settled else RETRY_SECONDS
        self._due_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        if report.result is Result.FAILED and self.has_passed:
            self._requirements += 1
        self._tell(report)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(report)

    async def _reconcile(self, why: str, scope: Scope) -> Report:
        symbols = self._symbols(scope)
        if self._desk.store.baseline(self._desk.store.book) is None:
            await self._rebuild(symbols)
        for symbol in symbols:
            await self._catch_up(symbol)
        await self._open_orders()
        for order in list(self._desk.engine.orders.values()):
            if order.client_order_id not in self._gateway.in_flight:
                await self._query(order.intent.symbol, order.client_order_id)
        for order in self._desk.store.watched(self._desk.store.book, self._clock.now_ns()):
            await self._query(order.intent.symbol, order.client_order_id)
        view = await self._read_balances(symbols)
        if view is None:
            return self._conclude(why, Result.INCONCLUSIVE, "something trades all the time")
        doubtful = [o for o in self._desk.engine.orders.values() if not self._is_clear(o.client_order_id)]
        if doubtful:
            names = ", ".join(f"{o.client_order_id} ({o.state.value})" for o in doubtful[:5])
            return self._conclude(why, Result.INCONCLUSIVE, f"not resolved yet: {names}")
        return self._compare(why, scope, view)

    def _compare(self, why: str, scope: Scope, view: AccountView) -> Report:
        book, store = self._desk.store.book, self._desk.store
        totals = {asset: balance.total for asset, balance in view.balances.items()}
        if store.baseline(book) is None:
            effect = ledger_effect(self._desk.engine.ledger)
            assets = totals.keys() | effect.keys()
            opening = {asset: totals.get(asset, Decimal(0)) - effect.get(asset, Decimal(0)) for asset in assets}

            def write(tx: Transaction) -> None:
                tx.put_baseline(opening)
                tx.put_audit(AuditKind.BASELINE_RECORDED, {"balances": opening, "account": view.account_id})

            if not self._desk.record(write):
                return self._conclude(why, Result.INCONCLUSIVE, "the store cannot record the opening balances")
        opening = dict(store.baseline(book) or {})
        for asset, amount in store.adjusted(book).items():
            opening[asset] = opening.get(asset, Decimal(0)) + amount
        deltas = compare(
            venue=totals,
            opening=opening,
            ledger=self._desk.engine.ledger,
            instruments=scope.instruments,
            tolerance=scope.tolerance,
        )
        wrong = [delta for delta in deltas if delta.is_mismatch]
        text = "; ".join(f"{d.asset}: venue {d.venue:f}, books {d.local:f}, difference {d.delta:f}" for d in wrong)
        return self._conclude(why, Result.FAILED if wrong else Result.PASSED, text, deltas)

    async def _read_balances(self, symbols: Collection[str]) -> AccountView | None:
        """Balances of a moment in which nothing traded; None when there was none."""
        for _ in range(QUIET_TRIES):
            fills = self._desk.engine.ledger.fill_count
            view = await self._gateway.ask(lambda a: a.account(), weight=ACCOUNT_WEIGHT)
            traded = 0
            for symbol in symbols:
                traded += await self._catch_up(symbol)
            if not traded and fills == self._desk.engine.ledger.fill_count and not self._gateway.in_flight:
                return view
        return None

    async def _rebuild(self, symbols: Collection[str]) -> None:
        """A store without an opening: whatever own orders the venue remembers are ours again, with their fills."""
        for symbol in symbols:
            since = "0"
            for _ in range(MOST_PAGES):
                page = await self._orders_page(symbol, since)
                for snapshot in page:
                    if is_own(snapshot.client_order_id, self._bot):
                        self._take(snapshot)
                if not page:
                    break
                since = str(int(page[-1].venue_order_id) + 1)
            await self._catch_up(symbol, is_history=True)

    def _symbols(self, scope: Scope) -> list[str]:
        traded = {order.intent.symbol for order in self._desk.engine.orders.values()}
        held = {p.symbol for p in self._desk.engine.ledger.positions.values() if p.quantity_base}
        return sorted({*scope.symbols, *traded, *held})

    def _conclude(self, why: str, result: Result, message: str, deltas: tuple[Delta, ...] = ()) -> Report:
        found, self._found = self._found, _Findings()
        return Report(
            begun_ns=self._begun_ns,
            at_ns=self._clock.now_ns(),
            why=why,
            result=result,
            message=message,
            deltas=deltas,
            orphans=tuple(found.orphans),
            adopted=tuple(found.adopted),
        )

    def _tell(self, report: Report) -> None:
        before, self.report = self.report, report
        _log.info("reconciled", result=report.result, why=report.why, message=report.message)
        is_news = before is None or (before.result, before.message) != (report.result, report.message)
        if is_news or report.result is not Result.INCONCLUSIVE:
            self._desk.record(lambda tx: tx.put_audit(AuditKind.RECONCILED, report.to_data()))
        self._on_report(report)


def _put_counter(tx: Transaction, *, name: str, value: str) -> None:
    tx.put_counters({name: value})

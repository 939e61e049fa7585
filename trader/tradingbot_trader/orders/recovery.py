"""SHELL. Makes our books agree with the venue: orders in doubt, missed fills, balances. Beside the gateway.

It says when to look and what follows. How to look stands in sighting.py, when an order is presumed absent in doubt.py,
whether balances agree in reconcile.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

import structlog

from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.transaction import Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.desk import Desk
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.doubt import FRESHNESS_NS, VISIBILITY_NS, Doubt, Look
from tradingbot_trader.orders.gateway import LiveGateway, Refusal
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderEvent, OrderState
from tradingbot_trader.orders.reconcile import Delta, Report, Result, compare, ledger_effect
from tradingbot_trader.orders.sighting import Findings, NotRecorded, Sighting, Tell
from tradingbot_trader.orders.snapshot import Place
from tradingbot_trader.risk.breakers import TripKind
from tradingbot_trader.venues.account import AccountView, ExecutionReport

_log = structlog.get_logger("recovery")
TICK_SECONDS = 0.25
PACE_SECONDS = 10.0
"""Between two reconciliations that nobody waits for: each costs a venue's whole address some 200 of weight."""
FIRST_RETRY_SECONDS = 5.0
"""After one that failed or proved nothing; it doubles each time."""
LONGEST_RETRY_SECONDS: Mapping[Result, float] = {Result.INCONCLUSIVE: 30.0, Result.FAILED: 300.0}
"""A difference waits for a person, and is looked at anew at once when they have recorded something."""
QUIET_TRIES = 5
"""How often balances are read again because something traded while they were read."""
ACCOUNT_WEIGHT = 20
"""Binance's request weight of account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is compared; asked anew for each reconciliation, because specs change."""

    symbols: Collection[str]
    instruments: Mapping[str, Instrument]
    tolerance: Decimal


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
        self._desk, self._gateway, self._clock, self._emit = desk, gateway, clock, emit
        self._scope, self._interval_seconds = scope, interval_seconds
        self._on_report, self._on_trip = on_report, on_trip
        self._sighting = Sighting(
            desk,
            gateway,
            bot=bot,
            place=place,
            now_ns=clock.now_ns,
            tell=Tell(
                emit=emit,
                doubt=self.doubt,
                appeared=self._take_apparition,
                foreign_trade=lambda: self.ask("somebody else traded on this account"),
            ),
        )
        self._doubts: dict[str, tuple[Doubt, int]] = {}
        self._wanted = "start"
        self._is_urgent = True
        """Somebody waits for it: no pace is kept."""
        self._may_ns = self._due_ns = clock.monotonic_ns()
        """When the next one may be made, if it is wanted; and is due, wanted or not."""
        self._failures = 0
        self._requirements, self._met, self._begun_ns = 1, 0, 0
        self._waiters: list[asyncio.Future[Report]] = []
        self._rebuilt_since_ns, self._has_reread = 0, False
        self._has_opened = False
        self.report: Report | None = None
        """The last one."""

    @property
    def has_passed(self) -> bool:
        """A reconciliation that began after the last requirement has passed."""
        return self._met == self._requirements

    @property
    def is_rebuilding(self) -> bool:
        """Own fills are known, and the opening balances are not: the rest of the fills may be missing."""
        store = self._desk.store
        self._has_opened = self._has_opened or store.baseline(store.book) is not None
        return not self._has_opened and bool(self._desk.engine.ledger.positions)

    @property
    def in_doubt(self) -> int:
        return len(self._doubts)

    def require(self, why: str, *, is_urgent: bool = False) -> None:
        """No new risk until a reconciliation that begins from now on has passed."""
        is_urgent = is_urgent or self.has_passed
        self._requirements += 1
        self.ask(why, is_urgent=is_urgent)

    def ask(self, why: str, *, is_urgent: bool = False) -> None:
        """Reconcile as soon as its pace allows, or (urgent) now; what was proved before holds meanwhile."""
        self._wanted = why
        self._is_urgent = self._is_urgent or is_urgent

    async def reconcile(self, why: str) -> Report:
        """The report of a reconciliation that begins now: a person waits for it."""
        waiter: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.ask(why, is_urgent=True)
        return await waiter

    def doubt(self, client_order_id: str) -> None:
        """Look at this order at the venue, until nothing about it is unknown."""
        now_ns = self._clock.monotonic_ns()
        self._doubts.setdefault(client_order_id, (Doubt(now_ns), now_ns))

    def on_report(self, report: ExecutionReport) -> None:
        """A message of the account's stream."""
        self._sighting.take_report(report.order)

    async def run(self) -> None:
        self._recall()
        while True:
            await self._look_at_doubts()
            if self._is_due():
                await self._reconcile_once()
            self._look_around()
            await self._clock.sleep(TICK_SECONDS)

    def _recall(self) -> None:
        """After a restart: what was on its way then may or may not have left."""
        for order in list(self._desk.engine.orders.values()):
            if order.state in (OrderState.INTENT, OrderState.SENT):
                reason = "the trader ended while it was on its way"
                self._emit(OrderEvent(order.client_order_id, OrderState.UNRESOLVED, order.updated_ns, reason=reason))
            self.doubt(order.client_order_id)

    def _look_around(self) -> None:
        """Whatever is unresolved, was sent by nobody who waits, or has fills that nobody has seen, is in doubt."""
        for order_id, order in self._desk.engine.orders.items():
            is_short = order.filled_base > order.fills_base
            is_lost = order.state in (OrderState.INTENT, OrderState.SENT, OrderState.UNRESOLVED)
            if (is_lost or is_short) and order_id not in self._gateway.in_flight:
                self.doubt(order_id)
        if self._desk.engine.illegal and self.has_passed:
            self.require("what was said of an order cannot all be true")

    def _is_due(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        if self._wanted:
            return self._is_urgent or now_ns >= self._may_ns
        return now_ns >= self._due_ns

    # Orders in doubt

    async def _look_at_doubts(self) -> None:
        had_doubts = bool(self._doubts)
        for order_id, (doubt, due_ns) in list(self._doubts.items()):
            if self._clock.monotonic_ns() < due_ns or order_id in self._gateway.in_flight:
                continue
            order = self._desk.engine.orders.get(order_id)
            if order is None:
                self._doubts.pop(order_id, None)
                continue
            try:
                after = await self._look(order, doubt.looked())
            except (Refusal, NotRecorded) as refusal:
                _log.info("order_still_in_doubt", client_order_id=order_id, reason=str(refusal))
                after = doubt.looked()
            if after is None:
                self._doubts.pop(order_id, None)
            else:
                self._doubts[order_id] = (after, self._clock.monotonic_ns() + int(after.pause_seconds * 1e9))
        if had_doubts and not self._doubts and self.report is not None and self.report.result is Result.INCONCLUSIVE:
            self._wanted, self._is_urgent = self._wanted or "every order is resolved", True

    def _is_clear(self, order_id: str) -> bool:
        """Everything is known, and nothing is expected: an order that rests is no doubt."""
        order = self._desk.engine.orders.get(order_id)
        return order is None or (
            order.filled_base <= order.fills_base and order.state in (OrderState.OPEN, OrderState.PARTIALLY_FILLED)
        )

    async def _look(self, order: Order, doubt: Doubt) -> Doubt | None:
        """One look at the venue. None: nothing is left to look for. Raises Refusal."""
        began = Look(self._clock.now_ns(), self._clock.monotonic_ns() - doubt.since_ns)
        order_id = order.client_order_id
        if await self._sighting.ask_for(order):
            await self._sighting.ask_for_fills(order_id)
            return None if self._is_clear(order_id) else doubt
        await self._sighting.catch_up(order.intent.symbol)
        is_shown = order_id in await self._sighting.ask_for_open_orders(order.intent.symbol)
        now = self._desk.engine.orders.get(order_id)
        if now is None or is_shown:
            return None if now is None else doubt
        doubt = doubt.scanned(now, began)
        if doubt.is_absent(now, began):
            self._presume(now, OrderState.PRESUMED_ABSENT, doubt)
            return None
        if doubt.is_forgotten(now, began):
            self._presume(now, OrderState.EXPIRED, doubt)
            return None
        return doubt

    def _presume(self, order: Order, state: OrderState, doubt: Doubt) -> None:
        reason = f"{doubt.scans} complete scans have not found it"
        event = OrderEvent(
            order.client_order_id, state, self._clock.now_ns(), filled_base=order.fills_base, reason=reason
        )
        self._emit(event)
        _log.warning("order_presumed", state=state, client_order_id=order.client_order_id, scans=doubt.scans)

    def _take_apparition(self, text: str) -> None:
        self._on_trip(TripKind.CONTRADICTION, text)
        self.require("an order that was taken for absent has appeared")

    # Reconciliation

    async def _reconcile_once(self) -> None:
        why, self._wanted, self._is_urgent = self._wanted or "interval", "", False
        goal, self._begun_ns = self._requirements, self._clock.now_ns()
        waiters, self._waiters = self._waiters, []
        try:
            report = await self._reconcile(why, self._scope())
        except (Refusal, NotRecorded) as refusal:
            report = self._conclude(why, Result.INCONCLUSIVE, str(refusal))
        if report.result is Result.PASSED:
            self._met, self._failures = goal, 0
            self._desk.engine.accept_contradictions()
            self._plan_next(PACE_SECONDS, self._interval_seconds())
        else:
            if report.result is Result.FAILED and self.has_passed:
                self._requirements += 1
            retry_seconds = min(FIRST_RETRY_SECONDS * 2.0**self._failures, LONGEST_RETRY_SECONDS[report.result])
            self._failures = min(self._failures + 1, 30)
            self._plan_next(retry_seconds, retry_seconds)
        self._tell(report)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(report)

    def _plan_next(self, may_seconds: float, due_seconds: float) -> None:
        now_ns = self._clock.monotonic_ns()
        self._may_ns, self._due_ns = now_ns + int(may_seconds * 1e9), now_ns + int(due_seconds * 1e9)

    async def _reconcile(self, why: str, scope: Scope) -> Report:
        symbols = self._symbols(scope)
        for symbol in symbols:
            await self._sighting.catch_up(symbol)
        if not await self._has_whole_history(symbols):
            return self._conclude(why, Result.INCONCLUSIVE, "rebuilding: the venue's lists may not show everything yet")
        await self._sighting.ask_for_open_orders()
        for order in list(self._desk.engine.orders.values()):
            if order.client_order_id not in self._gateway.in_flight and not await self._sighting.ask_for(order):
                self.doubt(order.client_order_id)
        for order in self._desk.store.watched(self._desk.store.book, self._clock.now_ns()):
            await self._sighting.ask_for(order)
        view = await self._read_balances(symbols)
        if view is None:
            return self._conclude(why, Result.INCONCLUSIVE, "something trades all the time")
        doubtful = [
            order
            for order in self._desk.engine.orders.values()
            if not self._is_clear(order.client_order_id) or order.client_order_id in self._doubts
        ]
        if doubtful:
            names = ", ".join(f"{order.client_order_id} ({order.state.value})" for order in doubtful[:5])
            return self._conclude(why, Result.INCONCLUSIVE, f"not resolved yet: {names}")
        return self._compare(why, scope, view)

    async def _has_whole_history(self, symbols: Collection[str]) -> bool:
        """Of a store that is rebuilt from the venue. What its lists show late would be in the opening balances already,
        and be counted again when it shows: so they are read a second time, when nothing can be missing from them."""
        store, now_ns = self._desk.store, self._clock.monotonic_ns()
        if self._has_reread or store.baseline(store.book) is not None or not store.count_orders(store.book):
            return True
        self._rebuilt_since_ns = self._rebuilt_since_ns or now_ns
        if now_ns < self._rebuilt_since_ns + FRESHNESS_NS + VISIBILITY_NS:
            return False
        for symbol in symbols:
            await self._sighting.read_history(symbol)
        self._has_reread = True
        return True

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
        adjusted = store.adjusted(book)
        opening = dict(store.baseline(book) or {})
        for asset, amount in adjusted.items():
            opening[asset] = opening.get(asset, Decimal(0)) + amount
        deltas = compare(
            venue=totals,
            opening=opening,
            adjusted=adjusted.keys(),
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
                traded += await self._sighting.catch_up(symbol)
            if not traded and fills == self._desk.engine.ledger.fill_count and not self._gateway.in_flight:
                return view
        return None

    def _symbols(self, scope: Scope) -> list[str]:
        traded = {order.intent.symbol for order in self._desk.engine.orders.values()}
        held = {p.symbol for p in self._desk.engine.ledger.positions.values() if p.quantity_base}
        return sorted({*scope.symbols, *traded, *held})

    def _conclude(self, why: str, result: Result, message: str, deltas: tuple[Delta, ...] = ()) -> Report:
        found, self._sighting.found = self._sighting.found, Findings()
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

"""SHELL. A real account behind the desk: gateway, recovery, breakers, keys and the account's stream. No rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Protocol

import structlog

from tradingbot_api.spec import StopAction
from tradingbot_api.status import AccountReport, BreakersReport, CredentialsReport, Preflight
from tradingbot_trader.book.account import add_by_asset
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.requests import Answer as RequestAnswer
from tradingbot_trader.book.requests import Request, RequestKind
from tradingbot_trader.book.transaction import Transaction
from tradingbot_trader.control.state import Cause
from tradingbot_trader.control.timestamps import rfc3339
from tradingbot_trader.errors import RefuseToStart, StopTrading
from tradingbot_trader.execution import Surroundings
from tradingbot_trader.keeper import Keeper
from tradingbot_trader.market.events import Book, FeedChange, FeedState, Trade
from tradingbot_trader.orders.budget import RateBudget
from tradingbot_trader.orders.gateway import AnswerPolicy, Hooks, LiveGateway
from tradingbot_trader.orders.order import Intent, OrderEvent, OrderState, Purpose
from tradingbot_trader.orders.outcome import Action
from tradingbot_trader.orders.reconcile import Report, Result, ledger_effect
from tradingbot_trader.orders.recovery import Recovery, Scope
from tradingbot_trader.orders.snapshot import Place
from tradingbot_trader.risk.breakers import Breakers, TripKind
from tradingbot_trader.risk.limits import Limits
from tradingbot_trader.status import AccountNews, build_reconciliation, fingerprint
from tradingbot_trader.venues.account import AccountPort, Answer, ExecutionReport

_log = structlog.get_logger("live")
NS = 1_000_000_000
TICK_SECONDS = 0.5
CLAIM_SECONDS = 5.0
"""Between two tries to bind the book to the account."""
ANSWER_SECONDS = 60.0
"""How long a person waits for a reconciliation: the requests of others stand behind it."""


class Keys(Protocol):
    """The credentials in use: control/credentials.py. Whether the venue still takes them, it hears of each by itself:
    an answer that comes to us may be an old key's."""

    @property
    def account(self) -> AccountPort | None:
        """The account, with the newest keys that passed their check; None while there are none."""
        ...

    @property
    def account_id(self) -> str: ...
    @property
    def problem(self) -> str:
        """Why no keys can be used; empty when they can."""
        ...

    def report(self) -> CredentialsReport: ...
    async def run(self, on_change: Callable[[], None]) -> None: ...


class LiveExecution:
    """Execution on an account. Orders leave only after the account is known, claimed and reconciled."""

    rests_stops = True

    def __init__(
        self,
        around: Surroundings,
        keys: Keys,
        *,
        policy: AnswerPolicy,
        budget: RateBudget,
        claim_account: Callable[[str], None],
    ) -> None:
        """`claim_account` binds the book to the account; RefuseToStart when it belongs to another one."""
        self._around, self._keys, self._claim_account = around, keys, claim_account
        self._desk, self._clock = around.desk, around.clock
        store = self._desk.store
        self.breakers = Breakers.from_counters(store.counters(store.book))
        self._is_stream_up = False
        self._claim_refused = self._claim_unwritten = ""
        self._is_claimed = False
        self._opening: Mapping[str, Decimal] | None = None
        """Opening balances and adjustments as the store has them; read again after each that is recorded."""
        self._preflight_told: Preflight | None = None
        self.gateway = LiveGateway(
            account=lambda: keys.account,
            place=self._place,
            policy=policy,
            budget=budget,
            breakers=self.breakers,
            clock=around.clock,
            find_intent=self._find_intent,
            hooks=Hooks(
                may_place=self._may_place,
                emit=self._emit,
                on_action=self._on_action,
                on_doubt=lambda order_id: self.recovery.doubt(order_id),  # noqa: PLW0108  recovery is made after the gateway
            ),
        )
        self.recovery = Recovery(
            self._desk,
            self.gateway,
            around.clock,
            bot=around.bot,
            emit=self._emit,
            place=self._place,
            scope=self._scope,
            interval_seconds=self._interval_seconds,
            on_report=self._on_report,
            on_trip=self._trip,
        )
        self._keeper = Keeper(
            self._desk,
            self.breakers,
            keys,
            around.clock,
            on_change=around.on_change,
            probe=lambda: self.recovery.ask("the venue's breaker asks for a probe", is_urgent=True),
        )

    @property
    def follower(self) -> LiveExecution:
        return self

    # The market, as far as it matters here

    def advance(self, now_ns: int) -> None:
        """A real venue moves by itself."""

    def on_book(self, book: Book) -> None:
        """As above."""

    def on_trade(self, trade: Trade) -> None:
        """As above."""

    def on_feed(self, change: FeedChange) -> None:
        if change.state is FeedState.CONNECTED:
            self.recovery.ask(f"the market of {change.symbol} is back")

    # Execution

    def causes(self) -> Iterable[Cause]:
        if self._keys.problem or self._claim_refused:
            yield Cause.CREDENTIALS_REJECTED
        if self._claim_unwritten:
            yield Cause.STORE_UNWRITABLE
        if not self.recovery.has_passed:
            yield Cause.RECONCILING
        if self.recovery.is_rebuilding:
            yield Cause.REBUILDING
        if not self._is_stream_up:
            yield Cause.ACCOUNT_STREAM_LOST
        if self.breakers.allows_new_risk(self._clock.now_ns()):
            yield Cause.BREAKER_OPEN

    def opening_cash_quote(self, limits: Limits) -> Decimal | None:  # noqa: ARG002  paper's cash is its limit
        """What the account held in quote currency when the book was opened, with adjustments, without our fills."""
        configuration = self._around.configuration()
        held = self._expected(configuration.spec.capital.currency) if configuration is not None else None
        # The engine adds what all fills have moved, in whatever currency: only this one's may count.
        return None if held is None else held - self._desk.engine.ledger.cash_quote

    def available_base(self, symbol: str) -> Decimal | None:
        """A person may have sold of it, and fees of other symbols may have been paid with it."""
        return self._expected(symbol.partition("/")[0])

    def _expected(self, asset: str) -> Decimal | None:
        """What the account should hold of it: opening balance, adjustments and fills. None before the opening."""
        store = self._desk.store
        if self._opening is None and (opening := store.baseline(store.book)) is not None:
            self._opening = add_by_asset(opening, store.adjusted(store.book))
        if self._opening is None:
            return None
        effect = ledger_effect(self._desk.engine.ledger).get(asset, Decimal(0))
        return self._opening.get(asset, Decimal(0)) + effect

    def require_reconciliation(self, why: str) -> None:
        self.recovery.require(why)

    @property
    def books_agree(self) -> bool:
        """Without a baseline no order was ever possible, and there is nothing to compare."""
        return self.recovery.has_passed or self._desk.store.baseline(self._desk.store.book) is None

    def news(self) -> AccountNews:
        now_ns, report = self._clock.now_ns(), self.recovery.report
        account_id = self._keys.account_id
        return AccountNews(
            preflight=self._preflight(now_ns),
            credentials=self._keys.report(),
            account=AccountReport(fingerprint=fingerprint(account_id)) if account_id else None,
            reconciliation=build_reconciliation(report) if report is not None else None,
            breakers=BreakersReport(
                open=[kind.value for kind in self.breakers.open_kinds(now_ns)],
                trips=self.breakers.total_trips,
                last_trip_at=rfc3339(self.breakers.last_trip_ns) if self.breakers.last_trip_ns else None,
            ),
            is_reconciled=self.recovery.has_passed,
            reconciled_ns=report.at_ns if report is not None else 0,
            unresolved_orders=sum(order.state is OrderState.UNRESOLVED for order in self._desk.engine.orders.values()),
        )

    def _preflight(self, now_ns: int) -> Preflight:
        """What must be so before a live permit is asked for; the first thing that is not."""
        checks = (
            ("CredentialsRejected", self._keys.problem),
            ("AccountRefused", self._claim_refused),
            ("StoreUnwritable", self._claim_unwritten),
            ("AccountUnknown", "" if self._is_claimed else "the venue has not told the account yet"),
            ("AccountStreamLost", "" if self._is_stream_up else "the venue's reports about orders do not come"),
            ("NotReconciled", "" if self.recovery.has_passed else self._why_not_reconciled()),
        )
        reason, message = next(((r, m) for r, m in checks if m), ("Passed", ""))
        if self._preflight_told is None or (self._preflight_told.reason, self._preflight_told.message) != (
            reason,
            message,
        ):
            self._preflight_told = Preflight(
                passed=reason == "Passed", reason=reason, message=message[:4096], at=rfc3339(now_ns)
            )
        return self._preflight_told

    def _why_not_reconciled(self) -> str:
        report = self.recovery.report
        return "not compared with the venue yet" if report is None else f"{report.result}: {report.message}"

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keys.run(self._keeper.on_keys))
            tasks.create_task(self._follow_account())
            tasks.create_task(self._keeper.run())
            try:
                await self.gateway.run()
            finally:
                self.gateway.abandon()

    async def drain(self) -> None:
        await self.gateway.drain()

    async def handle(self, request: Request) -> RequestAnswer:
        if request.kind is RequestKind.RECONCILE:
            return await self._reconcile_for(request.who)
        adjustment = request.to_adjustment()
        if adjustment.book is not self._desk.store.book:
            return RequestAnswer(is_done=False, message=f"this trader writes the book {self._desk.store.book}")

        def write(tx: Transaction) -> None:
            if tx.put_adjustment(adjustment):
                tx.put_audit(AuditKind.ADJUSTED, {"adjustment": adjustment})

        try:
            is_recorded = self._desk.record(write)
        except ValueError as error:
            return RequestAnswer(is_done=False, message=str(error))
        self._opening = None
        if not is_recorded:
            return RequestAnswer(is_done=False, message="the store cannot record now: ask again later")
        self.recovery.require("the account was adjusted", is_urgent=True)
        return RequestAnswer(is_done=True, message="recorded; the account is compared with the venue again now")

    async def _reconcile_for(self, who: str) -> RequestAnswer:
        if not self._is_claimed:
            reason = self._preflight(self._clock.now_ns()).message
            return RequestAnswer(is_done=False, message=f"there is no account to compare with: {reason}")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                report = await self.recovery.reconcile(f"{who} asked for it")
        except TimeoutError:
            message = f"it has begun, and did not end within {ANSWER_SECONDS:g} s: its result will be in the status"
            return RequestAnswer(is_done=False, message=message)
        message = f"{report.result}. {report.message}"
        return RequestAnswer(is_done=True, message=message, data=dict(report.to_data()))

    # The account

    async def _follow_account(self) -> None:
        """Once there is an account: claim it, then recover and listen; listen anew when its keys were swapped.

        The first time it waits for a spec as well. Later a stop, or a cancel without an answer, must not wait for one.
        """
        store = self._desk.store
        while self._keys.account is None or (
            self._around.configuration() is None and store.baseline(store.book) is None
        ):
            await self._clock.sleep(0.05)
        while not self._is_claimed:
            try:
                self._claim_account(self._keys.account_id)
                self._is_claimed = True
                self._claim_refused = self._claim_unwritten = ""
            except (RefuseToStart, StopTrading) as error:
                is_refused = isinstance(error, RefuseToStart)
                self._claim_refused, self._claim_unwritten = (str(error), "") if is_refused else ("", str(error))
                self._around.on_change()
                await self._clock.sleep(CLAIM_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.recovery.run())
            tasks.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            account = self._keys.account
            if account is None:
                await self._clock.sleep(TICK_SECONDS)
                continue
            listening = asyncio.ensure_future(account.run_stream(self))
            try:
                while self._keys.account is account and not listening.done():
                    await self._clock.sleep(TICK_SECONDS)
                if listening.done():
                    listening.result()
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    def on_report(self, report: ExecutionReport) -> None:
        """AccountSink."""
        self.recovery.on_report(report)

    def on_stream(self, *, is_up: bool, reason: str) -> None:
        """AccountSink."""
        self._is_stream_up = is_up
        _log.info("account_stream", is_up=is_up, reason=reason)
        if is_up:
            self.recovery.require("the account's stream is back", is_urgent=True)
        self._around.on_change()

    # Hooks of the gateway

    def _may_place(self, intent: Intent) -> str:
        if not self._is_claimed:
            return "the account has not been claimed yet"
        return self._around.may_place(intent)

    def _emit(self, event: OrderEvent) -> None:
        if event.fill is not None and not self._desk.engine.ledger.has(event.fill):
            fill = event.fill
            self.breakers.on_fill(fill.symbol, fill.side, fill.event_time_ns, fill.client_order_id)
        self._desk.on_event(event)

    def _on_action(self, action: Action, symbol: str, answer: Answer) -> None:
        _log.warning("venue_refused", action=action, symbol=symbol, answer=str(answer))
        match action:
            case Action.REFRESH_RULES:
                self._around.refresh_rules()
            case Action.RESYNC_CLOCK:
                self._around.resync_clock()
            case Action.RECONCILE:
                self.recovery.require(f"the venue refused: {answer}")
            case _:
                pass  # patience is kept, keys are judged, and doubts are cleared, elsewhere

    def _on_report(self, report: Report) -> None:
        self._opening = None
        if report.result is Result.PASSED:
            self.breakers.on_reconciled(report.at_ns, report.begun_ns)
        configuration = self._around.configuration()
        if report.result is Result.FAILED and configuration is not None:
            self._desk.record(lambda tx: tx.put_audit(AuditKind.MISMATCH, report.to_data()))
            if configuration.spec.reconciliation.on_mismatch is not StopAction.REDUCE_ONLY:
                # Never a sale: what is held is the very thing that is not known. Protective stops stay (DESIGN).
                orders = self._desk.open_orders()
                self._desk.cancel([o.client_order_id for o in orders if o.intent.purpose is not Purpose.PROTECT])
        self._around.on_change()

    def _trip(self, kind: TripKind, text: str) -> None:
        self.breakers.trip(kind, text, self._clock.now_ns())

    # What recovery compares

    def _place(self) -> Place:
        return Place(self._around.venue, self._keys.account_id, self._desk.store.book)

    def _find_intent(self, client_order_id: str) -> Intent | None:
        order = self._desk.engine.orders.get(client_order_id)
        return order.intent if order is not None else None

    def _scope(self) -> Scope:
        configuration = self._around.configuration()
        if configuration is None:
            return Scope(symbols=(), instruments={}, tolerance=Decimal(0))
        return Scope(
            symbols=configuration.spec.symbols,
            instruments=self._around.instruments,
            tolerance=configuration.spec.reconciliation.tolerance,
        )

    def _interval_seconds(self) -> float:
        configuration = self._around.configuration()
        return 3600.0 if configuration is None else configuration.spec.reconciliation.interval / NS

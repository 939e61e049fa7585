"""SHELL. The trader proper, once it holds its lease and its store: stop, permit, configuration, market, desk, joined.

What arrives from the control plane is looked at in this order: the stop first, whatever else is wrong with the object.
No rule stands in here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from tradingbot_api.conditions import TradingState
from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import TradingBotSpec
from tradingbot_api.status import ConfigReport
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.requests import answer, forget_old, pending
from tradingbot_trader.book.store import Store, Transaction
from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control import break_glass
from tradingbot_trader.control.configuration import Configuration, Configurator
from tradingbot_trader.control.drain import Drain
from tradingbot_trader.control.kube import Raw
from tradingbot_trader.control.latch import SIGNAL, StopRequest
from tradingbot_trader.control.mandate import Mandate
from tradingbot_trader.control.state import Cause, Verdict
from tradingbot_trader.control.stop import Stop
from tradingbot_trader.desk import Desk
from tradingbot_trader.driver import TICK_SECONDS, Driver
from tradingbot_trader.errors import StopTrading
from tradingbot_trader.execution import Execution, Surroundings
from tradingbot_trader.intake import Intake
from tradingbot_trader.market.events import FeedGap
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.client_id import ClientOrderIds
from tradingbot_trader.orders.doubt import FRESHNESS_NS
from tradingbot_trader.orders.order import Intent, Purpose
from tradingbot_trader.protector import Protector
from tradingbot_trader.risk.engine import Conditions, RiskEngine
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.risk.trips import TripReason, check_bot, check_positions
from tradingbot_trader.standing import Standing
from tradingbot_trader.store_health import StoreHealth
from tradingbot_trader.strategy.base import Target
from tradingbot_trader.venues.port import MarketDataPort

_log = structlog.get_logger("trading")
HOUSEKEEPING_SECONDS = 60.0
REQUESTS_SECONDS = 1.0
"""How often people's requests are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the trading asks of the world outside, each a seam."""

    clock: VenueClock
    port: MarketDataPort
    holds_lease: Callable[[float], bool]
    """Whether the lease is provably ours, and outlives now by so many seconds."""
    contact_age_seconds: Callable[[], float]
    """Since the control plane was last heard; infinite before the first time."""
    urge_report: Callable[[], None]
    folder: Path
    """Of the store; `requests/` in it is where people's tools ask."""
    build_execution: Callable[[Surroundings], Execution]


class Trading:
    """One epoch of one book. `run` until cancelled; `look` whenever the control plane has something to say."""

    def __init__(
        self,
        store: Store,
        world: World,
        configurator: Configurator,
        ids: ClientOrderIds,
        costs: Costs,
        metrics: Metrics,
    ) -> None:
        self._store, self._world = store, world
        self._clock = world.clock
        self._instruments: dict[str, Instrument] = {}
        self._health = StoreHealth(self._clock)
        open_orders = store.open_orders(store.book)
        now_ns = self._clock.now_ns()
        recent = [i.created_ns for i in store.intents_since(store.book, now_ns - 60 * 1_000_000_000)]
        engine = RiskEngine(
            store.ledger(store.book),
            self._instruments,
            costs=costs,
            orders=open_orders,
            entry_times_ns=recent,
        )
        self.desk = Desk(
            engine=engine,
            store=store,
            ids=ids,
            clock=self._clock,
            metrics=metrics,
            conditions=self._conditions,
            on_store_failure=self._health.fail,
            on_change=self._on_order_change,
        )
        self.mandate = Mandate(store.book, self._find_spec)
        self.execution = world.build_execution(
            Surroundings(
                desk=self.desk,
                clock=self._clock,
                costs=costs,
                venue=configurator.venue,
                bot=ids.bot,
                instruments=self._instruments,
                configuration=lambda: self.configuration,
                may_place=self._may_place,
                refresh_rules=lambda: self.intake.refresh_rules(),  # noqa: PLW0108  the intake is made later
                resync_clock=lambda: self.driver.ask_for_time(),  # noqa: PLW0108  as above
                on_change=self._on_execution_change,
            )
        )
        self.desk.connect(self.execution.gateway)
        self.driver = Driver(
            world.port,
            self._clock,
            metrics,
            follower=self.execution.follower,
            pursue=self._pursue,
            cancel_entries=self._cancel_entries,
            on_gap=self._record_gap,
        )
        self.stop = Stop(
            self.desk,
            self._clock,
            require_reconciliation=self.execution.require_reconciliation,
            books_agree=lambda: self.execution.books_agree,
            read_break_glass=lambda: break_glass.read_file(world.folder),
        )
        self.drain_work = Drain(
            self.desk,
            self._clock,
            require_reconciliation=self.execution.require_reconciliation,
            books_agree=lambda: self.execution.books_agree,
        )
        self._protector = Protector(
            self.desk, self._clock, self._instruments, conditions=self._conditions, may_change=self._may_protect
        )
        self.standing = Standing(
            desk=self.desk,
            stop=self.stop,
            mandate=self.mandate,
            driver=self.driver,
            execution=self.execution,
            health=self._health,
            clock=self._clock,
            holds_lease=world.holds_lease,
            contact_age_seconds=world.contact_age_seconds,
            urge_report=world.urge_report,
        )
        self._tasks: asyncio.TaskGroup | None = None
        self.intake = Intake(
            store,
            self.desk,
            configurator,
            self.mandate,
            self._clock,
            instruments=self._instruments,
            run_market=self._run_market,
            on_change=self._on_config_change,
        )
        self._uid = ""

    @property
    def uid(self) -> str:
        """Of the bot that this speaks for; empty before it was seen."""
        return self._uid

    @property
    def verdict(self) -> Verdict:
        return self.standing.verdict

    @property
    def store_failure(self) -> str:
        return self._health.failure

    @property
    def config(self) -> ConfigReport:
        return self.intake.report

    @property
    def dropped_messages(self) -> int:
        return self._world.port.counters.dropped

    @property
    def configuration(self) -> Configuration | None:
        return self.mandate.configuration

    def look(self, bot: Raw | None, halts: list[Raw] | None) -> None:
        """Take what the control plane says now. Durable where it has to be, before this returns."""
        if bot is None or (self._uid and bot["metadata"]["uid"] != self._uid):
            if not self.standing.is_gone:
                _log.warning("bot_gone", action="no new risk; this pod is removed with its bot")
            self.standing.is_gone = True
            self.standing.judge()
            return
        self.standing.is_gone = False
        self._uid = bot["metadata"]["uid"]
        if self.stop.consider(bot, halts):
            self.standing.judge()
            self.stop.advance(self._instruments)
            self._world.urge_report()
        if self.drain_work.consider(bot):
            self.standing.drains_for = self.drain_work.reason
            self._world.urge_report()
        if self.mandate.read(bot, uid=self._uid):
            self._record_permit()
            self._world.urge_report()
        self.intake.look(bot)
        self.standing.judge()

    def stop_by_signal(self) -> None:
        """Somebody on the node, or in the pod, asks for a stop: it works with no API server at all."""
        if self.stop.trip(StopRequest(SIGNAL, self.stop.asked_action, "SIGUSR1")):
            self.standing.judge()
            self.stop.advance(self._instruments)
            self._world.urge_report()

    async def run(self) -> None:
        """Accept configurations as they come and trade the last good one."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.execution.run())
            tasks.create_task(self.intake.run())
            tasks.create_task(self._serve_requests())
            tasks.create_task(self._keep_house())
            tasks.create_task(self._keep_watch())

    async def drain(self, seconds: float) -> None:
        """No new risk from now on; resting entries are cancelled, a drain that is asked for ends: at most so long."""
        self.standing.is_terminating = True
        self.standing.judge()
        deadline_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        while self._has_to_end() and self._clock.monotonic_ns() < deadline_ns:
            self._cancel_entries()
            await self._clock.sleep(0.05)
        left_seconds = (deadline_ns - self._clock.monotonic_ns()) / 1e9
        with suppress(TimeoutError):
            async with asyncio.timeout(max(left_seconds, 0.0)):
                await self.execution.drain()

    def _has_to_end(self) -> bool:
        report = self.drain_work.report
        return bool(self.desk.open_orders(entries_only=True)) or (report is not None and not report.done)

    async def _serve_requests(self) -> None:
        """What `tradingbot-trader account` asks for. One at a time: each is answered before the next is taken."""
        while True:
            for request in pending(self._world.folder):
                given = await self.execution.handle(request)
                try:
                    answer(self._world.folder, request, given)
                except OSError as error:
                    _log.error("request_not_answered", id=request.id, error=str(error))
            await self._clock.sleep(REQUESTS_SECONDS)

    async def _keep_house(self) -> None:
        """Old records move to archives, a piece at a time, and old answers go."""
        while True:
            await self._clock.sleep(HOUSEKEEPING_SECONDS)
            forget_old(self._world.folder, self._clock.now_ns())
            if self.desk.owes or self.store_failure:
                continue
            try:
                while self._store.archive_due(self._clock.now_ns()):
                    await self._clock.sleep(0.1)  # a piece takes milliseconds: orders go first
            except StopTrading as error:
                self._health.fail(error)

    async def _keep_watch(self) -> None:
        """Whether a market runs or not: a stop goes on without a spec, and while the venue's market is away."""
        while True:
            self._tick()
            await self._clock.sleep(TICK_SECONDS)

    def _run_market(self, configuration: Configuration, symbols: Collection[str]) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("a configuration was accepted before the trading ran")
        return self._tasks.create_task(self.driver.run(configuration, symbols))

    def _on_config_change(self) -> None:
        self.standing.judge()
        self._world.urge_report()

    def _on_execution_change(self) -> None:
        self.standing.judge()
        self._world.urge_report()

    def _may_place(self, intent: Intent) -> str:
        """Asked where the bytes leave."""
        self.standing.judge()
        if not self.verdict.passes(adds_risk=intent.purpose is Purpose.ENTRY):
            causes = ", ".join(self.verdict.causes)
            return f"the trading state is {self.verdict.state} ({causes})"
        if not self._world.holds_lease(FRESHNESS_NS / 1e9):
            return "the lease does not outlive what the venue may take this request for"
        return ""

    def _record_permit(self) -> None:
        permit = self.mandate.permit
        if permit is None:
            return

        def write(tx: Transaction) -> None:
            if permit != self._store.last_permit():
                tx.put_permit(permit)
                tx.put_audit(AuditKind.PERMIT_ACCEPTED, {"permit": permit})

        self.desk.record(write)
        _log.info("permit", stage=permit.stage, limit=format_decimal(permit.limit), mode=permit.mode)

    def _record_gap(self, gap: FeedGap) -> None:
        data = {"symbol": gap.symbol, "firstMissingId": gap.first_missing_id, "missing": gap.missing}
        self.desk.record(lambda tx: tx.put_audit(AuditKind.FEED_GAP, data))

    def _find_spec(self, digest: str) -> TradingBotSpec | None:
        stored = self._store.find_config(digest)
        return TradingBotSpec.model_validate_json(stored.spec_json) if stored is not None else None

    def _conditions(self, symbol: str) -> Conditions:
        """What the desk decides on, of this moment."""
        limits = self.mandate.limits
        if limits is None:
            raise RuntimeError("the desk was asked for an order before a configuration was accepted")
        return Conditions(
            now_ns=self._clock.now_ns(),
            state=self.standing.state_for(symbol),
            limits=limits,
            price=self.driver.prices.get(symbol),
            clock_skew_ns=self._clock.ahead_ns,
            available_base=self.execution.available_base(symbol),
            opening_cash_quote=self.execution.opening_cash_quote(limits),
        )

    def _tick(self) -> None:
        """Twenty times a second: losses, the stop's work, what must not rest, cancels that were not answered."""
        if self.stop.advance(self._instruments):
            self._world.urge_report()
        self.standing.judge()
        if self._health.retry(lambda: self.desk.record(self.desk.put_counters)):
            self.standing.judge()
        if self.verdict.state is not TradingState.ACTIVE:
            self._cancel_entries()
        for symbol in self.driver.lost:
            self._cancel_entries(symbol)
        self.desk.cancel_again()
        self.intake.follow_books()
        self._check_losses()
        if self.drain_work.advance(self._instruments):
            self._world.urge_report()
        self._protector.advance()

    def _may_protect(self) -> bool:
        """Not while the process is ending or nothing may leave: a stop taken away would have no successor. Not before
        the account was looked at: one that a lost store had placed may rest there."""
        verdict = self.verdict
        return (
            self.execution.rests_stops
            and self.mandate.limits is not None
            and verdict.state is not TradingState.HALTED
            and not {Cause.TERMINATING, Cause.RECONCILING}.intersection(verdict.causes)
        )

    def _check_losses(self) -> None:
        prices = {symbol: trusted.price for symbol, trusted in self.driver.prices.items()}
        limits = self.mandate.limits
        if limits is None or self.configuration is None:
            return
        if self.standing.can_mark:
            # A day begins when both clocks say so: no wrong wall clock and no wrong answer of the venue resets a loss.
            clocks_agree = abs(self._clock.ahead_ns) <= limits.max_clock_skew_ns
            self.desk.mark(prices, self._clock.now_ns(), may_open_day=self._clock.is_set and clocks_agree)
            for trip in check_bot(self.desk.pnl, limits):
                action = self.configuration.spec.kill_switch.action
                reason = f"{format_decimal(trip.observed)} reached the limit of {format_decimal(trip.limit)}"
                if self.stop.trip(StopRequest(trip.reason.value, action, reason)):
                    self.standing.judge()
        for trip in check_positions(self.desk.engine.ledger.positions, prices, limits):
            is_sold = trip.reason is TripReason.STOP_LOSS and self._protector.covers(trip.symbol, prices[trip.symbol])
            if self.desk.is_tradable(trip.symbol) and not is_sold:
                self.desk.exit(trip.symbol, trip.reason.value)

    def _on_order_change(self) -> None:
        if self.stop.is_latched and self.stop.advance(self._instruments):
            self._world.urge_report()

    def _pursue(self, symbol: str, target: Target) -> None:
        """What a strategy wants. Nothing is begun by a process that is ending: it could not see how it ends."""
        if not self.standing.is_terminating:
            self.desk.pursue(symbol, target)

    def _cancel_entries(self, symbol: str | None = None) -> None:
        orders = self.desk.open_orders(entries_only=True)
        self.desk.cancel([o.client_order_id for o in orders if symbol is None or o.intent.symbol == symbol])

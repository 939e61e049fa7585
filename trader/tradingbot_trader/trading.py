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
from tradingbot_api.spec import KillSwitch, TradingBotSpec
from tradingbot_api.status import ConfigReport
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.requests import answer, forget_old, pending
from tradingbot_trader.book.store import Store, Transaction
from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control.configuration import Configuration, Configurator
from tradingbot_trader.control.kube import Raw
from tradingbot_trader.control.latch import StopRequest, is_suspended
from tradingbot_trader.control.mandate import Mandate
from tradingbot_trader.control.state import OUT_OF_SIGHT, Cause, Verdict, judge
from tradingbot_trader.control.stop import Stop
from tradingbot_trader.desk import Desk
from tradingbot_trader.driver import Driver
from tradingbot_trader.errors import StopTrading
from tradingbot_trader.execution import Execution, Surroundings
from tradingbot_trader.intake import Intake
from tradingbot_trader.market.events import FeedGap
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.client_id import ClientOrderIds
from tradingbot_trader.orders.doubt import FRESHNESS_NS
from tradingbot_trader.orders.order import Intent, Purpose
from tradingbot_trader.risk.engine import Conditions, RiskEngine
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.risk.trips import check_bot, check_positions
from tradingbot_trader.venues.port import MarketDataPort

_log = structlog.get_logger("trading")
RETRY_SECONDS = 5.0
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
            on_store_failure=self._fail_store,
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
            pursue=self.desk.pursue,
            cancel_entries=self._cancel_entries,
            on_gap=self._record_gap,
            on_tick=self._tick,
        )
        self.stop = Stop(self.desk, self._clock)
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
        self.verdict = Verdict(TradingState.HALTED, ())
        self.store_failure = ""
        self._store_lost_for_ever = False
        self._store_tried_ns = 0
        self._uid = ""
        self._is_gone = False
        self._is_suspended = False
        self._is_terminating = False

    @property
    def uid(self) -> str:
        """Of the bot that this speaks for; empty before it was seen."""
        return self._uid

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
            if not self._is_gone:
                _log.warning("bot_gone", action="no new risk; this pod is removed with its bot")
            self._is_gone = True
            self._judge()
            return
        self._is_gone = False
        self._uid = bot["metadata"]["uid"]
        if self.stop.consider(bot, halts):
            self._judge()
            self.stop.advance(self._instruments)
            self._world.urge_report()
        self._is_suspended = is_suspended(bot)
        if self.mandate.read(bot, uid=self._uid):
            self._record_permit()
            self._world.urge_report()
        self.intake.look(bot)
        self._judge()

    async def run(self) -> None:
        """Accept configurations as they come and trade the last good one."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.execution.run())
            tasks.create_task(self.intake.run())
            tasks.create_task(self._serve_requests())
            tasks.create_task(self._keep_house())

    async def drain(self, seconds: float) -> None:
        """No new risk from now on; resting entries are cancelled, and waited for so long."""
        self._is_terminating = True
        self._judge()
        deadline_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        while self.desk.open_orders(entries_only=True) and self._clock.monotonic_ns() < deadline_ns:
            self._cancel_entries()
            await self._clock.sleep(0.05)
        left_seconds = (deadline_ns - self._clock.monotonic_ns()) / 1e9
        with suppress(TimeoutError):
            await asyncio.wait_for(self.execution.drain(), max(left_seconds, 0.0))

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
                self._fail_store(error)

    def _run_market(self, configuration: Configuration, symbols: Collection[str]) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("a configuration was accepted before the trading ran")
        return self._tasks.create_task(self.driver.run(configuration, symbols))

    def _on_config_change(self) -> None:
        self._judge()
        self._world.urge_report()

    def _on_execution_change(self) -> None:
        self._judge()
        self._world.urge_report()

    def _may_place(self, intent: Intent) -> str:
        """Asked where the bytes leave."""
        self._judge()
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
        self._judge()
        limits = self.mandate.limits
        if limits is None:
            raise RuntimeError("the desk was asked for an order before a configuration was accepted")
        state = self.verdict.state
        if state is TradingState.ACTIVE and symbol in self.driver.lost:
            state = TradingState.REDUCE_ONLY
        return Conditions(
            now_ns=self._clock.now_ns(),
            state=state,
            limits=limits,
            price=self.driver.prices.get(symbol),
            clock_skew_ns=self._clock.ahead_ns,
            opening_cash_quote=self.execution.opening_cash_quote(limits),
        )

    def _causes(self) -> list[Cause]:
        switch = self.configuration.spec.kill_switch if self.configuration else KillSwitch()
        contact_seconds = self._world.contact_age_seconds()
        lost = self.driver.lost.intersection(self.configuration.spec.symbols) if self.configuration else ()
        found = {
            Cause.LATCHED: self.stop.is_latched,
            Cause.NO_CONFIG: self.configuration is None,
            Cause.NO_PERMIT: self.mandate.grant.limit_quote == 0,
            Cause.CONTROL_PLANE_LOST: contact_seconds * 1e9 > switch.control_plane_timeout,
            Cause.FEED_LOST: self.configuration is not None and len(lost) == len(self.configuration.spec.symbols),
            Cause.BOT_DELETED: self._is_gone,
            Cause.SUSPENDED: self._is_suspended,
            Cause.TERMINATING: self._is_terminating,
            Cause.LEASE_LOST: not self._world.holds_lease(0.0),
            Cause.STORE_UNWRITABLE: bool(self.store_failure),
            Cause.STORE_FULL: self._store.is_reserve_spent,
        }
        return [*(cause for cause, is_so in found.items() if is_so), *self.execution.causes()]

    def _judge(self) -> None:
        """Work the trading state out anew; a change is recorded, and takes resting entries away."""
        causes = self._causes()
        in_sight_again = OUT_OF_SIGHT.intersection(self.verdict.causes).difference(causes)
        if in_sight_again:
            self.execution.require_reconciliation(f"{', '.join(sorted(in_sight_again))} is over")
            causes = self._causes()
        verdict = judge(causes)
        if verdict == self.verdict:
            return
        before, self.verdict = self.verdict, verdict
        _log.info("state", state=verdict.state, causes=[cause.value for cause in verdict.causes], before=before.state)
        if before.state is not verdict.state:
            data = {"state": verdict.state, "causes": list(verdict.causes)}
            self.desk.record(lambda tx: tx.put_audit(AuditKind.STATE_CHANGED, data))
        self._world.urge_report()

    def _tick(self) -> None:
        """Twenty times a second: losses, the stop's work, what must not rest."""
        self._judge()
        self._retry_store()
        if self.verdict.state is not TradingState.ACTIVE:
            self._cancel_entries()
        for symbol in self.driver.lost:
            self._cancel_entries(symbol)
        prices = {symbol: trusted.price for symbol, trusted in self.driver.prices.items()}
        limits = self.mandate.limits
        # A day begins when both clocks say so: no wrong wall clock and no wrong answer of the venue resets a loss.
        clocks_agree = limits is None or abs(self._clock.ahead_ns) <= limits.max_clock_skew_ns
        self.desk.mark(prices, self._clock.now_ns(), may_open_day=self._clock.is_set and clocks_agree)
        if limits is not None and self.configuration is not None:
            for trip in check_bot(self.desk.pnl, limits):
                action = self.configuration.spec.kill_switch.action
                reason = f"{format_decimal(trip.observed)} reached the limit of {format_decimal(trip.limit)}"
                if self.stop.trip(StopRequest(trip.reason.value, action, reason)):
                    self._judge()
            for trip in check_positions(self.desk.engine.ledger.positions, prices, limits):
                if self.desk.is_tradable(trip.symbol):
                    self.desk.exit(trip.symbol, trip.reason.value)
        if self.stop.advance(self._instruments):
            self._world.urge_report()

    def _on_order_change(self) -> None:
        if self.stop.is_latched and self.stop.advance(self._instruments):
            self._world.urge_report()

    def _cancel_entries(self, symbol: str | None = None) -> None:
        orders = self.desk.open_orders(entries_only=True)
        self.desk.cancel([o.client_order_id for o in orders if symbol is None or o.intent.symbol == symbol])

    def _fail_store(self, error: StopTrading) -> None:
        if not self.store_failure:
            _log.error("store_failed", error=str(error), action="nothing leaves but cancels until it can be written")
        self.store_failure = str(error)
        self._store_lost_for_ever = self._store_lost_for_ever or error.final
        self._store_tried_ns = self._clock.monotonic_ns()

    def _retry_store(self) -> None:
        """What is owed to the disk goes first; when that gets through, trading goes on."""
        is_due = self._clock.monotonic_ns() - self._store_tried_ns >= RETRY_SECONDS * 1e9
        if not self.store_failure or self._store_lost_for_ever or not is_due:
            return
        if self.desk.record(self.desk.put_counters):
            self.store_failure = ""
            _log.warning("store_repaired")
            self._judge()

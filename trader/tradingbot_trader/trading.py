"""SHELL. The trader proper, once it holds its lease and its store: stop, permit, configuration, market, desk, joined.

What arrives from the control plane is looked at in this order: the stop first, whatever else is wrong with the object.
No rule stands in here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from tradingbot_api.conditions import ConfigReason, TradingState
from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import KillSwitch, TradingBotSpec
from tradingbot_api.status import ConfigReport
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.book.store import Store, Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.control.configuration import ConfigRefused, Configuration, Configurator, parse_spec
from tradingbot_trader.control.kube import Raw
from tradingbot_trader.control.latch import StopRequest, is_suspended
from tradingbot_trader.control.mandate import Mandate
from tradingbot_trader.control.state import Cause, Verdict, judge
from tradingbot_trader.control.stop import Stop
from tradingbot_trader.desk import Desk
from tradingbot_trader.driver import Driver
from tradingbot_trader.errors import StopTrading
from tradingbot_trader.market.events import FeedGap
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.client_id import ClientOrderIds
from tradingbot_trader.risk.engine import Conditions, RiskEngine
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.risk.trips import check_bot, check_positions
from tradingbot_trader.venues.paper import PaperGateway
from tradingbot_trader.venues.port import MarketDataPort, VenueError, VenueUnavailable

_log = structlog.get_logger("trading")
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the trading asks of the world outside, each a seam."""

    clock: Clock
    port: MarketDataPort
    holds_lease: Callable[[], bool]
    contact_age_seconds: Callable[[], float]
    """Since the control plane was last heard; infinite before the first time."""
    urge_report: Callable[[], None]


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
        self._store, self._world, self._configurator, self._metrics = store, world, configurator, metrics
        self._clock = world.clock
        self._instruments: dict[str, Instrument] = {}
        open_orders = store.open_orders(store.book)
        now_ns = self._clock.now_ns()
        recent = [i.created_ns for i in store.intents_since(store.book, now_ns - 60 * 1_000_000_000)]
        engine = RiskEngine(
            Ledger.rebuild(store.book, store.fills(store.book)),
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
        gateway = PaperGateway(self.desk.on_event, costs=costs, venue=configurator.venue, open_orders=open_orders)
        self.desk.connect(gateway)
        self.driver = Driver(
            world.port,
            self._clock,
            metrics,
            paper=gateway,
            pursue=self.desk.pursue,
            cancel_entries=self._cancel_entries,
            on_gap=self._record_gap,
            on_tick=self._tick,
        )
        self.stop = Stop(self.desk, self._clock)
        self.mandate = Mandate(store.book, self._find_spec)
        self.config = ConfigReport(generation=0, accepted=False, reason="Starting")
        self.verdict = Verdict(TradingState.HALTED, ())
        self.store_failure = ""
        self._store_lost_for_ever = False
        self._store_tried_ns = 0
        self._bot: Raw | None = None
        self._uid = ""
        self._is_gone = False
        self._is_suspended = False
        self._is_terminating = False
        self._config_wanted = asyncio.Event()
        self._market: asyncio.Task[None] | None = None

    @property
    def uid(self) -> str:
        """Of the bot that this speaks for; empty before it was seen."""
        return self._uid

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
        self._bot = bot
        if self.stop.consider(bot, halts):
            self._judge()
            self.stop.advance(self._instruments)
            self._world.urge_report()
        self._is_suspended = is_suspended(bot)
        if self.mandate.read(bot, uid=self._uid):
            self._record_permit()
            self._world.urge_report()
        if bot["metadata"]["generation"] != self.config.generation:
            self._config_wanted.set()
        self._judge()

    async def run(self) -> None:
        """Accept configurations as they come and trade the last good one."""
        async with asyncio.TaskGroup() as tasks:
            try:
                await self._resume(tasks)
                while True:
                    await self._config_wanted.wait()
                    self._config_wanted.clear()
                    if self._bot is not None:
                        await self._take(self._bot, tasks)
            finally:
                if self._market is not None:
                    self._market.cancel()

    async def drain(self, seconds: float) -> None:
        """No new risk from now on; resting entries are cancelled, and waited for so long."""
        self._is_terminating = True
        self._judge()
        deadline_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        while self.desk.open_orders(entries_only=True) and self._clock.monotonic_ns() < deadline_ns:
            await self._clock.sleep(0.05)

    async def _resume(self, tasks: asyncio.TaskGroup) -> None:
        """After a restart: trade on with the last good spec, even if what the object says now is worse."""
        stored = self._store.last_config()
        if stored is None:
            return
        try:
            spec = TradingBotSpec.model_validate_json(stored.spec_json)
            await self._accept(spec, tasks, uid=stored.uid, generation=stored.generation, is_new=False)
        except (ConfigRefused, ValidationError, VenueError) as error:
            _log.warning("last_config_not_resumed", generation=stored.generation, error=str(error))

    async def _take(self, bot: Raw, tasks: asyncio.TaskGroup) -> None:
        generation = int(bot["metadata"]["generation"])
        if generation == self.config.generation and self.config.reason != ConfigReason.WAITING_FOR_VENUE:
            return  # it was looked at while this was waited for
        try:
            spec = parse_spec(bot.get("spec"))
            await self._accept(spec, tasks, uid=bot["metadata"]["uid"], generation=generation, is_new=True)
        except ConfigRefused as refused:
            self._refuse(generation, refused.reason, refused.message)
        except VenueError as error:
            self._refuse(generation, ConfigReason.WAITING_FOR_VENUE, str(error))
            await self._clock.sleep(error.retry_after_seconds if isinstance(error, VenueUnavailable) else RETRY_SECONDS)
            self._config_wanted.set()

    async def _accept(
        self, spec: TradingBotSpec, tasks: asyncio.TaskGroup, *, uid: str, generation: int, is_new: bool
    ) -> None:
        held = [s for s, position in self.desk.engine.ledger.positions.items() if position.quantity_base > 0]
        configuration = await self._configurator.accept(
            spec, uid=uid, generation=generation, also={*self._instruments, *held}
        )
        before = self.configuration
        if is_new:
            stored = self._store.last_config()
            if stored is None or (stored.uid, stored.generation) != (uid, generation):
                self._record_config(configuration)
            self.config = ConfigReport(
                generation=generation,
                digest=configuration.digest,
                accepted=True,
                reason=ConfigReason.ACCEPTED,
                message="in force",
            )
        self._instruments.update(configuration.instruments)
        self.mandate.adopt(configuration)
        _log.info("config_accepted", generation=generation, digest=configuration.digest, is_new=is_new)
        if before is None or _market_of(before) != _market_of(configuration):
            await self._restart_market(configuration, {*spec.symbols, *held}, tasks)
        self._judge()
        self._world.urge_report()

    async def _restart_market(self, configuration: Configuration, symbols: set[str], tasks: asyncio.TaskGroup) -> None:
        if self._market is not None:
            self._market.cancel()
            await asyncio.wait({self._market})
        self._market = tasks.create_task(self.driver.run(configuration, sorted(symbols)))

    def _refuse(self, generation: int, reason: ConfigReason, message: str) -> None:
        in_force = self.configuration.digest if self.configuration else ""
        report = ConfigReport(generation=generation, digest=in_force, accepted=False, reason=reason, message=message)
        if report == self.config:
            return
        self.config = report
        self.desk.record(
            lambda tx: tx.put_audit(
                AuditKind.CONFIG_REJECTED, {"generation": generation, "reason": reason, "message": message}
            )
        )
        _log.warning("config_refused", generation=generation, reason=reason, message=message)
        self._judge()
        self._world.urge_report()

    def _record_config(self, configuration: Configuration) -> None:
        def write(tx: Transaction) -> None:
            tx.put_config(
                uid=configuration.uid,
                generation=configuration.generation,
                digest=configuration.digest,
                spec_json=configuration.spec.model_dump_json(by_alias=True),
            )
            tx.put_audit(
                AuditKind.CONFIG_ACCEPTED,
                {
                    "generation": configuration.generation,
                    "digest": configuration.digest,
                    "strategy": configuration.strategy.name,
                    "parameters": configuration.parameters,
                },
            )

        self.desk.record(write)

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
            clock_skew_ns=self.driver.venue_ahead_ns,
            opening_cash_quote=limits.granted_quote,
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
            Cause.LEASE_LOST: not self._world.holds_lease(),
            Cause.STORE_UNWRITABLE: bool(self.store_failure),
        }
        return [cause for cause, is_so in found.items() if is_so]

    def _judge(self) -> None:
        """Work the trading state out anew; a change is recorded, and takes resting entries away."""
        verdict = judge(self._causes())
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
        self.desk.mark(prices, self._clock.now_ns())
        limits = self.mandate.limits
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


def _market_of(configuration: Configuration) -> object:
    """What a running market cannot change: all of this needs a new warm-up."""
    spec = configuration.spec
    return spec.symbols, spec.strategy.timeframe, spec.strategy.name, configuration.parameters

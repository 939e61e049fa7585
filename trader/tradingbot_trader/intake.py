"""SHELL. Takes specs as they come and trades the last good one: configuration -> mandate -> market. Inside trading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

import structlog
from pydantic import ValidationError

from tradingbot_api.conditions import ConfigReason
from tradingbot_api.spec import TradingBotSpec
from tradingbot_api.status import ConfigReport
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.store import Store, Transaction
from tradingbot_trader.clock import Clock
from tradingbot_trader.control.configuration import ConfigRefused, Configuration, Configurator, parse_spec
from tradingbot_trader.control.kube import Raw
from tradingbot_trader.control.mandate import Mandate
from tradingbot_trader.desk import Desk
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.venues.port import VenueError, VenueUnavailable

_log = structlog.get_logger("intake")
RETRY_SECONDS = 5.0
REFUSED_RETRY_SECONDS = 60.0
"""A last good spec that is refused now: the venue's rules may have changed for a while, or its answer was wrong."""
FOLLOW_PACE_NS = 60 * 1_000_000_000
"""A symbol that the venue does not list any more is asked for this often, not twenty times a second."""


class Intake:
    """`look` at each object that comes; `run` until cancelled."""

    def __init__(
        self,
        store: Store,
        desk: Desk,
        configurator: Configurator,
        mandate: Mandate,
        clock: Clock,
        *,
        instruments: dict[str, Instrument],
        run_market: Callable[[Configuration, Collection[str]], asyncio.Task[None]],
        on_change: Callable[[], None],
    ) -> None:
        """`instruments` is filled here and read by the risk engine; `on_change` is told of each answer to a spec."""
        self._store, self._desk, self._configurator, self._mandate = store, desk, configurator, mandate
        self._clock, self._instruments = clock, instruments
        self._run_market, self._on_change = run_market, on_change
        self.report = ConfigReport(generation=0, accepted=False, reason="Starting")
        self._bot: Raw | None = None
        self._wanted = asyncio.Event()
        self._market: asyncio.Task[None] | None = None
        self._market_symbols: frozenset[str] = frozenset()
        self._books_have_moved = False
        self._followed_ns = clock.monotonic_ns() - FOLLOW_PACE_NS
        self._rules_are_old = False

    def look(self, bot: Raw) -> None:
        self._bot = bot
        if bot["metadata"]["generation"] != self.report.generation:
            self._wanted.set()

    def refresh_rules(self) -> None:
        """The venue refused what our copy of its rules allows: ask for them again."""
        self._rules_are_old = True
        self._wanted.set()

    def follow_books(self) -> None:
        """Told often. What is held or on its way has to have a price and rules, though no spec names it: an order that
        a lost store had made, or one whose symbol has just left the spec."""
        is_due = self._clock.monotonic_ns() - self._followed_ns >= FOLLOW_PACE_NS
        if self._market is not None and is_due and not self._traded_symbols() <= self._market_symbols:
            self._followed_ns = self._clock.monotonic_ns()
            self._books_have_moved = True
            self._wanted.set()

    async def run(self) -> None:
        try:
            while True:
                waits = [await self._resume()]
                if self._rules_are_old:
                    await self._reload_rules()
                if self._bot is not None:
                    waits.append(await self._take(self._bot))
                if self._books_have_moved:
                    await self._widen_market()
                await self._wait(min((seconds for seconds in waits if seconds is not None), default=None))
        finally:
            if self._market is not None:
                self._market.cancel()

    async def _wait(self, seconds: float | None) -> None:
        """Until something is wanted, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        self._wanted.clear()

    async def _reload_rules(self) -> None:
        try:
            fresh = await self._configurator.load_rules(list(self._instruments))
        except (ConfigRefused, VenueError) as error:
            _log.warning("rules_not_refreshed", error=str(error))
            return  # asked again with the next refusal
        self._rules_are_old = False
        changed = sorted(symbol for symbol, rules in fresh.items() if self._instruments.get(symbol) != rules)
        self._instruments.update(fresh)
        self._desk.record(lambda tx: tx.put_audit(AuditKind.RULES_REFRESHED, {"changed": changed}))
        _log.info("rules_refreshed", changed=changed)

    async def _resume(self) -> float | None:
        """After a restart: trade on with the last good spec, even if what the object says now is worse. As long as no
        spec is in force; the seconds after which to try again, None for never."""
        stored = self._store.last_config() if self._mandate.configuration is None else None
        if stored is None:
            return None
        try:
            spec = TradingBotSpec.model_validate_json(stored.spec_json)
            await self._accept(spec, uid=stored.uid, generation=stored.generation, is_new=False)
        except (ConfigRefused, ValidationError, VenueError) as error:
            _log.warning("last_config_not_resumed", generation=stored.generation, error=str(error))
            return _retry_seconds(error) if isinstance(error, VenueError) else REFUSED_RETRY_SECONDS
        return None

    async def _take(self, bot: Raw) -> float | None:
        """The seconds after which to look at it again; None for never."""
        generation = int(bot["metadata"]["generation"])
        if generation == self.report.generation and self.report.reason != ConfigReason.WAITING_FOR_VENUE:
            return None  # it was looked at before
        try:
            spec = parse_spec(bot.get("spec"))
            await self._accept(spec, uid=bot["metadata"]["uid"], generation=generation, is_new=True)
        except ConfigRefused as refused:
            self._refuse(generation, refused.reason, refused.message)
        except VenueError as error:
            self._refuse(generation, ConfigReason.WAITING_FOR_VENUE, str(error))
            return _retry_seconds(error)
        return None

    async def _widen_market(self) -> None:
        """The spec in force again, with the symbols that the books hold now."""
        in_force, self._books_have_moved = self._mandate.configuration, False
        if in_force is None:
            return
        try:
            await self._accept(in_force.spec, uid=in_force.uid, generation=in_force.generation, is_new=False)
        except (ConfigRefused, VenueError) as error:
            _log.warning("market_not_widened", symbols=sorted(self._traded_symbols()), error=str(error))

    def _traded_symbols(self) -> frozenset[str]:
        """What is held, and what an order may still buy or sell."""
        engine = self._desk.engine
        held = {symbol for symbol, position in engine.ledger.positions.items() if position.quantity_base}
        return frozenset(held | {order.intent.symbol for order in engine.orders.values()})

    async def _accept(self, spec: TradingBotSpec, *, uid: str, generation: int, is_new: bool) -> None:
        traded = self._traded_symbols()
        configuration = await self._configurator.accept(
            spec, uid=uid, generation=generation, also={*self._instruments, *traded}
        )
        before = self._mandate.configuration
        if is_new:
            stored = self._store.last_config()
            if stored is None or (stored.uid, stored.generation) != (uid, generation):
                self._record(configuration)
            self.report = ConfigReport(
                generation=generation,
                digest=configuration.digest,
                accepted=True,
                reason=ConfigReason.ACCEPTED,
                message="in force",
            )
        self._instruments.update(configuration.instruments)
        self._mandate.adopt(configuration)
        _log.info("config_accepted", generation=generation, digest=configuration.digest, is_new=is_new)
        is_same = before is not None and _market_of(before) == _market_of(configuration)
        if not is_same or not traded <= self._market_symbols:
            if self._market is not None:
                self._market.cancel()
                await asyncio.wait({self._market})
            self._market_symbols = traded.union(spec.symbols)
            self._market = self._run_market(configuration, sorted(self._market_symbols))
        self._on_change()

    def _refuse(self, generation: int, reason: ConfigReason, message: str) -> None:
        in_force = self._mandate.configuration.digest if self._mandate.configuration else ""
        report = ConfigReport(generation=generation, digest=in_force, accepted=False, reason=reason, message=message)
        if report == self.report:
            return
        self.report = report
        self._desk.record(
            lambda tx: tx.put_audit(
                AuditKind.CONFIG_REJECTED, {"generation": generation, "reason": reason, "message": message}
            )
        )
        _log.warning("config_refused", generation=generation, reason=reason, message=message)
        self._on_change()

    def _record(self, configuration: Configuration) -> None:
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

        self._desk.record(write)


def _retry_seconds(error: VenueError) -> float:
    return error.retry_after_seconds if isinstance(error, VenueUnavailable) else RETRY_SECONDS


def _market_of(configuration: Configuration) -> object:
    """What a running market cannot change: all of this needs a new warm-up."""
    spec = configuration.spec
    return spec.symbols, spec.strategy.timeframe, spec.strategy.name, configuration.parameters

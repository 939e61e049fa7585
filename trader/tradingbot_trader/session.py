"""SHELL. One life of the trader's process: lease, store, trading, report, and an orderly end.

Nothing is traded, and nothing said, before the lease is ours and the store is open. A trader that cannot trade (a
foreign volume, a venue without an adapter) stays up, idle and unready, and says why: an exit would only be restarted.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import structlog

from tradingbot_api.conditions import ConfigReason
from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import MINUTE_NS, ExchangeId, KillSwitch, Network
from tradingbot_api.status import ConfigReport, DrainReason, TraderStatus
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.store import Disk, Identity, Store
from tradingbot_trader.clock import Clock, VenueClock
from tradingbot_trader.control.configuration import ConfigRefused, Configurator
from tradingbot_trader.control.kube import KubeApi, Raw
from tradingbot_trader.control.latch import read_latch
from tradingbot_trader.control.permit import MODES
from tradingbot_trader.control.tenant import Tenant
from tradingbot_trader.control.watch import ControlWatch
from tradingbot_trader.errors import RefuseToStart, StoreLocked, StoreUnwritable
from tradingbot_trader.execution import Execution, PaperExecution, Surroundings
from tradingbot_trader.metrics import Metrics, picture
from tradingbot_trader.orders.client_id import ClientOrderIds, hash_bot
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.report import Reporter
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.status import Books, Self, build_idle, build_status
from tradingbot_trader.strategy.base import Strategy, load_strategy
from tradingbot_trader.trading import Trading, World
from tradingbot_trader.venues.port import MarketDataPort

_log = structlog.get_logger("session")
NS = 1_000_000_000
DRAIN_SECONDS = 10.0
LAST_DRAIN_SECONDS = 45.0
"""Of a pod whose bot is being deleted: nobody comes after it. Below the pod's grace period of 60 s."""
LAST_WORD_TRIES = 5
"""How long a stopping trader waits for its cancels; far below the pod's grace period of 60 s."""
STORE_RETRY_SECONDS = 5.0
PAPER_ACCOUNT = "paper"
BuildLive = Callable[[Surroundings], Execution]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the pod template fixes."""

    namespace: str
    name: str
    pod: str
    installation: str
    exchange: ExchangeId
    network: Network
    book: BookName
    store: Path
    version: str
    template: str = ""
    """Hash of the pod template, as the operator tells it; empty outside of its pods."""


class Session:
    """`run` until `stopping` is set; then drain, report, give the lease back, close the store."""

    def __init__(
        self,
        settings: Settings,
        *,
        kube: KubeApi,
        port: MarketDataPort | ConfigRefused,
        clock: Clock,
        jitter: random.Random,
        metrics: Metrics,
        disk: Disk | None = None,
        build_live: BuildLive | None = None,
        find_strategy: Callable[[str], Strategy] = load_strategy,
    ) -> None:
        """`port` may be the reason why this pod has no market at all; `disk` None is the real one; `build_live` is what
        a live book trades with."""
        if (build_live is not None) is not (settings.book is BookName.LIVE):
            raise ValueError(f"a trader of book {settings.book.value} was given the other book's execution")
        self._settings, self._kube, self._port = settings, kube, port
        self._clock, self._metrics, self._disk = clock, metrics, disk
        self._venue_clock = VenueClock(clock)
        self._build_live, self._find_strategy = build_live, find_strategy
        self._tenant = Tenant(kube, clock, jitter, identity=settings.pod)
        self._watch = ControlWatch(kube, clock, jitter, self._on_control, poll_seconds=self._poll_seconds)
        self._reporter = Reporter(kube, clock, self._build_status)
        self._started_ns = clock.now_ns()
        self._bot: Raw | None = None
        self._halts: list[Raw] | None = None
        self._store: Store | None = None
        self._left_behind: tuple[str, ...] = ()
        self._is_signalled = False
        """A stop was asked for by a signal before there was anything to stop."""
        self._trading: Trading | None = None
        self._idle: ConfigRefused | None = port if isinstance(port, ConfigRefused) else None

    async def run(self, stopping: asyncio.Event) -> None:
        tasks = [
            asyncio.create_task(self._tenant.run(), name="lease"),
            asyncio.create_task(self._watch.run(), name="watch"),
            asyncio.create_task(self._reporter.run(), name="report"),
            asyncio.create_task(self._trade(), name="trade"),
        ]
        stopped = asyncio.create_task(stopping.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()  # none of them ends by itself: what ended it is for whoever started us
            await self._end(tasks[3])
        finally:
            for task in (stopped, *tasks):
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)
            if self._store is not None:
                self._store.close()

    def stop_by_signal(self) -> None:
        """SIGUSR1: latches a stop, with or without an API server."""
        if self._trading is not None:
            self._trading.stop_by_signal()
        else:
            self._is_signalled = True

    def problem(self) -> str:
        """Why the trader is not ready, in one line; empty when it is."""
        trading = self._trading
        if self._idle is not None:
            return f"{self._idle.reason}: {self._idle.message}"
        if trading is None:
            return "waiting for the lease and the store"
        if trading.configuration is None:
            return f"no configuration: {trading.config.reason} {trading.config.message}"
        if trading.store_failure:
            return trading.store_failure
        if not self._tenant.holds():
            return "the lease is not held"
        if trading.driver.lost:
            return f"no market data of {', '.join(sorted(trading.driver.lost))}"
        return ""

    def observe(self) -> None:
        """Bring the gauges up to date; called before each scrape."""
        metrics, trading = self._metrics, self._trading
        metrics.contact.set(self._contact_age_seconds())
        if trading is None or self._store is None:
            return
        engine, prices = trading.desk.engine, {s: t.price for s, t in trading.driver.prices.items()}
        metrics.dropped.set(trading.dropped_messages)
        for symbol, position in engine.ledger.positions.items():
            metrics.position.labels(symbol).set(picture(position.quantity_base))
        metrics.exposure.set(picture(engine.exposure_quote))
        metrics.open_orders.set(len(trading.desk.open_orders()))
        metrics.limit.set(picture(trading.mandate.grant.limit_quote))
        metrics.realized.set(picture(engine.ledger.realized_quote))
        metrics.unrealized.set(picture(engine.ledger.unrealized_quote(prices)))
        metrics.fees.set(picture(engine.ledger.fees_quote))
        metrics.active.set(not trading.verdict.causes)
        metrics.latched.set(trading.stop.is_latched)
        news = trading.execution.news()
        if news is not None:
            metrics.unresolved.set(news.unresolved_orders)
            metrics.breakers_open.set(len(news.breakers.open))
            metrics.breaker_trips.set(news.breakers.trips)
            metrics.credentials_ready.set(news.credentials.ready)
            metrics.reconciled.set(news.is_reconciled)
            metrics.reconciled_time.set(picture(Decimal(news.reconciled_ns) / NS))
        metrics.config_accepted.set(trading.config.accepted)
        metrics.audit.set(self._store.audit_head.sequence)
        metrics.epoch.set(self._store.epoch)

    def _on_control(self, bot: Raw | None, halts: list[Raw] | None) -> None:
        # Our own report comes back as an event: answering each with another report would never end.
        is_news = bot is not None and (self._bot is None or _edition(bot) != _edition(self._bot))
        self._bot, self._halts = bot, halts
        if self._trading is not None:
            self._trading.look(bot, halts)
        elif self._idle is not None and is_news:
            self._reporter.urge()

    async def _trade(self) -> None:
        """From the lease to the market. Comes back only by an exception."""
        if isinstance(self._port, ConfigRefused):
            await asyncio.Event().wait()
            return
        while not self._tenant.holds() or self._bot is None:
            await self._clock.sleep(0.05)
        store = await self._open_store()
        self._store = store
        tenure = self._tenant.tenure
        epoch = store.begin_epoch(tenure.transitions if tenure else 0, self._clock.now_ns())
        settings = self._settings
        costs = Costs()
        trading = Trading(
            store,
            World(
                clock=self._venue_clock,
                port=self._port,
                holds_lease=lambda seconds: self._tenant.holds(margin_seconds=seconds),
                contact_age_seconds=self._contact_age_seconds,
                urge_report=self._reporter.urge,
                folder=settings.store,
                build_execution=self._build_execution,
            ),
            Configurator(
                self._port,
                exchange=settings.exchange,
                network=settings.network,
                costs=costs,
                find_strategy=self._find_strategy,
            ),
            ClientOrderIds(hash_bot(settings.installation, settings.namespace, settings.name), epoch),
            costs,
            self._metrics,
        )
        data = {"version": settings.version, "pod": settings.pod, "epoch": epoch, "book": settings.book.value}
        trading.desk.record(lambda tx: tx.put_audit(AuditKind.STARTED, data))
        _log.info("started", epoch=epoch, fills=trading.desk.engine.ledger.fill_count)
        self._trading, self._idle = trading, None
        self._left_behind = _describe_left_behind(store)
        trading.look(self._bot, self._halts)
        if self._is_signalled:
            trading.stop_by_signal()
        await trading.run()

    def _build_execution(self, around: Surroundings) -> Execution:
        if self._build_live is not None:
            return self._build_live(around)
        store = around.desk.store
        return PaperExecution(around, open_orders=store.open_orders(store.book))

    async def _open_store(self) -> Store:
        """Until it opens: what is wrong with it is reported, and tried again, because a person may repair it."""
        settings = self._settings
        identity = Identity(
            installation=settings.installation,
            namespace=settings.namespace,
            name=settings.name,
            venue=settings.exchange.value,
            network=settings.network.value,
        )
        while True:
            try:
                return Store.open(
                    settings.store,
                    identity,
                    book=settings.book,
                    account=PAPER_ACCOUNT if settings.book is BookName.PAPER else None,
                    now_ns=self._clock.now_ns(),
                    disk=self._disk,
                )
            except (RefuseToStart, StoreUnwritable) as error:
                _log.error("store_not_opened", error=str(error), retry_seconds=STORE_RETRY_SECONDS)
                if not isinstance(error, StoreLocked):  # an old process that is still ending is no news
                    is_news = self._idle is None or self._idle.message != str(error)
                    self._idle = ConfigRefused(ConfigReason.STORE_MISMATCH, str(error))
                    if is_news:
                        self._reporter.urge()
                await self._clock.sleep(STORE_RETRY_SECONDS)

    async def _end(self, trade: asyncio.Task[None]) -> None:
        """After SIGTERM: nothing new is risked, what rests is cancelled, then the last word is said."""
        trading = self._trading
        if trading is not None:
            is_deleted = trading.drain_work.reason is DrainReason.DELETING
            await trading.drain(LAST_DRAIN_SECONDS if is_deleted else DRAIN_SECONDS)
            left = len(trading.desk.open_orders())
            trading.desk.record(trading.desk.put_counters)
            trading.desk.record(lambda tx: tx.put_audit(AuditKind.STOPPED, {"openOrders": left}))
            _log.info("drained", open_orders=left)
        trade.cancel()
        await asyncio.gather(trade, return_exceptions=True)
        if trading is not None:
            for _ in range(LAST_WORD_TRIES):
                if await self._reporter.write():
                    break
                await self._clock.sleep(1.0)
        await self._tenant.release()

    def _build_status(self) -> TraderStatus | None:
        bot, trading, settings = self._bot, self._trading, self._settings
        if bot is None or not self._tenant.holds():
            return None
        uid = trading.uid if trading is not None else bot["metadata"]["uid"]
        who = Self(
            uid=uid,
            pod=settings.pod,
            version=settings.version,
            template=settings.template,
            mode=MODES[settings.book],
            started_ns=self._started_ns,
        )
        now_ns = self._clock.now_ns()
        if trading is None or self._store is None:
            if self._idle is None:
                return None
            generation = int(bot["metadata"]["generation"])
            report = ConfigReport(
                generation=generation, accepted=False, reason=self._idle.reason, message=self._idle.message
            )
            return build_idle(who, report, read_latch(bot, uid=uid), now_ns=now_ns)
        desk = trading.desk
        books = Books(
            epoch=self._store.epoch,
            ledger=desk.engine.ledger,
            pnl=desk.pnl,
            prices={symbol: trusted.price for symbol, trusted in trading.driver.prices.items()},
            tradable=desk.engine.held_symbols,
            open_orders=len(desk.open_orders()),
            orders=desk.orders_sent,
            denials=desk.denials,
            dropped_messages=trading.dropped_messages,
            audit_head=self._store.audit_head,
            left_behind=self._left_behind,
        )
        return build_status(
            who,
            trading.config,
            trading.verdict,
            trading.stop.latch,
            trading.mandate.grant,
            books,
            since_ns=trading.standing.since_ns,
            drain=trading.drain_work.report,
            news=trading.execution.news(),
            now_ns=now_ns,
        )

    def _contact_age_seconds(self) -> float:
        last_ns = self._watch.last_contact_ns
        return math.inf if last_ns is None else (self._clock.monotonic_ns() - last_ns) / 1e9

    def _poll_seconds(self) -> float:
        """A third of the time after which silence counts as lost contact."""
        configuration = self._trading.configuration if self._trading is not None else None
        switch = configuration.spec.kill_switch if configuration is not None else KillSwitch()
        return min(switch.control_plane_timeout, 5 * MINUTE_NS) / 3e9


def _describe_left_behind(store: Store) -> tuple[str, ...]:
    """What the live book holds, of a paper pod: nobody writes that book meanwhile, so once is enough."""
    if store.book is BookName.LIVE:
        return ()
    positions = store.ledger(BookName.LIVE).positions.values()
    return tuple(f"{format_decimal(each.quantity_base)} {each.symbol}" for each in positions if each.quantity_base)


def _edition(bot: Raw) -> tuple[object, object]:
    """Which bot of that name, and which spec of it."""
    return bot["metadata"]["uid"], bot["metadata"]["generation"]

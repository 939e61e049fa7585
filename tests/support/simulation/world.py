"""One world: a trader, its control plane, its disk, a venue, and a plan of what goes wrong. Played in virtual time."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.simulation import strategy
from support.simulation.crash import Crash, CrashingDisk
from support.simulation.market import SYMBOLS, SmallMarket
from support.simulation.plan import Incident, Plan
from support.simulation.truth import Truth, Violation
from support.simulation.venue import (
    REST_URL,
    STREAM_URL,
    Line,
    Sent,
    SimMarketData,
    SimStream,
    SimTransport,
    Venue,
    add_rules,
)
from support.trader import FakeKube
from support.virtual import VirtualClock
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.book import requests
from tradingbot_trader.book.reader import open_reader
from tradingbot_trader.live_binance import build_live
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.client_id import hash_bot
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.session import Session, Settings
from tradingbot_trader.strategy.base import Strategy
from tradingbot_trader.venues.port import Addresses

SETTLE_SECONDS = 900.0
"""How long a world may need to come to rest. A lost order takes its minute (orders/doubt.py), a breaker its ten."""
POLL_SECONDS = 0.25
CONTROL_PLANE_TIMEOUT_SECONDS = 30.0
STALE_SECONDS = 60.0
SKEW_SEEN_SECONDS = 65.0
BALANCES = {"USDT": "10000", "BTC": "2", "ETH": "3"}


@dataclass(slots=True)
class Outcome:
    """What came of one world."""

    seed: int
    orders: int
    fills: int
    lives: int
    crashes: int
    """How many lives ended at the point that the plan names."""
    violations: list[str]
    seen: dict[str, int]
    """How often what the simulation is for has come about: so that a world in which nothing goes wrong is noticed."""


class LiveKube(FakeKube):
    """An operator that grants live permits."""

    permit_is_revoked = False

    def permit(self, *, stage: str | None = None, **changes: Any) -> None:
        if not self.permit_is_revoked:
            super().permit(stage=stage, **({"mode": "Live"} | changes))


def build_live_spec(plan: Plan) -> dict[str, Any]:
    return {
        "mode": "Live",
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": list(SYMBOLS[: plan.symbols]),
        "strategy": {
            "name": "restless", "timeframe": "1s", "parameters": {"seed": plan.seed, "kinds": plan.kinds},
        },
        "capital": {
            "currency": "USDT",
            "stage": "small",
            "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
        },
        "risk": {
            "maxOrderNotional": "45", "cooldownAfterLoss": "0s", "maxOrdersPerMinute": 600, "stopLossPercent": "20",
            "maxPositionPercent": "60", "maxExposurePercent": "80", "maxDailyLossPercent": "50",
            "maxDrawdownPercent": "50", "maxTradeLossPercent": "50",
        },
        "credentials": {"secretName": "keys"},
        "reconciliation": {"interval": "20s"},
    } | plan.spec  # fmt: skip


class World:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.clock, self.trader_clock = VirtualClock(), VirtualClock()
        self.draw = random.Random(f"world {plan.seed}")  # noqa: S311  a simulation
        self.venue = Venue(plan.seed, self.clock, balances=BALANCES, market=self._build_market())
        self.venue.latency_seconds = plan.latency_seconds
        self.kube = LiveKube(build_live_spec(plan))
        self.kube.permit()
        self.store = folder / "store"
        self.keys = folder / "keys"
        self.bot = hash_bot("sim", "desk", "btc")
        self.truth = Truth(self.venue, self.bot, limit_quote=Decimal(80))
        self.venue.on_accepted = self.truth.on_accepted
        self.venue.on_leave = self._check_leave
        self.lives = self.crashes = 0
        self.session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event | None = None
        self._crashed = asyncio.Event()
        self._line: Line | None = None
        self._crash: Crash | None = None
        self._disk: CrashingDisk | None = None
        self._crashes = list(plan.crashes)
        self._since: dict[str, float] = {}
        self._owed: list[tuple[str, Decimal]] = []
        self._started_at = self._spoken_before = 0
        self._is_volume_lost = False

    async def play(self) -> Outcome:
        """From the first life to rest, and the verdict. Raises Violation."""
        self._write_keys()
        pump = asyncio.create_task(self.venue.pump(), name="pump")
        pump.add_done_callback(_raise_its_error)
        incidents = asyncio.create_task(self._incidents(), name="incidents")
        add_rules(self.venue, self.plan.rules)
        try:
            await self._chaos()
            incidents.cancel()
            await self._rest()
            return self._judge()
        finally:
            for task in (pump, incidents):
                task.cancel()
            await self._end_life()
            await asyncio.gather(pump, incidents, return_exceptions=True)

    # What another kind of world may have otherwise

    def _build_market(self) -> SmallMarket:
        return SmallMarket(self.plan.seed)

    def _find_strategy(self, name: str) -> Strategy:
        return strategy.find(name)

    # Lives

    async def _chaos(self) -> None:
        until = self._seconds() + self.plan.seconds
        while self._seconds() < until:
            self._begin_life()
            await self._until(lambda: self._crashed.is_set() or self._is_over(), until - self._seconds())
            if self._crashed.is_set() or self._is_over():
                await self._end_life()
                await self.clock.sleep(self.draw.uniform(0.2, 4.0))

    def _is_over(self) -> bool:
        """The session ended by itself: SIGTERM, or a bug."""
        if self._task is None or not self._task.done():
            return False
        error = None if self._task.cancelled() else self._task.exception()
        if error is not None and not self._crashed.is_set():
            self._report(f"the trader's process ended with {error!r}")
        return True

    def _begin_life(self) -> None:
        if self._is_volume_lost:  # between two lives
            self._lose_volume()
        self.lives += 1
        self._crashed.clear()
        point, nth = self._crashes.pop(0) if self._crashes else ("", 1)
        crash = Crash(point, nth, end=self._crashed.set)
        self._crash, self._line = crash, self.venue.new_line(self.lives, crash)
        self._disk = CrashingDisk(crash)
        self._stopping = asyncio.Event()
        self._started_at, self._spoken_before = len(self.venue.sent), len(self.kube.statuses)
        market = SimMarketData(self.venue, self._line, self.draw)
        live = build_live(
            ExchangeId.BINANCE,
            Network.SANDBOX,
            Addresses(rest_url=REST_URL, stream_url=STREAM_URL),
            self.keys,
            transport=SimTransport(self.venue, self._line),
            connect=SimStream(self.venue, self._line),
            random=self.draw.random,
        )
        self.session = session = Session(
            Settings(
                namespace="desk", name="btc", pod="btc-0", installation="sim", exchange=ExchangeId.BINANCE,
                network=Network.SANDBOX, book=BookName.LIVE, store=self.store, version="0",
            ),
            kube=self.kube,
            port=market,
            clock=self.trader_clock,
            jitter=self.draw,
            metrics=Metrics(),
            disk=self._disk,
            build_live=live,
            find_strategy=self._find_strategy,
        )  # fmt: skip
        self._task = asyncio.create_task(session.run(self._stopping), name=f"life {self.lives}")

    async def _end_life(self, *, gently: bool = False) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        if gently and self._stopping is not None:
            self._stopping.set()
            await asyncio.wait({task}, timeout=60)
        self.crashes += self._crash is not None and self._crash.has_come
        if self._line is not None:
            self.venue.cut(self._line)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(task, return_exceptions=True)
        if self._is_volume_lost:
            self._lose_volume()
        self.truth.check_restart(self.store)

    # What happens around it

    async def _incidents(self) -> None:
        for incident in self.plan.incidents:
            await self.clock.sleep(max(incident.at_seconds - self._seconds(), 0))
            await self._happen(incident)

    async def _happen(self, incident: Incident) -> None:
        match incident.what:
            case "cut-off":
                self.venue.is_cut_off = True
                self.venue.hang_up()
                await self.clock.sleep(incident.seconds)
                self.venue.is_cut_off = False
            case "control-plane-down":
                self.kube.down = True
                self._since["down"] = self._seconds()
                await self.clock.sleep(incident.seconds)
                self._come_back()
            case "disk-full":
                if self._disk is not None:
                    self._disk.is_full = True
                    await self.clock.sleep(incident.seconds)
                    self._disk.is_full = False
            case "kill":
                self.kube.edit(killSwitch={"engaged": True, "action": incident.value, "reason": "simulation"})
                await self.clock.sleep(incident.seconds)
                await self._rearm()
            case "permit-revoked":
                self._since["permit"] = self._seconds()
                self.kube.permit_is_revoked = True
                self.kube.bot["status"].pop("permit", None)
                self.kube._changed()
                await self.clock.sleep(incident.seconds)
                self._grant()
            case "limit-lowered":
                self.kube.edit(permit=False, capital={"stage": "micro"})
            case "wall-clock":
                self.trader_clock.skew_ns += int(float(incident.value) * 1e9)
            case "deposit" | "manual-trade" if not self.has_opened:
                return  # what a person does before is part of the opening balances
            case "deposit":
                self._move("USDT", Decimal(7))
            case "manual-trade":
                self._trade_by_hand()
            case "sigterm":
                if self._stopping is not None:
                    self._stopping.set()
            case "key-rotated":
                self._rotate_key()
            case "volume-lost":
                self._is_volume_lost = True
                self._crashed.set()

    def _move(self, asset: str, amount: Decimal) -> None:
        self.venue.exchange.desk.transfer(self.venue.account, asset, amount, self.clock.now_ns())
        self._owed.append((asset, amount))

    @property
    def has_opened(self) -> bool:
        """Whether the trader has recorded its opening balances."""
        if not (self.store / "store.db").exists():
            return False
        with open_reader(self.store) as reader:
            return reader.baseline(BookName.LIVE) is not None

    def _trade_by_hand(self) -> None:
        """A person sells with the key of a browser."""
        before = self.venue.account.balances.totals()
        self.venue.place_by_hand("BTC/USDT", "SELL", Decimal("0.05"))
        after = self.venue.account.balances.totals()
        moved = {
            asset: after.get(asset, Decimal(0)) - before.get(asset, Decimal(0)) for asset in sorted({*before, *after})
        }
        self._owed += [(asset, amount) for asset, amount in moved.items() if amount]

    def _rotate_key(self) -> None:
        self.venue.key = self.venue.exchange.accounts.issue_key(self.venue.account, now_ns=self.clock.now_ns())
        self._write_keys()
        self._since["rotated"] = self._seconds()

    def _lose_volume(self) -> None:
        """While no life writes to it. The next one is rebuilt from the venue."""
        self._is_volume_lost = False
        shutil.rmtree(self.store, ignore_errors=True)
        self.truth.peaks.clear()
        self._owed.clear()

    def _write_keys(self) -> None:
        self.keys.mkdir(parents=True, exist_ok=True)
        (self.keys / "apiKey").write_text(self.venue.key.api_key)
        (self.keys / "apiSecret").write_text(self.venue.key.api_secret)

    async def _rearm(self) -> None:
        self.kube.edit(killSwitch={"engaged": False})
        latch = (self.kube.trader.get("latch") or {}).get("id", "")
        if latch:
            self.kube.edit(killSwitch={"rearm": latch})

    def _grant(self) -> None:
        self.kube.permit_is_revoked = False
        self._since.pop("permit", None)
        self.kube.permit()

    def _come_back(self) -> None:
        self.kube.down = False
        self._since.pop("down", None)
        self.kube._changed()

    # At rest

    async def _rest(self) -> None:
        """Everything works again; the trader has to find its way back to trading, and then stops on a kill."""
        self._crashes.clear()
        if self._crash is not None and not self._crash.has_come:
            self._crash.point = ""
        self.venue.faults.script.clear()
        self.venue.is_cut_off = False
        self.trader_clock.skew_ns = 0
        self._come_back()
        self._grant()
        if self._disk is not None:
            self._disk.is_full = False
        self._spoken_before = len(self.kube.statuses)  # what was said before the end of an outage is no answer to it
        is_ending = self._stopping is not None and self._stopping.is_set()
        if self._task is None or self._crashed.is_set() or is_ending or self._is_over():
            await self._end_life(gently=is_ending)
            self._begin_life()
        await self._settle_accounts()
        await self._until_state("Active", SETTLE_SECONDS)
        compared_at = self._compared_at()
        self.kube.edit(killSwitch={"engaged": True, "action": "CancelOrders", "reason": "the end"})
        await self._until(self._is_stopped, SETTLE_SECONDS)
        if not self._is_stopped():
            self._report(f"P4: the stop did not end: {self.kube.trader.get('latch')}")
        left = [o for o in self.truth.open_orders() if not o.type.is_conditional]  # protective stops stay
        if left:
            self._report(f"P4: after the stop {left} are open")
        # A venue that has locked the trader out may still do so: until it answers, nobody learns of a lost message.
        await self._until(lambda: self._compared_at() not in (None, compared_at), SETTLE_SECONDS)
        if self._compared_at() in (None, compared_at):
            self._report(f"stopped, and not compared with the venue again: {self.kube.trader.get('reconciliation')}")
        await self.clock.sleep(5)
        await self._end_life(gently=True)

    async def _settle_accounts(self) -> None:
        """What people moved is recorded, as the how-to says."""
        if not self._owed or not (self.store / "store.db").exists():
            return
        await self._until(lambda: self.kube.trader.get("reconciliation") is not None, SETTLE_SECONDS)
        for asset, amount in self._owed:
            requests.put(
                self.store,
                requests.Request(
                    id=f"{self.draw.getrandbits(128):032x}", kind=requests.RequestKind.ADJUST, book=BookName.LIVE,
                    who="simulation", created_ns=self.clock.now_ns(), asset=asset, amount=amount, reason="by hand",
                ),
            )  # fmt: skip
        self._owed.clear()

    async def _until_state(self, state: str, seconds: float) -> None:
        async def rearm() -> None:
            while True:
                await self._rearm()
                await self.clock.sleep(5)

        rearming = asyncio.create_task(rearm())
        try:
            await self._until(lambda: self._is_over() or self._says(state), seconds)
        finally:
            rearming.cancel()
            await asyncio.gather(rearming, return_exceptions=True)
        if not self._says(state):
            trader = self.kube.trader
            why = {
                name: trader.get(name) for name in ("stateReasons", "preflight", "reconciliation", "breakers", "latch")
            }
            self._report(f"the trader does not trade again: {why}")

    def _says(self, state: str) -> bool:
        """Of this life: the last word of the one before still stands in the status."""
        has_spoken = len(self.kube.statuses) > self._spoken_before
        return has_spoken and self.kube.trader.get("state") == state and not self._crashed.is_set()

    def _compared_at(self) -> object:
        """When the comparison with the venue was made that passed last and still counts; None: none does."""
        reconciliation = self.kube.trader.get("reconciliation") or {}
        return reconciliation.get("at") if reconciliation.get("result") == "Passed" else None

    def _is_stopped(self) -> bool:
        latch = self.kube.trader.get("latch") or {}
        return latch.get("state") == "Stopped" and self.kube.trader.get("unresolvedOrders", 0) == 0

    # Judging

    def _check_leave(self, sent: Sent) -> None:
        """P4 and P5, where the bytes of an entry leave."""
        if not sent.is_order or sent.values.get("side") != "BUY" or self._line is None or sent.life != self.lives:
            return
        who = sent.values.get("newClientOrderId", "")
        latch = self.kube.trader.get("latch") or {}
        if latch.get("acknowledgedAt") and latch.get("state") in ("Stopping", "Stopped") and self._is_latched():
            self._report(f"P4: entry {who} left after the stop {latch.get('id')} was acknowledged")
        now = self._seconds()
        if now - self._since.get("down", now) > CONTROL_PLANE_TIMEOUT_SECONDS + 1:
            self._report(f"P5: entry {who} left without contact to the control plane")
        if now - self._since.get("permit", now) > 1:
            self._report(f"P5: entry {who} left without a permit")
        if self._disk is not None and self._disk.is_full:
            self._report(f"P5: entry {who} left while the disk was full")
        asked = {each.path for each in self.venue.sent[self._started_at :] if each.status == 200}
        missing = {"/api/v3/account", "/api/v3/openOrders", "/api/v3/myTrades"} - asked
        if missing:
            self._report(f"P5: entry {who} left before the account was reconciled: {missing} not asked")
        holder = (self.kube.lease or {}).get("spec", {}).get("holderIdentity")
        if holder != "btc-0":
            self._report(f"P5: entry {who} left while the lease was held by {holder!r}")
        board = self.venue.exchange.world.boards[_unified(sent.values["symbol"])]
        if self.clock.now_ns() - board.last_trade_ns > STALE_SECONDS * 1e9:
            self._report(f"P5: entry {who} left on a price of {board.last_trade_ns}")

    def _is_latched(self) -> bool:
        """By the store: a release that the API server could not be told of is a release."""
        with open_reader(self.store) as reader:
            return reader.current_latch() is not None

    def _report(self, text: str) -> None:
        self.truth.violations.append(f"{self._seconds():.2f} s: {text}")

    def _judge(self) -> Outcome:
        self.truth.check_end(self.store)
        own = self.truth.own_orders()
        fills = sum(1 for trade in self.venue.account.trades if trade.order in own)
        violations = list(dict.fromkeys(self.truth.violations))
        outcome = Outcome(
            self.plan.seed, len(own), fills, self.lives, self.crashes, violations, self.truth.count_seen(self.store)
        )
        if outcome.violations:
            lines = "\n".join(f"  {each}" for each in outcome.violations[:20])
            raise Violation(f"{len(outcome.violations)} promises broken\n{lines}\n{self.plan.describe()}")
        return outcome

    def _seconds(self) -> float:
        return self.clock.monotonic_ns() / 1e9

    async def _until(self, look: Callable[[], object], seconds: float) -> None:
        deadline = self._seconds() + seconds
        while not look() and self._seconds() < deadline:
            await self.clock.sleep(POLL_SECONDS)


def _raise_its_error(task: asyncio.Task[None]) -> None:
    """A venue that stands still must not look like a quiet one."""
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def _unified(name: str) -> str:
    return next(symbol for symbol in SYMBOLS if symbol.replace("/", "") == name)

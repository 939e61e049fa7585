"""A live trader without its session, on the simulated venue: the test decides when a request leaves and when its answer
comes. The trading, the desk, the gateway, the recovery and the ccxt adapter are the trader's own; time is virtual.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from support.simulation import strategy
from support.simulation.plan import Plan
from support.simulation.truth import Truth
from support.simulation.venue import REST_URL, STREAM_URL, Line, SimStream, Venue
from support.simulation.world import BALANCES, LiveKube, build_live_spec
from support.trader import FakeMarket, FillableDisk
from support.virtual import VirtualClock
from tradingbot_api.conditions import TradingState
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_sandbox.market.events import Trade as MarketTrade
from tradingbot_trader.book.audit import AuditKind, AuditRecord
from tradingbot_trader.book.store import Identity, Store
from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control.configuration import Configurator
from tradingbot_trader.execution import Surroundings
from tradingbot_trader.live import LiveExecution
from tradingbot_trader.live_binance import build_live
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.client_id import ClientOrderIds, hash_bot
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.risk.engine import Decision
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.strategy.base import Target
from tradingbot_trader.trading import Trading, World
from tradingbot_trader.venues import binance
from tradingbot_trader.venues.account_stream import AccountTap
from tradingbot_trader.venues.port import Addresses
from tradingbot_trader.venues.transport import HttpReply, HttpRequest, NoAnswer

BTC, ETH = "BTC/USDT", "ETH/USDT"
LIMIT_QUOTE = Decimal(80)
"""80 % of the stage's 100: the most that may be exposed under `build_live_spec`."""


@dataclass(eq=False)
class Call:
    """One request on its way. It waits at each of its two gates while its kind is held there."""

    kind: str
    """order, cancel or query."""
    path: str
    values: dict[str, str]
    has_left: bool = False
    is_answered: bool = False
    is_over: bool = False
    _may_leave: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _may_answer: asyncio.Future[HttpReply | NoAnswer | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def client_order_id(self) -> str:
        return self.values.get("newClientOrderId") or self.values.get("origClientOrderId", "")

    def leave(self) -> None:
        if not self._may_leave.done():
            self._may_leave.set_result(None)

    def answer(self, instead: HttpReply | NoAnswer | None = None) -> None:
        """The venue's own answer, or another one."""
        if not self._may_answer.done():
            self._may_answer.set_result(instead)


class Wire:
    """Transport: requests of a held kind stand still until the test lets them go."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self.line = venue.new_line(1, lambda _point: None)
        self.calls: list[Call] = []
        self.holds_before: set[str] = set()
        """Kinds that wait before they leave: a connection is being made."""
        self.holds_answers: set[str] = set()

    async def send(self, request: HttpRequest) -> HttpReply:
        parts = urlsplit(request.url)
        is_order_path = parts.path == "/api/v3/order"
        kind = {"POST": "order", "DELETE": "cancel"}.get(request.method, "query") if is_order_path else "query"
        call = Call(kind, parts.path, dict(parse_qsl(parts.query + "&" + request.body)))
        self.calls.append(call)
        try:
            if kind not in self.holds_before:
                call.leave()
            await call._may_leave
            return await self._carry(call, request)
        finally:
            call.is_over = True

    async def _carry(self, call: Call, request: HttpRequest) -> HttpReply:
        before = len(self._venue.sent)
        reply: HttpReply | NoAnswer
        try:
            reply = await self._venue.carry(self.line, request)
        except NoAnswer as error:
            reply = error
        finally:
            call.has_left = any(sent.values == call.values for sent in self._venue.sent[before:])
        call.is_answered = True
        if call.kind not in self.holds_answers:
            call.answer()
        reply = await call._may_answer or reply
        if isinstance(reply, NoAnswer):
            raise reply
        return reply

    async def close(self) -> None:
        return

    def pending(self, kind: str) -> list[Call]:
        return [call for call in self.calls if call.kind == kind and not call.is_over]

    def let_go(self) -> None:
        """Nothing is held any more."""
        self.holds_before.clear()
        self.holds_answers.clear()
        for call in self.calls:
            call.leave()
            call.answer()


class Reports:
    """The account's stream. Held reports wait until the test says them, in any order and as often as it likes."""

    def __init__(self, venue: Venue, line: Line) -> None:
        self._connect = SimStream(venue, line)
        self.is_held = False
        self.waiting: list[Mapping[str, Any]] = []
        self._tap: AccountTap | None = None

    async def __call__(self, tap: AccountTap) -> None:
        self._tap = tap
        await self._connect(self)  # type: ignore[arg-type]  # it calls `up` and `report` alone

    def up(self) -> None:
        assert self._tap is not None
        self._tap.up()

    def report(self, message: Mapping[str, Any]) -> None:
        if self.is_held:
            self.waiting.append(message)
        else:
            self.say(message)

    def say(self, message: Mapping[str, Any]) -> None:
        assert self._tap is not None
        self._tap.report(message)


class BenchMarket(FakeMarket):
    """Prices by hand, rules of the venue."""

    def __init__(self, clock: VirtualClock, venue: Venue) -> None:
        super().__init__(clock)
        self._venue = venue

    async def load_instruments(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        listings = {
            each["symbol"]: each for each in json.loads(self._venue.call("GET", "/api/v3/exchangeInfo").text)["symbols"]
        }
        return {each: binance.parse_instrument(each, listings[binance.venue_symbol(each)]) for each in symbols}


class Bench:
    """`running()` starts the trader; a second `running()` is its next life on the same store."""

    def __init__(self, folder: Path, *, symbols: int = 2, **spec: Any) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.venue = Venue(7, self.clock, balances=BALANCES)
        self.market = BenchMarket(self.clock, self.venue)
        self.disk = FillableDisk()
        raw = build_live_spec(Plan(seed=1, symbols=symbols))
        raw["strategy"]["parameters"] = {"seed": 1, "percent": 0}  # wants nothing by itself
        raw["reconciliation"] = {"interval": "1h"}
        raw["risk"] |= spec.pop("risk", {})
        self.kube = LiveKube(raw | spec)
        self.kube.permit()
        self.rests_stops = False
        """Whether positions are protected at the venue: most tests are about orders that they ask for themselves."""
        self.lease_seconds = 60.0
        """For how long the lease is provably ours, at any moment."""
        self.contact_seconds = 0.0
        self.prices: dict[str, str] = dict.fromkeys((BTC, ETH)[:symbols], "100")
        self.truth = Truth(self.venue, hash_bot("sim", "desk", "btc"), limit_quote=LIMIT_QUOTE)
        self.lives = 0
        self._write_keys()

    # One life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        self.lives += 1
        self.wire = Wire(self.venue)
        self.reports = Reports(self.venue, self.wire.line)
        self.store = Store.open(
            self.folder / "store",
            Identity(installation="sim", namespace="desk", name="btc", venue="binance", network="Sandbox"),
            book=BookName.LIVE,
            account=None,
            now_ns=self.clock.now_ns(),
            disk=self.disk,
        )
        epoch = self.store.begin_epoch(0, self.clock.now_ns())
        costs, clock = Costs(), VenueClock(self.clock)
        self.trading = Trading(
            self.store,
            World(
                clock=clock,
                port=self.market,
                holds_lease=lambda seconds: self.lease_seconds > seconds,
                contact_age_seconds=lambda: self.contact_seconds,
                urge_report=lambda: None,
                folder=self.folder / "store",
                build_execution=self._build_execution,
            ),
            Configurator(
                self.market,
                exchange=ExchangeId.BINANCE,
                network=Network.SANDBOX,
                costs=costs,
                find_strategy=strategy.find,
            ),
            ClientOrderIds(hash_bot("sim", "desk", "btc"), epoch),
            costs,
            Metrics(),
        )
        tasks = [asyncio.create_task(self.trading.run()), asyncio.create_task(self._quote())]
        try:
            self.look()
            await self.until("Active", lambda: self.trading.verdict.state is TradingState.ACTIVE)
            yield self
            assert not tasks[0].done(), tasks[0].exception()
        finally:
            self.venue.cut(self.wire.line)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.clock.sleep(0)
            self.store.close()

    def _build_execution(self, around: Surroundings) -> LiveExecution:
        build = build_live(
            ExchangeId.BINANCE,
            Network.SANDBOX,
            Addresses(rest_url=REST_URL, stream_url=STREAM_URL),
            self.folder / "keys",
            transport=self.wire,
            connect=self.reports,
            random=random.Random(1).random,  # noqa: S311  a test
        )
        execution = build(around)
        assert isinstance(execution, LiveExecution)
        execution.rests_stops = self.rests_stops
        return execution

    @property
    def execution(self) -> LiveExecution:
        assert isinstance(self.trading.execution, LiveExecution)
        return self.trading.execution

    def look(self) -> None:
        """The control plane's news reach the trader now."""
        assert self.kube.bot is not None
        self.trading.look(copy.deepcopy(self.kube.bot), list(copy.deepcopy(self.kube.halts).values()))

    async def _quote(self) -> None:
        """A price four times a second, so that none is ever too old."""
        while True:
            if self.market.sink is not None:
                for symbol, price in self.prices.items():
                    self.market.trade(price, symbol)
            await self.clock.sleep(0.25)

    async def until(self, what: str, look: Callable[[], Any], *, seconds: float = 60) -> Any:
        """Virtual seconds, so a test that fails here fails at once."""
        deadline_ns = self.clock.monotonic_ns() + int(seconds * 1e9)
        while not (found := look()):
            assert self.clock.monotonic_ns() < deadline_ns, f"{what} did not come: {self.trading.verdict}"
            await self.clock.sleep(0.005)
        return found

    # What happens

    def enter(self, symbol: str = BTC, *, offset: str | None = None, allocation: str = "1") -> Order | None:
        """Ask for an entry: at once, or resting so many percent below the price. The order, if one was approved."""
        given = self.trading.desk.pursue(
            symbol,
            Target(
                Decimal(allocation), limit_offset_percent=None if offset is None else Decimal(offset), reason="test"
            ),
        )
        is_order = isinstance(given, Decision) and given.is_approved
        return self.order(given.intent.client_order_id) if is_order else None

    def order(self, client_order_id: str) -> Order:
        found = self.trading.desk.find(client_order_id)
        assert found is not None
        return found

    async def held_order(self) -> Call:
        """The one new order that is under way."""
        await self.until("an order on the wire", lambda: self.wire.pending("order"))
        (call,) = self.wire.pending("order")
        return call

    def fill(self, symbol: str = BTC, *, price: str = "90", quantity: str = "100") -> None:
        """The market trades through this price, by so much: resting buys above it are filled."""
        at_ns = self.clock.now_ns()
        number = self.venue.exchange.world.market.reserve_trade_ids(symbol, trades=1)
        trade = MarketTrade(symbol, number, Decimal(price), Decimal(quantity), at_ns, at_ns, buyer_is_maker=True)
        self.venue.exchange.desk.on_event(trade, at_ns)

    def trade(self, price: str, symbol: str = BTC, *, quantity: str = "1") -> None:
        """The market trades at this price, as the venue shows it: stop-losses above it wake."""
        at_ns = self.clock.now_ns()
        number = self.venue.exchange.world.market.reserve_trade_ids(symbol, trades=1)
        trade = MarketTrade(symbol, number, Decimal(price), Decimal(quantity), at_ns, at_ns, buyer_is_maker=True)
        self.venue.exchange.world.boards[symbol].apply(trade)
        self.venue.exchange.desk.on_event(trade, at_ns)

    def rotate_key(self) -> None:
        self.venue.key = self.venue.exchange.accounts.issue_key(self.venue.account, now_ns=self.clock.now_ns())
        self._write_keys()

    def _write_keys(self) -> None:
        keys = self.folder / "keys"
        keys.mkdir(parents=True, exist_ok=True)
        (keys / "apiKey").write_text(self.venue.key.api_key)
        (keys / "apiSecret").write_text(self.venue.key.api_secret)

    # What is so

    @property
    def exposure_quote(self) -> Decimal:
        """By the trader's own books."""
        return self.trading.desk.engine.exposure_quote

    def check_exposure(self) -> None:
        """The trader never counts less than the venue holds for it, and never more than the limit."""
        assert self.truth.exposure_quote() <= self.exposure_quote <= LIMIT_QUOTE

    def orders_at_venue(self) -> list[str]:
        """Client order ids of all that the venue has ever accepted."""
        return [order.client_id for order in self.venue.account.orders]

    def records(self, kind: AuditKind) -> list[AuditRecord]:
        return [record for record in self.store.audit_records() if record.kind == kind]

    def check_books(self) -> None:
        """Each of the venue's trades of this account is in the ledger once, and the position is their sum."""
        fills = list(self.store.fills(BookName.LIVE))
        told = [(fill.symbol, fill.trade_id, fill.quantity_base, fill.price) for fill in fills]
        true = [(each.symbol, str(each.trade_id), each.quantity, each.price) for each in self.venue.account.trades]
        assert sorted(told) == sorted(true)
        assert len(self.records(AuditKind.FILL)) == len(true)
        assert self.trading.desk.engine.ledger.fill_count == len(true)
        assert not self.trading.desk.owes

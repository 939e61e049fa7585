"""An account at a venue that a test plays by hand, and a live desk on it: the real gateway, recovery, engine and store.

The account is as small as a venue can be: orders fill when the test says so, and each call does what was scripted for
it (refused, lost, late) or what an honest venue would. Time is virtual (support/virtual.py).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support.trader import FillableDisk, build_spec
from support.virtual import VirtualClock
from tradingbot_api.conditions import TradingState
from tradingbot_api.spec import Risk, TradingBotSpec
from tradingbot_api.status import CredentialsReport
from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.book.store import Identity, Store
from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control.state import judge
from tradingbot_trader.desk import Desk
from tradingbot_trader.execution import Surroundings
from tradingbot_trader.live import LiveExecution
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.budget import RateBudget
from tradingbot_trader.orders.client_id import ClientOrderIds, build_client_order_id, hash_bot
from tradingbot_trader.orders.gateway import AnswerPolicy
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import (
    BookName,
    Intent,
    OrderState,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
)
from tradingbot_trader.orders.reconcile import Report
from tradingbot_trader.risk.engine import Conditions, Decision, RiskEngine
from tradingbot_trader.risk.limits import Limits, build_limits
from tradingbot_trader.risk.observed import Costs, TrustedPrice
from tradingbot_trader.strategy.base import Style, Target
from tradingbot_trader.venues.account import (
    AccountPort,
    AccountSink,
    AccountView,
    Answer,
    Balance,
    ExecutionReport,
    Gate,
    KeyPermissions,
    NotAllowed,
    OrderSnapshot,
    VenueSaid,
    VenueTrade,
)
from tradingbot_trader.venues.binance_outcomes import TABLE, back_off_seconds, is_order_count

BTC, ETH = "BTC/USDT", "ETH/USDT"
BOT = hash_bot("test", "desk", "btc")
OTHER_BOT = hash_bot("another installation", "desk", "btc")
POLICY = AnswerPolicy(table=TABLE, back_off_seconds=back_off_seconds, is_order_count=is_order_count)
LOST = Answer(is_sent=True, text="timeout")
NOT_SENT = Answer(is_sent=False, text="ConnectionRefusedError")
BUSY = Answer(is_sent=True, http_status=503, code="-1008", text="Server is currently overloaded.")
NOT_FOUND = Answer(is_sent=True, http_status=400, code="-2013", text="Order does not exist.")
UNKNOWN_ORDER = Answer(is_sent=True, http_status=400, code="-2011", text="Unknown order sent.")
POOR = Answer(
    is_sent=True, http_status=400, code="-2010", text="Account has insufficient balance for requested action."
)
DUPLICATE = Answer(is_sent=True, http_status=400, code="-2010", text="Duplicate order sent.")
FILTER = Answer(is_sent=True, http_status=400, code="-1013", text="Filter failure: LOT_SIZE")
SKEWED = Answer(
    is_sent=True, http_status=400, code="-1021", text="Timestamp for this request is outside of recvWindow."
)
DEAD_KEY = Answer(is_sent=True, http_status=401, code="-2015", text="Invalid API-key, IP, or permissions for action.")
CLOSED = Answer(is_sent=True, http_status=400, code="-2010", text="Market is closed.")
MALFORMED = Answer(is_sent=True, http_status=400, code="-1102", text="Mandatory parameter was not sent.")
THROTTLED = Answer(is_sent=True, http_status=429, code="-1003", text="Too many requests.", retry_after_seconds=30.0)
BANNED = Answer(is_sent=True, http_status=418, code="-1003", text="Way too many requests.", retry_after_seconds=120.0)
TOO_MANY_ORDERS = Answer(is_sent=True, http_status=429, code="-1015", text="Too many new orders.")
ZERO = Decimal(0)


def own_id(sequence: int, *, bot: str = BOT, epoch: int = 1) -> str:
    """A client order id of an earlier life of this bot, or of another bot."""
    return build_client_order_id(bot, epoch, sequence)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one call does instead of working."""

    answer: Answer | None
    """None: it works, only later."""
    is_done: bool = False
    """Whether the venue has carried it out all the same."""
    seconds: float = 0.0
    """Until the answer, or the time-out."""


class FakeAccount(AccountPort):
    """AccountPort over a venue in memory."""

    def __init__(self, clock: VirtualClock, *, account_id: str = "7", page: int = 1000) -> None:
        self.clock, self.account_id, self.page = clock, account_id, page
        self.balances: dict[str, Decimal] = {"USDT": Decimal(1000), "BTC": Decimal(0), "ETH": Decimal(0)}
        self.orders: dict[tuple[str, str], OrderSnapshot] = {}
        """By symbol and venue order id, as at Binance."""
        self.trades: list[VenueTrade] = []
        self.calls: list[tuple[str, ...]] = []
        """Each call that left, oldest first: its name and what it named."""
        self.latency_seconds = 0.0
        self.takes = ZERO
        """How much of each new order is filled at once."""
        self.unlisted: set[str] = set()
        """Client order ids that the list of all orders does not show yet, as it may at Binance; with `is_hiding` nobody
        can ask for them either."""
        self.untold_trades: set[str] = set()
        """Trade ids that no list shows yet, though the balances have them already."""
        self.is_hiding = False
        """Orders are not found, as Binance may do right after they were taken."""
        self.on_answer: Callable[[Answer], None] = lambda _answer: None
        """Told of each answer that is no success, as the key ring is of each of its clients."""
        self.sinks: list[AccountSink] = []
        self.tells = True
        """Whether what happens is told on the stream."""
        self._script: defaultdict[str, deque[Behaviour]] = defaultdict(deque)
        self._always: dict[str, Behaviour] = {}
        self._number = 100

    # What the test says

    def will(self, name: str, answer: Answer | None, *, times: int = 1, **how: Any) -> None:
        """The next calls of that name, of place, cancel, query (each that reads), or of one method."""
        self._script[name].extend([Behaviour(answer, **how)] * times)

    def always(self, name: str, answer: Answer | None, **how: Any) -> None:
        """Until `works`."""
        self._always[name] = Behaviour(answer, **how)

    def works(self) -> None:
        self._script.clear()
        self._always.clear()

    def count(self, name: str) -> int:
        return sum(call[0] == name for call in self.calls)

    def fill(
        self, client_order_id: str, quantity: str | Decimal, *, price: str = "", fee: tuple[str, str] = ("USDT", "0")
    ) -> VenueTrade:
        """A part of an order of whomever trades; told on the stream unless `tells` is off."""
        order = self.find(client_order_id)
        self._number += 1
        trade = VenueTrade(
            symbol=order.symbol,
            trade_id=str(self._number),
            venue_order_id=order.venue_order_id,
            side=order.side,
            price=Decimal(price or order.price),
            quantity_base=Decimal(quantity),
            fee_asset=fee[0],
            fee_amount=Decimal(fee[1]),
            event_time_ns=self.clock.now_ns(),
            is_maker=True,
        )
        self.trades.append(trade)
        self._move(trade)
        filled = order.filled_base + trade.quantity_base
        state = OrderState.FILLED if filled >= order.quantity_base else OrderState.PARTIALLY_FILLED
        self._put(replace(order, filled_base=filled, state=state, updated_ns=self.clock.now_ns()))
        self.tell(client_order_id, trade)
        return trade

    def end(self, client_order_id: str, state: OrderState = OrderState.CANCELLED) -> None:
        self._put(replace(self.find(client_order_id), state=state, updated_ns=self.clock.now_ns()))
        self.tell(client_order_id)

    def put(self, client_order_id: str, side: Side = Side.BUY, quantity: str = "0.1", **changes: Any) -> OrderSnapshot:
        """An order that somebody made: a person, another bot, or an earlier life."""
        self._number += 1
        values: dict[str, Any] = {
            "symbol": BTC,
            "client_order_id": client_order_id,
            "venue_order_id": str(self._number),
            "state": OrderState.OPEN,
            "side": side,
            "type": OrderType.LIMIT,
            "time_in_force": TimeInForce.GTC,
            "quantity_base": Decimal(quantity),
            "price": Decimal(100),
            "stop_price": None,
            "filled_base": ZERO,
            "created_ns": self.clock.now_ns(),
            "updated_ns": self.clock.now_ns(),
        }
        order = OrderSnapshot(**values | changes)
        self._put(order)
        return order

    def find(self, client_order_id: str) -> OrderSnapshot:
        return next(order for order in self.orders.values() if order.client_order_id == client_order_id)

    def has(self, client_order_id: str) -> bool:
        return any(order.client_order_id == client_order_id for order in self.orders.values())

    def tell(self, client_order_id: str, *trades: VenueTrade) -> None:
        """One message of the stream about the order as it is now."""
        if self.tells:
            for sink in self.sinks:
                sink.on_report(ExecutionReport(replace(self.find(client_order_id), trades=trades)))

    def hang_up(self, reason: str = "dropped") -> None:
        for sink in self.sinks:
            sink.on_stream(is_up=False, reason=reason)

    def come_back(self) -> None:
        for sink in self.sinks:
            sink.on_stream(is_up=True, reason="")

    # AccountPort

    async def place(self, intent: Intent, *, gate: Gate) -> OrderSnapshot:
        reason = gate()
        if reason:
            raise NotAllowed(reason)
        return await self._call("place", lambda: self._accept(intent), intent.client_order_id)

    async def cancel(self, symbol: str, client_order_id: str, *, gate: Gate) -> OrderSnapshot:
        reason = gate()
        if reason:
            raise NotAllowed(reason)
        return await self._call("cancel", lambda: self._cancel(symbol, client_order_id), client_order_id)

    async def find_order(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        return await self._read("find_order", lambda: self._look(symbol, client_order_id), client_order_id)

    async def find_order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderSnapshot:
        def look() -> OrderSnapshot:
            order = self.orders.get((symbol, venue_order_id))
            if order is None or (self.is_hiding and order.client_order_id in self.unlisted):
                raise VenueSaid(NOT_FOUND)
            return order

        return await self._read("find_order_by_venue_id", look, venue_order_id)

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderSnapshot, ...]:
        def look() -> tuple[OrderSnapshot, ...]:
            shown = (each for each in self.orders.values() if each.state.is_open and symbol in (None, each.symbol))
            return () if self.is_hiding else tuple(shown)

        return await self._read("open_orders", look)

    async def orders_since(self, symbol: str, venue_order_id: str) -> tuple[OrderSnapshot, ...]:
        def look() -> tuple[OrderSnapshot, ...]:
            found = (
                o
                for o in self.orders.values()
                if o.symbol == symbol
                and int(o.venue_order_id) >= int(venue_order_id)
                and o.client_order_id not in self.unlisted
            )
            return tuple(sorted(found, key=lambda each: int(each.venue_order_id))[: self.page])

        return await self._read("orders_since", look, symbol, venue_order_id)

    async def trades_since(self, symbol: str, trade_id: str) -> tuple[VenueTrade, ...]:
        def look() -> tuple[VenueTrade, ...]:
            shown = [t for t in self.trades if t.trade_id not in self.untold_trades]
            found = [t for t in shown if t.symbol == symbol and int(t.trade_id) >= int(trade_id)]
            return tuple(found[: self.page])

        return await self._read("trades_since", look, symbol, trade_id)

    async def trades_of(self, symbol: str, venue_order_id: str, trade_id: str) -> tuple[VenueTrade, ...]:
        def look() -> tuple[VenueTrade, ...]:
            mine = [t for t in self.trades if (t.symbol, t.venue_order_id) == (symbol, venue_order_id)]
            found = [t for t in mine if int(t.trade_id) >= int(trade_id)]
            return tuple(found[: self.page])

        return await self._read("trades_of", look, symbol, venue_order_id)

    async def account(self) -> AccountView:
        def look() -> AccountView:
            held = {asset: Balance(asset, total, ZERO) for asset, total in self.balances.items() if total}
            return AccountView(self.account_id, can_trade=True, balances=held)

        return await self._read("account", look)

    async def key_permissions(self) -> KeyPermissions:
        return KeyPermissions(can_trade=True, can_withdraw=False, can_transfer=False)

    async def run_stream(self, sink: AccountSink) -> None:
        self.sinks.append(sink)
        sink.on_stream(is_up=True, reason="")
        try:
            await asyncio.Event().wait()
        finally:
            self.sinks.remove(sink)
            sink.on_stream(is_up=False, reason="stopped")

    async def close(self) -> None:
        return

    # How it works

    async def _read(self, name: str, look: Callable[[], Any], *about: str) -> Any:
        return await self._call(name, look, *about, kind="query")

    async def _call(self, name: str, work: Callable[[], Any], *about: str, kind: str = "") -> Any:
        self.calls.append((name, *about))
        behaviour = self._behaviour(name, kind or name)
        done = work() if behaviour.answer is None or behaviour.is_done else None
        await self.clock.sleep(behaviour.seconds or self.latency_seconds)
        if behaviour.answer is not None:
            self.on_answer(behaviour.answer)
            raise VenueSaid(behaviour.answer)
        return done

    def _behaviour(self, name: str, kind: str) -> Behaviour:
        for each in (name, kind):
            if self._script[each]:
                return self._script[each].popleft()
            if each in self._always:
                return self._always[each]
        return Behaviour(None)

    def _accept(self, intent: Intent) -> OrderSnapshot:
        order = self.put(
            intent.client_order_id,
            intent.side,
            symbol=intent.symbol,
            quantity_base=intent.quantity_base,
            price=intent.price,
            type=intent.type,
            time_in_force=intent.time_in_force,
        )
        trades: tuple[VenueTrade, ...] = ()
        if taken := min(self.takes, intent.quantity_base):
            tells, self.tells = self.tells, False
            trades = (self.fill(intent.client_order_id, taken),)
            self.tells = tells
        order = self.find(intent.client_order_id)
        if intent.time_in_force is TimeInForce.IOC and order.state.is_open:
            self._put(replace(order, state=OrderState.EXPIRED))
        return replace(self.find(intent.client_order_id), trades=trades)

    def _cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        if not self.has(client_order_id) or self.find(client_order_id).symbol != symbol:
            raise VenueSaid(UNKNOWN_ORDER)
        if not self.find(client_order_id).state.is_open:
            raise VenueSaid(UNKNOWN_ORDER)
        self.end(client_order_id)
        return replace(self.find(client_order_id), created_ns=0)  # a cancel's answer does not tell when it was made

    def _look(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        if self.is_hiding or not self.has(client_order_id) or self.find(client_order_id).symbol != symbol:
            raise VenueSaid(NOT_FOUND)
        return self.find(client_order_id)

    def _put(self, order: OrderSnapshot) -> None:
        self.orders[order.symbol, order.venue_order_id] = order

    def _move(self, trade: VenueTrade) -> None:
        base, _, quote = trade.symbol.partition("/")
        sign = 1 if trade.side is Side.BUY else -1
        for asset, amount in (
            (base, sign * trade.quantity_base),
            (quote, -sign * trade.quantity_base * trade.price),
            (trade.fee_asset, -trade.fee_amount),
        ):
            self.balances[asset] = self.balances.get(asset, ZERO) + amount


class FakeKeys:
    """LiveExecution's Keys."""

    def __init__(self, account: FakeAccount | None) -> None:
        self.account: FakeAccount | None = None
        self.account_id, self.problem = "", "the credentials have not been read yet"
        if account is not None:
            self.take(account)

    def report(self) -> CredentialsReport:
        return CredentialsReport(
            ready=not self.problem, reason="Accepted" if not self.problem else "CredentialsMissing"
        )

    def take(self, account: FakeAccount) -> None:
        self.account, self.account_id, self.problem = account, account.account_id, ""
        account.on_answer = lambda answer: self._hear(account, answer)

    def _hear(self, account: FakeAccount, answer: Answer) -> None:
        if account is self.account and answer == DEAD_KEY:
            self.problem = f"the venue does not take the key any more: {answer}"

    async def run(self, on_change: Callable[[], None]) -> None:  # noqa: ARG002  the protocol
        await asyncio.Event().wait()


def build_instrument(symbol: str = BTC, **changes: Any) -> Instrument:
    base, _, quote = symbol.partition("/")
    values: dict[str, Any] = {
        "symbol": symbol, "venue_symbol": base + quote, "base": base, "quote": quote, "price_tick": Decimal("0.01"),
        "quantity_step": Decimal("0.001"), "min_quantity_base": Decimal("0.001"), "max_quantity_base": Decimal(9000),
        "min_notional_quote": Decimal(5),
    }  # fmt: skip
    return Instrument(**values | changes)


def loose_limits(**risk: Any) -> Limits:
    """No limit stands in the way, but orders of at most 20 USDT: 0.2 BTC at 100."""
    values = {
        "maxOrderNotional": "20", "maxPositionPercent": "100", "maxExposurePercent": "100", "maxOpenPositions": 10,
        "maxOrdersPerMinute": 600, "cooldownAfterLoss": "0s",
    }  # fmt: skip
    spec = Risk.model_validate(values | risk)
    return build_limits(spec, granted_quote=Decimal(100), stage_quote=Decimal(100))


class Rig:
    """One life of a live desk. What a test does not say is as in a world in which nothing goes wrong."""

    def __init__(
        self,
        folder: Path,
        clock: VirtualClock,
        account: FakeAccount | None,
        *,
        epoch: int = 0,
        disk: FillableDisk | None = None,
        symbols: Iterable[str] = (BTC,),
        keys: FakeKeys | None = None,
        claim: Callable[[str], None] | None = None,
        **spec: Any,
    ) -> None:
        self.clock, self.venue_clock = clock, VenueClock(clock)
        self.account = account or FakeAccount(clock)
        self.keys = keys or FakeKeys(account)
        self.disk = disk or FillableDisk()
        self.instruments = {symbol: build_instrument(symbol) for symbol in symbols}
        self.spec = TradingBotSpec.model_validate(
            build_spec(
                **{
                    "mode": "Live",
                    "symbols": list(symbols),
                    "credentials": {"secretName": "keys"},
                    "reconciliation": {"interval": "1h"},
                }
                | spec
            )
        )
        self.limits = loose_limits()
        self.price = Decimal(100)
        self.closed = ""
        """Why nothing may leave, as the trading state would say."""
        self.changes = 0
        self.failures: list[str] = []
        self.refreshed = self.resynced = 0
        identity = Identity(installation="test", namespace="desk", name="btc", venue="binance", network="Sandbox")
        self.store = Store.open(
            folder, identity, book=BookName.LIVE, account=None, now_ns=clock.now_ns(), disk=self.disk
        )
        number = self.store.begin_epoch(epoch, clock.now_ns())
        engine = RiskEngine(
            Ledger.rebuild(BookName.LIVE, self.store.fills(BookName.LIVE)),
            self.instruments,
            costs=Costs(),
            orders=self.store.open_orders(BookName.LIVE),
        )
        self.desk = Desk(
            engine=engine,
            store=self.store,
            ids=ClientOrderIds(BOT, number),
            clock=self.venue_clock,
            metrics=Metrics(),
            conditions=self._conditions,
            on_store_failure=lambda error: self.failures.append(str(error)),
            on_change=lambda: None,
        )
        self.execution = LiveExecution(
            Surroundings(
                desk=self.desk,
                clock=self.venue_clock,
                costs=Costs(),
                venue="binance",
                bot=BOT,
                instruments=self.instruments,
                configuration=lambda: SimpleNamespace(spec=self.spec),  # type: ignore[arg-type, return-value]  the part that is read
                may_place=lambda _intent: self.closed,
                refresh_rules=self._refresh,
                resync_clock=self._resync,
                on_change=self._change,
            ),
            self.keys,  # type: ignore[arg-type]
            policy=POLICY,
            budget=RateBudget(),
            claim_account=claim or (lambda account_id: self.store.claim_account(account_id, clock.now_ns())),
        )
        self.gateway, self.recovery = self.execution.gateway, self.execution.recovery
        self.desk.connect(self.gateway)
        self._running: asyncio.Task[None] | None = None

    # A life

    async def start(self, *, is_reconciled: bool = True) -> Rig:
        """Runs the execution; back when nothing holds trading back any more."""
        self._running = asyncio.create_task(self.execution.run())
        self._ticking = asyncio.create_task(self._tick())
        if is_reconciled:
            await self.until(lambda: not list(self.execution.causes()) or self.running.done())
        return self

    async def end(self) -> None:
        """As a SIGKILL would, as far as this process can."""
        if self._running is not None:
            self._running.cancel()
            self._ticking.cancel()
            await asyncio.gather(self._running, self._ticking, return_exceptions=True)
        self.store.close()

    async def _tick(self) -> None:
        """As the trading does twenty times a second."""
        while True:
            self.desk.cancel_again()
            await self.clock.sleep(0.05)

    @property
    def running(self) -> asyncio.Task[None]:
        assert self._running is not None
        return self._running

    async def until(self, look: Callable[[], object], *, seconds: float = 300.0) -> None:
        """Virtual seconds."""
        deadline_ns = self.clock.monotonic_ns() + int(seconds * 1e9)
        while not look():
            assert self.clock.monotonic_ns() < deadline_ns, (
                f"it did not come within {seconds} s: {self.recovery.report}"
            )
            await self.clock.sleep(0.01)

    async def reconcile(self) -> Report:
        return await self.recovery.reconcile("the test asks")

    # Orders

    def enter(self, symbol: str = BTC, *, style: Style = Style.LIMIT, rests: bool = True) -> str:
        """An entry of 0.2 at about 100; its client order id."""
        offset = Decimal("0.5") if rests else None
        decided = self.desk.pursue(symbol, Target(Decimal(1), limit_offset_percent=offset, reason="test", style=style))
        assert isinstance(decided, Decision), decided
        assert decided.is_approved, decided.denials
        return decided.intent.client_order_id

    def leave(self, symbol: str = BTC) -> str:
        decided = self.desk.exit(symbol, "test")
        assert isinstance(decided, Decision), decided
        assert decided.is_approved, decided.denials
        return decided.intent.client_order_id

    def order(self, client_order_id: str) -> Order:
        found = self.desk.find(client_order_id)
        assert found is not None, f"{client_order_id} is in no book"
        return found

    def state(self, client_order_id: str) -> OrderState:
        return self.order(client_order_id).state

    def held(self, symbol: str = BTC) -> Decimal:
        return self.desk.engine.ledger.position(symbol).quantity_base

    async def settle(self, seconds: float = 1.0) -> None:
        await self.clock.sleep(seconds)

    def kinds(self) -> list[str]:
        """Of the audit, in order."""
        return [record.kind for record in self.store.audit_records()]

    def _conditions(self, symbol: str) -> Conditions:
        return Conditions(
            now_ns=self.venue_clock.now_ns(),
            state=judge(self.execution.causes()).state if not self.closed else TradingState.REDUCE_ONLY,
            limits=self.limits,
            price=TrustedPrice(self.price, self.venue_clock.now_ns()),
            available_base=self.execution.available_base(symbol),
            opening_cash_quote=self.execution.opening_cash_quote(self.limits),
        )

    def _refresh(self) -> None:
        self.refreshed += 1

    def _resync(self) -> None:
        self.resynced += 1

    def _change(self) -> None:
        self.changes += 1


def intent_of(client_order_id: str, **changes: Any) -> Intent:
    """Buy 0.1 BTC at 100, live."""
    values: dict[str, Any] = {
        "client_order_id": client_order_id, "book": BookName.LIVE, "symbol": BTC, "side": Side.BUY,
        "type": OrderType.LIMIT, "time_in_force": TimeInForce.GTC, "purpose": Purpose.ENTRY,
        "quantity_base": Decimal("0.1"), "price": Decimal(100), "created_ns": 0, "reason": "test",
    }  # fmt: skip
    return Intent(**values | changes)


def totals(account: FakeAccount) -> Mapping[str, Decimal]:
    return {asset: amount for asset, amount in account.balances.items() if amount}

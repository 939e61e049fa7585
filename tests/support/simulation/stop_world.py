"""A world for one stop: a calm market that is moved by hand, a strategy that keeps on buying, and an eye on the latch.

Nothing here is drawn: what happens is what a cell of the matrix says (stop_cells.py). The wire, the venue's book and
the store are watched all the time, whatever the trader says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from support.simulation.market import FIRST_PRICE, STEP_NS, SYMBOLS, SmallMarket
from support.simulation.plan import Plan
from support.simulation.stop_truth import check_flat, is_tradable
from support.simulation.truth import Violation
from support.simulation.venue import Sent
from support.simulation.world import LiveKube, World, build_live_spec
from tradingbot_sandbox.market.events import Trade
from tradingbot_trader.book.reader import StoredLatch, open_reader
from tradingbot_trader.control.kube import KubeError
from tradingbot_trader.market.events import Candle
from tradingbot_trader.orders.order import BookName, OrderState
from tradingbot_trader.strategy.base import BaseStrategy, Parameters, Strategy, Style, Target

BTC, ETH = SYMBOLS
LOOK_SECONDS = 0.05
"""As often as the trader looks itself."""
PATIENCE_SECONDS = 150.0
"""An order that nobody finds takes its minute and three scans (orders/doubt.py)."""
BUY_SOME = Target(Decimal("0.25"), reason="base", style=Style.MARKET)
BUY_MORE = Target(Decimal(1), reason="pressure", style=Style.MARKET)
REST = Target(Decimal(1), limit_offset_percent=Decimal("0.5"), reason="rests")


class CalmMarket(SmallMarket):
    """Stays where it is put, to a tick."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._middle = dict(self._prices)
        self._dips: list[tuple[str, Decimal, Decimal]] = []

    def move(self, symbol: str, percent: str) -> None:
        self._middle[symbol] += int(self._middle[symbol] * Decimal(percent) / 100)

    def put(self, symbol: str, price: Decimal = FIRST_PRICE) -> None:
        self._middle[symbol] = int(price * 100)

    def dip(self, symbol: str, percent: str, quantity: str) -> None:
        """One trade so far below, of so much: it fills a part of what rests above it."""
        price = (self._middle[symbol] * (1 - Decimal(percent) / 100)).to_integral_value() / 100
        self._dips.append((symbol, price, Decimal(quantity)))

    def _move(self, symbol: str) -> int:
        return self._middle[symbol] + self._random.choice((-1, 0, 1))

    def _step(self) -> None:
        at_ns = (self._started_ns or 0) + self._steps * STEP_NS
        for symbol, price, quantity in self._dips:
            self._ready.append(Trade(symbol, 0, price, quantity, at_ns, at_ns, buyer_is_maker=True))
        self._dips.clear()
        super()._step()


class NoParameters(Parameters):
    """The test says what is wanted."""


class Prompted(BaseStrategy[NoParameters, int]):
    """Wants at each candle what the test wants at that moment: a strategy that never gives up."""

    name: ClassVar[str] = "prompted"
    parameters_class = NoParameters

    def __init__(self) -> None:
        self.wishes: dict[str, Target] = {}
        self.before_next: Callable[[], object] | None = None
        """Done in the loop's next turn after the next wish: before the order that comes of it can leave."""

    def warmup_candles(self, parameters: NoParameters) -> int:  # noqa: ARG002  the interface
        return 0

    def initial_state(self, parameters: NoParameters) -> int:  # noqa: ARG002  as above
        return 0

    def on_candle(self, parameters: NoParameters, state: int, candle: Candle) -> tuple[int, Target | None]:  # noqa: ARG002
        wish, before = self.wishes.get(candle.symbol), self.before_next
        if wish is not None and before is not None:
            self.before_next = None
            asyncio.get_running_loop().call_soon(before)
        return state, wish


class StopKube(LiveKube):
    """With an operator that mirrors the latch, until it is dead; and a Lease that may be refused."""

    def __init__(self, spec: dict[str, Any], world: StopWorld) -> None:
        super().__init__(spec)
        self._world = world
        self.is_operator_dead = False
        self.refuses_lease = False
        self.heard_ns: dict[str, int] = {}
        """When the halts were read last, and the Lease renewed."""

    def permit(self, *, stage: str | None = None, **changes: Any) -> None:
        if not self.is_operator_dead:
            super().permit(stage=stage, **changes)

    async def apply_status(self, trader: Mapping[str, Any]) -> None:
        self._answer()
        self._world.on_status(trader)
        if self.bot is not None and not self.is_operator_dead:
            self.bot["status"]["killSwitch"] = dict(trader.get("latch") or {})
        await super().apply_status(trader)

    async def list_halts(self) -> Any:
        listing = await super().list_halts()
        self.heard_ns["halts"] = self._world.clock.monotonic_ns()
        return listing

    async def get_lease(self) -> dict[str, Any] | None:
        self._check_lease()
        return await super().get_lease()

    async def replace_lease(self, body: Mapping[str, Any], *, resource_version: str) -> dict[str, Any]:
        self._check_lease()
        lease = await super().replace_lease(body, resource_version=resource_version)
        self.heard_ns["lease"] = self._world.clock.monotonic_ns()
        return lease

    def _check_lease(self) -> None:
        if self.refuses_lease:
            raise KubeError("leases.coordination.k8s.io is forbidden", status=403)


class StopWorld(World):
    """Driven by a cell: `async with world.playing()`, then step by step."""

    kube: StopKube

    def __init__(self, folder: Path, *, action: str, risk: Mapping[str, str]) -> None:
        self.strategy = Prompted()
        self.market = CalmMarket(1)
        plan = Plan(seed=1, spec={"strategy": {"name": Prompted.name, "timeframe": "1s"}})
        super().__init__(plan, folder)
        self.venue.tells_candles = True
        spec = build_live_spec(plan)
        spec["killSwitch"] = {"action": action}
        spec["risk"] |= risk
        self.kube = StopKube(spec, self)
        self.kube.permit()
        self.no_sales_for = ""
        """While this says something, no sale may leave: why not."""
        self.no_buys_for = ""
        """While this says something, no entry may leave: why not."""
        self.must_reconcile_since_ns = 0
        """No entry may leave before the account was read after that."""

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Raises Violation at the end, or when a step does not come."""
        self._write_keys()
        pump = asyncio.create_task(self.venue.pump(), name="pump")
        self.begin()
        try:
            yield
        finally:
            pump.cancel()
            await self._end_life()
            await asyncio.gather(pump, return_exceptions=True)

    def begin(self) -> None:
        self._begin_life()

    async def crash(self) -> None:
        """Nothing of the process is left but what is durable."""
        await self._end_life()

    async def end(self) -> None:
        """SIGTERM, and the process has ended."""
        await self._end_life(gently=True)

    def terminate(self) -> None:
        assert self._stopping is not None
        self._stopping.set()

    def fill_disk(self, *, is_full: bool) -> None:
        assert self._disk is not None
        self._disk.is_full = is_full

    def come_back(self) -> None:
        """The API server answers again."""
        self._come_back()

    def revive_operator(self) -> None:
        self.kube.is_operator_dead = False
        self.kube.permit()

    # Waiting

    async def until(self, what: str, look: Any, seconds: float = PATIENCE_SECONDS) -> Any:
        deadline = self._seconds() + seconds
        while not (found := look()):
            if self._is_over() or self._seconds() >= deadline:
                self._report(f"{what}: it did not come. Status: {self.describe()}")
                self.raise_violations()
            await self.clock.sleep(LOOK_SECONDS)
        return found

    async def until_ns(self, at_ns: int) -> None:
        await self.clock.sleep(max(at_ns - self.clock.monotonic_ns(), 0) / 1e9)

    def says(self, state: str) -> bool:
        return self._says(state)

    def describe(self) -> str:
        names = ("state", "stateReasons", "reconciliation", "unresolvedOrders", "latch", "openOrders")
        return str({name: self.kube.trader.get(name) for name in names})

    # Looking

    def latch(self) -> StoredLatch | None:
        """By the store: what is there survives."""
        if not (self.store / "store.db").exists():
            return None
        with open_reader(self.store) as reader:
            return reader.current_latch()

    def latches(self) -> list[StoredLatch]:
        with open_reader(self.store) as reader:
            return reader.latches()

    def held(self) -> dict[str, Decimal]:
        """By the venue's own trades; what is large enough to sell."""
        return {s: h.quantity for s, h in self.truth.holdings().items() if is_tradable(h.quantity)}

    def entries_open(self) -> list[str]:
        """At the venue."""
        return [order.client_id for order in self.truth.open_orders() if order.side.is_buy]

    def orders_denied(self) -> int:
        """Decided, and then held back where the bytes leave."""
        with open_reader(self.store) as reader:
            return len(reader.orders_in_state(BookName.LIVE, [OrderState.DENIED]))

    def own_sales(self) -> Decimal:
        own = {order.client_id for order in self.truth.own_orders()}
        return sum(
            (t.quantity for t in self.venue.account.trades if t.order.client_id in own and not t.order.side.is_buy),
            Decimal(0),
        )

    def entries_under_way(self) -> list[Sent]:
        """On the wire: the venue has not said anything yet."""
        now_ns = self.clock.now_ns()
        sent = [each for each in self.venue.sent if each.is_order and each.values.get("side") == "BUY"]
        return [each for each in sent if each.status is None and now_ns - each.at_ns < 5e9]

    def bought_since(self, at_ns: int) -> list[Sent]:
        """Entries that left after that and that the venue took."""
        sent = [each for each in self.venue.sent if each.is_order and each.at_ns >= at_ns and each.status == 200]
        return [each for each in sent if each.values.get("side") == "BUY"]

    def reconciled_since(self, at_ns: int) -> bool:
        """By the wire: the account, its orders and its trades were read after that."""
        paths = {each.path for each in self.venue.sent if each.at_ns > at_ns and each.status == 200}
        return paths >= {"/api/v3/account", "/api/v3/openOrders"}

    # Judging all the time

    def on_status(self, trader: Mapping[str, Any]) -> None:
        """Each word of the trader, in the moment in which it is said."""
        told = trader.get("latch") or {}
        if told.get("acknowledgedAt") and told.get("state") in ("Stopping", "Stopped"):
            stored = self.latch()
            if stored is None or stored.latch.id != told["id"]:
                self._report(f"P4: {told['id']} is acknowledged, and the store does not have it")
        if told:
            for text in check_flat(told, self.held(), self.entries_open(), len(self.entries_under_way())):
                self._report(f"P4: {text}")

    def _check_leave(self, sent: Sent) -> None:
        super()._check_leave(sent)
        if not sent.is_order:
            return
        who = f"{sent.values.get('type')} {sent.values.get('side')} {sent.values.get('newClientOrderId')}"
        if sent.values.get("side") == "BUY":
            stored = self.latch()
            if stored is not None:
                self._report(f"P4: {who} left after {stored.latch.id} was durable ({stored.latch.source})")
            if not self.reconciled_since(self.must_reconcile_since_ns):
                self._report(f"P5: {who} left before a fresh reconciliation")
            if self.no_buys_for:
                self._report(f"P5: {who} left: {self.no_buys_for}")
        elif self.no_sales_for and not sent.values.get("stopPrice"):
            self._report(f"P4: {who} left: {self.no_sales_for}")

    def raise_violations(self) -> None:
        counted = Counter(self.truth.violations)
        if counted:
            raise Violation("\n".join(f"{many} x {text}" for text, many in list(counted.items())[:12]))

    def report(self, text: str) -> None:
        self._report(text)

    def _build_market(self) -> SmallMarket:
        return self.market

    def _find_strategy(self, name: str) -> Strategy:
        if name != Prompted.name:
            raise ValueError(name)
        return self.strategy

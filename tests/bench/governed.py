"""SHELL. The whole trader in the bench's process, on a real API server without any operator, and its gate in reach.

The session is the program's own: lease, watch, reports, store, market. A figure sees two of its seams: what the control
plane delivers, and what an order is asked where its bytes would leave (`Surroundings.may_place`). The permit is what an
operator would have granted; the bench writes it once, because the digest leaves the kill switch out.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.integration.operator import conftest as parts

from bench.composed import SYMBOL, TimedDisk, Waiting, build_bot_spec, until
from bench.operator_process import Cluster
from tradingbot_api import API_VERSION, labels
from tradingbot_api.digest import digest_spec
from tradingbot_api.spec import ExchangeId, Network, TradingBotSpec
from tradingbot_sandbox.venues.process import VenueProcess
from tradingbot_trader import log, process
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.control.kube import KubernetesApi
from tradingbot_trader.execution import Execution, Surroundings
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.order import BookName, Intent, OrderType, Purpose, Side, TimeInForce
from tradingbot_trader.session import Session, Settings
from tradingbot_trader.venues.ccxt_port import build_market_data
from tradingbot_trader.venues.port import MarketDataPort

Raw = dict[str, Any]
NAMESPACE, NAME = "desk", "btc"
ASK_SECONDS = 0.0005
"""Between two questions; epoll makes it a millisecond. What is measured is the next question, not the new state."""
START_SECONDS = 120.0
RULES: list[Raw] = [
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots", "tradinghalts"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots/status"], "verbs": ["patch"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"]},
]
"""What control/kube.py says that a trader needs."""
ENTRY = Intent(
    client_order_id="0" * 32,
    book=BookName.PAPER,
    symbol=SYMBOL,
    side=Side.BUY,
    type=OrderType.LIMIT,
    time_in_force=TimeInForce.GTC,
    purpose=Purpose.ENTRY,
    quantity_base=Decimal("0.001"),
    price=Decimal(10_000),
    created_ns=0,
    reason="bench",
)
"""Nobody sends it: the gate looks at what it is for."""


class Governed(Session):
    """The session, and when it heard of a stop."""

    def __init__(self, settings: Settings, *, port: MarketDataPort, disk: TimedDisk, **parts: Any) -> None:
        super().__init__(settings, port=port, disk=disk, **parts)
        self.market, self.disk = port, disk
        self.gate: Gate | None = None
        self.heard_ns = 0
        """When the control plane delivered `engaged: true`; 0: not since `forget`."""
        self.commits_before = 0
        """How many there were then."""
        self.commits_at_refusal = 0
        """How many there were when an order was refused."""
        self.reported_latch = ""
        """Its id, by our own report as it came back from the API server; empty: none is latched that is not let go."""
        self.taken_up = 0
        """The generation of the spec that our own report calls accepted, as it came back."""
        self.let_go = ""
        """The latch for which a re-arm was asked last: a report that is still under way may tell of it once more."""

    @property
    def contact_ns(self) -> int | None:
        """When the last pair of reads that was answered had been sent, by the monotonic clock."""
        return self._watch.last_contact_ns

    def forget(self) -> None:
        """A new sample begins."""
        self.heard_ns = self.commits_before = self.commits_at_refusal = 0
        self.disk.commits_seconds.clear()
        if self.gate is not None:
            self.gate.forget()

    def _build_execution(self, around: Surroundings) -> Execution:
        self.gate = Gate(around, self._note_commits)
        return super()._build_execution(around)

    def _note_commits(self) -> None:
        self.commits_at_refusal = len(self.disk.commits_seconds)

    def _on_control(self, bot: Raw | None, halts: list[Raw] | None) -> None:
        if bot is not None:
            if not self.heard_ns and bot["spec"].get("killSwitch", {}).get("engaged"):
                self.heard_ns, self.commits_before = time.monotonic_ns(), len(self.disk.commits_seconds)
            report = bot.get("status", {}).get("trader", {})
            config, latch = report.get("config", {}), report.get("latch", {})
            self.taken_up = config.get("generation", 0) if config.get("accepted") else 0
            is_news = latch.get("state") != "Armed" and latch.get("id", "") != self.let_go
            self.reported_latch = latch.get("id", "") if is_news else ""
        super()._on_control(bot, halts)


class Gate:
    """Asks all the time whether an entry may leave, as if one were about to."""

    def __init__(self, around: Surroundings, on_refusal: Callable[[], None]) -> None:
        """`on_refusal` is told of each refusal for a new reason."""
        self._may_place, self.on_refusal = around.may_place, on_refusal
        self.is_open = False
        self.asked = 0
        self.refusals: dict[str, int] = {}
        """Since `forget`, by their words: when each was first heard, by the monotonic clock."""

    def forget(self) -> None:
        self.refusals.clear()
        self.asked = 0

    def refused_ns(self, word: str) -> int:
        """When it was first refused for that cause; 0: not yet."""
        return min((at_ns for reason, at_ns in self.refusals.items() if word in reason), default=0)

    async def run(self) -> None:
        while True:
            reason = self._may_place(ENTRY)
            self.asked += 1
            self.is_open = not reason
            if reason and reason not in self.refusals:
                self.refusals[reason] = time.monotonic_ns()
                self.on_refusal()
            await asyncio.sleep(ASK_SECONDS)


def create_bot(cluster: Cluster, *, kill_switch: Mapping[str, Any] | None = None) -> None:
    """The bot, its Lease and its permit, as if an operator had been here."""
    desk = cluster.create_namespace(NAMESPACE)
    spec = build_bot_spec(BookName.PAPER, strategy={"name": Waiting.name, "timeframe": "1m", "parameters": {}})
    bot = _required(
        desk.admin.create(
            desk.path("TradingBot") + "?fieldValidation=Strict",
            {
                "apiVersion": API_VERSION,
                "kind": "TradingBot",
                "metadata": {"name": NAME},
                "spec": spec | {"killSwitch": dict(kill_switch or {})},
            },
        )
    )
    _required(
        desk.admin.create(
            desk.path("Lease"),
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": labels.child_name(NAME)},
                "spec": {},
            },
        )
    )
    parsed = TradingBotSpec.model_validate(bot["spec"])
    stage = parsed.capital.find_stage(parsed.capital.stage)
    permit = {
        "uid": bot["metadata"]["uid"], "mode": "Paper", "stage": stage.name, "limit": str(stage.limit),
        "digest": digest_spec(parsed), "specGeneration": 1, "issuedAt": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    _required(desk.admin.merge(desk.path("TradingBot", NAME) + "/status", {"status": {"permit": permit}}))


@asynccontextmanager
async def governed(
    cluster: Cluster, venue: VenueProcess, folder: Path, *, url: str = "", ca: Path | None = None
) -> AsyncIterator[Governed]:
    """Runs, and lets entries pass, when it is entered. `url` and `ca`: of what stands before the API server."""
    log.configure(namespace=NAMESPACE, name=NAME)  # as in a pod: what it costs to log is part of every path
    plane = cluster.control_plane
    account = parts.create_account(plane.admin, ca or plane.ca, folder / "service-account", "trader", RULES)
    address = urlsplit(url or plane.url)
    environ = {"KUBERNETES_SERVICE_HOST": address.hostname or "", "KUBERNETES_SERVICE_PORT": str(address.port)}
    clock = SystemClock()
    port = build_market_data(
        ExchangeId.BINANCE, Network.SANDBOX, clock=clock, rest_url=venue.rest_url, stream_url=venue.stream_url
    )
    kube = KubernetesApi(namespace=NAMESPACE, name=NAME, service_account_dir=account.folder, environ=environ)
    session = Governed(
        Settings(
            namespace=NAMESPACE,
            name=NAME,
            pod="btc-0",
            installation="bench",
            exchange=ExchangeId.BINANCE,
            network=Network.SANDBOX,
            book=BookName.PAPER,
            store=folder / "store",
            version="0",
        ),
        kube=kube,
        port=port,
        clock=clock,
        jitter=random.Random(1),  # noqa: S311  jitter
        metrics=Metrics(),
        disk=TimedDisk(),
        find_strategy=lambda _: Waiting(),
    )
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(session.run(stopping))]
    try:
        await until("the gate", lambda: session.gate, tasks, seconds=START_SECONDS)
        gate = required_gate(session)
        tasks.append(asyncio.create_task(gate.run()))
        await until("an open gate", lambda: gate.is_open, tasks, seconds=START_SECONDS)
        process.settle()  # as __main__ does, when everything is loaded
        yield session
    finally:
        stopping.set()
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await port.close()
        await kube.close()


def required_gate(session: Governed) -> Gate:
    if session.gate is None:
        raise RuntimeError("the trader has not come to its execution yet")
    return session.gate


def _required(answer: Any) -> Raw:
    if not answer.is_success:
        raise RuntimeError(f"the API server refused what the bench needs: {answer.body}")
    body: Raw = answer.body
    return body

"""One life of the real trader, composed as tradingbot_trader.__main__ does, that ends by SIGKILL at a named point.

Real: session, SQLite, ccxt, HTTP, streams, keys, clock. Played: the API server (an object in memory, which says Live)
and the strategy. Run by nursery.py in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from support.kill.one_order import OneOrder
from support.kill.seams import KillingDisk, KillingTap, KillingTransport
from support.trader import FakeKube, build_spec
from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader import log
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.live_binance import build_live
from tradingbot_trader.metrics import Metrics
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.session import Session, Settings
from tradingbot_trader.venues.account_stream import AccountTap, Connect
from tradingbot_trader.venues.ccxt_account import Accounts
from tradingbot_trader.venues.ccxt_port import build_market_data
from tradingbot_trader.venues.port import Addresses
from tradingbot_trader.venues.transport import AiohttpTransport

INSTALLATION, NAMESPACE = "kill", "desk"
STATUS, PASSED, KILLED, LOG, GO = "status.json", "passed", "killed", "log", "go"
"""Files of a life: its newest `status.trader`, each point that it passed, the one at which it was killed, its log, and
the leave to order that it may have to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """To one life. Everything is text or a number: it travels as JSON."""

    folder: str
    """Of the life."""
    store: str
    keys: str
    name: str
    """Of the bot: part of its client order ids, by which the fault script knows the case."""
    address: str
    """The simulator's."""
    uid: int
    """The account's."""
    rule: int
    """The fault rule that holds the answer back; 0: none."""
    point: str
    may_order: bool
    waits_for_go: bool
    """It orders only when the file is there."""
    parameters: Mapping[str, Any]


class TellingKube(FakeKube):
    """Writes what the trader says of itself where the other process sees it."""

    def __init__(self, spec: dict[str, Any], path: Path) -> None:
        super().__init__(spec)
        self._path = path

    async def apply_status(self, trader: Mapping[str, Any]) -> None:
        await super().apply_status(trader)
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps(trader))
        fresh.replace(self._path)


class Points:
    """Notes each point that is passed, and kills at the one that is wanted."""

    def __init__(self, folder: Path, point: str) -> None:
        self.passed: set[str] = set()
        self._folder, self._point = folder, point
        self._fd = os.open(folder / PASSED, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, point: str) -> None:
        self.passed.add(point)
        os.write(self._fd, f"{point}\n".encode())
        if point == self._point:
            (self._folder / KILLED).write_text(point)
            os.kill(os.getpid(), signal.SIGKILL)


class VenueTruth:
    """How far the venue has come, from its own control."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._session: aiohttp.ClientSession | None = None

    async def has_seen(self, point: str, client_id: str) -> bool:
        if point.endswith(":after-send"):
            rules = (await self._get("faults"))["rules"]
            return any(each["rule"] == self._orders.rule and each["hits"] > 0 for each in rules)
        account = await self._get(f"accounts/{self._orders.uid}")
        if point == "cancel:after-accept":
            return any(o["clientOrderId"] == client_id and o["status"] == "CANCELED" for o in account["orders"])
        return client_id in account["acceptedByClientId"]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _get(self, path: str) -> Any:
        self._session = self._session or aiohttp.ClientSession()
        async with self._session.get(f"http://{self._orders.address}/sandbox/{path}") as answer:
            return await answer.json()


def live_spec(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return build_spec(
        mode="Live",
        strategy={"name": OneOrder.name, "timeframe": "1s", "parameters": dict(parameters)},
        capital={"currency": "USDT", "stage": "small", "stages": [{"name": "small", "limit": "100"}]},
        risk={
            "maxOrderNotional": "20", "maxPositionPercent": "90", "maxExposurePercent": "90", "cooldownAfterLoss": "0s",
            "maxOrdersPerMinute": 600, "stopLossPercent": "20", "maxDailyLossPercent": "50", "maxDrawdownPercent": "50",
            "maxTradeLossPercent": "50",
        },
        credentials={"secretName": "keys"},
    )  # fmt: skip


async def live(orders: Orders) -> None:
    """Until SIGTERM, or the point."""
    folder = Path(orders.folder)
    log.configure(namespace=NAMESPACE, name=orders.name, level="info")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    points, truth, clock = Points(folder, orders.point), VenueTruth(orders), SystemClock()
    rest_url, stream_url = f"http://{orders.address}/api/v3", f"ws://{orders.address}/ws"
    addresses = Addresses(rest_url=rest_url, stream_url=stream_url)
    kube = TellingKube(live_spec(orders.parameters), folder / STATUS)
    kube.permit(mode="Live")
    market = build_market_data(
        ExchangeId.BINANCE, Network.SANDBOX, clock=clock, rest_url=rest_url, stream_url=stream_url
    )

    def wants_order() -> bool:
        may = orders.may_order and (not orders.waits_for_go or (folder / GO).exists())
        if not may or kube.trader.get("state") != "Active":
            return False
        if orders.point.startswith("commit:fill:"):  # again, when the market did not come to the one before
            return kube.trader.get("openOrders") == 0 and orders.point not in points.passed
        return "commit:intent:before" not in points.passed

    strategy = OneOrder(wants_order)
    session = Session(
        Settings(
            namespace=NAMESPACE,
            name=orders.name,
            pod="kill-0",
            installation=INSTALLATION,
            exchange=ExchangeId.BINANCE,
            network=Network.SANDBOX,
            book=BookName.LIVE,
            store=Path(orders.store),
            version="0",
        ),
        kube=kube,
        port=market,
        clock=clock,
        jitter=random.Random(),  # noqa: S311  jitter, no secret
        metrics=Metrics(),
        disk=KillingDisk(points),
        build_live=build_live(
            ExchangeId.BINANCE,
            Network.SANDBOX,
            addresses,
            Path(orders.keys),
            transport=KillingTransport(AiohttpTransport(), points, watched=orders.point, has_seen=truth.has_seen),
            connect=_connect(addresses, Path(orders.keys), clock, points),
        ),
        find_strategy=lambda _name: strategy,
    )
    try:
        await session.run(stopping)
    finally:
        await market.close()
        await truth.close()


def _connect(addresses: Addresses, keys: Path, clock: SystemClock, points: Points) -> Connect:
    """The real ccxt's connection, dialled by a client of its own, because a seam stands in the place of the inner."""
    accounts = Accounts(
        ExchangeId.BINANCE,
        Network.SANDBOX,
        clock=clock,
        symbol_of=str,  # unused: the outer client reads the messages
        rest_url=addresses.rest_url,
        stream_url=addresses.stream_url,
    )
    account = accounts.build(api_key=(keys / "apiKey").read_text(), api_secret=(keys / "apiSecret").read_text())

    async def connect(tap: AccountTap) -> None:
        await account._dial(KillingTap.around(tap, points))

    return connect

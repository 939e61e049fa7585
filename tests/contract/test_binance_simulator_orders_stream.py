"""The real, unmodified ccxt.pro against the Binance simulator as a real process: the user data stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import ccxt.pro as ccxtpro
import pytest

from tradingbot_sandbox.venues.process import VenueProcess, running_venue

DEADLINE_SECONDS = 30


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
def uid(venue: VenueProcess) -> int:
    return venue.open_account({"USDT": "10000", "BTC": "1"})


class Watcher:
    """ccxt.pro, with each message of the user data stream taken where it is handled."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.events: list[dict[str, Any]] = []
        self._has_news = asyncio.Event()
        for name in ("handle_order_update", "handle_balance"):
            self._tap(name)

    def _tap(self, name: str) -> None:
        handle = getattr(self.client, name)

        def take(client: Any, message: dict[str, Any]) -> None:
            self.events.append(message)
            self._has_news.set()
            handle(client, message)

        setattr(self.client, name, take)

    def reports(self, order_id: object) -> list[tuple[str, str]]:
        """Execution types and states of one order."""
        return [(e["x"], e["X"]) for e in self.events if e.get("x") and str(e["i"]) == str(order_id)]

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait until enough was heard."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_true():
                self._has_news.clear()
                await self._has_news.wait()


async def poke(waiting: asyncio.Future[Any], do: Callable[[], Awaitable[object]]) -> Any:
    """Do it again until what is watched has come: what happens before ccxt begins to wait is lost to it."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not waiting.done():
            await do()
            await asyncio.wait({waiting}, timeout=0.1)
    return waiting.result()


@pytest.fixture
async def watcher(venue: VenueProcess, uid: int) -> AsyncIterator[Watcher]:
    key, secret = venue.issue_key(uid)
    client = ccxtpro.binance(
        {
            "apiKey": key,
            "secret": secret,
            "enableRateLimit": False,
            "newUpdates": True,
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False},
        }
    )
    client.urls["api"] |= {"public": venue.rest_url, "private": venue.rest_url}
    client.urls["api"]["ws"]["spot"] = venue.stream_url
    client.urls["api"]["ws"]["ws-api"]["spot"] = venue.session_url
    async with asyncio.timeout(DEADLINE_SECONDS):
        await client.load_markets()
        client.balance["spot"] = {}  # without it, and before any watch_...(), its handler of balances raises KeyError
        await client.authenticate({"type": "spot"})
        yield Watcher(client)
        await client.close()


async def test_order_is_heard_from_its_acceptance_to_its_last_fill(
    watcher: Watcher, venue: VenueProcess, uid: int
) -> None:
    order = await watcher.client.create_order("BTC/USDT", "market", "buy", 0.02, None, {"clientOrderId": "heard"})
    await watcher.until(lambda: ("TRADE", "FILLED") in watcher.reports(order["id"]))
    assert watcher.reports(order["id"])[0] == ("NEW", "NEW")
    told = [e["t"] for e in watcher.events if e.get("x") == "TRADE"]
    assert told == [trade["id"] for trade in venue.account(uid)["trades"]]


async def test_cancel_is_heard_with_the_orders_own_id(watcher: Watcher) -> None:
    ticker = await watcher.client.fetch_ticker("BTC/USDT")
    price = float(watcher.client.price_to_precision("BTC/USDT", ticker["bid"] * 0.9))
    order = await watcher.client.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"clientOrderId": "mine"})
    await watcher.client.cancel_order(order["id"], "BTC/USDT", {"newClientOrderId": "the-cancel"})
    await watcher.until(lambda: ("CANCELED", "CANCELED") in watcher.reports(order["id"]))
    (report,) = [e for e in watcher.events if e.get("x") == "CANCELED"]
    assert (report["C"], report["c"]) == ("mine", "the-cancel")


async def test_orders_and_fills_are_watched(watcher: Watcher) -> None:
    orders = asyncio.ensure_future(watcher.client.watch_orders("BTC/USDT"))
    trades = asyncio.ensure_future(watcher.client.watch_my_trades("BTC/USDT"))

    async def sell() -> None:
        await watcher.client.create_order("BTC/USDT", "market", "sell", 0.01)

    assert {order["side"] for order in await poke(orders, sell)} == {"sell"}
    assert {trade["fee"]["currency"] for trade in await poke(trades, sell)} == {"USDT"}


async def test_balance_is_watched(watcher: Watcher, venue: VenueProcess, uid: int) -> None:
    balance = asyncio.ensure_future(watcher.client.watch_balance())

    async def deposit() -> None:
        await asyncio.to_thread(venue.transfer, uid, "USDT", "5")

    assert (await poke(balance, deposit))["USDT"]["free"] > 0
    await watcher.until(lambda: watcher.events[-1:] != [] and watcher.events[-1]["e"] == "outboundAccountPosition")
    free = sum(
        Decimal(transfer["amount"]) for transfer in venue.account(uid)["transfers"] if transfer["asset"] == "USDT"
    )
    assert watcher.events[-1]["B"] == [{"a": "USDT", "f": f"{free:.8f}", "l": "0.00000000"}]


async def test_person_is_heard(watcher: Watcher, venue: VenueProcess, uid: int) -> None:
    placed = await asyncio.to_thread(
        venue.order_by_hand, uid, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001"
    )
    await watcher.until(lambda: ("TRADE", "FILLED") in watcher.reports(placed["orderId"]))


async def test_wrong_secret_is_refused(venue: VenueProcess, uid: int) -> None:
    key, secret = venue.issue_key(uid)
    client = ccxtpro.binance({"apiKey": key, "secret": secret[::-1]})
    client.urls["api"]["ws"]["ws-api"]["spot"] = venue.session_url
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            # ccxt 4.5.90 forgets the refused subscription twice, and its KeyError hides the refusal
            with pytest.raises(KeyError) as error:
                await client.authenticate({"type": "spot"})
    finally:
        await client.close()
    assert isinstance(error.value.__context__, ccxtpro.AuthenticationError)
    assert "-1022" in str(error.value.__context__)


async def test_session_is_in_the_simulators_state(watcher: Watcher, venue: VenueProcess) -> None:
    state = await asyncio.to_thread(venue.state)
    sessions = [client for client in state["clients"] if client["path"] == "/ws-api/v3"]
    assert [session["subscriptions"] for session in sessions] == [[0]]
    assert watcher.events == []

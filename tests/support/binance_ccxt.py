"""The real, unmodified ccxt on a simulated Binance, with an account of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import ccxt.async_support as ccxt

from tradingbot_sandbox.venues.process import VenueProcess

BTC = "BTC/USDT"
DEADLINE_SECONDS = 30
MAINNET_ORDER_URL = "https://api.binance.com/api/v3/order"


class Recording(ccxt.binance):  # type: ignore[misc]
    """ccxt, through its own hook for it, keeps each answer as it came: status, reason, body."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.answers: list[tuple[int, str, str]] = []
        super().__init__(config)

    def on_rest_response(self, code: int, reason: str, *others: Any) -> Any:
        answered = super().on_rest_response(code, reason, *others)
        self.answers.append((code, reason, answered))
        return answered


@dataclass
class Trader:
    """A client, its account, and the truth about it."""

    venue: VenueProcess
    uid: int
    client: Any
    faults: list[int] = field(default_factory=list)

    def accepted(self, client_id: str) -> int:
        """How many orders the venue has accepted under this id."""
        return int(self.venue.account(self.uid)["acceptedByClientId"].get(client_id, 0))

    def orders(self) -> list[dict[str, Any]]:
        """The venue's own book of this account."""
        orders: list[dict[str, Any]] = self.venue.account(self.uid)["orders"]
        return orders

    def add_fault(self, effect: str, **fields: Any) -> int:
        """A rule that is taken away with this trader."""
        number = self.venue.add_fault(effect, **fields)
        self.faults.append(number)
        return number

    def fault(self, number: int) -> dict[str, Any]:
        (rule,) = [rule for rule in self.venue.faults() if rule["rule"] == number]
        return rule

    async def buy(self, client_id: str, amount: float = 0.01, **params: Any) -> Any:
        """A market order, as ccxt's users send it."""
        return await self.client.create_order(BTC, "market", "buy", amount, None, {"clientOrderId": client_id} | params)

    async def rest(self, client_id: str, amount: float = 0.01, price: float = 30_000, **params: Any) -> Any:
        """A limit order far below the market: it stays open."""
        params = {"clientOrderId": client_id} | params
        return await self.client.create_order(BTC, "limit", "buy", amount, price, params)


@asynccontextmanager
async def trading(
    venue: VenueProcess, *, uid: int | None = None, balances: dict[str, str] | None = None, **config: Any
) -> AsyncIterator[Trader]:
    """An account of the venue (a new one, if none is named) and a client with a key of it, which knows the markets."""
    if uid is None:
        uid = venue.open_account({"USDT": "1000000", "BTC": "10"} if balances is None else balances)
    key, secret = venue.issue_key(uid)
    client = connect(venue, apiKey=key, secret=secret, **config)
    trader = Trader(venue, uid, client)
    try:
        await client.load_markets()
        client.answers.clear()
        yield trader
    finally:
        for number in trader.faults:
            venue.remove_fault(number)
        await client.close()


def connect(venue: VenueProcess, **config: Any) -> Any:
    """A client of ccxt whose only change is where it connects to."""
    # with a key, ccxt also asks for the wallet's networks and for margin pairs, which the simulator does not have
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}
    client = Recording({"enableRateLimit": False, "options": options} | config)
    client.urls["api"]["public"] = client.urls["api"]["private"] = venue.rest_url
    client.urls["api"]["sapi"] = venue.private_rest_url
    return client


def raised_at_mainnet(client: Any) -> type[BaseException] | None:
    """What ccxt raises for the last answer if it comes from Binance's own address.

    ccxt looks part of its tables up by the address, so the class that it raises at a simulator may be another one.
    """
    status, reason, body = client.answers[-1]
    try:
        response = client.parse_json(body)
        client.handle_errors(status, reason, MAINNET_ORDER_URL, "POST", {}, body, response, {}, None)
        client.handle_http_status_code(status, reason, MAINNET_ORDER_URL, "POST", body)
    except ccxt.BaseError as error:
        return type(error)
    return None


def fresh_id() -> str:
    """A client order id in the trader's form: 32 hexadecimal digits."""
    return secrets.token_hex(16)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the venue will do."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)

"""A simulated Binance without sockets, a market that a test moves by hand, and a client that signs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, settings

from tradingbot_sandbox.market.events import (
    NS_PER_MS,
    BookDelta,
    BookSnapshot,
    BookTicker,
    Level,
    MarketEvent,
    Trade,
)
from tradingbot_sandbox.market.instruments import INSTRUMENTS, Instrument
from tradingbot_sandbox.market.port import Opening, PlayState, Position, StartPolicy
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.accounts import Account, Accounts, ApiKey, KeyPermissions
from tradingbot_sandbox.venues.binance.auth import sign
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.rest import Answer, RestApi
from tradingbot_sandbox.venues.binance.weights import WeightMeter

settings.register_profile("no-deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-deadline")

NOW_NS = 1_760_000_000_250_000_000
ADDRESS = "10.0.0.1"


def levels(text: str) -> tuple[Level, ...]:
    """`99:1 98:2` as levels."""
    pairs = [word.split(":") for word in text.split()]
    return tuple((Decimal(price), Decimal(quantity)) for price, quantity in pairs)


class HandMarket:
    """A market in which nothing happens but what the test puts into it."""

    kind = "by hand"
    lateness_ns = 0

    def __init__(self, *symbols: str, bids: str = "99:1 98:2 97:50", asks: str = "101:1 102:2 103:50") -> None:
        self.instruments: tuple[Instrument, ...] = tuple(INSTRUMENTS[s] for s in symbols or ("BTC/USDT",))
        self._bids, self._asks = levels(bids), levels(asks)
        self._coming: deque[MarketEvent] = deque()
        self._update_ids = {i.symbol: 10 for i in self.instruments}
        self._trade_ids = {i.symbol: 500 for i in self.instruments}
        self._started_ns: int | None = None

    def opening(self, symbol: str) -> Opening:
        return Opening(BookSnapshot(symbol, 10, self._bids, self._asks), Decimal(100), 501)

    def start(self, now_ns: int) -> None:
        self._started_ns = now_ns

    def next_due_ns(self) -> int | None:
        return self._coming[0].event_time_ns if self._coming else None

    def take(self, now_ns: int, *, limit: int) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        while len(events) < limit and self._coming and self._coming[0].event_time_ns <= now_ns:
            events.append(self._coming.popleft())
        return events

    def reserve_trade_ids(self, symbol: str, *, trades: int) -> int:
        first_id = self._trade_ids[symbol] + 1
        self._trade_ids[symbol] += trades
        return first_id

    def position(self) -> Position:
        state = PlayState.WAITING if self._started_ns is None else PlayState.PLAYING
        return Position(state, 0, {}, None, self._started_ns, None)

    def trade(self, price: str, quantity: str, now_ns: int, symbol: str = "BTC/USDT") -> None:
        self._trade_ids[symbol] += 1
        trade_id = self._trade_ids[symbol]
        self._coming.append(Trade(symbol, trade_id, Decimal(price), Decimal(quantity), now_ns, now_ns, True))

    def delta(self, bids: str, asks: str, now_ns: int, symbol: str = "BTC/USDT") -> None:
        self._update_ids[symbol] += 1
        update_id = self._update_ids[symbol]
        self._coming.append(BookDelta(symbol, update_id, update_id, levels(bids), levels(asks), now_ns))

    def top(self, bid: str, ask: str, now_ns: int, symbol: str = "BTC/USDT") -> None:
        """A best bid and ask that is ahead of the book."""
        update_id = self._update_ids[symbol] + 1
        ((bid_price, bid_quantity),), ((ask_price, ask_quantity),) = levels(bid), levels(ask)
        self._coming.append(BookTicker(symbol, update_id, bid_price, bid_quantity, ask_price, ask_quantity, now_ns))


class SilentLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def debug(self, event: str, /, **values: object) -> None:
        self.events.append((event, values))

    info = warning = debug


class Venue:
    """The whole simulator in one process, moved by the test's own clock."""

    def __init__(self, market: Any, *, weight_limit: int = 6000) -> None:
        self.now_ns = NOW_NS
        self.market = market
        self.log = SilentLog()
        world = World(market, seed=7, now_ns=NOW_NS)
        self.exchange = Exchange(
            world,
            meter=WeightMeter(weight_limit),
            start=StartPolicy.parse("immediately"),
            log=self.log,
            accounts=Accounts(),
        )
        self.exchange.start_if_due(self.now_ns)
        self.api = RestApi(self.exchange, self.log)
        self.run(0)

    def run(self, milliseconds: int = 1) -> None:
        """Let time pass."""
        self.now_ns += milliseconds * NS_PER_MS
        while self.exchange.advance(self.now_ns):
            pass

    def trade(self, price: str, quantity: str = "1", symbol: str = "BTC/USDT") -> None:
        """Others trade."""
        self.market.trade(price, quantity, self.now_ns, symbol)
        self.run()

    def delta(self, bids: str = "", asks: str = "") -> None:
        self.market.delta(bids, asks, self.now_ns)
        self.run()

    def client(
        self, *, permissions: KeyPermissions | None = None, pays_in_bnb: bool = False, **balances: str
    ) -> Client:
        """A new account with a key."""
        account = self.exchange.accounts.open(balances or {"USDT": "10000", "BTC": "10"}, pays_in_bnb=pays_in_bnb)
        return Client(self, self.exchange.accounts.issue_key(account, permissions=permissions, now_ns=self.now_ns))


class Client:
    """One key's holder, who signs as Binance documents it, and hears the account's events."""

    def __init__(self, venue: Venue, key: ApiKey) -> None:
        self.venue = venue
        self.key = key
        self.address = ADDRESS
        self.events: list[dict[str, Any]] = []
        venue.exchange.user_streams.subscribe(key.account.uid, self.events.append)

    @property
    def account(self) -> Account:
        return self.key.account

    def send(self, method: str, path: str, /, **values: object) -> Answer:
        """One signed request. `timestamp` and `recvWindow` may be given."""
        text = urlencode({"timestamp": self.venue.now_ns // NS_PER_MS} | values)
        text += f"&signature={sign(self.key.api_secret, text)}"
        is_body = method == "POST"
        path = path if path.startswith("/") else f"/api/v3/{path}"
        return self.venue.api.answer(
            method,
            path,
            query="" if is_body else text,
            body=text if is_body else "",
            headers={"X-MBX-APIKEY": self.key.api_key},
            address=self.address,
            now_ns=self.venue.now_ns,
        )

    def ask(self, method: str, path: str, /, **values: object) -> Any:
        """The body of an answer that must be a success."""
        answer = self.send(method, path, **values)
        assert answer.http_status == 200, answer.body
        return answer.body

    def order(self, side: str = "BUY", kind: str = "LIMIT", /, **values: object) -> Any:
        """Place an order; `BTCUSDT`, GTC where a time in force is needed."""
        return self.ask("POST", "order", **order_values(side, kind, **values))

    def refused(self, method: str, path: str, /, **values: object) -> tuple[int, int, str]:
        """Status, code and text of an answer that must be a refusal."""
        answer = self.send(method, path, **values)
        assert answer.http_status != 200, answer.body
        assert isinstance(answer.body, dict)
        return answer.http_status, answer.body["code"], answer.body["msg"]

    def kinds(self) -> list[str]:
        """What was heard: execution types with the order's state, and the other events' names."""
        return [f"{e['x']} {e['X']}" if e["e"] == "executionReport" else e["e"] for e in self.events]


def order_values(side: str, kind: str, /, **values: object) -> dict[str, object]:
    """The parameters of an order that is valid for its type."""
    sent: dict[str, object] = {"symbol": "BTCUSDT", "side": side, "type": kind}
    if kind != "MARKET" or "quoteOrderQty" not in values:
        sent["quantity"] = "0.5"
    if kind in ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
        sent["price"] = "100"
    if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
        sent["timeInForce"] = "GTC"
    return sent | values


@pytest.fixture
def make_venue() -> Callable[..., Venue]:
    def make(*symbols: str, market: Any = None, weight_limit: int = 6000, **book: str) -> Venue:
        return Venue(market or HandMarket(*symbols, **book), weight_limit=weight_limit)

    return make


@pytest.fixture
def venue() -> Venue:
    return Venue(HandMarket())


@pytest.fixture
def client(venue: Venue) -> Client:
    return venue.client()


@pytest.fixture
def valid_order() -> Callable[..., dict[str, object]]:
    return order_values

"""What leaves for Binance through the real ccxt, and what becomes of each answer. The network is a function here."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.unit.orders.builders import intent
from tests.unit.venues import binance_answers as answers

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.clock import SystemClock
from tradingbot_trader.orders.order import OrderState, OrderType, Purpose, TimeInForce
from tradingbot_trader.venues.account import AccountPort, Answer, KeyPermissions, NotAllowed, VenueSaid
from tradingbot_trader.venues.binance_account import Symbols
from tradingbot_trader.venues.ccxt_account import AccountHooks, Accounts
from tradingbot_trader.venues.port import AddressRefused, UnsupportedExchange
from tradingbot_trader.venues.transport import HttpReply, HttpRequest, NoAnswer, NotSent

NOW_NS = 1_760_000_000_123_456_789
AHEAD_NS = 2_500_000_000
DEADLINE_SECONDS = 20
BTC = "BTC/USDT"
Call = Callable[[AccountPort], Awaitable[Any]]


class StoppedClock(SystemClock):
    def now_ns(self) -> int:
        return NOW_NS


@dataclass
class Venue:
    """Transport. Answers each request with the next reply, or raises it."""

    replies: list[HttpReply | Exception] = field(default_factory=list)
    requests: list[HttpRequest] = field(default_factory=list)
    held: asyncio.Event | None = None
    api_key: str = field(default_factory=lambda: secrets.token_hex(32))
    api_secret: str = field(default_factory=lambda: secrets.token_hex(32))
    heard: list[Answer] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def send(self, request: HttpRequest) -> HttpReply:
        reply = self.replies.pop(0)
        if isinstance(reply, NotSent):
            raise reply
        request.leave()
        self.requests.append(request)
        if self.held is not None:
            await self.held.wait()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def close(self) -> None:
        pass

    def answer(self, body: Any, *, status: int = 200, **headers: str) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.replies.append(HttpReply(status, {name.replace("_", "-"): each for name, each in headers.items()}, text))

    def build(self) -> AccountPort:
        hooks = AccountHooks(
            venue_ahead_ns=lambda: AHEAD_NS, on_headers=self.headers.append, on_answer=self.heard.append
        )
        accounts = Accounts(
            ExchangeId.BINANCE,
            Network.SANDBOX,
            clock=StoppedClock(),
            symbol_of=Symbols([BTC]),
            rest_url="http://venue/api/v3",
            stream_url="ws://venue/ws",
            hooks=hooks,
            transport=self,
        )
        return accounts.build(api_key=self.api_key, api_secret=self.api_secret)

    def params(self) -> dict[str, str]:
        """Of the only request, its signature verified as Binance does it."""
        (request,) = self.requests
        query = request.body or urlsplit(request.url).query
        signed, _, signature = query.rpartition("&signature=")
        assert signature == hmac.new(self.api_secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        assert request.headers["X-MBX-APIKEY"] == self.api_key
        params = dict(parse_qsl(signed, strict_parsing=True))
        assert params.pop("recvWindow") == "3000"
        assert params.pop("timestamp") == str((NOW_NS + AHEAD_NS) // 1_000_000)
        return params


@pytest.fixture
def venue() -> Venue:
    return Venue()


def allowed() -> str:
    return ""


PLACE: Call = lambda account: account.place(intent(), gate=allowed)  # noqa: E731  a table of calls
CALLS: dict[str, tuple[Call, Any, str, dict[str, str]]] = {
    "cancel": (
        lambda account: account.cancel(BTC, answers.CLIENT_ID, gate=allowed),
        answers.cancelled(),
        "DELETE http://venue/api/v3/order",
        {"symbol": "BTCUSDT", "origClientOrderId": answers.CLIENT_ID},
    ),
    "find_order": (
        lambda account: account.find_order(BTC, answers.CLIENT_ID),
        answers.order(),
        "GET http://venue/api/v3/order",
        {"symbol": "BTCUSDT", "origClientOrderId": answers.CLIENT_ID},
    ),
    "find_order_by_venue_id": (
        lambda account: account.find_order_by_venue_id(BTC, "28"),
        answers.order(),
        "GET http://venue/api/v3/order",
        {"symbol": "BTCUSDT", "orderId": "28"},
    ),
    "open_orders": (lambda account: account.open_orders(), [answers.order()], "GET http://venue/api/v3/openOrders", {}),
    "orders_since": (
        lambda account: account.orders_since(BTC, "28"),
        [answers.order()],
        "GET http://venue/api/v3/allOrders",
        {"symbol": "BTCUSDT", "orderId": "28", "limit": "1000"},
    ),
    "trades_since": (
        lambda account: account.trades_since(BTC, "57"),
        [answers.trade()],
        "GET http://venue/api/v3/myTrades",
        {"symbol": "BTCUSDT", "fromId": "57", "limit": "1000"},
    ),
    "account": (
        lambda account: account.account(),
        answers.account(),
        "GET http://venue/api/v3/account",
        {"omitZeroBalances": "true"},
    ),
    "key_permissions": (
        lambda account: account.key_permissions(),
        answers.permissions(),
        "GET http://venue/sapi/v1/account/apiRestrictions",
        {},
    ),
}
ORDERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "limit": ({}, {"type": "LIMIT", "timeInForce": "GTC", "price": "100"}),
    "ioc": ({"time_in_force": TimeInForce.IOC}, {"type": "LIMIT", "timeInForce": "IOC", "price": "100"}),
    "post-only": ({"time_in_force": TimeInForce.POST_ONLY}, {"type": "LIMIT_MAKER", "price": "100"}),
    "market": ({"type": OrderType.MARKET}, {"type": "MARKET"}),
    "stop-loss": (
        {"type": OrderType.STOP_LOSS, "purpose": Purpose.PROTECT, "stop_price": Decimal(99)},
        {"type": "STOP_LOSS_LIMIT", "timeInForce": "GTC", "price": "100", "stopPrice": "99", "side": "SELL"},
    ),
}
EVERY_CALL: dict[str, Call] = {"place": PLACE} | {name: call for name, (call, *_) in CALLS.items()}


@pytest.mark.parametrize("name", ORDERS)
async def test_order_leaves_signed_with_its_own_id_and_decimals_as_they_are(venue: Venue, name: str) -> None:
    changes, expected = ORDERS[name]
    venue.answer(answers.filled())
    order = await venue.build().place(intent(**changes), gate=allowed)
    assert (order.state, len(order.trades)) == (OrderState.FILLED, 2)
    assert venue.requests[0].method == "POST"
    assert venue.requests[0].url == "http://venue/api/v3/order", "nothing in the address: addresses are logged"
    common = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.1", "newOrderRespType": "FULL"}
    assert venue.params() == common | {"newClientOrderId": "a" * 32} | expected


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_is_one_signed_request(venue: Venue, name: str) -> None:
    call, answer, address, params = CALLS[name]
    venue.answer(answer, x_mbx_used_weight_1m="7")
    assert await call(venue.build())
    (request,) = venue.requests
    assert f"{request.method} {request.url.partition('?')[0]}" == address
    assert venue.params() == params
    assert venue.headers == [{"x-mbx-used-weight-1m": "7"}]


async def test_gate_is_asked_where_the_bytes_leave_and_holds_them_back(venue: Venue) -> None:
    account = venue.build()
    calls: list[Awaitable[Any]] = [
        account.place(intent(), gate=lambda: "a stop is latched"),
        account.cancel(BTC, answers.CLIENT_ID, gate=lambda: "a stop is latched"),
    ]
    for call in calls:
        venue.answer({})
        with pytest.raises(NotAllowed, match="a stop is latched"):
            await call
    assert (venue.requests, venue.heard) == ([], [])


async def test_gates_of_calls_at_the_same_time_are_not_mixed_up(venue: Venue) -> None:
    account, asked = venue.build(), []

    def gate(name: str) -> str:
        asked.append(name)
        return "" if name == "open" else "closed"

    for _ in range(10):
        venue.answer(answers.placed())
    calls = [
        account.place(intent(number * 32), gate=lambda name=name: gate(name))
        for number, name in zip("abcdefghij", ["open", "closed"] * 5, strict=True)
    ]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(end, NotAllowed) for end in ends] == [False, True] * 5
    assert len(asked) == 10
    sent = [dict(parse_qsl(request.body))["newClientOrderId"][0] for request in venue.requests]
    assert sent == list("acegi")


@pytest.mark.parametrize("name", EVERY_CALL)
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            NotSent("ClientConnectorError: Connection refused"),
            Answer(False, 0, "", "ClientConnectorError: Connection refused"),
        ),
        (NoAnswer("timeout"), Answer(True, 0, "", "timeout")),
        (RuntimeError("a bug"), Answer(True, 0, "", "")),
    ],
)
async def test_request_without_an_answer_is_told_as_sent_or_not_and_never_repeated(
    venue: Venue, name: str, error: Exception, expected: Answer
) -> None:
    venue.replies = [error]
    with pytest.raises(VenueSaid) as caught:
        await EVERY_CALL[name](venue.build())
    answer = caught.value.answer
    assert (answer.is_sent, answer.http_status, answer.code) == (expected.is_sent, 0, "")
    assert answer.text == expected.text or (not expected.text and "a bug" in answer.text)
    assert venue.heard == [answer]
    assert venue.replies == []


REFUSALS = [
    (400, {"code": -1013, "msg": "Filter failure: LOT_SIZE"}),
    (400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}),
    (400, {"code": -2010, "msg": "Account has insufficient balance for requested action."}),
    (400, {"code": -2010, "msg": "Duplicate order sent."}),
    (400, {"code": -2011, "msg": "Unknown order sent."}),
    (400, {"code": -2013, "msg": "Order does not exist."}),
    (401, {"code": -2014, "msg": "API-key format invalid."}),
    (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}),
    (429, {"code": -1003, "msg": "Too many requests."}),
    (418, {"code": -1003, "msg": "Way too many requests; IP banned until 1."}),
    (409, {"code": -2021, "msg": "Order cancel-replace partially failed."}),
    (503, {"code": -1008, "msg": "Server is currently overloaded."}),
    (500, {"code": -1007, "msg": "Timeout waiting for response from backend server."}),
]


@pytest.mark.parametrize("name", EVERY_CALL)
@pytest.mark.parametrize(("status", "body"), REFUSALS)
async def test_refusal_is_told_in_the_venues_own_words(
    venue: Venue, name: str, status: int, body: dict[str, Any]
) -> None:
    venue.answer(body, status=status, Retry_After="9")
    with pytest.raises(VenueSaid) as caught:
        await EVERY_CALL[name](venue.build())
    assert caught.value.answer == Answer(True, status, str(body["code"]), body["msg"], 9.0)
    assert len(venue.requests) == 1
    assert caught.value.__context__ is None, "an error of ccxt behind it would be logged with it"


@pytest.mark.parametrize("status", [301, 403, 404, 500, 502, 503, 504])
async def test_page_in_place_of_an_answer_is_told_by_its_status(venue: Venue, status: int) -> None:
    venue.answer("<html>" + "x" * 5_000, status=status)
    with pytest.raises(VenueSaid) as caught:
        await PLACE(venue.build())
    answer = caught.value.answer
    assert (answer.is_sent, answer.http_status, answer.code, len(answer.text)) == (True, status, "", 300)


@pytest.mark.parametrize("name", EVERY_CALL)
@pytest.mark.parametrize("text", ["", "{", "null", "[]x", "7", '"x"', "{}", '{"code":-1,"msg":"?"}', "<html>", "[1]"])
async def test_success_that_cannot_be_read_is_no_success_and_no_crash(venue: Venue, name: str, text: str) -> None:
    venue.answer(text)
    with pytest.raises(VenueSaid) as caught:
        await EVERY_CALL[name](venue.build())
    answer = caught.value.answer
    assert (answer.is_sent, answer.http_status, answer.code) == (True, 200, "")
    assert "cannot be read" in answer.text


async def test_order_of_a_kind_that_the_venue_does_not_have_is_not_sent(venue: Venue) -> None:
    with pytest.raises(VenueSaid) as caught:
        await venue.build().place(intent(type=OrderType.STOP_LOSS), gate=allowed)
    assert not caught.value.answer.is_sent
    assert venue.requests == []


async def test_testnet_that_tells_no_permissions_leaves_them_unknown(venue: Venue) -> None:
    venue.answer("<html>404 Not found</html>", status=404)
    venue.answer(answers.account(canTrade=False))
    permissions = await venue.build().key_permissions()
    assert permissions == KeyPermissions(can_trade=False, can_withdraw=None, can_transfer=None)


async def test_closing_waits_for_the_calls_under_way_and_takes_no_more(venue: Venue) -> None:
    account, venue.held = venue.build(), asyncio.Event()
    venue.answer(answers.placed())
    async with asyncio.timeout(DEADLINE_SECONDS):
        placing = asyncio.ensure_future(PLACE(account))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(account.close())
        await asyncio.sleep(0)
        assert (len(venue.requests), closing.done()) == (1, False)
        with pytest.raises(VenueSaid, match="not used any more") as caught:
            await PLACE(account)
        assert not caught.value.answer.is_sent
        venue.held.set()
        assert (await placing).state is OrderState.OPEN
        await closing
    assert len(venue.requests) == 1


async def test_call_that_is_given_up_is_over_for_the_next_one(venue: Venue) -> None:
    account, venue.held = venue.build(), asyncio.Event()
    venue.answer(answers.placed())
    placing = asyncio.ensure_future(PLACE(account))
    await asyncio.sleep(0)
    placing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await placing
    async with asyncio.timeout(DEADLINE_SECONDS):
        await account.close()


async def test_no_secret_is_in_any_error_or_on_any_object(venue: Venue) -> None:
    account = venue.build()
    leaked = f"key {venue.api_key} of http://venue/api/v3/order?signature=1 " + "x" * 200 + venue.api_secret
    shown = [repr(account), str(account)]
    for status, text in ((400, {"code": -1, "msg": leaked}), (502, leaked), (200, json.dumps({"orderId": leaked}))):
        venue.answer(text, status=status)
        with pytest.raises(VenueSaid) as caught:
            await PLACE(account)
        shown += [str(caught.value), repr(caught.value.answer), str(venue.heard)]
    shown += [repr(request) for request in venue.requests]
    exchange = vars(account)["_exchange"]
    shown += [f"{name}={value}" for name, value in vars(exchange).items() if name not in ("apiKey", "secret")]
    for text in shown:
        for secret in (venue.api_key, venue.api_secret):
            assert secret not in text
            assert secret[:16] not in text, "half of it is a secret too"
        assert "signature=" not in text


def test_other_exchanges_and_other_addresses_of_the_main_network_are_refused() -> None:
    def build(exchange: ExchangeId, network: Network, **addresses: str) -> Accounts:
        return Accounts(exchange, network, clock=SystemClock(), symbol_of=Symbols(), **addresses)

    with pytest.raises(UnsupportedExchange):
        build(ExchangeId.KRAKEN, Network.MAINNET)
    for name in ("rest_url", "stream_url", "account_url"):
        with pytest.raises(AddressRefused, match="Mainnet are fixed"):
            build(ExchangeId.BINANCE, Network.MAINNET, **{name: "http://elsewhere"})

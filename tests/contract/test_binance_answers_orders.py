"""What an answer of Binance to an order means: each row through the real ccxt, and then the venue's own book.

`raises` is what ccxt raises at the simulator. ccxt looks part of its table up by the address: where Binance's own
address gives another class, `at_mainnet` says so. `accepted`: the order exists.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import pytest

from support.binance_ccxt import BTC, Trader, fresh_id, raised_at_mainnet, trading, until
from tradingbot_sandbox.venues.process import VenueProcess, running_venue

Send = Callable[[Trader, str], Awaitable[Any]]
SOON_MS = 300
"""How long a client waits here that is not answered."""


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT", "--weight-limit", "1000000"]) as process:
        yield process


@pytest.fixture
async def trader(venue: VenueProcess) -> AsyncIterator[Trader]:
    async with trading(venue) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Row:
    said: str
    """The row of the table of venue facts."""
    send: Send
    status: int | None
    """None: there is no HTTP answer."""
    code: int | None = None
    raises: type[Exception]
    at_mainnet: type[Exception] | None = None
    accepted: int


def raw(**order: str) -> Send:
    """An order past ccxt's own rounding."""

    async def send(trader: Trader, client_id: str) -> Any:
        given = {"symbol": "BTCUSDT", "side": "BUY", "newClientOrderId": client_id}
        return await trader.client.private_post_order(given | order)

    return send


def buying(effect: str | None = None, **fields: Any) -> Send:
    """A market order that meets a fault."""

    async def send(trader: Trader, client_id: str) -> Any:
        if effect is not None:
            trader.add_fault(effect, when={"operation": "place", "client_id": client_id}, **fields)
        return await trader.buy(client_id)

    return send


def impatient(effect: str, **fields: Any) -> Send:
    """The same, by a client that does not wait for long."""

    async def send(trader: Trader, client_id: str) -> Any:
        trader.client.timeout = SOON_MS
        return await buying(effect, **fields)(trader, client_id)

    return send


async def buy_with_a_wrong_clock(trader: Trader, client_id: str) -> Any:
    trader.add_fault("clock-skew", milliseconds=60_000)
    return await trader.buy(client_id)


async def buy_too_much(trader: Trader, client_id: str) -> Any:
    return await trader.buy(client_id, amount=40)


async def buy_with_a_malformed_key(trader: Trader, client_id: str) -> Any:
    trader.client.apiKey = "short"
    return await trader.buy(client_id)


async def buy_with_an_unknown_key(trader: Trader, client_id: str) -> Any:
    trader.client.apiKey = secrets.token_hex(32)
    return await trader.buy(client_id)


async def buy_with_a_key_that_is_revoked(trader: Trader, client_id: str) -> Any:
    await trader.client.fetch_balance()
    trader.venue.revoke_key(trader.client.apiKey)
    return await trader.buy(client_id)


async def buy_at_a_closed_port(trader: Trader, client_id: str) -> Any:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    trader.client.urls["api"]["private"] = f"http://127.0.0.1:{port}/api/v3"
    return await trader.buy(client_id)


FILTERS = "400 -1013 LOT_SIZE, PERCENT_PRICE_BY_SIDE / NOTIONAL"
LIMITS = "429 -1003, -1015; 418"
UNRESOLVED = "5xx, -1006, -1007, -1008, timeout"

REJECTED = [
    Row(
        said=FILTERS,
        send=raw(type="MARKET", quantity="0.010001"),
        status=400,
        code=-1013,
        raises=ccxt.InvalidOrder,
        accepted=0,
    ),
    Row(
        said=FILTERS,
        send=raw(type="LIMIT", timeInForce="GTC", quantity="0.01", price="1000"),
        status=400,
        code=-1013,
        raises=ccxt.InvalidOrder,
        accepted=0,
    ),
    Row(
        said=FILTERS,
        send=raw(type="LIMIT", timeInForce="GTC", quantity="0.00001", price="60000"),
        status=400,
        code=-1013,
        raises=ccxt.BadRequest,
        accepted=0,
    ),
    Row(
        said="-1021 timestamp",
        send=buy_with_a_wrong_clock,
        status=400,
        code=-1021,
        raises=ccxt.InvalidNonce,
        accepted=0,
    ),
    Row(
        said="-2010 insufficient balance",
        send=buy_too_much,
        status=400,
        code=-2010,
        raises=ccxt.InsufficientFunds,
        accepted=0,
    ),
    Row(
        said="401 -2014",
        send=buy_with_a_malformed_key,
        status=401,
        code=-2014,
        raises=ccxt.AuthenticationError,
        accepted=0,
    ),
    Row(
        said="401 -2015",
        send=buy_with_an_unknown_key,
        status=401,
        code=-2015,
        raises=ccxt.AuthenticationError,
        accepted=0,
    ),
    Row(
        said="-2015 after a first success",
        send=buy_with_a_key_that_is_revoked,
        status=401,
        code=-2015,
        raises=ccxt.DDoSProtection,
        accepted=0,
    ),
    Row(
        said=LIMITS,
        send=buying("rate-limited", retry_after_seconds=7),
        status=429,
        code=-1003,
        raises=ccxt.DDoSProtection,
        accepted=0,
    ),
    Row(
        said=LIMITS,
        send=buying("rate-limited", code=-1015),
        status=429,
        code=-1015,
        raises=ccxt.DDoSProtection,
        accepted=0,
    ),
    Row(
        said=LIMITS,
        send=buying("banned", retry_after_seconds=120),
        status=418,
        code=-1003,
        raises=ccxt.DDoSProtection,
        accepted=0,
    ),
    Row(said="403 (WAF)", send=buying("waf-block"), status=403, raises=ccxt.ExchangeNotAvailable, accepted=0),
    Row(
        said="connection never established",
        send=buy_at_a_closed_port,
        status=None,
        raises=ccxt.ExchangeNotAvailable,
        accepted=0,
    ),
]


def _both(fields: dict[str, Any], *, raises: type[Exception], at_mainnet: type[Exception] | None = None) -> list[Row]:
    """One 5xx answer, with and without the order behind it: nothing in it tells which."""
    return [
        Row(
            said=UNRESOLVED,
            send=buying("server-error", accepted=bool(accepted), **fields),
            status=fields["status"],
            code=fields.get("code"),
            raises=raises,
            at_mainnet=at_mainnet,
            accepted=accepted,
        )
        for accepted in (0, 1)
    ]


UNKNOWN = [
    *_both({"status": 500}, raises=ccxt.ExchangeNotAvailable),
    *_both({"status": 502, "html": True}, raises=ccxt.ExchangeNotAvailable),
    *_both({"status": 503, "text": "Service Unavailable."}, raises=ccxt.ExchangeNotAvailable),
    *_both({"status": 504, "html": True}, raises=ccxt.RequestTimeout),
    *_both({"status": 500, "code": -1000}, raises=ccxt.OperationFailed),
    *_both({"status": 500, "code": -1001}, raises=ccxt.OperationFailed),
    *_both({"status": 500, "code": -1006}, raises=ccxt.OperationFailed),
    *_both({"status": 504, "code": -1007}, raises=ccxt.RequestTimeout),
    *_both({"status": 503, "code": -1008}, raises=ccxt.ExchangeError, at_mainnet=ccxt.OperationFailed),
    Row(
        said=UNRESOLVED,
        send=impatient("lose-request", seconds=3),
        status=None,
        raises=ccxt.RequestTimeout,
        accepted=0,
    ),
    Row(
        said=UNRESOLVED,
        send=impatient("answer-late", seconds=3),
        status=None,
        raises=ccxt.RequestTimeout,
        accepted=1,
    ),
    Row(said=UNRESOLVED, send=buying("lose-request"), status=None, raises=ccxt.ExchangeNotAvailable, accepted=0),
    Row(said=UNRESOLVED, send=buying("lose-answer"), status=None, raises=ccxt.ExchangeNotAvailable, accepted=1),
    Row(
        said="the connection dies in the answer: looks like a refusal by the exchange, and is none",
        send=buying("truncate-answer", dies=True),
        status=None,
        raises=ccxt.ExchangeError,
        accepted=1,
    ),
]


def _id(row: Row) -> str:
    return f"{row.status}/{row.code} {row.raises.__name__} accepted={row.accepted} ({row.said})"


@pytest.mark.parametrize("row", REJECTED + UNKNOWN, ids=_id)
async def test_answer_to_an_order(row: Row, trader: Trader) -> None:
    client_id = fresh_id()
    with pytest.raises(ccxt.BaseError) as raised:
        await row.send(trader, client_id)
    assert type(raised.value) is row.raises
    if row.status is None:
        assert raised.value.__cause__ is not None
    else:
        status, _, body = trader.client.answers[-1]
        assert status == row.status
        assert (json.loads(body)["code"] if body.startswith("{") else None) == row.code
        assert raised_at_mainnet(trader.client) is (row.at_mainnet or row.raises)
    assert trader.accepted(client_id) == row.accepted
    assert [order["clientOrderId"] for order in trader.orders()] == [client_id] * row.accepted


def test_class_does_not_tell_whether_an_order_exists() -> None:
    """The same class, once with and once without an order; and one that is a NetworkError, with a plain refusal."""
    with_order, without = ({row.raises for row in UNKNOWN if row.accepted == n} for n in (1, 0))
    assert {ccxt.ExchangeNotAvailable, ccxt.RequestTimeout, ccxt.OperationFailed, ccxt.ExchangeError} <= with_order
    assert {ccxt.ExchangeNotAvailable, ccxt.RequestTimeout, ccxt.OperationFailed, ccxt.ExchangeError} <= without
    assert {row.raises for row in REJECTED} & with_order == {ccxt.ExchangeNotAvailable}
    assert issubclass(ccxt.InvalidNonce, ccxt.NetworkError)


async def test_duplicate_proves_that_an_open_order_has_the_id(trader: Trader) -> None:
    client_id = fresh_id()
    first = await trader.rest(client_id)
    with pytest.raises(ccxt.InvalidOrder, match=r'-2010,"msg":"Duplicate order sent\."') as raised:
        await trader.rest(client_id)
    assert type(raised.value) is ccxt.InvalidOrder
    assert trader.client.answers[-1][0] == 400
    assert [order["orderId"] for order in trader.orders()] == [int(first["id"])]


async def test_unknown_order_is_not_found_by_query_nor_cancel(trader: Trader) -> None:
    params = {"clientOrderId": fresh_id()}
    for call, code in ((trader.client.fetch_order, -2013), (trader.client.cancel_order, -2011)):
        with pytest.raises(ccxt.OrderNotFound) as raised:
            await call(None, BTC, params)
        assert type(raised.value) is ccxt.OrderNotFound
        status, _, body = trader.client.answers[-1]
        assert (status, json.loads(body)["code"]) == (400, code)


async def test_cancel_that_finds_nothing_may_mean_that_all_was_filled(trader: Trader) -> None:
    client_id = fresh_id()
    await trader.buy(client_id)
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await trader.client.cancel_order(None, BTC, {"clientOrderId": client_id})
    assert [order["status"] for order in trader.orders()] == ["FILLED"]
    trades = await trader.client.fetch_my_trades(BTC)
    assert sum(Decimal(trade["info"]["qty"]) for trade in trades) == Decimal("0.01")


async def test_query_that_finds_nothing_may_be_too_early(trader: Trader) -> None:
    """Binance answers from memory, then database: "not found" proves nothing until a visibility delay has passed."""
    client_id = fresh_id()
    hidden = trader.add_fault("hide-order", seconds=600, when={"client_id": client_id})
    await trader.rest(client_id)
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await trader.client.fetch_order(None, BTC, {"clientOrderId": client_id})
    assert await trader.client.fetch_open_orders(BTC) == []
    assert trader.fault(hidden)["hits"] == 1
    assert trader.accepted(client_id) == 1


async def test_order_may_arrive_after_its_sender_has_given_up(trader: Trader) -> None:
    client_id = fresh_id()
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await buying("accept-late", seconds=0.5, answered=False)(trader, client_id)
    assert trader.accepted(client_id) == 0
    await until(lambda: trader.accepted(client_id) == 1)


async def test_freshness_bound_refuses_an_order_that_arrives_later(trader: Trader) -> None:
    client_id = fresh_id()
    late = trader.add_fault("accept-late", seconds=0.5, when={"client_id": client_id})
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        await trader.buy(client_id, recvWindow=200)
    assert trader.fault(late)["hits"] == 1
    assert trader.accepted(client_id) == 0


async def test_clock_is_resynchronised_for_one_new_attempt(trader: Trader) -> None:
    trader.add_fault("clock-skew", milliseconds=-60_000)
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        await trader.buy(fresh_id())
    await trader.client.load_time_difference()
    client_id = fresh_id()
    await trader.buy(client_id)
    assert trader.accepted(client_id) == 1


@pytest.mark.parametrize("effect", ["truncate-answer", "empty-answer", "garbage-answer"])
async def test_answer_that_is_none_raises_nothing_and_names_no_order(trader: Trader, effect: str) -> None:
    """With HTTP 200 ccxt makes an order out of anything: only its missing id shows that nothing was confirmed."""
    client_id = fresh_id()
    order = await buying(effect)(trader, client_id)
    assert order["id"] is None
    assert order["status"] is None
    assert trader.accepted(client_id) == 1

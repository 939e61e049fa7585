"""The real, unmodified ccxt against the Binance simulator as a real process: orders, over REST."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tradingbot_sandbox.venues.process import VenueProcess, running_venue

BALANCES = {"USDT": "10000", "BTC": "1"}


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "11", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
def uid(venue: VenueProcess) -> int:
    """An account of the test's own."""
    return venue.open_account(BALANCES)


@pytest.fixture
async def exchange(venue: VenueProcess, uid: int) -> AsyncIterator[Any]:
    key, secret = venue.issue_key(uid)
    client = connect(venue, key, secret)
    await client.load_markets()
    yield client
    await client.close()


def connect(venue: VenueProcess, key: str, secret: str) -> Any:
    client = ccxt.binance(
        {
            "apiKey": key,
            "secret": secret,
            "enableRateLimit": False,
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False},
        }
    )
    client.urls["api"] |= {"public": venue.rest_url, "private": venue.rest_url, "sapi": venue.private_rest_url}
    return client


async def far_below(exchange: Any) -> float:
    """A price at which nothing is filled in the time of a test."""
    ticker = await exchange.fetch_ticker("BTC/USDT")
    return float(exchange.price_to_precision("BTC/USDT", ticker["bid"] * 0.9))


async def test_market_order_is_filled_and_paid_for(exchange: Any, venue: VenueProcess, uid: int) -> None:
    order = await exchange.create_order("BTC/USDT", "market", "buy", 0.01, None, {"clientOrderId": "bought"})
    assert (order["status"], order["filled"], order["clientOrderId"]) == ("closed", 0.01, "bought")
    trades = await exchange.fetch_my_trades("BTC/USDT")
    assert sum(Decimal(trade["info"]["qty"]) for trade in trades) == Decimal("0.01")
    assert {trade["order"] for trade in trades} == {order["id"]}
    assert {trade["fee"]["currency"] for trade in trades} == {"BTC"}
    balance = await exchange.fetch_balance()
    cost = sum(Decimal(trade["info"]["quoteQty"]) for trade in trades)
    assert Decimal(str(balance["USDT"]["free"])) == Decimal(10_000) - cost
    truth = venue.account(uid)
    assert truth["acceptedByClientId"] == {"bought": 1}
    assert [t["id"] for t in truth["trades"]] == [int(trade["id"]) for trade in trades]
    # ours are trades of the market like any other
    public = await exchange.fetch_trades("BTC/USDT", limit=1000, params={"fetchTradesMethod": "publicGetTrades"})
    assert {trade["id"] for trade in trades} <= {trade["id"] for trade in public}


async def test_limit_order_is_listed_queried_and_cancelled(exchange: Any) -> None:
    price = await far_below(exchange)
    placed = await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"clientOrderId": "rests"})
    assert placed["status"] == "open"
    assert [o["clientOrderId"] for o in await exchange.fetch_open_orders("BTC/USDT")] == ["rests"]
    queried = await exchange.fetch_order(None, "BTC/USDT", {"clientOrderId": "rests"})
    assert (queried["id"], queried["price"], queried["remaining"]) == (placed["id"], price, 0.01)
    cancelled = await exchange.cancel_order(None, "BTC/USDT", {"clientOrderId": "rests"})
    assert (cancelled["status"], cancelled["info"]["origClientOrderId"]) == ("canceled", "rests")
    assert await exchange.fetch_open_orders("BTC/USDT") == []
    assert [o["status"] for o in await exchange.fetch_orders("BTC/USDT")] == ["canceled"]


async def test_all_orders_are_cancelled_at_once(exchange: Any) -> None:
    price = await far_below(exchange)
    for _ in range(3):
        await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price)
    assert len(await exchange.cancel_all_orders("BTC/USDT")) == 3
    assert await exchange.fetch_open_orders("BTC/USDT") == []
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await exchange.cancel_all_orders("BTC/USDT")


async def test_ioc_fok_and_post_only_orders_end_as_they_should(exchange: Any) -> None:
    price = await far_below(exchange)
    for time_in_force in ("IOC", "FOK"):
        order = await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"timeInForce": time_in_force})
        assert (order["status"], order["filled"]) == ("expired", 0)
    order = await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"postOnly": True})
    assert (await exchange.fetch_order(order["id"], "BTC/USDT"))["type"] == "limit"
    assert (await exchange.fetch_order(order["id"], "BTC/USDT"))["postOnly"] is True


async def test_stop_loss_waits(exchange: Any) -> None:
    stop = await far_below(exchange)
    order = await exchange.create_order("BTC/USDT", "market", "sell", 0.01, None, {"stopLossPrice": stop})
    queried = await exchange.fetch_order(order["id"], "BTC/USDT")
    assert (queried["status"], queried["triggerPrice"], queried["info"]["isWorking"]) == ("open", stop, False)
    limit = await exchange.create_order(
        "BTC/USDT", "limit", "sell", 0.01, stop - 100, {"stopLossPrice": stop, "clientOrderId": "stop"}
    )
    assert (await exchange.fetch_order(limit["id"], "BTC/USDT"))["info"]["type"] == "STOP_LOSS_LIMIT"


async def test_order_by_cost_spends_it(exchange: Any) -> None:
    order = await exchange.create_order("BTC/USDT", "market", "buy", None, None, {"cost": 100})
    assert order["status"] == "closed"
    assert 98 < order["cost"] <= 100


async def test_dry_order_is_not_placed(exchange: Any, venue: VenueProcess, uid: int) -> None:
    price = await far_below(exchange)
    await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"test": True})
    assert venue.account(uid)["orders"] == []


@pytest.mark.parametrize(
    ("amount", "price", "params", "error", "text"),
    [
        ("0.0100001", "60000", {}, ccxt.InvalidOrder, "LOT_SIZE"),
        ("0.01", "60000.001", {}, ccxt.InvalidOrder, "PRICE_FILTER"),
        ("0.00001", "60000", {}, ccxt.BadRequest, "NOTIONAL"),
        ("0.01", "1000", {}, ccxt.InvalidOrder, "PERCENT_PRICE_BY_SIDE"),
        ("0.9", "60000", {}, ccxt.InsufficientFunds, "insufficient balance"),
        ("0.01", "90000", {"type": "LIMIT_MAKER"}, ccxt.InvalidOrder, "immediately match and take"),
    ],
)
async def test_refused_order_raises_what_the_table_says(
    exchange: Any,
    amount: str,
    price: str,
    params: dict[str, object],
    error: type[Exception],
    text: str,
) -> None:
    sent = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": amount,
        "price": price,
    } | params
    if sent["type"] == "LIMIT_MAKER":
        del sent["timeInForce"]
    with pytest.raises(error, match=text):
        await exchange.privatePostOrder(sent)  # ccxt would round the amount and the price


async def test_used_client_id_is_a_duplicate_while_its_order_is_open(exchange: Any) -> None:
    price = await far_below(exchange)
    await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"clientOrderId": "twice"})
    with pytest.raises(ccxt.InvalidOrder, match=r"Duplicate order sent\."):
        await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"clientOrderId": "twice"})


async def test_unknown_order_is_not_found(exchange: Any) -> None:
    for ask in (exchange.fetch_order, exchange.cancel_order):
        with pytest.raises(ccxt.OrderNotFound):
            await ask(None, "BTC/USDT", {"clientOrderId": "nobody"})


async def test_key_that_is_wrong_or_revoked_is_refused(venue: VenueProcess, uid: int) -> None:
    key, secret = venue.issue_key(uid)
    wrong = connect(venue, key, secret[:-1] + ("0" if secret[-1] != "0" else "1"))
    malformed = connect(venue, key[:-1], secret)
    revoked = connect(venue, key, secret)
    try:
        with pytest.raises(ccxt.AuthenticationError, match="-1022"):
            await wrong.privateGetAccount()
        with pytest.raises(ccxt.AuthenticationError, match="-2014"):
            await malformed.privateGetAccount()
        venue.revoke_key(key)
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await revoked.privateGetAccount()
    finally:
        for client in (wrong, malformed, revoked):
            await client.close()


async def test_clock_that_is_wrong_is_refused(exchange: Any) -> None:
    now_ms = await exchange.fetch_time()
    for shift_ms in (-60_000, 60_000):
        with pytest.raises(ccxt.InvalidNonce, match="-1021"):
            await exchange.privateGetAccount({"timestamp": now_ms + shift_ms})


async def test_permissions_of_a_key_are_told(venue: VenueProcess, exchange: Any) -> None:
    restrictions = await exchange.sapiGetAccountApiRestrictions()
    assert (restrictions["enableSpotAndMarginTrading"], restrictions["enableWithdrawals"]) == (True, False)
    venue.set_permissions(exchange.apiKey, {"enableWithdrawals": True, "enableSpotAndMarginTrading": False})
    assert (await exchange.sapiGetAccountApiRestrictions())["enableWithdrawals"] is True
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        await exchange.cancel_all_orders("BTC/USDT")


async def test_order_count_and_weight_are_told(exchange: Any) -> None:
    price = await far_below(exchange)
    await exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price)
    headers = exchange.last_response_headers
    assert int(headers["x-mbx-order-count-10s"]) >= 1
    assert int(headers["x-mbx-used-weight-1m"]) >= 1


async def test_person_trades_on_the_same_account(exchange: Any, venue: VenueProcess, uid: int) -> None:
    venue.order_by_hand(uid, symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.1")
    venue.transfer(uid, "USDT", "-50")
    (trade,) = {trade["order"] for trade in await exchange.fetch_my_trades("ETH/USDT")}
    assert (await exchange.fetch_order(trade, "ETH/USDT"))["clientOrderId"].startswith("web_")
    assert venue.requests()["GET /api/v3/myTrades"] >= 1


async def test_account_and_key_can_be_had_at_start(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    options = ["--balance", "USDT=1000", "--balance", "BTC=0.1", "--pay-in-bnb", "--keys-dir", str(folder)]
    with running_venue("binance", options) as venue:
        files = [folder / "apiKey", folder / "apiSecret"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert sorted(folder.iterdir()) == files
        key, secret = (path.read_text() for path in files)
        client = connect(venue, key, secret)
        try:
            balance = await client.fetch_balance()
        finally:
            await client.close()
        assert (balance["USDT"]["free"], balance["BTC"]["free"]) == (1000, 0.1)
        log = venue.log_path.read_text()
    assert key not in log
    assert secret not in log
    assert "signature" not in log

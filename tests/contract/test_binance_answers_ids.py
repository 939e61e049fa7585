"""Client order ids on Binance, and ccxt's traps there: each row of the page of venue facts, through the real ccxt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import ccxt.async_support as ccxt
import pytest

from support.binance_ccxt import BTC, Trader, fresh_id, trading
from tradingbot_sandbox.venues.process import VenueProcess, running_venue


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "12", "--symbols", "BTCUSDT", "--weight-limit", "1000000"]) as process:
        yield process


@pytest.fixture
async def trader(venue: VenueProcess) -> AsyncIterator[Trader]:
    async with trading(venue) as made:
        yield made


async def test_client_order_id_is_sent_as_new_client_order_id(trader: Trader) -> None:
    client_id = fresh_id()
    order = await trader.buy(client_id)
    assert (order["clientOrderId"], trader.accepted(client_id)) == (client_id, 1)


@pytest.mark.parametrize(("length", "is_taken"), [(36, True), (37, False)])
async def test_client_order_id_has_at_most_36_characters(trader: Trader, length: int, *, is_taken: bool) -> None:
    client_id = "a" * length
    if is_taken:
        await trader.rest(client_id)
    else:
        with pytest.raises(ccxt.BadRequest, match="-1100"):
            await trader.rest(client_id)
    assert trader.accepted(client_id) == is_taken


async def test_client_order_id_is_unique_among_open_orders_only(trader: Trader) -> None:
    """So a resend after a lost answer can buy twice."""
    client_id = fresh_id()
    await trader.buy(client_id)
    await trader.buy(client_id)
    assert trader.accepted(client_id) == 2
    await trader.rest(client_id)
    with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent"):
        await trader.rest(client_id)
    assert trader.accepted(client_id) == 3


async def test_order_is_found_by_its_client_order_id(trader: Trader) -> None:
    client_id = fresh_id()
    placed = await trader.rest(client_id)
    found = await trader.client.fetch_order(None, BTC, {"clientOrderId": client_id})
    assert (found["id"], found["status"]) == (placed["id"], "open")


async def test_order_is_cancelled_by_its_client_order_id(trader: Trader) -> None:
    client_id = fresh_id()
    placed = await trader.rest(client_id)
    cancelled = await trader.client.cancel_order(None, BTC, {"clientOrderId": client_id})
    assert (cancelled["id"], cancelled["status"]) == (placed["id"], "canceled")
    assert [order["status"] for order in trader.orders()] == ["CANCELED"]


async def test_dry_order_places_nothing(trader: Trader) -> None:
    client_id = fresh_id()
    requests = trader.venue.requests()
    await trader.buy(client_id, test=True)
    after = trader.venue.requests()
    assert after["POST /api/v3/order/test"] - requests.get("POST /api/v3/order/test", 0) == 1
    assert after.get("POST /api/v3/order", 0) == requests.get("POST /api/v3/order", 0)
    assert trader.orders() == []


async def test_receive_window_is_sent_and_bounds_freshness(trader: Trader) -> None:
    trader.add_fault("clock-skew", milliseconds=2500)
    await trader.buy(fresh_id(), recvWindow=5000)
    with pytest.raises(ccxt.InvalidNonce, match="outside of the recvWindow"):
        await trader.buy(fresh_id(), recvWindow=2000)
    with pytest.raises(ccxt.BadRequest, match="recvWindow"):
        await trader.buy(fresh_id(), recvWindow=60_001)
    assert len(trader.orders()) == 1


async def test_ccxts_own_receive_window_is_twice_what_is_advised(trader: Trader) -> None:
    assert trader.client.options["recvWindow"] == 10_000


@pytest.mark.parametrize(("retries", "orders"), [(0, 1), (3, 4)])
async def test_retries_of_ccxt_place_the_order_again(trader: Trader, retries: int, orders: int) -> None:
    """`maxRetriesOnFailure` must stay 0: after a timeout the same POST goes out again, and buys again."""
    trader.client.timeout = 300
    trader.client.options["maxRetriesOnFailure"] = retries
    client_id = fresh_id()
    late = trader.add_fault("answer-late", seconds=2, when={"client_id": client_id})
    with pytest.raises(ccxt.RequestTimeout):
        await trader.buy(client_id)
    assert trader.fault(late)["seen"] == orders
    assert trader.accepted(client_id) == orders


async def test_ccxt_retries_nothing_by_default(trader: Trader) -> None:
    assert trader.client.options.get("maxRetriesOnFailure", 0) == 0


async def test_clock_is_not_adjusted_by_default(trader: Trader) -> None:
    assert trader.client.options["adjustForTimeDifference"] is False


async def test_cancel_on_a_kept_connection_goes_out_again_when_its_answer_is_lost(trader: Trader) -> None:
    """aiohttp itself repeats a DELETE or GET, never a POST, when a connection that was used before dies.

    The second cancel finds nothing: "unknown order" is then the answer to a cancel that worked.
    """
    client_id = fresh_id()
    await trader.rest(client_id)
    lost = trader.add_fault("lose-answer", when={"operation": "cancel", "client_id": client_id, "nth": 1})
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await trader.client.cancel_order(None, BTC, {"clientOrderId": client_id})
    assert trader.fault(lost)["seen"] == 2
    assert [order["status"] for order in trader.orders()] == ["CANCELED"]


async def test_order_on_a_kept_connection_goes_out_once_when_its_answer_is_lost(trader: Trader) -> None:
    await trader.buy(fresh_id())
    client_id = fresh_id()
    lost = trader.add_fault("lose-answer", when={"operation": "place", "client_id": client_id, "nth": 1})
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await trader.buy(client_id)
    assert trader.fault(lost)["seen"] == 1
    assert trader.accepted(client_id) == 1


async def test_network_error_of_a_query_carries_the_signed_query_and_that_of_an_order_does_not(trader: Trader) -> None:
    """GET and DELETE are signed in the address, POST in the body."""
    trader.add_fault("lose-answer", when={"symbol": "BTCUSDT"})
    texts = []
    for call in (
        trader.client.fetch_order(None, BTC, {"clientOrderId": "unknown"}),
        trader.client.cancel_order(None, BTC, {"clientOrderId": "unknown"}),
        trader.buy(fresh_id()),
    ):
        with pytest.raises(ccxt.ExchangeNotAvailable) as raised:
            await call
        texts.append(str(raised.value))
    assert ["signature=" in text for text in texts] == [True, True, False]
    assert not any(trader.client.apiKey in text for text in texts)


async def test_verbose_prints_the_key(trader: Trader, capsys: pytest.CaptureFixture[str]) -> None:
    trader.client.verbose = True
    await trader.client.fetch_open_orders(BTC)
    printed = capsys.readouterr().out
    assert trader.client.apiKey in printed
    assert trader.client.secret not in printed

"""What a key may do at Binance, and what the limits say: the page of venue facts, through the real ccxt."""

from __future__ import annotations

from collections.abc import Iterator

import ccxt.async_support as ccxt
import pytest

from support.binance_ccxt import BTC, Trader, fresh_id, trading
from tradingbot_sandbox.venues.process import VenueProcess, running_venue

WEIGHT = "x-mbx-used-weight-1m"
ORDERS = "x-mbx-order-count-10s"


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "13", "--symbols", "BTCUSDT", "--weight-limit", "1000000"]) as process:
        yield process


def header(trader: Trader, name: str) -> int:
    """A number out of the last answer's headers."""
    headers = {key.lower(): value for key, value in trader.client.last_response_headers.items()}
    return int(headers[name])


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        ({}, {}),
        ({"enableWithdrawals": True}, {"enableWithdrawals": True}),
        ({"enableInternalTransfer": True}, {"enableInternalTransfer": True}),
        ({"enableFutures": True}, {"enableFutures": True}),
        ({"enableSpotAndMarginTrading": False}, {"enableSpotAndMarginTrading": False}),
    ],
)
async def test_permissions_of_a_key_are_told(
    venue: VenueProcess, granted: dict[str, bool], expected: dict[str, bool]
) -> None:
    async with trading(venue) as trader:
        trader.client.apiKey, trader.client.secret = venue.issue_key(trader.uid, permissions=granted)
        told = await trader.client.sapiGetAccountApiRestrictions()
    careful = {
        "ipRestrict": False,
        "enableReading": True,
        "enableSpotAndMarginTrading": True,
        "enableWithdrawals": False,
        "enableInternalTransfer": False,
        "enableFutures": False,
    }
    assert {name: told[name] for name in careful} == careful | expected


async def test_key_that_is_bound_to_addresses_says_so_and_works_from_there(venue: VenueProcess) -> None:
    async with trading(venue) as trader:
        trader.client.apiKey, trader.client.secret = venue.issue_key(trader.uid, addresses=["127.0.0.1"])
        assert (await trader.client.sapiGetAccountApiRestrictions())["ipRestrict"] is True
        trader.client.apiKey, trader.client.secret = venue.issue_key(trader.uid, addresses=["192.0.2.1"])
        trader.client.options["hasAlreadyAuthenticatedSuccessfully"] = False
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await trader.client.sapiGetAccountApiRestrictions()


async def test_key_without_the_permission_to_trade_is_refused_an_order_and_may_read(venue: VenueProcess) -> None:
    async with trading(venue) as trader:
        read_only = {"enableSpotAndMarginTrading": False}
        trader.client.apiKey, trader.client.secret = venue.issue_key(trader.uid, permissions=read_only)
        client_id = fresh_id()
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await trader.buy(client_id)
        assert trader.accepted(client_id) == 0
        assert await trader.client.fetch_open_orders(BTC) == []


async def test_limits_stand_in_exchange_info(venue: VenueProcess) -> None:
    async with trading(venue) as trader:
        limits = (await trader.client.publicGetExchangeInfo())["rateLimits"]
    told = {(row["rateLimitType"], row["interval"], int(row["intervalNum"])): int(row["limit"]) for row in limits}
    assert told[("REQUEST_WEIGHT", "MINUTE", 1)] == 1_000_000
    assert told[("ORDERS", "SECOND", 10)] == 100
    assert told[("ORDERS", "DAY", 1)] == 200_000


async def test_weight_is_counted_by_address_for_all_accounts_behind_it(venue: VenueProcess) -> None:
    async with trading(venue) as one, trading(venue) as other:
        for _ in range(3):  # a new minute may begin in between: then once more
            await one.client.fetch_open_orders(BTC)
            before = header(one, WEIGHT)
            await other.client.fetch_order_book(BTC, 1000)
            if (grown := header(other, WEIGHT) - before) > 0:
                break
    assert grown == 50


async def test_orders_are_counted_by_account_for_all_its_keys(venue: VenueProcess) -> None:
    async with trading(venue) as one, trading(venue, uid=one.uid) as same, trading(venue) as other:
        for _ in range(3):  # ten seconds may be over in between: then once more
            counts = []
            for trader in (one, same, other):
                await trader.rest(fresh_id())
                counts.append(header(trader, ORDERS))
            if counts[0] < counts[1]:
                break
    assert counts[1] - counts[0] == 1
    assert counts[2] <= 3


async def test_too_many_orders_are_refused_with_a_time_to_wait(venue: VenueProcess) -> None:
    async with trading(venue) as trader:
        placed, refusal = 0, None
        while refusal is None and placed < 250:  # twice a hundred, and more: ten seconds may end in between
            try:
                await trader.rest(fresh_id())
                placed += 1
            except ccxt.DDoSProtection as error:
                refusal = str(error)
        assert refusal is not None
        assert "429" in refusal
        assert '"code":-1015' in refusal
        headers = {key.lower(): value for key, value in trader.client.last_response_headers.items()}
        assert 1 <= int(headers["retry-after"]) <= 10
        assert len(trader.orders()) == placed


@pytest.mark.parametrize(("effect", "status"), [("rate-limited", 429), ("banned", 418)])
async def test_time_to_wait_is_in_the_headers(venue: VenueProcess, effect: str, status: int) -> None:
    async with trading(venue) as trader:
        trader.add_fault(effect, retry_after_seconds=17, when={"path": "/api/v3/openOrders"})
        with pytest.raises(ccxt.DDoSProtection, match=str(status)):
            await trader.client.fetch_open_orders(BTC)
        assert header(trader, "retry-after") == 17


async def test_ban_is_of_the_address_and_so_of_every_account_behind_it() -> None:
    with running_venue("binance", ["--symbols", "BTCUSDT", "--weight-limit", "100"]) as venue:
        async with trading(venue) as one, trading(venue) as other:
            statuses: list[int] = []
            while len(statuses) < 60 and 418 not in statuses:  # even if a new minute begins in between
                try:
                    await one.client.publicGetExchangeInfo()
                except ccxt.DDoSProtection:
                    statuses.append(one.client.answers[-1][0])
            assert statuses[-1] == 418
            with pytest.raises(ccxt.DDoSProtection, match=r"418 .*-1003"):
                await other.client.fetch_open_orders(BTC)
            assert header(other, "retry-after") >= 1

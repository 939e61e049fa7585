"""The fault script of the Binance simulator as a process: over HTTP, with the real ccxt or a bare client."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import pytest

from support.binance_ccxt import BTC, Trader, fresh_id, trading, until
from tradingbot_sandbox.venues.binance.faults_http import CRASH_EXIT_CODE
from tradingbot_sandbox.venues.process import VenueProcess, running_venue

OPTIONS = ["--seed", "14", "--symbols", "BTCUSDT", "--weight-limit", "1000000"]


@pytest.fixture(scope="module")
def shared() -> Iterator[VenueProcess]:
    with running_venue("binance", OPTIONS) as process:
        yield process


@pytest.fixture
def venue(shared: VenueProcess) -> Iterator[VenueProcess]:
    yield shared
    shared.remove_fault()


@pytest.fixture
async def trader(venue: VenueProcess) -> AsyncIterator[Trader]:
    async with trading(venue) as made:
        yield made
        made.faults.clear()  # `venue` takes all of them away


async def get(venue: VenueProcess, path: str = "/api/v3/time") -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{venue.address}{path}") as answer:
        return answer.status, await answer.read()


async def ask_control(venue: VenueProcess, method: str, path: str = "", **fields: Any) -> tuple[int, Any]:
    address = f"http://{venue.address}/sandbox/faults{path}"
    async with aiohttp.ClientSession() as session, session.request(method, address, **fields) as answer:
        return answer.status, await answer.json()


async def test_rules_are_added_listed_and_taken_away(venue: VenueProcess) -> None:
    first = venue.add_fault("lose-answer", when={"path": "/api/v3/ping", "count": 1})
    status, told = await ask_control(
        venue, "POST", data=json.dumps([{"what": {"effect": "disconnect"}}, {"what": {"effect": "silence"}}])
    )
    assert (status, told) == (200, {"added": [first + 1, first + 2]})
    assert venue.faults()[0] == {
        "rule": first,
        "seen": 0,
        "hits": 0,
        "in_force": True,
        "when": {"path": "/api/v3/ping", "count": 1},
        "what": {"effect": "lose-answer"},
    }
    venue.remove_fault(first)
    assert [rule["rule"] for rule in venue.faults()] == [first + 1, first + 2]
    assert await ask_control(venue, "DELETE") == (200, {"removed": 2})
    assert venue.faults() == []


async def test_wrong_rule_is_refused_and_none_of_its_list_is_added(venue: VenueProcess) -> None:
    rules = [{"what": {"effect": "crash"}}, {"what": {"effect": "answer-late", "seconds": "soon"}}]
    status, told = await ask_control(venue, "POST", data=json.dumps(rules))
    assert status == 400
    assert told == {"error": "rules[1].what.seconds: expected a decimal number from 0 to 86400, not 'soon'"}
    assert venue.faults() == []
    assert (await ask_control(venue, "DELETE", "/999"))[0] == 404


async def test_rules_of_a_file_hold_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"when": {"nth": 2}, "what": {"effect": "server-error", "status": 502}}]')
    with running_venue("binance", [*OPTIONS, "--faults", str(path)]) as venue:
        assert [(await get(venue))[0] for _ in range(3)] == [200, 502, 200]
        assert [(rule["seen"], rule["hits"]) for rule in venue.faults()] == [(3, 1)]


async def test_each_hit_is_logged_with_its_rules(trader: Trader) -> None:
    client_id = fresh_id()
    number = trader.add_fault("hide-order", seconds=1, when={"client_id": client_id})
    await trader.rest(client_id)
    lines = [line for line in trader.venue.log_lines() if line.get("client_id") == client_id]
    assert [(line["event"], line["rules"], line["operation"]) for line in lines] == [("fault", [number], "place")]


@pytest.mark.parametrize(
    ("effect", "fields", "status", "body"),
    [
        ("truncate-answer", {"bytes": 7}, 200, b'{"serve'),
        ("empty-answer", {"status": 204}, 204, b""),
        ("garbage-answer", {"text": "?"}, 200, b"?"),
        ("server-error", {"status": 500, "code": -1006}, 500, b'{"code":-1006,"msg":"An unexpected response was'),
        ("waf-block", {}, 403, b"<html>"),
        ("reject", {"code": -1016}, 400, b'{"code":-1016,"msg":"This service is no longer available."}'),
    ],
)
async def test_answer_is_replaced_on_the_wire(
    venue: VenueProcess, effect: str, fields: dict[str, Any], status: int, body: bytes
) -> None:
    venue.add_fault(effect, **fields)
    told = await get(venue)
    assert told[0] == status
    assert told[1].startswith(body)
    assert bool(told[1]) is bool(body)


async def test_connection_dies_in_the_body(venue: VenueProcess) -> None:
    venue.add_fault("truncate-answer", dies=True)
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(venue)


@pytest.mark.parametrize("effect", ["lose-request", "lose-answer"])
async def test_connection_dies_after_so_long(venue: VenueProcess, effect: str) -> None:
    venue.add_fault(effect, seconds=0.3)
    began = time.monotonic()
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(venue)
    assert time.monotonic() - began >= 0.3


async def test_late_answer_comes_late(trader: Trader) -> None:
    client_id = fresh_id()
    trader.add_fault("answer-late", seconds=0.4, when={"client_id": client_id})
    order = await trader.buy(client_id)
    assert trader.client.milliseconds() - order["timestamp"] >= 400 - 1


async def test_late_order_is_accepted_late(trader: Trader) -> None:
    client_id = fresh_id()
    trader.add_fault("accept-late", seconds=0.4, when={"client_id": client_id})
    sent_ms = trader.client.milliseconds()
    order = await trader.buy(client_id)
    assert order["timestamp"] - sent_ms >= 400 - 1


async def test_other_requests_go_on_while_one_is_held(trader: Trader) -> None:
    client_id = fresh_id()
    held = trader.add_fault("accept-late", seconds=600, when={"client_id": client_id})
    trader.client.timeout = 300
    with pytest.raises(ccxt.RequestTimeout):
        await trader.buy(client_id)
    assert trader.fault(held)["hits"] == 1
    assert (await trader.buy(fresh_id()))["status"] == "closed"


async def test_only_the_named_requests_are_hit(trader: Trader) -> None:
    trader.add_fault("server-error", when={"operation": "market-data", "path": "/api/v3/depth"})
    assert await trader.client.fetch_time() > 0
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await trader.client.fetch_order_book(BTC)


async def test_market_order_is_filled_in_part_and_its_rest_expires(trader: Trader) -> None:
    client_id = fresh_id()
    trader.add_fault("partial-fill", most_base="0.004", when={"client_id": client_id})
    order = await trader.buy(client_id)
    assert (order["filled"], order["status"]) == (0.004, "expired")
    assert (await trader.buy(fresh_id()))["filled"] == 0.01


async def test_limit_order_is_filled_in_part_and_its_rest_stays_open(trader: Trader) -> None:
    client_id = fresh_id()
    trader.add_fault("partial-fill", most_base="0.004", when={"client_id": client_id})
    order = await trader.rest(client_id, price=70_000)
    assert (order["filled"], order["status"]) == (0.004, "open")


async def test_hidden_order_is_seen_after_its_time(trader: Trader) -> None:
    client_id = fresh_id()
    trader.add_fault("hide-order", seconds=0.5, when={"client_id": client_id})
    placed_ms = trader.client.milliseconds()
    await trader.rest(client_id)

    async def is_seen() -> bool:
        return bool(await trader.client.fetch_open_orders(BTC))

    while not await is_seen():
        assert trader.client.milliseconds() - placed_ms < 20_000
    assert trader.client.milliseconds() - placed_ms >= 500 - 1
    assert (await trader.client.fetch_order(None, BTC, {"clientOrderId": client_id}))["status"] == "open"


async def test_venues_clock_is_skewed_and_set_right_again(trader: Trader) -> None:
    skew = trader.venue.add_fault("clock-skew", milliseconds=90_000)
    assert 85_000 < await trader.client.fetch_time() - trader.client.milliseconds() < 95_000
    trader.venue.remove_fault(skew)
    assert abs(await trader.client.fetch_time() - trader.client.milliseconds()) < 5_000


async def test_filters_change_under_a_running_client() -> None:
    with running_venue("binance", OPTIONS) as venue:  # of its own: the change stays
        async with trading(venue) as trader:
            await trader.rest(fresh_id(), amount=0.012)
            trader.add_fault("filter-change", symbol="BTCUSDT", step="0.01", tick="10", min_notional="200")
            await until(lambda: venue.faults()[0]["hits"] == 1)
            with pytest.raises(ccxt.InvalidOrder, match="LOT_SIZE"):
                await trader.rest(fresh_id(), amount=0.012)
            market = (await trader.client.load_markets(reload=True))[BTC]
            assert (market["precision"]["amount"], market["precision"]["price"]) == (0.01, 10.0)
            assert market["limits"]["cost"]["min"] == 200.0
            order = await trader.rest(fresh_id(), amount=0.012)
            assert order["amount"] == 0.01


async def test_key_is_revoked_at_its_moment(trader: Trader) -> None:
    await trader.client.fetch_balance()
    number = trader.add_fault("revoke-key", key=trader.client.apiKey[:12], when={"from_seconds": 0.2})
    await until(lambda: trader.fault(number)["hits"] == 1)
    with pytest.raises(ccxt.DDoSProtection, match="-2015"):
        await trader.client.fetch_balance()


async def test_key_may_suddenly_withdraw(trader: Trader) -> None:
    number = trader.add_fault("change-permissions", key=trader.client.apiKey[:12], withdrawals=True)
    await until(lambda: trader.fault(number)["hits"] == 1)
    told = await trader.client.sapiGetAccountApiRestrictions()
    assert (told["enableWithdrawals"], told["enableSpotAndMarginTrading"]) == (True, True)


async def test_venue_crashes_between_accept_and_answer() -> None:
    with running_venue("binance", OPTIONS) as venue:
        async with trading(venue) as trader:
            client_id = fresh_id()
            venue.add_fault("crash", when={"operation": "place"})
            with pytest.raises(ccxt.ExchangeNotAvailable):
                await trader.buy(client_id)
            # the test's own child: looked at, and left for whoever started it to take away
            ended = await asyncio.to_thread(os.waitid, os.P_PID, venue.pid, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, CRASH_EXIT_CODE)
            last = venue.log_lines()[-1]
            assert (last["event"], last["status"]) == ("fault_crash", 200)

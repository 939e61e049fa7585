"""`killall --sell` on the Binance simulator: what was named is sold once, within the collar, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.killall import Desk, own_id
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.orders.client_id import parse_client_order_id

HELD = {"USDT": "10000", "BTC": "0.5", "ETH": "5"}


@pytest.fixture(scope="module")
def serving() -> Iterator[VenueProcess]:
    with running_venue("binance", ["--seed", "13", "--symbols", "BTCUSDT,ETHUSDT"]) as process:
        yield process


@pytest.fixture
def venue(serving: VenueProcess) -> Iterator[VenueProcess]:
    yield serving
    serving.remove_fault()


@pytest.fixture
def desk(venue: VenueProcess, tmp_path: Path) -> Desk:
    return Desk.open(venue, tmp_path, HELD)


def sells(desk: Desk) -> list[dict[str, Any]]:
    """Orders of a run, by the venue's book: those that never rest."""
    return [each for each in desk.truth()["orders"] if each["timeInForce"] == "IOC"]


def test_named_quantity_is_sold_in_slices_and_nothing_else(desk: Desk) -> None:
    order = desk.buy(own_id(1))
    price = desk.price("BTCUSDT")
    done = desk.killall("--sell=BTC=0.02", "--slice-quote=500")
    assert (done.code, desk.open_ids(), done.results) == (0, set(), {order: "Cancelled"}), done.stderr
    assert desk.total("BTC") == Decimal("0.48")
    assert desk.total("ETH") == 5
    assert (done.sale["result"], done.sale["sold"], done.sale["asked"]) == ("Sold", "0.02", "0.02")
    orders = sells(desk)
    assert len(orders) > 1
    assert {each["symbol"] for each in orders} == {"BTCUSDT"}
    assert {each["side"] for each in orders} == {"SELL"}
    assert [each["clientOrderId"] for each in orders] == done.sale["orders"]
    assert len({parse_client_order_id(each["clientOrderId"]).bot for each in orders}) == 1
    lowest = Decimal(done.sale["lowestPrice"])
    assert {Decimal(each["price"]) for each in orders} == {lowest}
    assert lowest >= Decimal(done.sale["lastPrice"]) * Decimal("0.98")
    assert abs(Decimal(done.sale["lastPrice"]) / price - 1) < Decimal("0.02")
    assert Decimal(done.sale["averagePrice"]) >= lowest
    gained = desk.total("USDT") - 10_000
    assert Decimal(done.sale["received"]) * Decimal("0.99") < gained <= Decimal(done.sale["received"])


def test_what_open_orders_held_is_free_after_the_cancels(desk: Desk) -> None:
    desk.offer(quantity="0.25")
    desk.stop(own_id(1), quantity="0.25")
    done = desk.killall("--sell=BTC=0.5", "--slice-quote=100000")
    assert (done.code, done.sale["sold"], desk.total("BTC")) == (0, "0.5", 0), done.stderr


def test_no_more_is_sold_than_is_there_and_the_rest_is_told(desk: Desk) -> None:
    done = desk.killall("--sell=ETH=7", "--slice-quote=100000")
    assert (done.code, done.sale["result"], done.sale["sold"], desk.total("ETH")) == (2, "Left", "5", 0)
    assert "only 5 ETH are free" in done.sale["reason"]


def test_stop_that_is_kept_keeps_what_it_holds(desk: Desk) -> None:
    kept = desk.stop(own_id(1), quantity="0.4")
    done = desk.killall("--sell=BTC=0.2", "--keep-protective", "--slice-quote=100000")
    assert (done.code, desk.open_ids(), done.sale["sold"]) == (2, {kept}, "0.1")
    assert "0.4 more are held by open orders" in done.sale["reason"]


@pytest.mark.parametrize("effect", ["lose-answer", "truncate-answer", "garbage-answer"])
def test_sale_whose_answer_is_lost_is_found_and_counted_once(desk: Desk, effect: str) -> None:
    desk.venue.add_fault(effect, when={"operation": "place", "count": 2})
    done = desk.killall("--sell=BTC=0.02", "--slice-quote=500")
    assert (done.code, done.sale["sold"], desk.total("BTC")) == (0, "0.02", Decimal("0.48")), done.stderr
    assert set(desk.truth()["acceptedByClientId"].values()) == {1}


def test_sale_that_may_have_happened_is_never_sent_again(desk: Desk) -> None:
    """The venue did not take it, and nobody can know."""
    order = desk.buy()
    desk.venue.add_fault("server-error", when={"operation": "place"}, status=503, code=-1007)
    done = desk.killall("--sell=BTC=0.02", "--slice-quote=500", "--timeout=6")
    assert (done.code, done.results, desk.total("BTC")) == (2, {order: "Cancelled"}, Decimal("0.5"))
    assert (done.sale["result"], done.sale["sold"]) == ("Unknown", "0")
    assert Decimal(done.sale["unresolved"]) > 0
    assert "it is not known whether order" in done.sale["reason"]
    (rule,) = desk.venue.faults()
    assert rule["hits"] == 1


def test_refused_sale_is_told_and_not_repeated(desk: Desk) -> None:
    desk.venue.add_fault(
        "reject", when={"operation": "place"}, code=-1013, text="Filter failure: PERCENT_PRICE_BY_SIDE"
    )
    done = desk.killall("--sell=BTC=0.02")
    assert (done.code, done.sale["result"], done.sale["sold"]) == (2, "Left", "0")
    assert "PERCENT_PRICE_BY_SIDE" in done.sale["reason"]
    (rule,) = desk.venue.faults()
    assert rule["hits"] == 1


@pytest.mark.parametrize(
    ("effect", "fields"),
    [("rate-limited", {"retry_after_seconds": 1}), ("rate-limited", {"code": -1015, "retry_after_seconds": 1})],
    ids=["weight", "orders"],
)
def test_sale_waits_when_the_venue_asks_for_it(desk: Desk, effect: str, fields: dict[str, Any]) -> None:
    desk.venue.add_fault(effect, when={"operation": "place", "count": 2}, **fields)
    done = desk.killall("--sell=BTC=0.02", "--slice-quote=100000")
    assert (done.code, done.sale["sold"], desk.total("BTC")) == (0, "0.02", Decimal("0.48")), done.stderr


def test_sale_goes_on_when_slices_fill_in_part(desk: Desk) -> None:
    desk.venue.add_fault("partial-fill", when={"operation": "place", "count": 3}, most_base="0.003")
    done = desk.killall("--sell=BTC=0.02", "--slice-quote=500")
    assert (done.code, done.sale["sold"], desk.total("BTC")) == (0, "0.02", Decimal("0.48")), done.stderr


def test_sales_that_cannot_be_do_not_keep_the_cancels(desk: Desk) -> None:
    order = desk.buy()
    done = desk.killall("--sell=NOSUCH=1", "--sell=ETH=0.0001", "--sell=BTC=0.00000001")
    assert (done.code, done.results, desk.open_ids()) == (2, {order: "Cancelled"}, set())
    unknown, *too_small = done.view["sales"]
    assert "Invalid symbol" in unknown["reason"]
    assert [each["result"] for each in too_small] == ["Left", "Left"]
    assert all("too little" in each["reason"] for each in too_small)
    assert sells(desk) == []


def test_orders_that_cannot_be_cancelled_do_not_keep_the_sales(desk: Desk) -> None:
    stuck = desk.buy(symbol="ETHUSDT", quantity="0.01")
    desk.venue.add_fault("server-error", when={"operation": "cancel"}, status=503)
    done = desk.killall("--sell=BTC=0.02", "--slice-quote=100000", "--timeout=10")
    assert (done.code, done.results, done.sale["result"]) == (2, {stuck: "Left"}, "Sold")
    assert desk.total("BTC") == Decimal("0.48")

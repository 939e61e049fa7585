"""How our orders meet a market that does not know of them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tradingbot_sandbox.venues.matching import Order


def fills(body: Any) -> list[tuple[str, str]]:
    """Price and quantity of each fill, without the zeros at the end."""
    return [(plain(fill["price"]), plain(fill["qty"])) for fill in body["fills"]]


def plain(text: str) -> str:
    return f"{Decimal(text).normalize():f}"


def state_of(client: Any, client_id: str) -> tuple[str, str]:
    body = client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId=client_id)
    return body["status"], plain(body["executedQty"])


@pytest.mark.parametrize(
    ("side", "quantity", "taken", "status"),
    [
        ("BUY", "0.5", [("101", "0.5")], "FILLED"),
        ("BUY", "2.5", [("101", "1"), ("102", "1.5")], "FILLED"),
        ("SELL", "0.5", [("99", "0.5")], "FILLED"),
        ("SELL", "3.5", [("99", "1"), ("98", "2"), ("97", "0.5")], "FILLED"),
        ("SELL", "60", [("99", "1"), ("98", "2"), ("97", "50")], "EXPIRED"),
    ],
)
def test_market_order_eats_levels_from_the_best_on(
    make_venue: Callable[..., Any], side: str, quantity: str, taken: list[tuple[str, str]], status: str
) -> None:
    client = make_venue().client(USDT="100000", BTC="100")
    body = client.order(side, "MARKET", quantity=quantity)
    assert fills(body) == taken
    assert body["status"] == status


def test_limit_order_takes_no_level_beyond_its_price_and_rests_with_the_remainder(client: Any) -> None:
    body = client.order("BUY", "LIMIT", price="101.5", quantity="1.5", newClientOrderId="a")
    assert fills(body) == [("101", "1")]
    assert body["status"] == "PARTIALLY_FILLED"
    assert [o["clientOrderId"] for o in client.ask("GET", "openOrders")] == ["a"]


def test_level_that_was_taken_is_gone_until_it_is_told_anew(venue: Any, client: Any) -> None:
    client.order("BUY", "MARKET", quantity="0.7")
    assert fills(client.order("BUY", "MARKET", quantity="0.7")) == [("101", "0.3"), ("102", "0.4")]
    venue.delta(asks="101:1")
    assert fills(client.order("BUY", "MARKET", quantity="0.7")) == [("101", "0.7")]


def test_delta_of_another_level_brings_nothing_back(venue: Any, client: Any) -> None:
    client.order("BUY", "MARKET", quantity="1")
    venue.delta(asks="103:9", bids="99:3")
    assert fills(client.order("BUY", "MARKET", quantity="1")) == [("102", "1")]


def test_top_that_is_ahead_of_the_book_hides_the_levels_that_are_gone(venue: Any, client: Any) -> None:
    venue.market.top("99:1", "102:0.5", venue.now_ns)
    venue.run()
    assert fills(client.order("BUY", "MARKET", quantity="1")) == [("102", "0.5"), ("103", "0.5")]


def test_top_that_is_told_again_unchanged_brings_nothing_back(venue: Any, client: Any) -> None:
    venue.market.top("99:1", "101:1", venue.now_ns)
    venue.run()
    client.order("BUY", "MARKET", quantity="1")
    venue.market.top("98.5:1", "101:1", venue.now_ns)
    venue.run()
    assert fills(client.order("BUY", "MARKET", quantity="1")) == [("102", "1")]
    venue.market.top("98.5:1", "101:0.4", venue.now_ns)
    venue.run()
    assert fills(client.order("BUY", "MARKET", quantity="0.4")) == [("101", "0.4")]


def test_two_accounts_eat_the_same_levels(venue: Any) -> None:
    first, second = venue.client(), venue.client()
    first.order("BUY", "MARKET", quantity="1")
    assert fills(second.order("BUY", "MARKET", quantity="1")) == [("102", "1")]


@pytest.mark.parametrize(
    ("side", "price", "through", "at"),
    [("BUY", "100", "99.99", "100"), ("SELL", "100", "100.01", "100")],
)
def test_resting_order_fills_only_when_the_market_trades_through_it(
    venue: Any, client: Any, side: str, price: str, through: str, at: str
) -> None:
    client.order(side, "LIMIT", price=price, newClientOrderId="a")
    venue.trade(at, "5")
    assert state_of(client, "a") == ("NEW", "0")
    venue.trade(through, "0.2")
    assert state_of(client, "a") == ("PARTIALLY_FILLED", "0.2")
    venue.trade(through, "5")
    assert state_of(client, "a") == ("FILLED", "0.5")
    assert [(t["price"], t["isMaker"]) for t in client.ask("GET", "myTrades", symbol="BTCUSDT")] == [
        ("100.00000000", True)
    ] * 2


def test_resting_orders_share_a_trade_best_price_first_then_the_older_one(venue: Any, client: Any) -> None:
    for name, price in (("low", "99.5"), ("old", "100"), ("new", "100")):
        client.order("BUY", "LIMIT", price=price, newClientOrderId=name)
    venue.trade("99.4", "0.8")
    assert state_of(client, "old") == ("FILLED", "0.5")
    assert state_of(client, "new") == ("PARTIALLY_FILLED", "0.3")
    assert state_of(client, "low") == ("NEW", "0")


def test_own_trade_is_seen_by_all_and_fills_no_own_order(venue: Any, client: Any) -> None:
    client.order("BUY", "LIMIT", price="99.5", newClientOrderId="resting")
    body = client.order("SELL", "MARKET", quantity="1")
    assert fills(body) == [("99", "1")]
    assert state_of(client, "resting") == ("NEW", "0")
    board = venue.exchange.world.boards["BTC/USDT"]
    assert (board.last_trade_id, board.last_price) == (body["fills"][0]["tradeId"], Decimal(99))


@pytest.mark.parametrize("kind", ["IOC", "FOK"])
def test_order_that_finds_nothing_expires(client: Any, kind: str) -> None:
    body = client.order("BUY", "LIMIT", price="100", timeInForce=kind)
    assert (body["status"], body["fills"]) == ("EXPIRED", [])


def test_ioc_order_takes_what_there_is_and_expires(client: Any) -> None:
    body = client.order("BUY", "LIMIT", price="101", quantity="1.5", timeInForce="IOC")
    assert (body["status"], plain(body["executedQty"])) == ("EXPIRED", "1")
    assert body["expiryReason"] == "UNFILLED_IOC_QUANTITY_EXPIRED"


def test_fok_order_takes_all_or_nothing(client: Any) -> None:
    body = client.order("BUY", "LIMIT", price="101", quantity="1.5", timeInForce="FOK")
    assert (body["status"], plain(body["executedQty"])) == ("EXPIRED", "0")
    assert body["expiryReason"] == "UNFILLED_FOK_ORDER_EXPIRED"
    body = client.order("BUY", "LIMIT", price="102", quantity="1.5", timeInForce="FOK")
    assert (body["status"], plain(body["executedQty"])) == ("FILLED", "1.5")


def test_fok_order_that_was_refused_took_no_level(client: Any) -> None:
    client.order("BUY", "LIMIT", price="101", quantity="1.5", timeInForce="FOK")
    assert fills(client.order("BUY", "MARKET", quantity="1")) == [("101", "1")]


def test_post_only_order_rests_inside_the_spread(client: Any) -> None:
    client.order("BUY", "LIMIT_MAKER", price="100", newClientOrderId="a")
    assert state_of(client, "a") == ("NEW", "0")


@pytest.mark.parametrize(
    ("side", "spend", "taken", "left"),
    [
        ("BUY", "50.5", [("101", "0.5")], "0"),
        ("BUY", "152", [("101", "1"), ("102", "0.5")], "0"),
        ("BUY", "101.001", [("101", "1")], "0.001"),
        ("SELL", "99", [("99", "1")], "0"),
        ("SELL", "148", [("99", "1"), ("98", "0.5")], "0"),
    ],
)
def test_order_by_quote_quantity_comes_as_close_as_steps_allow(
    client: Any, side: str, spend: str, taken: list[tuple[str, str]], left: str
) -> None:
    body = client.order(side, "MARKET", quoteOrderQty=spend)
    assert fills(body) == taken
    assert body["status"] == "FILLED"
    assert body["origQty"] == body["executedQty"]
    assert Decimal(spend) - Decimal(body["cummulativeQuoteQty"]) == Decimal(left)


@pytest.mark.parametrize(
    ("side", "kind", "stop", "quiet", "loud", "price"),
    [
        ("SELL", "STOP_LOSS", "95", "95.01", "95", "99"),
        ("BUY", "STOP_LOSS", "105", "104.99", "105", "101"),
        ("SELL", "TAKE_PROFIT", "105", "104.99", "105", "99"),
        ("BUY", "TAKE_PROFIT", "95", "95.01", "95", "101"),
    ],
)
def test_conditional_order_works_once_the_last_price_reaches_it(
    venue: Any, client: Any, side: str, kind: str, stop: str, quiet: str, loud: str, price: str
) -> None:
    client.order(side, kind, stopPrice=stop, newClientOrderId="a")
    assert client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId="a")["isWorking"] is False
    venue.trade(quiet)
    assert state_of(client, "a") == ("NEW", "0")
    venue.trade(loud)
    assert state_of(client, "a") == ("FILLED", "0.5")
    assert plain(client.ask("GET", "myTrades", symbol="BTCUSDT")[0]["price"]) == price


def test_triggered_stop_limit_rests_at_its_price(venue: Any, client: Any) -> None:
    client.order("SELL", "STOP_LOSS_LIMIT", stopPrice="95", price="99.5", newClientOrderId="a")
    venue.trade("96")
    venue.trade("99.6")
    assert state_of(client, "a") == ("NEW", "0")
    venue.trade("95")
    assert state_of(client, "a") == ("NEW", "0")
    assert client.kinds() == ["NEW NEW", "outboundAccountPosition", "NEW NEW"]
    venue.trade("99.6", "9")
    assert state_of(client, "a") == ("FILLED", "0.5")


def test_stop_sets_off_the_next_stop(venue: Any, client: Any) -> None:
    venue.trade("98.5")
    client.order("SELL", "STOP_LOSS", stopPrice="97.5", quantity="0.9", newClientOrderId="second")
    client.order("BUY", "STOP_LOSS", stopPrice="99.5", quantity="0.5", newClientOrderId="first")
    venue.delta(bids="99:0 98:0")
    client.order("SELL", "MARKET", quantity="0.1")  # trades at 97
    assert state_of(client, "second") == ("FILLED", "0.9")
    assert state_of(client, "first") == ("NEW", "0")
    client.order("BUY", "MARKET", quantity="0.1")  # trades at 101
    assert state_of(client, "first") == ("FILLED", "0.5")


def test_stop_that_cannot_be_paid_for_expires(make_venue: Callable[..., Any]) -> None:
    venue = make_venue()
    client = venue.client(USDT="52.5")
    client.order("BUY", "STOP_LOSS", stopPrice="105", quantity="0.5", newClientOrderId="a")
    venue.delta(asks="101:0 102:0 103:0 120:5")
    venue.trade("105")
    body = client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId="a")
    assert (body["status"], body["expiryReason"]) == ("EXPIRED", "REJECTED")
    assert client.account.balances.free("USDT") == Decimal("52.5")


def test_script_may_cap_what_a_taker_gets(venue: Any, client: Any) -> None:
    seen: list[tuple[str, Decimal]] = []

    def cap(order: Order, could_take: Decimal) -> Decimal:
        seen.append((order.client_id, could_take))
        return Decimal("0.300004")

    venue.exchange.desk.matching.taker_cap = cap
    body = client.order("BUY", "LIMIT", price="102", quantity="1.5", newClientOrderId="a")
    assert seen == [("a", Decimal("1.5"))]
    assert (body["status"], fills(body)) == ("PARTIALLY_FILLED", [("101", "0.3")])
    body = client.order("SELL", "MARKET", quantity="0.5", newClientOrderId="b")
    assert (body["status"], fills(body)) == ("EXPIRED", [("99", "0.3")])
    assert client.account.balances.locked("BTC") == 0


def test_capped_fok_order_takes_nothing(venue: Any, client: Any) -> None:
    venue.exchange.desk.matching.taker_cap = lambda _order, _most: Decimal("0.1")
    body = client.order("BUY", "LIMIT", price="102", quantity="1.5", timeInForce="FOK")
    assert (body["status"], body["fills"]) == ("EXPIRED", [])


def test_cancelled_order_is_never_filled(venue: Any, client: Any) -> None:
    client.order("BUY", "LIMIT", price="100", newClientOrderId="a")
    client.ask("DELETE", "order", symbol="BTCUSDT", origClientOrderId="a")
    venue.trade("90", "9")
    assert state_of(client, "a") == ("CANCELED", "0")


def test_market_of_another_symbol_fills_nothing(make_venue: Callable[..., Any]) -> None:
    venue = make_venue("BTC/USDT", "ETH/USDT")
    client = venue.client()
    client.order("BUY", "LIMIT", price="100", newClientOrderId="a")
    venue.trade("90", "9", "ETH/USDT")
    assert state_of(client, "a") == ("NEW", "0")

"""Orders over Binance's REST API, read off a venue without sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tradingbot_sandbox.market.events import NS_PER_MS

DAY_MS = 86_400_000
INSUFFICIENT = "Account has insufficient balance for requested action."
DUPLICATE = "Duplicate order sent."


@pytest.mark.parametrize(
    ("side", "kind", "changes", "code", "text"),
    [
        ("BUY", "LIMIT", {"price": "100.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ("BUY", "LIMIT", {"price": "1000001"}, -1013, "Filter failure: PRICE_FILTER"),
        ("BUY", "STOP_LOSS", {"stopPrice": "105.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ("BUY", "LIMIT", {"price": "15"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ("SELL", "LIMIT", {"price": "600"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ("BUY", "LIMIT", {"quantity": "0.500001"}, -1013, "Filter failure: LOT_SIZE"),
        ("BUY", "LIMIT", {"quantity": "9001"}, -1013, "Filter failure: LOT_SIZE"),
        ("BUY", "MARKET", {"quantity": "0.500001"}, -1013, "Filter failure: LOT_SIZE"),
        ("BUY", "MARKET", {"quantity": "142"}, -1013, "Filter failure: MARKET_LOT_SIZE"),
        ("BUY", "LIMIT", {"quantity": "0.04"}, -1013, "Filter failure: NOTIONAL"),
        ("BUY", "MARKET", {"quantity": "0.04"}, -1013, "Filter failure: NOTIONAL"),
        ("BUY", "MARKET", {"quoteOrderQty": "4.99"}, -1013, "Filter failure: NOTIONAL"),
        ("BUY", "LIMIT", {"price": "200", "quantity": "9000"}, -2010, INSUFFICIENT),
        ("BUY", "LIMIT", {"quantity": "0"}, -1013, "Invalid quantity."),
        ("BUY", "LIMIT", {"price": "0"}, -1013, "Invalid price."),
        ("BUY", "LIMIT", {"quantity": "0.123456789"}, -1111, "Parameter 'quantity' has too much precision."),
        ("BUY", "LIMIT", {"symbol": "NOPEUSDT"}, -1121, "Invalid symbol."),
        ("LEND", "LIMIT", {}, -1117, "Invalid side."),
        ("BUY", "ICEBERG", {}, -1116, "Invalid orderType."),
        ("BUY", "LIMIT", {"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ("BUY", "MARKET", {"timeInForce": "GTC"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ("BUY", "MARKET", {"price": "100"}, -1106, "Parameter 'price' sent when not required."),
        ("BUY", "LIMIT", {"stopPrice": "100"}, -1106, "Parameter 'stopPrice' sent when not required."),
        ("BUY", "LIMIT", {"quoteOrderQty": "100"}, -1106, "Parameter 'quoteOrderQty' sent when not required."),
        (
            "SELL",
            "STOP_LOSS",
            {},
            -1102,
            "Param 'stopPrice' or 'trailingDelta' must be sent, but both were empty/null!",
        ),
        (
            "BUY",
            "LIMIT",
            {"newOrderRespType": "ALL"},
            -1130,
            "Data sent for parameter 'newOrderRespType' is not valid.",
        ),
        ("BUY", "LIMIT", {"price": ""}, -1105, "Parameter 'price' was empty."),
        ("BUY", "LIMIT", {"icebergQty": "0.1"}, -1104, "Not all sent parameters were read; read '8' parameter(s) but"),
        ("BUY", "LIMIT", {"quantity": "-1"}, -1100, "Illegal characters found in parameter 'quantity'; legal range is"),
        ("BUY", "LIMIT", {"newClientOrderId": "x" * 37}, -1100, "Illegal characters found in parameter 'newClientOrd"),
        ("BUY", "LIMIT", {"newClientOrderId": "a b"}, -1100, "Illegal characters found in parameter 'newClientOrd"),
        ("BUY", "LIMIT_MAKER", {"price": "101"}, -2010, "Order would immediately match and take."),
        ("SELL", "LIMIT_MAKER", {"price": "99"}, -2010, "Order would immediately match and take."),
        ("SELL", "STOP_LOSS", {"stopPrice": "100"}, -2010, "Order would trigger immediately."),
        ("BUY", "STOP_LOSS", {"stopPrice": "100"}, -2010, "Order would trigger immediately."),
        ("BUY", "TAKE_PROFIT", {"stopPrice": "100"}, -2010, "Order would trigger immediately."),
        ("BUY", "LIMIT", {"price": "101", "quantity": "99.5"}, -2010, INSUFFICIENT),
        ("BUY", "MARKET", {"quantity": "99.5"}, -2010, INSUFFICIENT),
        ("BUY", "MARKET", {"quoteOrderQty": "10000.01"}, -2010, INSUFFICIENT),
        ("SELL", "MARKET", {"quantity": "10.5"}, -2010, INSUFFICIENT),
        ("SELL", "LIMIT", {"quantity": "10.5"}, -2010, INSUFFICIENT),
    ],
)
def test_order_that_binance_would_refuse_is_refused_and_leaves_no_trace(
    make_venue: Callable[..., Any],
    valid_order: Callable[..., dict[str, object]],
    side: str,
    kind: str,
    changes: dict[str, object],
    code: int,
    text: str,
) -> None:
    client = make_venue(asks="101:1 102:2 103:500", bids="99:1 98:2 97:500").client()
    status, answered, message = client.refused("POST", "order", **valid_order(side, kind, **changes))
    assert (status, answered, message[: len(text)]) == (400, code, text)
    assert client.account.orders == []
    assert client.account.balances.totals() == {"USDT": Decimal(10_000), "BTC": Decimal(10)}
    assert client.account.balances.locked("USDT") == client.account.balances.locked("BTC") == 0


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("LIMIT", {"quantity": "0.05"}),
        ("MARKET", {"quoteOrderQty": "5.05"}),
        ("LIMIT", {"quantity": "0.05001"}),
        ("LIMIT", {"price": "100.01"}),
        ("LIMIT", {"newClientOrderId": "x" * 36}),
        ("LIMIT", {"quantity": "0.500000000000"}),
    ],
)
def test_order_at_the_very_bound_is_taken(client: Any, kind: str, changes: dict[str, object]) -> None:
    assert client.order("BUY", kind, **changes)["status"] in ("NEW", "FILLED")


@pytest.mark.parametrize("name", ["symbol", "side", "type", "quantity", "price", "timeInForce"])
def test_limit_order_without_a_mandatory_parameter_is_refused(
    client: Any, valid_order: Callable[..., dict[str, object]], name: str
) -> None:
    sent = valid_order("BUY", "LIMIT")
    del sent[name]
    text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    assert client.refused("POST", "order", **sent) == (400, -1102, text)


def test_market_order_needs_one_of_its_quantities(client: Any) -> None:
    sent = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"}
    text = "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!"
    assert client.refused("POST", "order", **sent) == (400, -1102, text)
    assert client.refused("POST", "order", **sent, quantity="1", quoteOrderQty="100")[1] == -1128


def test_reasons_that_a_report_can_tell_are_reported(client: Any, valid_order: Callable[..., Any]) -> None:
    client.send("POST", "order", **valid_order("SELL", "LIMIT", quantity="11", newClientOrderId="a"))
    client.send("POST", "order", **valid_order("BUY", "LIMIT_MAKER", price="101"))
    client.send("POST", "order", **valid_order("SELL", "STOP_LOSS", stopPrice="100"))
    assert [(e["x"], e["X"], e["r"]) for e in client.events] == [
        ("REJECTED", "REJECTED", "INSUFFICIENT_BALANCES"),
        ("REJECTED", "REJECTED", "WOULD_MATCH_IMMEDIATELY"),
        ("REJECTED", "REJECTED", "STOP_PRICE_WOULD_TRIGGER_IMMEDIATELY"),
    ]
    assert client.events[0]["c"] == "a"


def test_client_id_is_unique_among_open_orders_only(client: Any, valid_order: Callable[..., Any]) -> None:
    first = client.order("BUY", "LIMIT", newClientOrderId="same")
    sent = valid_order("BUY", "LIMIT", newClientOrderId="same")
    assert client.refused("POST", "order", **sent) == (400, -2010, DUPLICATE)
    client.ask("DELETE", "order", symbol="BTCUSDT", origClientOrderId="same")
    second = client.order("BUY", "LIMIT", newClientOrderId="same")
    assert second["orderId"] > first["orderId"]
    assert client.account.accepted == {"same": 2}
    newest = client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId="same")
    assert newest["orderId"] == second["orderId"]
    oldest = client.ask("GET", "order", symbol="BTCUSDT", orderId=first["orderId"], origClientOrderId="same")
    assert oldest["status"] == "CANCELED"


def test_another_account_may_use_the_same_client_id(venue: Any) -> None:
    for client in (venue.client(), venue.client()):
        assert client.order("BUY", "LIMIT", newClientOrderId="same")["status"] == "NEW"


def test_test_order_is_checked_and_not_placed(client: Any, valid_order: Callable[..., Any]) -> None:
    assert client.ask("POST", "order/test", **valid_order("BUY", "LIMIT")) == {}
    assert client.refused("POST", "order/test", **valid_order("BUY", "LIMIT", price="100.001"))[1] == -1013
    rates = client.ask("POST", "order/test", **valid_order("BUY", "LIMIT"), computeCommissionRates="true")
    assert rates["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00100000"}
    assert (client.account.orders, client.events) == ([], [])


def test_answer_is_as_long_as_was_asked_for(client: Any) -> None:
    ack = client.order("BUY", "LIMIT", newOrderRespType="ACK")
    assert list(ack) == ["symbol", "orderId", "orderListId", "clientOrderId", "transactTime"]
    result = client.order("BUY", "LIMIT", newOrderRespType="RESULT")
    assert "executedQty" in result
    assert "fills" not in result
    assert client.order("BUY", "LIMIT")["fills"] == []
    assert "fills" in client.order("BUY", "MARKET")
    assert "executedQty" not in client.order("BUY", "LIMIT_MAKER")


def test_full_answer_of_a_market_order_is_as_documented(venue: Any, client: Any) -> None:
    assert client.order("BUY", "MARKET", quantity="1.5", newClientOrderId="a") == {
        "symbol": "BTCUSDT",
        "orderId": 1_000_001,
        "orderListId": -1,
        "clientOrderId": "a",
        "transactTime": venue.now_ns // NS_PER_MS,
        "price": "0.00000000",
        "origQty": "1.50000000",
        "executedQty": "1.50000000",
        "origQuoteOrderQty": "0.00000000",
        "cummulativeQuoteQty": "152.00000000",
        "status": "FILLED",
        "timeInForce": "GTC",
        "type": "MARKET",
        "side": "BUY",
        "workingTime": venue.now_ns // NS_PER_MS,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "fills": [
            {
                "price": "101.00000000",
                "qty": "1.00000000",
                "commission": "0.00100000",
                "commissionAsset": "BTC",
                "tradeId": 501,
            },
            {
                "price": "102.00000000",
                "qty": "0.50000000",
                "commission": "0.00050000",
                "commissionAsset": "BTC",
                "tradeId": 502,
            },
        ],
    }


def test_query_answers_as_documented(venue: Any, client: Any) -> None:
    placed_ms = venue.now_ns // NS_PER_MS
    client.order("SELL", "STOP_LOSS_LIMIT", stopPrice="95", price="94", newClientOrderId="a")
    assert client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId="a") == {
        "symbol": "BTCUSDT",
        "orderId": 1_000_001,
        "orderListId": -1,
        "clientOrderId": "a",
        "price": "94.00000000",
        "origQty": "0.50000000",
        "executedQty": "0.00000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "STOP_LOSS_LIMIT",
        "side": "SELL",
        "stopPrice": "95.00000000",
        "icebergQty": "0.00000000",
        "time": placed_ms,
        "updateTime": placed_ms,
        "isWorking": False,
        "workingTime": -1,
        "origQuoteOrderQty": "0.00000000",
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def test_cancel_has_an_id_of_its_own(client: Any) -> None:
    client.order("BUY", "LIMIT", newClientOrderId="a")
    body = client.ask("DELETE", "order", symbol="BTCUSDT", origClientOrderId="a", newClientOrderId="c")
    assert (body["origClientOrderId"], body["clientOrderId"], body["status"]) == ("a", "c", "CANCELED")
    report = client.events[-2]
    assert (report["x"], report["C"], report["c"]) == ("CANCELED", "a", "c")
    assert client.account.balances.locked("USDT") == 0


@pytest.mark.parametrize(
    ("method", "sent", "code", "text"),
    [
        ("GET", {"orderId": 1}, -2013, "Order does not exist."),
        ("GET", {"origClientOrderId": "nope"}, -2013, "Order does not exist."),
        ("DELETE", {"orderId": 1}, -2011, "Unknown order sent."),
        ("DELETE", {"origClientOrderId": "nope"}, -2011, "Unknown order sent."),
        ("DELETE", {"origClientOrderId": "done"}, -2011, "Unknown order sent."),
        (
            "GET",
            {},
            -1102,
            "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!",
        ),
        ("GET", {"orderId": 1_000_001, "origClientOrderId": "x"}, -2039, "Client order ID is not correct for this"),
        ("DELETE", {"origClientOrderId": "open", "cancelRestrictions": "X"}, -1145, "Invalid cancelRestrictions"),
        (
            "DELETE",
            {"origClientOrderId": "open", "cancelRestrictions": "ONLY_PARTIALLY_FILLED"},
            -2011,
            "Order was not canceled due to cancel restrictions.",
        ),
    ],
)
def test_order_that_cannot_be_found_or_cancelled(
    client: Any, method: str, sent: dict[str, object], code: int, text: str
) -> None:
    client.order("BUY", "MARKET", newClientOrderId="done")
    client.order("BUY", "LIMIT", newClientOrderId="open")
    status, answered, message = client.refused(method, "order", symbol="BTCUSDT", **sent)
    assert (status, answered, message[: len(text)]) == (400, code, text)
    assert len(client.account.open_orders()) == 1


def test_all_open_orders_of_a_symbol_are_cancelled_at_once(make_venue: Callable[..., Any]) -> None:
    venue = make_venue("BTC/USDT", "ETH/USDT")
    client = venue.client()
    for symbol in ("BTCUSDT", "BTCUSDT", "ETHUSDT"):
        client.order("BUY", "LIMIT", symbol=symbol)
    rows = client.ask("DELETE", "openOrders", symbol="BTCUSDT")
    assert [row["status"] for row in rows] == ["CANCELED"] * 2
    assert [row["symbol"] for row in client.ask("GET", "openOrders")] == ["ETHUSDT"]
    assert client.ask("GET", "openOrders", symbol="BTCUSDT") == []
    assert client.refused("DELETE", "openOrders", symbol="BTCUSDT") == (400, -2011, "Unknown order sent.")


def test_too_many_open_orders_fail_a_filter(venue: Any, client: Any, valid_order: Callable[..., Any]) -> None:
    venue.exchange.rules["BTC/USDT"] = replace(venue.exchange.rules["BTC/USDT"], most_orders=7)
    for _ in range(5):
        client.order("SELL", "STOP_LOSS", stopPrice="95")
    refusal = client.refused("POST", "order", **valid_order("SELL", "STOP_LOSS", stopPrice="95"))
    assert refusal == (400, -1013, "Filter failure: MAX_NUM_ALGO_ORDERS")
    for _ in range(2):
        client.order("BUY", "LIMIT")
    refusal = client.refused("POST", "order", **valid_order("BUY", "LIMIT"))
    assert refusal == (400, -1013, "Filter failure: MAX_NUM_ORDERS")


def test_changed_rules_are_told_and_applied(venue: Any, client: Any, valid_order: Callable[..., Any]) -> None:
    venue.exchange.rules["BTC/USDT"] = replace(venue.exchange.rules["BTC/USDT"], step=Decimal("0.1"))
    answer = venue.api.answer("GET", "/api/v3/exchangeInfo", address="10.0.0.1", now_ns=venue.now_ns)
    filters = {f["filterType"]: f for f in answer.body["symbols"][0]["filters"]}
    assert filters["LOT_SIZE"]["stepSize"] == "0.10000000"
    refusal = client.refused("POST", "order", **valid_order("BUY", "LIMIT", quantity="0.55"))
    assert refusal == (400, -1013, "Filter failure: LOT_SIZE")


def test_symbol_that_is_closed_takes_no_order(venue: Any, client: Any, valid_order: Callable[..., Any]) -> None:
    venue.exchange.rules["BTC/USDT"] = replace(venue.exchange.rules["BTC/USDT"], is_trading=False)
    assert client.refused("POST", "order", **valid_order("BUY", "LIMIT")) == (400, -2010, "Market is closed.")


def test_order_history_is_paged_by_id_and_by_time(venue: Any, client: Any) -> None:
    placed: list[tuple[int, int]] = []
    for _ in range(4):
        placed.append((client.order("BUY", "LIMIT")["orderId"], venue.now_ns // NS_PER_MS))
        venue.run(10)
    ids = [order_id for order_id, _ in placed]

    def asked(**values: object) -> list[int]:
        return [row["orderId"] for row in client.ask("GET", "allOrders", symbol="BTCUSDT", **values)]

    assert asked() == ids
    assert asked(limit=2) == ids[2:]
    assert asked(orderId=ids[1], limit=2) == ids[1:3]
    assert asked(startTime=placed[1][1], endTime=placed[2][1]) == ids[1:3]
    assert asked(startTime=placed[1][1], limit=1) == ids[1:2]
    refusal = client.refused("GET", "allOrders", symbol="BTCUSDT", startTime=0, endTime=DAY_MS + 1)
    assert refusal == (400, -1127, "More than 24 hours between startTime and endTime.")


def test_trades_are_paged_by_id_time_and_order(venue: Any, client: Any) -> None:
    orders = []
    for _ in range(3):
        orders.append(client.order("BUY", "MARKET", quantity="0.3")["orderId"])
        venue.run(10)
    rows = client.ask("GET", "myTrades", symbol="BTCUSDT")
    ids = [row["id"] for row in rows]
    assert ids == sorted(ids)

    def asked(**values: object) -> list[int]:
        return [row["id"] for row in client.ask("GET", "myTrades", symbol="BTCUSDT", **values)]

    assert asked(limit=1) == ids[-1:]
    assert asked(fromId=ids[1], limit=1) == ids[1:2]
    assert asked(orderId=orders[1]) == ids[1:2]
    assert asked(startTime=rows[1]["time"]) == ids[1:]
    assert asked(endTime=rows[1]["time"]) == ids[:2]
    assert client.refused("GET", "myTrades", symbol="BTCUSDT", fromId=1, startTime=1)[1] == -1128


def test_trade_row_is_as_documented(venue: Any, client: Any) -> None:
    order_id = client.order("SELL", "MARKET", quantity="0.5")["orderId"]
    assert client.ask("GET", "myTrades", symbol="BTCUSDT") == [
        {
            "symbol": "BTCUSDT",
            "id": 501,
            "orderId": order_id,
            "orderListId": -1,
            "price": "99.00000000",
            "qty": "0.50000000",
            "quoteQty": "49.50000000",
            "commission": "0.04950000",
            "commissionAsset": "USDT",
            "time": venue.now_ns // NS_PER_MS,
            "isBuyer": False,
            "isMaker": False,
            "isBestMatch": True,
        }
    ]


def test_account_tells_what_is_free_and_what_is_locked(client: Any) -> None:
    client.order("BUY", "LIMIT", price="90", quantity="2")
    body = client.ask("GET", "account", omitZeroBalances="true")
    assert body["uid"] == client.account.uid
    assert (body["canTrade"], body["accountType"]) == (True, "SPOT")
    assert body["balances"] == [
        {"asset": "BTC", "free": "10.00000000", "locked": "0.00000000"},
        {"asset": "USDT", "free": "9820.00000000", "locked": "180.00000000"},
    ]


def test_account_names_assets_that_it_never_held(venue: Any) -> None:
    assets = [balance["asset"] for balance in venue.client(EUR="5").ask("GET", "account")["balances"]]
    assert assets == ["BTC", "USDT", "EUR"]


def test_commission_is_paid_in_bnb_while_there_is_enough(make_venue: Callable[..., Any]) -> None:
    venue = make_venue("BTC/USDT", "BNB/USDT")  # both at 100
    client = venue.client(USDT="1000", BTC="1", BNB="0.0004", pays_in_bnb=True)
    first, second = (client.order("BUY", "MARKET", quantity="0.5")["fills"][0] for _ in range(2))
    # 50.5 USDT are 0.505 BNB: a thousandth, less a quarter
    assert (first["commission"], first["commissionAsset"]) == ("0.00037875", "BNB")
    assert (second["commission"], second["commissionAsset"]) == ("0.00050000", "BTC")
    assert client.account.balances.free("BNB") == Decimal("0.00002125")


def test_order_count_is_told_and_bounded(venue: Any, client: Any, valid_order: Callable[..., Any]) -> None:
    answer = client.send("POST", "order", **valid_order("BUY", "LIMIT"))
    assert answer.headers["x-mbx-order-count-10s"] == answer.headers["x-mbx-order-count-1d"] == "1"
    for _ in range(99):
        order = client.order("BUY", "LIMIT")
        client.ask("DELETE", "order", symbol="BTCUSDT", orderId=order["orderId"])
    refusal = client.send("POST", "order", **valid_order("BUY", "LIMIT"))
    assert (refusal.http_status, refusal.body) == (
        429,
        {"code": -1015, "msg": "Too many new orders; current limit is 100 orders per 10 SECOND."},
    )
    assert int(refusal.headers["Retry-After"]) >= 1
    venue.run(10_000)
    assert client.order("BUY", "LIMIT")["status"] == "NEW"


def test_filled_orders_do_not_count(venue: Any, client: Any) -> None:
    for _ in range(3):
        client.order("BUY", "MARKET", quantity="0.1")
    client.order("BUY", "LIMIT", quantity="0.1")
    counts = client.ask("GET", "rateLimit/order")
    assert [(row["intervalNum"], row["interval"], row["count"]) for row in counts] == [
        (10, "SECOND", 1),
        (1, "DAY", 1),
    ]
    venue.trade("99.9", "9")
    assert client.ask("GET", "rateLimit/order")[0]["count"] == 0


@pytest.mark.parametrize(
    ("method", "path", "values", "weight"),
    [
        ("POST", "order", {"symbol": "BTCUSDT"}, 1),
        ("POST", "order/test", {"computeCommissionRates": "true"}, 20),
        ("GET", "order", {"symbol": "BTCUSDT"}, 4),
        ("DELETE", "order", {"symbol": "BTCUSDT"}, 1),
        ("GET", "openOrders", {"symbol": "BTCUSDT"}, 6),
        ("GET", "openOrders", {}, 80),
        ("DELETE", "openOrders", {"symbol": "BTCUSDT"}, 1),
        ("GET", "allOrders", {"symbol": "BTCUSDT"}, 20),
        ("GET", "account", {}, 20),
        ("GET", "myTrades", {"symbol": "BTCUSDT"}, 20),
        ("GET", "myTrades", {"symbol": "BTCUSDT", "orderId": 1}, 5),
        ("GET", "rateLimit/order", {}, 40),
        ("GET", "/sapi/v1/account/apiRestrictions", {}, 1),
    ],
)
def test_each_signed_request_costs_what_binance_says(
    client: Any, method: str, path: str, values: dict[str, object], weight: int
) -> None:
    assert client.send(method, path, **values).headers["x-mbx-used-weight-1m"] == str(weight)


def test_requests_are_counted_by_method_and_path(venue: Any, client: Any) -> None:
    client.order("BUY", "LIMIT")
    client.send("GET", "order", symbol="BTCUSDT")
    client.send("GET", "order", symbol="BTCUSDT")
    assert venue.exchange.requests == {"POST /api/v3/order": 1, "GET /api/v3/order": 2}


def test_other_method_on_a_known_path_is_not_found(client: Any) -> None:
    assert client.send("PATCH", "order", symbol="BTCUSDT").http_status == 404

"""Answers as Binance writes them (its spot API documentation), with valid defaults: for tests of adapters."""

from __future__ import annotations

from typing import Any

CLIENT_ID = "a" * 32
CANCEL_ID = "F3zqbyvj1nVaHAyTzWDuXK"
TIME_MS = 1_760_000_000_000


def order(**changes: Any) -> dict[str, Any]:
    """The answer to a question about an order; a row of openOrders and allOrders."""
    return {
        "symbol": "BTCUSDT",
        "orderId": 28,
        "orderListId": -1,
        "clientOrderId": CLIENT_ID,
        "price": "100.10000000",
        "origQty": "1.00000000",
        "executedQty": "0.00000000",
        "origQuoteOrderQty": "0.000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": TIME_MS,
        "updateTime": TIME_MS + 5,
        "isWorking": True,
        "workingTime": TIME_MS,
        "selfTradePreventionMode": "NONE",
    } | changes


def placed(**changes: Any) -> dict[str, Any]:
    """The answer to a new order, FULL."""
    body = order() | {"transactTime": TIME_MS, "fills": []}
    for name in ("time", "updateTime", "stopPrice", "icebergQty", "isWorking"):
        del body[name]
    return body | changes


def filled(**changes: Any) -> dict[str, Any]:
    """The answer to a market order that two levels filled."""
    fills = [
        {"price": "100.00000000", "qty": "0.40000000", "commission": "0.0004", "commissionAsset": "BTC", "tradeId": 56},
        {"price": "100.10000000", "qty": "0.60000000", "commission": "0.0006", "commissionAsset": "BTC", "tradeId": 57},
    ]
    values = {"type": "MARKET", "price": "0.00000000", "status": "FILLED", "executedQty": "1.00000000", "fills": fills}
    return placed(**values | changes)


def cancelled(**changes: Any) -> dict[str, Any]:
    body = placed(status="CANCELED", origClientOrderId=CLIENT_ID, clientOrderId=CANCEL_ID)
    del body["fills"], body["workingTime"]
    return body | changes


def trade(**changes: Any) -> dict[str, Any]:
    """A row of myTrades."""
    return {
        "symbol": "BTCUSDT",
        "id": 28457,
        "orderId": 28,
        "orderListId": -1,
        "price": "100.10000000",
        "qty": "0.60000000",
        "quoteQty": "60.06000000",
        "commission": "0.00060000",
        "commissionAsset": "BTC",
        "time": TIME_MS,
        "isBuyer": True,
        "isMaker": False,
        "isBestMatch": True,
    } | changes


def account(**changes: Any) -> dict[str, Any]:
    return {
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "updateTime": TIME_MS,
        "accountType": "SPOT",
        "balances": [
            {"asset": "BTC", "free": "0.50000000", "locked": "0.25000000"},
            {"asset": "USDT", "free": "1000.00000000", "locked": "0.00000000"},
            {"asset": "BNB", "free": "0.00000000", "locked": "0.00000000"},
        ],
        "permissions": ["SPOT"],
        "uid": 354937868,
    } | changes


def permissions(**changes: Any) -> dict[str, Any]:
    return {
        "ipRestrict": False,
        "createTime": TIME_MS,
        "enableReading": True,
        "enableWithdrawals": False,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableSpotAndMarginTrading": True,
    } | changes


def report(**changes: Any) -> dict[str, Any]:
    """An executionReport of a new order."""
    return {
        "e": "executionReport",
        "E": TIME_MS + 1,
        "s": "BTCUSDT",
        "c": CLIENT_ID,
        "S": "BUY",
        "o": "LIMIT",
        "f": "GTC",
        "q": "1.00000000",
        "p": "100.10000000",
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": "",
        "x": "NEW",
        "X": "NEW",
        "r": "NONE",
        "i": 28,
        "l": "0.00000000",
        "z": "0.00000000",
        "L": "0.00000000",
        "n": "0",
        "N": None,
        "T": TIME_MS + 1,
        "t": -1,
        "w": True,
        "m": False,
        "O": TIME_MS,
        "Z": "0.00000000",
        "Y": "0.00000000",
        "Q": "0.00000000",
    } | changes


def traded_report(**changes: Any) -> dict[str, Any]:
    values = {"x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.60000000", "z": "0.60000000", "L": "100.00000000"}
    return report(**values | {"n": "0.00060000", "N": "BTC", "t": 57, "m": True} | changes)

"""The bodies in which Binance tells of orders, trades and balances, on REST and on the user data stream. PURE.

Fields, their order and their meaning are those of its pages "Public Rest API" and "User Data Streams".
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from tradingbot_sandbox.venues.binance.accounts import Account, AccountTrade, ApiKey
from tradingbot_sandbox.venues.binance.commission import BNB_DISCOUNT, RATE
from tradingbot_sandbox.venues.binance.order_request import ResponseType
from tradingbot_sandbox.venues.binance.rules import venue_name
from tradingbot_sandbox.venues.binance.text import decimal_text, milliseconds
from tradingbot_sandbox.venues.matching import Order, OrderState

Body = dict[str, object]

NO_LIST = -1
"""orderListId of an order that is in no list: there are no lists here."""
PREVENTION_MODE = "EXPIRE_MAKER"
"""exchangeInfo's default; nothing here depends on it."""


def placed_body(order: Order, trades: Iterable[AccountTrade], response: ResponseType) -> Body:
    """The answer to a new order."""
    body: Body = _identity(order) | {"clientOrderId": order.client_id, "transactTime": milliseconds(order.updated_ns)}
    if response is ResponseType.ACK:
        return body
    body |= _amounts(order)
    if order.working_ns is not None:
        body["workingTime"] = milliseconds(order.working_ns)
    body["selfTradePreventionMode"] = PREVENTION_MODE
    if response is ResponseType.FULL:
        body["fills"] = [
            {
                "price": decimal_text(trade.price),
                "qty": decimal_text(trade.quantity),
                "commission": decimal_text(trade.commission),
                "commissionAsset": trade.commission_asset,
                "tradeId": trade.trade_id,
            }
            for trade in trades
        ]
    return body


def cancelled_body(order: Order, cancel_id: str) -> Body:
    """The answer to a cancel: `clientOrderId` is the cancel's own."""
    return (
        {"symbol": venue_name(order.symbol), "origClientOrderId": order.client_id}
        | _identity(order)
        | {"clientOrderId": cancel_id, "transactTime": milliseconds(order.updated_ns)}
        | _amounts(order)
        | {"selfTradePreventionMode": PREVENTION_MODE}
    )


def order_body(order: Order) -> Body:
    """The answer to a query. That it shows the order's own client id after a cancel, too, is [unverified]."""
    amounts = _amounts(order)
    quote_quantity = amounts.pop("origQuoteOrderQty")
    stop_price = amounts.pop("stopPrice", decimal_text(Decimal(0)))
    expiry = amounts.pop("expiryReason", None)
    body: Body = (
        _identity(order)
        | {"clientOrderId": order.client_id}
        | amounts
        | {
            "stopPrice": stop_price,
            "icebergQty": decimal_text(Decimal(0)),
            "time": milliseconds(order.created_ns),
            "updateTime": milliseconds(order.updated_ns),
            "isWorking": order.is_working,
            "workingTime": -1 if order.working_ns is None else milliseconds(order.working_ns),
            "origQuoteOrderQty": quote_quantity,
            "selfTradePreventionMode": PREVENTION_MODE,
        }
    )
    return body if expiry is None else body | {"expiryReason": expiry}


def trade_row(trade: AccountTrade) -> Body:
    return {
        "symbol": venue_name(trade.symbol),
        "id": trade.trade_id,
        "orderId": trade.order.order_id,
        "orderListId": NO_LIST,
        "price": decimal_text(trade.price),
        "qty": decimal_text(trade.quantity),
        "quoteQty": decimal_text(trade.quote_quantity),
        "commission": decimal_text(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": milliseconds(trade.time_ns),
        "isBuyer": trade.is_buyer,
        "isMaker": trade.is_maker,
        "isBestMatch": True,
    }


def account_body(account: Account, assets: Iterable[str]) -> Body:
    rates = {"maker": decimal_text(RATE), "taker": decimal_text(RATE)}
    nothing = decimal_text(Decimal(0))
    return {
        "makerCommission": int(RATE * 10_000),
        "takerCommission": int(RATE * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": rates | {"buyer": nothing, "seller": nothing},
        "canTrade": account.may_trade,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": milliseconds(account.updated_ns),
        "accountType": "SPOT",
        "balances": [
            {
                "asset": asset,
                "free": decimal_text(account.balances.free(asset)),
                "locked": decimal_text(account.balances.locked(asset)),
            }
            for asset in assets
        ],
        "permissions": ["SPOT"],
        "uid": account.uid,
    }


def commission_rates(account: Account) -> Body:
    """The answer to a test order that asks for its rates."""
    nothing = {"maker": decimal_text(Decimal(0)), "taker": decimal_text(Decimal(0))}
    return {
        "standardCommissionForOrder": {"maker": decimal_text(RATE), "taker": decimal_text(RATE)},
        "specialCommissionForOrder": nothing,
        "taxCommissionForOrder": nothing,
        "discount": {
            "enabledForAccount": account.pays_in_bnb,
            "enabledForSymbol": True,
            "discountAsset": "BNB",
            "discount": decimal_text(BNB_DISCOUNT),
        },
    }


def restrictions_body(key: ApiKey) -> Body:
    """`GET /sapi/v1/account/apiRestrictions` (its page "Get API Key Permission")."""
    return {"ipRestrict": bool(key.addresses), "createTime": milliseconds(key.created_ns), **key.permissions.wire}


def execution_report(
    order: Order,
    *,
    execution: str,
    execution_id: int,
    now_ns: int,
    trade: AccountTrade | None = None,
    cancel_id: str | None = None,
    reject_reason: str = "NONE",
) -> Body:
    """One `executionReport`. On a cancel, `C` is the order's client id and `c` the cancel's own."""
    is_on_book = order.is_working and order.state.is_open and (trade is None or order.type.has_price)
    nothing = decimal_text(Decimal(0))
    body: Body = {
        "e": "executionReport",
        "E": milliseconds(now_ns),
        "s": venue_name(order.symbol),
        "c": order.client_id if cancel_id is None else cancel_id,
        "S": order.side.value,
        "o": order.type.value,
        "f": order.time_in_force.value,
        "q": decimal_text(order.quantity),
        "p": decimal_text(order.price),
        "P": decimal_text(order.stop_price),
        "F": nothing,
        "g": NO_LIST,
        "C": "" if cancel_id is None else order.client_id,
        "x": execution,
        "X": order.state.value,
        "r": reject_reason,
        "i": order.order_id,
        "l": nothing if trade is None else decimal_text(trade.quantity),
        "z": decimal_text(order.filled_base),
        "L": nothing if trade is None else decimal_text(trade.price),
        "n": "0" if trade is None else decimal_text(trade.commission),
        "N": None if trade is None else trade.commission_asset,
        "T": milliseconds(now_ns),
        "t": -1 if trade is None else trade.trade_id,
        "I": execution_id,
        "w": is_on_book,
        "m": trade is not None and trade.is_maker,
        "M": trade is not None,
        "O": milliseconds(order.created_ns),
        "Z": decimal_text(order.filled_quote),
        "Y": nothing if trade is None else decimal_text(trade.quote_quantity),
        "Q": decimal_text(order.quote_quantity),
    }
    if order.working_ns is not None:
        body["W"] = milliseconds(order.working_ns)
    body["V"] = PREVENTION_MODE
    if order.expiry is not None and execution == OrderState.EXPIRED:
        body["eR"] = order.expiry.value
    return body


def account_position(account: Account, assets: Iterable[str], now_ns: int) -> Body:
    return {
        "e": "outboundAccountPosition",
        "E": milliseconds(now_ns),
        "u": milliseconds(account.updated_ns),
        "B": [
            {
                "a": asset,
                "f": decimal_text(account.balances.free(asset)),
                "l": decimal_text(account.balances.locked(asset)),
            }
            for asset in assets
        ],
    }


def balance_update(asset: str, delta: Decimal, now_ns: int) -> Body:
    """A deposit or a withdrawal."""
    moment = milliseconds(now_ns)
    return {"e": "balanceUpdate", "E": moment, "a": asset, "d": decimal_text(delta), "T": moment}


def stream_terminated(now_ns: int) -> Body:
    return {"e": "eventStreamTerminated", "E": milliseconds(now_ns)}


def _identity(order: Order) -> Body:
    return {"symbol": venue_name(order.symbol), "orderId": order.order_id, "orderListId": NO_LIST}


def _amounts(order: Order) -> Body:
    body: Body = {
        "price": decimal_text(order.price),
        "origQty": decimal_text(order.quantity),
        "executedQty": decimal_text(order.filled_base),
        "origQuoteOrderQty": decimal_text(order.quote_quantity),
        "cummulativeQuoteQty": decimal_text(order.filled_quote),  # Binance spells it so
        "status": order.state.value,
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
    }
    if order.type.is_conditional:
        body["stopPrice"] = decimal_text(order.stop_price)
    if order.expiry is not None:
        body["expiryReason"] = order.expiry.value
    return body

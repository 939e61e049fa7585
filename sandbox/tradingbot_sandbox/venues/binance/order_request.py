"""What a client asks for with `POST /api/v3/order`, read and checked as far as that goes without the market. PURE.

Flow: query -> `parse_order` -> `OrderRequest` -> the trading desk. The table of mandatory parameters is Binance's own
(its REST page, "New order"); which code stands for a parameter too much or too little is documented, the choice among
its texts is [unverified]. Not simulated, and refused as unread parameters: icebergQty, trailingDelta, strategyId,
strategyType and pegged prices. `selfTradePreventionMode` is read and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from tradingbot_sandbox.venues.binance import errors
from tradingbot_sandbox.venues.binance.query import Query
from tradingbot_sandbox.venues.matching import OrderType, Side, TimeInForce

Member = TypeVar("Member", bound=StrEnum)

ZERO = Decimal(0)
_PREVENTION_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER")


class ResponseType(StrEnum):
    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """One order as it was asked for. Zero stands for what its type does not have."""

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: Decimal = ZERO
    quote_quantity: Decimal = ZERO
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    client_id: str | None = None
    """None: the venue makes one up."""
    response: ResponseType = ResponseType.FULL


def parse_order(query: Query) -> OrderRequest:
    """Read the parameters of an order. Raises ApiError."""
    symbol = query.symbol()
    side = _member(Side, query.text("side"), "side", errors.invalid_side())
    order_type = _member(OrderType, query.text("type"), "type", errors.invalid_order_type())
    client_id = query.client_id("newClientOrderId")
    quantity, quote_quantity = _amounts(query, order_type)
    request = OrderRequest(
        symbol=symbol,
        side=side,
        type=order_type,
        time_in_force=_time_in_force(query, order_type),
        quantity=quantity,
        quote_quantity=quote_quantity,
        price=_value(query, "price", "price", wanted=order_type.has_price),
        stop_price=_stop_price(query, order_type),
        client_id=client_id,
        response=_response(query, order_type),
    )
    if query.text("selfTradePreventionMode") not in (None, *_PREVENTION_MODES):
        raise errors.invalid_parameter("selfTradePreventionMode")
    return request


def _member(kind: type[Member], text: str | None, name: str, error: errors.ApiError) -> Member:
    if text is None:
        raise errors.mandatory_parameter(name)
    try:
        return kind(text)
    except ValueError:
        raise error from None


def _time_in_force(query: Query, order_type: OrderType) -> TimeInForce:
    text = query.text("timeInForce")
    if not order_type.has_price or order_type is OrderType.LIMIT_MAKER:
        if text is not None:
            raise errors.not_required("timeInForce")
        return TimeInForce.GTC
    return _member(TimeInForce, text, "timeInForce", errors.invalid_time_in_force())


def _amounts(query: Query, order_type: OrderType) -> tuple[Decimal, Decimal]:
    """Of base and of quote asset."""
    quantity, quote_quantity = query.decimal("quantity"), query.decimal("quoteOrderQty")
    if order_type is not OrderType.MARKET and quote_quantity is not None:
        raise errors.not_required("quoteOrderQty")
    if quantity is not None and quote_quantity is not None:
        raise errors.invalid_combination()
    if quantity is None and quote_quantity is None:
        raise (
            errors.one_of_two("quantity", "quoteOrderQty")
            if order_type is OrderType.MARKET
            else errors.mandatory_parameter("quantity")
        )
    if not (quantity or quote_quantity):
        raise errors.invalid_amount("quantity")
    return quantity or ZERO, quote_quantity or ZERO


def _stop_price(query: Query, order_type: OrderType) -> Decimal:
    if order_type.is_conditional and query.text("stopPrice") is None:
        raise errors.one_of_two("stopPrice", "trailingDelta")
    return _value(query, "stopPrice", "stop price", wanted=order_type.is_conditional)


def _value(query: Query, name: str, called: str, *, wanted: bool) -> Decimal:
    value = query.decimal(name)
    if not wanted:
        if value is not None:
            raise errors.not_required(name)
        return ZERO
    if value is None:
        raise errors.mandatory_parameter(name)
    if not value:
        raise errors.invalid_amount(called)
    return value


def _response(query: Query, order_type: OrderType) -> ResponseType:
    text = query.text("newOrderRespType")
    if text is None:  # documented: MARKET and LIMIT default to FULL, all others to ACK
        return ResponseType.FULL if order_type in (OrderType.MARKET, OrderType.LIMIT) else ResponseType.ACK
    return _member(ResponseType, text, "newOrderRespType", errors.invalid_parameter("newOrderRespType"))

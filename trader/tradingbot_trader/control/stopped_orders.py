"""PURE. What is told of an order that a stop or a drain has touched or left."""

from __future__ import annotations

from collections.abc import Iterable

from tradingbot_api.status import MAX_REPORTED_ORDERS, StoppedOrder
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderState, OrderType, Purpose, TimeInForce
from tradingbot_trader.orders.protection import PROTECTIVE

_RESULT = {
    OrderState.CANCELLED: "Cancelled",
    OrderState.EXPIRED: "Cancelled",
    OrderState.FILLED: "Filled",
    OrderState.REJECTED: "Rejected",
    OrderState.UNRESOLVED: "Unresolved",
    OrderState.DENIED: "Denied",
    OrderState.PRESUMED_ABSENT: "PresumedAbsent",
}
_REMAINING = "Remaining"
"""What has none of these names is open."""
_NOT_ENDED = (_REMAINING, "Unresolved")


def sells_at_once(order: Order) -> bool:
    """An exit that cannot rest: it does what Flatten is for, and ends by itself."""
    at_once = order.intent.type is OrderType.MARKET or order.intent.time_in_force is TimeInForce.IOC
    return order.intent.purpose is Purpose.EXIT and at_once


def describe_order(order: Order) -> StoppedOrder:
    return StoppedOrder(
        client_order_id=order.client_order_id,
        symbol=order.intent.symbol,
        side=order.intent.side.value,
        result=_RESULT.get(order.state, _REMAINING),
        reason=order.reason,
    )


def describe_kept(order: Order) -> StoppedOrder:
    """Of a protective stop that stays."""
    return describe_order(order).model_copy(update={"result": _REMAINING, "reason": PROTECTIVE})


def cut(orders: Iterable[StoppedOrder]) -> list[StoppedOrder]:
    """As many as a status holds; those that have not ended come first."""
    return sorted(orders, key=lambda each: each.result not in _NOT_ENDED)[:MAX_REPORTED_ORDERS]

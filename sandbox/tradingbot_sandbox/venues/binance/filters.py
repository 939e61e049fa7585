"""Would Binance's filters let this order through? PURE.

Flow: the trading desk -> `check` before an order is placed or tested -> -1013 with the filter's name. What each filter
asks is documented (its page "Filters"); in which order they are asked is [unverified].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from tradingbot_sandbox.venues.binance import errors
from tradingbot_sandbox.venues.binance.order_request import OrderRequest
from tradingbot_sandbox.venues.binance.rules import SymbolRules
from tradingbot_sandbox.venues.matching import Order, OrderType


def check(
    request: OrderRequest, rules: SymbolRules, *, average_price: Callable[[], Decimal], open_orders: Iterable[Order]
) -> None:
    """`open_orders` are those of the account on the symbol. Raises ApiError."""
    if request.stop_price:
        _check_price(request.stop_price, rules)
    if request.price:
        _check_price(request.price, rules)
        average = average_price()
        if not average * rules.price_down <= request.price <= average * rules.price_up:
            raise errors.filter_failure("PERCENT_PRICE_BY_SIDE")
    if request.quantity:
        _check_quantity(request, rules)
    _check_notional(request, rules, average_price)
    others = list(open_orders)
    if len(others) >= rules.most_orders:
        raise errors.filter_failure("MAX_NUM_ORDERS")
    algo_orders = sum(order.type.is_conditional for order in others)
    if request.type.is_conditional and algo_orders >= rules.most_algo_orders:
        raise errors.filter_failure("MAX_NUM_ALGO_ORDERS")


def _check_price(price: Decimal, rules: SymbolRules) -> None:
    if not rules.lowest_price <= price <= rules.highest_price or price % rules.tick:
        raise errors.filter_failure("PRICE_FILTER")


def _check_quantity(request: OrderRequest, rules: SymbolRules) -> None:
    quantity = request.quantity
    if not rules.least_quantity <= quantity <= rules.most_quantity or quantity % rules.step:
        raise errors.filter_failure("LOT_SIZE")
    if not request.type.has_price and quantity > rules.most_market_quantity:
        raise errors.filter_failure("MARKET_LOT_SIZE")


def _check_notional(request: OrderRequest, rules: SymbolRules, average_price: Callable[[], Decimal]) -> None:
    """An order without a price of its own is counted at the average of five minutes, and has no upper bound.

    That a STOP_LOSS counts as such an order is [unverified].
    """
    notional = request.quote_quantity or request.quantity * (request.price or average_price())
    is_market = request.type in (OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT)
    if notional < rules.least_notional or (notional > rules.most_notional and not is_market):
        raise errors.filter_failure("NOTIONAL")

"""Binance's signed REST endpoints: what each one costs, asks of a key, and answers. PURE.

Flow: rest -> `PrivateApi.find` -> `SignedEndpoint`; rest checks weight, key and signature, then calls its `answer`.
Weights and answers are those of Binance's REST page. Every query answers from the moment: that Binance's may be behind
(memory, then database) is for a fault script to play.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tradingbot_sandbox.market.events import NS_PER_MS
from tradingbot_sandbox.venues.binance import errors, reports
from tradingbot_sandbox.venues.binance.accounts import Account, ApiKey
from tradingbot_sandbox.venues.binance.auth import Right
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.order_request import parse_order
from tradingbot_sandbox.venues.binance.query import Query
from tradingbot_sandbox.venues.matching import Order, OrderState

_DAY_MS = 86_400_000
_CANCEL_RESTRICTIONS = {"ONLY_NEW": OrderState.NEW, "ONLY_PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED}


@dataclass(frozen=True, slots=True)
class Done:
    """What an endpoint answers with status 200."""

    body: object
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignedEndpoint:
    weigh: Callable[[dict[str, str]], int]
    right: Right
    answer: Callable[[ApiKey, Query, int], Done]


class PrivateApi:
    """The endpoints that need a key."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._desk = exchange.desk
        # weights: Binance's REST page; the last one: its wallet page "Get API Key Permission"
        self._endpoints = {
            ("POST", "/api/v3/order"): SignedEndpoint(_costs(1), Right.TRADE, self._place),
            ("POST", "/api/v3/order/test"): SignedEndpoint(_test_weight, Right.TRADE, self._test),
            ("GET", "/api/v3/order"): SignedEndpoint(_costs(4), Right.READ, self._query),
            ("DELETE", "/api/v3/order"): SignedEndpoint(_costs(1), Right.TRADE, self._cancel),
            ("DELETE", "/api/v3/openOrders"): SignedEndpoint(_costs(1), Right.TRADE, self._cancel_all),
            ("GET", "/api/v3/openOrders"): SignedEndpoint(_open_weight, Right.READ, self._open),
            ("GET", "/api/v3/allOrders"): SignedEndpoint(_costs(20), Right.READ, self._all),
            ("GET", "/api/v3/account"): SignedEndpoint(_costs(20), Right.READ, self._account),
            ("GET", "/api/v3/myTrades"): SignedEndpoint(_trades_weight, Right.READ, self._trades),
            ("GET", "/api/v3/rateLimit/order"): SignedEndpoint(_costs(40), Right.READ, self._order_count),
            ("GET", "/sapi/v1/account/apiRestrictions"): SignedEndpoint(_costs(1), Right.READ, self._restrictions),
        }

    def find(self, method: str, path: str) -> SignedEndpoint | None:
        return self._endpoints.get((method, path))

    def _place(self, key: ApiKey, query: Query, now_ns: int) -> Done:
        request = parse_order(query)
        query.check_all_read()
        placed = self._desk.place(key.account, request, now_ns)
        body = reports.placed_body(placed.order, placed.trades, request.response)
        return Done(body, placed.count_headers)

    def _test(self, key: ApiKey, query: Query, now_ns: int) -> Done:
        request = parse_order(query)
        wants_rates = query.flag("computeCommissionRates")
        query.check_all_read()
        self._desk.check(key.account, request, now_ns)
        return Done(reports.commission_rates(key.account) if wants_rates else {})

    def _query(self, key: ApiKey, query: Query, _now_ns: int) -> Done:
        order = _read_order(key.account, query, missing=errors.no_such_order())
        query.check_all_read()
        return Done(reports.order_body(order))

    def _cancel(self, key: ApiKey, query: Query, now_ns: int) -> Done:
        cancel_id, restriction = query.client_id("newClientOrderId"), query.text("cancelRestrictions")
        if restriction not in (None, *_CANCEL_RESTRICTIONS):
            raise errors.invalid_cancel_restrictions()
        order = _read_order(key.account, query, missing=errors.unknown_order(), only_open=True)
        query.check_all_read()
        if restriction is not None and order.state is not _CANCEL_RESTRICTIONS[restriction]:
            raise errors.cancel_restricted()
        cancel_id = self._desk.cancel(key.account, order, now_ns, cancel_id=cancel_id)
        return Done(reports.cancelled_body(order, cancel_id))

    def _cancel_all(self, key: ApiKey, query: Query, now_ns: int) -> Done:
        symbol = query.symbol()
        query.check_all_read()
        orders = key.account.open_orders(symbol)
        if not orders:
            raise errors.unknown_order()
        cancel_id: str | None = None  # Binance's example shows one id for all of them
        rows = []
        for order in orders:
            cancel_id = self._desk.cancel(key.account, order, now_ns, cancel_id=cancel_id)
            rows.append(reports.cancelled_body(order, cancel_id))
        return Done(rows)

    def _open(self, key: ApiKey, query: Query, _now_ns: int) -> Done:
        symbol = query.optional_symbol()
        query.check_all_read()
        return Done([reports.order_body(order) for order in key.account.open_orders(symbol)])

    def _all(self, key: ApiKey, query: Query, _now_ns: int) -> Done:
        """Its time bounds are read as those of an order's creation [unverified]."""
        symbol = query.symbol()
        first_id, span, limit = query.integer("orderId"), _read_span(query), query.limit(default=500, most=1000)
        query.check_all_read()
        orders = [
            order
            for order in key.account.orders_of(symbol)
            if (first_id is None or order.order_id >= first_id) and span.has(order.created_ns)
        ]
        is_from_start = first_id is not None or span.start_ms is not None
        return Done([reports.order_body(order) for order in _page(orders, limit, is_from_start=is_from_start)])

    def _account(self, key: ApiKey, query: Query, _now_ns: int) -> Done:
        omits_zeros = query.flag("omitZeroBalances")
        query.check_all_read()
        account = key.account
        assets = dict.fromkeys((*self._exchange.assets, *account.balances.assets))
        shown = [asset for asset in assets if not omits_zeros or account.balances.total(asset)]
        return Done(reports.account_body(account, shown))

    def _trades(self, key: ApiKey, query: Query, _now_ns: int) -> Done:
        symbol = query.symbol()
        order_id, first_id = query.integer("orderId"), query.integer("fromId")
        span, limit = _read_span(query), query.limit(default=500, most=1000)
        query.check_all_read()
        if span.is_bounded and (order_id is not None or first_id is not None):
            raise errors.invalid_combination()  # documented as unsupported; the code is [unverified]
        trades = [
            trade
            for trade in key.account.trades_of(symbol)
            if (order_id is None or trade.order.order_id == order_id)
            and (first_id is None or trade.trade_id >= first_id)
            and span.has(trade.time_ns)
        ]
        is_from_start = first_id is not None or span.start_ms is not None
        return Done([reports.trade_row(trade) for trade in _page(trades, limit, is_from_start=is_from_start)])

    def _order_count(self, key: ApiKey, query: Query, now_ns: int) -> Done:
        query.check_all_read()
        return Done(key.account.count.rows(now_ns))

    def _restrictions(self, key: ApiKey, query: Query, _now_ns: int) -> Done:
        query.check_all_read()
        return Done(reports.restrictions_body(key))


@dataclass(frozen=True, slots=True)
class _Span:
    start_ms: int | None
    end_ms: int | None

    @property
    def is_bounded(self) -> bool:
        return self.start_ms is not None or self.end_ms is not None

    def has(self, time_ns: int) -> bool:
        time_ms = time_ns // NS_PER_MS
        return (self.start_ms is None or time_ms >= self.start_ms) and (self.end_ms is None or time_ms <= self.end_ms)


def _read_span(query: Query) -> _Span:
    start_ms, end_ms = query.integer("startTime"), query.integer("endTime")
    if start_ms is not None and end_ms is not None and end_ms - start_ms > _DAY_MS:
        raise errors.more_than_a_day()
    return _Span(start_ms, end_ms)


def _read_order(account: Account, query: Query, *, missing: errors.ApiError, only_open: bool = False) -> Order:
    """The order that `orderId` or `origClientOrderId` name; of several with that client id, the newest."""
    symbol = query.symbol()
    order_id, client_id = query.integer("orderId"), query.client_id("origClientOrderId")
    if order_id is None and client_id is None:
        raise errors.one_of_two("origClientOrderId", "orderId")
    orders = account.open_orders(symbol) if only_open else account.orders_of(symbol)
    for order in reversed(orders):
        if order_id is None:
            if order.client_id == client_id:
                return order
        elif order.order_id == order_id:
            if client_id not in (None, order.client_id):
                raise errors.wrong_client_id()
            return order
    raise missing


Row = TypeVar("Row")


def _page(rows: Sequence[Row], limit: int, *, is_from_start: bool) -> Sequence[Row]:
    return rows[:limit] if is_from_start else rows[-limit:]


def _costs(weight: int) -> Callable[[dict[str, str]], int]:
    return lambda _: weight


def _test_weight(values: dict[str, str]) -> int:
    return 20 if values.get("computeCommissionRates") == "true" else 1


def _open_weight(values: dict[str, str]) -> int:
    return 6 if "symbol" in values else 80


def _trades_weight(values: dict[str, str]) -> int:
    return 5 if "orderId" in values else 20

"""PURE. Binance's words for `killall`: requests beyond the trader's, and orders read as far as they can be.

Sources: "Trading endpoints", "Account endpoints", "Market data endpoints" of Binance's spot API documentation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.venues import binance
from tradingbot_trader.venues import binance_fields as read
from tradingbot_trader.venues.binance_account import Method, Params
from tradingbot_trader.venues.killer import Ending, RestingOrder

CANCEL_MARKET = Method("privateDeleteOpenOrders", "the cancel of a market's orders")
TIME = Method("publicGetTime", "time")
RULES = Method("publicGetExchangeInfo", "exchangeInfo")
PRICE = Method("publicGetTickerPrice", "ticker/price")

_ENDINGS: Mapping[str, Ending] = MappingProxyType(
    {
        "CANCELED": Ending.CANCELLED,
        "FILLED": Ending.FILLED,
        "EXPIRED": Ending.EXPIRED,
        "EXPIRED_IN_MATCH": Ending.EXPIRED,
        "REJECTED": Ending.REJECTED,
    }
)
"""Any other word is no end."""
_STOPS = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT"})


def order_params(order: RestingOrder) -> Params:
    """By the venue's own id: a client order id need not be unique, nor readable by us."""
    return {"symbol": order.symbol, "orderId": order.venue_order_id}


def market_params(symbol: str) -> Params:
    return {"symbol": binance.venue_symbol(symbol)}


def parse_resting(raw: object) -> tuple[RestingOrder, ...]:
    """Of a list of orders, or of a cancel's answer; those inside an order list's report come out like all others.

    An entry without market or id makes the whole answer unreadable: nothing may be taken for gone because of it.
    """
    rows = raw if isinstance(raw, list) else [raw]
    return tuple(_parse(each) for row in rows for each in _flatten(row))


def parse_one(raw: Mapping[str, Any]) -> RestingOrder:
    return _parse(raw)


def parse_rules(symbol: str, raw: Mapping[str, Any]) -> Instrument:
    (listing,) = read.rows(raw["symbols"])
    return binance.parse_instrument(symbol, listing)


def parse_price(raw: Mapping[str, Any]) -> Decimal:
    return read.positive(raw["price"])


def parse_time_ns(raw: Mapping[str, Any]) -> int:
    return read.time_ns(raw["serverTime"])


def _flatten(row: Any) -> Iterator[Mapping[str, Any]]:
    """The answer to the cancel of an OCO and its like is a list's report, with the orders in `orderReports`."""
    reports = row.get("orderReports")
    if isinstance(reports, Sequence) and not isinstance(reports, str):
        yield from reports
    else:
        yield row


def _parse(raw: Mapping[str, Any]) -> RestingOrder:
    """A cancel's answer names the order by `origClientOrderId`; its own `clientOrderId` is the cancel's."""
    side, kind = _word(raw, "side"), _word(raw, "type")
    return RestingOrder(
        symbol=read.text(raw["symbol"]),
        venue_order_id=read.number_id(raw["orderId"]),
        client_order_id=_word(raw, "origClientOrderId") or _word(raw, "clientOrderId"),
        kind=f"{side} {kind}".strip(),
        is_stop_sell=side == "SELL" and kind in _STOPS,
        quantity_base=_amount(raw, "origQty"),
        filled_base=_amount(raw, "executedQty"),
        price=_amount(raw, "price"),
        ending=_ENDINGS.get(_word(raw, "status")),
    )


def _word(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""


def _amount(raw: Mapping[str, Any], name: str) -> Decimal | None:
    with contextlib.suppress(ArithmeticError, ValueError):
        return read.amount(raw.get(name))
    return None

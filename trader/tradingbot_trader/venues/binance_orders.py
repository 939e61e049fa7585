"""PURE. How Binance's words about orders and trades become ours: answers, lists and the account's stream.

Sources: "Trading endpoints", "Account endpoints" and "User Data Streams" of Binance's spot API documentation. A parser
raises LookupError, ArithmeticError, TypeError or ValueError at what it cannot read: never a guess about an order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from tradingbot_trader.orders.order import OrderState, OrderType, Side, TimeInForce
from tradingbot_trader.venues import binance_fields as read
from tradingbot_trader.venues.account import ExecutionReport, OrderSnapshot, VenueTrade

SymbolOf = Callable[[str], str]
"""From Binance's name of a market to ours."""


def parse_order(raw: Mapping[str, Any], symbol_of: SymbolOf) -> OrderSnapshot:
    """From the answer to a new order, to a cancel, to a question about one, or from a list of orders.

    A cancel's answer names the order by `origClientOrderId` and carries an id of its own as `clientOrderId`. It does
    not tell when the order was made: `created_ns` is 0 then.
    """
    symbol, venue_order_id = symbol_of(read.text(raw["symbol"])), read.number_id(raw["orderId"])
    side = _SIDES[raw["side"]]
    placed_ms = raw.get("transactTime")
    is_cancel = "origClientOrderId" in raw
    created_ms = raw["time"] if placed_ms is None else 0 if is_cancel else placed_ms
    trades = tuple(
        VenueTrade(
            symbol=symbol,
            trade_id=read.number_id(fill["tradeId"]),
            venue_order_id=venue_order_id,
            side=side,
            price=read.positive(fill["price"]),
            quantity_base=read.positive(fill["qty"]),
            fee_asset=read.text(fill["commissionAsset"]),
            fee_amount=read.amount(fill["commission"]),
            event_time_ns=read.time_ns(placed_ms),
            is_maker=False,  # what fills before the answer to a new order is written has been taken from the book
        )
        for fill in raw.get("fills") or ()
    )
    return _snapshot(
        symbol=symbol,
        client_order_id=read.text(raw["origClientOrderId"] if is_cancel else raw["clientOrderId"]),
        venue_order_id=venue_order_id,
        side=side,
        words=(raw["status"], raw["type"], raw["timeInForce"]),
        amounts=(raw["origQty"], raw["executedQty"], raw["price"], raw.get("stopPrice")),
        filled_quote=raw.get("cummulativeQuoteQty"),
        times_ns=(read.time_ns(created_ms), read.time_ns(raw["updateTime"] if placed_ms is None else placed_ms)),
        trades=trades,
    )


def parse_orders(raw: Sequence[Mapping[str, Any]], symbol_of: SymbolOf) -> tuple[OrderSnapshot, ...]:
    """Oldest first."""
    return tuple(sorted((parse_order(each, symbol_of) for each in read.rows(raw)), key=_order_age))


def parse_trades(raw: Sequence[Mapping[str, Any]], symbol_of: SymbolOf) -> tuple[VenueTrade, ...]:
    """Oldest first."""
    return tuple(sorted((_trade(each, symbol_of) for each in read.rows(raw)), key=_trade_age))


def is_report(message: Mapping[str, Any]) -> bool:
    return message.get("e") == "executionReport"


def parse_report(message: Mapping[str, Any], symbol_of: SymbolOf) -> ExecutionReport:
    """From an `executionReport`. Of a cancelled order, `C` is its own client id and `c` the id of the cancel."""
    symbol, venue_order_id = symbol_of(read.text(message["s"])), read.number_id(message["i"])
    side, at_ns = _SIDES[message["S"]], read.time_ns(message["T"])
    original = message.get("C")
    trades = []
    if message["x"] == "TRADE":
        trade = VenueTrade(
            symbol=symbol,
            trade_id=read.number_id(message["t"]),
            venue_order_id=venue_order_id,
            side=side,
            price=read.positive(message["L"]),
            quantity_base=read.positive(message["l"]),
            fee_asset=read.text(message.get("N") or ""),  # null where nothing is charged
            fee_amount=read.amount(message["n"]),
            event_time_ns=at_ns,
            is_maker=read.flag(message["m"]),
        )
        trades.append(trade)
    refusal = message.get("r", _NO_REASON)
    return ExecutionReport(
        _snapshot(
            symbol=symbol,
            client_order_id=read.text(message["c"] if original in (None, "", "null") else original),
            venue_order_id=venue_order_id,
            side=side,
            words=(message["X"], message["o"], message["f"]),
            amounts=(message["q"], message["z"], message["p"], message.get("P")),
            filled_quote=message.get("Z"),
            times_ns=(read.time_ns(message["O"]), at_ns),
            trades=tuple(trades),
            reason="" if refusal == _NO_REASON else read.text(refusal),
        )
    )


_NO_REASON = "NONE"
_SIDES: Mapping[str, Side] = MappingProxyType({"BUY": Side.BUY, "SELL": Side.SELL})
_STATES: Mapping[str, OrderState] = MappingProxyType(
    {
        "NEW": OrderState.OPEN,
        "PENDING_NEW": OrderState.OPEN,  # of an order list: accepted, and waits for the list's first order
        "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
        "FILLED": OrderState.FILLED,
        "CANCELED": OrderState.CANCELLED,
        "REJECTED": OrderState.REJECTED,
        "EXPIRED": OrderState.EXPIRED,
        "EXPIRED_IN_MATCH": OrderState.EXPIRED,  # self-trade prevention
    }
)
"""PENDING_CANCEL is "currently unused" and left out: an unknown word is no guess."""
_TYPES: Mapping[str, OrderType] = MappingProxyType(
    {
        "LIMIT": OrderType.LIMIT,
        "LIMIT_MAKER": OrderType.LIMIT,
        "MARKET": OrderType.MARKET,
        "STOP_LOSS": OrderType.STOP_LOSS,
        "STOP_LOSS_LIMIT": OrderType.STOP_LOSS,
        # Never ours. They too rest out of the book until a price wakes them; `reason` says what they are.
        "TAKE_PROFIT": OrderType.STOP_LOSS,
        "TAKE_PROFIT_LIMIT": OrderType.STOP_LOSS,
    }
)
_FOREIGN_TYPES = ("STOP_LOSS", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_TIMES_IN_FORCE: Mapping[str, TimeInForce] = MappingProxyType(
    {
        "GTC": TimeInForce.GTC,
        "IOC": TimeInForce.IOC,
        "FOK": TimeInForce.IOC,  # never ours: never rests either
    }
)


def _snapshot(
    *,
    symbol: str,
    client_order_id: str,
    venue_order_id: str,
    side: Side,
    words: tuple[str, str, str],
    amounts: tuple[str, str, str, str | None],
    filled_quote: str | None,
    times_ns: tuple[int, int],
    trades: tuple[VenueTrade, ...],
    reason: str = "",
) -> OrderSnapshot:
    status, kind, time_in_force = words
    quantity, executed, price, stop_price = amounts
    order_type = _TYPES[kind]
    is_post_only = kind == "LIMIT_MAKER"
    return OrderSnapshot(
        symbol=symbol,
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        state=_STATES[status],
        side=side,
        type=order_type,
        time_in_force=TimeInForce.POST_ONLY if is_post_only else _TIMES_IN_FORCE[time_in_force],
        quantity_base=read.amount(quantity),
        price=_price(order_type, read.amount(price), read.amount(executed), filled_quote),
        # A trailing stop has none before it wakes, and answers leave it out.
        stop_price=read.amount(stop_price) if order_type is OrderType.STOP_LOSS and stop_price is not None else None,
        filled_base=read.amount(executed),
        created_ns=times_ns[0],
        updated_ns=times_ns[1],
        trades=trades,
        reason=reason or (kind if kind in _FOREIGN_TYPES else ""),
    )


def _price(order_type: OrderType, price: Decimal, filled_base: Decimal, filled_quote: str | None) -> Decimal:
    """A market order has no price of its own: what it paid on average says what it counts."""
    if order_type is not OrderType.MARKET or price or not filled_base or filled_quote is None:
        return price
    return max(read.amount(filled_quote), Decimal(0)) / filled_base  # below 0: Binance does not have it any more


def _trade(raw: Mapping[str, Any], symbol_of: SymbolOf) -> VenueTrade:
    return VenueTrade(
        symbol=symbol_of(read.text(raw["symbol"])),
        trade_id=read.number_id(raw["id"]),
        venue_order_id=read.number_id(raw["orderId"]),
        side=Side.BUY if read.flag(raw["isBuyer"]) else Side.SELL,
        price=read.positive(raw["price"]),
        quantity_base=read.positive(raw["qty"]),
        fee_asset=read.text(raw["commissionAsset"]),
        fee_amount=read.amount(raw["commission"]),
        event_time_ns=read.time_ns(raw["time"]),
        is_maker=read.flag(raw["isMaker"]),
    )


def _order_age(order: OrderSnapshot) -> tuple[str, int]:
    return order.symbol, int(order.venue_order_id)


def _trade_age(trade: VenueTrade) -> int:
    return int(trade.trade_id)

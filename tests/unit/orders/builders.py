"""Builders of what the tests of orders, risk, book and paper are about; each default is valid."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tradingbot_api.conditions import TradingState
from tradingbot_api.spec import Risk
from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import (
    BookName,
    Fill,
    Intent,
    OrderEvent,
    OrderState,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
)
from tradingbot_trader.risk.engine import Conditions, RiskEngine
from tradingbot_trader.risk.limits import Limits, build_limits
from tradingbot_trader.risk.observed import Costs, TrustedPrice

SECOND_NS = 1_000_000_000
NOW_NS = 1_760_000_000 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS
BTC, ETH = "BTC/USDT", "ETH/USDT"
ORDER_ID = "a" * 32


def instrument(symbol: str = BTC, **changes: Any) -> Instrument:
    base, _, quote = symbol.partition("/")
    values = {
        "symbol": symbol,
        "venue_symbol": base + quote,
        "base": base,
        "quote": quote,
        "price_tick": Decimal("0.01"),
        "quantity_step": Decimal("0.001"),
        "min_quantity_base": Decimal("0.001"),
        "max_quantity_base": Decimal(9000),
        "min_notional_quote": Decimal(5),
    }
    return Instrument(**values | changes)


def intent(client_order_id: str = ORDER_ID, **changes: Any) -> Intent:
    """Buy 0.1 at 100: a notional of 10."""
    purpose = changes.get("purpose", Purpose.ENTRY)
    values = {
        "client_order_id": client_order_id,
        "book": BookName.PAPER,
        "symbol": BTC,
        "side": Side.BUY if purpose is Purpose.ENTRY else Side.SELL,
        "type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "purpose": purpose,
        "quantity_base": Decimal("0.1"),
        "price": Decimal(100),
        "created_ns": NOW_NS,
        "reason": "fast above slow",
    }
    return Intent(**values | {name: _decimal(value) for name, value in changes.items()})


def fill(trade_id: str = "1", **changes: Any) -> Fill:
    """Bought 0.1 at 100 without a fee."""
    values = {
        "venue": "binance",
        "account": "paper",
        "book": BookName.PAPER,
        "symbol": BTC,
        "trade_id": trade_id,
        "client_order_id": ORDER_ID,
        "side": Side.BUY,
        "price": Decimal(100),
        "quantity_base": Decimal("0.1"),
        "fee_asset": "USDT",
        "fee_amount": Decimal(0),
        "event_time_ns": NOW_NS,
        "is_maker": False,
    }
    return Fill(**values | {name: _decimal(value) for name, value in changes.items()})


def event(state: OrderState, filled: str = "0", **changes: Any) -> OrderEvent:
    values = {"client_order_id": ORDER_ID, "state": state, "at_ns": NOW_NS, "filled_base": Decimal(filled)}
    return OrderEvent(**values | changes)


def fill_of(order: Intent, quantity: Decimal, *, number: int, price: Decimal | None = None, **changes: Any) -> Fill:
    """One execution of that intent, at its own price by default."""
    return fill(
        f"T-{order.client_order_id}-{number}",
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        price=order.price if price is None else price,
        quantity_base=quantity,
        **changes,
    )


def limits(*, granted: str = "100", stage: str = "100", **risk: Any) -> Limits:
    """Loose enough that a test sees only the limit that it tightens."""
    values = {
        "maxOrderNotional": "100",
        "maxPositionPercent": "100",
        "maxExposurePercent": "100",
        "maxOpenPositions": 10,
        "maxOrdersPerMinute": 600,
        "cooldownAfterLoss": "0s",
    }
    spec = Risk.model_validate(values | risk)
    return build_limits(spec, granted_quote=Decimal(granted), stage_quote=Decimal(stage))


def conditions(**changes: Any) -> Conditions:
    values = {
        "now_ns": NOW_NS,
        "state": TradingState.ACTIVE,
        "limits": limits(),
        "price": TrustedPrice(Decimal(100), NOW_NS),
    }
    return Conditions(**values | changes)


def engine(*, fills: Iterable[Fill] = (), orders: Iterable[Order] = (), **changes: Any) -> RiskEngine:
    values: dict[str, Any] = {"costs": Costs(), "orders": orders}
    instruments = {symbol: instrument(symbol) for symbol in (BTC, ETH, "SOL/USDT")} | changes.pop("instruments", {})
    return RiskEngine(Ledger.rebuild(BookName.PAPER, fills), instruments, **values | changes)


def _decimal(value: Any) -> Any:
    """Numbers of a test may be written as plain integers."""
    return Decimal(value) if type(value) is int and value < NOW_NS // 2 else value

"""From what a venue shows of an order to events, fills and the intent that a lost store must have had."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from tests.unit.orders.builders import BTC, NOW_NS, ORDER_ID, intent

from tradingbot_trader.orders.machine import Order, replay
from tradingbot_trader.orders.order import BookName, OrderState, OrderType, Purpose, Side, TimeInForce
from tradingbot_trader.orders.snapshot import ADOPTED, Place, to_events, to_fill, to_intent, trade_event
from tradingbot_trader.venues.account import OrderSnapshot, VenueTrade

PLACE = Place("binance", "7", BookName.LIVE)


def trade(number: int = 1, quantity: str = "0.04", **changes: Any) -> VenueTrade:
    values: dict[str, Any] = {
        "symbol": BTC, "trade_id": str(number), "venue_order_id": "55", "side": Side.BUY, "price": Decimal(100),
        "quantity_base": Decimal(quantity), "fee_asset": "BNB", "fee_amount": Decimal("0.0001"),
        "event_time_ns": NOW_NS + number, "is_maker": True,
    }  # fmt: skip
    return VenueTrade(**values | changes)


def snapshot(**changes: Any) -> OrderSnapshot:
    values: dict[str, Any] = {
        "symbol": BTC, "client_order_id": ORDER_ID, "venue_order_id": "55", "state": OrderState.PARTIALLY_FILLED,
        "side": Side.BUY, "type": OrderType.LIMIT, "time_in_force": TimeInForce.GTC, "quantity_base": Decimal("0.1"),
        "price": Decimal(100), "stop_price": None, "filled_base": Decimal("0.08"), "created_ns": NOW_NS,
        "updated_ns": NOW_NS + 9, "trades": (trade(1), trade(2)), "reason": "",
    }  # fmt: skip
    return OrderSnapshot(**values | changes)


def test_trades_come_before_the_state_and_each_says_only_what_it_proves() -> None:
    first, second, last = to_events(snapshot(reason="said the venue"), ORDER_ID, PLACE)
    assert [each.filled_base for each in (first, second, last)] == [Decimal("0.04"), Decimal("0.04"), Decimal("0.08")]
    assert (first.state, last.state) == (OrderState.PARTIALLY_FILLED, OrderState.PARTIALLY_FILLED)
    assert (last.venue_order_id, last.at_ns, last.reason, last.fill) == ("55", NOW_NS + 9, "said the venue", None)


@pytest.mark.parametrize(
    "state", [OrderState.OPEN, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.PARTIALLY_FILLED]
)
def test_events_give_the_same_order_in_any_order(state: OrderState) -> None:
    mine = intent(book=BookName.LIVE)
    events = to_events(snapshot(state=state), ORDER_ID, PLACE)
    ends = {
        (order.state, order.filled_base, tuple(sorted(order.fills.items())), order.illegal)
        for order in (replay(mine, each) for each in permutations([*events, *events]))
    }
    wanted = OrderState.PARTIALLY_FILLED if state is OrderState.OPEN else state
    assert ends == {(wanted, Decimal("0.08"), (("1", Decimal("0.04")), ("2", Decimal("0.04"))), frozenset())}


def test_fill_carries_the_trade_and_the_place_that_no_message_names() -> None:
    made = to_fill(trade(3), ORDER_ID, PLACE)
    assert (made.venue, made.account, made.book, made.client_order_id) == ("binance", "7", BookName.LIVE, ORDER_ID)
    assert (made.trade_id, made.price, made.quantity_base, made.fee_asset, made.fee_amount) == (
        "3", Decimal(100), Decimal("0.04"), "BNB", Decimal("0.0001"),
    )  # fmt: skip
    assert (made.event_time_ns, made.is_maker, made.side, made.symbol) == (NOW_NS + 3, True, Side.BUY, BTC)


def test_trade_event_names_the_order_at_the_venue() -> None:
    assert trade_event(trade(), ORDER_ID, PLACE).venue_order_id == "55"


@pytest.mark.parametrize(
    ("side", "kind", "purpose"),
    [
        (Side.BUY, OrderType.LIMIT, Purpose.ENTRY),
        (Side.BUY, OrderType.MARKET, Purpose.ENTRY),
        (Side.SELL, OrderType.LIMIT, Purpose.EXIT),
        (Side.SELL, OrderType.MARKET, Purpose.EXIT),
        (Side.SELL, OrderType.STOP_LOSS, Purpose.PROTECT),
    ],
)
def test_intent_of_an_order_that_no_store_remembers(side: Side, kind: OrderType, purpose: Purpose) -> None:
    stop = Decimal(90) if kind is OrderType.STOP_LOSS else None
    made = to_intent(snapshot(side=side, type=kind, stop_price=stop), BookName.LIVE)
    assert (made.purpose, made.side, made.type, made.stop_price, made.reason) == (purpose, side, kind, stop, ADOPTED)
    assert (made.client_order_id, made.symbol, made.created_ns, made.book) == (ORDER_ID, BTC, NOW_NS, BookName.LIVE)
    assert (made.quantity_base, made.price, made.time_in_force) == (Decimal("0.1"), Decimal(100), TimeInForce.GTC)


def test_adopted_market_buy_counts_in_full_until_its_trades_are_known() -> None:
    shown = snapshot(
        type=OrderType.MARKET, price=Decimal(100), state=OrderState.FILLED, filled_base=Decimal("0.1"), trades=()
    )
    order = replay(to_intent(shown, BookName.LIVE), to_events(shown, ORDER_ID, PLACE))
    assert isinstance(order, Order)
    assert order.pending_base == Decimal("0.1")
    assert order.pending_quote > 0

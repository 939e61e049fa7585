from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.venues import binance_answers as answers

from tradingbot_trader.orders.order import OrderState, OrderType, Side, TimeInForce
from tradingbot_trader.venues.account import OrderSnapshot, VenueTrade
from tradingbot_trader.venues.binance_account import Symbols
from tradingbot_trader.venues.binance_orders import is_report, parse_order, parse_orders, parse_report, parse_trades

NAMES = Symbols(["BTC/USDT", "ETH/USDT"])
TIME_NS = answers.TIME_MS * 1_000_000
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def test_order_that_was_asked_for_is_read_whole() -> None:
    assert parse_order(answers.order(), NAMES) == OrderSnapshot(
        symbol="BTC/USDT",
        client_order_id=answers.CLIENT_ID,
        venue_order_id="28",
        state=OrderState.OPEN,
        side=Side.BUY,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity_base=Decimal(1),
        price=Decimal("100.1"),
        stop_price=None,
        filled_base=Decimal(0),
        created_ns=TIME_NS,
        updated_ns=TIME_NS + 5_000_000,
    )


def test_answer_to_a_new_order_carries_its_trades_as_taker() -> None:
    order = parse_order(answers.filled(), NAMES)
    assert (order.state, order.filled_base, order.price) == (OrderState.FILLED, Decimal(1), Decimal(0))
    assert order.trades == (
        VenueTrade(
            symbol="BTC/USDT",
            trade_id="56",
            venue_order_id="28",
            side=Side.BUY,
            price=Decimal(100),
            quantity_base=Decimal("0.4"),
            fee_asset="BTC",
            fee_amount=Decimal("0.0004"),
            event_time_ns=TIME_NS,
            is_maker=False,
        ),
        VenueTrade(
            symbol="BTC/USDT",
            trade_id="57",
            venue_order_id="28",
            side=Side.BUY,
            price=Decimal("100.1"),
            quantity_base=Decimal("0.6"),
            fee_asset="BTC",
            fee_amount=Decimal("0.0006"),
            event_time_ns=TIME_NS,
            is_maker=False,
        ),
    )


def test_cancel_is_told_under_the_id_that_the_order_was_placed_with() -> None:
    order = parse_order(answers.cancelled(executedQty="0.40000000"), NAMES)
    assert (order.client_order_id, order.state) == (answers.CLIENT_ID, OrderState.CANCELLED)
    assert (order.filled_base, order.created_ns, order.updated_ns) == (Decimal("0.4"), 0, TIME_NS)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("NEW", OrderState.OPEN),
        ("PENDING_NEW", OrderState.OPEN),
        ("PARTIALLY_FILLED", OrderState.PARTIALLY_FILLED),
        ("FILLED", OrderState.FILLED),
        ("CANCELED", OrderState.CANCELLED),
        ("REJECTED", OrderState.REJECTED),
        ("EXPIRED", OrderState.EXPIRED),
        ("EXPIRED_IN_MATCH", OrderState.EXPIRED),
    ],
)
def test_each_status_has_its_state(status: str, state: OrderState) -> None:
    assert parse_order(answers.order(status=status), NAMES).state is state
    assert parse_report(answers.report(X=status), NAMES).order.state is state


@pytest.mark.parametrize(
    ("kind", "time_in_force", "expected", "reason"),
    [
        ("LIMIT", "IOC", (OrderType.LIMIT, TimeInForce.IOC, None), ""),
        ("LIMIT", "FOK", (OrderType.LIMIT, TimeInForce.IOC, None), ""),
        ("LIMIT_MAKER", "GTC", (OrderType.LIMIT, TimeInForce.POST_ONLY, None), ""),
        ("MARKET", "GTC", (OrderType.MARKET, TimeInForce.GTC, None), ""),
        ("STOP_LOSS_LIMIT", "GTC", (OrderType.STOP_LOSS, TimeInForce.GTC, Decimal(90)), ""),
        ("STOP_LOSS", "GTC", (OrderType.STOP_LOSS, TimeInForce.GTC, Decimal(90)), "STOP_LOSS"),
        ("TAKE_PROFIT", "GTC", (OrderType.STOP_LOSS, TimeInForce.GTC, Decimal(90)), "TAKE_PROFIT"),
        ("TAKE_PROFIT_LIMIT", "GTC", (OrderType.STOP_LOSS, TimeInForce.GTC, Decimal(90)), "TAKE_PROFIT_LIMIT"),
    ],
)
def test_each_kind_of_order_is_read_whoever_placed_it(
    kind: str, time_in_force: str, expected: tuple[OrderType, TimeInForce, Decimal | None], reason: str
) -> None:
    raw = answers.order(type=kind, timeInForce=time_in_force, stopPrice="90.00000000")
    for order in (
        parse_order(raw, NAMES),
        parse_report(answers.report(o=kind, f=time_in_force, P="90.00000000"), NAMES).order,
    ):
        assert (order.type, order.time_in_force, order.stop_price) == expected
        assert order.reason == reason


@pytest.mark.parametrize("client_id", ["web_0123456789abcdef0123456789abcdef", "x", "android:7-._/", ""])
def test_orders_of_other_clients_keep_the_ids_that_they_have(client_id: str) -> None:
    assert parse_order(answers.order(clientOrderId=client_id), NAMES).client_order_id == client_id


def test_market_that_nobody_named_keeps_the_venues_name() -> None:
    assert parse_order(answers.order(symbol="PEPEUSDC"), NAMES).symbol == "PEPEUSDC"
    assert parse_order(answers.order(symbol="ETHUSDT"), NAMES).symbol == "ETH/USDT"


def test_lists_come_oldest_first() -> None:
    orders = parse_orders([answers.order(orderId=number) for number in (30, 9, 28)], NAMES)
    assert [each.venue_order_id for each in orders] == ["9", "28", "30"]
    trades = parse_trades([answers.trade(id=number) for number in (100, 99)], NAMES)
    assert [each.trade_id for each in trades] == ["99", "100"]


def test_own_trade_is_read_whole() -> None:
    (trade,) = parse_trades([answers.trade(isBuyer=False, isMaker=True)], NAMES)
    assert trade == VenueTrade(
        symbol="BTC/USDT",
        trade_id="28457",
        venue_order_id="28",
        side=Side.SELL,
        price=Decimal("100.1"),
        quantity_base=Decimal("0.6"),
        fee_asset="BTC",
        fee_amount=Decimal("0.0006"),
        event_time_ns=TIME_NS,
        is_maker=True,
    )


def test_report_of_a_trade_carries_it() -> None:
    order = parse_report(answers.traded_report(), NAMES).order
    assert (order.state, order.filled_base, order.created_ns) == (
        OrderState.PARTIALLY_FILLED,
        Decimal("0.6"),
        TIME_NS,
    )
    assert order.trades == (
        VenueTrade(
            symbol="BTC/USDT",
            trade_id="57",
            venue_order_id="28",
            side=Side.BUY,
            price=Decimal(100),
            quantity_base=Decimal("0.6"),
            fee_asset="BTC",
            fee_amount=Decimal("0.0006"),
            event_time_ns=TIME_NS + 1_000_000,
            is_maker=True,
        ),
    )


def test_trade_without_a_fee_names_no_asset() -> None:
    (trade,) = parse_report(answers.traded_report(n="0", N=None), NAMES).order.trades
    assert (trade.fee_asset, trade.fee_amount) == ("", Decimal(0))


@pytest.mark.parametrize("original", [answers.CLIENT_ID, "", None, "null"])
def test_report_of_a_cancel_names_the_order_and_not_the_cancel(original: str | None) -> None:
    own = answers.CANCEL_ID if original == answers.CLIENT_ID else answers.CLIENT_ID
    order = parse_report(answers.report(x="CANCELED", X="CANCELED", c=own, C=original), NAMES).order
    assert (order.client_order_id, order.trades) == (answers.CLIENT_ID, ())


def test_report_of_a_refusal_says_why() -> None:
    order = parse_report(answers.report(x="REJECTED", X="REJECTED", r="INSUFFICIENT_BALANCES"), NAMES).order
    assert (order.state, order.reason) == (OrderState.REJECTED, "INSUFFICIENT_BALANCES")


def test_reports_are_told_from_other_messages() -> None:
    assert is_report(answers.report())
    assert not is_report({"e": "balanceUpdate"})
    assert not is_report({"id": "1", "status": 200})


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "PENDING_CANCEL"},
        {"status": None},
        {"type": "TRAILING"},
        {"timeInForce": "GTD"},
        {"side": "BOTH"},
        {"orderId": -1},
        {"orderId": "28"},
        {"orderId": True},
        {"symbol": None},
        {"clientOrderId": 7},
        {"origQty": 1},
        {"origQty": Decimal(1)},
        {"executedQty": "-1"},
        {"executedQty": "NaN"},
        {"price": "Infinity"},
        {"price": ""},
        {"time": "now"},
        {"updateTime": -1},
    ],
)
def test_what_cannot_be_read_is_an_error_and_no_guess(wrong: dict[str, Any]) -> None:
    with pytest.raises(UNREADABLE):
        parse_order(answers.order(**wrong), NAMES)


@pytest.mark.parametrize("missing", ["symbol", "orderId", "clientOrderId", "status", "executedQty", "side", "time"])
def test_order_without_a_field_is_an_error(missing: str) -> None:
    raw = answers.order()
    del raw[missing]
    with pytest.raises(UNREADABLE):
        parse_order(raw, NAMES)


@pytest.mark.parametrize("raw", [{}, [], None, "x", [1], {"code": -1, "msg": ""}])
def test_lists_that_are_none_are_errors(raw: Any) -> None:
    if raw != []:
        for parse in (parse_orders, parse_trades):
            with pytest.raises(UNREADABLE):
                parse(raw, NAMES)
    assert parse_orders([], NAMES) == ()


@pytest.mark.parametrize("wrong", [{"t": -1}, {"L": "0"}, {"l": "0.00000000"}, {"n": None}, {"m": None}, {"i": None}])
def test_report_of_a_trade_that_cannot_be_read_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UNREADABLE):
        parse_report(answers.traded_report(**wrong), NAMES)


@given(units=st.integers(1, 10**20), decimals=st.integers(0, 18))
def test_amounts_are_exact(units: int, decimals: int) -> None:
    value = Decimal(units).scaleb(-decimals)
    raw = answers.order(origQty=f"{value:f}", executedQty=f"{value:f}00" if "." in f"{value:f}" else f"{value:f}")
    order = parse_order(raw, NAMES)
    assert order.quantity_base == order.filled_base == value
    assert str(order.quantity_base) == str(order.filled_base), "one way to write it, trailing zeros or not"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(base=st.sampled_from([answers.order(), answers.filled(), answers.cancelled()]), data=st.data())
def test_anything_in_place_of_a_field_is_read_or_is_an_error_of_a_known_kind(
    base: dict[str, Any], data: st.DataObject
) -> None:
    raw = base | {data.draw(st.sampled_from(sorted(base))): data.draw(JSON)}
    try:
        order = parse_order(raw, NAMES)
    except UNREADABLE:
        return
    assert order.filled_base >= 0
    assert order.symbol

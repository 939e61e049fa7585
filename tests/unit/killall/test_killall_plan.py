"""Which orders are meant, how a sale is cut, when something may be called proved, and how Binance's rows are read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import instrument

from tradingbot_trader.killall.plan import Report, Sale, SaleAsked, Scope, Target, Verdict, floor_price, next_slice
from tradingbot_trader.killall.text import build_view, render
from tradingbot_trader.orders.client_id import build_client_order_id, hash_bot
from tradingbot_trader.venues.binance_killer import parse_resting
from tradingbot_trader.venues.killer import Ending, RestingOrder

BOT, OTHER = hash_bot("i", "desk", "a"), hash_bot("i", "desk", "b")
OURS, ITS = build_client_order_id(BOT, 1, 1), build_client_order_id(OTHER, 1, 1)
PLAIN, STOPPING, ONE = Scope(), Scope(keep_protective=True), Scope(own_only=True, bot=BOT)


def order(client_order_id: str = OURS, *, is_stop_sell: bool = False, symbol: str = "BTCUSDT") -> RestingOrder:
    return RestingOrder(symbol=symbol, venue_order_id="1", client_order_id=client_order_id, is_stop_sell=is_stop_sell)


@pytest.mark.parametrize(
    ("scope", "seen", "expected"),
    [
        (PLAIN, order("by hand"), Verdict.TAKE),
        (PLAIN, order(is_stop_sell=True), Verdict.TAKE),
        (STOPPING, order(is_stop_sell=True), Verdict.KEEP),
        (STOPPING, order("by hand", is_stop_sell=True), Verdict.TAKE),
        (STOPPING, order(OURS), Verdict.TAKE),
        (Scope(own_only=True), order(ITS), Verdict.TAKE),
        (Scope(own_only=True), order("by hand"), Verdict.IGNORE),
        (Scope(own_only=True), order(OURS[:-1] + "x"), Verdict.IGNORE),
        (ONE, order(OURS), Verdict.TAKE),
        (ONE, order(ITS), Verdict.IGNORE),
        (Scope(own_only=True, bot=BOT, keep_protective=True), order(ITS, is_stop_sell=True), Verdict.IGNORE),
        (Scope(symbols=("ETHUSDT",)), order(), Verdict.IGNORE),
        (Scope(symbols=("ETHUSDT",)), order(symbol="ETHUSDT"), Verdict.TAKE),
    ],
)
def test_scope_judges_each_order(scope: Scope, seen: RestingOrder, expected: Verdict) -> None:
    assert scope.judge(seen) is expected


def test_whole_markets_are_only_taken_when_nothing_in_them_is_spared() -> None:
    assert [each.takes_whole_markets for each in (PLAIN, STOPPING, ONE)] == [True, False, False]


def quantities(places: int, most: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value=0, max_value=most, places=places)


@given(
    remaining=quantities(6, 500),
    floor=st.decimals(min_value="0.5", max_value=5_000, places=2),
    slice_quote=quantities(2, 20_000),
    min_notional=quantities(0, 200),
    most=st.none() | st.decimals(min_value=1, max_value=50, places=0),
)
def test_slices_sell_all_that_can_be_sold_and_never_more(
    remaining: Decimal, floor: Decimal, slice_quote: Decimal, min_notional: Decimal, most: Decimal | None
) -> None:
    rules = instrument(min_notional_quote=min_notional, max_quantity_base=most)
    sold, left = Decimal(0), remaining
    for _ in range(5_000):
        size = next_slice(left, floor=floor, slice_quote=slice_quote, rules=rules)
        if size is None:
            break
        assert 0 < size <= left
        assert size % rules.quantity_step == 0
        assert size >= rules.min_quantity_base
        assert size * floor >= rules.min_notional_quote
        assert most is None or size <= most
        sold, left = sold + size, left - size
        if sold > 40 * max(slice_quote / floor, rules.quantity_step):
            return
    assert sold + left == remaining
    can_ever = most is None or most * floor >= min_notional
    smallest = max(rules.min_quantity_base, min_notional / floor) + 2 * rules.quantity_step
    if most is None or (can_ever and most >= 2 * smallest):
        assert left < (rules.quantity_step if sold else smallest)


@given(
    price=st.decimals(min_value="0.02", max_value=100_000, places=2),
    percent=st.decimals(min_value="0.01", max_value=50, places=2),
)
def test_floor_stays_inside_the_collar(price: Decimal, percent: Decimal) -> None:
    floor = floor_price(price, percent, instrument())
    assert price * (100 - percent) / 100 <= floor <= price


def closed(ending: Ending | None = Ending.CANCELLED, *, is_listed: bool = False) -> Target:
    return Target(order(), is_listed=is_listed, ending=ending)


def sale(sold: str, unresolved: str = "0") -> Sale:
    asked = SaleAsked("BTC", Decimal(1), "BTC/USDT")
    return Sale(asked, step_base=Decimal("0.001"), sold_base=Decimal(sold), unresolved_base=Decimal(unresolved))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"targets": [closed()], "sales": [sale("1")]}, 0),
        ({"targets": [closed()], "sales": [sale("0.9995")]}, 0),
        ({"was_listed": False, "is_proved": False}, 1),
        ({"is_proved": False}, 2),
        ({"targets": [closed(None)]}, 2),
        ({"targets": [closed(is_listed=True)]}, 2),
        ({"sales": [sale("0.999")]}, 2),
        ({"sales": [sale("0")]}, 2),
        ({"sales": [sale("0.5", "0.5")]}, 2),
    ],
)
def test_exit_code_is_zero_only_for_what_is_proved(changes: dict[str, Any], expected: int) -> None:
    values: dict[str, Any] = {"targets": (), "kept": (), "sales": (), "was_listed": True, "is_proved": True}
    report = Report(**values | changes)
    assert report.exit_code == expected
    about = {"exchange": "binance"}
    text = render(build_view(report, about))
    assert text.splitlines()[-1].startswith("proved" if expected == 0 else "LEFT")


def row(**changes: Any) -> dict[str, Any]:
    """As in `openOrders`."""
    values = {
        "symbol": "BTCUSDT",
        "orderId": 28,
        "clientOrderId": "abc",
        "side": "SELL",
        "type": "STOP_LOSS_LIMIT",
        "status": "NEW",
        "origQty": "1.0",
        "executedQty": "0.5",
        "price": "9",
    }
    return values | changes


def test_row_is_read_as_the_venue_wrote_it() -> None:
    (seen,) = parse_resting([row()])
    assert (seen.key, seen.client_order_id, seen.is_stop_sell) == (("BTCUSDT", "28"), "abc", True)
    assert (seen.quantity_base, seen.filled_base, seen.ending) == (Decimal(1), Decimal("0.5"), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "A_NEW_TYPE", "timeInForce": "GTE_GTC"},
        {"status": "PENDING_CANCEL"},
        {"origQty": None, "price": "", "executedQty": 3},
        {"side": 7, "clientOrderId": None},
    ],
    ids=str,
)
def test_strange_order_is_an_order_that_is_open(changes: dict[str, Any]) -> None:
    (seen,) = parse_resting([row(**changes)])
    assert (seen.key, seen.ending) == (("BTCUSDT", "28"), None)


@pytest.mark.parametrize("changes", [{"symbol": None}, {"orderId": "28"}, {"orderId": -1}], ids=str)
def test_row_without_its_names_makes_the_list_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        parse_resting([row(), row(**changes)])


def test_cancel_of_an_order_list_shows_each_of_its_orders() -> None:
    answer = [
        row(orderId=1, status="CANCELED", origClientOrderId="mine", clientOrderId="the cancel's own"),
        {
            "orderListId": 5,
            "symbol": "BTCUSDT",
            "orderReports": [row(orderId=2, status="CANCELED"), row(orderId=3, status="EXPIRED")],
        },
    ]
    assert [(each.venue_order_id, each.ending) for each in parse_resting(answer)] == [
        ("1", Ending.CANCELLED),
        ("2", Ending.CANCELLED),
        ("3", Ending.EXPIRED),
    ]
    assert parse_resting(answer)[0].client_order_id == "mine"

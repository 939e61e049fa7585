"""Sizing: what it drafts passes the risk engine, and what it does not draft has a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import BTC, NOW_NS, conditions, engine, event, fill, instrument, intent, limits

from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, OrderState, Purpose, Side, TimeInForce
from tradingbot_trader.orders.sizing import (
    Draft,
    Exit,
    NoOrder,
    NoOrderReason,
    Target,
    entries_to_cancel,
    size_exit,
    size_order,
)
from tradingbot_trader.risk.engine import Conditions, RiskEngine
from tradingbot_trader.risk.limits import Limits
from tradingbot_trader.risk.observed import Costs, TrustedPrice

ALL_IN, OUT = Target(Decimal(1), reason="fast above slow"), Target(Decimal(0), reason="fast below slow")


def size(target: Target, desk: RiskEngine | None = None, given: Conditions | None = None) -> Draft | NoOrder:
    given = given or conditions()
    return size_order(target, (desk or engine()).observe(BTC, given), given.limits)


def drafted(*args: Any, **changes: Any) -> Draft:
    found = size(*args, **changes)
    assert isinstance(found, Draft), found
    return found


def refused(*args: Any, **changes: Any) -> NoOrderReason:
    found = size(*args, **changes)
    assert isinstance(found, NoOrder), found
    return found.reason


def test_entry_takes_at_once_at_the_last_price_plus_the_slippage_bound() -> None:
    draft = drafted(ALL_IN)
    assert (draft.side, draft.purpose, draft.time_in_force) == (Side.BUY, Purpose.ENTRY, TimeInForce.IOC)
    assert draft.price == Decimal("100.50")
    assert draft.quantity_base == Decimal("0.995")  # 100 / 100.50, rounded down to the step


def test_entry_price_stays_inside_a_collar_that_is_tighter_than_the_slippage_bound() -> None:
    assert drafted(ALL_IN, None, conditions(limits=limits(priceCollarPercent="0.1"))).price == Decimal("100.10")


def test_entry_with_an_offset_rests_below_the_last_price() -> None:
    draft = drafted(Target(Decimal(1), limit_offset_percent=Decimal("1.5")))
    assert (draft.price, draft.time_in_force) == (Decimal("98.50"), TimeInForce.GTC)


def test_offset_beyond_the_collar_is_not_bent_into_it() -> None:
    assert refused(Target(Decimal(1), limit_offset_percent=Decimal(3))) is NoOrderReason.OUTSIDE_COLLAR


def test_offset_of_the_whole_collar_is_rounded_into_it() -> None:
    given = conditions(price=TrustedPrice(Decimal("100.03"), NOW_NS))
    draft = drafted(Target(Decimal(1), limit_offset_percent=Decimal(2)), None, given)
    assert draft.price == Decimal("98.03")  # 98.0294 rounded down would be 2.003 percent below


@pytest.mark.parametrize(
    ("risk", "notional"),
    [
        ({"maxOrderNotional": "20"}, 20),
        ({"maxPositionPercent": "40"}, 40),
        ({"maxExposurePercent": "30"}, 30),
        ({"maxDailyNotional": "15"}, 15),
        ({"maxLeverage": "0.5"}, 50),
    ],
)
def test_entry_is_as_large_as_the_tightest_limit_allows(risk: dict[str, str], notional: int) -> None:
    draft = drafted(ALL_IN, None, conditions(limits=limits(**risk)))
    assert draft.quantity_base * draft.price <= notional
    assert (draft.quantity_base + Decimal("0.001")) * draft.price > notional


def test_allocation_is_a_share_of_what_the_limits_allow_for_the_symbol() -> None:
    draft = drafted(Target(Decimal("0.5")), None, conditions(limits=limits(maxPositionPercent="40")))
    assert Decimal("19.8") < draft.quantity_base * draft.price <= 20


def test_entry_is_capped_by_paper_cash() -> None:
    draft = drafted(ALL_IN, None, conditions(opening_cash_quote=Decimal(30)))
    assert draft.quantity_base * draft.price <= 30


def test_what_is_held_or_being_bought_counts_towards_the_target() -> None:
    half = fill(quantity_base=Decimal("0.5"))
    draft = drafted(ALL_IN, engine(fills=[half], orders=[Order(intent("b" * 32, quantity_base=Decimal("0.3")))]))
    assert draft.quantity_base * draft.price <= 20


def test_position_above_a_target_that_is_not_zero_is_left_alone() -> None:
    desk = engine(fills=[fill(quantity_base=Decimal("0.9"))])
    assert refused(Target(Decimal("0.5")), desk) is NoOrderReason.ON_TARGET
    assert refused(ALL_IN, desk, conditions(limits=limits(granted="50"))) is NoOrderReason.ON_TARGET


def test_a_rest_that_is_too_small_to_order_is_on_target() -> None:
    assert refused(ALL_IN, engine(fills=[fill(quantity_base=Decimal("0.97"))])) is NoOrderReason.ON_TARGET


def test_exit_sells_all_that_is_held_below_the_last_price_without_regard_to_entry_limits() -> None:
    desk = engine(fills=[fill(quantity_base=Decimal("0.8"), fee_asset="BTC", fee_amount=Decimal("0.0008"))])
    draft = drafted(OUT, desk, conditions(limits=limits(maxOrderNotional="20")))
    assert (draft.side, draft.purpose, draft.time_in_force) == (Side.SELL, Purpose.EXIT, TimeInForce.IOC)
    assert (draft.quantity_base, draft.price) == (Decimal("0.799"), Decimal("99.50"))


def test_exit_does_not_sell_twice() -> None:
    selling = Order(intent("c" * 32, purpose=Purpose.EXIT, quantity_base=Decimal("0.8")))
    desk = engine(fills=[fill(quantity_base=Decimal("0.8"))], orders=[selling])
    assert refused(OUT, desk) is NoOrderReason.EXIT_OPEN
    assert refused(ALL_IN, desk) is NoOrderReason.EXIT_OPEN


def test_exit_is_capped_at_the_venues_largest_order() -> None:
    desk = engine(fills=[fill(quantity_base=Decimal("0.8"))])
    desk = RiskEngine(desk.ledger, {BTC: instrument(max_quantity_base=Decimal("0.5"))}, costs=Costs())
    assert drafted(OUT, desk).quantity_base == Decimal("0.5")


def test_sliced_exit_is_worth_at_most_one_order_and_leaves_nothing_that_is_too_small() -> None:
    bounds = limits(maxOrderNotional="20")
    for held, first in (("0.8", "0.201"), ("0.202", "0.202"), ("0.25", "0.25"), ("0.252", "0.201")):
        desk = engine(fills=[fill(quantity_base=Decimal(held))])
        found = size_exit(desk.observe(BTC, conditions(limits=bounds)), bounds, Exit("flatten", is_sliced=True))
        assert isinstance(found, Draft)
        assert found.quantity_base == Decimal(first), held


@pytest.mark.parametrize(("steps", "price"), [(1, "99.50"), (3, "98.50"), (4, "98.00"), (30, "98.00")])
def test_exit_that_finds_no_buyer_goes_down_to_the_collar_and_no_further(steps: int, price: str) -> None:
    desk, bounds = engine(fills=[fill(quantity_base=Decimal("0.8"))]), limits(priceCollarPercent="2")
    found = size_exit(desk.observe(BTC, conditions(limits=bounds)), bounds, Exit("flatten", slippage_steps=steps))
    assert isinstance(found, Draft)
    assert found.price == Decimal(price)


def test_dust_is_named_and_not_ordered() -> None:
    assert refused(OUT, engine(fills=[fill(quantity_base=Decimal("0.04"))])) is NoOrderReason.DUST
    assert refused(OUT, engine(fills=[fill(quantity_base=Decimal("0.0004"))])) is NoOrderReason.DUST


def test_nothing_held_is_nothing_to_sell() -> None:
    assert refused(OUT) is NoOrderReason.NOTHING_HELD


@pytest.mark.parametrize("target", [ALL_IN, OUT])
def test_without_a_price_there_is_no_order(target: Target) -> None:
    assert refused(target, engine(fills=[fill()]), conditions(price=None)) is NoOrderReason.NO_PRICE


def test_limits_below_the_venues_minimum_are_named() -> None:
    # 5.26 is the least that leaves 5 after a stop-loss, fees, slippage and one step.
    assert refused(ALL_IN, None, conditions(limits=limits(maxOrderNotional="5.2"))) is (
        NoOrderReason.LIMITS_BELOW_VENUE_MINIMUM
    )
    assert drafted(ALL_IN, None, conditions(limits=limits(maxOrderNotional="5.4")))


@pytest.mark.parametrize("held", ["0.98", "0.948"])
def test_room_that_other_positions_have_taken_is_named(held: str) -> None:
    """2 left is less than the venue takes; 5.2 left could be bought and, after a stop-loss, not be sold."""
    desk = engine(fills=[fill(symbol="ETH/USDT", quantity_base=Decimal(held))])
    assert refused(ALL_IN, desk) is NoOrderReason.NO_ROOM


def test_entry_takes_what_other_positions_leave_of_the_exposure() -> None:
    desk = engine(fills=[fill(symbol="ETH/USDT", quantity_base=Decimal("0.4"))])
    draft = drafted(ALL_IN, desk, conditions(limits=limits(maxExposurePercent="60", maxPositionPercent="50")))
    assert Decimal("19.8") < draft.quantity_base * draft.price <= 20


@pytest.mark.parametrize("values", [{"allocation": Decimal("1.1")}, {"allocation": Decimal(-1)}])
def test_allocation_outside_zero_and_one_is_a_bug(values: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Target(**values)


def test_target_of_zero_cancels_open_entries_of_its_symbol_alone() -> None:
    mine, other = Order(intent("b" * 32)), Order(intent("d" * 32, symbol="ETH/USDT"))
    leaving = Order(intent("c" * 32, purpose=Purpose.EXIT))
    assert entries_to_cancel(OUT, BTC, [mine, other, leaving]) == ["b" * 32]
    assert entries_to_cancel(ALL_IN, BTC, [mine, other, leaving]) == []


PRICES = st.decimals("0.5", "5000", places=2)
PERCENTS = st.decimals("0.1", "100", places=1)


@given(
    price=PRICES,
    allocation=st.decimals(0, 1, places=2),
    offset=st.none() | st.decimals(0, 3, places=2),
    risk=st.fixed_dictionaries(
        {
            "maxOrderNotional": st.decimals("1", "200", places=2),
            "maxPositionPercent": PERCENTS,
            "maxExposurePercent": PERCENTS,
            "priceCollarPercent": st.decimals("0.1", "5", places=1),
            "stopLossPercent": st.decimals("0.1", "20", places=1),
        }
    ),
    held=st.decimals(0, "0.3", places=4),
    cash=st.none() | st.decimals(0, 200, places=2),
    is_fee_on_top=st.booleans(),
)
def test_whatever_is_drafted_is_approved(
    price: Decimal,
    allocation: Decimal,
    offset: Decimal | None,
    risk: dict[str, Any],
    held: Decimal,
    cash: Decimal | None,
    is_fee_on_top: bool,  # noqa: FBT001  hypothesis passes by keyword
) -> None:
    """No order is refused, by our own limits or by the venue's filters, that could have been known."""
    bounds: Limits = limits(**risk)
    fills = [fill(quantity_base=held, price=price)] if held else []
    desk = engine(fills=fills, costs=Costs(buy_fee_in_quote=is_fee_on_top))
    given_now = conditions(limits=bounds, price=TrustedPrice(price, NOW_NS), opening_cash_quote=cash)
    found = size(Target(allocation, limit_offset_percent=offset), desk, given_now)
    if isinstance(found, Draft):
        order = found.to_intent("f" * 32, book=BookName.PAPER, now_ns=NOW_NS)
        assert desk.decide(order, given_now).denials == ()


@given(price=PRICES, stop=st.decimals("0.1", "20", places=1), size_quote=st.decimals("5", "60", places=2))
def test_what_was_entered_can_be_sold_after_a_stop_loss(price: Decimal, stop: Decimal, size_quote: Decimal) -> None:
    """Bought at the last price, fee taken from it, sold at the stop with the full slippage bound: still tradable."""
    desk = engine()
    bounds = limits(maxOrderNotional=size_quote, stopLossPercent=stop, priceCollarPercent="5")
    found = size(ALL_IN, desk, conditions(limits=bounds, price=TrustedPrice(price, NOW_NS)))
    if isinstance(found, NoOrder):
        return
    order = found.to_intent("f" * 32, book=BookName.PAPER, now_ns=NOW_NS)
    desk.decide(order, conditions(limits=bounds, price=TrustedPrice(price, NOW_NS)))
    bought = fill(
        client_order_id=order.client_order_id,
        price=price,
        quantity_base=order.quantity_base,
        fee_asset="BTC",
        fee_amount=order.quantity_base / 1000,
    )
    done = event(OrderState.FILLED, client_order_id=order.client_order_id, filled_base=order.quantity_base, fill=bought)
    desk.apply(done)
    stopped = conditions(limits=bounds, price=TrustedPrice(price * (1 - stop / 100), NOW_NS))
    assert isinstance(size_exit(desk.observe(BTC, stopped), bounds, Exit("stop-loss")), Draft)


@given(held=st.decimals("0.06", "5", places=3), most=st.decimals("10", "200", places=0), price=PRICES)
def test_slices_sell_all_that_can_be_sold(held: Decimal, most: Decimal, price: Decimal) -> None:
    bounds, left, sold = limits(maxOrderNotional=most), held, 0
    given_now = conditions(limits=bounds, price=TrustedPrice(price, NOW_NS))
    while True:
        desk = engine(fills=[fill(quantity_base=left)] if left else [])
        found = size_exit(desk.observe(BTC, given_now), bounds, Exit("flatten", is_sliced=True))
        if isinstance(found, NoOrder):
            break
        order = found.to_intent("f" * 32, book=BookName.PAPER, now_ns=NOW_NS)
        assert desk.decide(order, given_now).denials == ()
        least = max(desk.observe(BTC, given_now).instrument.min_notional_quote, Decimal(10))
        assert found.quantity_base * found.price <= most + 2 * least
        left, sold = left - found.quantity_base, sold + 1
        assert sold < 1000
    whole = engine(fills=[fill(quantity_base=held)])
    if isinstance(size_exit(whole.observe(BTC, given_now), bounds, Exit("flatten")), Draft):
        assert left == 0, "what could be sold in one order is sold in slices, too"

"""When an order is presumed absent: never before the venue could have taken it and shown it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import NOW_NS, ORDER_ID, SECOND_NS, event, intent

from tradingbot_trader.orders.doubt import (
    FRESHNESS_NS,
    LONGEST_WAIT_TO_SEND_NS,
    SCANS,
    VISIBILITY_NS,
    Doubt,
    accepted_until_ns,
)
from tradingbot_trader.orders.gateway import MAX_WAIT_SECONDS
from tradingbot_trader.orders.machine import Order, apply
from tradingbot_trader.orders.order import OrderState
from tradingbot_trader.venues.binance_account import RECV_WINDOW_MS

LOST = Order(intent(), state=OrderState.UNRESOLVED)
UNTIL_NS = accepted_until_ns(LOST)
LATE_NS = UNTIL_NS + VISIBILITY_NS
SURE = Doubt(scans=SCANS)


def test_bounds_are_those_of_the_gateway_and_the_venue() -> None:
    assert LONGEST_WAIT_TO_SEND_NS == MAX_WAIT_SECONDS * SECOND_NS
    assert FRESHNESS_NS == RECV_WINDOW_MS * SECOND_NS // 1000 + SECOND_NS
    assert UNTIL_NS - NOW_NS == 6 * SECOND_NS


def test_scan_counts_only_if_it_began_when_the_venue_could_no_longer_take_the_order() -> None:
    assert Doubt().scanned(LOST, UNTIL_NS - 1).scans == 0
    assert Doubt().scanned(LOST, UNTIL_NS).scans == 1


def test_absent_after_enough_scans_and_enough_time() -> None:
    assert SURE.is_absent(LOST, LATE_NS)
    assert not SURE.is_absent(LOST, LATE_NS - 1)
    assert not Doubt(scans=SCANS - 1).is_absent(LOST, LATE_NS)


def test_what_the_venue_has_shown_once_is_never_absent() -> None:
    shown = apply(LOST, event(OrderState.OPEN, venue_order_id="7")).order
    filled = replace(LOST, filled_base=Decimal("0.01"))
    for order in (shown, filled):
        assert not SURE.is_absent(order, LATE_NS + 10**20)


def test_looks_come_fast_at_first_and_then_every_ten_seconds() -> None:
    doubt, pauses = Doubt(), []
    for _ in range(8):
        pauses.append(doubt.pause_seconds)
        doubt = doubt.looked()
    assert pauses == [0.0, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0, 10.0]
    assert doubt.looks == 8


def test_order_with_another_time_of_its_intent_is_accepted_until_another_time() -> None:
    later = Order(intent(ORDER_ID, created_ns=NOW_NS + SECOND_NS))
    assert accepted_until_ns(later) == UNTIL_NS + SECOND_NS


@given(st.lists(st.integers(0, 120 * SECOND_NS), max_size=12))
def test_no_run_of_scans_makes_an_order_absent_before_a_minute_after_the_last_moment(begun: list[int]) -> None:
    doubt, counted = Doubt(), 0
    for after_ns in sorted(begun):
        begun_ns = NOW_NS + after_ns
        doubt = doubt.looked().scanned(LOST, begun_ns)
        counted += begun_ns >= UNTIL_NS
        assert doubt.scans == counted
        assert doubt.is_absent(LOST, begun_ns) == (counted >= SCANS and begun_ns >= LATE_NS)

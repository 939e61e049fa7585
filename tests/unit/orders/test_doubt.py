"""When an order is presumed absent: never before the venue could have taken it and shown it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import NOW_NS, ORDER_ID, SECOND_NS, event, intent

from tradingbot_trader.orders.doubt import (
    ACCEPTABLE_NS,
    FRESHNESS_NS,
    LONGEST_WAIT_TO_SEND_NS,
    SCANS,
    VISIBILITY_NS,
    Doubt,
    Look,
)
from tradingbot_trader.orders.gateway import MAX_WAIT_SECONDS
from tradingbot_trader.orders.machine import Order, apply
from tradingbot_trader.orders.order import OrderState
from tradingbot_trader.venues.binance_account import RECV_WINDOW_MS

LOST = Order(intent(), state=OrderState.UNRESOLVED)
UNTIL_NS = NOW_NS + ACCEPTABLE_NS
LATE_NS = UNTIL_NS + VISIBILITY_NS
FRESH = Doubt(0)
SURE = Doubt(0, scans=SCANS)


def at(venue_ns: int, *, doubted_ns: int = 0) -> Look:
    return Look(venue_ns, doubted_ns)


def test_bounds_are_those_of_the_gateway_and_the_venue() -> None:
    assert LONGEST_WAIT_TO_SEND_NS == MAX_WAIT_SECONDS * SECOND_NS
    assert FRESHNESS_NS == RECV_WINDOW_MS * SECOND_NS // 1000 + SECOND_NS
    assert ACCEPTABLE_NS == 6 * SECOND_NS


def test_scan_counts_only_if_it_began_when_the_venue_could_no_longer_take_the_order() -> None:
    assert FRESH.scanned(LOST, at(UNTIL_NS - 1)).scans == 0
    assert FRESH.scanned(LOST, at(UNTIL_NS)).scans == 1


def test_absent_after_enough_scans_and_enough_time() -> None:
    assert SURE.is_absent(LOST, at(LATE_NS))
    assert not SURE.is_absent(LOST, at(LATE_NS - 1))
    assert not replace(SURE, scans=SCANS - 1).is_absent(LOST, at(LATE_NS))


def test_order_from_the_time_of_a_clock_that_was_wrong_is_absent_a_minute_after_it_was_doubted() -> None:
    """Its intent is from tomorrow, and was made before anybody doubted it: that is known by a clock that nobody set."""
    tomorrow = Order(intent(created_ns=NOW_NS + 86_400 * SECOND_NS), state=OrderState.UNRESOLVED)
    assert FRESH.scanned(tomorrow, at(NOW_NS, doubted_ns=ACCEPTABLE_NS - 1)).scans == 0
    assert FRESH.scanned(tomorrow, at(NOW_NS, doubted_ns=ACCEPTABLE_NS)).scans == 1
    assert not SURE.is_absent(tomorrow, at(NOW_NS, doubted_ns=ACCEPTABLE_NS + VISIBILITY_NS - 1))
    assert SURE.is_absent(tomorrow, at(NOW_NS, doubted_ns=ACCEPTABLE_NS + VISIBILITY_NS))


def test_what_the_venue_forgot_is_forgotten_a_minute_after_the_first_scan_whatever_its_clock_says() -> None:
    shown = apply(LOST, event(OrderState.OPEN, venue_order_id="7")).order
    doubt = FRESH.scanned(shown, at(UNTIL_NS, doubted_ns=SECOND_NS))
    doubt = replace(doubt, scans=SCANS)
    assert not doubt.is_forgotten(shown, at(UNTIL_NS + 10**20, doubted_ns=SECOND_NS + VISIBILITY_NS - 1))
    assert doubt.is_forgotten(shown, at(0, doubted_ns=SECOND_NS + VISIBILITY_NS))
    assert not doubt.is_forgotten(LOST, at(0, doubted_ns=SECOND_NS + VISIBILITY_NS))


def test_what_the_venue_has_shown_once_is_never_absent() -> None:
    shown = apply(LOST, event(OrderState.OPEN, venue_order_id="7")).order
    filled = replace(LOST, filled_base=Decimal("0.01"))
    for order in (shown, filled):
        assert not SURE.is_absent(order, at(LATE_NS + 10**20, doubted_ns=10**20))


def test_looks_come_fast_at_first_and_then_every_ten_seconds() -> None:
    doubt, pauses = FRESH, []
    for _ in range(8):
        pauses.append(doubt.pause_seconds)
        doubt = doubt.looked()
    assert pauses == [0.0, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0, 10.0]
    assert doubt.looks == 8


def test_order_with_another_time_of_its_intent_is_accepted_until_another_time() -> None:
    later = Order(intent(ORDER_ID, created_ns=NOW_NS + SECOND_NS))
    assert FRESH.scanned(later, at(UNTIL_NS + SECOND_NS - 1)).scans == 0
    assert FRESH.scanned(later, at(UNTIL_NS + SECOND_NS)).scans == 1


@given(st.lists(st.integers(0, 120 * SECOND_NS), max_size=12))
def test_no_run_of_scans_makes_an_order_absent_before_a_minute_after_the_last_moment(begun: list[int]) -> None:
    doubt, counted = FRESH, 0
    for after_ns in sorted(begun):
        begun_ns = NOW_NS + after_ns
        doubt = doubt.looked().scanned(LOST, at(begun_ns))
        counted += begun_ns >= UNTIL_NS
        assert doubt.scans == counted
        assert doubt.is_absent(LOST, at(begun_ns)) == (counted >= SCANS and begun_ns >= LATE_NS)

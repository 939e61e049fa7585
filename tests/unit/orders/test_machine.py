"""The order machine: any order of events, and any of them doubled, give the same end; contradictions are reported."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.orders.builders import NOW_NS, event, fill, intent

from tradingbot_trader.orders.machine import Illegal, Order, apply, replay
from tradingbot_trader.orders.order import OrderEvent, OrderState, Side

S = OrderState


def after(*events: OrderEvent) -> Order:
    return replay(intent(), events)


def execution(number: int, quantity: str, cumulative: str, state: OrderState = S.PARTIALLY_FILLED) -> OrderEvent:
    return event(state, cumulative, fill=fill(str(number), quantity_base=Decimal(quantity)), at_ns=NOW_NS + number)


LIFE = (
    event(S.SENT),
    event(S.OPEN, venue_order_id="77"),
    execution(1, "0.03", "0.03"),
    execution(2, "0.02", "0.05"),
    event(S.CANCELLED, "0.05", reason="on request", at_ns=NOW_NS + 9),
)


@given(st.permutations(LIFE), st.lists(st.sampled_from(LIFE), max_size=6))
def test_any_order_of_events_and_any_doubling_give_the_same_end(
    order: list[OrderEvent], more: list[OrderEvent]
) -> None:
    end = after(*order, *more)
    assert end == after(*LIFE)
    assert (end.state, end.filled_base, end.is_settled) == (S.CANCELLED, Decimal("0.05"), True)
    assert not end.illegal


ANYTHING = st.builds(
    event,
    st.sampled_from([state for state in S if state is not S.INTENT]),
    st.sampled_from(["0", "0.03", "0.05", "0.1", "0.2", "NaN", "-1"]),
    fill=st.sampled_from(
        [None, fill("1", quantity_base=Decimal("0.03")), fill("2"), fill("2", quantity_base=Decimal("0.05"))]
    ),
    venue_order_id=st.sampled_from(["", "77", "78"]),
    at_ns=st.integers(NOW_NS, NOW_NS + 3),
    reason=st.sampled_from(["", "a", "b"]),
)


@settings(max_examples=200)
@given(st.lists(ANYTHING, max_size=6), st.randoms())
def test_even_nonsense_gives_the_same_end_in_any_order(events: list[OrderEvent], random: object) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  hypothesis' Random
    first, second = after(*events), after(*shuffled)
    assert first.state == second.state
    assert first.filled_base == second.filled_base
    assert first.fills == second.fills
    assert first.reason == second.reason
    # FillChanged depends on which quantity came first only in its being noticed at all: both orders notice it.
    assert first.illegal == second.illegal


@given(st.lists(ANYTHING, max_size=6))
def test_known_fills_and_cumulative_quantity_never_shrink(events: list[OrderEvent]) -> None:
    order = Order(intent())
    for one in events:
        step = apply(order, one)
        assert step.order.filled_base >= order.filled_base
        assert step.order.fills.keys() >= order.fills.keys()
        assert step.order.illegal >= order.illegal
        assert bool(step.illegal) == (step.order.illegal > order.illegal)
        order = step.order


@given(st.lists(st.sampled_from(LIFE), max_size=8))
def test_only_events_that_say_something_new_change_the_order(events: list[OrderEvent]) -> None:
    order = Order(intent())
    for one in events:
        order = apply(order, one).order
        assert not apply(order, one).is_changed


def test_a_doubled_fill_is_counted_once() -> None:
    first = apply(after(LIFE[0], LIFE[1]), LIFE[2])
    again = apply(first.order, LIFE[2])
    assert (first.new_fill, again.new_fill) == (LIFE[2].fill, None)
    assert again.order.fills_base == Decimal("0.03")


def test_cancel_that_lost_the_race_is_filled() -> None:
    order = after(event(S.SENT), event(S.CANCELLED, "0.1"), execution(1, "0.1", "0.1", S.FILLED))
    assert order.state is S.FILLED
    assert not order.illegal


def test_fill_before_the_confirmation_opens_the_order() -> None:
    order = after(execution(1, "0.03", "0.03"), event(S.SENT), event(S.OPEN))
    assert order.state is S.PARTIALLY_FILLED
    assert order.remaining_base == Decimal("0.07")


def test_fills_alone_complete_an_order() -> None:
    order = after(execution(1, "0.04", "0"), execution(2, "0.06", "0"))
    assert (order.state, order.is_settled) == (S.FILLED, True)


def test_filled_quantity_without_its_fill_stays_pending() -> None:
    order = after(event(S.SENT), event(S.CANCELLED, "0.04"))
    assert order.state is S.CANCELLED
    assert order.pending_base == Decimal("0.04")
    assert not order.is_settled
    assert apply(order, execution(1, "0.04", "0.04")).order.is_settled


def test_open_order_is_pending_in_full() -> None:
    order = after(event(S.SENT), execution(1, "0.03", "0.03"), event(S.UNRESOLVED))
    assert order.pending_base == Decimal("0.07")
    assert order.pending_quote == Decimal(7)


@pytest.mark.parametrize("state", [S.REJECTED, S.DENIED, S.PRESUMED_ABSENT, S.CANCELLED, S.EXPIRED])
def test_ended_order_without_fills_is_settled_and_pends_nothing(state: OrderState) -> None:
    order = after(event(state))
    assert (order.state, order.pending_base, order.is_settled) == (state, 0, True)


def test_unresolved_order_may_turn_out_rejected() -> None:
    order = after(event(S.SENT), event(S.UNRESOLVED), event(S.REJECTED, reason="balance"))
    assert (order.state, order.reason) == (S.REJECTED, "balance")
    assert not order.illegal


CONTRADICTIONS = {
    Illegal.OVERFILLED: [event(S.OPEN), event(S.PARTIALLY_FILLED, "0.2")],
    Illegal.FILLED_SHORT: [event(S.OPEN), event(S.FILLED, "0.05")],
    Illegal.FILLED_AFTER_END: [event(S.CANCELLED, "0.03"), event(S.PARTIALLY_FILLED, "0.05")],
    Illegal.DENIED_BUT_SENT: [event(S.DENIED), event(S.SENT)],
    Illegal.ABSENT_BUT_SEEN: [event(S.PRESUMED_ABSENT), event(S.OPEN)],
    Illegal.TWO_VENUE_ORDERS: [event(S.OPEN, venue_order_id="77"), event(S.OPEN, venue_order_id="78")],
    Illegal.FILL_CHANGED: [execution(1, "0.03", "0.03"), execution(1, "0.04", "0.03")],
    Illegal.FOREIGN_FILL: [event(S.OPEN), event(S.OPEN, fill=fill("1", side=Side.SELL))],
    Illegal.MALFORMED: [event(S.OPEN), event(S.PARTIALLY_FILLED, "NaN")],
}


@pytest.mark.parametrize("kind", Illegal)
def test_contradiction_is_reported_by_the_event_that_makes_it(kind: Illegal) -> None:
    *before, last = CONTRADICTIONS[kind]
    order = after(*before)
    assert not order.illegal
    step = apply(order, last)
    assert step.illegal is not None
    assert kind in step.illegal.kinds
    assert step.is_changed
    assert str(kind) in str(step.illegal)


@pytest.mark.parametrize("ends", [("0.03", "0.05"), ("0.05", "0.03")])
def test_two_ends_at_different_quantities_are_reported_in_either_order(ends: tuple[str, str]) -> None:
    order = after(*(event(S.CANCELLED, end) for end in ends))
    assert order.illegal == {Illegal.FILLED_AFTER_END}
    assert order.filled_base == Decimal("0.05")


@pytest.mark.parametrize("state", [S.REJECTED, S.PRESUMED_ABSENT])
def test_order_that_the_venue_shows_after_all_is_open_and_reported(state: OrderState) -> None:
    order = after(event(state), event(S.OPEN, venue_order_id="77"))
    assert order.state is S.OPEN
    assert order.illegal == {Illegal.ABSENT_BUT_SEEN}
    assert order.pending_base == Decimal("0.1")


def test_contradictory_order_keeps_its_fills() -> None:
    order = after(event(S.REJECTED), execution(1, "0.03", "0.03"))
    assert order.fills_base == Decimal("0.03")
    assert order.state is S.PARTIALLY_FILLED


def test_event_of_another_order_is_a_bug() -> None:
    with pytest.raises(ValueError, match="given to order"):
        apply(Order(intent()), event(S.OPEN, client_order_id="b" * 32))

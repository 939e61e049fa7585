"""The stop-loss at the venue: when it is placed, kept, replaced and taken away; and that it never sells too much."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import (
    BTC,
    NOW_NS,
    conditions,
    engine,
    event,
    fill,
    fill_of,
    instrument,
    intent,
    limits,
)

from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import OrderEvent, OrderState, OrderType, Purpose, TimeInForce
from tradingbot_trader.orders.protection import PROTECTIVE, Step, covers, plan_stop, resting_stops
from tradingbot_trader.orders.sizing import Draft, Exit, size_exit
from tradingbot_trader.risk.engine import RiskEngine
from tradingbot_trader.risk.observed import TrustedPrice

D = Decimal
NOTHING = D(0)
LIMITS = limits(stopLossPercent="2")


def held(quantity: str = "0.2", price: str = "100", **changes: Any) -> RiskEngine:
    """A position without a fee."""
    return engine(fills=[fill(quantity_base=D(quantity), price=D(price))], **changes)


def stop(quantity: str = "0.2", stop_price: str = "98", price: str = "97.51", state: OrderState = OrderState.OPEN,
         name: str = "b" * 32) -> Order:  # fmt: skip
    return Order(
        intent(
            name, purpose=Purpose.PROTECT, type=OrderType.STOP_LOSS, quantity_base=D(quantity), price=D(price),
            stop_price=D(stop_price),
        ),
        state=state,
    )  # fmt: skip


def plan(desk: RiskEngine, *, price: str | None = "100", is_leaving: bool = False) -> Step:
    given = conditions(limits=LIMITS, price=None if price is None else TrustedPrice(D(price), NOW_NS))
    return plan_stop(
        desk.observe(BTC, given),
        resting_stops(desk.orders.values(), BTC),
        average_price=desk.ledger.position(BTC).average_price,
        limits=LIMITS,
        is_leaving=is_leaving,
    )


def test_position_gets_a_stop_for_all_of_it_below_what_it_cost() -> None:
    placed = plan(held()).place
    assert placed is not None
    assert (placed.type, placed.purpose, placed.time_in_force) == (
        OrderType.STOP_LOSS,
        Purpose.PROTECT,
        TimeInForce.GTC,
    )
    assert (placed.quantity_base, placed.stop_price, placed.price) == (D("0.2"), D("98.00"), D("97.51"))
    assert placed.reason == PROTECTIVE


def test_stop_price_is_rounded_up_to_the_tick() -> None:
    placed = plan(held(price="99.99")).place
    assert placed is not None
    assert placed.stop_price == D("98.00")  # 97.9902


@pytest.mark.parametrize(
    ("desk", "price"),
    [
        (engine(), "100"),
        (held("0.01"), "100"),
        (held(), None),
        (held(), "98"),
    ],
    ids=["nothing held", "dust", "no price", "the price is at the stop already"],
)
def test_without_something_to_protect_nothing_is_placed(desk: RiskEngine, price: str | None) -> None:
    assert plan(desk, price=price) == Step()


@pytest.mark.parametrize(
    ("resting", "stays"),
    [
        (stop(), True),
        (stop("0.199"), True),
        (stop("0.198"), False),
        (stop("0.201"), False),
        (stop(stop_price="98.09"), True),
        (stop(stop_price="97.90"), False),
        (stop(state=OrderState.UNRESOLVED), True),
        (stop("0.1", state=OrderState.SENT), False),
    ],
    ids=["as wanted", "one step less", "two steps less", "one step more", "0.09 off", "0.1 off", "unresolved", "sent"],
)
def test_stop_stays_while_it_is_right_and_is_cancelled_else(resting: Order, *, stays: bool) -> None:
    step = plan(held(orders=[resting]))
    assert step.cancel == (() if stays else (resting.client_order_id,))
    assert step.can_wait is (not stays and resting.pending_base <= D("0.2")), "too much is taken away at once"


def test_stop_of_what_is_not_held_any_more_is_cancelled() -> None:
    assert plan(held("0.01", orders=[stop("0.01")])).cancel == ("b" * 32,)


def test_stop_that_has_woken_is_left_to_sell() -> None:
    assert plan(held(orders=[stop("0.1")]), price="97.9") == Step()


def test_stop_that_has_woken_and_would_sell_too_much_is_cancelled() -> None:
    assert plan(held("0.1", orders=[stop("0.2")]), price="97.9").cancel == ("b" * 32,)


def test_second_stop_is_cancelled_and_the_older_one_kept() -> None:
    assert plan(held("0.4", orders=[stop("0.2"), stop("0.2", name="c" * 32)])).cancel == ("b" * 32, "c" * 32)
    older = stop("0.2", name="c" * 32)
    assert resting_stops([older, stop("0.2", name="d" * 32)], BTC)[0] is older


def test_exit_that_is_wanted_takes_it_away() -> None:
    assert plan(held(orders=[stop()]), is_leaving=True).cancel == ("b" * 32,)
    assert plan(held(), is_leaving=True) == Step()


def test_what_another_sell_is_selling_is_not_protected() -> None:
    placed = plan(held(orders=[Order(intent("e" * 32, purpose=Purpose.EXIT, quantity_base=D("0.1")))])).place
    assert placed is not None
    assert placed.quantity_base == D("0.1")


def test_largest_order_of_the_venue_is_the_largest_stop() -> None:
    placed = plan(held(instruments={BTC: instrument(max_quantity_base=D("0.15"))})).place
    assert placed is not None
    assert placed.quantity_base == D("0.15")


@pytest.mark.parametrize(
    ("resting", "price", "is_covered"),
    [
        ([stop()], "97.51", True),
        ([stop()], "97.50", False),
        ([stop("0.199")], "97.60", False),
        ([stop(state=OrderState.SENT)], "97.60", False),
        ([stop(state=OrderState.UNRESOLVED)], "97.60", False),
        ([], "97.60", False),
    ],
)
def test_position_is_left_to_its_stop_while_that_can_sell_all_of_it(
    resting: list[Order], price: str, *, is_covered: bool
) -> None:
    assert covers(D("0.2"), D(price), D("0.001"), resting) is is_covered


class Game:
    """A desk and a venue that says what it likes: answers come late, or never."""

    def __init__(self) -> None:
        self.desk = engine()
        self.price = D(100)
        self.asked: set[str] = set()
        self.number = 0

    def name(self) -> str:
        self.number += 1
        return f"{self.number:032x}"

    @property
    def at_venue(self) -> list[Order]:
        return [o for o in self.desk.orders.values() if o.intent.side == "sell" and o.pending_base > 0]

    def given(self) -> Any:
        return conditions(limits=LIMITS, price=TrustedPrice(self.price, NOW_NS))

    def tell(self, order: Order, state: OrderState, quantity: Decimal = NOTHING) -> None:
        new = fill_of(order.intent, quantity, number=len(order.fills)) if quantity else None
        filled = order.filled_base + quantity
        self.desk.apply(OrderEvent(order.client_order_id, state, NOW_NS, "v1", filled, new))

    def buy(self, steps: int) -> None:
        bought = intent(self.name(), quantity_base=D(steps) / 1000, price=self.price)
        self.desk.adopt(Order(bought))
        self.tell(self.desk.orders[bought.client_order_id], OrderState.FILLED, bought.quantity_base)

    def place(self, draft: Draft) -> None:
        decision = self.desk.decide(
            draft.to_intent(self.name(), book=self.desk.ledger.book, now_ns=NOW_NS), self.given()
        )
        assert decision.is_approved, "a stop that our own limits refuse protects nothing"

    def protect(self, *, is_leaving: bool) -> None:
        step = plan(self.desk, price=str(self.price), is_leaving=is_leaving)
        self.asked |= set(step.cancel)
        if step.place is not None:
            self.place(step.place)

    def leave(self) -> None:
        sized = size_exit(self.desk.observe(BTC, self.given()), LIMITS, Exit("exit"))
        if isinstance(sized, Draft):
            self.place(sized)

    def answer(self, number: int, steps: int) -> None:
        """The venue fills a part of a sell, or ends it: as asked, or because it cannot rest."""
        orders = self.at_venue
        if not orders:
            return
        order = orders[number % len(orders)]
        is_over = order.client_order_id in self.asked or order.intent.time_in_force is TimeInForce.IOC
        taken = min(D(steps) / 1000, order.pending_base)
        if taken == order.pending_base:
            self.tell(order, OrderState.FILLED, taken)
        elif is_over:
            self.tell(order, OrderState.CANCELLED, taken)
        else:
            self.tell(order, OrderState.PARTIALLY_FILLED if taken else OrderState.OPEN, taken)

    def lose(self, number: int) -> None:
        fresh = [order for order in self.at_venue if order.state is OrderState.INTENT]
        if fresh:
            self.desk.apply(event(OrderState.UNRESOLVED, client_order_id=fresh[number % len(fresh)].client_order_id))


small = st.integers(0, 300)
moves = st.one_of(
    st.tuples(st.just("buy"), st.integers(60, 300), st.just(0)),
    st.tuples(st.just("protect"), st.just(0), st.just(0)),
    st.tuples(st.just("protect"), st.just(1), st.just(0)),
    st.tuples(st.just("leave"), st.just(0), st.just(0)),
    st.tuples(st.just("answer"), small, small),
    st.tuples(st.just("lose"), small, st.just(0)),
    st.tuples(st.just("price"), st.integers(9500, 10500), st.just(0)),
)


@given(st.lists(moves, max_size=40))
def test_never_more_on_sale_than_held_and_never_two_stops_of_one_symbol(played: list[tuple[str, int, int]]) -> None:
    game = Game()
    for what, first, second in played:
        match what:
            case "buy":
                game.buy(first)
            case "protect":
                game.protect(is_leaving=bool(first))
            case "leave":
                game.leave()
            case "answer":
                game.answer(first, second)
            case "lose":
                game.lose(first)
            case "price":
                game.price = D(first) / 100
        on_sale = sum((order.pending_base for order in game.at_venue), D(0))
        assert on_sale <= max(game.desk.ledger.position(BTC).quantity_base, D(0))
        assert len(resting_stops(game.desk.orders.values(), BTC)) <= 1


@given(st.lists(st.tuples(st.integers(60, 300), st.integers(9500, 10500)), min_size=1, max_size=6))
def test_whatever_was_bought_one_cancel_and_one_order_later_it_is_protected(buys: list[tuple[int, int]]) -> None:
    game = Game()
    for steps, price in buys:
        game.price = D(price) / 100
        game.buy(steps)
        game.protect(is_leaving=False)
        game.answer(0, 0)
    game.price = D(200)
    for _ in range(2):
        game.protect(is_leaving=False)
        game.answer(0, 0)
    game.protect(is_leaving=False)
    (resting,) = resting_stops(game.desk.orders.values(), BTC)
    position = game.desk.ledger.position(BTC)
    assert position.average_price is not None
    assert 0 <= position.quantity_base - resting.pending_base <= D("0.001")
    assert resting.intent.stop_price is not None
    assert abs(resting.intent.stop_price - position.average_price * D("0.98")) <= D("0.11")

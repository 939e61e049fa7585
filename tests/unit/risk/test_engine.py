"""The engine as a whole: it reserves at once, forgets nothing, and no sequence of events gets past the limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.orders.builders import (
    BTC,
    ETH,
    NOW_NS,
    SECOND_NS,
    conditions,
    engine,
    event,
    fill,
    fill_of,
    intent,
    limits,
)

from tradingbot_trader.errors import UnknownOrder
from tradingbot_trader.orders.machine import Order
from tradingbot_trader.orders.order import BookName, Intent, OrderEvent, OrderState, Purpose, Side
from tradingbot_trader.risk.engine import RiskEngine
from tradingbot_trader.risk.limits import DenialReason, Limits
from tradingbot_trader.risk.observed import Costs, TrustedPrice

S = OrderState
SYMBOLS = (BTC, ETH, "SOL/USDT")


def test_approved_order_counts_before_anything_else_can_ask() -> None:
    desk = engine()
    given_now = conditions(limits=limits(maxExposurePercent="15"))
    assert desk.decide(intent("a" * 32), given_now).is_approved
    assert desk.exposure_quote == 10
    second = desk.decide(intent("b" * 32), given_now)
    assert [d.reason for d in second.denials] == [DenialReason.EXPOSURE]
    assert desk.exposure_quote == 10


def test_denied_order_leaves_no_trace() -> None:
    desk = engine()
    assert not desk.decide(intent(), conditions(price=None)).is_approved
    assert not desk.orders
    assert desk.observe(BTC, conditions()).entries_last_minute == 0


def test_approved_entries_count_towards_the_minute_and_exits_do_not() -> None:
    desk = engine(fills=[fill(client_order_id="h" * 32)])
    desk.decide(intent("a" * 32), conditions())
    desk.decide(intent("b" * 32, purpose=Purpose.EXIT), conditions())
    assert desk.observe(BTC, conditions()).entries_last_minute == 1
    desk.apply(event(S.CANCELLED))
    assert desk.observe(BTC, conditions()).entries_last_minute == 1


@pytest.mark.parametrize("state", [S.SENT, S.OPEN, S.UNRESOLVED])
def test_order_in_flight_open_or_unresolved_counts_in_full(state: OrderState) -> None:
    desk = engine()
    desk.decide(intent(), conditions())
    desk.apply(event(state))
    assert desk.exposure_quote == 10


@pytest.mark.parametrize("state", [S.CANCELLED, S.EXPIRED, S.REJECTED, S.DENIED, S.PRESUMED_ABSENT])
def test_order_that_ended_unfilled_is_released(state: OrderState) -> None:
    desk = engine()
    desk.decide(intent(), conditions())
    desk.apply(event(state))
    assert desk.exposure_quote == 0
    assert not desk.orders


def test_fill_moves_from_the_order_to_the_position_in_one_step() -> None:
    desk = engine()
    order = intent()
    desk.decide(order, conditions())
    desk.apply(event(S.PARTIALLY_FILLED, "0.04", fill=fill_of(order, Decimal("0.04"), number=1)))
    assert desk.ledger.position(BTC).cost_quote == 4
    assert desk.exposure_quote == 10
    desk.apply(event(S.CANCELLED, "0.04"))
    assert desk.exposure_quote == 4


def test_quantity_that_is_filled_by_an_unknown_fill_stays_reserved_after_the_end() -> None:
    desk = engine()
    desk.decide(intent(), conditions())
    desk.apply(event(S.CANCELLED, "0.04"))
    assert desk.exposure_quote == 4
    assert desk.orders


def test_cheaper_fill_frees_what_was_reserved_too_much() -> None:
    desk = engine()
    order = intent()
    desk.decide(order, conditions())
    desk.apply(event(S.FILLED, "0.1", fill=fill_of(order, Decimal("0.1"), number=1, price=Decimal(99))))
    assert desk.exposure_quote == Decimal("9.9")


def test_event_of_an_order_that_is_not_open_is_handed_back() -> None:
    desk = engine()
    with pytest.raises(UnknownOrder):
        desk.apply(event(S.OPEN))
    desk.adopt(Order(intent()))
    assert desk.apply(event(S.OPEN)).order.state is S.OPEN


def test_same_intent_is_never_decided_twice() -> None:
    desk = engine()
    desk.decide(intent(), conditions())
    with pytest.raises(ValueError, match="decided before"):
        desk.decide(intent(), conditions())


def test_intent_of_the_other_book_is_a_bug() -> None:
    with pytest.raises(ValueError, match="book live"):
        engine().decide(intent(book=BookName.LIVE), conditions())


def test_position_that_should_not_be_short_adds_to_exposure() -> None:
    desk = engine(fills=[fill("1", side=Side.SELL), fill("2", symbol=ETH)])
    assert desk.exposure_quote == 20


def test_restarted_engine_counts_what_the_store_tells() -> None:
    open_order = Order(intent("o" * 32))
    desk = engine(fills=[fill()], orders=[open_order], entry_times_ns=[NOW_NS - 1])
    seen = desk.observe(BTC, conditions())
    assert (seen.exposure_quote, seen.position_quote, seen.entries_last_minute) == (20, 20, 1)


def test_decision_carries_every_observed_value_and_limit() -> None:
    data: Any = engine().decide(intent(), conditions(limits=limits(maxOrderNotional="9"))).to_data()
    assert data["denials"] == [{"reason": "OrderNotional", "observed": "10", "limit": "9"}]
    assert data["observed"]["exposureQuote"] == "0"
    assert data["limits"]["max_order_notional_quote"] == "9"
    assert (data["clientOrderId"], data["quantityBase"], data["price"]) == ("a" * 32, "0.1", "100")


@dataclass
class World:
    """A venue that may do to open orders what it likes, in any order."""

    desk: RiskEngine
    limits: Limits
    price: Decimal = Decimal(100)
    sent: int = 0
    now_ns: int = NOW_NS
    filled: dict[str, Decimal] = field(default_factory=dict)

    def enter(self, symbol: str, steps: int) -> None:
        self.decide(symbol, steps, Purpose.ENTRY)

    def exit(self, symbol: str, steps: int) -> None:
        self.decide(symbol, steps, Purpose.EXIT)

    def decide(self, symbol: str, steps: int, purpose: Purpose) -> None:
        self.sent += 1
        self.now_ns += SECOND_NS
        order = intent(
            f"{self.sent:032x}",
            symbol=symbol,
            purpose=purpose,
            quantity_base=Decimal(steps).scaleb(-3),
            price=self.price,
            created_ns=self.now_ns,
        )
        price = TrustedPrice(self.price, self.now_ns)
        self.desk.decide(order, conditions(now_ns=self.now_ns, limits=self.limits, price=price))

    def fill(self, order: Order, share: Decimal, better: Decimal) -> None:
        left = order.intent.quantity_base - self.filled.get(order.client_order_id, Decimal(0))
        quantity = (left * share).quantize(Decimal("0.001"))
        if quantity <= 0:
            return
        self.filled[order.client_order_id] = total = order.intent.quantity_base - left + quantity
        sign = -1 if order.intent.side is Side.BUY else 1
        price = order.intent.price * (1 + sign * better / 100)
        number = len(order.fills) + 1
        base = order.intent.symbol.partition("/")[0]
        on_top = self.desk.costs.buy_fee_in_quote or order.intent.side is Side.SELL
        fee = quantity * price / 1000 if on_top else quantity / 1000
        execution = fill_of(
            order.intent, quantity, number=number, price=price, fee_asset="USDT" if on_top else base, fee_amount=fee
        )
        state = S.FILLED if total == order.intent.quantity_base else S.PARTIALLY_FILLED
        self.tell(order.intent, state, total, fill=execution)

    def end(self, order: Order, state: OrderState) -> None:
        if not order.fills or state is S.CANCELLED:
            self.tell(order.intent, state, self.filled.get(order.client_order_id, Decimal(0)))

    def tell(self, order: Intent, state: OrderState, total: Decimal, **more: Any) -> None:
        self.desk.apply(
            OrderEvent(order.client_order_id, state, self.now_ns, filled_base=total, **more),
        )


STEPS = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(SYMBOLS), st.integers(1, 500)),
    st.tuples(st.just("exit"), st.sampled_from(SYMBOLS), st.integers(1, 500)),
    st.tuples(st.just("fill"), st.integers(0, 5), st.sampled_from(["0.1", "0.5", "1"]), st.sampled_from(["0", "0.7"])),
    st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from([S.CANCELLED, S.REJECTED, S.PRESUMED_ABSENT])),
    st.tuples(st.just("note"), st.integers(0, 5), st.sampled_from([S.SENT, S.OPEN, S.UNRESOLVED])),
    st.tuples(st.just("price"), st.sampled_from(["50", "99", "100", "101", "200"])),
)


def play(world: World, step: tuple[Any, ...]) -> None:
    match step:
        case ("enter", symbol, steps):
            world.enter(symbol, steps)
        case ("exit", symbol, steps):
            world.exit(symbol, steps)
        case ("price", text):
            world.price = Decimal(text)
        case (kind, index, *rest) if world.desk.orders:
            order = list(world.desk.orders.values())[index % len(world.desk.orders)]
            if kind == "fill":
                world.fill(order, Decimal(rest[0]), Decimal(rest[1]))
            elif kind == "end":
                world.end(order, rest[0])
            else:
                world.tell(order.intent, rest[0], world.filled.get(order.client_order_id, Decimal(0)))


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=40), st.booleans())
def test_no_sequence_of_orders_and_events_exceeds_the_limits(steps: list[tuple[Any, ...]], is_fee_on_top: bool) -> None:  # noqa: FBT001  hypothesis
    """P3: with all that is in flight counted in full, and whatever the venue does with it."""
    bounds = limits(maxOrderNotional="30", maxPositionPercent="40", maxExposurePercent="70", maxOpenPositions=2)
    world = World(engine(costs=Costs(buy_fee_in_quote=is_fee_on_top)), bounds)
    for step in steps:
        play(world, step)
        assert world.desk.exposure_quote <= bounds.max_exposure_quote
        assert len(world.desk.held_symbols) <= bounds.max_open_positions
        for symbol in SYMBOLS:
            assert world.desk.position_quote(symbol) <= bounds.max_position_quote
            assert world.desk.ledger.position(symbol).quantity_base >= 0
        worst = sum(p.cost_quote for p in world.desk.ledger.positions.values())
        assert worst <= bounds.max_exposure_quote


@settings(max_examples=75)
@given(st.lists(STEPS, max_size=25), st.lists(STEPS, max_size=25))
def test_lowered_limit_lets_exposure_only_fall(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> None:
    """P3: above a limit that was lowered, nothing new is approved; what was accepted before may still fill."""
    world = World(engine(), limits(maxOrderNotional="30"))
    for step in before:
        play(world, step)
    world.limits = limits(granted="20", maxOrderNotional="30")
    for step in after:
        highest = max(world.desk.exposure_quote, Decimal(20))
        play(world, step)
        assert world.desk.exposure_quote <= highest

"""The paper gateway: latency, levels that are consumed, resting orders that fill only when traded through, restarts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.orders.builders import BTC, ETH, NOW_NS, SECOND_NS, intent

from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.market.events import Book, FeedChange, FeedState, Level, Trade
from tradingbot_trader.orders.machine import Order, apply, replay
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
from tradingbot_trader.risk.observed import Costs
from tradingbot_trader.venues.paper import PaperGateway

S = OrderState
LATENCY_NS = 50_000_000
ARRIVAL_NS = NOW_NS + LATENCY_NS
IOC = {"time_in_force": TimeInForce.IOC}
POST_ONLY = {"time_in_force": TimeInForce.POST_ONLY}


def levels(text: str) -> tuple[Level, ...]:
    """`101:1 102:2` as levels."""
    return tuple(
        Level(Decimal(price), Decimal(size)) for price, _, size in (word.partition(":") for word in text.split())
    )


def book(bids: str = "99:1 98:2", asks: str = "101:1 102:2", symbol: str = BTC) -> Book:
    return Book(symbol, NOW_NS, levels(bids), levels(asks))


def trade(price: str, quantity: str = "1", *, at_ns: int = ARRIVAL_NS + 1, symbol: str = BTC) -> Trade:
    return Trade(symbol, "1", Decimal(price), Decimal(quantity), at_ns)


class Desk:
    """A gateway, everything that it emitted, and the orders as the machine sees them."""

    def __init__(self, **changes: Any) -> None:
        self.events: list[OrderEvent] = []
        self.intents: dict[str, Intent] = {}
        values: dict[str, Any] = {"costs": Costs(), "venue": "binance", "latency_ns": LATENCY_NS}
        self.gateway = PaperGateway(self.events.append, **values | changes)

    def send(self, order: Intent, *, at_ns: int = NOW_NS) -> None:
        self.intents[order.client_order_id] = order
        self.gateway.submit(order, at_ns)

    def arrive(self, order: Intent, *, on: Book | None = None) -> None:
        """The order is sent and reaches the venue while that is the book."""
        self.gateway.on_book(on or book())
        self.send(order)
        self.gateway.advance(ARRIVAL_NS)

    @property
    def fills(self) -> list[Fill]:
        return [one.fill for one in self.events if one.fill is not None]

    def states(self, client_order_id: str = "a" * 32) -> list[OrderState]:
        return [one.state for one in self.events if one.client_order_id == client_order_id]

    def order(self, client_order_id: str = "a" * 32) -> Order:
        mine = [one for one in self.events if one.client_order_id == client_order_id]
        return replay(self.intents[client_order_id], mine)


def buy(client_order_id: str = "a" * 32, **changes: Any) -> Intent:
    return intent(client_order_id, **changes)


def sell(client_order_id: str = "a" * 32, **changes: Any) -> Intent:
    return intent(client_order_id, purpose=Purpose.EXIT, **changes)


def test_order_sees_the_book_of_its_arrival_and_not_of_its_sending() -> None:
    desk = Desk()
    desk.gateway.on_book(book(asks="101:1"))
    desk.send(buy(price=105, **IOC))
    desk.gateway.advance(ARRIVAL_NS - 1)
    assert desk.states() == [S.SENT]
    desk.gateway.on_book(book(asks="103:1"))
    desk.gateway.advance(ARRIVAL_NS)
    assert [(one.price, one.event_time_ns) for one in desk.fills] == [(103, ARRIVAL_NS)]


def test_next_due_is_the_earliest_arrival() -> None:
    desk = Desk()
    assert desk.gateway.next_due_ns() is None
    desk.send(buy(), at_ns=NOW_NS + 5)
    desk.send(buy("b" * 32), at_ns=NOW_NS)
    assert desk.gateway.next_due_ns() == ARRIVAL_NS
    desk.gateway.advance(ARRIVAL_NS)
    assert desk.gateway.next_due_ns() == ARRIVAL_NS + 5


def test_taker_walks_the_levels_up_to_its_limit_with_one_fill_each() -> None:
    desk = Desk()
    desk.arrive(buy(price=102, quantity_base=Decimal("2.5"), **IOC), on=book(asks="101:1 102:1 103:9"))
    assert [(one.price, one.quantity_base, one.is_maker) for one in desk.fills] == [(101, 1, False), (102, 1, False)]
    assert desk.states() == [S.SENT, S.OPEN, S.PARTIALLY_FILLED, S.PARTIALLY_FILLED, S.CANCELLED]
    assert (desk.order().state, desk.order().filled_base) == (S.CANCELLED, 2)
    assert desk.gateway.open_order_ids == ()


def test_whole_order_is_filled_by_its_last_level() -> None:
    desk = Desk()
    desk.arrive(sell(price=98, quantity_base=2, **IOC))
    assert [(one.price, one.quantity_base) for one in desk.fills] == [(99, 1), (98, 1)]
    assert desk.states()[-1] is S.FILLED


def test_ioc_that_reaches_nothing_is_cancelled_unfilled() -> None:
    desk = Desk()
    desk.arrive(buy(price=100, **IOC))
    assert (desk.states(), desk.fills) == ([S.SENT, S.OPEN, S.CANCELLED], [])


def test_market_order_takes_any_price_and_never_rests() -> None:
    desk = Desk()
    order = buy(price=101, quantity_base=4, type=OrderType.MARKET)
    desk.arrive(order, on=book(asks="101:1 500:2"))
    assert [one.price for one in desk.fills] == [101, 500]
    assert desk.order().state is S.CANCELLED


def test_levels_that_were_taken_are_gone_until_the_next_book() -> None:
    desk = Desk()
    desk.gateway.on_book(book(asks="101:1 102:1"))
    desk.send(buy("a" * 32, price=101, quantity_base=Decimal("0.7"), **IOC))
    desk.send(buy("b" * 32, price=102, quantity_base=1, **IOC))
    desk.gateway.advance(ARRIVAL_NS)
    assert [(one.price, one.quantity_base) for one in desk.fills] == [
        (101, Decimal("0.7")),
        (101, Decimal("0.3")),
        (102, Decimal("0.7")),
    ]
    desk.gateway.on_book(book(asks="101:1 102:1"))
    desk.send(buy("c" * 32, price=101, quantity_base=1, **IOC), at_ns=NOW_NS + 1)
    desk.gateway.advance(ARRIVAL_NS + 1)
    assert (desk.fills[-1].price, desk.fills[-1].quantity_base) == (101, 1)


def test_rest_of_a_limit_order_waits_at_its_price() -> None:
    desk = Desk()
    desk.arrive(buy(price=101, quantity_base=3))
    assert desk.states() == [S.SENT, S.OPEN, S.PARTIALLY_FILLED]
    desk.gateway.on_book(book(asks="100:9"))
    desk.gateway.advance(ARRIVAL_NS + SECOND_NS)
    assert len(desk.fills) == 1


@pytest.mark.parametrize(
    ("order", "at_price", "through"), [(buy(price=95), "95", "94.99"), (sell(price=105), "105", "105.01")]
)
def test_resting_order_fills_only_when_the_market_trades_through_it(order: Intent, at_price: str, through: str) -> None:
    desk = Desk()
    desk.arrive(order)
    desk.gateway.on_trade(trade(at_price, "50"))
    assert desk.fills == []
    desk.gateway.on_trade(trade(through, "50", at_ns=ARRIVAL_NS + 7))
    (found,) = desk.fills
    assert (found.price, found.quantity_base, found.is_maker) == (order.price, Decimal("0.1"), True)
    assert found.event_time_ns == ARRIVAL_NS + 7
    assert desk.order().state is S.FILLED


def test_resting_orders_share_what_was_traded_best_price_first_then_oldest() -> None:
    desk = Desk()
    desk.gateway.on_book(book())
    for name, price in (("a", 95), ("b", 96), ("c", 95)):
        desk.send(buy(name * 32, price=price, quantity_base=1))
    desk.gateway.advance(ARRIVAL_NS)
    desk.gateway.on_trade(trade("90", "2.5"))
    assert [(one.client_order_id[0], one.quantity_base) for one in desk.fills] == [
        ("b", 1),
        ("a", 1),
        ("c", Decimal("0.5")),
    ]


def test_trade_from_before_the_arrival_fills_nothing() -> None:
    desk = Desk()
    desk.send(buy(price=95))
    desk.gateway.on_trade(trade("90"))
    desk.gateway.advance(ARRIVAL_NS)
    desk.gateway.on_trade(trade("90", at_ns=ARRIVAL_NS - 1))
    assert desk.fills == []


def test_trade_of_another_symbol_fills_nothing() -> None:
    desk = Desk()
    desk.arrive(buy(price=95))
    desk.gateway.on_trade(trade("90", symbol=ETH))
    assert desk.fills == []


def test_post_only_order_that_would_take_is_rejected_and_any_other_rests() -> None:
    desk = Desk()
    desk.arrive(buy("a" * 32, price=101, **POST_ONLY))
    assert desk.states() == [S.SENT, S.REJECTED]
    assert not desk.order().illegal
    desk.arrive(buy("b" * 32, price=100, **POST_ONLY))
    assert desk.gateway.open_order_ids == ("b" * 32,)


def test_buy_pays_its_fee_in_what_was_bought_and_sell_in_what_was_received() -> None:
    desk = Desk(costs=Costs(taker_fee_percent=Decimal("0.1")))
    desk.arrive(buy("a" * 32, price=101, quantity_base=Decimal("0.00123"), **IOC))
    desk.arrive(sell("b" * 32, price=99, quantity_base=Decimal("0.00123"), **IOC))
    bought, sold = desk.fills
    # 0.00000123 BTC is exact; 0.00012177 USDT too: both are rounded up at the 8th decimal.
    assert (bought.fee_asset, bought.fee_amount) == ("BTC", Decimal("0.00000123"))
    assert (sold.fee_asset, sold.fee_amount) == ("USDT", Decimal("0.00012177"))


def test_fee_is_rounded_up_at_8_decimals_and_maker_pays_its_own() -> None:
    desk = Desk(costs=Costs(taker_fee_percent=Decimal("0.1"), maker_fee_percent=Decimal("0.03")))
    desk.arrive(buy(price=95, quantity_base=Decimal("0.00001")))
    desk.gateway.on_trade(trade("90"))
    assert desk.fills[0].fee_amount == Decimal("0.00000001")  # 0.000000003


def test_fee_on_top_is_taken_in_the_quote_currency() -> None:
    desk = Desk(costs=Costs(buy_fee_in_quote=True))
    desk.arrive(buy(price=101, **IOC))
    assert (desk.fills[0].fee_asset, desk.fills[0].fee_amount) == ("USDT", Decimal("0.0101"))


def test_cancel_takes_its_latency_and_may_lose_the_race() -> None:
    desk = Desk()
    desk.arrive(buy(price=95, quantity_base=1))
    assert desk.gateway.cancel("a" * 32, ARRIVAL_NS)
    desk.gateway.on_trade(trade("90", "0.4"))
    desk.gateway.advance(ARRIVAL_NS + LATENCY_NS)
    assert (desk.order().state, desk.order().filled_base) == (S.CANCELLED, Decimal("0.4"))
    assert desk.order().is_settled
    assert not desk.gateway.cancel("a" * 32, ARRIVAL_NS + LATENCY_NS)


def test_cancel_right_behind_its_order_finds_it_there() -> None:
    desk = Desk()
    desk.gateway.on_book(book())
    desk.send(buy(price=95))
    desk.gateway.cancel("a" * 32, NOW_NS)
    desk.gateway.advance(ARRIVAL_NS)
    assert desk.states() == [S.SENT, S.OPEN, S.CANCELLED]


def test_cancel_of_what_was_filled_meanwhile_says_nothing() -> None:
    desk = Desk()
    desk.arrive(buy(price=95))
    desk.gateway.cancel("a" * 32, ARRIVAL_NS)
    desk.gateway.on_trade(trade("90"))
    desk.gateway.advance(ARRIVAL_NS + LATENCY_NS)
    assert desk.states()[-1] is S.FILLED
    assert desk.gateway.next_due_ns() is None


def test_same_order_is_never_taken_twice() -> None:
    desk = Desk()
    desk.send(buy())
    with pytest.raises(ValueError, match="submitted before"):
        desk.send(buy())


@pytest.mark.parametrize("change", [None, FeedChange(BTC, FeedState.LOST, NOW_NS)])
def test_without_a_book_nothing_is_taken(change: FeedChange | None) -> None:
    desk = Desk()
    if change:
        desk.gateway.on_book(book())
        desk.gateway.on_feed(change)
    desk.send(buy("a" * 32, price=101, **IOC))
    desk.send(buy("b" * 32, price=101))
    desk.gateway.advance(ARRIVAL_NS)
    assert (desk.order().state, desk.order().reason) == (S.CANCELLED, "there is no order book")
    assert desk.gateway.open_order_ids == ("b" * 32,)


def test_emit_may_call_back_into_the_gateway() -> None:
    """As a session does that flattens on the first fill."""
    seen: list[OrderEvent] = []

    def react(one: OrderEvent) -> None:
        seen.append(one)
        if one.fill is not None and one.client_order_id == "a" * 32:
            gateway.cancel(one.client_order_id, ARRIVAL_NS)
            gateway.submit(sell("b" * 32, price=99, **IOC), ARRIVAL_NS)

    gateway = PaperGateway(react, costs=Costs(), venue="binance", latency_ns=0)
    gateway.on_book(book(asks="101:0.05"))
    gateway.submit(buy(price=101), ARRIVAL_NS)
    gateway.advance(ARRIVAL_NS)
    assert [one.state for one in seen if one.client_order_id == "a" * 32] == [
        S.SENT,
        S.OPEN,
        S.PARTIALLY_FILLED,
        S.CANCELLED,
    ]
    assert seen[-1].state is S.FILLED


def restarted(desk: Desk, client_order_id: str = "a" * 32) -> Desk:
    again = Desk(open_orders=[desk.order(client_order_id)])
    again.intents = dict(desk.intents)
    return again


def test_resting_order_rests_again_after_a_restart_with_what_is_left() -> None:
    desk = Desk()
    desk.arrive(buy(price=95, quantity_base=1))
    desk.gateway.on_trade(trade("90", "0.4"))
    again = restarted(desk)
    again.gateway.advance(ARRIVAL_NS + SECOND_NS)
    assert again.events == []
    again.gateway.on_trade(trade("90", "5", at_ns=ARRIVAL_NS + SECOND_NS))
    (rest,) = again.fills
    assert (rest.quantity_base, rest.trade_id) == (Decimal("0.6"), f"P-{'a' * 32}-2")
    assert again.events[-1].filled_base == 1


@pytest.mark.parametrize("is_sent", [False, True])
def test_order_that_was_in_flight_at_a_crash_is_open_once_after_it(is_sent: bool) -> None:  # noqa: FBT001  a table
    order = Order(buy(price=95))
    if is_sent:
        order = apply(order, OrderEvent(order.client_order_id, S.SENT, NOW_NS)).order
    again = Desk(open_orders=[order])
    assert again.gateway.open_order_ids == (order.client_order_id,)
    with pytest.raises(ValueError, match="submitted before"):
        again.send(order.intent)
    assert again.gateway.next_due_ns() == 0
    again.gateway.advance(NOW_NS)
    assert [one.state for one in again.events] == [S.OPEN]
    again.gateway.on_trade(trade("90"))
    assert len(again.fills) == 1


def test_ioc_in_flight_at_a_crash_is_cancelled_with_what_it_had() -> None:
    desk = Desk()
    desk.gateway.on_book(book(asks="101:1"))
    desk.send(buy(price=101, quantity_base=3, **IOC))
    desk.gateway.advance(ARRIVAL_NS)
    desk.events.pop()  # the crash came before the end was recorded
    again = restarted(desk)
    again.gateway.on_book(book(asks="101:9"))
    again.gateway.advance(ARRIVAL_NS + SECOND_NS)
    (end,) = again.events
    assert (end.state, end.filled_base, end.fill) == (S.CANCELLED, 1, None)
    assert "restarted" in end.reason


def test_ended_order_does_not_come_back() -> None:
    ended = replay(buy(), [OrderEvent("a" * 32, S.CANCELLED, NOW_NS)])
    assert Desk(open_orders=[ended]).gateway.open_order_ids == ()


SIZES = st.integers(1, 30).map(lambda size: Decimal(size) / 10)
PRICES = st.integers(95, 105)
BOOKS = st.builds(
    lambda middle, sizes: Book(
        BTC,
        NOW_NS,
        tuple(Level(Decimal(middle - 1 - n), size) for n, size in enumerate(sizes)),
        tuple(Level(Decimal(middle + 1 + n), size) for n, size in enumerate(reversed(sizes))),
    ),
    PRICES,
    st.lists(SIZES, min_size=0, max_size=4),
)
STEPS = st.one_of(
    st.tuples(st.just("book"), BOOKS),
    st.tuples(st.just("trade"), PRICES, SIZES),
    st.tuples(st.just("order"), st.sampled_from(Side), PRICES, SIZES, st.sampled_from(TimeInForce)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(0, 100)),
    st.tuples(st.just("restart")),
)


class Market:
    """Plays steps and keeps what was shown and traded, to compare it with what our orders got."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.now_ns = NOW_NS
        self.shown: dict[tuple[int, Decimal], Decimal] = {}
        self.traded: dict[int, Decimal] = {}
        self.fill_sources: dict[tuple[str, int, Decimal], Decimal] = defaultdict(Decimal)
        self.books = self.trades = 0
        self.counted = 0

    def play(self, step: tuple[Any, ...]) -> None:
        self.now_ns += 1
        self.desk.gateway.advance(self.now_ns)
        self.attribute("book", self.books)
        match step:
            case ("book", shown):
                self.books += 1
                self.desk.gateway.on_book(replace(shown, event_time_ns=self.now_ns))
                self.shown |= {(self.books, level.price): level.quantity_base for level in shown.asks + shown.bids}
            case ("trade", price, size):
                self.trades += 1
                self.traded[self.trades] = size
                self.desk.gateway.on_trade(Trade(BTC, str(self.trades), Decimal(price), size, self.now_ns))
                self.attribute("trade", self.trades)
            case ("order", side, price, size, time_in_force):
                name = f"{len(self.desk.intents):032x}"
                purpose = Purpose.ENTRY if side is Side.BUY else Purpose.EXIT
                order = intent(name, purpose=purpose, price=price, quantity_base=size, time_in_force=time_in_force)
                self.desk.send(order, at_ns=self.now_ns)
            case ("cancel", index) if self.desk.intents:
                names = list(self.desk.intents)
                self.desk.gateway.cancel(names[index % len(names)], self.now_ns)
            case ("wait", milliseconds):
                self.now_ns += milliseconds * 1_000_000
            case ("restart",):
                self.restart()

    def restart(self) -> None:
        before = self.desk
        self.desk = Desk(open_orders=[before.order(name) for name in before.intents])
        self.desk.intents, self.desk.events[:] = before.intents, before.events
        self.books += 1  # a book of which nothing was shown

    def attribute(self, source: str, number: int) -> None:
        """Each new fill came from the book or the trade that was current."""
        for one in self.desk.fills[self.counted :]:
            self.fill_sources[source, number, one.price if source == "book" else Decimal(0)] += one.quantity_base
        self.counted = len(self.desk.fills)


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=40))
def test_no_market_gives_more_than_it_showed_and_every_order_adds_up(steps: list[tuple[Any, ...]]) -> None:
    market = Market()
    for step in [*steps, ("wait", 1000), ("wait", 0)]:
        market.play(step)
    for (source, number, price), taken in market.fill_sources.items():
        available = market.shown.get((number, price), Decimal(0)) if source == "book" else market.traded[number]
        assert taken <= available
    ids = [(one.symbol, one.trade_id) for one in market.desk.fills]
    assert len(set(ids)) == len(ids)
    for name, order in market.desk.intents.items():
        state = market.desk.order(name)
        assert not state.illegal
        assert state.filled_base == state.fills_base <= order.quantity_base
        assert state.state.is_open == (name in market.desk.gateway.open_order_ids)
        for one in market.desk.fills:
            if one.client_order_id == name:
                sign = 1 if one.side is Side.BUY else -1
                assert sign * one.price <= sign * order.price
    assert market.desk.gateway.next_due_ns() is None


@settings(max_examples=75)
@given(st.lists(STEPS, max_size=30))
def test_same_calls_give_the_same_events(steps: list[tuple[Any, ...]]) -> None:
    first, second = Market(), Market()
    for step in steps:
        first.play(step)
        second.play(step)
    assert first.desk.events == second.desk.events


@settings(max_examples=75)
@given(st.lists(STEPS, max_size=40))
def test_ledger_of_the_fills_conserves_value(steps: list[tuple[Any, ...]]) -> None:
    """Cash and holdings are what the fills moved, less the fees, and nothing else."""
    market = Market()
    for step in [*steps, ("wait", 1000), ("wait", 0)]:
        market.play(step)
    ledger = Ledger.rebuild(BookName.PAPER, market.desk.fills)
    bought = [one for one in market.desk.fills if one.side is Side.BUY]
    sold = [one for one in market.desk.fills if one.side is Side.SELL]
    assert ledger.position(BTC).quantity_base == sum(
        (one.quantity_base - one.fee_amount for one in bought), Decimal(0)
    ) - sum((one.quantity_base for one in sold), Decimal(0))
    assert ledger.cash_quote == sum((one.notional_quote - one.fee_amount for one in sold), Decimal(0)) - sum(
        (one.notional_quote for one in bought), Decimal(0)
    )

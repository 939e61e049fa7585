"""What recovery and reconciliation ask of the store: orders by state and venue id, fills, baseline, adjustments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.book.history import order_id, trade
from tests.unit.orders.builders import BTC, ETH, NOW_NS, SECOND_NS, event, intent

from tradingbot_trader.book.account import Adjustment, add_by_asset, sum_by_asset
from tradingbot_trader.book.ledger import FillKey
from tradingbot_trader.book.store import Store
from tradingbot_trader.orders.machine import Order, apply
from tradingbot_trader.orders.order import BookName, OrderState, OrderType, Purpose

PAPER, LIVE = BookName.PAPER, BookName.LIVE
DAY_SECONDS = 86_400
Open = Callable[..., Store]


@pytest.fixture
def live(open_store: Open) -> Store:
    store = open_store(book=LIVE, account="a")
    store.begin_epoch(0, NOW_NS)
    return store


def adjustment(**changes: object) -> Adjustment:
    values = {"id": "1" * 32, "book": LIVE, "asset": "USDT", "amount": Decimal(-100), "reason": "weekly", "who": "ops"}
    return Adjustment(**values | changes)  # type: ignore[arg-type]  a table of values


def put(store: Store, one: Adjustment, now_ns: int = NOW_NS) -> bool:
    with store.transaction(now_ns) as tx:
        return tx.put_adjustment(one)


def test_stop_price_is_read_back(store: Store) -> None:
    protect = intent(
        purpose=Purpose.PROTECT, type=OrderType.STOP_LOSS, price=Decimal("94.1"), stop_price=Decimal("95.10")
    )
    with store.transaction(NOW_NS) as tx:
        tx.put_intent(protect)
        tx.put_intent(intent("b" * 32))
    assert [order.intent.stop_price for order in store.open_orders(PAPER)] == [Decimal("95.1"), None]
    (first, _) = store.open_orders(PAPER)
    assert first.intent == protect


def test_orders_are_found_by_state_and_by_when_they_changed(store: Store) -> None:
    trade(store, 1, at_ns=NOW_NS)
    trade(store, 2, at_ns=NOW_NS + 1)
    opened = trade(store, 3, at_ns=NOW_NS + 2, end=None)
    filled = store.orders_in_state(PAPER, {OrderState.FILLED}, NOW_NS)
    assert [order.client_order_id for order in filled] == [order_id(1), order_id(2)]
    assert [o.client_order_id for o in store.orders_in_state(PAPER, {OrderState.FILLED}, NOW_NS + 1)] == [order_id(2)]
    assert store.orders_in_state(PAPER, {OrderState.PARTIALLY_FILLED, OrderState.UNRESOLVED}) == [opened]
    assert store.orders_in_state(LIVE, set(OrderState)) == []
    assert store.orders_in_state(PAPER, ()) == []


def test_presumed_absent_order_is_watched_for_a_day(store: Store) -> None:
    order = Order(intent())
    with store.transaction(NOW_NS) as tx:
        tx.put_intent(order.intent)
    absent = event(OrderState.PRESUMED_ABSENT)
    order = apply(order, absent).order
    with store.transaction(NOW_NS) as tx:
        tx.put_event(absent, order)
    assert store.watched(PAPER, NOW_NS + DAY_SECONDS * SECOND_NS) == [order]
    assert store.watched(PAPER, NOW_NS + DAY_SECONDS * SECOND_NS + 1) == []
    seen = event(OrderState.OPEN, venue_order_id="9")
    with store.transaction(NOW_NS + 1) as tx:
        tx.put_event(seen, apply(order, seen).order)
    assert store.watched(PAPER, NOW_NS + 2) == []


def test_order_is_found_by_the_venues_id_within_its_symbol_and_book(store: Store) -> None:
    order = trade(store, 7, end=None)
    trade(store, 8, symbol=ETH)
    assert store.find_by_venue_order_id(PAPER, BTC, "7") == order
    assert store.find_by_venue_order_id(PAPER, ETH, "7") is None
    assert store.find_by_venue_order_id(LIVE, BTC, "7") is None
    assert store.find_by_venue_order_id(PAPER, BTC, "") is None


def test_fill_is_known_by_its_whole_key(store: Store) -> None:
    trade(store, 1)
    key = FillKey("binance", "paper", BTC, "1002")
    assert store.has_fill(PAPER, key)
    assert not store.has_fill(LIVE, key)
    for field in key._fields:
        assert not store.has_fill(PAPER, key._replace(**{field: "other"}))


def test_search_for_trades_begins_after_the_highest_id(store: Store) -> None:
    assert store.last_trade_id(PAPER, "binance", "paper", BTC) is None
    trade(store, 9)
    trade(store, 10)
    assert store.last_trade_id(PAPER, "binance", "paper", BTC) == "10002"
    for place in ((LIVE, "binance", "paper", BTC), (PAPER, "binance", "paper", ETH), (PAPER, "binance", "b", BTC)):
        assert store.last_trade_id(*place) is None


def test_ledger_of_the_store_is_that_of_its_fills(store: Store) -> None:
    trade(store, 1)
    assert store.ledger(PAPER).position(BTC).quantity_base == Decimal("0.1")
    assert store.ledger(LIVE).fill_count == 0


def test_baseline_is_recorded_once_and_may_be_empty(live: Store) -> None:
    assert live.baseline(LIVE) is None
    with live.transaction(NOW_NS) as tx:
        tx.put_baseline({"USDT": Decimal("1000.50"), "BTC": Decimal(0)})
    assert live.baseline(LIVE) == {"USDT": Decimal("1000.5"), "BTC": Decimal(0)}
    assert live.baseline(PAPER) is None
    with pytest.raises(ValueError, match="recorded already"), live.transaction(NOW_NS) as tx:
        tx.put_baseline({"USDT": Decimal(5)})
    assert live.baseline(LIVE) == {"USDT": Decimal("1000.5"), "BTC": Decimal(0)}


def test_empty_baseline_counts_as_recorded(live: Store) -> None:
    with live.transaction(NOW_NS) as tx:
        tx.put_baseline({})
    assert live.baseline(LIVE) == {}
    with pytest.raises(ValueError, match="recorded already"), live.transaction(NOW_NS) as tx:
        tx.put_baseline({"USDT": Decimal(5)})


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
def test_amount_that_is_none_is_refused(live: Store, amount: str) -> None:
    with pytest.raises(ValueError, match="no amount"), live.transaction(NOW_NS) as tx:
        tx.put_baseline({"USDT": Decimal(amount)})
    with pytest.raises(ValueError, match="no amount"):
        put(live, adjustment(amount=Decimal(amount)))
    assert (live.baseline(LIVE), live.adjustments(LIVE)) == (None, [])


def test_adjustment_is_counted_once_by_its_id(live: Store) -> None:
    assert put(live, adjustment())
    assert not put(live, adjustment(), NOW_NS + 5)
    assert live.adjustments(LIVE) == [adjustment(recorded_ns=NOW_NS)]
    assert put(live, adjustment(id="2" * 32, amount=Decimal("0.5")))
    assert put(live, adjustment(id="3" * 32, asset="BTC", amount=Decimal(1)))
    assert live.adjusted(LIVE) == {"USDT": Decimal("-99.5"), "BTC": Decimal(1)}
    assert live.adjusted(PAPER) == {}


@pytest.mark.parametrize(
    "change", [{"amount": Decimal(-101)}, {"asset": "BTC"}, {"reason": "another"}, {"who": "else"}]
)
def test_id_of_another_adjustment_is_refused(live: Store, change: dict[str, object]) -> None:
    put(live, adjustment())
    with pytest.raises(ValueError, match="other content"):
        put(live, adjustment(**change))
    assert live.adjusted(LIVE) == {"USDT": Decimal(-100)}


def test_adjustment_counts_from_when_it_is_applied(live: Store) -> None:
    later = adjustment(is_applied=False)
    assert put(live, later)
    assert live.adjusted(LIVE) == {}
    assert not put(live, later)
    assert put(live, replace(later, is_applied=True))
    assert live.adjusted(LIVE) == {"USDT": Decimal(-100)}
    assert not put(live, later)
    assert live.adjusted(LIVE) == {"USDT": Decimal(-100)}


def test_adjustment_of_the_other_book_is_a_bug(live: Store) -> None:
    with pytest.raises(ValueError, match="book paper"):
        put(live, adjustment(book=PAPER))


def test_sums_are_exact_and_by_asset() -> None:
    tiny, huge = adjustment(amount=Decimal("1E-18")), adjustment(amount=Decimal(10**20))
    assert sum_by_asset([tiny, huge]) == {"USDT": Decimal("100000000000000000000.000000000000000001")}
    assert add_by_asset({"USDT": Decimal(1)}, {"BTC": Decimal(2), "USDT": Decimal(3)}) == {
        "BTC": Decimal(2),
        "USDT": Decimal(4),
    }

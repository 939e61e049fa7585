"""Whatever is ordered, cancelled and traded: no asset is made or lost, and nothing is filled twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradingbot_sandbox.venues.balances import Balances, NotEnoughError
from tradingbot_sandbox.venues.matching import OrderType

BASE, QUOTE = "BTC", "USDT"

prices = st.integers(9400, 10600).map(lambda ticks: f"{ticks / 100:.2f}")
quantities = st.integers(6000, 300_000).map(lambda steps: f"{Decimal(steps) / 100_000:.5f}")
sides = st.sampled_from(["BUY", "SELL"])
orders = st.fixed_dictionaries(
    {
        "side": sides,
        "type": st.sampled_from(
            [
                "LIMIT",
                "LIMIT",
                "LIMIT",
                "LIMIT_MAKER",
                "MARKET",
                "STOP_LOSS",
                "STOP_LOSS_LIMIT",
                "TAKE_PROFIT",
                "TAKE_PROFIT_LIMIT",
            ]
        ),
        "timeInForce": st.sampled_from(["GTC", "GTC", "IOC", "FOK"]),
        "price": prices,
        "stopPrice": prices,
        "quantity": quantities,
        "quoteOrderQty": st.one_of(st.none(), st.integers(600, 50_000).map(lambda cents: f"{cents / 100:.2f}")),
        "client": st.integers(0, 1),
    }
)
steps = st.one_of(
    *(st.tuples(st.just("order"), orders) for _ in range(5)),  # the more orders, the more can go wrong
    st.tuples(st.just("cancel"), st.tuples(st.integers(0, 1), st.integers(0, 5))),
    *(st.tuples(st.just("trade"), st.tuples(prices, quantities)) for _ in range(2)),
    st.tuples(st.just("asks"), st.tuples(st.sampled_from(["100.5", "101", "102", "103"]), quantities)),
    st.tuples(st.just("bids"), st.tuples(st.sampled_from(["99.5", "99", "98", "97"]), quantities)),
    st.tuples(st.just("transfer"), st.tuples(st.integers(0, 1), st.sampled_from([BASE, QUOTE]), st.integers(-50, 50))),
    st.tuples(st.just("cap"), st.one_of(st.none(), quantities)),
)


def parameters(drawn: dict[str, Any]) -> dict[str, str]:
    """The drawn values that the order's type takes."""
    kind = drawn["type"]
    sent = {"symbol": "BTCUSDT", "side": drawn["side"], "type": kind}
    if kind == "MARKET" and drawn["quoteOrderQty"]:
        return sent | {"quoteOrderQty": drawn["quoteOrderQty"]}
    sent["quantity"] = drawn["quantity"]
    if kind.endswith("LIMIT") or kind == "LIMIT_MAKER":
        sent["price"] = drawn["price"]
    if kind.endswith("LIMIT"):
        sent["timeInForce"] = drawn["timeInForce"]
    if kind.startswith(("STOP", "TAKE")):
        sent["stopPrice"] = drawn["stopPrice"]
    return sent


def do(venue: Any, clients: list[Any], name: str, what: Any) -> None:
    """One step of the story. What the venue refuses is a step that changes nothing."""
    if name == "order":
        clients[what["client"]].send("POST", "order", **parameters(what))
    elif name == "cancel":
        client = clients[what[0]]
        open_orders = client.account.open_orders()
        if open_orders:
            order = open_orders[what[1] % len(open_orders)]
            client.ask("DELETE", "order", symbol="BTCUSDT", orderId=order.order_id)
    elif name == "trade":
        venue.trade(*what)
    elif name in ("asks", "bids"):
        venue.delta(**{name: f"{what[0]}:{what[1]}"})
    elif name == "transfer":
        who, asset, amount = what
        try:
            venue.exchange.desk.transfer(clients[who].account, asset, Decimal(amount), venue.now_ns)
        except NotEnoughError:
            return
    else:
        venue.exchange.desk.matching.taker_cap = None if what is None else lambda _order, _most: Decimal(what)


def check(clients: list[Any]) -> None:
    for client in clients:
        account = client.account
        expected: Counter[str] = Counter()
        for asset, amount in account.transfers:
            expected[asset] += amount
        for trade in account.trades:
            sign = 1 if trade.is_buyer else -1
            expected[BASE] += sign * trade.quantity
            expected[QUOTE] -= sign * trade.quote_quantity
            expected[trade.commission_asset] -= trade.commission
        assert account.balances.totals() == {asset: amount for asset, amount in expected.items() if amount}
        locked: Counter[str] = Counter()
        for order in account.orders:
            assert 0 <= order.filled_base <= order.quantity
            own = [trade for trade in account.trades if trade.order is order]
            assert order.filled_base == sum(trade.quantity for trade in own)
            assert order.filled_quote == sum(trade.quote_quantity for trade in own)
            assert order.state.is_open or order.locked == 0
            assert order.locked >= 0
            if order.state.is_open and order.type is OrderType.LIMIT:
                assert order.locked == order.remaining * (order.price if order.side.is_buy else 1)
            locked[QUOTE if order.side.is_buy else BASE] += order.locked
        for asset in (BASE, QUOTE):
            assert account.balances.locked(asset) == locked[asset]
            assert account.balances.free(asset) >= 0


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(steps, min_size=10, max_size=60), pays_in_bnb=st.booleans())
def test_money_is_conserved_and_nothing_is_filled_beyond_its_quantity(
    make_venue: Callable[..., Any], story: list[tuple[str, Any]], *, pays_in_bnb: bool
) -> None:
    venue = make_venue("BTC/USDT", "BNB/USDT")
    clients = [
        venue.client(USDT="500", BTC="3"),
        venue.client(USDT="1000", BTC="1", BNB="0.002", pays_in_bnb=pays_in_bnb),
    ]
    for name, what in story:
        do(venue, clients, name, what)
        check(clients)
    trade_ids = [trade.trade_id for client in clients for trade in client.account.trades]
    assert len(set(trade_ids)) == len(trade_ids)
    public = [trade.trade_id for trade in venue.exchange.world.boards["BTC/USDT"].trades]
    assert public == list(range(501, 501 + len(public)))
    assert set(trade_ids) <= set(public)
    order_ids = [order.order_id for client in clients for order in client.account.orders]
    assert len(set(order_ids)) == len(order_ids)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(steps, max_size=30))
def test_same_story_gives_the_same_venue(make_venue: Callable[..., Any], story: list[tuple[str, Any]]) -> None:
    told: list[list[Any]] = []
    for _ in range(2):
        venue = make_venue()
        clients = [venue.client(USDT="500", BTC="3"), venue.client(USDT="1000", BTC="1")]
        for name, what in story:
            do(venue, clients, name, what)
        told.append([client.events for client in clients])
    assert told[0] == told[1]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(steps, min_size=10, max_size=60))
def test_events_alone_tell_the_orders_and_the_balances(
    make_venue: Callable[..., Any], story: list[tuple[str, Any]]
) -> None:
    """Whoever hears every event knows what the venue knows."""
    venue = make_venue()
    clients = [venue.client(USDT="500", BTC="3"), venue.client(USDT="1000", BTC="1")]
    for name, what in story:
        do(venue, clients, name, what)
    for client in clients:
        reports = [event for event in client.events if event["e"] == "executionReport" and event["x"] != "REJECTED"]
        last = {report["i"]: (report["X"], report["z"], report["Z"]) for report in reports}
        rows = client.ask("GET", "allOrders", symbol="BTCUSDT")
        assert last == {r["orderId"]: (r["status"], r["executedQty"], r["cummulativeQuoteQty"]) for r in rows}
        assert [r["t"] for r in reports if r["x"] == "TRADE"] == [t.trade_id for t in client.account.trades]
        ids = [report["I"] for report in reports]
        assert ids == sorted(set(ids))
        told = {b["a"]: (b["f"], b["l"]) for e in client.events if e["e"] == "outboundAccountPosition" for b in e["B"]}
        balances = client.ask("GET", "account")["balances"]
        assert told.items() <= {b["asset"]: (b["free"], b["locked"]) for b in balances}.items()


def test_balance_cannot_be_overdrawn() -> None:
    balances = Balances({"USDT": Decimal(10)})
    balances.lock("USDT", Decimal(4))
    for overdraw in (balances.remove, balances.lock):
        with pytest.raises(NotEnoughError):
            overdraw("USDT", Decimal(7))
    with pytest.raises(NotEnoughError):
        balances.unlock("USDT", Decimal(5))
    assert (balances.free("USDT"), balances.locked("USDT")) == (Decimal(6), Decimal(4))


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity"])
def test_amount_is_a_number_of_at_least_zero(amount: str) -> None:
    with pytest.raises(ValueError, match="at least zero"):
        Balances().add("USDT", Decimal(amount))

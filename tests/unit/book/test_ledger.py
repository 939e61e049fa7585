"""The ledger is the sum of its fills: exact, each fill once, the same after a rebuild."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import BTC, DAY_NS, ETH, NOW_NS, fill

from tradingbot_trader.book.ledger import Ledger, utc_day
from tradingbot_trader.orders.order import BookName, Fill, Side

DIGITS = st.decimals("0.00000001", "99999999", places=8) | st.integers(10**16, 10**18 - 1).map(
    lambda digits: Decimal(digits).scaleb(-8)
)
"""Products of 36 digits, more than Python's default context keeps."""
FILLS = st.builds(
    fill,
    st.integers(1, 12).map(str),
    symbol=st.sampled_from([BTC, ETH]),
    side=st.sampled_from(Side),
    price=DIGITS,
    quantity_base=DIGITS,
    fee_asset=st.sampled_from(["BTC", "ETH", "USDT", "BNB"]),
    fee_amount=st.decimals("-1", "50", places=8),
    event_time_ns=st.integers(NOW_NS - DAY_NS, NOW_NS + DAY_NS),
)
"""Also what spot should not do: sells of what is not held, fees above the fill, rebates."""


def rebuilt(*fills: Fill) -> Ledger:
    return Ledger.rebuild(BookName.PAPER, fills)


def distinct(fills: list[Fill]) -> list[Fill]:
    found: dict[tuple[str, str], Fill] = {}
    for one in fills:
        found.setdefault((one.symbol, one.trade_id), one)
    return list(found.values())


@given(st.lists(FILLS, max_size=15))
def test_quantity_and_cash_are_the_sum_of_the_fills_to_the_last_digit(fills: list[Fill]) -> None:
    """Against exact fractions, which share no rounding with decimals."""
    ledger = rebuilt(*fills)
    for symbol in (BTC, ETH):
        base = symbol.partition("/")[0]
        quantity = cash = Fraction(0)
        for one in distinct(fills):
            if one.symbol != symbol:
                continue
            sign = 1 if one.side is Side.BUY else -1
            quantity += sign * Fraction(one.quantity_base) - (Fraction(one.fee_amount) if one.fee_asset == base else 0)
            cash -= sign * Fraction(one.quantity_base) * Fraction(one.price)
            cash -= Fraction(one.fee_amount) if one.fee_asset == "USDT" else 0
        assert Fraction(ledger.position(symbol).quantity_base) == quantity
        assert Fraction(ledger.position(symbol).cash_quote) == cash


@given(st.lists(FILLS, max_size=15), st.decimals("0.01", "99999", places=2))
def test_realized_and_unrealized_are_cash_and_value(fills: list[Fill], price: Decimal) -> None:
    """Conservation: whatever the method of cost, the whole is what was received and what is held."""
    ledger = rebuilt(*fills)
    held = sum(Fraction(p.quantity_base) * Fraction(price) for p in ledger.positions.values())
    total = ledger.total_quote({BTC: price, ETH: price})
    elsewhere = Fraction(ledger.fees_elsewhere_quote)
    assert Fraction(total) == Fraction(ledger.cash_quote) + held - elsewhere
    unrealized = ledger.unrealized_quote({BTC: price, ETH: price})
    assert Fraction(total) == Fraction(ledger.realized_quote) + Fraction(unrealized) - elsewhere


@given(st.lists(FILLS, max_size=15))
def test_rebuild_from_the_stored_fills_is_the_same_ledger(fills: list[Fill]) -> None:
    ledger = Ledger(BookName.PAPER)
    for one in fills:
        ledger.apply(one)
    again = rebuilt(*distinct(fills))
    assert vars(again) == vars(ledger)


@given(st.lists(FILLS, max_size=12), st.randoms())
def test_quantity_and_cash_do_not_depend_on_the_order_of_fills(fills: list[Fill], random: object) -> None:
    first = distinct(fills)
    second = list(first)
    random.shuffle(second)  # type: ignore[attr-defined]  hypothesis' Random
    one, other = rebuilt(*first), rebuilt(*second)
    assert one.cash_quote == other.cash_quote
    for symbol in one.positions:
        assert one.position(symbol).quantity_base == other.position(symbol).quantity_base


@given(st.lists(FILLS, max_size=12))
def test_doubled_fills_change_nothing(fills: list[Fill]) -> None:
    ledger = rebuilt(*fills)
    before = dict(vars(ledger), _known=set(ledger._known), fees=dict(ledger.fees), _positions=dict(ledger.positions))
    assert not any(ledger.apply(one) for one in fills)
    assert vars(ledger) == before


@given(st.lists(FILLS, max_size=15))
def test_nothing_held_costs_nothing(fills: list[Fill]) -> None:
    ledger = Ledger(BookName.PAPER)
    for one in fills:
        ledger.apply(one)
        for position in ledger.positions.values():
            if position.quantity_base == 0:
                assert position.cost_quote == 0
            assert position.cost_quote.as_tuple().exponent >= -18


def test_fill_is_the_same_by_venue_account_symbol_and_trade_id() -> None:
    ledger = rebuilt(fill("1"), fill("1", price=101), fill("1", symbol=ETH), fill("1", account="other"), fill("2"))
    assert ledger.fill_count == 4


def test_fill_of_the_other_book_is_a_bug() -> None:
    with pytest.raises(ValueError, match="book live"):
        rebuilt(fill(book=BookName.LIVE))


def test_fee_in_the_base_asset_reduces_the_position_and_not_its_cost() -> None:
    position = rebuilt(fill(fee_asset="BTC", fee_amount=Decimal("0.0001"))).position(BTC)
    assert (position.quantity_base, position.cost_quote) == (Decimal("0.0999"), 10)


def test_fee_in_the_quote_asset_is_part_of_the_cost() -> None:
    ledger = rebuilt(fill(fee_amount=Decimal("0.01")))
    assert ledger.position(BTC).cost_quote == Decimal("10.01")
    assert ledger.cash_quote == Decimal("-10.01")


def test_fee_in_a_third_asset_is_counted_apart() -> None:
    ledger = rebuilt(fill("1", fee_asset="BNB", fee_amount=Decimal("0.002")), fill("2", fee_amount=Decimal("0.01")))
    assert ledger.fees == {"BNB": Decimal("0.002"), "USDT": Decimal("0.01")}
    assert ledger.cash_quote == Decimal("-20.01")
    assert ledger.fees_quote == Decimal("0.01")


def test_base_fee_is_valued_at_the_price_of_its_fill() -> None:
    assert rebuilt(fill(fee_asset="BTC", fee_amount=Decimal("0.0001"))).fees_quote == Decimal("0.01")


def test_sale_takes_its_share_of_the_average_cost() -> None:
    ledger = rebuilt(fill("1"), fill("2", price=200), fill("3", side=Side.SELL, price=180))
    position = ledger.position(BTC)
    assert (position.quantity_base, position.cost_quote, position.average_price) == (Decimal("0.1"), 15, 150)
    assert (ledger.realized_quote, ledger.unrealized_quote({BTC: Decimal(160)})) == (3, 1)


def test_share_of_cost_is_rounded_to_18_decimals_and_the_rounding_stays() -> None:
    ledger = rebuilt(fill("1", quantity_base=3, price=1), fill("2", quantity_base=4, price=1, fee_amount=Decimal(3)))
    ledger.apply(fill("3", side=Side.SELL, quantity_base=1, price=1))
    assert ledger.position(BTC).cost_quote == 10 - Decimal("1.428571428571428571")
    ledger.apply(fill("4", side=Side.SELL, quantity_base=6, price=1))
    assert ledger.position(BTC).cost_quote == 0
    assert ledger.realized_quote == -3


def test_sale_through_zero_opens_the_other_side_at_its_own_price() -> None:
    ledger = rebuilt(fill("1"), fill("2", side=Side.SELL, quantity_base=Decimal("0.3"), price=110))
    position = ledger.position(BTC)
    assert (position.quantity_base, position.cost_quote, ledger.realized_quote) == (Decimal("-0.2"), -22, 1)
    assert position.average_price == 110
    ledger.apply(fill("3", quantity_base=Decimal("0.2"), price=100))
    assert (ledger.position(BTC).cost_quote, ledger.realized_quote) == (0, 3)


def test_position_without_a_price_is_valued_at_cost() -> None:
    assert rebuilt(fill()).total_quote({}) == 0


def test_only_a_sale_below_cost_is_a_loss() -> None:
    ledger = rebuilt(fill("1"), fill("2", price=50), fill("3", side=Side.SELL, price=80, event_time_ns=NOW_NS + 1))
    assert ledger.last_loss_ns is None
    ledger.apply(fill("4", side=Side.SELL, price=70, event_time_ns=NOW_NS + 2))
    assert ledger.last_loss_ns == NOW_NS + 2


def test_turnover_of_a_day_is_that_of_its_utc_day() -> None:
    midnight = utc_day(NOW_NS) * DAY_NS + DAY_NS
    ledger = rebuilt(
        fill("1", event_time_ns=midnight - 1), fill("2", event_time_ns=midnight), fill("3", event_time_ns=midnight - 2)
    )
    assert ledger.turnover_quote == 30
    assert ledger.day_turnover_quote(midnight) == 10
    assert ledger.day_turnover_quote(midnight + DAY_NS) == 0
    assert ledger.day_turnover_quote(midnight - 1) == 10  # a clock that went back sees the later day's sum


def test_amount_with_more_digits_than_pythons_default_stays_exact() -> None:
    huge, tiny = fill("1", quantity_base=Decimal(10**15), price=Decimal(10**9)), fill("2", price=Decimal("1E-17"))
    cash = rebuilt(huge, tiny).cash_quote
    assert str(cash) == "-1000000000000000000000000.000000000000000001"

"""The comparison: venue against opening, adjustments and ledger; what is allowed to differ; what is not looked at."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.orders.builders import BTC, ETH, fill, instrument

from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.orders.order import BookName, Fill, Side
from tradingbot_trader.orders.reconcile import Delta, Report, Result, compare, ledger_effect

D = Decimal


def ledger(*fills: Fill) -> Ledger:
    return Ledger.rebuild(BookName.PAPER, fills)


def deltas(
    venue: dict[str, str],
    opening: dict[str, str] | None = None,
    *fills: Fill,
    tolerance: str = "0",
    symbols: Any = (BTC,),
    adjusted: Any = (),
) -> dict[str, Delta]:
    found = compare(
        venue={asset: D(amount) for asset, amount in venue.items()},
        opening={asset: D(amount) for asset, amount in (opening or {}).items()},
        adjusted=adjusted,
        ledger=ledger(*fills),
        instruments={symbol: instrument(symbol) for symbol in symbols},
        tolerance=D(tolerance),
    )
    return {delta.asset: delta for delta in found}


BOUGHT = fill("1", quantity_base=D("0.1"), price=D(100), fee_asset="BTC", fee_amount=D("0.0001"))


def test_effect_of_fills_by_asset_with_fees_where_they_were_paid() -> None:
    assert ledger_effect(ledger()) == {}
    assert ledger_effect(ledger(BOUGHT)) == {"BTC": D("0.0999"), "USDT": D(-10)}
    sold = fill("2", side=Side.SELL, quantity_base=D("0.05"), price=D(110), fee_asset="USDT", fee_amount=D("0.01"))
    assert ledger_effect(ledger(BOUGHT, sold)) == {"BTC": D("0.0499"), "USDT": D("-4.51")}
    with_bnb = fill("3", symbol=ETH, quantity_base=D(1), price=D(20), fee_asset="BNB", fee_amount=D("0.002"))
    assert ledger_effect(ledger(BOUGHT, with_bnb)) == {
        "BTC": D("0.0999"), "ETH": D(1), "USDT": D(-30), "BNB": D("-0.002"),
    }  # fmt: skip


def test_account_that_moved_as_the_ledger_says_agrees() -> None:
    found = deltas({"BTC": "2.0999", "USDT": "990"}, {"BTC": "2", "USDT": "1000"}, BOUGHT)
    assert [(d.asset, d.delta, d.is_mismatch) for d in found.values()] == [("BTC", D(0), False), ("USDT", D(0), False)]


def test_difference_is_told_with_both_sides() -> None:
    found = deltas({"BTC": "2.05", "USDT": "990"}, {"BTC": "2", "USDT": "1000"}, BOUGHT)["BTC"]
    assert (found.venue, found.local, found.delta, found.is_mismatch) == (D("2.05"), D("2.0999"), D("-0.0499"), True)
    assert found.to_data() == {"asset": "BTC", "venue": "2.05", "local": "2.0999", "delta": "-0.0499"}


def test_one_step_may_differ_and_no_more() -> None:
    step = instrument().quantity_step
    for amount, is_mismatch in ((step, False), (step + D("0.00000001"), True), (-step, False), (-step * 2, True)):
        assert deltas({"BTC": str(2 + amount)}, {"BTC": "2"})["BTC"].is_mismatch is is_mismatch


def test_one_tick_of_the_quote_asset_may_differ_and_no_more() -> None:
    assert not deltas({"USDT": "1000.01"}, {"USDT": "1000"})["USDT"].is_mismatch
    assert deltas({"USDT": "1000.02"}, {"USDT": "1000"})["USDT"].is_mismatch


def test_tolerance_is_relative_to_what_the_ledger_holds_and_never_below_the_step() -> None:
    large = fill("1", quantity_base=D(100), price=D(1))
    allowed = deltas({"BTC": "100"}, {}, large, tolerance="0.001")
    assert (allowed["BTC"].allowed, allowed["USDT"].allowed) == (D("0.1"), D("0.1"))
    assert deltas({}, {}, tolerance="0.001")["BTC"].allowed == instrument().quantity_step


@pytest.mark.parametrize("ticks", [("0.01", "0.1"), ("0.1", "0.01")])
def test_coarsest_step_counts_where_an_asset_is_in_several_markets(ticks: tuple[str, str]) -> None:
    instruments = {s: instrument(s, price_tick=D(tick)) for s, tick in zip((BTC, ETH), ticks, strict=True)}
    found = compare(venue={}, opening={}, ledger=ledger(), tolerance=D(0), instruments=instruments)
    assert {d.asset: d.allowed for d in found} == {"BTC": D("0.001"), "ETH": D("0.001"), "USDT": D("0.1")}


def test_rest_of_the_account_is_not_looked_at() -> None:
    assert set(deltas({"DOGE": "5000", "BTC": "1"}, {"BTC": "1"})) == {"BTC", "USDT"}


def test_asset_that_is_missing_at_the_venue_is_zero_there() -> None:
    found = deltas({"USDT": "990"}, {"USDT": "1000"}, BOUGHT)["BTC"]
    assert (found.venue, found.is_mismatch) == (D(0), True)


def test_symbol_that_left_the_spec_is_compared_for_as_long_as_its_fills_count() -> None:
    other = fill("9", symbol=ETH, quantity_base=D(1), price=D(20))
    found = deltas({"USDT": "980", "ETH": "0.5"}, {"USDT": "1000"}, other, symbols=(BTC,))
    assert (found["ETH"].delta, found["ETH"].is_mismatch) == (D("-0.5"), True)


def test_fee_asset_of_its_own_is_compared_to_the_last_digit() -> None:
    paid = fill("1", quantity_base=D("0.1"), price=D(100), fee_asset="BNB", fee_amount=D("0.00007512"))
    opening = {"USDT": "1000", "BNB": "1"}
    assert not deltas({"BTC": "0.1", "USDT": "990", "BNB": "0.99992488"}, opening, paid)["BNB"].is_mismatch
    assert deltas({"BTC": "0.1", "USDT": "990", "BNB": "0.99992487"}, opening, paid)["BNB"].is_mismatch


def test_report_as_data() -> None:
    report = Report(
        1, 2, "start", Result.FAILED, "BTC differs", (Delta("BTC", D(1), D(2), D(0)),), ("a trade",), ("id",)
    )
    assert report.to_data() == {
        "why": "start", "result": "Failed", "message": "BTC differs",
        "deltas": [{"asset": "BTC", "venue": "1", "local": "2", "delta": "-1"}],
        "orphans": ["a trade"], "adopted": ["id"],
    }  # fmt: skip


quantities = st.integers(1, 10**6).map(lambda n: D(n).scaleb(-4))


@given(st.lists(st.tuples(st.booleans(), quantities, quantities, st.sampled_from(["BTC", "USDT", "BNB"])), max_size=20))
def test_account_that_did_what_the_fills_say_never_differs(made: list[tuple[bool, Decimal, Decimal, str]]) -> None:
    account = {"BTC": D(0), "USDT": D(0), "BNB": D(0)}
    fills = []
    for number, (is_buy, quantity, price, fee_asset) in enumerate(made):
        side, sign = (Side.BUY, 1) if is_buy else (Side.SELL, -1)
        fee = D("0.0001")
        fills.append(
            fill(str(number), side=side, quantity_base=quantity, price=price, fee_asset=fee_asset, fee_amount=fee)
        )
        account["BTC"] += sign * quantity
        account["USDT"] -= sign * quantity * price
        account[fee_asset] -= fee
    found = compare(venue=account, opening={}, ledger=ledger(*fills), instruments={BTC: instrument()}, tolerance=D(0))
    assert [delta.delta for delta in found] == [D(0)] * len(found)


def test_asset_that_somebody_adjusted_is_compared() -> None:
    assert "DOGE" in deltas({"DOGE": "5000"}, {"DOGE": "10"}, adjusted=("DOGE",))
    assert "DOGE" not in deltas({"DOGE": "5000"}, {"DOGE": "10"})

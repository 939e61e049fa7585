"""The order book that a venue shows."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradingbot_sandbox.market.book import Book, BookGapError
from tradingbot_sandbox.market.events import BookDelta, BookSnapshot, Level

LEVELS = st.dictionaries(st.integers(1, 60).map(Decimal), st.integers(1, 9).map(Decimal), min_size=1, max_size=20)


def delta(first: int, final: int, bids: tuple[Level, ...] = (), asks: tuple[Level, ...] = ()) -> BookDelta:
    return BookDelta("BTC/USDT", first, final, bids, asks, 0)


def test_levels_are_told_best_first(
    make_snapshot: Callable[..., BookSnapshot], as_levels: Callable[[str], tuple[Level, ...]]
) -> None:
    book = Book(make_snapshot(bids="98:2 99:1", asks="102:2 101:1"))
    assert book.bids(5) == as_levels("99:1 98:2")
    assert book.asks(1) == as_levels("101:1")


def test_quantity_zero_removes_a_level(
    make_snapshot: Callable[..., BookSnapshot], as_levels: Callable[[str], tuple[Level, ...]]
) -> None:
    book = Book(make_snapshot())
    assert book.apply(delta(11, 12, bids=as_levels("99:0 97:5"), asks=as_levels("101:4")))
    assert book.bids(5) == as_levels("98:2 97:5")
    assert book.best_ask == (Decimal(101), Decimal(4))
    assert book.update_id == 12


def test_delta_older_than_the_book_changes_nothing(make_snapshot: Callable[..., BookSnapshot]) -> None:
    book = Book(make_snapshot(update_id=10))
    assert not book.apply(delta(8, 10, bids=((Decimal(99), Decimal(0)),)))
    assert book.snapshot() == make_snapshot(update_id=10)


def test_delta_that_straddles_the_snapshot_is_taken(make_snapshot: Callable[..., BookSnapshot]) -> None:
    assert Book(make_snapshot(update_id=10)).apply(delta(8, 11))


def test_missing_delta_is_refused(make_snapshot: Callable[..., BookSnapshot]) -> None:
    with pytest.raises(BookGapError, match="book is at 10, delta starts at 12"):
        Book(make_snapshot(update_id=10)).apply(delta(12, 13))


@given(LEVELS, LEVELS, LEVELS, LEVELS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_changes_turn_one_book_into_the_other(
    bids: dict[Decimal, Decimal],
    asks: dict[Decimal, Decimal],
    new_bids: dict[Decimal, Decimal],
    new_asks: dict[Decimal, Decimal],
) -> None:
    target = Book(BookSnapshot("BTC/USDT", 11, tuple(new_bids.items()), tuple(new_asks.items()))).snapshot()
    book = Book(BookSnapshot("BTC/USDT", 10, tuple(bids.items()), tuple(asks.items())))
    book.apply(delta(11, 11, *book.changes_to(target)))
    assert book.snapshot() == target

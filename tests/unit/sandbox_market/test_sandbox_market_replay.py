"""Playing a recording: times, speed, the end, and the seam of a loop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import pytest

from tradingbot_sandbox.market.book import Book
from tradingbot_sandbox.market.events import BookDelta, BookTicker, MarketEvent, Trade
from tradingbot_sandbox.market.port import PlayState
from tradingbot_sandbox.market.replay import SEAM_NS, RecordedMarket

MS = 1_000_000
MakeReplay = Callable[..., RecordedMarket]


def play(market: RecordedMarket, *, start_ns: int, until_ns: int) -> list[MarketEvent]:
    market.start(start_ns)
    return market.take(until_ns, limit=1_000_000)


def trades_of(events: list[MarketEvent]) -> list[Trade]:
    return [e for e in events if isinstance(e, Trade)]


def test_nothing_is_due_before_the_start(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay()
    assert market.next_due_ns() is None
    assert market.take(now_ns * 2, limit=10) == []
    assert market.position().state is PlayState.WAITING


def test_event_times_are_shifted_to_now_and_gaps_compressed(make_replay: MakeReplay, now_ns: int) -> None:
    events = trades_of(play(make_replay(speed="5"), start_ns=now_ns, until_ns=now_ns + 10_000 * MS))
    assert [(t.event_time_ns - now_ns) // MS for t in events] == [10, 60, 60, 180, 220, 280, 300, 320, 360, 380]
    assert events[3].time_ns - now_ns == 140 * MS  # it met at 700 ms and was told at 900 ms


@pytest.mark.parametrize("speed", ["1", "3", "20", "0.25"])
def test_no_event_comes_before_it_is_due(make_replay: MakeReplay, now_ns: int, speed: str) -> None:
    market = make_replay(speed=speed)
    market.start(now_ns)
    now, seen = now_ns, 0
    while (due := market.next_due_ns()) is not None:
        assert market.take(due - 1, limit=100) == []
        now = due
        events = market.take(now, limit=1)
        assert all(e.event_time_ns <= now for e in events)
        seen += len(events)
    assert seen == 19
    assert now == now_ns + int(Fraction(2010 * MS) / Fraction(speed))


def test_played_once_it_ends_and_stays_silent(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay()
    assert len(play(market, start_ns=now_ns, until_ns=now_ns + 2010 * MS)) == 19
    position = market.position()
    assert position.state is PlayState.ENDED
    assert position.ended_ns == now_ns + 2010 * MS
    assert position.played == position.total == {"trade": 10, "depth": 6, "bookTicker": 3}
    assert market.next_due_ns() is None
    assert market.take(now_ns * 2, limit=10) == []


def test_limit_cuts_the_play_into_pieces_without_loss(make_replay: MakeReplay, now_ns: int) -> None:
    whole, pieces = make_replay(loop=True), make_replay(loop=True)
    end_ns = now_ns + 7000 * MS
    expected = play(whole, start_ns=now_ns, until_ns=end_ns)
    pieces.start(now_ns)
    taken: list[MarketEvent] = []
    while piece := pieces.take(end_ns, limit=3):
        taken += piece
    assert taken == expected


@pytest.mark.parametrize("speed", ["1", "7", "20"])
@pytest.mark.parametrize("loops", [1, 2, 40])
def test_ids_go_on_rising_over_the_seams(make_replay: MakeReplay, loops: int, speed: str) -> None:
    market = make_replay(speed=speed, loop=True)
    record = market.opening("BTC/USDT")
    length_ns = int((2010 * MS + 2 * SEAM_NS) * loops / Fraction(speed))
    events = play(market, start_ns=0, until_ns=length_ns)
    ids = [t.trade_id for t in trades_of(events)]
    assert ids == list(range(500, 500 + len(ids)))
    assert len(ids) >= 10 * loops
    book = Book(record.book)
    for event in events:
        if isinstance(event, BookDelta):
            book.apply(event)  # raises on a gap
            assert not book.is_crossed
    for before, after in itertools.pairwise(e for e in events if isinstance(e, BookDelta)):
        assert after.first_update_id == before.final_update_id + 1
    for earlier, later in itertools.pairwise(e for e in events if isinstance(e, BookTicker)):
        assert later.update_id > earlier.update_id
    times = [e.event_time_ns for e in events]
    assert times == sorted(times)


def test_book_jumps_back_to_the_opening_at_the_seam(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay(loop=True)
    events = play(market, start_ns=now_ns, until_ns=now_ns + 2010 * MS + SEAM_NS)
    book = Book(market.opening("BTC/USDT").book)
    for event in events:
        if isinstance(event, BookDelta):
            book.apply(event)
    opening = market.opening("BTC/USDT").book
    assert (book.snapshot().bids, book.snapshot().asks) == (opening.bids, opening.asks)
    assert events[-1] == BookTicker(
        "BTC/USDT", book.update_id, *opening.bids[0], *opening.asks[0], now_ns + 2010 * MS + SEAM_NS
    )
    assert market.position().loop == 1


def test_every_loop_is_as_long_as_the_first(make_replay: MakeReplay, now_ns: int) -> None:
    trades = trades_of(play(make_replay(loop=True, speed="20"), start_ns=now_ns, until_ns=now_ns + 500 * MS))
    first, second = trades[0], trades[10]
    assert second.trade_id == first.trade_id + 10
    assert second.price == first.price
    assert second.event_time_ns - first.event_time_ns == (2010 * MS + 2 * SEAM_NS) // 20


def test_reserved_trade_ids_are_left_out_by_the_play(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay(loop=True)
    market.start(now_ns)
    before = trades_of(market.take(now_ns + 300 * MS, limit=100))
    assert market.reserve_trade_ids("BTC/USDT", trades=4) == before[-1].trade_id + 1
    after = trades_of(market.take(now_ns + 5000 * MS, limit=100))
    assert after[0].trade_id == before[-1].trade_id + 5
    assert [t.trade_id for t in after] == list(range(after[0].trade_id, after[0].trade_id + len(after)))


def test_market_is_started_once(make_replay: MakeReplay, now_ns: int) -> None:
    market = make_replay()
    market.start(now_ns)
    with pytest.raises(RuntimeError, match="once"):
        market.start(now_ns)

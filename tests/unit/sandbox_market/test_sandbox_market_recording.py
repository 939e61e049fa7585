"""Reading a recording: what is played, when, and what is refused. All recordings here are invented."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tradingbot_sandbox.market.events import BookDelta, BookTicker, Trade
from tradingbot_sandbox.market.recording import RecordingUnusableError, load_recording, parse_recording

MS = 1_000_000
Lines = dict[str, Callable[..., str]]


def test_events_are_placed_at_their_event_times(recording_lines: list[str]) -> None:
    recording = parse_recording(recording_lines)
    offsets = {m.event.trade_id: m.offset_ns // MS for m in recording.moments if isinstance(m.event, Trade)}
    assert list(offsets) == list(range(500, 510))
    assert list(offsets.values()) == [50, 300, 300, 900, 1100, 1400, 1500, 1600, 1800, 1900]
    assert recording.played == {"trade": 10, "depth": 6, "bookTicker": 3}


def test_book_ticker_takes_its_time_from_its_neighbours(recording_lines: list[str]) -> None:
    recording = parse_recording(recording_lines)
    tickers = [(m.offset_ns // MS, m.event) for m in recording.moments if isinstance(m.event, BookTicker)]
    assert [at for at, _ in tickers] == [20, 450, 2010]
    assert tickers[0][1].event_time_ns == recording.first_event_ns + 20 * MS


def test_book_ticker_is_never_placed_after_the_event_below_it(lines_of: Lines, recording_lines: list[str]) -> None:
    late = lines_of["ticker"](10_000, 112, "99.00", "101.00")  # received long after the line below it in the file
    recording = parse_recording([*recording_lines[:6], late, *recording_lines[6:]])
    offsets = [m.offset_ns for m in recording.moments]
    assert offsets == sorted(offsets)
    assert recording.length_ns == 2010 * MS


def test_order_of_the_file_is_kept_when_an_event_time_goes_back(lines_of: Lines, recording_lines: list[str]) -> None:
    back = lines_of["trade"](1896, 510, "101.20000000")
    recording = parse_recording([*recording_lines[:18], back, *recording_lines[18:]])
    moment = next(m for m in recording.moments if isinstance(m.event, Trade) and m.event.trade_id == 510)
    assert moment.offset_ns == 1900 * MS
    assert moment.event.event_time_ns == recording.first_event_ns + 1896 * MS


def test_lateness_is_the_longest_that_a_trade_was_told_after_it_happened(recording_lines: list[str]) -> None:
    assert parse_recording(recording_lines).lateness_ns == 200 * MS


def test_opening_is_the_snapshot_and_the_first_trade(recording_lines: list[str]) -> None:
    record = parse_recording(recording_lines).symbols["BTC/USDT"]
    assert record.opening.book.update_id == 110
    assert record.opening.book.bids[0] == (Decimal(99), Decimal(1))
    assert record.opening.first_price == Decimal(100)
    assert (record.first_update_id, record.last_delta_id, record.last_update_id) == (105, 121, 123)


def test_gzip_is_read_whatever_the_name_is(tmp_path: Path, recording_lines: list[str]) -> None:
    path = tmp_path / "market.jsonl"
    path.write_bytes(gzip.compress("\n".join(recording_lines).encode()))
    assert load_recording(path) == parse_recording(recording_lines)


def test_other_streams_and_blank_lines_are_left_out_and_counted(lines_of: Lines, recording_lines: list[str]) -> None:
    other = lines_of["frame"](30, {"stream": "btcusdt@kline_1m", "data": {"e": "kline", "E": 1, "s": "BTCUSDT"}})
    recording = parse_recording([*recording_lines, "", other])
    assert recording.ignored == {"kline_1m": 1}
    assert recording.played["trade"] == 10


def test_frames_without_a_wrapper_are_read(lines_of: Lines, recording_lines: list[str]) -> None:
    bare = lines_of["frame"](
        2100,
        {
            "e": "trade",
            "E": 1_700_000_002_100,
            "s": "BTCUSDT",
            "t": 510,
            "p": "1",
            "q": "1",
            "T": 1_700_000_002_100,
            "m": True,
        },
    )
    assert parse_recording([*recording_lines, bare]).played["trade"] == 11


def test_symbol_without_a_table_entry_gets_its_tick_from_its_prices(recording_lines: list[str]) -> None:
    lines = [line.replace("BTCUSDT", "XYZUSDC").replace("btcusdt", "xyzusdc") for line in recording_lines]
    instrument = parse_recording(lines).symbols["XYZ/USDC"].instrument
    assert (instrument.tick, instrument.step) == (Decimal("0.1"), Decimal("0.01"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:4], "no number {}", *lines[4:]], "line 5 is no `<receive_ns> <frame>`"),
        (lambda lines: [*lines[:4], lines[4][:80], *lines[4:]], "line 5"),
        (lambda lines: lines[:3] + lines[4:], "none of its 0 bare depth snapshots"),
        (
            lambda lines: [line for line in lines if '"U": 114' not in line],
            "depth updates are missing.*book is at 113, delta starts at 119",
        ),
        (
            lambda lines: [line for line in lines if "@trade" not in line],
            "needs trades and depth updates, and has 0 and 6",
        ),
        (lambda _lines: [], "no trade, depth update or book ticker in it"),
    ],
)
def test_unusable_recording_is_refused_with_what_is_wrong(
    change: Callable[[list[str]], list[str]], message: str, recording_lines: list[str]
) -> None:
    with pytest.raises(RecordingUnusableError, match=message):
        parse_recording(change(recording_lines))


def test_symbol_that_is_not_in_it_is_refused(recording_lines: list[str]) -> None:
    with pytest.raises(RecordingUnusableError, match="ETH/USDT: it needs trades"):
        parse_recording(recording_lines, symbols=["BTC/USDT", "ETH/USDT"])


def test_truncated_file_is_refused(tmp_path: Path, recording_lines: list[str]) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(recording_lines).encode())[:-20])
    with pytest.raises(RecordingUnusableError, match=r"cut\.jsonl\.gz"):
        load_recording(path)


def test_depth_updates_older_than_the_snapshot_stay_in_the_play(recording_lines: list[str]) -> None:
    deltas = [m.event for m in parse_recording(recording_lines).moments if isinstance(m.event, BookDelta)]
    assert deltas[0].final_update_id == 104

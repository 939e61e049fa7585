"""Reads a recorded market from a file and puts its frames onto one time line. PURE, but for `load_recording`.

A line is `<receive_ns> <frame>`; the file may be gzipped. Frames are of the combined stream (`{"stream": ..., "data":
...}`) or bare: trades, depth updates and book tickers are played, one bare REST depth snapshot a symbol opens the
book, the rest is counted and left out.

The time line is that of the event times: receive times of a recording come from another clock. A frame is placed at
its event time, never before the frame above it; a book ticker, which carries no time, as long after the frame above
it as it was received later.

All of it is kept in memory, about 1.5 kB a frame: minutes to hours of a market, not days.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from tradingbot_sandbox.market.book import Book, BookGapError
from tradingbot_sandbox.market.events import NS_PER_MS, BookDelta, BookSnapshot, BookTicker, Level, MarketEvent, Trade
from tradingbot_sandbox.market.instruments import Instrument, derive_instrument, split_symbol
from tradingbot_sandbox.market.port import Opening


class RecordingUnusableError(ValueError):
    """The file cannot be played; the message says where and why."""


class Moment(NamedTuple):
    """One event and when it is due, counted from the first event. Its own times and ids are those of the recording."""

    offset_ns: int
    event: MarketEvent


@dataclass(frozen=True, slots=True)
class SymbolRecord:
    """One symbol of a recording: how it opens, and where it has got to at its end."""

    instrument: Instrument
    opening: Opening
    first_update_id: int
    """Where the first delta that the opening book takes starts."""
    last_delta_id: int
    last_update_id: int
    """The highest id of any delta or ticker."""
    last_trade_id: int
    reset: tuple[tuple[Level, ...], tuple[Level, ...]]
    """Bids and asks of the delta that turns the last book into the opening one."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A market to be replayed."""

    moments: tuple[Moment, ...]
    symbols: Mapping[str, SymbolRecord]
    first_event_ns: int
    lateness_ns: int
    """The longest that a trade was handed over after it happened."""
    played: Mapping[str, int]
    ignored: Mapping[str, int]

    @property
    def length_ns(self) -> int:
        return self.moments[-1].offset_ns


def load_recording(path: Path, *, symbols: Iterable[str] | None = None) -> Recording:
    """Read and check a file. `symbols`: play only these.

    Raises RecordingUnusableError, or OSError when it cannot be read.
    """
    try:
        with path.open("rb") as probe:
            is_gzip = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="utf-8") if is_gzip else path.open(encoding="utf-8") as lines:
            return parse_recording(lines, symbols=symbols)
    except (RecordingUnusableError, EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise RecordingUnusableError(f"{path}: {error}") from error


def parse_recording(lines: Iterable[str], *, symbols: Iterable[str] | None = None) -> Recording:
    """Parse and check the lines of a file."""
    reader = _Reader()
    for number, line in enumerate(lines, start=1):
        reader.read(number, line)
    wanted = None if symbols is None else set(symbols)
    frames = [f for f in reader.frames if wanted is None or f.event.symbol in wanted]
    names = sorted({f.event.symbol for f in frames} | (wanted or set()))
    moments, first_event_ns = _place(frames)
    records = {name: _describe(name, moments, reader.snapshots) for name in names}
    if not records:
        raise RecordingUnusableError("no trade, depth update or book ticker in it")
    return Recording(
        moments=moments,
        symbols=records,
        first_event_ns=first_event_ns,
        lateness_ns=max(first_event_ns + m.offset_ns - m.event.time_ns for m in moments if isinstance(m.event, Trade)),
        played=Counter(event_kind(m.event) for m in moments),
        ignored=reader.ignored,
    )


def event_kind(event: MarketEvent) -> str:
    """The word under which an event is counted."""
    if isinstance(event, Trade):
        return "trade"
    return "depth" if isinstance(event, BookDelta) else "bookTicker"


class _Frame(NamedTuple):
    line: int
    receive_ns: int
    event: MarketEvent
    is_timed: bool


class _Reader:
    """Turns lines into frames.

    Equal numbers share one Decimal: most prices of a market come back thousands of times.
    """

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.snapshots: list[dict[str, Any]] = []
        self.ignored: Counter[str] = Counter()
        self._decimals: dict[str, Decimal] = {}
        self._symbols: dict[str, str] = {}

    def read(self, number: int, line: str) -> None:
        if not line.strip():
            return
        received, _, text = line.partition(" ")
        try:
            frame = json.loads(text)
            data = frame.get("data", frame)
            event = self._event(str(frame.get("stream", "")), data)
            if event is not None:
                self.frames.append(_Frame(number, int(received), event, not isinstance(event, BookTicker)))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
            raise RecordingUnusableError(
                f"line {number} is no `<receive_ns> <frame>`: {type(error).__name__} {error}"
            ) from error

    def _event(self, stream: str, data: dict[str, Any]) -> MarketEvent | None:
        kind = data.get("e", "")
        if kind == "trade":
            return Trade(
                symbol=self._symbol(data["s"]),
                trade_id=int(data["t"]),
                price=self._decimal(data["p"]),
                quantity=self._decimal(data["q"]),
                time_ns=int(data["T"]) * NS_PER_MS,
                event_time_ns=int(data["E"]) * NS_PER_MS,
                buyer_is_maker=bool(data["m"]),
            )
        if kind == "depthUpdate":
            return BookDelta(
                symbol=self._symbol(data["s"]),
                first_update_id=int(data["U"]),
                final_update_id=int(data["u"]),
                bids=self._levels(data["b"]),
                asks=self._levels(data["a"]),
                event_time_ns=int(data["E"]) * NS_PER_MS,
            )
        if kind in ("", "bookTicker") and data.keys() >= {"u", "s", "b", "B", "a", "A"}:
            return BookTicker(
                symbol=self._symbol(data["s"]),
                update_id=int(data["u"]),
                bid_price=self._decimal(data["b"]),
                bid_quantity=self._decimal(data["B"]),
                ask_price=self._decimal(data["a"]),
                ask_quantity=self._decimal(data["A"]),
                event_time_ns=0,
            )
        if not stream and data.keys() >= {"lastUpdateId", "bids", "asks"}:
            self.snapshots.append(data | {"bids": self._levels(data["bids"]), "asks": self._levels(data["asks"])})
            return None
        self.ignored[stream.partition("@")[2] or kind or "unknown"] += 1
        return None

    def _symbol(self, joined: str) -> str:
        if joined not in self._symbols:
            self._symbols[joined] = split_symbol(joined)
        return self._symbols[joined]

    def _decimal(self, text: str) -> Decimal:
        known = self._decimals.get(text)
        if known is None:
            known = self._decimals[text] = Decimal(text)
        return known

    def _levels(self, rows: list[list[str]]) -> tuple[Level, ...]:
        return tuple((self._decimal(row[0]), self._decimal(row[1])) for row in rows)


def _place(frames: list[_Frame]) -> tuple[tuple[Moment, ...], int]:
    """Put the frames onto the time line of their events, in the order of the file."""
    timed = [f.event.event_time_ns for f in frames if f.is_timed]
    if not timed:
        return (), 0
    first_ns = timed[0]
    nexts = iter(timed)
    upcoming: int | None = next(nexts)
    due_ns, above_receive_ns = first_ns, frames[0].receive_ns
    moments: list[Moment] = []
    for frame in frames:
        event = frame.event
        if frame.is_timed:
            due_ns = max(due_ns, event.event_time_ns)
            upcoming = next(nexts, None)
        else:
            due_ns += max(0, frame.receive_ns - above_receive_ns)
            if upcoming is not None:
                due_ns = min(due_ns, max(upcoming, moments[-1].offset_ns + first_ns if moments else first_ns))
            event = replace(event, event_time_ns=due_ns)
        above_receive_ns = frame.receive_ns
        moments.append(Moment(due_ns - first_ns, event))
    return tuple(moments), first_ns


def _describe(symbol: str, moments: tuple[Moment, ...], snapshots: list[dict[str, Any]]) -> SymbolRecord:
    """Check that a symbol can be played, by following its book from the opening to the end."""
    events = [m.event for m in moments if m.event.symbol == symbol]
    trades = [e for e in events if isinstance(e, Trade)]
    deltas = [e for e in events if isinstance(e, BookDelta)]
    if not trades or not deltas:
        raise RecordingUnusableError(
            f"{symbol}: it needs trades and depth updates, and has {len(trades)} and {len(deltas)}"
        )
    opening = _opening_book(symbol, deltas, snapshots)
    book = Book(opening)
    taken = [delta for delta in deltas if _follow(book, delta)]
    return SymbolRecord(
        instrument=derive_instrument(symbol, (t.price for t in trades), (t.quantity for t in trades)),
        opening=Opening(opening, trades[0].price, trades[0].trade_id),
        first_update_id=taken[0].first_update_id,
        last_delta_id=deltas[-1].final_update_id,
        last_update_id=max(
            e.update_id if isinstance(e, BookTicker) else e.final_update_id for e in events if not isinstance(e, Trade)
        ),
        last_trade_id=trades[-1].trade_id,
        reset=book.changes_to(opening),
    )


def _opening_book(symbol: str, deltas: list[BookDelta], snapshots: list[dict[str, Any]]) -> BookSnapshot:
    """The snapshot that the deltas continue. A bare snapshot names no symbol: its update id tells whose it is."""
    for snapshot in snapshots:
        update_id = int(snapshot["lastUpdateId"])
        if any(d.first_update_id <= update_id + 1 <= d.final_update_id for d in deltas):
            return BookSnapshot(symbol, update_id, snapshot["bids"], snapshot["asks"])
    raise RecordingUnusableError(f"{symbol}: none of its {len(snapshots)} bare depth snapshots meets its depth updates")


def _follow(book: Book, delta: BookDelta) -> bool:
    try:
        return book.apply(delta)
    except BookGapError as error:
        raise RecordingUnusableError(f"depth updates are missing, {error}") from error

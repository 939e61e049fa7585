"""The names of Binance's market streams, and who listens to which. PURE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tradingbot_sandbox.market.events import NS_PER_MS, NS_PER_SECOND
from tradingbot_sandbox.market.intervals import Interval
from tradingbot_sandbox.venues.binance.intervals import INTERVALS
from tradingbot_sandbox.venues.binance.text import json_text


class StreamKind(StrEnum):
    TRADE = "trade"
    AGGREGATE_TRADE = "aggTrade"
    BOOK_TICKER = "bookTicker"
    DIFF_DEPTH = "depth"
    PARTIAL_DEPTH = "partial depth"
    KLINE = "kline"
    TICKER = "ticker"
    MINI_TICKER = "miniTicker"


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream that this simulator has."""

    name: str
    symbol: str
    kind: StreamKind
    period_ns: int = 0
    """How often it may be told; zero: with each event of the market."""
    levels: int = 0
    interval: Interval | None = None


_SPEEDS = {"": NS_PER_SECOND, "1000ms": NS_PER_SECOND, "100ms": 100 * NS_PER_MS}


def parse_stream(name: str, symbols: Mapping[str, str]) -> Stream | None:
    """The stream of a name. `symbols`: venue name to unified symbol.

    None: no such stream here; Binance just stays silent.
    """
    joined, at, rest = name.partition("@")
    symbol = symbols.get(joined.upper())
    if symbol is None or not at or joined != joined.lower():
        return None
    kind, _, speed = rest.partition("@")
    if kind.startswith("depth") and speed in _SPEEDS:
        levels = kind.removeprefix("depth")
        if not levels:
            return Stream(name, symbol, StreamKind.DIFF_DEPTH, 0 if speed == "100ms" else NS_PER_SECOND)
        if levels in ("5", "10", "20"):
            return Stream(name, symbol, StreamKind.PARTIAL_DEPTH, _SPEEDS[speed], levels=int(levels))
    if speed:
        return None
    if kind.startswith("kline_"):
        interval = INTERVALS.get(kind.removeprefix("kline_"))
        if interval is None:
            return None
        period_ns = NS_PER_SECOND if interval.name == "1s" else 2 * NS_PER_SECOND
        return Stream(name, symbol, StreamKind.KLINE, period_ns, interval=interval)
    if kind in (StreamKind.TRADE, StreamKind.AGGREGATE_TRADE, StreamKind.BOOK_TICKER):
        return Stream(name, symbol, StreamKind(kind))
    if kind in (StreamKind.TICKER, StreamKind.MINI_TICKER):
        return Stream(name, symbol, StreamKind(kind), NS_PER_SECOND)
    return None


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, written once for all its receivers, in both forms."""

    raw: bytes
    combined: bytes


def build_frame(stream: str, body: object) -> Frame:
    text = json_text(body)
    return Frame(text.encode(), f'{{"stream":"{stream}","data":{text}}}'.encode())


class Subscriber(Protocol):
    """Whoever listens: a connection."""

    def offer(self, stream: str, frame: Frame) -> None:
        """Take one frame. It must not block, and it may end the subscriber."""
        ...


class Subscriptions:
    """Who listens to which stream, and what went out."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[Subscriber, None]] = {}
        self._streams: dict[str, Stream] = {}
        self.published: Counter[str] = Counter()
        """Frames of each stream that had a listener."""
        self.delivered: Counter[str] = Counter()
        """The same, once for each listener."""
        self.outlet: Callable[[str, Callable[[], None]], None] | None = None
        """Where a fault script decides when a message of a stream is delivered, and whether."""

    def add(self, subscriber: Subscriber, stream: Stream) -> None:
        self._streams[stream.name] = stream
        self._listeners.setdefault(stream.name, {})[subscriber] = None

    def remove(self, subscriber: Subscriber, stream: str) -> None:
        listeners = self._listeners.get(stream, {})
        listeners.pop(subscriber, None)
        if not listeners:
            self._listeners.pop(stream, None)
            self._streams.pop(stream, None)

    def drop(self, subscriber: Subscriber) -> None:
        for stream in list(self._listeners):
            self.remove(subscriber, stream)

    def has(self, stream: str) -> bool:
        return stream in self._listeners

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Streams that someone listens to."""
        return tuple(self._streams.values())

    @property
    def held(self) -> int:
        return sum(len(listeners) for listeners in self._listeners.values())

    @property
    def held_for_trades(self) -> int:
        names = (s.name for s in self._streams.values() if s.kind in (StreamKind.TRADE, StreamKind.AGGREGATE_TRADE))
        return sum(len(self._listeners[name]) for name in names)

    def listeners(self, stream: str) -> int:
        return len(self._listeners.get(stream, {}))

    def publish(self, stream: str, body: object) -> None:
        """Tell it to everyone who listens, by way of the fault script if there is one."""
        if self.outlet is None:
            self.deliver(stream, body)
        else:
            self.outlet(stream, lambda: self.deliver(stream, body))

    def deliver(self, stream: str, body: object) -> None:
        """Write the message once and hand it to everyone who listens."""
        listeners = self._listeners.get(stream)
        if not listeners:
            return
        frame = build_frame(stream, body)
        self.published[stream] += 1
        self.delivered[stream] += len(listeners)
        for subscriber in tuple(listeners):
            subscriber.offer(stream, frame)

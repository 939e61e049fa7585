"""Builders of the objects that these tests are about, with valid defaults."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tradingbot_sandbox.market.events import NS_PER_MS, BookSnapshot, Trade
from tradingbot_sandbox.market.instruments import INSTRUMENTS
from tradingbot_sandbox.market.port import StartPolicy
from tradingbot_sandbox.market.recording import parse_recording
from tradingbot_sandbox.market.replay import RecordedMarket
from tradingbot_sandbox.market.synthetic import SyntheticMarket
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.weights import WeightMeter

NOW_NS = 1_760_000_000_250_000_000
FIRST_EVENT_MS = 1_700_000_000_000
RECEIVED_EARLIER_MS = 1270
"""The receive clock of a real recording was so far behind the venue's."""


class SilentLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def debug(self, event: str, /, **values: object) -> None:
        self.events.append((event, values))

    info = warning = debug


def frame_line(at_ms: int, frame: dict[str, Any]) -> str:
    """One line of a recording, received when its event time says, on a clock that is behind."""
    received_ns = (FIRST_EVENT_MS + at_ms - RECEIVED_EARLIER_MS) * NS_PER_MS
    return f"{received_ns} {json.dumps(frame)}"


def trade_line(
    at_ms: int, trade_id: int, price: str, quantity: str = "0.01000000", *, matched_ms: int | None = None
) -> str:
    data = {"e": "trade", "E": FIRST_EVENT_MS + at_ms, "s": "BTCUSDT", "t": trade_id, "p": price, "q": quantity}
    data |= {"T": FIRST_EVENT_MS + (at_ms if matched_ms is None else matched_ms), "m": trade_id % 2 == 0, "M": True}
    return frame_line(at_ms, {"stream": "btcusdt@trade", "data": data})


def depth_line(at_ms: int, first: int, final: int, bids: list[list[str]], asks: list[list[str]]) -> str:
    data = {
        "e": "depthUpdate",
        "E": FIRST_EVENT_MS + at_ms,
        "s": "BTCUSDT",
        "U": first,
        "u": final,
        "b": bids,
        "a": asks,
    }
    return frame_line(at_ms, {"stream": "btcusdt@depth@100ms", "data": data})


def ticker_line(at_ms: int, update_id: int, bid: str, ask: str) -> str:
    data = {"u": update_id, "s": "BTCUSDT", "b": bid, "B": "1.00000000", "a": ask, "A": "2.00000000"}
    return frame_line(at_ms, {"stream": "btcusdt@bookTicker", "data": data})


def snapshot_line(at_ms: int, update_id: int, bids: list[list[str]], asks: list[list[str]]) -> str:
    return frame_line(at_ms, {"lastUpdateId": update_id, "bids": bids, "asks": asks})


def invented_recording() -> list[str]:
    """A market of two seconds: ten trades, six depth updates of which one is older than the snapshot, three tickers."""
    return [
        depth_line(0, 100, 104, [["99.00000000", "7.00000000"]], []),
        ticker_line(20, 108, "99.00000000", "101.00000000"),
        trade_line(50, 500, "100.00000000"),
        snapshot_line(
            60, 110, [["99.00000000", "1.00000000"], ["98.00000000", "3.00000000"]], [["101.00000000", "2.00000000"]]
        ),
        depth_line(
            100,
            105,
            112,
            [["99.50000000", "1.00000000"]],
            [["101.00000000", "0.00000000"], ["101.50000000", "4.00000000"]],
        ),
        trade_line(300, 501, "101.50000000"),
        trade_line(300, 502, "101.50000000", "0.02000000"),
        depth_line(400, 113, 113, [], [["101.20000000", "1.00000000"]]),
        ticker_line(450, 114, "99.50000000", "101.20000000"),
        trade_line(900, 503, "101.20000000", matched_ms=700),
        trade_line(1100, 504, "99.50000000"),
        depth_line(1200, 114, 118, [["99.50000000", "0.00000000"]], []),
        trade_line(1400, 505, "101.20000000"),
        trade_line(1500, 506, "99.00000000"),
        trade_line(1600, 507, "101.20000000"),
        depth_line(1700, 119, 119, [["99.10000000", "5.00000000"]], []),
        trade_line(1800, 508, "99.10000000"),
        trade_line(1900, 509, "101.20000000"),
        depth_line(2000, 120, 121, [["98.50000000", "2.00000000"]], [["101.20000000", "3.00000000"]]),
        ticker_line(2010, 123, "99.10000000", "101.20000000"),
    ]


@pytest.fixture
def now_ns() -> int:
    return NOW_NS


@pytest.fixture
def recording_lines() -> list[str]:
    return invented_recording()


@pytest.fixture
def lines_of() -> dict[str, Callable[..., str]]:
    """Builders of single recording lines."""
    return {
        "trade": trade_line,
        "depth": depth_line,
        "ticker": ticker_line,
        "snapshot": snapshot_line,
        "frame": frame_line,
    }


@pytest.fixture
def make_replay() -> Callable[..., RecordedMarket]:
    def make(*, speed: str = "1", loop: bool = False, lines: list[str] | None = None) -> RecordedMarket:
        return RecordedMarket(parse_recording(lines or invented_recording()), speed=Fraction(speed), loop=loop)

    return make


@pytest.fixture
def make_synthetic() -> Callable[..., SyntheticMarket]:
    def make(*symbols: str, seed: int = 7, speed: str = "1") -> SyntheticMarket:
        chosen = [INSTRUMENTS[s] for s in symbols or ("BTC/USDT",)]
        return SyntheticMarket(chosen, seed=seed, speed=Fraction(speed))

    return make


@pytest.fixture
def make_trade() -> Callable[..., Trade]:
    def make(
        trade_id: int = 1, price: str = "100", quantity: str = "1", *, at_ns: int = NOW_NS, sold: bool = False
    ) -> Trade:
        return Trade("BTC/USDT", trade_id, Decimal(price), Decimal(quantity), at_ns, at_ns, sold)

    return make


@pytest.fixture
def make_snapshot() -> Callable[..., BookSnapshot]:
    def make(update_id: int = 10, bids: str = "99:1 98:2", asks: str = "101:1 102:2") -> BookSnapshot:
        return BookSnapshot("BTC/USDT", update_id, levels(bids), levels(asks))

    return make


def levels(text: str) -> tuple[tuple[Decimal, Decimal], ...]:
    """`99:1 98:2` as levels."""
    pairs = [word.split(":") for word in text.split()]
    return tuple((Decimal(price), Decimal(quantity)) for price, quantity in pairs)


@pytest.fixture
def as_levels() -> Callable[[str], tuple[tuple[Decimal, Decimal], ...]]:
    return levels


class Venue:
    """A simulated Binance without sockets, moved by the test's own clock."""

    def __init__(self, market: RecordedMarket | SyntheticMarket, *, start: str, weight_limit: int) -> None:
        self.log = SilentLog()
        self.now_ns = NOW_NS
        self.market = market
        world = World(market, seed=7, now_ns=NOW_NS)
        self.exchange = Exchange(world, meter=WeightMeter(weight_limit), start=StartPolicy.parse(start), log=self.log)
        self.exchange.start_if_due(self.now_ns)
        self.run(0)

    def run(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now_ns += milliseconds * NS_PER_MS
        while self.exchange.advance(self.now_ns):
            pass


@pytest.fixture
def make_venue(make_replay: Callable[..., RecordedMarket]) -> Callable[..., Venue]:
    def make(market: Any = None, *, start: str = "immediately", weight_limit: int = 6000) -> Venue:
        return Venue(market or make_replay(), start=start, weight_limit=weight_limit)

    return make


class Listener:
    """A subscriber that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def offer(self, stream: str, frame: Any) -> None:
        self.heard.append((stream, json.loads(frame.raw)))

    def bodies(self, stream: str) -> list[Any]:
        return [body for name, body in self.heard if name == stream]


@pytest.fixture
def listener() -> Listener:
    return Listener()

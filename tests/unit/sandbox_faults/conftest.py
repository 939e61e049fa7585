"""Builders of what these tests are about, with valid defaults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

import pytest

from tradingbot_sandbox.market.events import NS_PER_MS, NS_PER_SECOND
from tradingbot_sandbox.market.instruments import INSTRUMENTS
from tradingbot_sandbox.market.port import StartPolicy
from tradingbot_sandbox.market.synthetic import SyntheticMarket
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.auth import sign
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.faults import BinanceFaults, RawAnswer, describe_request
from tradingbot_sandbox.venues.binance.rest import Answer, RestApi
from tradingbot_sandbox.venues.binance.weights import WeightMeter
from tradingbot_sandbox.venues.faults import Event, Fate, FaultScript, Request
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule, When

START_NS = 1_760_000_000_000_000_000


@pytest.fixture
def at() -> Callable[[float], int]:
    """So many seconds after the start, in nanoseconds."""

    def of(seconds: float) -> int:
        return START_NS + round(seconds * NS_PER_SECOND)

    return of


@pytest.fixture
def make_script() -> Callable[..., FaultScript]:
    """A script of one rule: its effect, and the conditions by name."""

    def make(what: Effect, *, script_seed: int = 1, **when: Any) -> FaultScript:
        return FaultScript([Rule(when=When(**when), what=what)], now_ns=START_NS, seed=script_seed)

    return make


@pytest.fixture
def make_request() -> Callable[..., Request]:
    def make(operation: Operation = Operation.PLACE, **other: str) -> Request:
        defaults = {"path": "/api/v3/order", "symbol": "BTCUSDT", "client_id": "ab12cd"}
        return Request(operation=operation, **(defaults | other))

    return make


@pytest.fixture
def make_event() -> Callable[..., Event]:
    def make(operation: Operation = Operation.USER_STREAM, **other: str) -> Event:
        defaults = {"stream": "executionReport", "symbol": "BTCUSDT", "client_id": "ab12cd"}
        return Event(operation=operation, **(defaults | other))

    return make


class SilentLog:
    def debug(self, event: str, /, **values: object) -> None:
        """Nothing."""

    info = warning = debug


class Venue:
    """A simulated Binance without sockets, its faults, and one account with a key."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.now_ns = START_NS
        market = SyntheticMarket([INSTRUMENTS["BTC/USDT"]], seed=3, speed=Fraction(1))
        world = World(market, seed=3, now_ns=START_NS)
        start = StartPolicy.parse("immediately")
        self.exchange = Exchange(world, meter=WeightMeter(), start=start, log=SilentLog())
        self.exchange.start_if_due(START_NS)
        self.rest = RestApi(self.exchange, SilentLog())
        self.script = FaultScript(rules, now_ns=START_NS, seed=1)
        self.faults = BinanceFaults(self.exchange, self.script, log=SilentLog())
        self.account = self.exchange.accounts.open({"USDT": "1000000", "BTC": "10"})
        self.key = self.exchange.accounts.issue_key(self.account)

    def run(self, seconds: float) -> list[Rule]:
        """Let time pass. The rules that are due and need a server."""
        self.now_ns += round(seconds * NS_PER_SECOND)
        due = self.faults.advance(self.now_ns)
        while self.exchange.advance(self.now_ns):
            pass
        return due

    def ask(self, method: str, path: str, **parameters: object) -> tuple[Fate, RawAnswer | None]:
        """One signed request, sent now, whose answer is not waited for longer than it takes."""
        venue_ms = self.faults.venue_now_ns(self.now_ns) // NS_PER_MS
        query = urlencode(parameters | {"timestamp": venue_ms})
        query += f"&signature={sign(self.key.api_secret, query)}"

        def carry_out(now_ns: int) -> Answer:
            headers = {"X-MBX-APIKEY": self.key.api_key}
            return self.rest.answer(method, path, query=query, headers=headers, address="127.0.0.1", now_ns=now_ns)

        asked = describe_request(method, path, query=query)
        fate = self.faults.on_request(asked, self.now_ns)
        own = self.faults.carry_out(fate, carry_out, self.now_ns) if fate.is_delivered else None
        return fate, self.faults.finish(asked, fate, own, self.now_ns) if fate.is_answered else None

    def place(self, client_id: str = "mine", **other: object) -> tuple[Fate, RawAnswer | None]:
        """A market order over 1 BTC, if nothing else is said."""
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1", "newClientOrderId": client_id}
        return self.ask("POST", "/api/v3/order", **(order | other))

    def rest_order(self, client_id: str = "mine") -> tuple[Fate, RawAnswer | None]:
        """A limit order far below the market."""
        return self.place(client_id, type="LIMIT", price="30000", timeInForce="GTC")


@pytest.fixture
def make_venue() -> Callable[..., Venue]:
    def make(*rules: Rule) -> Venue:
        return Venue(rules)

    return make


@pytest.fixture
def body_of() -> Callable[[tuple[Fate, RawAnswer | None]], Any]:
    """The JSON that was answered."""

    def of(answered: tuple[Fate, RawAnswer | None]) -> Any:
        assert answered[1] is not None
        return json.loads(answered[1].body)

    return of

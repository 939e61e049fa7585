"""The sandbox's Binance without sockets: requests, the account's stream and the market, in virtual time.

The trader's own ccxt adapter signs and reads; only what would be the network is replaced. The truth is the sandbox's
matching engine, which imports nothing of the trader.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from support.simulation.crash import LifeEnded
from support.simulation.market import SmallMarket
from support.virtual import VirtualClock
from tradingbot_api.spec import Timeframe
from tradingbot_sandbox.market.port import StartPolicy
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues import matching
from tradingbot_sandbox.venues.binance.accounts import Accounts
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.faults import BinanceFaults, describe_request
from tradingbot_sandbox.venues.binance.order_request import OrderRequest
from tradingbot_sandbox.venues.binance.rest import Answer, RestApi
from tradingbot_sandbox.venues.binance.weights import WeightMeter
from tradingbot_sandbox.venues.faults import FaultScript
from tradingbot_sandbox.venues.faults_rules import Disconnect, Rule
from tradingbot_trader.market.events import Candle, MarketSink
from tradingbot_trader.market.feed import Feed, StreamLost, Tap
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.venues import binance
from tradingbot_trader.venues.account_stream import AccountTap
from tradingbot_trader.venues.port import FeedCounters, VenueUnavailable
from tradingbot_trader.venues.transport import HttpReply, HttpRequest, NoAnswer, NotSent

REST_URL = "http://venue.test/api/v3"
STREAM_URL = "ws://venue.test/ws"
TIMEOUT_SECONDS = 10.0
MS = 1_000_000


class NoLog:
    def debug(self, event: str, /, **values: object) -> None: ...
    def info(self, event: str, /, **values: object) -> None: ...
    def warning(self, event: str, /, **values: object) -> None: ...


@dataclass(slots=True)
class Sent:
    """One request on the wire, as the venue's side sees it."""

    at_ns: int
    life: int
    method: str
    path: str
    values: dict[str, str]
    status: int | None = None
    """What the venue itself said, whatever became of that answer; None: it never saw the request."""

    @property
    def is_order(self) -> bool:
        return (self.method, self.path) == ("POST", "/api/v3/order")


Hook = Callable[[str], None]
"""Called with the name of a point of the way; it may end the life that is there."""


@dataclass(slots=True)
class Line:
    """One trader's network: dies with its life."""

    life: int
    hook: Hook
    is_dead: bool = False
    ends: dict[asyncio.Future[None], str] = field(default_factory=dict)
    """Of each open stream, and which it is: `account` or `market`."""


class Venue:
    def __init__(
        self, seed: int, clock: VirtualClock, *, balances: Mapping[str, str], market: SmallMarket | None = None
    ) -> None:
        draw = random.Random(f"tokens {seed}")  # noqa: S311  a simulation
        self.clock = clock
        self.latency_seconds = 0.02
        self.is_cut_off = False
        """A partition between trader and venue."""
        self.refused_streams: set[str] = set()
        """`account`, `market`: such a stream cannot be opened now."""
        self.tells_candles = False
        """Whether the history is there. Without it no candle is made any more after a stream was lost once; the random
        worlds are drawn so, and would be others with it."""
        self.sent: list[Sent] = []
        self.on_accepted: Callable[[Sent], None] = lambda _sent: None
        """Told of each order that the venue took."""
        self.on_leave: Callable[[Sent], None] = lambda _sent: None
        """Told of each request in the moment in which it leaves the trader."""
        accounts = Accounts(token=lambda: f"{draw.getrandbits(256):064x}")
        self.exchange = Exchange(
            World(market or SmallMarket(seed), seed=seed, now_ns=clock.now_ns()),
            meter=WeightMeter(60_000),
            start=StartPolicy(0, 0),
            log=NoLog(),
            accounts=accounts,
        )
        self.faults = BinanceFaults(self.exchange, FaultScript(now_ns=clock.now_ns(), seed=seed), log=NoLog())
        self.rest = RestApi(self.exchange, NoLog())
        self.account = accounts.open(balances)
        self.key = accounts.issue_key(self.account, now_ns=clock.now_ns())
        self._lines: list[Line] = []
        self._under_way: set[asyncio.Task[None]] = set()

    def new_line(self, life: int, hook: Hook) -> Line:
        line = Line(life, hook)
        self._lines.append(line)
        return line

    def cut(self, line: Line) -> None:
        line.is_dead = True
        for end in line.ends:
            if not end.done():
                end.set_result(None)

    async def pump(self) -> None:
        """Moves the market and plays the faults, for ever."""
        self.exchange.start_if_due(self.clock.now_ns())
        while True:
            now_ns = self.clock.now_ns()
            while self.exchange.advance(now_ns):
                pass
            if any(isinstance(rule.what, Disconnect) for rule in self.faults.advance(now_ns)):
                self.hang_up()
            dues = [self.exchange.next_due_ns(), self.faults.next_due_ns() or now_ns + 10**12]
            await self.clock.sleep(max(min(dues) - now_ns, MS) / 1e9)

    def hang_up(self, stream: str = "") -> None:
        """Every stream dies, or each of that kind."""
        for line in self._lines:
            ends = [end for end, name in line.ends.items() if stream in ("", name)]
            for end in ends:
                del line.ends[end]
                if not end.done():
                    end.set_result(None)

    def call(self, method: str, path: str, query: str = "", body: str = "", headers: Mapping[str, str] | None = None,
             *, now_ns: int | None = None) -> Answer:  # fmt: skip
        at_ns = self.faults.venue_now_ns(self.clock.now_ns()) if now_ns is None else now_ns
        return self.rest.answer(
            method, path, query=query, body=body, headers=headers or {}, address="10.0.0.1", now_ns=at_ns
        )

    def place_by_hand(self, symbol: str, side: str, quantity: Decimal) -> None:
        """A person trades on this account, at market."""
        request = OrderRequest(
            symbol=symbol, side=matching.Side(side), type=matching.OrderType.MARKET, quantity=quantity
        )
        self.exchange.desk.place(self.account, request, self.clock.now_ns())

    async def carry(self, line: Line, request: HttpRequest) -> HttpReply:
        """One request there and back, with whatever the script puts in its way."""
        parts = urlsplit(request.url)
        asked = describe_request(request.method, parts.path, query=parts.query, body=request.body)
        if self.is_cut_off or line.is_dead:
            raise NotSent("ConnectionRefusedError")
        is_order = (request.method, parts.path) == ("POST", "/api/v3/order")
        is_cancel = (request.method, parts.path) == ("DELETE", "/api/v3/order")
        what = "order" if is_order else "cancel" if is_cancel else "query"
        request.leave()
        values = dict(parse_qsl(parts.query + "&" + request.body))
        sent = Sent(self.clock.now_ns(), line.life, request.method, parts.path, values)
        self.on_leave(sent)
        self.sent.append(sent)
        line.hook(f"{what}:before-send")
        fate = self.faults.on_request(asked, self.clock.now_ns())
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

        async def deliver() -> None:
            await self.clock.sleep(self.latency_seconds + fate.delivered_after_ns / 1e9)

            def call(now_ns: int) -> Answer:
                return self.call(request.method, parts.path, parts.query, request.body, request.headers, now_ns=now_ns)

            got = self.faults.carry_out(fate, call, self.clock.now_ns())
            sent.status = got.http_status
            if sent.is_order and got.http_status == 200:
                self.on_accepted(sent)
            if not answer.done():
                answer.set_result(got)

        if fate.is_delivered:
            task = asyncio.get_running_loop().create_task(deliver())  # arrives, though its sender may die meanwhile
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        else:
            answer.set_result(None)
        line.hook(f"{what}:after-send")
        if not fate.is_answered:
            await self.clock.sleep(self.latency_seconds + fate.answered_after_ns / 1e9)
            if fate.is_delivered and not fate.delivered_after_ns:
                await answer
                line.hook(f"{what}:after-accept")
            raise NoAnswer("ServerDisconnectedError")
        waited_seconds = fate.answered_after_ns / 1e9 + fate.delivered_after_ns / 1e9
        if waited_seconds > TIMEOUT_SECONDS:
            await self.clock.sleep(TIMEOUT_SECONDS)
            raise NoAnswer("timeout")
        got = await answer
        line.hook(f"{what}:after-accept")
        await self.clock.sleep(self.latency_seconds + fate.answered_after_ns / 1e9)
        if self.is_cut_off or line.is_dead:
            raise NoAnswer("ConnectionResetError")
        raw = self.faults.finish(asked, fate, got, self.clock.now_ns())
        line.hook(f"{what}:after-answer")
        if raw.promised_bytes is not None:
            raise NoAnswer("ClientPayloadError")
        return HttpReply(raw.status, raw.headers, raw.body.decode(errors="replace"))


class SimTransport:
    """Transport of one life."""

    def __init__(self, venue: Venue, line: Line) -> None:
        self._venue, self._line = venue, line

    async def send(self, request: HttpRequest) -> HttpReply:
        return await self._venue.carry(self._line, request)

    async def close(self) -> None:
        return


class SimStream:
    """The connect function of the account's stream."""

    def __init__(self, venue: Venue, line: Line) -> None:
        self._venue, self._line = venue, line

    async def __call__(self, tap: AccountTap) -> None:
        venue, line, loop = self._venue, self._line, asyncio.get_running_loop()
        await venue.clock.sleep(venue.latency_seconds)
        is_refused = venue.is_cut_off or line.is_dead or "account" in venue.refused_streams
        if is_refused or venue.exchange.accounts.find_key(venue.key.api_key) is None:
            raise StreamLost("refused")
        end: asyncio.Future[None] = loop.create_future()
        line.ends[end] = "account"

        def hand_over(event: dict[str, object]) -> None:
            if end.done() or line.is_dead or event["e"] != "executionReport":
                return
            with suppress(LifeEnded):  # the venue lives on
                line.hook("report:before")
                tap.report(json.loads(json.dumps(event)))
                line.hook("report:after")

        def hear(event: dict[str, object]) -> None:
            loop.call_later(venue.latency_seconds, hand_over, event)

        venue.exchange.user_streams.subscribe(venue.account.uid, hear)
        tap.up()
        try:
            await end
            raise StreamLost("the connection was dropped")
        finally:
            venue.exchange.user_streams.unsubscribe(venue.account.uid, hear)


class SimMarketData:
    """MarketDataPort: rules, time and trades of the venue, with the trader's own parsers and its own feed."""

    def __init__(self, venue: Venue, line: Line, draw: random.Random) -> None:
        self._venue, self._line = venue, line
        self._feed = Feed(self._connect, clock=venue.clock, random=draw.random)

    async def load_instruments(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        answer = await self._ask("/api/v3/exchangeInfo")
        listings = {each["symbol"]: each for each in answer["symbols"]}
        return {each: binance.parse_instrument(each, listings[binance.venue_symbol(each)]) for each in symbols}

    async def server_time_ns(self) -> int:
        return int((await self._ask("/api/v3/time"))["serverTime"]) * MS

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, *, limit: int) -> tuple[Candle, ...]:
        if not self._venue.tells_candles:
            await self._ask("/api/v3/time")
            return ()
        name = binance.venue_symbol(symbol)
        rows = await self._ask("/api/v3/klines", f"symbol={name}&interval={timeframe.value}&limit={limit + 1}")
        candles = [_parse_candle(symbol, timeframe, row) for row in rows]
        return tuple(each for each in candles if each.close_time_ns <= self._venue.clock.now_ns())

    async def run(self, symbols: Sequence[str], sink: MarketSink) -> None:
        await self._feed.run(symbols, sink)

    @property
    def counters(self) -> FeedCounters:
        return self._feed.counters

    async def close(self) -> None:
        return

    async def _ask(self, path: str, query: str = "") -> Any:
        await self._venue.clock.sleep(self._venue.latency_seconds)
        if self._venue.is_cut_off or self._line.is_dead:
            raise VenueUnavailable("refused", retry_after_seconds=1.0)
        text = self._venue.call("GET", path, query).text
        await self._venue.clock.sleep(self._venue.latency_seconds)
        return json.loads(text)

    async def _connect(self, symbols: Sequence[str], tap: Tap) -> None:
        venue, line = self._venue, self._line
        if venue.is_cut_off or line.is_dead or "market" in venue.refused_streams:
            raise StreamLost("refused")
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.ends[end] = "market"
        names = {binance.venue_symbol(symbol): symbol for symbol in symbols}
        loop = asyncio.get_running_loop()

        def hand_over(frame: Any) -> None:
            message = json.loads(frame.raw)
            if not end.done() and not line.is_dead:
                with suppress(LifeEnded):  # the venue lives on
                    tap.trade(binance.parse_trade(names[message["s"]], message))

        class Listener:
            def offer(self, stream: str, frame: Any) -> None:  # noqa: ARG002  the interface
                loop.call_soon(hand_over, frame)

        listener = Listener()
        streams = [f"{name.lower()}@trade" for name in names]
        for name in streams:
            venue.exchange.subscribe(listener, name, venue.clock.now_ns())
        try:
            await end
            raise StreamLost("the connection was dropped")
        finally:
            for name in streams:
                venue.exchange.subscriptions.remove(listener, name)


def _parse_candle(symbol: str, timeframe: Timeframe, row: Sequence[Any]) -> Candle:
    opened, high, low, closed, volume = (Decimal(text) for text in row[1:6])
    return Candle(
        symbol=symbol, open_time_ns=int(row[0]) * MS, timeframe_ns=timeframe.duration_ns, open=opened, high=high,
        low=low, close=closed, volume_base=volume, trades=binance.candle_trades(row),
    )  # fmt: skip


def add_rules(venue: Venue, rules: Sequence[Rule]) -> None:
    for rule in rules:
        venue.faults.script.add(rule, venue.clock.now_ns())

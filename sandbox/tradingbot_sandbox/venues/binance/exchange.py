"""The venue as one thing: world, streams, request weight, and the moment at which the play starts.

PURE, but for its log.

Flow: pump -> `advance(now)`; connections -> `subscribe` / `unsubscribe`; REST reads `world` and `publisher`.
"""

from __future__ import annotations

from typing import Protocol

from tradingbot_sandbox.market.port import PlayState, StartPolicy
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.publisher import TICK_NS, Publisher
from tradingbot_sandbox.venues.binance.rules import venue_name
from tradingbot_sandbox.venues.binance.streams import Stream, Subscriber, Subscriptions, parse_stream
from tradingbot_sandbox.venues.binance.weights import WeightMeter

EVENTS_AT_ONCE = 500
"""After so many events the connections get their turn to send."""


class Log(Protocol):
    """What is needed of a structured logger."""

    def debug(self, event: str, /, **values: object) -> object: ...

    def info(self, event: str, /, **values: object) -> object: ...

    def warning(self, event: str, /, **values: object) -> object: ...


class Exchange:
    """One simulated Binance."""

    def __init__(self, world: World, *, meter: WeightMeter, start: StartPolicy, log: Log) -> None:
        self.world = world
        self.meter = meter
        self.subscriptions = Subscriptions()
        self.publisher = Publisher(world, self.subscriptions)
        self.symbols = {venue_name(symbol): symbol for symbol in world.boards}
        self.slow_clients = 0
        self._start = start
        self._log = log
        self._next_tick_ns = world.opened_ns
        self._told_end = False

    def advance(self, now_ns: int) -> bool:
        """Do what is due by now, a bounded piece of it. True: there may be more at once."""
        tick_ns = self._next_tick_ns
        events = self.world.advance(min(now_ns, tick_ns), limit=EVENTS_AT_ONCE)
        for event in events:
            self.publisher.on_event(event)
        if len(events) == EVENTS_AT_ONCE:
            return True
        self._tell_end()
        if tick_ns > now_ns:
            return False
        self.publisher.on_tick(tick_ns)
        self._next_tick_ns = tick_ns + TICK_NS
        return True

    def next_due_ns(self) -> int:
        """When `advance` has something to do again."""
        due_ns = self.world.market.next_due_ns()
        return self._next_tick_ns if due_ns is None else min(due_ns, self._next_tick_ns)

    def start_if_due(self, now_ns: int) -> bool:
        """Begin to play when the start policy is met. True: it began just now."""
        market = self.world.market
        if market.position().state is not PlayState.WAITING or not self._start.is_met(
            trade_subscriptions=self.subscriptions.held_for_trades, subscriptions=self.subscriptions.held
        ):
            return False
        market.start(now_ns)
        self._log.info("play_started", market=market.kind, subscriptions=self.subscriptions.held)
        return True

    def subscribe(self, subscriber: Subscriber, name: str, now_ns: int) -> Stream | None:
        """Listen to a stream. None: there is no such stream, and the listener will hear nothing."""
        stream = parse_stream(name, self.symbols)
        if stream is not None:
            self.subscriptions.add(subscriber, stream)
            self.start_if_due(now_ns)
        return stream

    def burst(self, symbol: str, *, trades: int, now_ns: int) -> None:
        for event in self.world.burst(symbol, trades=trades, now_ns=now_ns):
            self.publisher.on_event(event)

    def _tell_end(self) -> None:
        position = self.world.market.position()
        if position.state is PlayState.ENDED and not self._told_end:
            self._told_end = True
            self._log.info("ended", played=position.played, published=dict(self.subscriptions.published))

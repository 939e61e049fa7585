"""The venue as one thing: world, streams, accounts, request weight, and the moment at which the play starts.

PURE, but for its log.

Flow: pump -> `advance(now)` -> streams and matching; connections -> `subscribe` / `unsubscribe`; REST reads `world`
and `publisher`, and places orders at the `desk`.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Protocol

from tradingbot_sandbox.market.events import Trade
from tradingbot_sandbox.market.port import PlayState, StartPolicy
from tradingbot_sandbox.market.world import World
from tradingbot_sandbox.venues.binance.accounts import Accounts
from tradingbot_sandbox.venues.binance.desk import TradingDesk
from tradingbot_sandbox.venues.binance.publisher import TICK_NS, Publisher
from tradingbot_sandbox.venues.binance.rules import rules_of, venue_name
from tradingbot_sandbox.venues.binance.streams import Stream, Subscriber, Subscriptions, parse_stream
from tradingbot_sandbox.venues.binance.user_streams import UserStreams
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

    def __init__(
        self, world: World, *, meter: WeightMeter, start: StartPolicy, log: Log, accounts: Accounts | None = None
    ) -> None:
        self.world = world
        self.meter = meter
        self.subscriptions = Subscriptions()
        self.publisher = Publisher(world, self.subscriptions)
        self.symbols = {venue_name(symbol): symbol for symbol in world.boards}
        self.rules = {symbol: rules_of(board.instrument) for symbol, board in world.boards.items()}
        """What the filters say now. They may be replaced at any time."""
        self.accounts = accounts or Accounts()
        self.user_streams = UserStreams()
        self.desk = TradingDesk(world.boards, self.accounts, self.rules, self.user_streams, self._print_trade)
        self.assets = tuple(dict.fromkeys(asset for i in world.market.instruments for asset in (i.base, i.quote)))
        self.requests: Counter[str] = Counter()
        """How many REST requests came, by method and path: `POST /api/v3/order`."""
        self.slow_clients = 0
        self._start = start
        self._log = log
        self._next_tick_ns = world.opened_ns
        self._told_end = False

    def advance(self, now_ns: int) -> bool:
        """Do what is due by now, a bounded piece of it. True: there may be more at once."""
        tick_ns = self._next_tick_ns
        for _ in range(EVENTS_AT_ONCE):
            # one by one: our orders meet the boards as they are after each event, and not after the next one
            events = self.world.advance(min(now_ns, tick_ns), limit=1)
            for event in events:
                self.publisher.on_event(event)
                self.desk.on_event(event, event.event_time_ns)
            if not events:
                break
        else:
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
        events = self.world.burst(symbol, trades=trades, now_ns=now_ns)
        for event in events:
            self.publisher.on_event(event)
        for event in events:  # after all of them: what our orders trade has later ids
            self.desk.on_event(event, event.event_time_ns)

    def _print_trade(self, symbol: str, price: Decimal, quantity: Decimal, *, buyer_is_maker: bool, now_ns: int) -> int:
        """A fill of ours is a trade of the market, seen by all."""
        board = self.world.boards[symbol]
        trade_id = self.world.market.reserve_trade_ids(symbol, trades=1)
        when_ns = max(now_ns, board.last_trade_ns)
        trade = Trade(symbol, trade_id, price, quantity, when_ns, when_ns, buyer_is_maker)
        board.apply(trade)
        self.publisher.on_event(trade)
        return trade_id

    def _tell_end(self) -> None:
        position = self.world.market.position()
        if position.state is PlayState.ENDED and not self._told_end:
            self._told_end = True
            self._log.info("ended", played=position.played, published=dict(self.subscriptions.published))

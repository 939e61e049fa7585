"""What a venue shows of its markets at this moment: one board a symbol, kept up by the market's events. PURE.

Flow: `World.advance(now)` pulls what is due, writes it on the boards, and returns it for the venue's streams.
Whatever answers a request reads a board. The world never runs ahead of `now`, and a board always shows the state
after the last event that was returned.
"""

from __future__ import annotations

from collections import deque

from tradingbot_sandbox.market.book import Book
from tradingbot_sandbox.market.chart import Chart
from tradingbot_sandbox.market.events import BookDelta, BookTicker, MarketEvent, Trade
from tradingbot_sandbox.market.history import History
from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.market.intervals import SECOND_NS
from tradingbot_sandbox.market.port import Market, Opening

KEPT_TRADES = 100_000
"""The trades of each symbol that can still be asked for.

A gap of a minute at twenty times the pace of BTC/USDT, several times over.
"""


class Board:
    """One symbol, as its venue shows it now."""

    def __init__(self, instrument: Instrument, opening: Opening, history: History) -> None:
        self.instrument = instrument
        self.book = Book(opening.book)
        self.top = _top(opening.book.symbol, self.book, history.end_ns)
        self.chart = Chart(history, opening.first_price)
        self.trades: deque[Trade] = deque(maxlen=KEPT_TRADES)
        self.last_price = opening.first_price
        self.last_trade_id = opening.first_trade_id - 1
        self.last_trade_ns = history.end_ns

    def apply(self, event: MarketEvent) -> None:
        if isinstance(event, Trade):
            self.trades.append(event)
            self.chart.add(event)
            self.last_price, self.last_trade_id, self.last_trade_ns = event.price, event.trade_id, event.time_ns
        elif isinstance(event, BookDelta):
            if self.book.apply(event) and event.final_update_id > self.top.update_id:
                self.top = _top(event.symbol, self.book, event.event_time_ns)
        elif event.update_id >= self.top.update_id:
            self.top = event


class World:
    """All boards of one market."""

    def __init__(self, market: Market, *, seed: int, now_ns: int) -> None:
        self.market = market
        self.opened_ns = now_ns // SECOND_NS * SECOND_NS
        self.boards = {i.symbol: self._open(i, seed) for i in market.instruments}

    def _open(self, instrument: Instrument, seed: int) -> Board:
        opening = self.market.opening(instrument.symbol)
        history = History(instrument, seed=seed, end_ns=self.opened_ns, last_price=opening.first_price)
        return Board(instrument, opening, history)

    def advance(self, now_ns: int, *, limit: int) -> list[MarketEvent]:
        """At most `limit` events that are due, already on the boards."""
        events = self.market.take(now_ns, limit=limit)
        for event in events:
            self.boards[event.symbol].apply(event)
        return events

    def burst(self, symbol: str, *, trades: int, now_ns: int) -> list[MarketEvent]:
        """So many extra trades at once, of one step each, at the best prices.

        They are in no recording and leave the book as it is.
        """
        board = self.boards[symbol]
        first_id = self.market.reserve_trade_ids(symbol, trades=trades)
        when_ns = max(now_ns, board.last_trade_ns)
        events: list[MarketEvent] = [
            Trade(
                symbol=symbol,
                trade_id=first_id + n,
                price=board.top.bid_price if n % 2 else board.top.ask_price,
                quantity=board.instrument.step,
                time_ns=when_ns,
                event_time_ns=when_ns,
                buyer_is_maker=n % 2 == 1,
            )
            for n in range(trades)
        ]
        for event in events:
            board.apply(event)
        return events


def _top(symbol: str, book: Book, time_ns: int) -> BookTicker:
    bid, ask = book.best_bid, book.best_ask
    if bid is None or ask is None:
        raise ValueError(f"{symbol}: a market without both sides cannot be shown")
    return BookTicker(symbol, book.update_id, bid[0], bid[1], ask[0], ask[1], time_ns)

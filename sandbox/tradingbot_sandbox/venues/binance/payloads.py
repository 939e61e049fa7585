"""The bodies of Binance's stream messages. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from tradingbot_sandbox.market.book import Book
from tradingbot_sandbox.market.candles import Candle
from tradingbot_sandbox.market.events import BookDelta, BookTicker, Trade
from tradingbot_sandbox.market.intervals import Interval
from tradingbot_sandbox.venues.binance.aggregate import AggregateTrade
from tradingbot_sandbox.venues.binance.rules import venue_name
from tradingbot_sandbox.venues.binance.text import decimal_text, level_texts, milliseconds

Body = dict[str, object]


def trade_body(trade: Trade) -> Body:
    return {
        "e": "trade",
        "E": milliseconds(trade.event_time_ns),
        "s": venue_name(trade.symbol),
        "t": trade.trade_id,
        "p": decimal_text(trade.price),
        "q": decimal_text(trade.quantity),
        "T": milliseconds(trade.time_ns),
        "m": trade.buyer_is_maker,
        "M": True,
    }


def aggregate_body(trade: AggregateTrade) -> Body:
    return {
        "e": "aggTrade",
        "E": milliseconds(trade.event_time_ns),
        "s": venue_name(trade.symbol),
        "a": trade.aggregate_id,
        "p": decimal_text(trade.price),
        "q": decimal_text(trade.quantity),
        "f": trade.first_trade_id,
        "l": trade.last_trade_id,
        "T": milliseconds(trade.time_ns),
        "m": trade.buyer_is_maker,
        "M": True,
    }


def delta_body(delta: BookDelta) -> Body:
    return {
        "e": "depthUpdate",
        "E": milliseconds(delta.event_time_ns),
        "s": venue_name(delta.symbol),
        "U": delta.first_update_id,
        "u": delta.final_update_id,
        "b": level_texts(delta.bids),
        "a": level_texts(delta.asks),
    }


def book_ticker_body(top: BookTicker) -> Body:
    return {
        "u": top.update_id,
        "s": venue_name(top.symbol),
        "b": decimal_text(top.bid_price),
        "B": decimal_text(top.bid_quantity),
        "a": decimal_text(top.ask_price),
        "A": decimal_text(top.ask_quantity),
    }


def partial_depth_body(book: Book, levels: int) -> Body:
    return {
        "lastUpdateId": book.update_id,
        "bids": level_texts(book.bids(levels)),
        "asks": level_texts(book.asks(levels)),
    }


def kline_body(symbol: str, interval: Interval, candle: Candle, *, closed: bool, event_ms: int) -> Body:
    return {
        "e": "kline",
        "E": event_ms,
        "s": venue_name(symbol),
        "k": {
            "t": milliseconds(candle.open_ns),
            "T": milliseconds(interval.next(candle.open_ns)) - 1,
            "s": venue_name(symbol),
            "i": interval.name,
            "f": -1 if candle.first_trade_id is None else candle.first_trade_id,
            "L": -1 if candle.last_trade_id is None else candle.last_trade_id,
            "o": decimal_text(candle.open),
            "c": decimal_text(candle.close),
            "h": decimal_text(candle.high),
            "l": decimal_text(candle.low),
            "v": decimal_text(candle.volume_base),
            "n": candle.trades,
            "x": closed,
            "q": decimal_text(candle.volume_quote),
            "V": decimal_text(candle.taker_buy_base),
            "Q": decimal_text(candle.taker_buy_quote),
            "B": "0",
        },
    }


class DepthBatch:
    """Deltas gathered for the slow depth stream: one message a second, with each level as it stands at the end."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._first_update_id: int | None = None
        self._final_update_id = 0
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}

    def add(self, delta: BookDelta) -> None:
        if self._first_update_id is None:
            self._first_update_id = delta.first_update_id
        self._final_update_id = delta.final_update_id
        self._bids.update(delta.bids)
        self._asks.update(delta.asks)

    def flush(self, now_ns: int) -> BookDelta | None:
        """Everything since the last flush. None: nothing changed."""
        if self._first_update_id is None:
            return None
        merged = BookDelta(
            symbol=self._symbol,
            first_update_id=self._first_update_id,
            final_update_id=self._final_update_id,
            bids=_sorted_levels(self._bids, descending=True),
            asks=_sorted_levels(self._asks, descending=False),
            event_time_ns=now_ns,
        )
        self._first_update_id = None
        self._bids.clear()
        self._asks.clear()
        return merged


def _sorted_levels(levels: Mapping[Decimal, Decimal], *, descending: bool) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple(sorted(levels.items(), reverse=descending))

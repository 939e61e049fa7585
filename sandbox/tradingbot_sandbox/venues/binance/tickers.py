"""Rolling 24 h statistics of a symbol, as REST and as streams tell them. PURE.

The window's start is cut to the minute, so it is up to a minute longer than a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tradingbot_sandbox.market.candles import Candle
from tradingbot_sandbox.market.events import NS_PER_MS, BookTicker
from tradingbot_sandbox.market.intervals import DAY_NS
from tradingbot_sandbox.market.world import Board
from tradingbot_sandbox.venues.binance.rules import venue_name
from tradingbot_sandbox.venues.binance.text import decimal_text, milliseconds

Body = dict[str, object]


@dataclass(frozen=True, slots=True)
class DayStatistics:
    """One symbol's last 24 hours."""

    symbol: str
    window: Candle
    last_price: Decimal
    last_quantity: Decimal
    last_trade_id: int
    top: BookTicker
    close_ms: int

    @property
    def change(self) -> Decimal:
        return self.last_price - self.window.open

    @property
    def change_percent(self) -> str:
        return f"{self.change * 100 / self.window.open:.3f}"

    @property
    def average(self) -> Decimal:
        return self.window.volume_quote / self.window.volume_base if self.window.volume_base else self.last_price

    @property
    def open_ms(self) -> int:
        return self.close_ms - DAY_NS // NS_PER_MS

    @property
    def first_trade_id(self) -> int:
        # trades of the walk have no ids of their own; this keeps last - first + 1 = count, as it is at Binance
        return self.last_trade_id - self.window.trades + 1


def day_statistics(board: Board, now_ns: int) -> DayStatistics:
    last = board.trades[-1] if board.trades else None
    return DayStatistics(
        symbol=venue_name(board.instrument.symbol),
        window=board.chart.window(now_ns - DAY_NS, now_ns),
        last_price=board.last_price,
        last_quantity=last.quantity if last else Decimal(0),
        last_trade_id=board.last_trade_id,
        top=board.top,
        close_ms=milliseconds(now_ns),
    )


def rest_ticker(day: DayStatistics, *, mini: bool) -> Body:
    window = day.window
    head: Body = {"symbol": day.symbol}
    if not mini:
        head |= {
            "priceChange": decimal_text(day.change),
            "priceChangePercent": day.change_percent,
            "weightedAvgPrice": decimal_text(day.average),
            "prevClosePrice": decimal_text(window.open),
            "lastPrice": decimal_text(day.last_price),
            "lastQty": decimal_text(day.last_quantity),
            "bidPrice": decimal_text(day.top.bid_price),
            "bidQty": decimal_text(day.top.bid_quantity),
            "askPrice": decimal_text(day.top.ask_price),
            "askQty": decimal_text(day.top.ask_quantity),
        }
    return head | {
        "openPrice": decimal_text(window.open),
        "highPrice": decimal_text(window.high),
        "lowPrice": decimal_text(window.low),
        "lastPrice": decimal_text(day.last_price),
        "volume": decimal_text(window.volume_base),
        "quoteVolume": decimal_text(window.volume_quote),
        "openTime": day.open_ms,
        "closeTime": day.close_ms,
        "firstId": day.first_trade_id,
        "lastId": day.last_trade_id,
        "count": window.trades,
    }


def stream_ticker(day: DayStatistics) -> Body:
    window = day.window
    return {
        "e": "24hrTicker",
        "E": day.close_ms,
        "s": day.symbol,
        "p": decimal_text(day.change),
        "P": day.change_percent,
        "w": decimal_text(day.average),
        "x": decimal_text(window.open),
        "c": decimal_text(day.last_price),
        "Q": decimal_text(day.last_quantity),
        "b": decimal_text(day.top.bid_price),
        "B": decimal_text(day.top.bid_quantity),
        "a": decimal_text(day.top.ask_price),
        "A": decimal_text(day.top.ask_quantity),
        "o": decimal_text(window.open),
        "h": decimal_text(window.high),
        "l": decimal_text(window.low),
        "v": decimal_text(window.volume_base),
        "q": decimal_text(window.volume_quote),
        "O": day.open_ms,
        "C": day.close_ms,
        "F": day.first_trade_id,
        "L": day.last_trade_id,
        "n": window.trades,
    }


def stream_mini_ticker(day: DayStatistics) -> Body:
    window = day.window
    return {
        "e": "24hrMiniTicker",
        "E": day.close_ms,
        "s": day.symbol,
        "c": decimal_text(day.last_price),
        "o": decimal_text(window.open),
        "h": decimal_text(window.high),
        "l": decimal_text(window.low),
        "v": decimal_text(window.volume_base),
        "q": decimal_text(window.volume_quote),
    }


def rest_book_ticker(board: Board) -> Body:
    top = board.top
    return {
        "symbol": venue_name(board.instrument.symbol),
        "bidPrice": decimal_text(top.bid_price),
        "bidQty": decimal_text(top.bid_quantity),
        "askPrice": decimal_text(top.ask_price),
        "askQty": decimal_text(top.ask_quantity),
    }


def rest_price(board: Board) -> Body:
    return {"symbol": venue_name(board.instrument.symbol), "price": decimal_text(board.last_price)}

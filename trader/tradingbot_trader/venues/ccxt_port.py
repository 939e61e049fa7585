"""SHELL. Market data through ccxt.pro. The only import of ccxt. Venue -> this -> feed -> sink.

The package is used as it is; its class is extended. What ccxt keeps for whoever asks later is passed by: a trade goes
to the tap where ccxt's handler gets it (its own cache loses trades of a burst), a book after each change that ccxt
applied. `watch_trades` is therefore called once and only ends with the connection. Each connection has an exchange
object of its own, so that nothing of one that died lives on in the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random as system_random
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp

from tradingbot_api.spec import ExchangeId, Network, Timeframe
from tradingbot_trader.clock import Clock
from tradingbot_trader.market.events import Book, Candle, MarketSink
from tradingbot_trader.market.feed import Feed, FeedSettings, StreamLost, Tap
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.venues import binance
from tradingbot_trader.venues.ccxt_line import Handle, lined
from tradingbot_trader.venues.ccxt_slim import Ccxt, load
from tradingbot_trader.venues.port import (
    AddressRefused,
    FeedCounters,
    MarketDataPort,
    UnknownSymbol,
    UnsupportedExchange,
    VenueError,
    VenueRefused,
    VenueUnavailable,
)
from tradingbot_trader.venues.turns import Turns

REQUEST_TIMEOUT_MS = 10_000
RATE_LIMIT_PAUSE_SECONDS = 60.0
"""When a venue asks for patience and does not say how long: Binance counts request weight by the minute."""
_FIRST_RESYNC_SECONDS = 0.5
_MAX_RESYNC_SECONDS = 30.0
_MS_NS = 1_000_000
_QUERY = re.compile(r"(\w+://)(?:[^\s/?#@]*@)?([^\s?#\"']*)(?:[?#][^\s\"']*)?")


def build_market_data(
    exchange_id: ExchangeId,
    network: Network,
    *,
    clock: Clock,
    rest_url: str | None = None,
    stream_url: str | None = None,
    random: Callable[[], float] = system_random.random,
    settings: FeedSettings | None = None,
    on_rate_limits: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _: None,
) -> MarketDataPort:
    """The adapter of an exchange. Raises UnsupportedExchange or AddressRefused. Opens nothing yet.

    `on_rate_limits` is told what the venue says of its limits, whenever its rules are loaded.
    """
    if exchange_id is not ExchangeId.BINANCE:
        raise UnsupportedExchange(f"this version trades on binance; {exchange_id.value} comes with a later one")
    return CcxtMarketData(
        load_ccxt(exchange_id),
        addresses=choose_addresses(network, rest_url=rest_url, stream_url=stream_url),
        clock=clock,
        random=random,
        settings=settings,
        on_rate_limits=on_rate_limits,
    )


def load_ccxt(exchange_id: ExchangeId) -> Ccxt:
    """Of one exchange; loaded once, whoever asks."""
    return load(exchange_id.value, _whole_ccxt)


def choose_addresses(network: Network, *, rest_url: str | None, stream_url: str | None) -> tuple[str, str]:
    """REST and streams. Whoever sets an address could read what is sent there: Mainnet's are fixed in code."""
    fixed = binance.ADDRESSES.get(network)
    if network is Network.MAINNET and (rest_url or stream_url):
        raise AddressRefused("the addresses of network Mainnet are fixed: leave out --rest-url and --stream-url")
    if rest_url and stream_url:
        return rest_url.rstrip("/"), stream_url.rstrip("/")
    if rest_url or stream_url or fixed is None:
        raise AddressRefused(f"network {network.value} needs both --rest-url and --stream-url: set them in the chart")
    return fixed


def scrub(text: str) -> str:
    """Without the query and the credentials of any URL: ccxt's network errors carry signed ones whole."""
    return _QUERY.sub(r"\1\2", text)[:300]


class CcxtMarketData:
    """MarketDataPort of Binance."""

    def __init__(
        self,
        ccxt: Ccxt,
        *,
        addresses: tuple[str, str],
        clock: Clock,
        random: Callable[[], float],
        settings: FeedSettings | None = None,
        on_rate_limits: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _: None,
    ) -> None:
        self._errors = ccxt.errors
        # What a send into a dying connection raises, ccxt hands on as it is.
        self._line_errors = (ccxt.errors.BaseError, aiohttp.ClientError, OSError)
        self._class = _tapped(ccxt.exchange_class, ccxt.errors)
        self._addresses = binance.addresses(*addresses)
        self._clock = clock
        self._feed = Feed(self._connect, clock=clock, random=random, settings=settings)
        self._session: aiohttp.ClientSession | None = None
        self._on_rate_limits = on_rate_limits
        self._rest = self._new_exchange(is_stream=False)
        self._rest.enableLastJsonResponse = True  # for the rate limits beside the markets, which ccxt leaves out
        self._instruments: dict[str, Instrument] = {}
        self._markets: dict[str, Any] = {}
        """The same in ccxt's own form."""

    async def load_instruments(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        self._open()
        with self._asking("exchangeInfo"):
            markets = await self._fetch_markets(symbols)
            unknown = [each for each in symbols if each not in markets or not binance.is_trading(markets[each]["info"])]
            if unknown:
                raise UnknownSymbol(unknown, venue=binance.NAME)
            instruments = {each: binance.parse_instrument(each, markets[each]["info"]) for each in symbols}
        # Added, not replaced: the symbols of a stream that runs stay known, whatever an edit of the spec asks for.
        self._markets |= {each: markets[each] for each in symbols}
        self._instruments |= instruments
        self._rest.set_markets(list(self._markets.values()))
        return instruments

    async def server_time_ns(self) -> int:
        self._open()
        with self._asking("time"):
            return int(await self._rest.fetch_time()) * _MS_NS

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, *, limit: int) -> tuple[Candle, ...]:
        now_ns = await self.server_time_ns()  # asked first: what was over then is closed in the answers that follow
        found: dict[int, Candle] = {}
        before: dict[str, int] = {}
        with self._asking("klines"):
            while len(found) < limit:
                size = min(binance.CANDLES_PER_REQUEST, limit - len(found) + 1)
                rows = await self._rest.fetch_ohlcv(symbol, timeframe.value, None, size, before)
                candles = [_candle(symbol, timeframe, row) for row in rows]
                older = {candle.open_time_ns: candle for candle in candles if candle.close_time_ns <= now_ns} | found
                if len(older) == len(found):
                    break
                found = older
                before = {"until": min(found) // _MS_NS - 1}
        return tuple(found[opening] for opening in sorted(found))[-limit:]

    async def run(self, symbols: Sequence[str], sink: MarketSink) -> None:
        unloaded = [symbol for symbol in symbols if symbol not in self._instruments]
        if unloaded:
            raise ValueError(f"load_instruments comes first: {', '.join(unloaded)}")
        await self._feed.run(symbols, sink)

    @property
    def counters(self) -> FeedCounters:
        return replace(self._feed.counters)

    async def close(self) -> None:
        session, self._session, self._rest.session = self._session, None, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=self._rest.cafile)
            # No proxy from the environment: whoever sets one reads, and could answer, what is meant for the venue.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), trust_env=False)
            self._rest.session, self._rest.ssl_context = self._session, context
        return self._session

    def _new_exchange(self, *, is_stream: bool) -> Any:
        exchange = self._class(
            {
                "options": dict(binance.OPTIONS),
                "has": {"fetchCurrencies": False},
                "timeout": REQUEST_TIMEOUT_MS,
                "enableRateLimit": is_stream,  # spaces SUBSCRIBE: Binance hangs up at more than 5 messages a second
            }
        )
        exchange.urls["api"] = self._addresses
        exchange.own_session = False
        return exchange

    async def _fetch_markets(self, symbols: Sequence[str]) -> dict[str, Any]:
        """Of those that the venue lists. It refuses a question about many for one, and does not say for which."""
        try:
            markets = await self._rest.fetch_markets(binance.markets_query(symbols))
            self._on_rate_limits((self._rest.last_json_response or {}).get("rateLimits") or ())
        except self._errors.BaseError as error:
            if not binance.is_unknown_symbol(str(error)):
                raise
            if len(symbols) == 1:
                return {}
            return {name: each for symbol in symbols for name, each in (await self._fetch_markets([symbol])).items()}
        return {market["symbol"]: market for market in markets}

    async def _connect(self, symbols: Sequence[str], tap: Tap) -> None:
        exchange = self._new_exchange(is_stream=True)
        exchange.session, exchange.ssl_context = self._open(), self._rest.ssl_context
        exchange.set_markets([self._markets[symbol] for symbol in symbols])
        exchange._tap = tap
        exchange._names = {self._instruments[symbol].venue_symbol: symbol for symbol in symbols}
        # The trades are asked for first: a book that comes then proves that they were.
        tasks = [
            asyncio.ensure_future(exchange.watch_trades_for_symbols(list(symbols))),
            *(asyncio.ensure_future(self._keep_book(exchange, symbol, tap)) for symbol in symbols),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        except self._line_errors as error:
            pause_seconds = max(exchange._pause_seconds, self._pause_seconds(exchange, error))
            raise StreamLost(_explain(error), retry_after_seconds=pause_seconds) from None
        finally:
            exchange._tap = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await exchange.hang_up()

    async def _keep_book(self, exchange: Any, symbol: str, tap: Tap) -> None:
        """A book that lost step is built again; the connection, and the other books, stay as they are."""
        failures = 0
        while True:
            try:
                await exchange.watch_order_book_for_symbols([symbol])
                failures = 0
            except self._line_errors as error:
                failures += 1
                step = min(_MAX_RESYNC_SECONDS, _FIRST_RESYNC_SECONDS * 2.0 ** (failures - 1))
                await self._clock.sleep(max(step, self._pause_seconds(exchange, error)))
                tap.resynced(symbol, _explain(error))  # only now: a connection that died has ended this task meanwhile

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._line_errors as error:
            raise self._translate(error) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            problem = f"{binance.NAME}'s answer to {what} cannot be read: {scrub(repr(error))}"
            raise VenueUnavailable(problem, retry_after_seconds=1.0) from error

    def _translate(self, error: Exception) -> VenueError:
        """By class: good enough for questions. Of an order it would say nothing about whether the order exists."""
        if isinstance(error, self._errors.ExchangeError):
            return VenueRefused(_explain(error))
        return VenueUnavailable(_explain(error), retry_after_seconds=max(self._pause_seconds(self._rest, error), 1.0))

    def _pause_seconds(self, exchange: Any, error: Exception) -> float:
        if isinstance(error, self._errors.DDoSProtection | self._errors.RateLimitExceeded):
            asked = (exchange.last_response_headers or {}).get("Retry-After", "")
            return float(asked) if asked.isdecimal() else RATE_LIMIT_PAUSE_SECONDS
        return 0.0


def _tapped(exchange_class: type[Any], errors: Any) -> type[Any]:
    class Tapped(lined(exchange_class)):  # type: ignore[misc]  # ccxt is loaded at run time, and has no types
        number = Decimal
        """What ccxt makes most numbers with. Its own choice, float, would round what the venue wrote."""
        _tap: Tap | None = None
        _names: Mapping[str, str] = {}

        def intercept(self, handle: Handle) -> Handle:
            return Turns(
                functools.partial(self._take_frame, handle),
                call_soon=self.asyncio_loop.call_soon,
                overflow=self._lose_frame,
            ).put

        def handle_trade(self, client: Any, message: Mapping[str, Any]) -> None:  # noqa: ARG002  ccxt's signature
            if self._tap is not None:
                trade = binance.parse_trade(self._names[message["s"]], message)
                self._tap.trade(trade)

        def handle_order_book(self, client: Any, message: Mapping[str, Any]) -> None:
            symbol = self._names[message["s"]]
            if self._tap is None:
                return
            self._tap.alive(symbol)
            super().handle_order_book(client, message)
            book = self.orderbooks.get(symbol)
            if book is None or book["nonce"] != message["u"]:
                return  # before its snapshot, or older than it
            book.limit()  # far levels that are dropped come back with their next change
            bids, asks = binance.parse_levels(book["bids"]), binance.parse_levels(book["asks"])
            if bids and asks and bids[0].price >= asks[0].price:
                self._build_again(client, symbol)
            else:
                self._tap.book(Book(symbol, binance.book_time_ns(message), bids, asks))

        def _build_again(self, client: Any, symbol: str) -> None:
            """No order book of a venue is crossed: what we hold is not the venue's."""
            subscription = f"orderbook::{symbol}"
            del self.orderbooks[symbol]
            client.subscriptions.pop(subscription, None)
            client.reject(errors.ChecksumError("the best bid is not below the best ask"), subscription)

        def parse_order_book_bid_ask(self, bidask: Sequence[str], *_: object) -> list[Decimal]:
            """A level of the snapshot. Here ccxt goes through float, whatever `number` says."""
            return [Decimal(bidask[0]), Decimal(bidask[1])]

        def handle_delta(self, bookside: Any, delta: Sequence[str]) -> None:
            """A changed level. As above."""
            bookside.store(Decimal(delta[0]), Decimal(delta[1]))

        def parse_ohlcv(self, ohlcv: Sequence[Any], market: Any = None) -> list[Any]:
            return [*super().parse_ohlcv(ohlcv, market), binance.candle_trades(ohlcv)]

        def _take_frame(self, handle: Callable[[Any], None], frame: Any) -> None:
            """ccxt's receive loop ends without a word when a frame makes it raise."""
            if self._tap is None:
                return
            try:
                handle(frame)
            except Exception as error:  # noqa: BLE001  whatever it was, the next frame may be a good one
                self._tap.unreadable(error)

        def _lose_frame(self) -> None:
            if self._tap is not None:
                self._tap.overflowed()

    return Tapped


def _candle(symbol: str, timeframe: Timeframe, row: Sequence[Any]) -> Candle:
    opening_ms, first, high, low, last, volume_base, trades = row
    return Candle(
        symbol=symbol,
        open_time_ns=opening_ms * _MS_NS,
        timeframe_ns=timeframe.duration_ns,
        open=first,
        high=high,
        low=low,
        close=last,
        volume_base=volume_base,
        trades=trades,
    )


def _explain(error: Exception) -> str:
    cause = error.__cause__
    return scrub(f"{error} ({cause})" if cause is not None and str(cause) else str(error) or type(error).__name__)


def _whole_ccxt() -> Any:
    import ccxt.pro

    return ccxt.pro

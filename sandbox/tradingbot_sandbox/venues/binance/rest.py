"""Binance's REST API: the way of a request, and the public endpoints. PURE, but for its log.

Flow: server (or a simulation, without sockets) -> `answer` -> public endpoints here, signed ones in private_rest.
Each request is counted and weighed before it is read. Not here, and refused as unread parameters: `timeZone` of klines
and `symbolStatus`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import parse_qsl

from tradingbot_sandbox.market.events import NS_PER_MS, Trade
from tradingbot_sandbox.market.intervals import Interval
from tradingbot_sandbox.market.world import Board
from tradingbot_sandbox.venues.binance import errors, tickers
from tradingbot_sandbox.venues.binance.auth import authenticate, signed_payload
from tradingbot_sandbox.venues.binance.desk import average_price
from tradingbot_sandbox.venues.binance.errors import ApiError
from tradingbot_sandbox.venues.binance.exchange import Exchange, Log
from tradingbot_sandbox.venues.binance.intervals import INTERVALS
from tradingbot_sandbox.venues.binance.private_rest import PrivateApi, SignedEndpoint
from tradingbot_sandbox.venues.binance.query import Query
from tradingbot_sandbox.venues.binance.rules import build_exchange_info, venue_name
from tradingbot_sandbox.venues.binance.text import decimal_text, json_text, level_texts, milliseconds

Pairs = Sequence[tuple[str, str]]
"""Names and values, as they were sent."""

NOT_FOUND_PAGE = "<html><body><h2>404 Not found</h2></body></html>"
"""Its changelog has this answer for an unknown path. A known path with another method: the same [unverified]."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. A body that is text is sent as it is, as HTML; all others as JSON."""

    http_status: int
    body: object
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body if isinstance(self.body, str) else json_text(self.body)

    @property
    def content_type(self) -> str:
        return "text/html" if isinstance(self.body, str) else "application/json"


@dataclass(frozen=True, slots=True)
class _Endpoint:
    weigh: Callable[[dict[str, str]], int]
    answer: Callable[[Query, int], object]


class RestApi:
    """Answers requests out of the exchange's boards."""

    def __init__(self, exchange: Exchange, log: Log) -> None:
        self._exchange = exchange
        self._boards = exchange.world.boards
        self._log = log
        self._private = PrivateApi(exchange)
        # weights: Binance's REST page, one by one; the order is that of the page
        self._endpoints: dict[str, _Endpoint] = {
            "/api/v3/ping": _Endpoint(lambda _: 1, self._ping),
            "/api/v3/time": _Endpoint(lambda _: 1, self._time),
            "/api/v3/exchangeInfo": _Endpoint(lambda _: 20, self._exchange_info),
            "/api/v3/depth": _Endpoint(_depth_weight, self._depth),
            "/api/v3/trades": _Endpoint(lambda _: 25, self._trades),
            "/api/v3/historicalTrades": _Endpoint(lambda _: 25, self._historical_trades),
            "/api/v3/aggTrades": _Endpoint(lambda _: 4, self._aggregate_trades),
            "/api/v3/klines": _Endpoint(lambda _: 2, self._klines),
            "/api/v3/avgPrice": _Endpoint(lambda _: 2, self._average_price),
            "/api/v3/ticker/24hr": _Endpoint(_day_weight, self._day_ticker),
            "/api/v3/ticker/price": _Endpoint(_all_weight, self._price_ticker),
            "/api/v3/ticker/bookTicker": _Endpoint(_all_weight, self._book_ticker),
        }

    def answer(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: str = "",
        headers: Mapping[str, str] | None = None,
        address: str,
        now_ns: int,
    ) -> Answer:
        """The answer to one request. `query` and `body` are the texts exactly as they were sent."""
        endpoint = self._find(method, path)
        if endpoint is None:
            self._log.warning("unknown_endpoint", method=method, path=path)
            return Answer(404, NOT_FOUND_PAGE)
        self._exchange.requests[f"{method} {path}"] += 1
        pairs = read_pairs(query, body)
        refusal = self._exchange.meter.charge(address, endpoint.weigh(dict(pairs)), now_ns)
        used = str(self._exchange.meter.used(address, now_ns))
        # in lower case: ccxt hands headers over in a plain dict, and no reader may rely on the documentation's case
        given = {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}
        try:
            if refusal is not None:
                self._log.warning("request_refused", address=address, path=path, status=refusal.http_status, used=used)
                raise refusal
            asked = Query(pairs, self._exchange.symbols)
            if isinstance(endpoint, _Endpoint):
                return Answer(200, endpoint.answer(asked, now_ns), given)
            key = authenticate(
                self._exchange.accounts,
                asked,
                api_key=_api_key(headers or {}),
                payload=signed_payload(query, body),
                right=endpoint.right,
                address=address,
                now_ns=now_ns,
            )
            done = endpoint.answer(key, asked, now_ns)
            return Answer(200, done.body, given | done.headers)
        except ApiError as error:
            if error.retry_after_seconds is not None:
                given["Retry-After"] = str(error.retry_after_seconds)
            return Answer(error.http_status, error.body, given)

    def _find(self, method: str, path: str) -> _Endpoint | SignedEndpoint | None:
        public = self._endpoints.get(path) if method == "GET" else None
        return public or self._private.find(method, path)

    def _ping(self, query: Query, _now_ns: int) -> object:
        query.check_all_read()
        return {}

    def _time(self, query: Query, now_ns: int) -> object:
        query.check_all_read()
        return {"serverTime": milliseconds(now_ns)}

    def _exchange_info(self, query: Query, now_ns: int) -> object:
        asked = query.one_or_many()
        permissions = query.text("permissions")
        shows_permissions = query.text("showPermissionSets") != "false"
        query.check_all_read()
        if asked is not None and permissions is not None:
            raise errors.invalid_combination()
        names = [asked] if isinstance(asked, str) else asked or list(self._boards)
        return build_exchange_info(
            [self._exchange.rules[name] for name in names],
            now_ms=milliseconds(now_ns),
            weight_limit=self._exchange.meter.limit,
            permission_sets=shows_permissions,
        )

    def _depth(self, query: Query, _now_ns: int) -> object:
        book = self._boards[query.symbol()].book
        limit = query.limit(default=100, most=5000)
        query.check_all_read()
        return {
            "lastUpdateId": book.update_id,
            "bids": level_texts(book.bids(limit)),
            "asks": level_texts(book.asks(limit)),
        }

    def _trades(self, query: Query, _now_ns: int) -> object:
        trades = self._boards[query.symbol()].trades
        limit = query.limit(default=500, most=1000)
        query.check_all_read()
        return [_trade_row(trade) for trade in list(trades)[-limit:]]

    def _historical_trades(self, query: Query, _now_ns: int) -> object:
        trades = self._boards[query.symbol()].trades
        limit, from_id = query.limit(default=500, most=1000), query.integer("fromId")
        query.check_all_read()
        if from_id is None:
            return [_trade_row(trade) for trade in list(trades)[-limit:]]
        return [_trade_row(trade) for trade in islice((t for t in trades if t.trade_id >= from_id), limit)]

    def _aggregate_trades(self, query: Query, _now_ns: int) -> object:
        groups = self._exchange.publisher.aggregators[query.symbol()].closed
        limit = query.limit(default=500, most=1000)
        from_id, start_ms, end_ms = query.integer("fromId"), query.integer("startTime"), query.integer("endTime")
        query.check_all_read()
        if from_id is not None and (start_ms is not None or end_ms is not None):
            raise errors.invalid_combination()
        found = [
            group
            for group in groups
            if (from_id is None or group.aggregate_id >= from_id)
            and (start_ms is None or milliseconds(group.time_ns) >= start_ms)
            and (end_ms is None or milliseconds(group.time_ns) <= end_ms)
        ]
        is_from_start = from_id is not None or start_ms is not None
        return [
            {
                "a": group.aggregate_id,
                "p": decimal_text(group.price),
                "q": decimal_text(group.quantity),
                "f": group.first_trade_id,
                "l": group.last_trade_id,
                "T": milliseconds(group.time_ns),
                "m": group.buyer_is_maker,
                "M": True,
            }
            for group in (found[:limit] if is_from_start else found[-limit:])
        ]

    def _klines(self, query: Query, now_ns: int) -> object:
        symbol, name = query.symbol(), query.text("interval")
        if name is None:
            raise errors.mandatory_parameter("interval")
        interval = INTERVALS.get(name)
        if interval is None:
            raise errors.invalid_interval()
        start_ms, end_ms = query.integer("startTime"), query.integer("endTime")
        limit = query.limit(default=500, most=1000)
        query.check_all_read()
        first_ns, last_ns = _openings(interval, start_ms, end_ms, limit, now_ns)
        rows = self._boards[symbol].chart.candles(interval, first_open_ns=first_ns, last_open_ns=last_ns)
        if rows.from_walk:
            self._log.info(
                "klines_served",
                symbol=venue_name(symbol),
                interval=name,
                rows=len(rows.candles),
                rows_from_walk=rows.from_walk,
                klines_from_walk=True,
            )
        return [
            [
                milliseconds(candle.open_ns),
                decimal_text(candle.open),
                decimal_text(candle.high),
                decimal_text(candle.low),
                decimal_text(candle.close),
                decimal_text(candle.volume_base),
                milliseconds(interval.next(candle.open_ns)) - 1,
                decimal_text(candle.volume_quote),
                candle.trades,
                decimal_text(candle.taker_buy_base),
                decimal_text(candle.taker_buy_quote),
                "0",
            ]
            for candle in rows.candles
        ]

    def _average_price(self, query: Query, now_ns: int) -> object:
        board = self._boards[query.symbol()]
        query.check_all_read()
        price = average_price(board, now_ns)
        return {"mins": 5, "price": decimal_text(price), "closeTime": milliseconds(board.last_trade_ns)}

    def _day_ticker(self, query: Query, now_ns: int) -> object:
        asked, kind = query.one_or_many(), query.text("type")
        query.check_all_read()
        if kind not in (None, "FULL", "MINI"):
            raise errors.invalid_ticker_type()

        def build(board: Board) -> tickers.Body:
            return tickers.rest_ticker(tickers.day_statistics(board, now_ns), mini=kind == "MINI")

        return self._each(asked, build)

    def _price_ticker(self, query: Query, _now_ns: int) -> object:
        asked = query.one_or_many()
        query.check_all_read()
        return self._each(asked, tickers.rest_price)

    def _book_ticker(self, query: Query, _now_ns: int) -> object:
        asked = query.one_or_many()
        query.check_all_read()
        return self._each(asked, tickers.rest_book_ticker)

    def _each(self, asked: str | list[str] | None, build: Callable[[Board], tickers.Body]) -> object:
        """One object for one symbol, a list for many or all."""
        if isinstance(asked, str):
            return build(self._boards[asked])
        return [build(self._boards[name]) for name in asked or self._boards]


def read_pairs(query: str, body: str) -> Pairs:
    """The parameters of both. One that is in both counts as the query has it (its page "General Information")."""
    from_query = parse_qsl(query, keep_blank_values=True)
    names = {name for name, _ in from_query}
    return from_query + [pair for pair in parse_qsl(body, keep_blank_values=True) if pair[0] not in names]


def _api_key(headers: Mapping[str, str]) -> str | None:
    return next((value for name, value in headers.items() if name.lower() == "x-mbx-apikey"), None)


def _trade_row(trade: Trade) -> dict[str, object]:
    return {
        "id": trade.trade_id,
        "price": decimal_text(trade.price),
        "qty": decimal_text(trade.quantity),
        "quoteQty": decimal_text(trade.price * trade.quantity),
        "time": milliseconds(trade.time_ns),
        "isBuyerMaker": trade.buyer_is_maker,
        "isBestMatch": True,
    }


def _openings(interval: Interval, start_ms: int | None, end_ms: int | None, limit: int, now_ns: int) -> tuple[int, int]:
    """The first and last candle that are asked for. The last may be before the first: nothing is."""
    last_ns = interval.floor(min(now_ns, now_ns if end_ms is None else end_ms * NS_PER_MS))
    if start_ms is None:
        first_ns = last_ns
        for _ in range(limit - 1):
            first_ns = interval.previous(first_ns)
        return first_ns, last_ns
    floored_ns = interval.floor(start_ms * NS_PER_MS)
    first_ns = floored_ns if floored_ns == start_ms * NS_PER_MS else interval.next(floored_ns)
    latest_ns = first_ns
    for _ in range(limit - 1):
        if latest_ns >= last_ns:
            break
        latest_ns = interval.next(latest_ns)
    return first_ns, min(latest_ns, last_ns)


def _depth_weight(values: dict[str, str]) -> int:
    limit = _sent_limit(values, default=100)
    for most, weight in ((100, 5), (500, 25), (1000, 50)):
        if limit <= most:
            return weight
    return 250


def _day_weight(values: dict[str, str]) -> int:
    if "symbol" in values:
        return 2
    if "symbols" not in values:
        return 80
    count = values["symbols"].count(",") + 1
    return 2 if count <= 20 else 40 if count <= 100 else 80


def _all_weight(values: dict[str, str]) -> int:
    return 2 if "symbol" in values else 4


def _sent_limit(values: dict[str, str], *, default: int) -> int:
    text = values.get("limit", "")
    return int(text) if text.isdecimal() and len(text) < 10 else default

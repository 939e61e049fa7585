"""SHELL. One account at Binance through ccxt, with one key. Gateway and recovery -> this -> transport -> venue.

ccxt signs and knows the addresses; its implicit methods take and give what Binance writes. What it would do beyond
that is passed by: `fetch` is ours, so one call is at most one request, the gate is asked where the bytes leave, and no
class of a ccxt exception decides anything. The stream is ccxt.pro's, each message taken where it is handled.
"""

from __future__ import annotations

import asyncio
import random as system_random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.clock import Clock
from tradingbot_trader.market.feed import FeedSettings, StreamLost
from tradingbot_trader.orders.order import Intent
from tradingbot_trader.venues import binance_account as words
from tradingbot_trader.venues import binance_orders as orders
from tradingbot_trader.venues.account import (
    AccountPort,
    AccountSink,
    AccountView,
    Answer,
    ExecutionReport,
    Gate,
    KeyPermissions,
    NotAllowed,
    OrderSnapshot,
    VenueSaid,
    VenueTrade,
)
from tradingbot_trader.venues.account_stream import AccountStream, AccountTap, Connect
from tradingbot_trader.venues.ccxt_port import choose_addresses, load_ccxt, scrub
from tradingbot_trader.venues.ccxt_signed import signed
from tradingbot_trader.venues.ccxt_slim import Ccxt
from tradingbot_trader.venues.port import AddressRefused, UnsupportedExchange
from tradingbot_trader.venues.transport import AiohttpTransport, HttpReply, HttpRequest, NoAnswer, NotSent, Transport

_MS_NS = 1_000_000
_NS = 1_000_000_000
_HIDDEN = "***"
T = TypeVar("T")


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountHooks:
    """What a client asks and tells beside its answers; each is called in the loop, and must not block or raise."""

    venue_ahead_ns: Callable[[], int] = lambda: 0
    """The venue's clock less ours: requests carry the venue's time."""
    on_headers: Callable[[Mapping[str, str]], None] = _ignore
    """The headers of each reply, their names in lower case: they carry what is left of the rate limits."""
    on_answer: Callable[[Answer], None] = _ignore
    """Each answer that was no success, of requests and of the stream."""


class Accounts:
    """Makes a client for a key. All of them share one transport, so a new key finds the connections warm."""

    def __init__(
        self,
        exchange_id: ExchangeId,
        network: Network,
        *,
        clock: Clock,
        symbol_of: orders.SymbolOf,
        rest_url: str | None = None,
        stream_url: str | None = None,
        account_url: str | None = None,
        hooks: AccountHooks | None = None,
        random: Callable[[], float] = system_random.random,
        settings: FeedSettings | None = None,
        transport: Transport | None = None,
        connect: Connect | None = None,
    ) -> None:
        """Raises UnsupportedExchange or AddressRefused. `transport` and `connect` stand in for the network."""
        if exchange_id is not ExchangeId.BINANCE:
            raise UnsupportedExchange(f"this version trades on binance; {exchange_id.value} comes with a later one")
        if network is Network.MAINNET and account_url:  # whoever reads there reads a signed request
            raise AddressRefused("the addresses of network Mainnet are fixed: leave out --account-url")
        self._ccxt = load_ccxt(exchange_id)
        rest, stream = choose_addresses(network, rest_url=rest_url, stream_url=stream_url)
        self._addresses = words.addresses(rest, stream, account_url)
        self._clock, self._symbol_of, self._random = clock, symbol_of, random
        self._hooks, self._settings = hooks or AccountHooks(), settings or FeedSettings()
        self._given, self._connect = transport, connect
        self._own: AiohttpTransport | None = None
        self._clients = 0

    def build(self, *, api_key: str, api_secret: str, on_answer: Callable[[Answer], None] | None = None) -> CcxtAccount:
        """Opens nothing yet. `on_answer` is told of this key's refusals, in the place of the hook of that name."""
        transport = self._given or self._own
        if transport is None:
            transport = self._own = AiohttpTransport(cafile=self._ccxt.exchange_class().cafile)
        self._clients += 1
        return CcxtAccount(
            self._ccxt,
            addresses=self._addresses,
            keys=(api_key, api_secret),
            transport=transport,
            on_close=self._forget,
            clock=self._clock,
            symbol_of=self._symbol_of,
            hooks=replace(self._hooks, on_answer=on_answer) if on_answer else self._hooks,
            random=self._random,
            settings=self._settings,
            connect=self._connect,
        )

    async def _forget(self) -> None:
        """A client was closed; with the last one go the connections. The next one makes new ones."""
        self._clients -= 1
        if not self._clients and self._own is not None:
            await self._own.close()


class CcxtAccount(AccountPort):
    """AccountPort of Binance."""

    def __init__(
        self,
        ccxt: Ccxt,
        *,
        addresses: Mapping[str, Any],
        keys: tuple[str, str],
        transport: Transport,
        on_close: Callable[[], Awaitable[None]],
        clock: Clock,
        symbol_of: orders.SymbolOf,
        hooks: AccountHooks,
        random: Callable[[], float],
        settings: FeedSettings,
        connect: Connect | None = None,
    ) -> None:
        self._class = signed(ccxt.exchange_class, nonce=self._venue_ms, send=self._send)
        self._addresses, self._keys = addresses, keys
        self._line_errors = (ccxt.errors.BaseError, aiohttp.ClientError, OSError)
        self._transport, self._on_close, self._clock = transport, on_close, clock
        self._symbol_of, self._hooks, self._settings = symbol_of, hooks, settings
        self._stream = AccountStream(
            connect or self._dial, self._read_report, clock=clock, random=random, settings=settings
        )
        self._exchange = self._new_exchange()
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def place(self, intent: Intent, *, gate: Gate) -> OrderSnapshot:
        return await self._ask(words.PLACE, lambda: words.place_params(intent), self._read_order, gate=gate)

    async def cancel(self, symbol: str, client_order_id: str, *, gate: Gate) -> OrderSnapshot:
        return await self._ask(
            words.CANCEL,
            lambda: words.order_params(symbol, client_order_id=client_order_id),
            self._read_order,
            gate=gate,
        )

    async def find_order(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        return await self._ask(
            words.FIND, lambda: words.order_params(symbol, client_order_id=client_order_id), self._read_order
        )

    async def find_order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderSnapshot:
        return await self._ask(
            words.FIND, lambda: words.order_params(symbol, venue_order_id=venue_order_id), self._read_order
        )

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderSnapshot, ...]:
        return await self._ask(
            words.OPEN_ORDERS,
            lambda: words.open_orders_params(symbol),
            lambda raw: orders.parse_orders(raw, self._symbol_of),
        )

    async def orders_since(self, symbol: str, venue_order_id: str) -> tuple[OrderSnapshot, ...]:
        return await self._ask(
            words.ORDERS,
            lambda: words.orders_params(symbol, venue_order_id),
            lambda raw: orders.parse_orders(raw, self._symbol_of),
        )

    async def trades_since(self, symbol: str, trade_id: str) -> tuple[VenueTrade, ...]:
        return await self._ask(
            words.TRADES,
            lambda: words.trades_params(symbol, trade_id),
            lambda raw: orders.parse_trades(raw, self._symbol_of),
        )

    async def trades_of(self, symbol: str, venue_order_id: str, trade_id: str) -> tuple[VenueTrade, ...]:
        return await self._ask(
            words.TRADES,
            lambda: words.order_trades_params(symbol, venue_order_id, trade_id),
            lambda raw: orders.parse_trades(raw, self._symbol_of),
        )

    async def account(self) -> AccountView:
        return await self._ask(words.ACCOUNT, words.account_params, words.parse_account)

    async def key_permissions(self) -> KeyPermissions:
        try:
            return await self._ask(words.PERMISSIONS, dict, words.parse_permissions)
        except VenueSaid as said:
            if not words.is_missing_endpoint(said.answer):
                raise
        account = await self.account()
        return KeyPermissions(can_trade=account.can_trade, can_withdraw=None, can_transfer=None)

    async def run_stream(self, sink: AccountSink) -> None:
        await self._stream.run(sink)

    async def close(self) -> None:
        """Takes no more calls, and ends when those under way have got their answers."""
        was_closed, self._is_closed = self._is_closed, True
        await self._idle.wait()
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if not was_closed:
            await self._on_close()

    async def _ask(
        self,
        method: words.Method,
        params: Callable[[], words.Params],
        parse: Callable[[Any], T],
        *,
        gate: Gate = lambda: "",
    ) -> T:
        """One request. Whatever goes wrong on the way comes out as what is known about its answer."""
        call = _Call(gate)
        token = _CALL.set(call)
        self._in_flight += 1
        self._idle.clear()
        try:
            if self._is_closed:
                raise VenueSaid(Answer(is_sent=False, text="this key is not used any more"))
            raw = await getattr(self._exchange, method.name)(dict(params()))
            return parse(raw)
        except VenueSaid as said:
            answer = said.answer
        except NotAllowed:
            raise
        except Exception as error:  # noqa: BLE001  an error of any kind after a send leaves an order that may exist
            answer = self._unreadable(call, method, error)
        finally:
            _CALL.reset(token)
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        # Raised outside of the handler, so that no context of ccxt's hangs on to it.
        answer = replace(answer, text=self._clean(answer.text))
        self._hooks.on_answer(answer)
        raise VenueSaid(answer)

    def _unreadable(self, call: _Call, method: words.Method, error: Exception) -> Answer:
        if not call.has_left:  # of ccxt and of our own words: what it holds may be a key
            return Answer(is_sent=False, text=f"{method.what} could not be written: {type(error).__name__}")
        text = f"Binance's answer to {method.what} cannot be read: {error!r}"
        return Answer(is_sent=True, http_status=call.http_status, text=text)

    async def _send(self, request: HttpRequest) -> Any:
        """Where ccxt hands over a signed request."""
        call = _CALL.get()
        try:
            reply = await self._transport.send(replace(request, leave=call.leave))
        except NotSent as error:
            raise VenueSaid(Answer(is_sent=False, text=str(error))) from None
        except NoAnswer as error:
            raise VenueSaid(Answer(is_sent=True, text=str(error))) from None
        call.has_left, call.http_status = True, reply.status
        return self._open_reply(reply)

    def _open_reply(self, reply: HttpReply) -> Any:
        headers = {name.lower(): value for name, value in reply.headers.items()}
        self._hooks.on_headers(headers)
        if not 200 <= reply.status < 300:
            raise VenueSaid(words.parse_refusal(reply.status, headers, reply.text))
        return words.parse_json(reply.text)

    def _read_order(self, raw: Any) -> OrderSnapshot:
        return orders.parse_order(raw, self._symbol_of)

    def _read_report(self, message: Mapping[str, Any]) -> ExecutionReport:
        return orders.parse_report(message, self._symbol_of)

    def _venue_ms(self) -> int:
        return (self._clock.now_ns() + self._hooks.venue_ahead_ns()) // _MS_NS

    def _clean(self, text: str) -> str:
        """Before it is cut: half a secret is one too."""
        for secret in self._keys:
            text = text.replace(secret, _HIDDEN) if secret else text
        return scrub(text)

    def _new_exchange(self) -> Any:
        api_key, api_secret = self._keys
        exchange = self._class(
            {
                "apiKey": api_key,
                "secret": api_secret,
                "options": dict(words.OPTIONS),
                "enableRateLimit": False,  # nothing is awaited between the gateway's lanes and the wire
            }
        )
        exchange.urls["api"] = dict(self._addresses)
        exchange.own_session = False
        return exchange

    async def _dial(self, tap: AccountTap) -> None:
        """One connection of the stream: a new exchange object, so that nothing of one that died lives on."""
        exchange = self._new_exchange()
        exchange.session = self._open()
        exchange._tap, exchange._on_refusal, exchange._clock = tap, self._take_stream_refusal, self._clock
        client = exchange.client(self._addresses["ws"]["ws-api"]["spot"])
        exchange._heard_ns = self._clock.monotonic_ns()
        subscribing = asyncio.ensure_future(exchange.authenticate({"type": "spot"}))
        tasks = [
            asyncio.ensure_future(self._watch(exchange, client, tap)),
            client.future("the end of the connection"),  # ccxt rejects every future when it dies
            subscribing,
        ]
        try:
            await asyncio.wait({subscribing, tasks[0], tasks[1]}, return_when=asyncio.FIRST_COMPLETED)
            if subscribing.done():
                await subscribing
            done, _ = await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        except self._line_errors as error:
            raise StreamLost(self._clean(str(error)), retry_after_seconds=exchange._pause_seconds) from None
        finally:
            exchange._tap = None
            for task in tasks:
                task.cancel()
            await exchange.hang_up()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, exchange: Any, client: Any, tap: AccountTap) -> None:
        """An account may be quiet for days, so silence proves nothing until a ping has gone unanswered."""
        silence_seconds = self._settings.silence_seconds
        began_ns = self._clock.monotonic_ns()
        while True:
            await self._clock.sleep(silence_seconds / 4)
            now_ns = self._clock.monotonic_ns()
            if now_ns - exchange._heard_ns >= silence_seconds * _NS:
                raise StreamLost(f"nothing was heard for {silence_seconds:g} s, not even the answer to a ping")
            if not tap.is_up and now_ns - began_ns >= silence_seconds * _NS:
                raise StreamLost(f"the venue did not confirm the subscription within {silence_seconds:g} s")
            if client.connection is not None and not client.closed():
                await client.connection.ping()

    def _take_stream_refusal(self, answer: Answer, tap: AccountTap) -> None:
        answer = replace(answer, text=self._clean(answer.text))
        self._hooks.on_answer(answer)
        tap.lost(str(answer))

    def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise StreamLost("this key is not used any more")
        if self._session is None:
            context = ssl.create_default_context(cafile=self._exchange.cafile)
            # No proxy from the environment: whoever sets one reads, and could answer, what is meant for the venue.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), trust_env=False)
        return self._session


class _Call:
    """One call of the port, on its way through ccxt."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.has_left = False
        self.http_status = 0

    def leave(self) -> None:
        """The transport calls this where the bytes leave."""
        reason = self._gate()
        if reason:
            raise NotAllowed(reason)
        self.has_left = True


_CALL: ContextVar[_Call] = ContextVar("call")

"""SHELL. The account of `killall` at Binance: the trader's client with some requests more. killall -> this -> venue.

Signing, scrubbing and the one-request rule are CcxtAccount's. Nothing is streamed.
"""

from __future__ import annotations

import random
from decimal import Decimal

from tradingbot_api.spec import ExchangeId, Network
from tradingbot_trader.clock import Clock
from tradingbot_trader.control.keys import Keys
from tradingbot_trader.market.feed import FeedSettings
from tradingbot_trader.market.instrument import Instrument
from tradingbot_trader.orders.order import Intent
from tradingbot_trader.venues import binance, binance_killer
from tradingbot_trader.venues import binance_account as words
from tradingbot_trader.venues.account import OrderSnapshot
from tradingbot_trader.venues.ccxt_account import AccountHooks, CcxtAccount
from tradingbot_trader.venues.ccxt_port import choose_addresses, load_ccxt
from tradingbot_trader.venues.ccxt_slim import Ccxt
from tradingbot_trader.venues.killer import KillerPort, RestingOrder
from tradingbot_trader.venues.port import UnsupportedExchange
from tradingbot_trader.venues.transport import AiohttpTransport, Transport


def build_killer(
    exchange_id: ExchangeId,
    network: Network,
    *,
    keys: Keys,
    clock: Clock,
    rest_url: str | None = None,
    transport: Transport | None = None,
) -> KillerPort:
    """Opens nothing yet. Raises UnsupportedExchange or AddressRefused. `transport` stands in for the network."""
    if exchange_id is not ExchangeId.BINANCE:
        raise UnsupportedExchange(f"this version stops accounts on binance; {exchange_id.value} comes with a later one")
    ccxt = load_ccxt(exchange_id)
    # No stream is ever opened: its address is only there because a test venue's two come together.
    rest, _ = choose_addresses(network, rest_url=rest_url, stream_url=rest_url)
    return CcxtKiller(
        ccxt, rest_url=rest, keys=keys, clock=clock, transport=transport or AiohttpTransport(cafile=_cafile(ccxt))
    )


def _cafile(ccxt: Ccxt) -> str:
    return str(ccxt.exchange_class().cafile)


class CcxtKiller(CcxtAccount):
    """KillerPort of Binance."""

    def __init__(self, ccxt: Ccxt, *, rest_url: str, keys: Keys, clock: Clock, transport: Transport) -> None:
        self._ahead_ns = 0
        self._symbols = words.Symbols()
        super().__init__(
            ccxt,
            addresses=words.addresses(rest_url, "") | {"public": rest_url},
            keys=(keys.api_key, keys.api_secret),
            transport=transport,
            on_close=transport.close,
            clock=clock,
            symbol_of=self._symbols,
            hooks=AccountHooks(venue_ahead_ns=lambda: self._ahead_ns),
            random=random.random,
            settings=FeedSettings(),
        )

    async def sync_clock(self) -> None:
        before_ns, began_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        venue_ns = await self._ask(binance_killer.TIME, dict, binance_killer.parse_time_ns)
        took_ns = self._clock.monotonic_ns() - began_ns
        self._ahead_ns = venue_ns - (before_ns + took_ns // 2)

    async def resting(self, symbol: str | None) -> tuple[RestingOrder, ...]:
        return await self._ask(
            words.OPEN_ORDERS, lambda: words.open_orders_params(symbol), binance_killer.parse_resting
        )

    async def cancel_resting(self, order: RestingOrder) -> tuple[RestingOrder, ...]:
        return await self._ask(words.CANCEL, lambda: binance_killer.order_params(order), binance_killer.parse_resting)

    async def cancel_market(self, symbol: str) -> tuple[RestingOrder, ...]:
        return await self._ask(
            binance_killer.CANCEL_MARKET, lambda: binance_killer.market_params(symbol), binance_killer.parse_resting
        )

    async def look_up(self, order: RestingOrder) -> RestingOrder:
        return await self._ask(words.FIND, lambda: binance_killer.order_params(order), binance_killer.parse_one)

    async def rules(self, symbol: str) -> Instrument:
        self._symbols.add([symbol])
        return await self._ask(
            binance_killer.RULES,
            lambda: binance.markets_query([symbol]),
            lambda raw: binance_killer.parse_rules(symbol, raw),
        )

    async def last_price(self, symbol: str) -> Decimal:
        return await self._ask(
            binance_killer.PRICE, lambda: binance_killer.market_params(symbol), binance_killer.parse_price
        )

    async def sell(self, intent: Intent) -> OrderSnapshot:
        return await self.place(intent, gate=lambda: "")

    async def find_sell(self, intent: Intent) -> OrderSnapshot:
        return await self.find_order(intent.symbol, intent.client_order_id)

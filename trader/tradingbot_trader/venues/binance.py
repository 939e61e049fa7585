"""PURE. Binance spot in words and numbers: what ccxt has to be told, and how its raw messages become ours.

Every price and quantity comes from the string that Binance sent; nothing here passes through a float. Sources: "Market
Data endpoints", "WebSocket Streams" and "Filters" of Binance's spot API documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from tradingbot_api.decimal import format_decimal
from tradingbot_api.spec import Network
from tradingbot_trader.market.events import Level, Trade
from tradingbot_trader.market.instrument import Instrument, PriceBand

NAME = "Binance"
CANDLES_PER_REQUEST = 1_000
BOOK_LEVELS = 50
"""Levels of each side that a book is given with. A paper order never reads further."""
_MS_NS = 1_000_000

OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"]},
        "fetchCurrencies": False,  # a signed request
        "maxRetriesOnFailure": 0,
        "streamLimits": {"spot": 1},  # trades and books share one connection: one life, and one order of messages
        "watchTradesForSymbols": {"name": "trade"},
        "watchOrderBookForSymbols": {"watchOrderBookRate": "100"},
        "watchOrderBook": {"maxRetries": 1},  # of the snapshot, at once; when to ask again is for us to say
    }
)
"""ccxt's own switches."""

ADDRESSES: Mapping[Network, tuple[str, str]] = MappingProxyType(
    {
        Network.MAINNET: ("https://api.binance.com/api/v3", "wss://stream.binance.com:9443/ws"),
        Network.TESTNET: ("https://testnet.binance.vision/api/v3", "wss://stream.testnet.binance.vision/ws"),
    }
)
"""REST and streams. The sandbox has none: the installation says where it is."""

_UNKNOWN_SYMBOL_CODES = ('"code":-1121', '"code":-1100')
"""Invalid symbol; and characters that no symbol of Binance's has."""


def addresses(rest_url: str, stream_url: str) -> dict[str, Any]:
    """All that ccxt may reach. Leaving the other interfaces out makes them fail, instead of reaching the real venue."""
    return {"public": rest_url, "private": rest_url, "ws": {"spot": stream_url}}


def venue_symbol(symbol: str) -> str:
    return symbol.replace("/", "")


def markets_query(symbols: Sequence[str]) -> dict[str, str]:
    """Rules of these symbols only: those of all 3,000 would cost megabytes that are never read."""
    names = ",".join(f'"{venue_symbol(symbol)}"' for symbol in symbols)
    return {"symbols": f"[{names}]"}


def is_unknown_symbol(answer: str) -> bool:
    return any(code in answer.replace(" ", "") for code in _UNKNOWN_SYMBOL_CODES)


def is_trading(listing: Mapping[str, Any]) -> bool:
    return listing.get("status") == "TRADING" and bool(listing.get("isSpotTradingAllowed", True))


def parse_instrument(symbol: str, listing: Mapping[str, Any]) -> Instrument:
    """From a symbol of `exchangeInfo`. A filter of zero is switched off: then the asset's own precision rules."""
    filters = {each["filterType"]: each for each in listing["filters"]}
    price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
    market_lot: Mapping[str, Any] = filters.get("MARKET_LOT_SIZE", {})
    notional: Mapping[str, Any] = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    # An order of either type must pass: the smaller of both maxima, where they are switched on.
    maxima = [value for value in (_number(lot["maxQty"]), _number(market_lot.get("maxQty", "0"))) if value]
    return Instrument(
        symbol=symbol,
        venue_symbol=str(listing["symbol"]),
        base=str(listing["baseAsset"]),
        quote=str(listing["quoteAsset"]),
        price_tick=_number(price["tickSize"]) or _smallest(listing["quoteAssetPrecision"]),
        quantity_step=_number(lot["stepSize"]) or _smallest(listing["baseAssetPrecision"]),
        min_quantity_base=_number(lot["minQty"]),
        max_quantity_base=min(maxima, default=None),
        min_notional_quote=_number(notional.get("minNotional", "0")),
        max_notional_quote=_number(notional.get("maxNotional", "0")) or None,
        max_price=_number(price["maxPrice"]) or None,
        buy_band=_band(filters, "bid"),
        sell_band=_band(filters, "ask"),
    )


def _band(filters: Mapping[str, Mapping[str, Any]], side: str) -> PriceBand | None:
    """PERCENT_PRICE_BY_SIDE, or PERCENT_PRICE for both sides alike."""
    by_side, both = filters.get("PERCENT_PRICE_BY_SIDE"), filters.get("PERCENT_PRICE")
    if by_side is not None:
        return PriceBand(_number(by_side[f"{side}MultiplierDown"]), _number(by_side[f"{side}MultiplierUp"]))
    return PriceBand(_number(both["multiplierDown"]), _number(both["multiplierUp"])) if both is not None else None


def parse_trade(symbol: str, message: Mapping[str, Any]) -> Trade:
    """From a message of the `trade` stream. Its own time (T), not that of the message (E)."""
    return Trade(
        symbol=symbol,
        trade_id=str(message["t"]),
        price=_positive(message["p"]),
        quantity_base=_positive(message["q"]),
        event_time_ns=int(message["T"]) * _MS_NS,
        buyer_is_maker=bool(message["m"]),
    )


def parse_levels(levels: Sequence[Sequence[Decimal]]) -> tuple[Level, ...]:
    return tuple(Level(level[0], level[1]) for level in levels[:BOOK_LEVELS])


def book_time_ns(message: Mapping[str, Any]) -> int:
    return int(message["E"]) * _MS_NS


def candle_trades(kline: Sequence[Any]) -> int:
    """How many trades a kline is made of. ccxt leaves it out."""
    return int(kline[8])


def _positive(text: object) -> Decimal:
    value = Decimal(text) if isinstance(text, str) else Decimal("NaN")
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{text!r} is not a positive decimal string")
    return value


def _number(text: str) -> Decimal:
    """Without trailing zeros: a step of 0.01000000 is 0.01, and so are its multiples."""
    return Decimal(format_decimal(Decimal(text)))


def _smallest(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)

"""exchangeInfo: the trading rules of each symbol, with the filters that Binance spot has for it. PURE.

Kinds of filters, minimum notionals and order counts are as Binance spot has them. The largest quantities are of the
right order only: Binance moves the one for market orders every day.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.venues.binance.text import decimal_text

# symbol: (highest price, largest quantity, largest market quantity)
_LIMITS = {
    "BTC/USDT": ("1000000", "9000", "141.67845966"),
    "ETH/USDT": ("1000000", "9000", "2750.34521680"),
    "SOL/USDT": ("10000", "90000", "39187.29162341"),
    "BNB/USDT": ("100000", "900000", "3486.40215062"),
    "XRP/USDT": ("10000", "9222449", "2471630.35870000"),
    "DOGE/USDT": ("1000", "9000000", "9000000.00000000"),
    "ADA/USDT": ("1000", "900000", "900000.00000000"),
    "ETH/BTC": ("922327", "100000", "1158.74120000"),
}
_OTHER_LIMITS = ("1000000", "9000000", "9000000.00000000")
_LEAST_NOTIONAL = {"USDT": "5", "USDC": "5", "FDUSD": "5", "TUSD": "5", "EUR": "5", "TRY": "10", "BTC": "0.0001"}
_ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"]


def venue_name(symbol: str) -> str:
    """`BTC/USDT` -> `BTCUSDT`."""
    return symbol.replace("/", "")


def build_exchange_info(
    instruments: Iterable[Instrument], *, now_ms: int, weight_limit: int, permission_sets: bool
) -> dict[str, object]:
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61_000},
        ],
        "exchangeFilters": [],
        "symbols": [_build_symbol(i, permission_sets=permission_sets) for i in instruments],
    }


def _build_symbol(instrument: Instrument, *, permission_sets: bool) -> dict[str, object]:
    return {
        "symbol": venue_name(instrument.symbol),
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": build_filters(instrument),
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]] if permission_sets else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"],
    }


def build_filters(instrument: Instrument) -> list[dict[str, object]]:
    """The symbol's filters. Orders will be checked against these same values."""
    highest, largest, largest_market = _LIMITS.get(instrument.symbol, _OTHER_LIMITS)
    tick, step = decimal_text(instrument.tick), decimal_text(instrument.step)
    least = decimal_text(Decimal(_LEAST_NOTIONAL.get(instrument.quote, "0.0001")))
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": decimal_text(Decimal(highest)), "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": decimal_text(Decimal(largest)), "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": decimal_text(Decimal(largest_market)),
            "stepSize": "0.00000000",
        },
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": least,
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
    ]

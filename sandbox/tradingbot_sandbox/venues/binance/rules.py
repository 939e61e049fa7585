"""exchangeInfo: the trading rules of each symbol, with the filters that Binance spot has for it. PURE.

Flow: instrument -> `rules_of` -> `SymbolRules` -> exchangeInfo, and the check of each order. Kinds of filters, minimum
notionals and order counts are as Binance spot has them. The largest quantities are of the right order only: Binance
moves the one for market orders every day.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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


ORDERS_10S = 100
ORDERS_1D = 200_000
"""Unfilled orders of an account: in ten seconds, in a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolRules:
    """The numbers in a symbol's filters. A venue may change them at any time; so may a test, with `replace`."""

    instrument: Instrument
    tick: Decimal
    lowest_price: Decimal
    highest_price: Decimal
    step: Decimal
    least_quantity: Decimal
    most_quantity: Decimal
    most_market_quantity: Decimal
    least_notional: Decimal
    most_notional: Decimal = Decimal(9000000)
    price_up: Decimal = Decimal(5)
    """PERCENT_PRICE_BY_SIDE: so many times the average price of five minutes, at most."""
    price_down: Decimal = Decimal("0.2")
    most_orders: int = 200
    most_algo_orders: int = 5
    is_trading: bool = True


def rules_of(instrument: Instrument) -> SymbolRules:
    """The rules with which a symbol starts."""
    highest, largest, largest_market = _LIMITS.get(instrument.symbol, _OTHER_LIMITS)
    return SymbolRules(
        instrument=instrument,
        tick=instrument.tick,
        lowest_price=instrument.tick,
        highest_price=Decimal(highest),
        step=instrument.step,
        least_quantity=instrument.step,
        most_quantity=Decimal(largest),
        most_market_quantity=Decimal(largest_market),
        least_notional=Decimal(_LEAST_NOTIONAL.get(instrument.quote, "0.0001")),
    )


def venue_name(symbol: str) -> str:
    """`BTC/USDT` -> `BTCUSDT`."""
    return symbol.replace("/", "")


def build_exchange_info(
    rules: Iterable[SymbolRules], *, now_ms: int, weight_limit: int, permission_sets: bool
) -> dict[str, object]:
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": ORDERS_10S},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": ORDERS_1D},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61_000},
        ],
        "exchangeFilters": [],
        "symbols": [_build_symbol(r, permission_sets=permission_sets) for r in rules],
    }


def _build_symbol(rules: SymbolRules, *, permission_sets: bool) -> dict[str, object]:
    instrument = rules.instrument
    return {
        "symbol": venue_name(instrument.symbol),
        "status": "TRADING" if rules.is_trading else "BREAK",
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
        "filters": build_filters(rules),
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]] if permission_sets else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"],
    }


def build_filters(rules: SymbolRules) -> list[dict[str, object]]:
    """The symbol's filters. Orders are checked against these same values."""
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": decimal_text(rules.lowest_price),
            "maxPrice": decimal_text(rules.highest_price),
            "tickSize": decimal_text(rules.tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": decimal_text(rules.least_quantity),
            "maxQty": decimal_text(rules.most_quantity),
            "stepSize": decimal_text(rules.step),
        },
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": decimal_text(rules.most_market_quantity),
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
            "bidMultiplierUp": f"{rules.price_up.normalize():f}",
            "bidMultiplierDown": f"{rules.price_down.normalize():f}",
            "askMultiplierUp": f"{rules.price_up.normalize():f}",
            "askMultiplierDown": f"{rules.price_down.normalize():f}",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": decimal_text(rules.least_notional),
            "applyMinToMarket": True,
            "maxNotional": decimal_text(rules.most_notional),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": rules.most_orders},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": rules.most_algo_orders},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
    ]

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tradingbot_trader.market.events import Level, Trade
from tradingbot_trader.market.instrument import Instrument, PriceBand
from tradingbot_trader.venues import binance


def listing(**filters: dict[str, Any] | None) -> dict[str, Any]:
    """As exchangeInfo lists a symbol; a filter of None is left out."""
    defaults: dict[str, dict[str, Any] | None] = {
        "PRICE_FILTER": {"minPrice": "0.01000000", "maxPrice": "1000000.00000000", "tickSize": "0.01000000"},
        "LOT_SIZE": {"minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
        "MARKET_LOT_SIZE": {"minQty": "0.00000000", "maxQty": "120.50000000", "stepSize": "0.00000000"},
        "NOTIONAL": {"minNotional": "5.00000000"},
    }
    chosen = [{"filterType": name} | value for name, value in (defaults | filters).items() if value is not None]
    return {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "baseAssetPrecision": 8,
        "quoteAssetPrecision": 6,
        "isSpotTradingAllowed": True,
        "filters": chosen,
    }


def parse(**filters: dict[str, Any] | None) -> Instrument:
    return binance.parse_instrument("BTC/USDT", listing(**filters))


def test_filters_become_an_instrument() -> None:
    assert parse() == Instrument(
        symbol="BTC/USDT",
        venue_symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        price_tick=Decimal("0.01"),
        quantity_step=Decimal("0.00001"),
        min_quantity_base=Decimal("0.00001"),
        max_quantity_base=Decimal("120.5"),
        min_notional_quote=Decimal(5),
        max_price=Decimal(1000000),
    )


@pytest.mark.parametrize(
    ("filters", "buy", "sell"),
    [
        (
            {
                "PERCENT_PRICE_BY_SIDE": {
                    "bidMultiplierUp": "1.2", "bidMultiplierDown": "0.2",
                    "askMultiplierUp": "5", "askMultiplierDown": "0.8",
                }
            },
            PriceBand(Decimal("0.2"), Decimal("1.2")),
            PriceBand(Decimal("0.8"), Decimal(5)),
        ),
        (
            {"PERCENT_PRICE": {"multiplierUp": "1.1", "multiplierDown": "0.9"}},
            PriceBand(Decimal("0.9"), Decimal("1.1")),
            PriceBand(Decimal("0.9"), Decimal("1.1")),
        ),
    ],
)  # fmt: skip
def test_band_of_prices_is_that_of_the_side(filters: dict[str, Any], buy: PriceBand, sell: PriceBand) -> None:
    found = parse(**filters)
    assert (found.buy_band, found.sell_band) == (buy, sell)


def test_largest_notional_is_known() -> None:
    assert parse(NOTIONAL={"minNotional": "5", "maxNotional": "9000000.0"}).max_notional_quote == 9_000_000


def test_steps_are_written_without_the_zeros_that_say_nothing() -> None:
    assert str(parse().price_tick) == "0.01"
    assert str(parse(LOT_SIZE={"minQty": "10.00", "maxQty": "900.00", "stepSize": "10.00"}).quantity_step) == "10"


def test_filter_of_zero_is_switched_off_and_the_assets_precision_rules() -> None:
    found = parse(
        PRICE_FILTER={"minPrice": "0", "maxPrice": "0", "tickSize": "0.00000000"},
        LOT_SIZE={"minQty": "0.00000000", "maxQty": "0.00000000", "stepSize": "0.00000000"},
        MARKET_LOT_SIZE=None,
    )
    assert (found.price_tick, found.quantity_step) == (Decimal("0.000001"), Decimal("0.00000001"))
    assert found.max_quantity_base is None


def test_older_name_of_the_notional_filter_is_known() -> None:
    assert parse(NOTIONAL=None, MIN_NOTIONAL={"minNotional": "10"}).min_notional_quote == 10
    assert parse(NOTIONAL=None).min_notional_quote == 0


@pytest.mark.parametrize(
    ("other", "trades"),
    [({}, True), ({"status": "BREAK"}, False), ({"isSpotTradingAllowed": False}, False)],
)
def test_only_a_market_that_trades_spot_now_is_trading(other: dict[str, Any], trades: bool) -> None:  # noqa: FBT001  a table
    assert binance.is_trading(listing() | other) is trades


def test_symbol_that_is_not_listed_is_not_trading() -> None:
    assert not binance.is_trading({})


@pytest.mark.parametrize(
    "answer", ['binance {"code":-1121,"msg":"Invalid symbol."}', '{"code": -1100, "msg": "Illegal characters"}']
)
def test_unknown_symbol_is_known_by_its_code(answer: str) -> None:
    assert binance.is_unknown_symbol(answer)
    assert not binance.is_unknown_symbol('{"code":-1003,"msg":"Too many requests."}')


def test_trade_is_read_from_its_strings_and_its_own_time() -> None:
    message = {"e": "trade", "E": 1723161255343, "s": "BTCUSDT", "t": 3735683259, "p": "61837.63000000"}
    message |= {"q": "0.02000000", "T": 1723161255342, "m": True, "M": True}
    assert binance.parse_trade("BTC/USDT", message) == Trade(
        symbol="BTC/USDT",
        trade_id="3735683259",
        price=Decimal("61837.63"),
        quantity_base=Decimal("0.02"),
        event_time_ns=1723161255342000000,
        buyer_is_maker=True,
    )


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", 61837.63, None])
def test_price_that_is_none_is_refused(price: object) -> None:
    with pytest.raises(ValueError, match="not a positive decimal string"):
        binance.parse_trade("BTC/USDT", {"t": 1, "p": price, "q": "1", "T": 1, "m": True})


def test_book_is_cut_to_the_levels_that_are_used() -> None:
    levels = [[Decimal(price), Decimal(1)] for price in range(1, 200)]
    assert binance.parse_levels(levels) == tuple(
        Level(Decimal(price), Decimal(1)) for price in range(1, binance.BOOK_LEVELS + 1)
    )


def test_question_about_markets_names_only_those_that_are_traded() -> None:
    assert binance.markets_query(["BTC/USDT", "ETH/USDT"]) == {"symbols": '["BTCUSDT","ETHUSDT"]'}


def test_nothing_but_the_given_addresses_can_be_reached() -> None:
    found = binance.addresses("http://a/api/v3", "ws://a/ws")
    assert found == {"public": "http://a/api/v3", "private": "http://a/api/v3", "ws": {"spot": "ws://a/ws"}}

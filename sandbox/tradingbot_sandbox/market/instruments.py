"""What can be traded: tick, step, and how lively the synthetic market is in it. PURE.

Ticks and steps are Binance spot's as of 2024, not read from the live venue; prices, sizes and rates are of the order
that its public market showed then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "EUR", "TRY", "BTC", "ETH", "BNB")
"""Quote currencies by which a venue's joined name (`BTCUSDT`) is cut, in the order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One symbol. Liveliness is only read by the synthetic market and by the walk that stands for its past."""

    symbol: str
    tick: Decimal
    """Price step, in quote currency."""
    step: Decimal
    """Quantity step, in base currency."""
    first_price: Decimal
    """Where the synthetic market starts."""
    trade_size_base: Decimal
    """Median quantity of a trade."""
    level_size_base: Decimal
    """Median quantity of a book level."""
    day_volume_base: Decimal
    """Median volume of a day in the walk."""
    trades_per_second: int
    """Taker orders in a second of the synthetic market, outside bursts."""

    @property
    def base(self) -> str:
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.split("/")[1]


def _instrument(symbol: str, tick: str, step: str, price: str, sizes: tuple[str, str, str], trades: int) -> Instrument:
    trade, level, day = sizes
    return Instrument(
        symbol=symbol,
        tick=Decimal(tick),
        step=Decimal(step),
        first_price=Decimal(price),
        trade_size_base=Decimal(trade),
        level_size_base=Decimal(level),
        day_volume_base=Decimal(day),
        trades_per_second=trades,
    )


INSTRUMENTS: dict[str, Instrument] = {
    i.symbol: i
    for i in (
        # symbol, tick, step, first price, (median trade, median level, day's volume), taker orders a second
        _instrument("BTC/USDT", "0.01", "0.00001", "61800", ("0.004", "0.12", "28000"), 12),
        _instrument("ETH/USDT", "0.01", "0.0001", "2650", ("0.08", "2.5", "420000"), 9),
        _instrument("SOL/USDT", "0.01", "0.001", "152", ("1.2", "40", "4500000"), 6),
        _instrument("BNB/USDT", "0.01", "0.001", "515", ("0.25", "8", "600000"), 4),
        _instrument("XRP/USDT", "0.0001", "0.1", "0.61", ("180", "9000", "900000000"), 5),
        _instrument("DOGE/USDT", "0.00001", "1", "0.105", ("900", "60000", "1200000000"), 4),
        _instrument("ADA/USDT", "0.0001", "0.1", "0.34", ("300", "15000", "160000000"), 3),
        _instrument("ETH/BTC", "0.00001", "0.0001", "0.0429", ("0.05", "3", "30000"), 3),
    )
}


def split_symbol(joined: str) -> str:
    """`BTCUSDT` -> `BTC/USDT`. Raises ValueError when no known quote currency ends it."""
    for symbol in INSTRUMENTS:
        if symbol.replace("/", "") == joined:
            return symbol
    for quote in QUOTES:
        if joined.endswith(quote) and len(joined) > len(quote):
            return f"{joined.removesuffix(quote)}/{quote}"
    raise ValueError(f"{joined}: no known quote currency ends it; known are {', '.join(QUOTES)}")


def _finest(values: Iterable[Decimal]) -> Decimal:
    """The largest power of ten that divides them all."""
    exponent = -8
    places = [v.normalize().as_tuple().exponent for v in values if v]
    if places:
        exponent = min(0, *(p for p in places if isinstance(p, int)))
    return Decimal(1).scaleb(exponent)


def derive_instrument(symbol: str, prices: Iterable[Decimal], quantities: Iterable[Decimal]) -> Instrument:
    """The instrument of a recorded symbol: from the table, else with the tick and step that its own numbers show."""
    known = INSTRUMENTS.get(symbol)
    if known is not None:
        return known
    seen_prices, seen_quantities = list(prices), list(quantities)
    median = sorted(seen_quantities)[len(seen_quantities) // 2]
    return Instrument(
        symbol=symbol,
        tick=_finest(seen_prices),
        step=_finest(seen_quantities),
        first_price=seen_prices[0],
        trade_size_base=median,
        level_size_base=median * 20,
        day_volume_base=median * 1_000_000,
        trades_per_second=5,
    )

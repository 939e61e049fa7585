"""PURE. What the trader asks of a venue, and what may go wrong, by what the trader does next.

VenueError (a TradingError)
|- UnknownSymbol          the spec is wrong: keep the last good one, say so
|- UnsupportedExchange    the spec is wrong: this version has no adapter for it
|- AddressRefused         the installation is wrong: an address is missing, or given where it must not be
|- VenueRefused           the venue understood and said no: asking again brings the same answer
`- VenueUnavailable       a Transient: try again after `retry_after_seconds`
"""
# ruff: noqa: N818  named by consequence, not by the word Error (STYLE)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tradingbot_api.spec import Timeframe
from tradingbot_trader.errors import TradingError, Transient
from tradingbot_trader.market.events import Candle, MarketSink
from tradingbot_trader.market.instrument import Instrument


class VenueError(TradingError):
    """The message is for the person on duty: without secrets, and without the query of any URL."""


class UnknownSymbol(VenueError):
    """The venue does not list these symbols, or they do not trade spot at present."""

    def __init__(self, symbols: Sequence[str], *, venue: str) -> None:
        self.symbols = tuple(symbols)
        names = ", ".join(self.symbols)
        super().__init__(f"{venue} does not trade {names} on its spot market: correct or remove it in spec.symbols")


class UnsupportedExchange(VenueError):
    """This version has no adapter for the exchange."""


class AddressRefused(VenueError):
    """An address that the network needs is missing, or one is given that is fixed in code."""


class VenueRefused(VenueError):
    """The venue said no, and will say so again."""


class VenueUnavailable(VenueError, Transient):
    """The venue could not be reached, did not answer in time, or asked for patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Of a test venue; those of Mainnet are fixed in code. None: the network's own."""

    rest_url: str | None = None
    stream_url: str | None = None
    account_url: str | None = None
    """Of the account's reports."""


@dataclass(slots=True)
class FeedCounters:
    """Since the port was made. After each message `received == delivered + dropped`."""

    received: int = 0
    """Trades, and frames that could not be read and may have been trades."""
    delivered: int = 0
    """Trades that the sink was given."""
    dropped: int = 0
    """Received and not delivered, for any reason."""
    missing: int = 0
    """Trades that the venue numbered and never sent us, as declared by FeedGap."""
    books: int = 0
    """Order books that the sink was given."""
    resyncs: int = 0
    """Order books that lost step and were built again from a snapshot."""
    connections: int = 0
    """Streams that came up; all but the first are reconnects."""


class MarketDataPort(Protocol):
    """Public market data of one venue. What the venue or the network does wrong is raised as VenueError."""

    async def load_instruments(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        """The rules of each symbol, in the order asked for. UnknownSymbol names every symbol that cannot be traded."""
        ...

    async def server_time_ns(self) -> int:
        """The venue's clock, UTC; as old as half the round trip."""
        ...

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, *, limit: int) -> tuple[Candle, ...]:
        """The newest closed candles, oldest first, at most `limit`; fewer where the venue's history is shorter."""
        ...

    async def run(self, symbols: Sequence[str], sink: MarketSink) -> None:
        """Streams trades and books until cancelled; reconnects by itself. To change the symbols, cancel and run again.

        `load_instruments` comes first. Raises what the sink raised, if it did: a sink that fails must not go unnoticed.
        """
        ...

    @property
    def counters(self) -> FeedCounters:
        """As of now; what is returned does not change any more."""
        ...

    async def close(self) -> None: ...

"""What a venue simulator asks of a market, whichever it is. PURE.

A market is pulled, never pushes: `take(now)` hands over what is due by then. So a test plays an hour in one call, and
a seed gives one market.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from tradingbot_sandbox.market.events import BookSnapshot, MarketEvent
from tradingbot_sandbox.market.instruments import Instrument


class PlayState(StrEnum):
    WAITING = "waiting"
    """Not started: the book stands still at its opening."""
    PLAYING = "playing"
    ENDED = "ended"
    """Played once, to the end: nothing will come."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A symbol at the moment before its first event."""

    book: BookSnapshot
    first_price: Decimal
    first_trade_id: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far the play is. `total` is what one loop holds; None where a market has no end."""

    state: PlayState
    loop: int
    played: dict[str, int]
    total: dict[str, int] | None
    started_ns: int | None
    ended_ns: int | None


class Market(Protocol):
    """The world that a venue shows.

    Own orders will be matched between a market and the boards, by a market that wraps another.
    """

    @property
    def kind(self) -> str:
        """`recording` or `synthetic`."""
        ...

    @property
    def instruments(self) -> tuple[Instrument, ...]: ...

    @property
    def lateness_ns(self) -> int:
        """How long after its own time a trade may be handed over, at most.

        A candle is final that long after its end.
        """
        ...

    def opening(self, symbol: str) -> Opening: ...

    def start(self, now_ns: int) -> None:
        """Begin to play at `now_ns`. Only a waiting market can be started."""
        ...

    def next_due_ns(self) -> int | None:
        """When the next event is due. None: waiting or ended."""
        ...

    def take(self, now_ns: int, *, limit: int) -> list[MarketEvent]:
        """At most `limit` events that are due by `now_ns`, in their order."""
        ...

    def reserve_trade_ids(self, symbol: str, *, trades: int) -> int:
        """Take so many ids out of the market's sequence, for trades that it does not make itself. The first of them."""
        ...

    def position(self) -> Position: ...


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """When a waiting market starts to play."""

    trade_subscriptions: int
    """So many subscriptions to trade streams must be held at once."""
    subscriptions: int
    """So many subscriptions of any kind must be held at once."""

    @classmethod
    def parse(cls, text: str) -> StartPolicy:
        """`immediately`, `first-subscription` (to trades) or `all-subscriptions:N` (of any kind, over all clients)."""
        if text == "immediately":
            return cls(0, 0)
        if text == "first-subscription":
            return cls(1, 1)
        name, _, count = text.partition(":")
        if name == "all-subscriptions" and count.isdecimal() and int(count) > 0:
            return cls(0, int(count))
        raise ValueError(f"{text}: expected immediately, first-subscription or all-subscriptions:N")

    def is_met(self, *, trade_subscriptions: int, subscriptions: int) -> bool:
        return trade_subscriptions >= self.trade_subscriptions and subscriptions >= self.subscriptions

"""A strategy that wants one order of one kind, once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import ClassVar

from tradingbot_trader.market.events import Candle
from tradingbot_trader.strategy.base import BaseStrategy, Parameters, Style, Target, Whole

FAR_PERCENT, NEAR_PERCENT = Decimal("0.5"), Decimal("0.003")
"""Below the market: where the simulator's does not come in minutes, and where it mostly comes in seconds."""


class OneOrderParameters(Parameters):
    kind: str
    """market, limit or ioc."""
    near: Whole = 0
    """1: a limit order rests where the market comes."""
    expires: Whole = 0
    """A limit order is given up after so many candles; 0: never."""


class OneOrder(BaseStrategy[OneOrderParameters, int]):
    """Asks again at each candle as long as `wants` says so: not every wish becomes an order."""

    name: ClassVar[str] = "one-order"
    parameters_class = OneOrderParameters

    def __init__(self, wants: Callable[[], bool]) -> None:
        self._wants = wants

    def warmup_candles(self, parameters: OneOrderParameters) -> int:  # noqa: ARG002  the interface
        return 0

    def initial_state(self, parameters: OneOrderParameters) -> int:  # noqa: ARG002  as above
        return 0

    def on_candle(self, parameters: OneOrderParameters, state: int, candle: Candle) -> tuple[int, Target | None]:  # noqa: ARG002  as above
        if not self._wants():
            return state, None
        if parameters.kind != "limit":
            style = Style.MARKET if parameters.kind == "market" else Style.LIMIT
            return state + 1, Target(Decimal(1), reason="one order", style=style)
        return state + 1, Target(
            Decimal(1),
            limit_offset_percent=NEAR_PERCENT if parameters.near else FAR_PERCENT,
            reason="one order",
            expires_after_candles=parameters.expires or None,
        )

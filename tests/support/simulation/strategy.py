"""A strategy that wants something else at many candles: all kinds of orders, from a seed, as a pure function."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import ClassVar

from tradingbot_trader.market.events import Candle
from tradingbot_trader.strategy.base import BaseStrategy, Parameters, Style, Target, Whole


class RestlessParameters(Parameters):
    seed: Whole
    """Other seeds want other things."""
    kinds: str = "limit,ioc,market,post"
    """Which kinds of entries; exits are at market where that is among them, else immediate-or-cancel."""
    percent: Whole = 40
    """How often something new is wanted, in percent of the candles."""


class Restless(BaseStrategy[RestlessParameters, int]):
    name: ClassVar[str] = "restless"
    parameters_class = RestlessParameters

    def warmup_candles(self, parameters: RestlessParameters) -> int:  # noqa: ARG002  the interface
        return 0

    def initial_state(self, parameters: RestlessParameters) -> int:  # noqa: ARG002  as above
        return 0

    def on_candle(self, parameters: RestlessParameters, state: int, candle: Candle) -> tuple[int, Target | None]:
        draw = random.Random(f"{parameters.seed} {candle.symbol} {candle.open_time_ns}")  # noqa: S311  a simulation
        if draw.randrange(100) >= parameters.percent:
            return state, None
        kinds = parameters.kinds.split(",")
        if draw.random() < 0.45:
            style = Style.MARKET if "market" in kinds and draw.random() < 0.5 else Style.LIMIT
            return state + 1, Target(Decimal(0), reason="restless", style=style)
        kind = draw.choice(kinds)
        if kind in ("limit", "post"):
            return state + 1, Target(
                Decimal(1),
                limit_offset_percent=draw.choice((Decimal("0.05"), Decimal("0.5"))),
                reason="restless",
                expires_after_candles=draw.choice((1, 3, 8)),
                style=Style.POST_ONLY if kind == "post" else Style.LIMIT,
            )
        style = Style.MARKET if kind == "market" else Style.LIMIT
        return state + 1, Target(draw.choice((Decimal("0.5"), Decimal(1))), reason="restless", style=style)


def find(name: str) -> Restless:
    if name != Restless.name:
        raise ValueError(name)
    return Restless()

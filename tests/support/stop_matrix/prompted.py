"""A strategy that wants what a file says at this moment, at each candle: one that never gives up. For tests alone.

It is installed beside the trader as a package of its own (image.py). Being told by a file, and not by the spec, it
goes on asking while the API server is dead. Unlike a strategy of the product it is no function of its arguments.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from tradingbot_trader.market.events import Candle
from tradingbot_trader.strategy.base import BaseStrategy, Parameters, Style, Target

NAME = "prompted"


class PromptedParameters(Parameters):
    wishes: str
    """A file: by symbol, `allocation` and, where the entry is to rest, `offset` in percent."""


class Prompted(BaseStrategy[PromptedParameters, int]):
    name: ClassVar[str] = NAME
    parameters_class = PromptedParameters

    def warmup_candles(self, parameters: PromptedParameters) -> int:  # noqa: ARG002  the interface
        return 0

    def initial_state(self, parameters: PromptedParameters) -> int:  # noqa: ARG002  as above
        return 0

    def on_candle(self, parameters: PromptedParameters, state: int, candle: Candle) -> tuple[int, Target | None]:
        wish = json.loads(Path(parameters.wishes).read_text()).get(candle.symbol)
        return state, None if wish is None else build_target(wish)


def build_target(wish: dict[str, Any]) -> Target:
    allocation, offset = Decimal(wish["allocation"]), wish.get("offset")
    if offset is None:
        return Target(allocation, reason="prompted", style=Style.MARKET)
    return Target(allocation, limit_offset_percent=Decimal(offset), reason="prompted")

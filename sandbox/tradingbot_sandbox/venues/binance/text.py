"""How Binance writes numbers and times: decimals as strings with eight places, times in milliseconds. PURE."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal

from tradingbot_sandbox.market.events import NS_PER_MS, Level


def decimal_text(value: Decimal) -> str:
    return f"{value:.8f}"


def milliseconds(time_ns: int) -> int:
    return time_ns // NS_PER_MS


def level_texts(levels: Iterable[Level]) -> list[list[str]]:
    return [[decimal_text(price), decimal_text(quantity)] for price, quantity in levels]


def json_text(body: object) -> str:
    return json.dumps(body, separators=(",", ":"))

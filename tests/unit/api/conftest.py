"""Builders of specs, with defaults that are valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.changes import changed

Raw = dict[str, Any]

_SPEC: Raw = {
    "exchange": {"id": "binance", "network": "Sandbox"},
    "symbols": ["BTC/USDT", "ETH/USDT"],
    "strategy": {"name": "sma-cross", "timeframe": "5m", "parameters": {"fast": 10, "slow": "30"}},
    "capital": {
        "currency": "USDT",
        "stage": "micro",
        "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
    },
    "risk": {"maxOrderNotional": "20"},
}


@pytest.fixture(scope="session")
def raw_spec() -> Callable[..., Raw]:
    """A valid spec as JSON; `changes` are dotted paths and values, None takes the field away."""

    def build(changes: Raw | None = None) -> Raw:
        return changed(_SPEC, changes)

    return build

"""Builders of specs, with defaults that are valid."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

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
        spec = copy.deepcopy(_SPEC)
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            place: Any = spec
            for key in parents:
                place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
            if isinstance(place, list):
                place[int(last)] = value
            elif value is None:
                place.pop(last, None)
            else:
                place[last] = value
        return spec

    return build

"""PURE. What the platform engineer decided, as far as the children depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tradingbot_api.spec import ExchangeId, Network


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a venue answers."""

    rest: str
    stream: str


@dataclass(frozen=True, slots=True)
class Platform:
    """Not in the spec on purpose: whoever can set these can steal keys."""

    installation: str
    trader_image: str
    trader_image_pull_policy: str
    trader_requests: Mapping[str, str]
    trader_limits: Mapping[str, str]
    storage_class: str
    """Empty: the cluster's default."""
    storage_access_mode: str
    addresses: Mapping[tuple[ExchangeId, Network], Addresses] = field(default_factory=dict)
    """Of test venues; Mainnet's stand in the trader's code."""

"""PURE. What the platform engineer decided, as far as the children depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tradingbot_api.spec import Exchange, ExchangeId, Network


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a venue answers."""

    rest: str
    stream: str
    account: str = ""
    """Where the venue tells an account about its own orders and fills; empty: the trader knows it by itself."""


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

    def find_addresses(self, exchange: Exchange) -> Addresses | None:
        return self.addresses.get((exchange.id, exchange.network))

    def can_reach(self, exchange: Exchange) -> bool:
        return exchange.network is Network.MAINNET or self.find_addresses(exchange) is not None

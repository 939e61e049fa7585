"""The simulator's own endpoints under `/sandbox/`: what it is doing, and what a test may ask of it. PURE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.streams import StreamKind, parse_stream


def build_state(exchange: Exchange, clients: Iterable[dict[str, object]], now_ns: int) -> dict[str, object]:
    """Everything that the simulator can tell about itself."""
    market, subscriptions = exchange.world.market, exchange.subscriptions
    position = market.position()
    names = sorted(subscriptions.published.keys() | {stream.name for stream in subscriptions.streams})
    return {
        "venue": "binance",
        "now_ns": now_ns,
        "market": market.kind,
        "symbols": sorted(exchange.symbols),
        "play": asdict(position) | {"state": str(position.state)},
        "walk_ends_ns": exchange.world.opened_ns,
        "streams": {
            name: {
                "listeners": subscriptions.listeners(name),
                "published": subscriptions.published[name],
                "delivered": subscriptions.delivered[name],
            }
            for name in names
        },
        "trades_sent": sum(subscriptions.delivered[name] for name in names if _is_trade(name, exchange)),
        "clients": list(clients),
        "slow_clients": exchange.slow_clients,
        "weight_limit": exchange.meter.limit,
        "used_weight": exchange.meter.all_used(now_ns),
    }


def _is_trade(name: str, exchange: Exchange) -> bool:
    stream = parse_stream(name, exchange.symbols)
    return stream is not None and stream.kind is StreamKind.TRADE

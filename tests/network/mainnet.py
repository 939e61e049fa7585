"""PURE. The policy of a trader on the real venue, for the pod that stands in for it: no test calls a real venue."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tradingbot_api.spec import Exchange, ExchangeId, Network
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.network_policy import build_network_policy
from tradingbot_operator.children.platform import NetworkRules, Platform


def build_mainnet_policy(namespace: str, name: str, *, values: Mapping[str, Any]) -> dict[str, Any]:
    """As the operator builds it under these values of `trader.networkPolicy`, but for two things: it has no owner, and
    no IPv6, which an enforcer that knows IPv4 alone may refuse (with every other policy of the cluster)."""
    server = values["apiServer"]
    rules = NetworkRules(api_server_cidrs=tuple(server.get("cidrs", ())), api_server_ports=tuple(server["ports"]))
    platform = Platform("test", "image", "Never", {}, {}, "", "ReadWriteOnce", network=rules)
    mainnet = Exchange(id=ExchangeId.BINANCE, network=Network.MAINNET)
    policy = copy.deepcopy(build_network_policy(BotRef(namespace, name, "none"), platform, venues=[mainnet]))
    del policy["metadata"]["ownerReferences"]
    for rule in policy["spec"]["egress"]:
        if "to" in rule:
            rule["to"] = [peer for peer in rule["to"] if ":" not in peer.get("ipBlock", {}).get("cidr", "")]
            assert rule["to"], "a rule without peers would mean everybody"
    return policy

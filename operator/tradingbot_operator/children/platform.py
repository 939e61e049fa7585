"""PURE. What the platform engineer decided, as far as the children depend on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tradingbot_api.spec import Exchange, ExchangeId, Network
from tradingbot_operator.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a venue answers."""

    rest: str
    stream: str
    account: str = ""
    """Where the venue tells an account about its own orders and fills; empty: the trader knows it by itself."""


def in_namespace(name: str, **pod_labels: str) -> Manifest:
    """A NetworkPolicyPeer: the pods of a namespace; only those with these labels, if any are given."""
    peer: Manifest = {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: name}}}
    return peer | ({"podSelector": {"matchLabels": pod_labels}} if pod_labels else {})


NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that the API server puts on every namespace."""


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """What a trader may reach beside its venue, and who may reach it."""

    is_enabled: bool = True
    metrics_from: Sequence[Manifest] = (in_namespace("monitoring"),)
    """Peers that may read the metrics; none: nobody may."""
    dns: Sequence[Manifest] = (in_namespace("kube-system", **{"k8s-app": "kube-dns"}),)
    """Peers that resolve names; none: any address is asked."""
    api_server_cidrs: Sequence[str] = ()
    """Addresses of the API server; none: any."""
    api_server_ports: Sequence[int] = (443, 6443)
    """Before and after a Service's translation: which of them a policy sees depends on the network plugin."""
    extra_egress: Sequence[Manifest] = ()
    """Further egress rules, as in a NetworkPolicy."""


@dataclass(frozen=True, slots=True)
class MonitorRules:
    """How the Prometheus operator finds the traders' metrics."""

    is_enabled: bool = True
    interval: str = "30s"
    """Time between two scrapes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By which a Prometheus selects its monitors."""


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
    network: NetworkRules = NetworkRules()
    monitor: MonitorRules = MonitorRules()
    drain_timeout_seconds: float = 600.0
    """Longest time that a live pod gets to close its orders before it goes."""

    def find_addresses(self, exchange: Exchange) -> Addresses | None:
        return self.addresses.get((exchange.id, exchange.network))

    def can_reach(self, exchange: Exchange) -> bool:
        return exchange.network is Network.MAINNET or self.find_addresses(exchange) is not None

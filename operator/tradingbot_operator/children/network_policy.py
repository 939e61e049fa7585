"""PURE. What may reach a trader and be reached by it: nothing but what is named here.

The whole spec is compared exactly (plan/drift.py), so it is written as the API server stores it, a protocol with each
port. An empty list of peers would mean everybody, and is never written. An empty `ingress` is: only what we write
ourselves can we take back from others who write there.
"""

from __future__ import annotations

import contextlib
import copy
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tradingbot_api.labels import selector_labels
from tradingbot_api.spec import Exchange, Network
from tradingbot_operator.children.deployment import HTTP_PORT_NAME
from tradingbot_operator.children.metadata import BotRef, build_object
from tradingbot_operator.children.platform import Addresses, Platform, in_namespace
from tradingbot_operator.kinds import NETWORK_POLICY
from tradingbot_operator.manifest import Manifest

MAINNET_PORTS = (443, 9443)
"""HTTPS, and the port of Binance's market stream (its WebSocket documentation; the trader's own address of it)."""
PRIVATE_RANGES = ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
"""RFC 1918, RFC 6598, loopback and link-local, where clouds keep their metadata: no venue is there."""
PRIVATE_RANGES_6 = ("::1/128", "fc00::/7", "fe80::/10")
"""Loopback, RFC 4193 and link-local."""
DNS_PORT = 53
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def build_network_policy(bot: BotRef, platform: Platform, *, venues: Sequence[Exchange]) -> Manifest:
    """For pods that trade there. The kubelet's probes come from the node, which no policy keeps out."""
    rules = platform.network
    scrapers = [_rule(_ports(HTTP_PORT_NAME), rules.metrics_from, direction="from")] if rules.metrics_from else []
    egress = [
        _rule([*_ports(DNS_PORT, protocol="UDP"), *_ports(DNS_PORT)], rules.dns),
        _rule(_ports(*rules.api_server_ports), [_block(cidr) for cidr in rules.api_server_cidrs]),
        *(rule for venue in venues for rule in _reach_venue(venue, platform.find_addresses(venue))),
        *(_as_stored(rule) for rule in rules.extra_egress),
    ]
    return build_object(NETWORK_POLICY, bot) | {
        "spec": {
            "podSelector": {"matchLabels": selector_labels(bot.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": scrapers,
            "egress": _without_repeats(egress),
        }
    }


def _reach_venue(exchange: Exchange, addresses: Addresses | None) -> Iterable[Manifest]:
    if exchange.network is Network.MAINNET:
        public = [_block("0.0.0.0/0", PRIVATE_RANGES), _block("::/0", PRIVATE_RANGES_6)]
        return [_rule(_ports(*MAINNET_PORTS), public)]
    urls = (addresses.rest, addresses.stream, addresses.account) if addresses is not None else ()
    return [_reach_url(urlsplit(url)) for url in urls if url]


def _reach_url(url: SplitResult) -> Manifest:
    host = (url.hostname or "").rstrip(".")
    ports = _ports(url.port or _DEFAULT_PORTS.get(url.scheme, 443))
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return _rule(ports, [_block(f"{address}/{address.max_prefixlen}")])
    labels = host.split(".")
    # A policy sees the pod behind a Service, and that pod's own port may be any other than the Service's: all of them.
    if len(labels) == 1:
        return {"to": [{"podSelector": {}}]}  # a Service of the bot's own namespace
    if "svc" in labels[2:]:
        return {"to": [in_namespace(labels[labels.index("svc", 2) - 1])]}
    return {"ports": ports}  # no policy knows names: any address


def _rule(ports: Sequence[Manifest], peers: Sequence[Mapping[str, Any]], *, direction: str = "to") -> Manifest:
    """Without peers: any address, on these ports."""
    rule: Manifest = {"ports": list(ports)}
    return rule | ({direction: [_as_stored(peer) for peer in peers]} if peers else {})


def _ports(*ports: int | str, protocol: str = "TCP") -> list[Manifest]:
    return [{"port": port, "protocol": protocol} for port in ports]


def _block(cidr: str, but: Sequence[str] = ()) -> Manifest:
    return {"ipBlock": {"cidr": cidr} | ({"except": list(but)} if but else {})}


def _as_stored(given: Mapping[str, Any]) -> Manifest:
    """A rule or a peer of the platform engineer's, as the API server writes it."""
    return {key: _fill(key, value) for key, value in copy.deepcopy(dict(given)).items() if not _is_dropped(key, value)}


def _fill(key: str, value: object) -> object:
    if isinstance(value, dict):
        return _as_stored(value)
    if isinstance(value, list):
        items = [_as_stored(item) if isinstance(item, dict) else item for item in value]
        return [{"protocol": "TCP"} | item for item in items] if key == "ports" else items
    return value


def _is_dropped(key: str, value: object) -> bool:
    return value is None or value == [] or (key == "matchLabels" and value == {})


def _without_repeats(rules: Iterable[Manifest]) -> list[Manifest]:
    """A venue's REST and streams often share one address."""
    kept: list[Manifest] = []
    for rule in rules:
        if rule not in kept:
            kept.append(rule)
    return kept

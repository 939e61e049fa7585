from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradingbot_api.spec import Exchange, ExchangeId, Network
from tradingbot_operator.children.metadata import BotRef
from tradingbot_operator.children.network_policy import PRIVATE_RANGES, PRIVATE_RANGES_6, build_network_policy
from tradingbot_operator.children.platform import Addresses, NetworkRules, Platform
from tradingbot_operator.children.service import build_service

BOT = BotRef("desk-a", "btc", "11111111-2222-3333-4444-555555555555")
MAINNET = Exchange(id=ExchangeId.BINANCE)
SANDBOX = Exchange(id=ExchangeId.BINANCE, network=Network.SANDBOX)
SELECTOR = {"matchLabels": {"app.kubernetes.io/name": "tradingbot-trader", "app.kubernetes.io/instance": "btc"}}
DNS = {
    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
}
API_SERVER = {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]}
Build = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def build(platform: Platform) -> Build:
    def policy(*venues: Exchange, rest: str = "", stream: str = "", account: str = "", **rules: Any) -> dict[str, Any]:
        addresses = {(ExchangeId.BINANCE, Network.SANDBOX): Addresses(rest, stream, account)} if rest else {}
        given = replace(platform, addresses=addresses, network=NetworkRules(**rules))
        return build_network_policy(BOT, given, venues=venues or (MAINNET,))

    return policy


def test_policy_of_a_mainnet_bot_reads_as_a_whole(build: Build) -> None:
    policy = build()
    assert {key: policy[key] for key in ("apiVersion", "kind")} == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
    }
    assert policy["metadata"]["name"] == "btc-trader"
    assert policy["metadata"]["ownerReferences"][0]["uid"] == BOT.uid
    assert policy["spec"] == {
        "podSelector": SELECTOR,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "ports": [{"port": "http", "protocol": "TCP"}],
                "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            }
        ],
        "egress": [
            DNS,
            API_SERVER,
            {
                "ports": [{"port": 443, "protocol": "TCP"}, {"port": 9443, "protocol": "TCP"}],
                "to": [
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE_RANGES)}},
                    {"ipBlock": {"cidr": "::/0", "except": list(PRIVATE_RANGES_6)}},
                ],
            },
        ],
    }


def test_pods_of_the_policy_are_those_of_the_service(build: Build) -> None:
    assert build()["spec"]["podSelector"]["matchLabels"] == build_service(BOT)["spec"]["selector"]


def test_metadata_service_of_a_cloud_is_out_of_reach() -> None:
    assert "169.254.0.0/16" in PRIVATE_RANGES


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://10.1.2.3:8080/api/v3", {"ports": [8080], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}),
        ("https://10.1.2.3/api/v3", {"ports": [443], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}),
        ("http://[fd00::1]:81", {"ports": [81], "to": [{"ipBlock": {"cidr": "fd00::1/128"}}]}),
        ("http://venue.desk-b.svc:8080/api/v3", {"to": ["desk-b"]}),
        ("http://venue.desk-b.svc.cluster.local.:8080", {"to": ["desk-b"]}),
        ("http://venue-0.venue.desk-b.svc:8080", {"to": ["desk-b"]}),
        ("http://venue:8080/api/v3", {"to": [{"podSelector": {}}]}),
        ("https://testnet.binance.vision/api/v3", {"ports": [443]}),
        ("http://testnet.binance.vision/api/v3", {"ports": [80]}),
        ("ws://testnet.binance.vision:9443/ws", {"ports": [9443]}),
        ("wss://svc.example/ws", {"ports": [443]}),
    ],
)
def test_address_of_a_test_venue_is_its_rule(build: Build, url: str, rule: dict[str, Any]) -> None:
    expected: dict[str, Any] = {}
    if "ports" in rule:
        expected["ports"] = [{"port": port, "protocol": "TCP"} for port in rule["ports"]]
    if "to" in rule:
        named = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "desk-b"}}}
        expected["to"] = [named if peer == "desk-b" else peer for peer in rule["to"]]
    assert build(SANDBOX, rest=url, stream=url)["spec"]["egress"] == [DNS, API_SERVER, expected]


def test_each_address_of_a_venue_is_reached(build: Build) -> None:
    egress = build(SANDBOX, rest="http://10.0.0.1:1", stream="ws://10.0.0.2:2", account="ws://10.0.0.3:3")["spec"][
        "egress"
    ]
    assert [rule["ports"][0]["port"] for rule in egress[2:]] == [1, 2, 3]


def test_two_venues_are_both_reached(build: Build) -> None:
    egress = build(SANDBOX, MAINNET, rest="http://10.0.0.1:1", stream="ws://10.0.0.1:1")["spec"]["egress"]
    assert [len(rule["ports"]) for rule in egress] == [2, 2, 1, 2]


def test_addresses_of_the_api_server_are_the_only_ones_when_they_are_known(build: Build) -> None:
    rule = build(api_server_cidrs=("10.0.0.1/32", "10.0.0.2/32"), api_server_ports=(6443,))["spec"]["egress"][1]
    assert rule == {
        "ports": [{"port": 6443, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}, {"ipBlock": {"cidr": "10.0.0.2/32"}}],
    }


def test_nobody_reads_the_metrics_when_nobody_is_named(build: Build) -> None:
    spec = build(metrics_from=())["spec"]
    assert spec["ingress"] == []
    assert "Ingress" in spec["policyTypes"]


def test_further_rules_are_written_as_the_api_server_stores_them(build: Build) -> None:
    given = {"to": [{"podSelector": {"matchLabels": {}}}], "ports": [{"port": 3128}, {"port": 53, "protocol": "UDP"}]}
    before = copy.deepcopy(given)
    assert build(extra_egress=(given,))["spec"]["egress"][-1] == {
        "to": [{"podSelector": {}}],
        "ports": [{"protocol": "TCP", "port": 3128}, {"protocol": "UDP", "port": 53}],
    }
    assert given == before


def lists_of_peers(spec: dict[str, Any]) -> list[Any]:
    return [rule[side] for side in ("from", "to") for rule in (*spec["ingress"], *spec["egress"]) if side in rule]


PEERS = st.lists(
    st.sampled_from(
        [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"a": "b"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]
    ),
    max_size=2,
).map(tuple)


@given(
    metrics_from=PEERS,
    dns=PEERS,
    cidrs=st.lists(st.just("10.0.0.1/32"), max_size=1).map(tuple),
    extra=st.lists(st.fixed_dictionaries({}, optional={"to": PEERS.map(list)}), max_size=2).map(tuple),
    venue=st.sampled_from([MAINNET, SANDBOX]),
)
def test_no_rule_has_an_empty_list_of_peers_which_would_mean_everybody(
    build: Build, metrics_from: Any, dns: Any, cidrs: Any, extra: Any, venue: Exchange
) -> None:
    spec = build(
        venue, rest="http://v:1", stream="ws://v:1", metrics_from=metrics_from, dns=dns, api_server_cidrs=cidrs,
        extra_egress=extra,
    )["spec"]  # fmt: skip
    assert all(lists_of_peers(spec))
    assert all(len(rule["from"]) == len(metrics_from) for rule in spec["ingress"])
    assert bool(spec["ingress"]) == bool(metrics_from)

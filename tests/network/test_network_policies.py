"""NetworkPolicies on a real node: connections that are really tried, from inside the containers.

A denial alone proves little, for a connection may fail for any reason. So each pair of source and target that must fail
is tried again with the policies switched off, from the same container, and must work then.
"""

from __future__ import annotations

import pytest

from network.product import BOT, BYSTANDERS, DESKS, MAINNET, MAINNET_DESK, Product, Reached
from support.stack import SYSTEM

pytestmark = [pytest.mark.network, pytest.mark.timeout(1800)]

TRADING = tuple(DESKS)
TRADERS = (*TRADING, MAINNET)
GUARDED = {f"{own}{port}" for own in (*TRADERS, "operator") for port in ("", "-unused")}
"""Ports of our own pods: the one that serves metrics, and one that nobody listens on."""
METRICS = {*TRADERS, "operator"}
DNS = {"names", "dns-udp", "dns-tcp"}
API = {"api-service", "api-server"}
OTHERS = {"venue", "kubelet", "dns-other-port", *BYSTANDERS}
AS_API, AS_MAINNET, AS_DNS = "stranger-as-api", "stranger-as-mainnet", {"stranger-as-dns-udp", "stranger-as-dns-tcp"}
"""A foreign Service on ports that are allowed elsewhere: the API server's, a real venue's, a resolver's."""
SOURCES = (*TRADERS, "operator", *BYSTANDERS)
EVERYTHING = GUARDED | DNS | API | OTHERS | AS_DNS | {AS_API, AS_MAINNET}

DEFAULT: dict[str, set[str]] = {
    # As long as nobody has named the API server's addresses, any will do on its ports.
    **dict.fromkeys(TRADING, DNS | API | {"venue", "beside-venue", AS_API}),
    MAINNET: DNS | API | {AS_API},
    "operator": DNS | API | AS_DNS | {AS_API},
    **dict.fromkeys(BYSTANDERS, EVERYTHING - GUARDED),
    "scraper": EVERYTHING - GUARDED | METRICS,
}
"""What each may reach. A venue's whole namespace, since a policy sees the pods behind a Service and not the Service. A
resolver is asked for by the operator at any address: its chart names none."""
PINNED = DEFAULT | {source: DEFAULT[source] - {AS_API} for source in (*TRADERS, "operator")}
OFF = dict.fromkeys(SOURCES, EVERYTHING)

DEADLINE_SECONDS = 120.0


def wrong(reached: Reached, may: dict[str, set[str]]) -> dict[str, str]:
    """Each connection that worked and must not, or did not and must."""
    return {
        f"{source} -> {target}": said
        for source, answers in reached.items()
        for target, said in answers.items()
        if (said == "open") != (target in may[source])
    }


def check(product: Product, may: dict[str, set[str]]) -> None:
    """A policy takes a moment to be enforced; what holds then has to hold at the next look as well."""
    last: dict[str, str] = {}

    def holds() -> bool:
        nonlocal last
        last = wrong(product.try_all(SOURCES), may)
        return not last

    try:
        product.wait("the connections that may be", holds, seconds=DEADLINE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{last or 'nothing was wrong, but later'}\n{error}") from None
    reached = product.try_all(SOURCES)
    assert wrong(reached, may) == {}
    tried = {source: set(answers) for source, answers in reached.items()}
    assert {source: EVERYTHING - targets for source, targets in tried.items()} == {
        source: {target for target in EVERYTHING if target.startswith(source)} for source in SOURCES
    }


def runs(product: Product) -> dict[str, tuple[str, int]]:
    """Each trader's pod, and how often it was restarted."""
    found = {}
    for trader in TRADING:
        pod = product.pod_of(trader)[0]
        found[trader] = (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
    return found


def wait_ready(product: Product) -> None:
    for desk in DESKS.values():
        product.wait(
            f"a ready bot in {desk}",
            lambda desk=desk: product.condition(desk, BOT, "Ready").get("status") == "True",
            seconds=300,
        )


def test_bots_trade_behind_the_policies_of_the_defaults(product: Product) -> None:
    product.apply_chart()
    wait_ready(product)
    guarded = sorted((SYSTEM, MAINNET_DESK, *DESKS.values()))
    product.wait(
        "a policy for the operator and for each bot",
        lambda: sorted(each["metadata"]["namespace"] for each in product.policies()) == guarded,
    )
    for trader in TRADING:  # as Prometheus would see it, from where Prometheus may
        product.wait(
            f"fills of {trader}",
            lambda trader=trader: product.scrape("scraper", trader).get("fills_total", 0) >= 1,
            seconds=180,
        )
    assert [restarts for _, restarts in runs(product).values()] == [0] * len(TRADING)


def test_by_default_each_reaches_what_it_needs_and_nothing_else(product: Product) -> None:
    product.apply_chart()
    wait_ready(product)
    check(product, DEFAULT)


def test_named_addresses_of_the_api_server_close_its_ports_elsewhere(product: Product) -> None:
    wait_ready(product)
    before = runs(product)
    addresses, _ = product.api_server()
    named = {"apiServer": {"cidrs": [f"{address}/32" for address in addresses]}}
    product.apply_chart(networkPolicy=named, trader={"networkPolicy": named})
    check(product, PINNED)
    wait_ready(product)
    assert runs(product) == before


def test_without_policies_every_one_of_these_connections_works(product: Product) -> None:
    wait_ready(product)
    before = runs(product)
    off = {"enabled": False}
    product.apply_chart(networkPolicy=off, trader={"networkPolicy": off})
    product.wait("the end of all policies", lambda: not product.policies(), seconds=DEADLINE_SECONDS)
    check(product, OFF)
    assert runs(product) == before

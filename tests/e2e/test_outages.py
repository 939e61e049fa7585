"""An outage of the API server and a drained node stop nothing for good and sell nothing: what the venue itself says is
the truth.

Two bots, because one strategy does not hold and rest at once: `held` has a position with its protective stop, `rests`
an entry that nobody fills.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.live_bots import KEPT, NEVER_FILLED, START_SECONDS, TRADE_SECONDS, Live, build_live, open_account
from support.stack import Stack

OUTAGE_SECONDS = 31.0
"""One more than the default of controlPlaneTimeout."""
BACK_SECONDS = 180.0
"""The API server, then operator and traders find each other again, on a busy machine."""


@dataclass(frozen=True)
class Pair:
    held: Live
    rests: Live

    @property
    def both(self) -> tuple[Live, Live]:
        return self.held, self.rests


@pytest.fixture(scope="module")
def pair(stack: Stack) -> Iterator[Pair]:
    desk = f"outage-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", desk)
    pair = Pair(open_account(stack, desk, "held"), open_account(stack, desk, "rests"))
    for bot in pair.both:
        stack.put_keys(desk, f"{bot.name}-keys", bot.keys)
    stack.apply(build_live("held", desk, **KEPT), build_live("rests", desk, **NEVER_FILLED))
    for bot in pair.both:
        bot.wait_trading()
    pair.held.hold()
    yield pair
    stack.kubectl("delete", "namespace", desk, "--wait=false")


def test_outage_of_the_api_server_leaves_no_latch_and_sells_nothing(stack: Stack, pair: Pair) -> None:
    pair.rests.wait("a resting entry", lambda: pair.rests.open_at_venue, seconds=TRADE_SECONDS)
    stores = {bot.name: bot.store for bot in pair.both}
    runs = {bot.name: bot.run for bot in pair.both}
    orders, stops = pair.held.truth["orders"], pair.held.stops_at_venue
    began_ns = time.time_ns()
    with stack.api_server_gone(OUTAGE_SECONDS):
        assert stores
    back_ns = time.time_ns()

    for bot in pair.both:
        wait_active(bot, since_ns=back_ns)
        lost = [
            at_ns for at_ns, told in bot.audit("StateChanged") if "ControlPlaneLost" in str(told) and at_ns > began_ns
        ]
        assert lost, "it noticed nothing; this shows nothing"
        assert [at_ns for at_ns, _ in bot.audit("Reconciled") if at_ns > lost[0]], "no fresh reconciliation"
        check_never_latched(bot)
        check_no_double_order(bot)
    assert {bot.name: bot.run for bot in pair.both} == runs, "a restart is not what an outage of the API server is for"
    assert pair.held.truth["orders"] == orders
    assert pair.held.stops_at_venue == stops
    assert pair.rests.truth["trades"] == []


def test_drained_node_ends_the_traders_in_order_and_the_next_ones_go_on(stack: Stack, pair: Pair) -> None:
    pair.rests.wait("a resting entry", lambda: pair.rests.open_at_venue, seconds=TRADE_SECONDS)
    trades, held = pair.held.truth["trades"], pair.held.held_base
    pods = {bot.name: bot.run[0] for bot in pair.both}
    epochs = {bot.name: bot.trader["epoch"] for bot in pair.both}
    (node,) = stack.kubectl("get", "nodes", "-o", "name").split()
    began_ns = time.time_ns()
    try:
        # By the eviction API, as for an upgrade of the node; the operator's own pod is another test's.
        stack.kubectl(
            *("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=55s"),
            *("--pod-selector", "tradingbot.dev/bot in (held,rests)"),
        )
        assert pair.rests.open_at_venue == [], "a trader that ends in order takes its entries back"
        assert len(pair.held.stops_at_venue) == 1, "nobody watches the position, so its stop must rest"
    finally:
        stack.kubectl("uncordon", node)

    for bot in pair.both:
        bot.wait("another pod", lambda bot=bot: bot.run[0] != pods[bot.name], seconds=BACK_SECONDS)
        bot.wait("the next run", lambda bot=bot: bot.trader["epoch"] > epochs[bot.name], seconds=BACK_SECONDS)
        wait_active(bot, since_ns=began_ns)
        check_never_latched(bot)
        check_no_double_order(bot)
    assert (pair.held.truth["trades"], pair.held.held_base) == (trades, held)
    assert len(pair.held.stops_at_venue) == 1
    assert pair.rests.truth["trades"] == []
    pair.rests.wait("an entry of the next run", lambda: pair.rests.open_at_venue, seconds=TRADE_SECONDS)


def wait_active(bot: Live, *, since_ns: int) -> None:
    """By a report that is younger than that."""
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_ns // 1_000_000_000 + 1))

    def look() -> bool:
        trader: dict[str, Any] = bot.trader
        return bool(trader["heartbeatAt"] > since and trader["state"] == "Active")

    bot.wait("an Active report", look, seconds=BACK_SECONDS)
    bot.wait("Ready", lambda: bot.condition("Ready")[0] == "True", seconds=START_SECONDS)


def check_never_latched(bot: Live) -> None:
    assert bot.trader["latch"]["state"] == "Armed"
    assert bot.audit("Latched") == []
    status = bot.stack.get("tb", bot.name, bot.desk)["status"]
    assert status.get("killSwitch", {}).get("state", "Armed") == "Armed"


def check_no_double_order(bot: Live) -> None:
    assert set(bot.truth["acceptedByClientId"].values()) == {1}

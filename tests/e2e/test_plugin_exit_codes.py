"""What `kubectl tradingbot kill` ends with, by real traders: one that stops, one whose venue buys nothing, one whose
venue answers no cancel, one that is dead; and of many the worst."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from support.live_bots import KEPT, NEVER_FILLED, START_SECONDS, TRADE_SECONDS, Live, build_live, open_account
from support.plugin import run_plugin
from support.stack import Stack

STOPPED, NOT_FLAT, NOT_PROVED = 0, 2, 3
"""As docs/reference/plugin.md tells them."""
DUST_BASE = Decimal("0.00005")
"""Worth less than the least that this venue sells, 5 USDT."""
PATIENCE = "60s"
"""Longer than a trader tries to sell what nobody buys, so that no sale is under way when the time is up."""


@pytest.fixture(scope="module")
def bots(stack: Stack) -> Iterator[dict[str, Live]]:
    desk = f"codes-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", desk)
    changes = {"sold": KEPT, "unsold": KEPT, "deaf": NEVER_FILLED}
    bots = {name: open_account(stack, desk, name) for name in changes}
    manifests = [build_live(name, desk, **each) for name, each in changes.items()]
    for bot, manifest in zip(bots.values(), manifests, strict=True):
        stack.put_keys(desk, f"{bot.name}-keys", bot.keys)
        manifest["metadata"]["labels"] = {"codes": "all"} | ({"buyers": "some"} if bot.name != "deaf" else {})
    stack.apply(*manifests)
    for bot in bots.values():
        bot.wait_trading()
    yield bots
    stack.kubectl("delete", "namespace", desk, "--wait=false")


@contextmanager
def faults(bot: Live, effect: str, *operations: str, **fields: object) -> Iterator[None]:
    """For the orders of this bot alone."""
    mine = bot.truth["orders"][0]["clientOrderId"][:10]
    venue = bot.stack.venue
    rules = [venue.add_fault(effect, when={"operation": each, "client_id": mine}, **fields) for each in operations]
    try:
        yield
        told = {rule["rule"]: rule["hits"] for rule in venue.faults()}
        assert any(told[number] for number in rules), "it met no fault; this shows nothing"
    finally:
        for number in rules:
            venue.remove_fault(number)


def test_worst_of_many_counts_and_each_alone_has_its_own_code(stack: Stack, bots: dict[str, Live]) -> None:
    sold, unsold, deaf = bots["sold"], bots["unsold"], bots["deaf"]
    sold.hold()
    unsold.hold()
    deaf.wait("a first entry", lambda: deaf.truth["orders"], seconds=TRADE_SECONDS)
    environ, desk = stack.environment, sold.desk
    flatten = ("kill", "-n", desk, "--action", "Flatten", "--timeout", PATIENCE, "--yes", "-o", "json")
    with faults(unsold, "partial-fill", "place", most_base="0"):
        with faults(deaf, "lose-request", "cancel", seconds="1"):
            deaf.wait("a resting entry", lambda: deaf.open_at_venue, seconds=TRADE_SECONDS)
            all_of_them = run_plugin(environ, *flatten, "-l", "codes=all")
            assert all_of_them.outcomes == {"sold": "Stopped", "unsold": "NotFlat", "deaf": "NotProved"}, (
                all_of_them.out + all_of_them.err
            )
            assert all_of_them.code == NOT_PROVED
            assert deaf.open_at_venue, "what is told as not proved is really at the venue"
            assert unsold.held_base > DUST_BASE > sold.held_base
            assert sold.open_at_venue == []
        some = run_plugin(environ, *flatten, "-l", "buyers=some")
        assert some.outcomes == {"sold": "Stopped", "unsold": "NotFlat"}
        assert some.code == NOT_FLAT, some.err
        assert unsold.held_base > DUST_BASE

    assert run_plugin(environ, *flatten, "sold").code == STOPPED
    after = run_plugin(environ, *flatten, "deaf")
    assert after.code == STOPPED, after.err
    assert deaf.open_at_venue == []


def test_dead_trader_proves_nothing(stack: Stack, bots: dict[str, Live]) -> None:
    """Last of this module: its trader goes, and no other comes while the node takes no pods."""
    bot = bots["deaf"]
    (node,) = stack.kubectl("get", "nodes", "-o", "name").split()
    stack.kubectl("cordon", node)
    try:
        pod, pid = stack.pods(bot.desk, bot.name)[0]["metadata"]["name"], stack.trader_pid(bot.desk, bot.name)
        stack.kubectl("-n", bot.desk, "delete", "pod", pod, "--grace-period=0", "--force")
        bot.wait("the end of the process", lambda: not is_alive(pid))
        # A stop that its trader has never seen: what was latched before by this trader would be proof.
        kill = ("kill", "-n", bot.desk, bot.name, "--action", "Flatten", "--no-halt", "--reason", "dead")
        done = run_plugin(stack.environment, *kill, "--timeout", "10s", "-o", "json")
        assert done.code == NOT_PROVED, done.out + done.err
        assert "killall" in done.err
    finally:
        stack.kubectl("uncordon", node)
    bot.wait(
        "the next trader's proof", lambda: run_plugin(stack.environment, *kill).code == STOPPED, seconds=START_SECONDS
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
